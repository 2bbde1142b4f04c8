"""Which forms of a result go where: decided before any work is done, delivered at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from attncli.cli.environment import Environment
from attncli.cli.files import check_target, whole_files, write_files
from attncli.cli.options import OutputOptions
from attncli.cli.streams import StdoutWriter, encoded, write_stdout
from attncli.cli.terminal import choose_terminal
from attncli.errors import FailedError, UsageError
from attncli.render.common.terminal import ColorDepth, Terminal

#: Lowers a result to a form (`text`, `json`, …) for a terminal.
Render = Callable[[str, Terminal], str | bytes]

#: Endings of files -> form. Each verb knows some of them.
ENDINGS = {
    ".txt": "text",
    ".json": "json",
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".npz": "npz",
    ".html": "html",
    ".svg": "svg",
    ".pdf": "pdf",
    ".png": "png",
}

#: Forms that are drawn by matplotlib.
FIGURES = frozenset({"svg", "pdf", "png"})


class Plan(NamedTuple):
    """stdout: the form that stdout gets, None for nothing.  files: the form of each file, by its real path.

    screen, page: what text on stdout and text in a file may look like.  title: of pages and figures.
    """

    stdout: str | None
    files: Mapping[Path, str]
    screen: Terminal
    page: Terminal
    title: str | None = None

    @property
    def forms(self) -> frozenset[str]:
        """Every form that will be wanted."""
        return frozenset({*self.files.values(), *([self.stdout] if self.stdout else [])})


def plan_output(options: OutputOptions, environment: Environment, *, endings: tuple[str, ...]) -> Plan:
    """Check everything about the output that can be checked before there is any.

    Raises UsageError for contradictions and unknown endings, FailedError for places that can't be written.
    """
    form = _chosen_form(options)
    files = _check_files(options.output, endings)
    check_figures(files.values())
    color = "never" if options.no_color else options.color
    screen = choose_terminal(environment, color=color, width=options.width, ascii_only=options.ascii)
    page_color = screen.color if color == "always" else ColorDepth.NONE
    if environment.follows:
        form, files = None, {}
    page = screen._replace(color=page_color, unicode=not options.ascii)
    return Plan(form or (None if files or environment.follows else "text"), files, screen, page, options.title)


def check_figures(forms: Iterable[str]) -> None:
    """Raise FailedError if a figure is wanted and there is nothing to draw it with: known before any work is done."""
    form = next((form for form in forms if form in FIGURES), None)
    if form is None:
        return
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise FailedError(
            f".{form} is drawn by matplotlib, which is not installed", hint="pip install 'attncli[figures]'"
        )


class Outlet(NamedTuple):
    """One place that the result goes to, the form that it wants there, and how that may look."""

    form: str
    terminal: Terminal
    write: Callable[[bytes], None]
    title: str | None = None


@contextmanager
def open_outlets(plan: Plan, environment: Environment, *, before: Callable[[], None]) -> Iterator[list[Outlet]]:
    """Every place of the plan, for a result that comes bit by bit: files get theirs whole or not at all.

    before: called before each write to stdout.  Raises FailedError; NoReaderError where nobody reads stdout any more.
    """
    stdout = StdoutWriter(environment, before=before)
    with whole_files(plan.files) as files:
        outlets = [
            Outlet(form, plan.page, file.write, plan.title)
            for file, form in zip(files, plan.files.values(), strict=True)
        ]
        yield [*outlets, Outlet(plan.stdout, plan.screen, stdout.write)] if plan.stdout else outlets
    if plan.stdout:
        # Last, as stdout can't be taken back.
        stdout.flush()


def deliver(plan: Plan, render: Render, environment: Environment) -> None:
    """Render every form, then write: files first, as stdout can't be taken back.

    Raises FailedError; NoReaderError where nobody reads stdout any more.
    """
    contents = [(path, encoded(render(form, plan.page))) for path, form in plan.files.items()]
    result = encoded(render(plan.stdout, plan.screen)) if plan.stdout else None
    write_files(contents)
    if result is not None:
        write_stdout(environment, result)


def _chosen_form(options: OutputOptions) -> str | None:
    if options.json and options.format not in (None, "json"):
        raise UsageError(f"--json and --format {options.format} contradict each other", hint="leave one of them out")
    return "json" if options.json else options.format


def _check_files(names: tuple[str, ...], endings: tuple[str, ...]) -> dict[Path, str]:
    files: dict[Path, str] = {}
    for name in names:
        ending = Path(name).suffix.lower()
        if ending not in endings:
            known = ", ".join(endings)
            raise UsageError(f"-o {name}: the ending says no known form", hint=f"end the name in one of {known}")
        target = check_target(name)
        if target in files:
            raise UsageError(f"-o names {target} twice", hint="give each file a name of its own")
        files[target] = ENDINGS[ending]
    return files
