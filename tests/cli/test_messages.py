"""What is said on stderr besides errors: notes, warnings, and a line of progress that vanishes."""

from __future__ import annotations

import pytest

from attncli.cli.messages import Messages, ProgressLine, one_line
from tests.cli.conftest import surroundings


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def shown(written: list[str]) -> str:
    """What a terminal shows of a line that is written over with carriage returns."""
    screen = ""
    for part in "".join(written).split("\r"):
        screen = part + screen[len(part) :]
    return screen.rstrip()


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


def test_progress_is_gone_at_the_end_however_it_came() -> None:
    environment = surroundings(terminal=True)
    with pytest.raises(KeyboardInterrupt), Messages(environment).progress() as progress:
        progress("loading weights", 1, 2)
        raise KeyboardInterrupt
    written = environment.stderr.getvalue()  # type: ignore[union-attr]
    assert "loading weights  50 %" in written
    assert shown([written]) == ""


def test_a_line_is_written_over_by_a_shorter_one() -> None:
    written: list[str] = []
    line = ProgressLine(written.append, clock=Clock())
    line("downloading model.safetensors", 50, 100)
    assert shown(written) == "downloading model.safetensors  50 %"
    line("reading", 0, None)
    assert shown(written) == "reading"
    line.clear()
    assert shown(written) == ""
    line.clear()
    assert written[-1].startswith("\r")


def test_a_thousand_reports_a_second_are_not_a_thousand_writes() -> None:
    written: list[str] = []
    clock = Clock()
    line = ProgressLine(written.append, clock=clock)
    for done in range(1000):
        line("loading weights", done, 1000)
        clock.now += 0.001
    assert len(written) in (10, 11)


def test_the_line_fits_a_terminal_and_moves_no_cursor_whatever_the_name_is() -> None:
    written: list[str] = []
    line = ProgressLine(written.append, clock=Clock())
    line("\x1b[2J" + "模型" * 200, 3, 3)
    assert len(written[0]) < 80
    assert written[0].isascii()
    assert "\x1b" not in written[0]


def test_a_message_is_one_line_without_control_characters() -> None:
    assert one_line("first \n second\x1b[31m").count("\n") == 0
    assert "\x1b" not in one_line("first \n second\x1b[31m")
    assert one_line("first \n second") == "first  second"
    assert one_line("mole 👍 é") == "mole 👍 é"
