"""What `heads` is given to read: a text, ids, a picture or a sound, and how a text is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.api.chat_input import is_conversation
from attncli.api.loading import id_lists, one_id_list
from attncli.api.requests import EncodingRequest
from attncli.errors import UsageError
from attncli.results.tokens import Token
from attncli.tokens.encode import EncodedText, encode, from_ids, was_cut

if TYPE_CHECKING:
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.alignment import AlignedPair


class HeadsInput(NamedTuple):
    """What `heads` runs a model on: one text or many, ids, random tokens, a picture or a sound; and a decoder's input.

    The fields are those of `attncli.heads`; encoding: how texts are tokenized.  needle: tokens of the text of
    `--needle`.  qk_ov: no text, the weights alone.  columns: what the fields of several texts are.
    each_pair: takes pairs of texts as they are aligned; the result doesn't hold them then.
    chat: write the text by the chat template; None: where there are pictures and a template that places them.
    inputs: of the user's own module.  tokens: names for the positions of ids, or of these inputs.
    """

    text: Any = None
    input_ids: Any = None
    probe: bool = False
    seed: int = 0
    target: str | None = None
    target_ids: Sequence[int] | None = None
    generate: int | None = None
    image: Any = None
    video: Any = None
    audio: Any = None
    processor: Any = None
    encoding: EncodingRequest = EncodingRequest()
    needle: int | None = None
    qk_ov: bool = False
    columns: str | Sequence[str] | None = None
    chat: bool | None = None
    inputs: Any = None
    tokens: Sequence[str] = ()
    each_pair: Callable[[AlignedPair], None] | None = None

    @property
    def has_text(self) -> bool:
        """Whether there is a text, or ids."""
        return self.text is not None or self.input_ids is not None

    @property
    def without_text(self) -> str | None:
        """The option that takes the place of a text, if one was given."""
        given = {"--probe": self.probe, "--needle": self.needle is not None, "--qk-ov": self.qk_ov}
        return next((flag for flag, is_given in given.items() if is_given), None)

    @property
    def has_media(self) -> bool:
        """Whether there is a picture, a video or a sound, so that a text is optional."""
        return not (self.image is self.video is self.audio is None)

    @property
    def target_flags(self) -> list[str]:
        """The options that give a decoder its input: a text, its ids from its start token on, or what is generated."""
        given = {"--target": self.target, "--target-ids": self.target_ids, "--generate": self.generate}
        return [flag for flag, value in given.items() if value is not None]

    @property
    def is_batch(self) -> bool:
        """Whether there may be more than one input, which are averaged: the result then has metrics and no patterns."""
        if self.chat and is_conversation(self.text):
            return False
        several_lists = self.input_ids is not None and len(id_lists(self.input_ids)) > 1
        return self.without_text is not None or several_lists or not isinstance(self.text, str | None)

    def encode(self, tokenizer: Tokenizer | None) -> EncodedText:
        """Tokenize the text, or look the ids up. tokenizer: None where the model of given ids has none.

        Raises UsageError for anything but one text or one list of ids, and for more tokens than the tokenizer's limit.
        """
        text, (pair, no_special, truncate) = self.text, self.encoding
        if (text is None) == (self.input_ids is None):
            raise UsageError(
                "a text or a list of token ids is missing", hint="give a text, or token ids with --input-ids"
            )
        if self.input_ids is not None:
            if pair is not None:
                raise UsageError(
                    "--pair and --input-ids can't be combined", hint="leave one of them out; --pair needs a text"
                )
            encoded = from_ids(tokenizer, one_id_list(self.input_ids))
            return encoded._replace(tokens=name_tokens(encoded.tokens, self.tokens))
        if self.tokens:
            raise UsageError("--tokens names token ids, and this is a text", hint="leave --tokens out")
        assert tokenizer is not None
        if not isinstance(text, str) or not isinstance(pair, str | None):
            raise UsageError("the text has to be a string", hint="give one string, and a second one as pair=")
        if not text.strip() or (pair is not None and not pair.strip()):
            what = "empty" if not text or pair == "" else "only white space"
            raise UsageError(f"the text is {what}", hint="give a text, or token ids with --input-ids")
        encoded = encode(tokenizer, text, pair=pair, special=not no_special, truncate=truncate)
        limit = tokenizer.max_length
        if limit is not None and len(encoded.tokens) > limit:
            raise _too_long(len(encoded.tokens), limit)
        return encoded

    def fit_to_model(self, encoded: EncodedText, loaded: LoadedModel) -> EncodedText:
        """The tokens cut to the model's limit; the tokenizer has applied its own limit already."""
        limit = loaded.max_positions
        if limit is None or len(encoded.tokens) <= limit:
            return encoded
        if not self.encoding.truncate:
            raise _too_long(len(encoded.tokens), limit)
        return EncodedText(encoded.tokens[:limit], encoded.segments[:limit], encoded.sequences[:limit])

    def was_cut(self, encoded: EncodedText, fitting: EncodedText) -> bool:
        """Whether the tokenizer's or the model's limit cut some of the text off."""
        texts = [text for text in (self.text, self.encoding.pair) if isinstance(text, str)]
        return self.encoding.truncate and (fitting is not encoded or was_cut(encoded, texts))


def name_tokens(tokens: tuple[Token, ...], names: Sequence[str]) -> tuple[Token, ...]:
    """The tokens with these names, if there are any. Raises UsageError for another number of names."""
    if not names:
        return tokens
    if len(names) != len(tokens):
        raise UsageError(
            f"--tokens names {len(names):,} positions, and there are {len(tokens):,}",
            hint="give a name for each position, with spaces between",
        )
    return tuple(token._replace(token=name, text=name) for token, name in zip(tokens, names, strict=True))


def _too_long(tokens: int, limit: int) -> UsageError:
    return UsageError(
        f"the text has {tokens:,} tokens, and the model accepts at most {limit:,}", hint="add --truncate to shorten it"
    )
