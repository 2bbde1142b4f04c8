"""What the decoder reads beside the text: a target, or what the model writes itself; and texts that it continues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from attncli.api.heads_input import HeadsInput
from attncli.api.loading import one_id_list
from attncli.errors import UsageError
from attncli.results.generated import Generated
from attncli.results.tokens import Token
from attncli.tokens.encode import EncodedText, encode, from_ids

if TYPE_CHECKING:
    from torch import Tensor

    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer


START_ALONE = "the decoder's input was only its start token (--target TEXT or --generate N gives it more)"


def check_target(inputs: HeadsInput) -> None:
    """Raise UsageError for two ways of giving the decoder input together, and for an invalid value."""
    flags, text, generate = inputs.target_flags, inputs.target, inputs.generate
    if len(flags) > 1:
        raise UsageError(f"{' and '.join(flags)} can't be combined", hint="leave one of them out")
    if text is not None and (not isinstance(text, str) or not text):
        raise UsageError(
            "--target is empty" if text == "" else "the target has to be a string", hint="give a text for the decoder"
        )
    if generate is not None and (not isinstance(generate, int) or generate < 1):
        raise UsageError(f"--generate can't be {generate}", hint="it has to be a whole number of at least 1")
    if inputs.target_ids is not None:
        one_id_list(inputs.target_ids, "target ids")


class TextAndTarget(NamedTuple):
    """A text, the decoder input (None in models of one stack), and what the model generated of either.

    cut: whether the target was truncated.
    """

    text: EncodedText
    target: tuple[Token, ...] | None = None
    generated: Generated | None = None
    cut: bool = False


def written_from(given: TextAndTarget) -> range | None:
    """The positions that the new tokens were predicted at: those before them. None without new tokens."""
    if given.generated is None or not given.generated.ids:
        return None
    tokens = given.text.tokens if given.target is None else given.target
    return range(len(tokens) - len(given.generated.ids) - 1, len(tokens) - 1)


def add_target(
    loaded: LoadedModel,
    tokenizer: Tokenizer | None,
    text: EncodedText,
    inputs: HeadsInput,
) -> TextAndTarget:
    """The text, and the tokens for the decoder, or the text with what a model of one stack generates after it.

    A target follows the tokens with which the decoder begins when it generates; without special tokens, only its start
    token. Raises UsageError for a target where the model has no decoder of its own, and for one that is too long.
    """
    if not loaded.is_encoder_decoder:
        return _continue_text(loaded, tokenizer, text, inputs)
    if inputs.generate is not None:
        return _generate_target(loaded, tokenizer, text, inputs.generate)
    target = _target_tokens(loaded, tokenizer, inputs)
    limit = loaded.max_target
    if limit is None or len(target) <= limit:
        return TextAndTarget(text, target)
    if not inputs.encoding.truncate:
        raise UsageError(
            f"the target has {len(target):,} tokens, and the decoder accepts at most {limit:,}",
            hint="add --truncate to shorten it",
        )
    return TextAndTarget(text, target[:limit], cut=True)


def target_notes(given: TextAndTarget) -> Iterator[str]:
    """Notes on the decoder input and on generated text."""
    if given.target is not None and len(given.target) == 1:
        yield START_ALONE
    if given.cut and given.target is not None:
        yield f"the target was truncated to the {len(given.target):,} tokens that the decoder accepts"
    if given.generated is not None:
        count = len(given.generated.ids)
        text = "" if given.generated.text is None else f': "{given.generated.text}"'
        yield f"the model generated {count:,} token{'s' if count != 1 else ''}{text}"


def _target_tokens(loaded: LoadedModel, tokenizer: Tokenizer | None, inputs: HeadsInput) -> tuple[Token, ...]:
    if inputs.target_ids is not None:
        return from_ids(tokenizer, one_id_list(inputs.target_ids)).tokens
    prefix = (
        loaded.decoder_prefix
        if inputs.target is not None and not inputs.encoding.no_special
        else loaded.decoder_prefix[:1]
    )
    start = tuple(token._replace(special=True) for token in describe_ids(tokenizer, prefix))
    if inputs.target is None:
        return start
    if tokenizer is None:
        raise UsageError(
            "--target needs a tokenizer, and the model has none", hint="give the decoder's input as --target-ids"
        )
    tokens = encode(tokenizer, inputs.target, special=False).tokens
    return (*start, *(token._replace(index=token.index + len(start)) for token in tokens))


def describe_ids(tokenizer: Tokenizer | None, ids: Sequence[int], first: int = 0) -> Iterator[Token]:
    """Tokens for ids that the model gave, with indices from `first`; its tokenizer may not know all of them."""
    pieces = [None] * len(ids) if tokenizer is None else tokenizer.describe(ids)
    for index, (number, piece) in enumerate(zip(ids, pieces, strict=True), first):
        if piece is None:
            yield Token(index, number, f"<{number}>", f"<{number}>")
        else:
            yield Token(index, number, piece.token, piece.text, special=piece.special)


def _generate_target(loaded: LoadedModel, tokenizer: Tokenizer | None, text: EncodedText, count: int) -> TextAndTarget:
    """The decoder's start token and what the decoder generates after it."""
    from attncli.api.generated import describe_generated
    from attncli.attention.inputs import build_inputs
    from attncli.models.loading.greedy_decoding import greedy_decode

    check_room(loaded.max_target, 1, count)
    ids, logits = greedy_decode(loaded, build_inputs(loaded, [text.tokens], [text.segments]).arguments, count)
    start = [token._replace(special=True) for token in describe_ids(tokenizer, ids[:1])]
    generated = tuple(describe_ids(tokenizer, ids[1:], first=1))
    return TextAndTarget(text, (*start, *number_words(generated)), describe_generated(tokenizer, ids[1:], logits))


def _continue_text(
    loaded: LoadedModel, tokenizer: Tokenizer | None, text: EncodedText, inputs: HeadsInput
) -> TextAndTarget:
    """The text and what a model of one stack generates after it."""
    if not inputs.target_flags:
        return TextAndTarget(text)
    if inputs.generate is None or not loaded.generates:
        generates = inputs.generate is not None
        does = "doesn't generate text" if generates else "is not an encoder–decoder, so it has no decoder input"
        raise UsageError(
            f"{loaded.class_name} {does}",
            hint=f"leave {inputs.target_flags[0]} out, or use an encoder–decoder such as google-t5/t5-small (-m)",
        )
    from attncli.attention.inputs import build_inputs

    arguments = build_inputs(loaded, [text.tokens], [text.segments]).arguments
    return continue_text(loaded, tokenizer, text, arguments, inputs.generate)


def continue_text(
    loaded: LoadedModel,
    tokenizer: Tokenizer | None,
    text: EncodedText,
    arguments: Mapping[str, Tensor | bool],
    count: int,
) -> TextAndTarget:
    """The text and up to `count` tokens that the model writes after it. arguments: of a forward pass on the text.

    Raises UsageError if the model takes no more tokens.
    """
    from attncli.api.generated import describe_generated
    from attncli.models.loading.greedy_decoding import greedy_decode

    length = len(text.tokens)
    check_room(loaded.max_positions, length, count)
    decoded = greedy_decode(loaded, arguments, count)
    ids = decoded.ids[length:]
    generated = tuple(describe_ids(tokenizer, ids, first=length))
    tokens = (*text.tokens, *number_words(generated, text.tokens))
    # Of two texts, it continues the last one.
    segments, sequences = text.segments[-1:] * len(ids), text.sequences[-1:] * len(ids)
    whole = EncodedText(tokens, (*text.segments, *segments), (*text.sequences, *sequences))
    return TextAndTarget(whole, generated=describe_generated(tokenizer, ids, decoded.logits))


def check_room(limit: int | None, before: int, count: int) -> None:
    if limit is not None and before + count > limit:
        raise UsageError(
            f"--generate {count:,} is too much: the model accepts at most {limit:,} tokens, and {before:,} are used",
            hint=f"use --generate {limit - before:,} or less" if limit > before else "give a shorter text",
        )


def number_words(tokens: Sequence[Token], before: Sequence[Token] = ()) -> tuple[Token, ...]:
    """Number the words of tokens that have no place in a text: a space begins a new word.

    before: the tokens of the text that they continue, whose last word may go on.
    """
    numbered = []
    word = max((token.word for token in before if token.word is not None), default=-1)
    inside = bool(before) and before[-1].word is not None and not before[-1].text[-1:].isspace()
    for token in tokens:
        if token.special or not token.text.strip():
            inside = False
            numbered.append(token)
            continue
        word += not inside or token.text[:1].isspace()
        inside = not token.text[-1:].isspace()
        numbered.append(token._replace(word=word))
    return tuple(numbered)
