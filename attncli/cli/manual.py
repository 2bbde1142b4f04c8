"""Manual pages and a command reference, generated from the commands.

    python -m attncli.cli.manual FOLDER    writes attn.1, attn-heads.1, …, and reference.md

They are generated when a package is built (`build_hook.py`), so that they always agree with the help.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from attncli._version import __version__
from attncli.cli.command import VARIABLES, Verb, attn, option_groups
from attncli.errors import ExitCode
from attncli.render.formats import FORMATS
from attncli.verbs import VERBS

Entry = tuple[str, str]


class Page(NamedTuple):
    """The content of a manual page. sections: titles, each with terms and their explanations."""

    name: str
    summary: str
    synopsis: str
    text: str
    examples: tuple[str, ...]
    sections: tuple[tuple[str, tuple[Entry, ...]], ...]
    see_also: tuple[str, ...]

    @property
    def file(self) -> str:
        return f"{self.name.replace(' ', '-')}.1"


def pages() -> Iterator[Page]:
    """The page of `attn`, and one for each verb."""
    top = click.Context(attn, info_name="attn")
    codes = tuple((str(int(code)), code.meaning) for code in ExitCode)
    formats = tuple((f"{form.name} ({form.file_ending})", form.about) for form in FORMATS.values())
    common = (("Environment", tuple(VARIABLES.items())), ("Exit codes", codes), ("Formats", formats))
    options = tuple(record for option in attn.params if (record := option.get_help_record(top)))
    verbs = (
        ("Verbs", tuple((verb.name, verb.summary) for verb in VERBS.values())),
        ("Options", options),
    )
    names = tuple(f"attn {verb}" for verb in VERBS)
    summary = "Look inside any transformer from a terminal."
    yield Page("attn", summary, "attn VERB [OPTIONS] ...", _help_text(attn), (), (*verbs, *common), names)
    for verb, (_, summary, *_) in VERBS.items():
        command = attn.get_command(top, verb)
        assert isinstance(command, Verb)
        context = click.Context(command, info_name=verb, parent=top)
        groups = tuple((title, tuple(records)) for title, records in option_groups(command, context))
        synopsis = f"attn {verb} {' '.join(command.collect_usage_pieces(context))}"
        see_also = ("attn", *(name for name in names if name != f"attn {verb}"))
        yield Page(
            f"attn {verb}", summary, synopsis, _help_text(command), command.examples, (*groups, *common), see_also
        )


def _help_text(command: click.Command) -> str:
    return " ".join((command.help or "").split())


def manual_page(page: Page) -> str:
    """The page in roff with `man` macros, section 1."""
    title = page.name.upper().replace(" ", "-")
    lines = [
        f'.TH {_roff(title)} 1 "" "attncli {__version__}" "attn"',
        ".SH NAME",
        rf"{_roff(page.name.replace(' ', '-'))} \- {_roff(page.summary)}",
        ".SH SYNOPSIS",
        _roff(page.synopsis),
        ".SH DESCRIPTION",
        _roff(page.text),
    ]
    if page.examples:
        lines += [".SH EXAMPLES", ".EX", *map(_roff, page.examples), ".EE"]
    for name, entries in page.sections:
        lines.append(f".SH {_roff(name.upper())}")
        for term, explanation in entries:
            lines += [".TP", rf"\fB{_roff(term)}\fR", _roff(explanation)]
    also = ", ".join(rf"\fB{_roff(name.replace(' ', '-'))}\fR(1)" for name in page.see_also)
    return "\n".join([*lines, ".SH SEE ALSO", also, ""])


def _roff(text: str) -> str:
    """A line of text escaped for roff, which interprets hyphens, backslashes, and `.` or `'` at the start of a line."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text[:1] in ".'" else text


def reference(manual: tuple[Page, ...]) -> str:
    """All commands on one page of Markdown."""
    lines = [f"# Command reference of attn {__version__}", ""]
    for page in manual:
        lines += [f"## {page.name}", "", page.text, "", "```", page.synopsis, "```", ""]
        if page.examples:
            lines += ["```bash", *page.examples, "```", ""]
        for name, entries in page.sections if page.name == "attn" else page.sections[:-2]:
            lines += [f"### {name}", "", "| | |", "| --- | --- |"]
            cells = ((term, explanation.replace("|", r"\|").replace("<", r"\<")) for term, explanation in entries)
            lines += [f"| `{term}` | {explanation} |" for term, explanation in cells] + [""]
    return "\n".join(lines)


def write_pages(folder: Path) -> list[Path]:
    """Write all pages and the reference; returns their paths."""
    manual = tuple(pages())
    files = {page.file: manual_page(page) for page in manual} | {"reference.md": reference(manual)}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return [folder / name for name in files]


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
