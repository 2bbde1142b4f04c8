"""What a tokenizer can do, and what it answers: the values between the model layer and the analysis of tokens.

They are named tuples, as in the other modules on the way of `attn tokenize`: making a frozen dataclass takes half a
millisecond each time the program starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from attncli.errors import ModelError

if TYPE_CHECKING:
    from attncli.models.tokenizers.pipeline import TokenizerPipeline
    from attncli.models.tokenizers.token_bytes import TokenBytes

Span = tuple[int, int]


class NoTokenizerError(ModelError):
    """A model that comes without a tokenizer: only ids can be given to it."""

    def __init__(self, model: str) -> None:
        super().__init__(f"{model} has no tokenizer", hint="give it numbers instead of a text: --input-ids")


class Piece(NamedTuple):
    r"""One entry of a vocabulary.

    token: the raw form (`Ġmole`).  data: the UTF-8 bytes that it stands for (` mole`), which may cut a character.
    text: what a reader sees of them; bytes that make no whole character are written `\xf0`.
    special: one of the tokenizer's special tokens; the unknown token is none, as it stands for a part of the text.
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
    """A text as numbers; every field has an entry a token.

    sequences: 0 for tokens of the text, 1 for tokens of its pair, None for tokens that the tokenizer added.
    segments: what the model takes as `token_type_ids`.
    spans: characters of the own text of the token, half open; None for an added token, and where a tokenizer that
    keeps no record was not to be followed.
    """

    ids: Sequence[int]
    sequences: Sequence[int | None]
    segments: Sequence[int]
    spans: Sequence[Span | None]


class Tokenizer(Protocol):
    """A model's tokenizer, whatever library it comes from.

    class_name: the class that the model names for it.  max_length: how many tokens the model takes, if it says.
    unknown_id: the id that stands for what the vocabulary cannot spell, if there is one.
    slow: loaded through transformers, as there was no tokenizer.json.
    note: something about how it was loaded that a user should know.
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

    def encode(self, text: str, *, pair: str | None = None, special: bool = True, truncate: bool = False) -> Encoding:
        """Cut a text, and a second one beside it, into tokens.

        special: add the special tokens that the model expects.  truncate: cut to `max_length` (if there is one) so
        that those special tokens stay.  The truncation and padding of the tokenizer's own file play no part.
        """
        ...

    def encode_batch(
        self, texts: Sequence[str], *, special: bool = True, truncate: bool = False
    ) -> list[Sequence[int]]:
        """The bare ids of each text, as `encode` gives them, by all cores where the tokenizer can use them."""
        ...

    def encode_blocks(self, blocks: Iterable[str], *, special: bool = True) -> Iterator[Sequence[int]]:
        """The bare ids of one text that comes in blocks, part by part."""
        ...

    def describe(self, ids: Sequence[int]) -> Sequence[Piece | None]:
        """The vocabulary's entry for each id; None where it has none."""
        ...

    def vocabulary(self) -> Iterator[Piece]:
        """Every entry by id, added tokens among them; ids that stand for nothing are left out."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """What the model's own decoder makes of ids, special tokens left out; no spaces are tidied beyond that."""
        ...

    @property
    def algorithm(self) -> str:
        """What cuts a word: `BPE`, `WordPiece`, `Unigram`, `WordLevel`, or the name of a class of Python code."""
        ...

    @property
    def added_count(self) -> int:
        """How many tokens were added to the model's own vocabulary."""
        ...

    @property
    def token_bytes(self) -> TokenBytes:
        """How the vocabulary writes its tokens."""
        ...

    def pipeline(self) -> TokenizerPipeline | None:
        """What it is made of, for those who ask how it works; None where it is a class of Python code."""
        ...
