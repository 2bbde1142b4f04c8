"""The protocol of a tokenizer, and the values that it returns.

They are named tuples, as in the other modules that `attn tokenize` imports: creating the class of a frozen dataclass
takes half a millisecond at each start of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from attncli.errors import ModelError

if TYPE_CHECKING:
    from attncli.models.tokenizers.pipeline import TokenizerPipeline
    from attncli.models.tokenizers.token_bytes import TokenBytes

Span = tuple[int, int]


class NoTokenizerError(ModelError):
    """The model has no tokenizer: its input has to be ids."""

    def __init__(self, model: str) -> None:
        super().__init__(f"{model} has no tokenizer", hint="give token ids instead of a text: --input-ids")


class Piece(NamedTuple):
    r"""One entry of a vocabulary.

    token: the raw form (`Ġmole`).  data: the UTF-8 bytes that it stands for (` mole`), which may cut a character.
    text: these bytes as text; those that make no whole character are written `\xf0`.
    special: one of the tokenizer's special tokens; the unknown token isn't, as it stands for a part of the text.
    """

    id: int
    token: str
    data: bytes
    text: str
    special: bool

    @classmethod
    def of(cls, identifier: int, token: str, data: bytes, *, special: bool = False) -> Piece:
        return cls(identifier, token, data, data.decode("utf-8", "backslashreplace"), special)


class Encoding(NamedTuple):
    """A text as ids; every field has one entry a token.

    sequences: 0 for tokens of the text, 1 for tokens of its pair, None for tokens that the tokenizer added.
    segments: the model's `token_type_ids`.
    spans: characters of the text or pair, half open; None for an added token, and where the tokenizer keeps no record
    and the place was not found.
    """

    ids: Sequence[int]
    sequences: Sequence[int | None]
    segments: Sequence[int]
    spans: Sequence[Span | None]


class Tokenizer(Protocol):
    """A model's tokenizer, whatever library it comes from.

    class_name: the class that the model names for it.  max_length: the most tokens that the model takes, if known.
    unknown_id: the id of the unknown token, if there is one.
    slow: loaded through transformers, as there was no tokenizer.json.
    note: a message for the user about how it was loaded.
    """

    @property
    def class_name(self) -> str: ...
    @property
    def max_length(self) -> int | None: ...
    @property
    def vocabulary_size(self) -> int: ...
    @property
    def unknown_id(self) -> int | None: ...
    @property
    def slow(self) -> bool: ...
    @property
    def note(self) -> str | None: ...

    def with_special_as_text(self) -> Tokenizer:
        """The same tokenizer, which reads special tokens that are written in a text as ordinary text."""
        ...

    def encode(self, text: str, *, pair: str | None = None, special: bool = True, truncate: bool = False) -> Encoding:
        """Encode a text, or a pair of texts.

        special: add the special tokens that the model expects.  truncate: to `max_length` (if there is one), keeping
        those special tokens.  The truncation and padding in the tokenizer's own file are ignored.
        """
        ...

    def encode_batch(
        self, texts: Sequence[str], *, special: bool = True, truncate: bool = False
    ) -> list[Sequence[int]]:
        """The ids of each text, as `encode` gives them, on all cores where the tokenizer can use them."""
        ...

    def encode_blocks(self, blocks: Iterable[str], *, special: bool = True) -> Iterator[Sequence[int]]:
        """The ids of one text that comes in blocks, part by part."""
        ...

    def differs_from_file(self, text: str) -> bool:
        """Whether the rules of the tokenizer's class give the text other ids than its tokenizer.json would alone.

        Only the first 65,536 characters are looked at. False where there is no such file.
        """
        ...

    def describe(self, ids: Sequence[int]) -> Sequence[Piece | None]:
        """The vocabulary's entry for each id; None where it has none."""
        ...

    def vocabulary(self) -> Iterator[Piece]:
        """Every entry in the order of ids, including added tokens; ids without an entry are left out."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Decode ids with the model's own decoder, without special tokens and without any clean-up of spaces."""
        ...

    @property
    def algorithm(self) -> str:
        """The subword algorithm: `BPE`, `WordPiece`, `Unigram`, `WordLevel`, or the name of a class of Python code."""
        ...

    @property
    def added_count(self) -> int:
        """The number of tokens that were added to the model's own vocabulary."""
        ...

    @property
    def token_bytes(self) -> TokenBytes:
        """How the vocabulary writes bytes, spaces and continued words."""
        ...

    @property
    def composer(self) -> Callable[[str], str] | None:
        """The normaliser as a function of a text, where it may make one character of several (NFC, NFKC, a replaced
        string); None for others. What it adds to a text or strips from its ends is left out."""
        ...

    def pipeline(self) -> TokenizerPipeline | None:
        """The parts of the tokenizer, to explain its steps; None for a class of Python code."""
        ...
