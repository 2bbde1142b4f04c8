"""The decoder input of an encoder–decoder (`--target`, `--target-ids`), and generated text (`--generate`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attncli.api.loading import one_id_list
from attncli.api.requests import EncodingRequest
from attncli.errors import UsageError
from attncli.results.tokens import Token
from attncli.tokens.encode import EncodedText, encode, from_ids

if TYPE_CHECKING:
    from torch import Tensor

    from attncli.attention.selection import Selection
    from attncli.models.capture.structure import BlockList
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.loading.weights import Depth
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.heads import Generated


@dataclass(frozen=True)
class TargetChoice:
    """At most one of three: a text, the decoder's ids from its start token on, or the number of tokens to generate."""

    text: str | None = None
    ids: tuple[int, ...] | None = None
    generate: int | None = None

    @property
    def is_given(self) -> bool:
        return self != NO_TARGET

    @property
    def flag(self) -> str:
        """The option that was given."""
        return "--target" if self.text is not None else "--target-ids" if self.ids is not None else "--generate"


NO_TARGET = TargetChoice()

START_ALONE = "the decoder was given its start token alone (--target TEXT or --generate N gives it more)"


def parse_target(text: Any, ids: Any, generate: Any) -> TargetChoice:
    """The decoder input. Raises UsageError for two of the options together and for an invalid value."""
    flags = [
        flag
        for flag, value in (("--target", text), ("--target-ids", ids), ("--generate", generate))
        if value is not None
    ]
    if len(flags) > 1:
        raise UsageError(f"{' and '.join(flags)} can't be combined", hint="leave one of them out")
    if text is not None and (not isinstance(text, str) or not text):
        raise UsageError("the target is empty" if text == "" else "a target is a string", hint="give it some text")
    if generate is not None and (not isinstance(generate, int) or generate < 1):
        raise UsageError(f"{generate} tokens can't be written", hint="--generate takes a number from 1")
    return TargetChoice(text, None if ids is None else tuple(one_id_list(ids, "target ids")), generate)


@dataclass(frozen=True)
class TextAndTarget:
    """A text, the decoder input (None in models of one stack), and what the model generated of either.

    cut: whether the target was truncated.
    """

    text: EncodedText
    target: tuple[Token, ...] | None = None
    generated: Generated | None = None
    cut: bool = False


def full_depth(selection: Selection) -> Depth:
    """All layers, as generating needs them; the selection is checked against the model."""

    def depth(lists: Sequence[BlockList]) -> Mapping[str, int]:
        selection.depth(lists)
        return {}

    return depth


def add_target(
    loaded: LoadedModel,
    tokenizer: Tokenizer | None,
    text: EncodedText,
    choice: TargetChoice,
    encoding: EncodingRequest,
) -> TextAndTarget:
    """The text, and the tokens for the decoder, or the text with what a model of one stack generates after it.

    A target follows the tokens with which the decoder begins when it generates; without special tokens, only its start
    token. Raises UsageError for a target where the model has no decoder of its own, and for one that is too long.
    """
    if not loaded.is_encoder_decoder:
        return _continue_text(loaded, tokenizer, text, choice)
    if choice.generate is not None:
        return _generate_target(loaded, tokenizer, text, choice.generate)
    target = _target_tokens(loaded, tokenizer, choice, special=not encoding.no_special)
    limit = loaded.max_target
    if limit is None or len(target) <= limit:
        return TextAndTarget(text, target)
    if not encoding.truncate:
        raise UsageError(
            f"the target has {len(target):,} tokens and the decoder takes {limit:,}", hint="--truncate cuts it to fit"
        )
    return TextAndTarget(text, target[:limit], cut=True)


def target_notes(given: TextAndTarget) -> Iterator[str]:
    """Notes on the decoder input and on generated text."""
    if given.target is not None and len(given.target) == 1:
        yield START_ALONE
    if given.cut and given.target is not None:
        yield f"the target was cut to the {len(given.target):,} tokens that the decoder takes"
    if given.generated is not None:
        count = len(given.generated.ids)
        text = "" if given.generated.text is None else f': "{given.generated.text}"'
        yield f"the model wrote {count:,} token{'s' if count != 1 else ''}{text}"


def _target_tokens(
    loaded: LoadedModel, tokenizer: Tokenizer | None, choice: TargetChoice, *, special: bool
) -> tuple[Token, ...]:
    if choice.ids is not None:
        return from_ids(tokenizer, choice.ids).tokens
    prefix = loaded.decoder_prefix if choice.text is not None and special else loaded.decoder_prefix[:1]
    start = tuple(token._replace(special=True) for token in _describe_ids(tokenizer, prefix))
    if choice.text is None:
        return start
    if tokenizer is None:
        raise UsageError("a target needs a tokenizer", hint="give --target-ids, or a model with a tokenizer")
    tokens = encode(tokenizer, choice.text, special=False).tokens
    return (*start, *(token._replace(index=token.index + len(start)) for token in tokens))


def _describe_ids(tokenizer: Tokenizer | None, ids: Sequence[int], first: int = 0) -> Iterator[Token]:
    """Tokens for ids that the model gave, with indices from `first`; its tokenizer may not know all of them."""
    pieces = [None] * len(ids) if tokenizer is None else tokenizer.describe(ids)
    for index, (number, piece) in enumerate(zip(ids, pieces, strict=True), first):
        if piece is None:
            yield Token(index, number, f"<{number}>", f"<{number}>")
        else:
            yield Token(index, number, piece.token, piece.text, special=piece.special)


def _generate_target(loaded: LoadedModel, tokenizer: Tokenizer | None, text: EncodedText, count: int) -> TextAndTarget:
    """The decoder's start token and what the decoder generates after it."""
    from attncli.attention.inputs import build_inputs
    from attncli.models.loading.greedy_decoding import greedy_decode

    _check_room(loaded.max_target, 1, count)
    ids = greedy_decode(loaded, build_inputs(loaded, [text.tokens], [text.segments]).arguments, count)
    start = [token._replace(special=True) for token in _describe_ids(tokenizer, ids[:1])]
    generated = tuple(_describe_ids(tokenizer, ids[1:], first=1))
    return TextAndTarget(text, (*start, *number_words(generated)), _generated_text(tokenizer, ids[1:]))


def _continue_text(
    loaded: LoadedModel, tokenizer: Tokenizer | None, text: EncodedText, choice: TargetChoice
) -> TextAndTarget:
    """The text and what a model of one stack generates after it."""
    if not choice.is_given:
        return TextAndTarget(text)
    if choice.generate is None or not loaded.generates:
        generates = choice.generate is not None
        does = "writes no text" if generates else "is no encoder–decoder: there is no second text that it reads"
        raise UsageError(
            f"{loaded.class_name} {does}",
            hint=f"leave {choice.flag} out, or name an encoder–decoder such as google-t5/t5-small (-m)",
        )
    from attncli.attention.inputs import build_inputs

    arguments = build_inputs(loaded, [text.tokens], [text.segments]).arguments
    return continue_text(loaded, tokenizer, text, arguments, choice.generate)


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
    from attncli.models.loading.greedy_decoding import greedy_decode

    length = len(text.tokens)
    _check_room(loaded.max_positions, length, count)
    ids = greedy_decode(loaded, arguments, count)[length:]
    generated = tuple(_describe_ids(tokenizer, ids, first=length))
    tokens = (*text.tokens, *number_words(generated, text.tokens))
    # Of two texts, it continues the last one.
    segments, sequences = text.segments[-1:] * len(ids), text.sequences[-1:] * len(ids)
    whole = EncodedText(tokens, (*text.segments, *segments), (*text.sequences, *sequences))
    return TextAndTarget(whole, generated=_generated_text(tokenizer, ids))


def _check_room(limit: int | None, before: int, count: int) -> None:
    if limit is not None and before + count > limit:
        raise UsageError(
            f"{count:,} more tokens are too many: the model takes {limit:,}",
            hint=f"--generate takes {limit - before:,} at most here" if limit > before else "give a shorter text",
        )


def _generated_text(tokenizer: Tokenizer | None, ids: list[int]) -> Generated:
    from attncli.results.heads import Generated

    return Generated(tuple(ids), None if tokenizer is None else tokenizer.decode(ids))


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
