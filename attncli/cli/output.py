"""The output of a verb: which formats go to stdout and to files, checked before any work is done, then written.

Files are written whole or not at all.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

from attncli.cli.environment import Environment, StdoutWriter, choose_terminal, to_bytes, write_stdout
from attncli.cli.options import OutputOptions
from attncli.errors import FailedError, UsageError
from attncli.render.common.terminal import ColorDepth
from attncli.render.formats import FORMATS, Format, Look, file_formats, render
from attncli.verbs import Verb

#: How a PNG file begins; its header, with width and height, follows.
_PNG = b"\x89PNG\r\n\x1a\n"


class OutputPlan(NamedTuple):
    """Where the result goes, and in which formats.

    stdout: the format on stdout, None for nothing.  files: the format of each file, by its resolved path.
    stdout_look, file_look: how the result looks there.  names: the files as typed; none with -q.
    """

    stdout: Format | None
    files: Mapping[Path, Format]
    stdout_look: Look
    file_look: Look
    names: Mapping[Path, str] = MappingProxyType({})

    @property
    def forms(self) -> frozenset[Format]:
        """All formats of the plan."""
        return frozenset((*self.files.values(), *([self.stdout] if self.stdout else [])))


def plan_output(options: OutputOptions, environment: Environment, verb: Verb) -> OutputPlan:
    """Check the output options and files before any work is done.

    Raises UsageError for contradictions and unknown endings, FailedError for files that can't be written.
    """
    if options.json and options.format not in (None, "json"):
        raise UsageError(f"--json and --format {options.format} can't be combined", hint="leave one of them out")
    name = "json" if options.json else options.format
    typed = _check_files(options.output, file_formats(verb))
    files = {path: form for path, (form, _) in typed.items()}
    check_packages(files.values())
    if name is None and not files:
        name = "text"
    color = "never" if options.no_color else options.color
    terminal = choose_terminal(
        environment, color=color, width=options.width, ascii_only=options.ascii, full=options.full
    )
    file_color = terminal.color if color == "always" else ColorDepth.NONE
    file_terminal = terminal._replace(color=file_color, unicode=not options.ascii)
    return OutputPlan(
        None if name is None or environment.is_secondary else FORMATS[name],
        {} if environment.is_secondary else files,
        Look(terminal, options.title),
        Look(file_terminal, options.title),
        {} if options.quiet else {path: name for path, (_, name) in typed.items()},
    )


def _check_files(names: tuple[str, ...], forms: Mapping[str, Format]) -> dict[Path, tuple[Format, str]]:
    """The format of each file and its name as typed, by its resolved path."""
    files: dict[Path, tuple[Format, str]] = {}
    for name in names:
        ending = Path(name).suffix.lower()
        if ending not in forms:
            what = f"the ending {ending} is not a known format" if ending else "the name has no ending"
            raise UsageError(f"-o {name}: {what}", hint=f"the name can end in {', '.join(forms)}")
        target = check_target(name)
        if target in files:
            raise UsageError(f"-o {target} was given twice", hint="give each file a different name")
        files[target] = forms[ending], name
    return files


def check_packages(forms: Iterable[Format]) -> None:
    """Raise FailedError if a format needs a package that isn't installed."""
    for form in forms:
        if form.package is None:
            continue
        from importlib.util import find_spec

        if find_spec(form.package) is None:
            raise FailedError(
                f"{form.file_ending} files need the package {form.package}, which is not installed",
                hint=f"pip install 'attncli[{form.extra}]'",
            )


class Destination(NamedTuple):
    """One file or stdout: the format there, how the result looks, and the function that writes."""

    form: Format
    look: Look
    write: Callable[[bytes], None]


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
            Destination(form, plan.file_look, file.write) for file, form in zip(files, plan.files.values(), strict=True)
        ]
        if plan.stdout:
            destinations.append(Destination(plan.stdout, plan.stdout_look, stdout.write))
        yield destinations
    before()
    _tell_written(plan, environment)
    if plan.stdout:
        # Last, as output to stdout can't be undone.
        stdout.flush()


def write_result(
    plan: OutputPlan, result: Any, environment: Environment, *, data: Any = None, cells: bool = False
) -> None:
    """Render every format, then write: files first, as output to stdout can't be undone.

    data: what formats hold that don't need the patterns of all heads, and are no text; None: the result.
    cells: see `Look`.  Raises FailedError; NoReaderError if stdout's reader closed the pipe.
    """

    def rendered(form: Format, look: Look) -> bytes:
        whole = data is None or form.all_patterns or form.part == "text"
        return to_bytes(render(result if whole else data, form, look._replace(cells=cells)))

    contents = [(path, rendered(form, plan.file_look)) for path, form in plan.files.items()]
    shown = rendered(plan.stdout, plan.stdout_look) if plan.stdout else None
    with atomic_files(path for path, _ in contents) as files:
        for file, (_, content) in zip(files, contents, strict=True):
            file.write(content)
    _tell_written(plan, environment)
    if shown is not None:
        write_stdout(environment, shown)


def write_file(name: str, result: Any, title: str | None) -> str:
    """Write a result to one file, in the format of its ending; returns what was written.

    Raises UsageError for an unknown ending, FailedError for a file that can't be written.
    """
    from attncli.render.common.escape import printable
    from attncli.verbs import verb_of

    ((target, (form, _)),) = _check_files((name,), file_formats(verb_of(result))).items()
    check_packages([form])
    content = to_bytes(render(result, form, Look(title=title)))
    with atomic_files([target]) as (file,):
        file.write(content)
    return f"wrote {printable(name)}, {_size_text(target)}"


def _tell_written(plan: OutputPlan, environment: Environment) -> None:
    """Say on stderr which files were written, and how large they are."""
    if not plan.names:
        return
    from attncli.render.common.escape import printable  # a command that writes no file needs neither

    for path, name in plan.names.items():
        if path in plan.files:
            environment.write_line(f"wrote {printable(name)}, {_size_text(path)}")


def _size_text(path: Path) -> str:
    """The pixels of a PNG as `1950 × 1437`, else the bytes."""
    from attncli.render.common.numbers import bytes_text

    with path.open("rb") as file:
        start = file.read(24)
    if start.startswith(_PNG):
        width, height = (int.from_bytes(start[at : at + 4], "big") for at in (16, 20))
        return f"{width} × {height}"
    return bytes_text(path.stat().st_size)


# --- Files, written whole or not at all


def check_target(name: str) -> Path:
    """The resolved path of an output file: a symbolic link stays, and its target is replaced.

    Raises FailedError if the file can't be written.
    """
    with _write_errors(name):
        target = Path(name).resolve()
        folder = target.parent
        if not folder.is_dir():
            from shlex import quote  # only a failure needs it

            # On Windows mkdir creates the parents, too.
            command = f'mkdir "{folder}"' if os.name == "nt" else f"mkdir -p {quote(str(folder))}"
            raise FailedError(f"{name} can't be written: there is no folder {folder}", hint=command)
        if target.exists() and not target.is_file():
            kind = "a folder" if target.is_dir() else "not a regular file"
            raise FailedError(f"{name} can't be written: it is {kind}", hint="give -o the name of a file")
        if target.exists() and not os.access(target, os.W_OK):
            raise FailedError(f"{name} can't be written: it is write-protected", hint="choose another name for -o")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise FailedError(f"{name} can't be written: {folder} is write-protected", hint="choose another folder")
        return target


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
        raise FailedError(f"{name} can't be written: {reason}", hint="choose another file name for -o") from error
