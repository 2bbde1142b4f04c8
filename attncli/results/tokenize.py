"""The result of `attn tokenize`: texts and their tokens, comparisons, statistics and vocabularies. Imports no numpy.

The command must start at once. For the same reason its values are named tuples, which are defined ten times as fast as
dataclasses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from attncli.results.base import MadeBy, from_dict, shortened, show_result, struct, to_dict
from attncli.results.tokens import Token

if TYPE_CHECKING:
    # Each belongs to a separate view: plain tokens don't pay for its definition.
    from attncli.results.chat import Chat
    from attncli.results.comparison import Comparison
    from attncli.results.explanation import Explanation
    from attncli.results.marks import OPTIONAL
    from attncli.results.statistics import Parity, TokenizerStatistics
    from attncli.results.vocabulary import Finding, Unreachable, Vocabulary

#: The modules of these classes, for those who write or read one.
LAZY = {
    "Chat": "chat",
    "Comparison": "comparison",
    "Explanation": "explanation",
    "Parity": "statistics",
    "TokenizerStatistics": "statistics",
    **dict.fromkeys(("Finding", "Unreachable", "Vocabulary"), "vocabulary"),
}

SCHEMA: Literal["attncli.tokenize/1"] = "attncli.tokenize/1"

#: The name under which emoji and other symbols, which have no script, are counted.
SYMBOLS = "Symbols"

#: From this share of its characters, unknown tokens make a text's other figures misleading.
MUCH_UNKNOWN = 0.1


@struct(short=False)
class TokenStats(NamedTuple):
    """Counts and ratios of one text; added special tokens are counted only in `special_tokens`.

    tokens, special_tokens, words, characters, bytes (of UTF-8): how many.  bytes_per_token, characters_per_token.
    Words are maximal runs of non-space characters in scripts with spaces between words; words_unspaced are those in
    other scripts, and of symbols. fertility = tokens / words; continued_words are those of two or more tokens, without
    the punctuation around them (Rust et al. 2021), continued_words_share of all. unknown: tokens for characters that
    the vocabulary lacks, unknown_share of all. A ratio is None where its denominator is 0.

    spaced_tokens, spaced_words: the two numbers of fertility (the latter is `words`).  unspaced_scripts: the scripts
    that it leaves out, those with the most characters first.  unknown_characters: characters that unknown tokens
    replace.
    """

    tokens: int
    special_tokens: int
    words: int
    characters: int
    bytes: int
    bytes_per_token: float | None
    characters_per_token: float | None
    fertility: float | None
    continued_words: int
    continued_words_share: float | None
    unknown: int
    unknown_share: float | None
    spaced_tokens: int = 0
    spaced_words: int = 0
    unspaced_scripts: tuple[str, ...] = ()
    unknown_characters: int = 0
    words_unspaced: int = 0

    @property
    def has_much_unknown(self) -> bool:
        """Whether so much of the text became unknown tokens, which may replace text of any length, that the other
        figures are misleading."""
        return self.unknown_characters > 0 and self.unknown_characters >= MUCH_UNKNOWN * self.characters


@struct(short=False)
class Source(NamedTuple):
    """Where a text begins: in which file (`stdin`; None for a text that was given itself), and in which line of it,
    from 1."""

    file: str | None
    line: int = 1


@struct("record model text pair tokens stats max_length unknown_id sequences source chat why findings", short=False)
class TokenizedText(NamedTuple):
    """One text cut by one model's tokenizer. `record` counts the texts of the call from 0.

    model: its name.  text: None where only ids were given.  pair: the second segment beside it.
    tokens: in their order.  stats: what can be counted of them.
    max_length: the number of tokens that the model takes, if it says.
    sequences: an entry a token, 0 for those of the text, 1 for those of its pair, None for added ones; empty where all
    are of the text.  unknown_id: the id that stands for what the vocabulary can't spell.
    chat: whose the tokens are, where the text is a conversation.  why: how the tokenizer came to them.
    findings: what is odd about them.  None where it was not asked for.
    source: where the text was read; None where it was given itself, and for a conversation, which a template wrote.
    """

    record: int
    model: str
    text: str | None
    tokens: tuple[Token, ...]
    stats: TokenStats
    max_length: int | None = None
    pair: str | None = None
    sequences: Annotated[tuple[int | None, ...], OPTIONAL] = ()
    unknown_id: int | None = None
    chat: Annotated[Chat | None, OPTIONAL] = None
    why: Annotated[Explanation | None, OPTIONAL] = None
    findings: Annotated[tuple[Finding, ...] | None, OPTIONAL] = None
    source: Annotated[Source | None, OPTIONAL] = None

    def __repr__(self) -> str:
        text = "ids" if self.text is None else shortened(self.text)
        return f"<TokenizedText {text} by {self.model!r}: {len(self.tokens):,} tokens>"

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]


@struct()
class Record(NamedTuple):
    """One text of the call under every model, in the order in which the user named them.

    comparison: where they cut it differently; None for one model, for ids, and where chat templates wrote different
    texts.
    """

    record: int
    texts: tuple[TokenizedText, ...]
    comparison: Comparison | None = None


@struct()
class IdsPart(NamedTuple):
    """Some of the ids of one text under one model. first, last: whether they contain the text's beginning and end."""

    record: int
    model: str
    ids: Sequence[int]
    first: bool = True
    last: bool = True


@show_result
@struct("schema texts comparisons statistics parity vocabularies unreachable failures warnings made_by")
class TokenizeResult(NamedTuple):
    """Every text under every model, text by text, and summaries of all texts.

    texts: each under the first model, then under the others, before the next.  made_by: versions of the libraries.
    warnings: problems of the tokenizers and the texts.
    comparisons: one per text, where there are several models.  statistics: one per model; parity: of each model but the
    first.  vocabularies, unreachable: one per model.  failures: a sentence for each check that failed.
    All of these from `comparisons` on are None if not requested.
    """

    texts: tuple[TokenizedText, ...]
    made_by: MadeBy
    warnings: tuple[str, ...] = ()
    comparisons: Annotated[tuple[Comparison, ...] | None, OPTIONAL] = None
    statistics: Annotated[tuple[TokenizerStatistics, ...] | None, OPTIONAL] = None
    parity: Annotated[tuple[Parity, ...] | None, OPTIONAL] = None
    vocabularies: Annotated[tuple[Vocabulary, ...] | None, OPTIONAL] = None
    unreachable: Annotated[tuple[Unreachable, ...] | None, OPTIONAL] = None
    failures: Annotated[tuple[str, ...] | None, OPTIONAL] = None

    def with_records(self, records: Iterable[Record]) -> TokenizeResult:
        """This summary with its texts."""
        records = list(records)
        compared = tuple(record.comparison for record in records if record.comparison is not None)
        return self._replace(
            texts=tuple(text for record in records for text in record.texts), comparisons=compared or None
        )

    def records(self) -> Iterator[Record]:
        """The texts of each record together, with where the models cut them differently."""
        comparisons = iter(self.comparisons or ())
        for number, texts in groupby(self.texts, lambda text: text.record):
            yield Record(number, tuple(texts), next(comparisons, None))

    @property
    def schema(self) -> Literal["attncli.tokenize/1"]:
        return SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """Exactly the JSON that `attn tokenize --json` prints."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TokenizeResult:
        """The result of such JSON."""
        return from_dict(cls, data)  # type: ignore[no-any-return]

    def closing(self) -> dict[str, object]:
        """The JSON after the texts, which may be written one by one."""
        content = to_dict(self._replace(texts=()))
        return {key: content[key] for key in content if key not in ("schema", "texts")}


def sequences(text: TokenizedText) -> list[int | None]:
    """For each token 0 if it is in the text, 1 if in its pair, None without a position in either."""
    owners = text.sequences or (0,) * len(text.tokens)
    return [None if token.start is None else owner for token, owner in zip(text.tokens, owners, strict=True)]


def input_texts(text: TokenizedText) -> tuple[str, ...]:
    """The text, and its pair if there is one; empty for ids without a text."""
    if text.text is None:
        return ()
    return (text.text,) if text.pair is None else (text.text, text.pair)
