"""What is said on stderr besides errors: notes, warnings, and progress that vanishes."""

from __future__ import annotations

import re
import time
from contextlib import nullcontext

import pytest

from attncli.cli.environment import Environment
from attncli.cli.messages import Messages, one_line
from attncli.progress import Bytes, Texts
from tests.cli.conftest import surroundings


def test_notes_and_warnings_are_lines_of_their_own() -> None:
    environment = surroundings()
    messages = Messages(environment)
    messages.notes(["one", "two"])
    messages.warnings(["three"])
    assert environment.stderr.getvalue() == "note: one\nnote: two\nwarning: three\n"  # type: ignore[union-attr]


def test_quiet_says_nothing() -> None:
    environment = surroundings(terminal=True)
    messages = Messages(environment, quiet=True)
    messages.notes(["one"])
    messages.warnings(["two"])
    with messages.progress() as progress:
        progress("loading weights", 1, 2)
    assert environment.stderr.getvalue() == ""  # type: ignore[union-attr]


def test_progress_is_for_terminals() -> None:
    environment = surroundings()
    with Messages(environment).progress() as progress:
        progress("loading weights", 1, 2)
    assert environment.stderr.getvalue() == ""  # type: ignore[union-attr]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attncli.cli.messages.SHOW_AFTER_SECONDS", 0.01)


def screen(written: str) -> list[str]:
    """What a terminal shows of it: only the sequences that rich writes for a line are known."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[?0-9;]*[a-zA-Z]|.", written, re.DOTALL):
        if part == "\x1b[2K":
            lines[row] = ""
        elif part == "\x1b[1A":
            row -= 1
        elif part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row == len(lines))
        elif not part.startswith("\x1b"):
            lines[row] = f"{lines[row][:column]}{part}{lines[row][column + 1 :]}"
            column += 1
    return [line for line in lines if line.strip()]


def written_until(environment: Environment, text: str) -> str:
    """stderr, once `text` is in it."""
    end = time.monotonic() + 60
    while text not in (written := environment.stderr.getvalue()):  # type: ignore[union-attr]
        assert time.monotonic() < end, written
        time.sleep(0.01)
    return str(written)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, BrokenPipeError])
def test_progress_is_gone_at_the_end_however_it_comes(error: type[BaseException] | None, soon: None) -> None:
    environment = surroundings(terminal=True)
    with pytest.raises(error) if error else nullcontext(), Messages(environment).progress() as progress:
        progress("loading weights", 1, 2)
        assert screen(written_until(environment, "50%"))[0].startswith("loading weights")
        progress("reading", 0, None)
        written_until(environment, "reading")
        if error:
            raise error
    written = environment.stderr.getvalue()  # type: ignore[union-attr]
    assert screen(written) == []
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def test_a_note_stands_on_a_clean_line(soon: None) -> None:
    environment = surroundings(terminal=True)
    messages = Messages(environment)
    with messages.progress() as progress:
        progress("loading weights", 1, 2)
        written_until(environment, "50%")
        messages.notes(["one"])
        assert screen(environment.stderr.getvalue()) == ["note: one"]  # type: ignore[union-attr]
        progress("loading weights", 2, 2)
        written_until(environment, "100%")
    assert screen(environment.stderr.getvalue()) == ["note: one"]  # type: ignore[union-attr]


def test_short_work_shows_nothing() -> None:
    environment = surroundings(terminal=True)
    with Messages(environment).progress() as progress:
        for done in range(1000):
            progress("loading weights", done, 1000)
    assert environment.stderr.getvalue() == ""  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("first", "then", "total", "shown"),
    [
        (Bytes(0), Bytes(42_000_000), 100_000_000, (" 42%", "42.0/100.0 MB", "MB/s", "0:00:")),
        (Bytes(0), Bytes(1_500_000), None, ("1.5/? MB", "MB/s")),
        (Texts(0), Texts(3000), None, ("3,000", "it/s")),
        (0, 3, 4, (" 75%",)),
    ],
    ids=["bytes", "unknown", "texts", "layers"],
)
def test_the_share_the_rate_and_the_time_left(
    first: int, then: int, total: int | None, shown: tuple[str, ...], soon: None
) -> None:
    environment = surroundings(terminal=True, variables={"COLUMNS": "100", "LINES": "20"})
    with Messages(environment).progress() as progress:
        progress("reading", first, total)
        written_until(environment, "reading")
        for step in range(1, 4):
            time.sleep(0.02)
            progress("reading", type(first)(then * step // 3), total)
        for text in shown:
            assert text in written_until(environment, text)


def test_a_name_moves_no_cursor_and_is_no_markup(soon: None) -> None:
    environment = surroundings(terminal=True)
    with Messages(environment).progress() as progress:
        progress("\x1b[2J[red]x", 1, 2)
        assert "\x1b[2J" not in written_until(environment, "[red]x")


def test_a_message_is_one_line_without_control_characters() -> None:
    assert one_line("first \n second\x1b[31m").count("\n") == 0
    assert "\x1b" not in one_line("first \n second\x1b[31m")
    assert one_line("first \n second") == "first  second"
    assert one_line("mole 👍 é") == "mole 👍 é"
