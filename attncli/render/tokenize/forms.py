"""The output formats of `attn tokenize`, each written text by text, so that any number of texts needs little memory.

A form returns what to write before the texts, for each text, and after the last one. The short views (`ids`, `count`)
and npz need only ids, which may come in parts. Summaries (statistics, vocabularies) are written at the end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from attncli.render.common.escape import printable
from attncli.render.common.terminal import Terminal
from attncli.render.data import csv_text, json_line, json_value
from attncli.results.base import to_dict
from attncli.results.tokenize import SCHEMA, IdsPart, Record, TokenizedText, TokenizeResult

if TYPE_CHECKING:
    from attncli.render.tokenize.statistics_text import TextLine
    from attncli.results.comparison import Comparison
    from attncli.results.statistics import Parity, ScriptStatistics, TokenizerStatistics, TotalStatistics
    from attncli.results.tokens import Token
    from attncli.results.vocabulary import Search, Vocabulary, VocabularyEntry

    #: Every entry of every vocabulary, with the name of its model.
    Entries = Callable[[], Iterable[tuple[str, VocabularyEntry]]]

#: How much of a tokenized text is written: everything, its ids, or their number.
Detail = Literal["tokens", "ids", "count"]
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


class CsvForm(PartsForm):
    """A token per row, with the text and the model it belongs to; with `count` a text per row."""

    def __init__(self, detail: Detail, *, several: bool) -> None:
        self.bare = detail != "tokens"
        self._detail = detail
        self._several = several
        self._counter = CountText()
        self._index = 0

    def start(self) -> str:
        columns = {"tokens": _TOKEN_COLUMNS, "ids": ("index", "id"), "count": ("count",)}[self._detail]
        model = ("model",) if self._several or self._detail == "tokens" else ()
        return csv_text(("record", *model, *columns), ())

    def record(self, record: Record) -> str:
        if self._detail != "tokens":
            return super().record(record)
        return "".join(_token_row(text, token) for text in record.texts for token in text.tokens)

    def part(self, part: IdsPart) -> str:
        start = (part.record, part.model) if self._several else (part.record,)
        if self._detail == "count":
            count = self._counter.part(part)
            return csv_text((*start, int(count)), ()) if count else ""
        self._index = 0 if part.first else self._index
        opening = csv_text(start, ()).removesuffix("\n")
        rows = "".join(f"{opening},{index},{number}\n" for index, number in enumerate(part.ids, self._index))
        self._index += len(part.ids)
        return rows


def _token_row(text: TokenizedText, token: Token) -> str:
    return csv_text((text.record, text.model, *(getattr(token, column) for column in _TOKEN_COLUMNS)), ())


class FindingsCsv(Form):
    """A finding per row, with the text and the model that it is about."""

    def start(self) -> str:
        return csv_text(("record", "model", *_FINDING_COLUMNS, "file"), ())

    def record(self, record: Record) -> str:
        return "".join(
            csv_text((text.record, text.model, *(getattr(finding, column) for column in _FINDING_COLUMNS), file), ())
            for text in record.texts
            for file in (text.source and text.source.file,)
            for finding in text.findings or ()
        )


class SummaryForm(Form):
    """Writes statistics of all texts, or vocabularies, at the end.

    form: `text`, `csv` or `jsonl`.  entries: the entries of all vocabularies, for csv and jsonl.
    texts: their number; None if unknown. A few texts also have a row each.
    """

    def __init__(self, form: str, terminal: Terminal, entries: Entries, texts: int | None = None) -> None:
        self._form = form
        self._terminal = terminal
        self._entries = entries
        self.summary = form != "text" or texts is None or not 2 <= texts <= _MAX_TEXT_LINES
        self._lines: list[TextLine] = []

    def record(self, record: Record) -> str:
        if not self.summary:
            from attncli.render.tokenize.statistics_text import text_line

            self._lines += [text_line(text, self._terminal) for text in record.texts]
        return ""

    def end(self, summary: TokenizeResult) -> Iterator[str | bytes]:
        if summary.statistics is not None:
            yield from self._statistics(summary)
        if summary.vocabularies is not None:
            yield from self._vocabularies(summary)

    def _statistics(self, summary: TokenizeResult) -> Iterator[str]:
        statistics, parity = summary.statistics or (), summary.parity or ()
        if self._form == "text":
            from attncli.render.tokenize.statistics_text import statistics_text

            yield statistics_text(statistics, parity, self._terminal, self._lines)
        elif self._form == "csv":
            yield statistics_csv(statistics, parity)
        else:
            yield from (self._line(to_dict(each)) for each in statistics)

    def _vocabularies(self, summary: TokenizeResult) -> Iterator[str]:
        if self._form == "text":
            from attncli.render.tokenize.vocabulary_text import vocabulary_text

            yield "\n".join(vocabulary_text(each, self._terminal) for each in summary.vocabularies or ())
        elif any(each.searches for each in summary.vocabularies or ()):
            yield from self._search_rows(summary.vocabularies or ())
        elif self._form == "csv":
            yield csv_text(("model", *_entry_columns()), ())
            yield from (csv_text((model, *entry), ()) for model, entry in self._entries())
        else:
            yield from (self._line({"model": model, **to_dict(entry)}) for model, entry in self._entries())

    def _search_rows(self, vocabularies: Iterable[Vocabulary]) -> Iterator[str]:
        """The entries that were found, with the search text and the kind of match."""
        if self._form == "csv":
            yield csv_text(("model", "search", "match", *_entry_columns()), ())
        for vocabulary in vocabularies:
            for search in vocabulary.searches:
                for match, entry in _matches(search):
                    if self._form == "csv":
                        yield csv_text((vocabulary.model, search.text, match, *entry), ())
                    else:
                        start = {"model": vocabulary.model, "search": search.text, "match": match}
                        yield self._line({**start, **to_dict(entry)})

    def _line(self, content: dict[str, object]) -> str:
        return json_line(content, ascii_only=not self._terminal.unicode)


def _entry_columns() -> tuple[str, ...]:
    from attncli.results.vocabulary import VocabularyEntry  # plain tokens are drawn without it

    return VocabularyEntry._fields


def _matches(search: Search) -> Iterator[tuple[str, VocabularyEntry]]:
    if search.by_id is not None:
        yield "id", search.by_id
    for match in ("exact", "variants", "containing", "cut"):
        yield from ((match, entry) for entry in getattr(search, match))


# --- Statistics as rows


def statistics_columns() -> tuple[str, ...]:
    """The columns of `statistics_rows`."""
    return ("model", "script", *_figure_names(), "parity", *_TEXT_COLUMNS)


def statistics_rows(
    statistics: Sequence[TokenizerStatistics], parity: Sequence[Parity] = ()
) -> Iterator[tuple[object, ...]]:
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


def statistics_csv(statistics: Sequence[TokenizerStatistics], parity: Sequence[Parity] = ()) -> str:
    """The rows of `statistics_rows` as CSV."""
    return csv_text(statistics_columns(), statistics_rows(statistics, parity))


def _figure_names() -> tuple[str, ...]:
    """The names of all figures, first those that both totals and scripts have."""
    from attncli.results.statistics import ScriptStatistics, TotalStatistics  # plain tokens are drawn without it

    both = [name for name in ScriptStatistics._fields if name in TotalStatistics._fields]
    return (*both, *(name for name in TotalStatistics._fields if name not in both))


def _figure_values(figures: TotalStatistics | ScriptStatistics) -> list[object]:
    return [getattr(figures, name, None) for name in _figure_names()]


def _length_values(statistics: TokenizerStatistics) -> tuple[object, ...]:
    return (statistics.texts, statistics.vocabulary_size, *statistics.lengths)
