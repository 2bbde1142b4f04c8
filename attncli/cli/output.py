"""The output of a verb: which formats go to stdout and to files, checked before any work is done, then written.

Files are written whole or not at all.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from attncli.cli.environment import Environment, StdoutWriter, choose_terminal, to_bytes, write_stdout
from attncli.cli.options import OutputOptions
from attncli.errors import FailedError, UsageError
from attncli.render.common.terminal import ColorDepth, Terminal

#: Renders a result in a format (`text`, `json`, …) for a terminal.
Render = Callable[[str, Terminal], str | bytes]
#: The format for each file ending. Each verb supports some of them.
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
#: Formats drawn by matplotlib.
FIGURES = frozenset({"svg", "pdf", "png"})


class OutputPlan(NamedTuple):
    """Where the result goes, and in which formats.

    stdout: the format on stdout, None for nothing.  files: the format of each file, by its resolved path.
    stdout_terminal, file_terminal: width, colours and characters of text there.  title: of pages and figures.
    """

    stdout: str | None
    files: Mapping[Path, str]
    stdout_terminal: Terminal
    file_terminal: Terminal
    title: str | None = None

    @property
    def forms(self) -> frozenset[str]:
        """All formats of the plan."""
        return frozenset({*self.files.values(), *([self.stdout] if self.stdout else [])})


def plan_output(options: OutputOptions, environment: Environment, *, endings: tuple[str, ...]) -> OutputPlan:
    """Check the output options and files before any work is done.

    Raises UsageError for contradictions and unknown endings, FailedError for files that can't be written.
    """
    form = _chosen_form(options)
    files = _check_files(options.output, endings)
    check_figures(files.values())
    color = "never" if options.no_color else options.color
    stdout_terminal = choose_terminal(environment, color=color, width=options.width, ascii_only=options.ascii)
    file_color = stdout_terminal.color if color == "always" else ColorDepth.NONE
    if environment.is_secondary:
        form, files = None, {}
    file_terminal = stdout_terminal._replace(color=file_color, unicode=not options.ascii)
    return OutputPlan(
        form or (None if files or environment.is_secondary else "text"),
        files,
        stdout_terminal,
        file_terminal,
        options.title,
    )


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


def check_figures(forms: Iterable[str]) -> None:
    """Raise FailedError if a figure is requested and matplotlib isn't installed."""
    form = next((form for form in forms if form in FIGURES), None)
    if form is None:
        return
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise FailedError(
            f".{form} is drawn by matplotlib, which is not installed", hint="pip install 'attncli[figures]'"
        )


class Destination(NamedTuple):
    """One file or stdout: the format there, how text may look, and the function that writes."""

    form: str
    terminal: Terminal
    write: Callable[[bytes], None]
    title: str | None = None


@contextmanager
def open_destinations(
    plan: OutputPlan, environment: Environment, *, before: Callable[[], None]
) -> Iterator[list[Destination]]:
    """Every destination of the plan, for a result that comes in parts. Files are written whole or not at all.

    before: called before each write to stdout.  Raises FailedError; NoReaderError if stdout's reader closed the pipe.
    """
    stdout = StdoutWriter(environment, before=before)
    with atomic_files(plan.files) as files:
        destinations = [
            Destination(form, plan.file_terminal, file.write, plan.title)
            for file, form in zip(files, plan.files.values(), strict=True)
        ]
        yield (
            [*destinations, Destination(plan.stdout, plan.stdout_terminal, stdout.write)]
            if plan.stdout
            else destinations
        )
    if plan.stdout:
        # Last, as output to stdout can't be undone.
        stdout.flush()


def write_result(plan: OutputPlan, render: Render, environment: Environment) -> None:
    """Render every format, then write: files first, as output to stdout can't be undone.

    Raises FailedError; NoReaderError if stdout's reader closed the pipe.
    """
    contents = [(path, to_bytes(render(form, plan.file_terminal))) for path, form in plan.files.items()]
    result = to_bytes(render(plan.stdout, plan.stdout_terminal)) if plan.stdout else None
    write_files(contents)
    if result is not None:
        write_stdout(environment, result)


# --- Files, written whole or not at all


def check_target(name: str) -> Path:
    """The resolved path of an output file: a symbolic link stays, and its target is replaced.

    Raises FailedError if the file can't be written.
    """
    with _write_errors(name):
        target = Path(name).resolve()
        folder = target.parent
        if not folder.is_dir():
            raise FailedError(f"{name} can't be written: there is no folder {folder}", hint=_mkdir_command(folder))
        if target.exists() and not target.is_file():
            kind = "a folder" if target.is_dir() else "no ordinary file"
            raise FailedError(f"{name} can't be written: it is {kind}", hint="-o takes the name of a file")
        if target.exists() and not os.access(target, os.W_OK):
            raise FailedError(f"{name} can't be written: it is write-protected", hint="choose another name for -o")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise FailedError(f"{name} can't be written: {folder} is write-protected", hint="choose another folder")
        return target


def _mkdir_command(folder: Path) -> str:
    """The command that creates a folder and its parents. On Windows mkdir does that without `-p`."""
    if os.name == "nt":
        return f'mkdir "{folder}"'
    from shlex import quote  # only a failure needs it

    return f"mkdir -p {quote(str(folder))}"


@contextmanager
def atomic_files(targets: Iterable[Path]) -> Iterator[list[ResultFile]]:
    """A file to write for every target: at the end all targets are replaced, or none.

    All files are complete on the disk before the first target is replaced, so that a full disk changes nothing.
    Raises FailedError.
    """
    with ExitStack() as stack:
        files = [ResultFile(target) for target in targets]
        for file in files:
            # Registered before the file exists, as a signal may come in between.
            stack.callback(file.remove)
            file.open()
        yield files
        for file in files:
            file.finish()
        for file in files:
            file.replace()


def write_files(contents: Iterable[tuple[Path, bytes]]) -> None:
    """Write every file, or change none. Raises FailedError."""
    pairs = list(contents)
    with atomic_files(target for target, _ in pairs) as files:
        for file, (_, content) in zip(files, pairs, strict=True):
            file.write(content)


class ResultFile:
    """A file that replaces `target` once it is complete; until then, a temporary file in the same folder."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._temporary = target.with_name(f".attn-{os.urandom(8).hex()}.tmp")
        self._file: BinaryIO | None = None

    def open(self) -> None:
        with _write_errors(str(self._target)):
            # Mode 666 less the umask is what any new file gets; the standard library's temporary files have 600.
            self._file = open(self._temporary, "xb", opener=lambda path, flags: os.open(path, flags, 0o666))  # noqa: SIM115

    def write(self, content: bytes) -> None:
        assert self._file is not None
        with _write_errors(str(self._target)):
            self._file.write(content)

    def finish(self) -> None:
        """Flush the file to the disk and close it."""
        assert self._file is not None
        with _write_errors(str(self._target)):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            with suppress(FileNotFoundError):
                self._temporary.chmod(stat.S_IMODE(self._target.stat().st_mode))

    def replace(self) -> None:
        """Replace the target."""
        with _write_errors(str(self._target)):
            self._temporary.replace(self._target)

    def remove(self) -> None:
        """Remove the temporary file, if it is still there."""
        with suppress(OSError):
            if self._file is not None:
                self._file.close()  # writes what is left, which fails again on a full disk
        with suppress(OSError):
            self._temporary.unlink()


@contextmanager
def _write_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        reason = getattr(error, "strerror", None) or str(error)
        raise FailedError(f"{name} can't be written: {reason}", hint="choose another place for -o") from error
