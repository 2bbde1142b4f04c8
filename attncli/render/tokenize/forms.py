"""The output formats of `attn tokenize`, each written text by text, so that any number of texts needs little memory.

A form returns what to write before the texts, for each text, and after the last one. The short views (`ids`, `count`)
and npz need only ids, which may come in parts. Summaries (statistics, vocabularies) are written at the end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from attncli.render.common.escape import printable
from attncli.render.common.terminal import Terminal
from attncli.render.data import Row, Table, TableStyle, json_line, json_value
from attncli.results.base import to_dict
from attncli.results.tokenize import SCHEMA, IdsPart, Record, TokenizeResult

if TYPE_CHECKING:
    from attncli.render.tokenize.statistics_text import TextLine
    from attncli.results.comparison import Comparison
    from attncli.results.statistics import Parity, ScriptStatistics, TokenizerStatistics, TotalStatistics
    from attncli.results.vocabulary import VocabularyEntry

    #: Every entry of every vocabulary, with the name of its model.
    Entries = Callable[[], Iterable[tuple[str, VocabularyEntry]]]

#: How much of a tokenized text is written: everything, its ids, or their number.
Detail = Literal["tokens", "ids", "count"]


class TokenizeView(NamedTuple):
    """What is shown of the tokens.

    table: a token per row of text.  lint: findings.  summary: statistics or a vocabulary, not tokens.
    models: their names.  texts: their number; None if unknown.  entries: those of all vocabularies; None if unknown.
    """

    detail: Detail = "tokens"
    table: bool = False
    lint: bool = False
    summary: bool = False
    models: Sequence[str] = ()
    texts: int | None = None
    entries: Entries | None = None


#: Texts that have a row each in the statistics, at most.
_MAX_TEXT_LINES = 50
_TEXT_COLUMNS = ("texts", "vocabulary_size", "shortest", "median", "longest", "longer", "max_length")
_FINDING_COLUMNS = ("kind", "severity", "message", "hint", "segment", "start", "end", "byte_start", "line", "column")
_TOKEN_COLUMNS = ("index", "id", "token", "text", "start", "end", "byte_start", "byte_end", "word", "special")


class Form(ABC):
    """An output format. Its methods return what to write before the texts, for each text, and after them.

    summary: whether nothing is written of single texts.
    """

    summary = False

    def start(self) -> str:
        return ""

    @abstractmethod
    def record(self, record: Record) -> str:
        """One text under every model."""

    def end(self, summary: TokenizeResult) -> Iterator[str | bytes]:
        yield from ()


class PartsForm(Form):
    """A form that may need only ids.  bare: whether it does; then texts may come in parts."""

    bare = True

    def record(self, record: Record) -> str:
        return "".join(self.part(IdsPart(text.record, text.model, text.ids)) for text in record.texts)

    @abstractmethod
    def part(self, part: IdsPart) -> str:
        """Some of the ids of a text."""


class IdsText(PartsForm):
    """A text per line: its ids, with a space between them; of several models, then a tab and the model's name."""

    def __init__(self, *, several: bool = False) -> None:
        self._several = several
        self._digits = _NumberTexts()

    def part(self, part: IdsPart) -> str:
        words = " ".join(map(self._digits.__getitem__, part.ids))
        return f"{'' if part.first or not words else ' '}{words}{_line_end(part, self._several) if part.last else ''}"


class CountText(PartsForm):
    """A text per line: the number of its tokens, special ones included; of several models, then a tab and the model's
    name."""

    def __init__(self, *, several: bool = False) -> None:
        self._several = several
        self._tokens = 0

    def part(self, part: IdsPart) -> str:
        self._tokens = len(part.ids) + (0 if part.first else self._tokens)
        return f"{self._tokens}{_line_end(part, self._several)}" if part.last else ""


def _line_end(part: IdsPart, several: bool) -> str:
    """The name of the model, where there are several, and the newline."""
    return f"\t{printable(part.model)}\n" if several else "\n"


class _NumberTexts(dict[int, str]):
    """A cache of numbers as text: a file has millions of tokens, but few different ids."""

    def __missing__(self, number: int) -> str:
        return self.setdefault(number, str(number))


class JsonForm(PartsForm):
    """One JSON object; with `ids` or `count` its texts hold nothing else."""

    def __init__(self, detail: Detail, *, several: bool, ascii_only: bool) -> None:
        self.bare = detail != "tokens"
        self._ascii = ascii_only
        self._lines = JsonLinesForm(detail, several=several, ascii_only=ascii_only)
        self._started = False
        self._comparisons: list[Comparison] = []

    def start(self) -> str:
        return f'{{"schema": {json_value(SCHEMA)}, "texts": ['

    def record(self, record: Record) -> str:
        if record.comparison is not None and not self.bare:
            self._comparisons.append(record.comparison)
        return self._joined(self._lines.record(record))

    def part(self, part: IdsPart) -> str:
        return self._joined(self._lines.part(part), goes_on=not part.first)

    def end(self, summary: TokenizeResult) -> Iterator[str | bytes]:
        if self._comparisons:
            summary = summary._replace(comparisons=tuple(self._comparisons))
        closing = json_line(summary.closing(), ascii_only=self._ascii)
        yield f"], {closing[1:]}"

    def _joined(self, lines: str, *, goes_on: bool = False) -> str:
        if not lines:
            return ""
        comma = ", " if self._started and not goes_on else ""
        self._started = True
        return comma + lines.removesuffix("\n").replace("\n", ", ")


class JsonLinesForm(PartsForm):
    """A text per line: everything of it, or `{record, ids}`, or `{record, count}`, with the model where several are."""

    def __init__(self, detail: Detail, *, several: bool, ascii_only: bool) -> None:
        self.bare = detail != "tokens"
        self._detail = detail
        self._several = several
        self._ascii = ascii_only
        self._counter = CountText()

    def record(self, record: Record) -> str:
        if self._detail != "tokens":
            return super().record(record)
        return "".join(json_line(to_dict(text), ascii_only=self._ascii) for text in record.texts)

    def part(self, part: IdsPart) -> str:
        if self._detail == "count":
            count = self._counter.part(part)
            return f'{self._opening(part)}, "count": {count[:-1]}}}\n' if count else ""
        words = ", ".join(map(str, part.ids))
        opening = f'{self._opening(part)}, "ids": [' if part.first else ", " if words else ""
        return f"{opening}{words}{']}' + chr(10) if part.last else ''}"

    def _opening(self, part: IdsPart) -> str:
        model = f', "model": {json_value(part.model, ascii_only=self._ascii)}' if self._several else ""
        return f'{{"record": {part.record}{model}'


class TableForm(PartsForm):
    """A token per row, with the text and the model it belongs to; with `count` a text per row."""

    def __init__(self, style: TableStyle, detail: Detail, *, several: bool) -> None:
        self.bare = detail != "tokens"
        self._style = style
        self._detail = detail
        self._several = several
        self._counter = CountText()
        self._index = 0

    def start(self) -> str:
        columns = {"tokens": _TOKEN_COLUMNS, "ids": ("index", "id"), "count": ("count",)}[self._detail]
        model = ("model",) if self._several or self._detail == "tokens" else ()
        return self._style.header(("record", *model, *columns))

    def record(self, record: Record) -> str:
        if self._detail != "tokens":
            return super().record(record)
        return "".join(
            self._style.row((text.record, text.model, *(getattr(token, column) for column in _TOKEN_COLUMNS)))
            for text in record.texts
            for token in text.tokens
        )

    def part(self, part: IdsPart) -> str:
        style, start = self._style, (part.record, part.model) if self._several else (part.record,)
        if self._detail == "count":
            count = self._counter.part(part)
            return style.row((*start, int(count))) if count else ""
        self._index = 0 if part.first else self._index
        # A file has millions of ids: only what stands before them is written field by field.
        opening, between = f"{style.row(start).removesuffix(style.end)}{style.separator}", style.separator
        rows = "".join(
            f"{opening}{index}{between}{number}{style.end}" for index, number in enumerate(part.ids, self._index)
        )
        self._index += len(part.ids)
        return rows


class FindingsTable(Form):
    """A finding per row, with the text and the model that it is about."""

    def __init__(self, style: TableStyle) -> None:
        self._row = style.row
        self._header = style.header(("record", "model", *_FINDING_COLUMNS, "file"))

    def start(self) -> str:
        return self._header

    def record(self, record: Record) -> str:
        return "".join(
            self._row((text.record, text.model, *(getattr(finding, column) for column in _FINDING_COLUMNS), file))
            for text in record.texts
            for file in (text.source and text.source.file,)
            for finding in text.findings or ()
        )


class SummaryForm(Form):
    """Writes statistics of all texts, or vocabularies, at the end: what `write` makes of the summary."""

    summary = True

    def __init__(self, write: Callable[[TokenizeResult], Iterator[str]]) -> None:
        self._write = write

    def record(self, record: Record) -> str:
        return ""

    def end(self, summary: TokenizeResult) -> Iterator[str | bytes]:
        return self._write(summary)


class SummaryText(Form):
    """The same for a terminal.  texts: their number; None if unknown. A few texts also have a row each."""

    def __init__(self, terminal: Terminal, texts: int | None = None) -> None:
        self._terminal = terminal
        self.summary = texts is None or not 2 <= texts <= _MAX_TEXT_LINES
        self._lines: list[TextLine] = []

    def record(self, record: Record) -> str:
        if not self.summary:
            from attncli.render.tokenize.statistics_text import text_line

            self._lines += [text_line(text, self._terminal) for text in record.texts]
        return ""

    def end(self, summary: TokenizeResult) -> Iterator[str | bytes]:
        if summary.statistics is not None:
            from attncli.render.tokenize.statistics_text import statistics_text

            yield statistics_text(summary.statistics, summary.parity or (), self._terminal, self._lines)
        if summary.vocabularies is not None:
            from attncli.render.tokenize.vocabulary_text import vocabulary_text

            yield "\n".join(vocabulary_text(each, self._terminal) for each in summary.vocabularies)


# --- Summaries as data


def summary_table(summary: TokenizeResult, entries: Entries) -> Table:
    """The statistics, else the entries that were found, with the search text and the kind of match, else all entries.

    entries: every entry of every vocabulary, with the name of its model.
    """
    if summary.statistics is not None:
        return statistics_columns(), statistics_rows(summary.statistics, summary.parity or ())
    from attncli.results.vocabulary import VocabularyEntry  # plain tokens are drawn without it

    columns = VocabularyEntry._fields
    found = list(_found_entries(summary))
    if any(vocabulary.searches for vocabulary in summary.vocabularies or ()):
        return ("model", "search", "match", *columns), ((*start, *entry) for *start, entry in found)
    return ("model", *columns), ((model, *entry) for model, entry in entries())


def summary_records(summary: TokenizeResult, entries: Entries) -> Iterator[dict[str, object]]:
    """The same as dicts: statistics of a tokenizer, or an entry."""
    if summary.statistics is not None:
        yield from (to_dict(each) for each in summary.statistics)
    elif any(vocabulary.searches for vocabulary in summary.vocabularies or ()):
        for model, search, match, entry in _found_entries(summary):
            yield {"model": model, "search": search, "match": match, **to_dict(entry)}
    else:
        yield from ({"model": model, **to_dict(entry)} for model, entry in entries())


def _found_entries(summary: TokenizeResult) -> Iterator[tuple[str, str, str, VocabularyEntry]]:
    """The model, the search text, and the kind of match of each entry that was found."""
    for vocabulary in summary.vocabularies or ():
        for search in vocabulary.searches:
            if search.by_id is not None:
                yield vocabulary.model, search.text, "id", search.by_id
            for match in ("exact", "variants", "containing", "cut"):
                yield from ((vocabulary.model, search.text, match, entry) for entry in getattr(search, match))


def statistics_columns() -> tuple[str, ...]:
    """The columns of `statistics_rows`."""
    return ("model", "script", *_figure_names(), "parity", *_TEXT_COLUMNS)


def statistics_rows(statistics: Sequence[TokenizerStatistics], parity: Sequence[Parity] = ()) -> Iterator[Row]:
    """A row for each tokenizer with all scripts (`script` None), and one for each of its scripts.

    parity: of each tokenizer but the first, in their order.  Fields without a value for a single script are None.
    """
    for index, each in enumerate(statistics):
        ratio = parity[index - 1] if parity and index else None
        yield (each.model, None, *_figure_values(each.total), ratio and ratio.tokens, *_length_values(each))
        scripts: Mapping[str, float | None] = ratio.scripts if ratio is not None else {}
        for script in each.scripts:
            nothing = (None,) * len(_TEXT_COLUMNS)
            yield (each.model, script.script, *_figure_values(script), scripts.get(script.script), *nothing)


def _figure_names() -> tuple[str, ...]:
    """The names of all figures, first those that both totals and scripts have."""
    from attncli.results.statistics import ScriptStatistics, TotalStatistics  # plain tokens are drawn without it

    both = [name for name in ScriptStatistics._fields if name in TotalStatistics._fields]
    return (*both, *(name for name in TotalStatistics._fields if name not in both))


def _figure_values(figures: TotalStatistics | ScriptStatistics) -> list[object]:
    return [getattr(figures, name, None) for name in _figure_names()]


def _length_values(statistics: TokenizerStatistics) -> tuple[object, ...]:
    return (statistics.texts, statistics.vocabulary_size, *statistics.lengths)
