"""The forms of what `attn tokenize` finds, each written text by text, so that any number of texts takes no memory.

A form says what stands before the texts, for every text, and after the last one. The short forms (`ids`, `count`) and
npz are content with bare ids, which may come in parts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from attncli.render.data import csv_text, json_line, json_value
from attncli.render.escape import printable
from attncli.results.tokenize import SCHEMA, IdsPart, Record, TokenizedText, TokenizeResult

if TYPE_CHECKING:
    from attncli.results.comparison import Comparison
    from attncli.results.tokenize import Token

#: How much of a tokenized text is wanted: everything, its ids alone, or their number alone.
View = Literal["tokens", "ids", "count"]

_FINDING_COLUMNS = ("kind", "severity", "message", "hint", "segment", "start", "end", "byte_start", "line", "column")
_TOKEN_COLUMNS = ("index", "id", "token", "text", "start", "end", "byte_start", "byte_end", "word", "special")


class Form(ABC):
    """What is written before the texts, for a text, and after them. Every method answers with what to write.

    summary: whether nothing is written of single texts at all.
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
    """A form that ids alone may be enough for.  bare: whether they are; then it can be fed in parts."""

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
        self._digits = _Digits()

    def part(self, part: IdsPart) -> str:
        words = " ".join(map(self._digits.__getitem__, part.ids))
        return f"{'' if part.first or not words else ' '}{words}{_line_end(part, self._several) if part.last else ''}"


def _line_end(part: IdsPart, several: bool) -> str:
    """The name of the model, where there are several, and the newline."""
    return f"\t{printable(part.model)}\n" if several else "\n"


class _Digits(dict[int, str]):
    """Numbers as text, each made once: the ids of a file are few, and come by the million."""

    def __missing__(self, number: int) -> str:
        return self.setdefault(number, str(number))


class CountText(PartsForm):
    """A text per line: the number of its tokens, special ones included; of several models, then a tab and the model's
    name."""

    def __init__(self, *, several: bool = False) -> None:
        self._several = several
        self._tokens = 0

    def part(self, part: IdsPart) -> str:
        self._tokens = len(part.ids) + (0 if part.first else self._tokens)
        return f"{self._tokens}{_line_end(part, self._several)}" if part.last else ""


class JsonForm(PartsForm):
    """One object on one line; with `ids` or `count` its texts hold nothing else."""

    def __init__(self, view: View, *, several: bool, ascii_only: bool) -> None:
        self.bare = view != "tokens"
        self._ascii = ascii_only
        self._lines = JsonLinesForm(view, several=several, ascii_only=ascii_only)
        self._begun = False
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
        comma = ", " if self._begun and not goes_on else ""
        self._begun = True
        return comma + lines.removesuffix("\n").replace("\n", ", ")


class JsonLinesForm(PartsForm):
    """A text per line: everything of it, or `{record, ids}`, or `{record, count}`, with the model where several are."""

    def __init__(self, view: View, *, several: bool, ascii_only: bool) -> None:
        self.bare = view != "tokens"
        self._view = view
        self._several = several
        self._ascii = ascii_only
        self._counter = CountText()

    def record(self, record: Record) -> str:
        if self._view != "tokens":
            return super().record(record)
        return "".join(json_line(text.to_dict(), ascii_only=self._ascii) for text in record.texts)

    def part(self, part: IdsPart) -> str:
        if self._view == "count":
            count = self._counter.part(part)
            return f'{self._named(part)}, "count": {count[:-1]}}}\n' if count else ""
        words = ", ".join(map(str, part.ids))
        opening = f'{self._named(part)}, "ids": [' if part.first else ", " if words else ""
        return f"{opening}{words}{']}' + chr(10) if part.last else ''}"

    def _named(self, part: IdsPart) -> str:
        model = f', "model": {json_value(part.model, ascii_only=self._ascii)}' if self._several else ""
        return f'{{"record": {part.record}{model}'


class CsvForm(PartsForm):
    """A token per row, with the text and the model it belongs to; with `count` a text per row."""

    def __init__(self, view: View, *, several: bool) -> None:
        self.bare = view != "tokens"
        self._view = view
        self._several = several
        self._counter = CountText()
        self._index = 0

    def start(self) -> str:
        columns = {"tokens": _TOKEN_COLUMNS, "ids": ("index", "id"), "count": ("count",)}[self._view]
        model = ("model",) if self._several or self._view == "tokens" else ()
        return csv_text(("record", *model, *columns), ())

    def record(self, record: Record) -> str:
        if self._view != "tokens":
            return super().record(record)
        return "".join(_token_row(text, token) for text in record.texts for token in text.tokens)

    def part(self, part: IdsPart) -> str:
        start = (part.record, part.model) if self._several else (part.record,)
        if self._view == "count":
            count = self._counter.part(part)
            return csv_text((*start, int(count)), ()) if count else ""
        self._index = 0 if part.first else self._index
        opening = csv_text(start, ()).removesuffix("\n")
        rows = "".join(f"{opening},{index},{number}\n" for index, number in enumerate(part.ids, self._index))
        self._index += len(part.ids)
        return rows


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


def _token_row(text: TokenizedText, token: Token) -> str:
    return csv_text((text.record, text.model, *(getattr(token, column) for column in _TOKEN_COLUMNS)), ())
