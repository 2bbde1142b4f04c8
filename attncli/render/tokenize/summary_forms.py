"""Forms that hold nothing of single texts: statistics of all of them, and vocabularies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from attncli.render.data import csv_text, json_line
from attncli.render.terminal import Terminal
from attncli.render.tokenize.forms import Form
from attncli.results.tokenize import Record, TokenizeResult
from attncli.results.vocabulary import Search, Vocabulary, VocabularyEntry

if TYPE_CHECKING:
    from attncli.render.tokenize.statistics import TextLine

#: So many texts have a line each among the statistics.
_FEW = 50

#: Every entry of every vocabulary, with the name of its model.
Entries = Callable[[], Iterable[tuple[str, VocabularyEntry]]]


class SummaryForm(Form):
    """Writes in the end what was found in all texts, or in the vocabularies.

    form: `text`, `csv` or `jsonl`.  entries: what rows of vocabularies are made of.
    texts: how many there are; None where that is not known yet. A few stand in lines of their own too.
    """

    def __init__(self, form: str, terminal: Terminal, entries: Entries, texts: int | None = None) -> None:
        self._form = form
        self._terminal = terminal
        self._entries = entries
        self.summary = form != "text" or texts is None or not 2 <= texts <= _FEW
        self._lines: list[TextLine] = []

    def record(self, record: Record) -> str:
        if not self.summary:
            from attncli.render.tokenize.statistics import text_line

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
            from attncli.render.tokenize.statistics import statistics_text

            yield statistics_text(statistics, parity, self._terminal, self._lines)
        elif self._form == "csv":
            from attncli.render.tokenize.statistics_tables import statistics_csv

            yield statistics_csv(statistics, parity)
        else:
            yield from (self._line(each.to_dict()) for each in statistics)

    def _vocabularies(self, summary: TokenizeResult) -> Iterator[str]:
        if self._form == "text":
            from attncli.render.tokenize.vocabulary import vocabulary_text

            yield "\n".join(vocabulary_text(each, self._terminal) for each in summary.vocabularies or ())
        elif any(each.searches for each in summary.vocabularies or ()):
            yield from self._found(summary.vocabularies or ())
        elif self._form == "csv":
            yield csv_text(("model", *VocabularyEntry._fields), ())
            yield from (csv_text((model, *entry), ()) for model, entry in self._entries())
        else:
            yield from (self._line({"model": model, **entry.to_dict()}) for model, entry in self._entries())

    def _found(self, vocabularies: Iterable[Vocabulary]) -> Iterator[str]:
        """The entries that were found, with what was sought and how they match it."""
        if self._form == "csv":
            yield csv_text(("model", "search", "match", *VocabularyEntry._fields), ())
        for vocabulary in vocabularies:
            for search in vocabulary.searches:
                for match, entry in _matches(search):
                    if self._form == "csv":
                        yield csv_text((vocabulary.model, search.text, match, *entry), ())
                    else:
                        start = {"model": vocabulary.model, "search": search.text, "match": match}
                        yield self._line({**start, **entry.to_dict()})

    def _line(self, content: dict[str, object]) -> str:
        return json_line(content, ascii_only=not self._terminal.unicode)


def _matches(search: Search) -> Iterator[tuple[str, VocabularyEntry]]:
    if search.by_id is not None:
        yield "id", search.by_id
    for match in ("exact", "variants", "containing", "cut"):
        yield from ((match, entry) for entry in getattr(search, match))
