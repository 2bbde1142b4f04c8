"""How the ring runs `attn`. Nothing else in this package knows a module inside `attncli`."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Bytes(io.BytesIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, content: bytes = b"", *, terminal: bool = False) -> None:
        super().__init__(content)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


class Outcome(NamedTuple):
    code: int
    out: bytes
    err: str


def run_attn(
    arguments: Sequence[str],
    *,
    stdin: bytes | None = None,
    variables: Mapping[str, str],
    terminal: bool = False,
    encoding: str = "utf-8",
) -> Outcome:
    """Run `attn` in this process. stdin None: a keyboard. terminal: whether stdout is one."""
    from attncli.cli.environment import Environment
    from attncli.cli.main import run

    environment = Environment(
        stdin=Bytes(stdin or b"", terminal=stdin is None),
        stdout=Bytes(terminal=terminal),
        stderr=io.StringIO(),
        variables=variables,
        encoding=encoding,
    )
    code = run(list(arguments), environment)
    assert isinstance(environment.stdout, Bytes) and isinstance(environment.stderr, io.StringIO)
    return Outcome(int(code), environment.stdout.getvalue(), environment.stderr.getvalue())


def complete(line: str, shell: str, piece: str | None = None) -> Outcome:
    """What a shell gets that asks how the last word of `line` goes on; `piece` is what bash takes for that word."""
    # Bash hands over the line, zsh the words and which of them, fish the words and the last of them.
    last = line.split(" ")[-1]
    asked = {"COMP_LINE": line, "COMP_PIECE": last if piece is None else piece, "COMP_WORDS": line}
    asked["COMP_CWORD"] = last if shell == "fish" else str(len(line.split(" ")) - 1)
    shown = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    before = dict(os.environ)
    os.environ.update(asked)
    try:
        with contextlib.redirect_stdout(shown):
            outcome = run_attn([], variables={"_ATTN_COMPLETE": f"{shell}_complete"})
    finally:
        os.environ.clear()
        os.environ.update(before)
    shown.flush()
    printed: io.BytesIO = shown.buffer  # type: ignore[assignment]
    return outcome._replace(out=outcome.out + printed.getvalue())


def run_python(source: str) -> Outcome:
    """What a program prints that has `attncli` imported; its error is on stderr, without the traceback."""
    import attncli

    printed, code, error = io.StringIO(), 0, ""
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        try:
            exec(source, {"attncli": attncli})
        except Exception as raised:
            code, error = 1, f"{type(raised).__name__}: {raised}\n"
    return Outcome(code, printed.getvalue().encode(), error)


def write_manual(folder: Path) -> None:
    """Write the manual pages and the command reference that are built into the packages."""
    from attncli.cli.manual import write_pages

    write_pages(folder)


def shown_again(path: Path, form: str) -> str:
    """A saved result as text of 80 columns, as a page, or as an SVG figure."""
    import attncli
    from attncli.render.formats import FORMATS, Look, render

    result = attncli.read(path)
    if form == "text":
        return f"{result}\n"
    content = render(result, FORMATS[form], Look())
    return content if isinstance(content, str) else content.decode()


def package_files(*endings: str) -> list[Path]:
    """Files of the package with these endings, wherever they are in it."""
    import attncli

    folder = Path(attncli.__file__).parent
    return sorted(path for path in folder.rglob("*") if path.suffix in endings)
