"""`attn heads --browse` in a real terminal, which it leaves as it was; and its refusals."""

from __future__ import annotations

import os
import select
import signal
import struct
import subprocess
import sys
import time
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import attncli
from attncli.cli.environment import Environment
from attncli.cli.main import run
from tests.cli.conftest import attn

ROOT = Path(__file__).parents[2]
INDUCTION = ("abcdefgh abcdefgh", "-m", "builtin:induction", "--browse")
#: The alternate screen, entered and left.
ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"


class Ended(NamedTuple):
    code: int
    out: bytes
    stdout: str
    restored: bool


def in_terminal(
    *arguments: str, send: list[tuple[bytes, bytes | int]], size: tuple[int, int] = (80, 24), stdin: str | None = None
) -> Ended:
    """Run `attn heads` on a pseudo-terminal. send: what to wait for on the screen, and then keys or a signal."""
    fcntl, pty, termios = (pytest.importorskip(name, reason="needs POSIX") for name in ("fcntl", "pty", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    before = termios.tcgetattr(theirs)

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(2, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-m", "attncli", "heads", *arguments],
        stdin=theirs if stdin is None else subprocess.PIPE, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT,
        env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}, preexec_fn=own_terminal,
    )  # fmt: skip
    if stdin is not None and process.stdin is not None:
        process.stdin.write(stdin.encode())
        process.stdin.close()
    out, seen, waiting, deadline = b"", 0, list(send), time.monotonic() + 120
    while time.monotonic() < deadline and (process.poll() is None or select.select([ours], [], [], 0)[0]):
        if select.select([ours], [], [], 0.1)[0]:
            out += os.read(ours, 65536)
        if waiting and waiting[0][0] in out[seen:]:
            seen = len(out)
            time.sleep(0.3)  # until the picture is drawn
            _, keys = waiting.pop(0)
            os.write(ours, keys) if isinstance(keys, bytes) else process.send_signal(keys)
    process.kill()
    code = process.wait()
    written = "" if process.stdout is None else process.stdout.read().decode()
    restored = termios.tcgetattr(theirs) == before
    for each in (ours, theirs):
        os.close(each)
    assert not waiting, (waiting, out[-2000:])
    return Ended(code, out, written, restored)


needs_textual = pytest.mark.skipif(
    not __import__("importlib").util.find_spec("textual"), reason="--browse needs the extra browse (Textual)"
)


@needs_textual
@pytest.mark.processes
@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_it_draws_takes_keys_and_leaves_the_terminal_as_it_was(size: tuple[int, int]) -> None:
    ended = in_terminal(*INDUCTION, send=[(b"prediction", b"\x1b[B"), (b"head 1.", b"q")], size=size)
    assert (ended.code, ended.stdout, ended.restored) == (0, "", True)
    assert ENTERED in ended.out and ended.out.rindex(LEFT) > ended.out.rindex(ENTERED)
    assert b"\x1b[?25h" in ended.out[ended.out.rindex(ENTERED) :]  # the cursor shows again


@needs_textual
@pytest.mark.processes
def test_keys_come_from_the_terminal_where_the_text_comes_from_stdin() -> None:
    ended = in_terminal("-", *INDUCTION[1:], send=[(b"prediction", b"y"), (b"abcabc", b"q"), (b"prediction", b"q")],
                        stdin="abcabc")  # fmt: skip
    assert (ended.code, ended.restored) == (0, True)


@needs_textual
@pytest.mark.processes
@pytest.mark.parametrize(
    ("keys", "code"), [(b"\x03", 130), (signal.SIGTERM, 143), (signal.SIGINT, 130), (getattr(signal, "SIGHUP", 1), 129)]
)
def test_a_signal_and_ctrl_c_end_it_in_order(keys: bytes | int, code: int) -> None:
    ended = in_terminal(*INDUCTION, send=[(b"prediction", keys)])
    assert (ended.code, ended.restored) == (code, True)
    assert LEFT in ended.out


@needs_textual
@pytest.mark.processes
def test_an_error_before_the_first_picture_is_the_commands_own() -> None:
    ended = in_terminal(" ", "-m", "builtin:induction", "--browse", send=[])
    assert (ended.code, ended.restored) == (2, True)
    assert b"error: the text is only white space" in ended.out[ended.out.rindex(LEFT) :]


# --- Refusals


class Screen(StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


def refused(*arguments: str, **variables: str) -> tuple[int, str]:
    stderr = Screen()
    environment = Environment(BytesIO(), BytesIO(), stderr, {"TERM": "xterm", **variables})
    return run(["heads", *arguments], environment), stderr.getvalue()


@pytest.mark.parametrize(
    "beside",
    [
        ("-o", "a.html"), ("--format", "json"), ("--json",), ("--check", "1.2 entropy > 0.1"), ("--lines",),
        ("--probe",), ("-m", "builtin:induction"), ("--needle", "64"), ("--qk-ov",), ("--steps",), ("--rollout",),
        ("--by", "word"), ("--against", "b"), ("--norm-weighted",), ("--hide-special",), ("--bins", "4"),
        ("-f", "a", "-f", "b"),
    ],
)  # fmt: skip
def test_what_cant_be_browsed_is_refused(beside: tuple[str, ...]) -> None:
    text = () if beside[0] in ("-f", "--probe", "--needle", "--qk-ov") else ("abc",)
    code, err = refused(*text, "-m", "builtin:induction", "--browse", *beside)
    assert code == 2
    named = {"-m": "two -m", "-f": "several -f", "-o": "--output", "--by": "--by word"}.get(beside[0], beside[0])
    assert err == (f"error: --browse can't be combined with {named}\nhint: leave --browse or {named} out\n")


@needs_textual
def test_it_needs_a_terminal_on_stderr() -> None:
    outcome = attn("heads", *INDUCTION)
    assert outcome.code == 2
    assert outcome.err == (
        "error: --browse needs a terminal: it draws on stderr\nhint: leave --browse out, or don't redirect stderr\n"
    )
    code, err = refused(*INDUCTION, TERM="dumb")
    assert code == 2 and "needs a terminal" in err


def test_without_textual_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textual", None)
    code, err = refused(*INDUCTION)
    assert code == 2
    assert err.splitlines() == [
        "error: --browse needs the package textual, which is not installed", "hint: pip install 'attncli[browse]'"
    ]  # fmt: skip


def test_a_saved_result_is_refused_what_a_text_is(tmp_path: Path) -> None:
    saved: Any = attncli.heads("abc abc", model="builtin:induction")
    (tmp_path / "a.json").write_text(__import__("json").dumps(saved.to_dict()), encoding="utf-8")
    code, err = refused("--result", str(tmp_path / "a.json"), "--browse", "-o", "a.html")
    assert code == 2 and "--browse can't be combined with --output" in err
