"""Which form writes tokens in an output format: text by text, or a whole result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attncli.errors import UsageError
from attncli.render.common.terminal import Terminal
from attncli.render.data import json_line
from attncli.render.formats import FORMATS, Format, Look
from attncli.render.tokenize.forms import (
    CountText,
    FindingsTable,
    Form,
    IdsText,
    JsonForm,
    JsonLinesForm,
    SummaryForm,
    SummaryText,
    TableForm,
    TokenizeView,
    summary_records,
    summary_table,
)
from attncli.results.tokenize import TokenizeResult

if TYPE_CHECKING:
    from attncli.results.vocabulary import VocabularyEntry  # plain tokens are drawn without it


def open_form(form: Format, look: Look, view: TokenizeView) -> Form:
    """The form that writes texts in an output format, one after another."""
    several = len(view.models) > 1
    if form.part == "arrays":
        from attncli.render.npz import IdsForm

        return IdsForm()
    if form.part == "json":
        return JsonForm(view.detail, several=several, ascii_only=look.ascii_only)
    if form.part == "page":
        # A page of tokens, with the rest of the result beneath as text for a terminal.
        from attncli.render.html.tokenize import SCREEN, PageForm

        report = _text_form(SCREEN, view._replace(detail="tokens", table=False))
        return PageForm(report, tokens=not view.summary, title=look.title)
    if form.part == "table":
        return _table_form(form, view, several=several)
    if form.part == "records":
        return _records_form(look, view, several=several)
    return _text_form(look.terminal, view)


def _text_form(terminal: Terminal, view: TokenizeView) -> Form:
    if view.summary:
        return SummaryText(terminal, view.texts)
    if view.detail != "tokens":
        several = len(view.models) > 1
        return IdsText(several=several) if view.detail == "ids" else CountText(several=several)
    from attncli.render.tokenize.text import RecordText

    return RecordText(terminal, models=view.models, table=view.table, lint=view.lint, count=view.texts)


def _table_form(form: Format, view: TokenizeView, *, several: bool) -> Form:
    style = form.style()

    def write(summary: TokenizeResult) -> Iterator[str]:
        columns, rows = summary_table(summary, view.entries or _no_entries)
        yield style.header(columns)
        yield from map(style.row, rows)

    if view.summary:
        return SummaryForm(write)
    return FindingsTable(style) if view.lint else TableForm(style, view.detail, several=several)


def _records_form(look: Look, view: TokenizeView, *, several: bool) -> Form:
    def write(summary: TokenizeResult) -> Iterator[str]:
        records = summary_records(summary, view.entries or _no_entries)
        return (json_line(record, ascii_only=look.ascii_only) for record in records)

    if view.summary:
        return SummaryForm(write)
    return JsonLinesForm(view.detail, several=several, ascii_only=look.ascii_only)


def _no_entries() -> Iterator[tuple[str, VocabularyEntry]]:
    raise UsageError(
        "a saved result contains only the vocabulary entries that were searched",
        hint="list them all with attn tokenize --vocab -m MODEL",
    )


# --- Whole results


def render_stream(result: TokenizeResult, form: Format, look: Look) -> str | bytes:
    """A whole result in an output format."""
    view = TokenizeView(
        lint=any(text.findings is not None for text in result.texts),
        summary=result.statistics is not None or result.vocabularies is not None,
        models=list(dict.fromkeys(text.model for text in result.texts)),
        texts=len({text.record for text in result.texts}),
    )
    writer = open_form(form, look, view)
    parts: list[str | bytes] = [writer.start()]
    parts += map(writer.record, result.records())
    parts += writer.end(result)
    if form.part == "arrays":
        return b"".join(part for part in parts if isinstance(part, bytes))
    return "".join(map(str, parts))


def tokenize_text(result: TokenizeResult, terminal: Terminal) -> str:
    """The result for a terminal of this width, colour depth and character set; no line is wider than the terminal."""
    return str(render_stream(result, FORMATS["text"], Look(terminal)))


def tokenize_html(result: TokenizeResult, *, title: str | None = None) -> str:
    """A whole result as one HTML document that needs nothing else."""
    return str(render_stream(result, FORMATS["html"], Look(title=title)))
