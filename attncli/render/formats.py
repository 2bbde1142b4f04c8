"""The output formats, each once: its name and file ending, what it needs, and how it is written.

The options `--format` and `-o`, their completion, the manual and the errors read `FORMATS`. Imports nothing heavy: what
draws a result is imported when it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.render.common.terminal import Terminal
from attncli.verbs import Verb, verb_of

if TYPE_CHECKING:
    from attncli.render.data import TableStyle


class Format(NamedTuple):
    """An output format.

    part: what of a verb it is made from: `text`, `json`, `records`, `table`, `arrays`, `page` or `figure`.
    about: what it holds, for the manual.  on_stdout: whether `--format` takes it; all can be files.
    file_verbs: the verbs that write such files; None: all that have the part.
    table_style: of a table, `module:name`.  package, extra: what draws it, and the extra that installs that.
    all_patterns: it shows the patterns of all heads, where none is chosen; others hold those that were asked for.
    """

    name: str
    part: str
    about: str
    on_stdout: bool = True
    ending: str = ""
    file_verbs: tuple[str, ...] | None = None
    table_style: str | None = None
    package: str | None = None
    extra: str | None = None
    all_patterns: bool = False

    @property
    def file_ending(self) -> str:
        return self.ending or f".{self.name}"

    def style(self) -> TableStyle:
        """How a table is written in this format."""
        assert self.table_style is not None
        module, name = self.table_style.split(":")
        style: TableStyle = getattr(import_module(module), name)
        return style


FORMATS = {
    form.name: form
    for form in (
        Format("text", "text", "As on a terminal.", ending=".txt"),
        Format("json", "json", "Every text as it is."),
        Format(
            "jsonl",
            "records",
            "One JSON object per line: a text, a head, a model or an occurrence.",
            file_verbs=("params", "tokenize"),
        ),
        Format(
            "csv",
            "table",
            "A text that a spreadsheet would take for a formula gets a ' in front: one that begins with =, +, -, @, a"
            " tab or a return and is not a number. Control characters and those that change the writing direction"
            " are escaped.",
            table_style="attncli.render.data:CSV",
        ),
        Format("npz", "arrays", "Arrays for NumPy.", on_stdout=False, all_patterns=True),
        Format("html", "page", "A page in one file, which needs no network.", on_stdout=False, all_patterns=True),
        *(
            Format(
                name,
                "figure",
                "A figure, drawn by matplotlib.",
                on_stdout=False,
                package="matplotlib",
                extra="figures",
                all_patterns=True,
            )
            for name in ("svg", "pdf", "png")
        ),
    )
}

#: Formats that `--format` takes.
STDOUT_FORMATS = tuple(form.name for form in FORMATS.values() if form.on_stdout)


def file_formats(verb: Verb) -> dict[str, Format]:
    """The formats of the files that a verb can write, by their endings."""
    return {
        form.file_ending: form
        for form in FORMATS.values()
        if form.part in verb.parts and (form.file_verbs is None or verb.name in form.file_verbs)
    }


class Look(NamedTuple):
    """How a result shall look.

    terminal: the width, colours and characters of text.  title: of a page or figure.
    cells: a table has a row for each cell of the patterns, not for each head.
    """

    terminal: Terminal = Terminal()
    title: str | None = None
    cells: bool = False

    @property
    def ascii_only(self) -> bool:
        return not self.terminal.unicode


def render(result: Any, form: Format, look: Look) -> str | bytes:
    """A whole result in a format. Raises UsageError for a result that the format can't hold."""
    verb = verb_of(result)
    if verb.streams and form.part != "json":
        content: str | bytes = verb.load("stream")(result, form, look)
    else:
        content = _RENDERERS[form.part](verb, result, form, look)
    return content


def _text(verb: Verb, result: Any, _: Format, look: Look) -> Any:
    return verb.load("text")(result, look.terminal)


def _json(_: Verb, result: Any, __: Format, look: Look) -> str:
    from attncli.render.data import json_text

    return json_text(result, ascii_only=look.ascii_only)


def _records(verb: Verb, result: Any, _: Format, look: Look) -> str:
    from attncli.render.data import json_line

    return "".join(json_line(record, ascii_only=look.ascii_only) for record in verb.load("records")(result))


def _table(verb: Verb, result: Any, form: Format, look: Look) -> str:
    header, rows = verb.load("table")(result, **({"cells": True} if look.cells else {}))
    return form.style().text(header, rows)


def _arrays(verb: Verb, result: Any, _: Format, __: Look) -> bytes:
    from attncli.render.npz import npz_bytes

    return npz_bytes(dict(verb.load("arrays")(result)))


def _page(verb: Verb, result: Any, _: Format, look: Look) -> Any:
    return verb.load("page")(result, title=look.title)


def _figure(verb: Verb, result: Any, form: Format, look: Look) -> Any:
    return verb.load("figure")(result, form.name, title=look.title)


_RENDERERS: dict[str, Callable[[Verb, Any, Format, Look], Any]] = {
    "text": _text,
    "json": _json,
    "records": _records,
    "table": _table,
    "arrays": _arrays,
    "page": _page,
    "figure": _figure,
}
