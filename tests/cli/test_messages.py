"""What is said on stderr besides errors: notes, warnings, and a line of progress that vanishes."""

from __future__ import annotations

import pytest

from attncli.cli.messages import Messages, ProgressLine, one_line
from attncli.progress import Bytes
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


def test_bytes_have_a_rate_and_a_time_left_once_a_second_is_over() -> None:
    written: list[str] = []
    clock = Clock()
    line = ProgressLine(written.append, clock=clock)
    line("reading big.txt", Bytes(10_000_000), Bytes(100_000_000))
    assert shown(written) == "reading big.txt  10 %"
    clock.now += 10
    line("reading big.txt", Bytes(42_000_000), Bytes(100_000_000))
    assert shown(written) == "reading big.txt  42 %  3.2 MB/s  0:18 left"
    line("reading big.txt", Bytes(42_000_000), Bytes(100_000_000))
    assert len(written) == 2
    clock.now += 4000
    line("reading big.txt", Bytes(50_000_000), Bytes(100_000_000))
    assert shown(written) == "reading big.txt  50 %  10.0 kB/s  1:23:32 left"
    clock.now += 1
    line("reading big.txt", Bytes(100_000_000), Bytes(100_000_000))
    assert shown(written) == "reading big.txt 100 %  22.4 kB/s"


def test_bytes_without_an_end_are_told_as_they_are() -> None:
    written: list[str] = []
    clock = Clock()
    line = ProgressLine(written.append, clock=clock)
    line("reading stdin", Bytes(0), None)
    assert shown(written) == "reading stdin  0 B"
    clock.now += 2
    line("reading stdin", Bytes(1_500_000_000), None)
    assert shown(written) == "reading stdin  1.5 GB  750 MB/s"
    clock.now += 2
    line("loading weights", 1_500_000_000, None)
    assert shown(written) == "loading weights"


def test_the_line_fits_a_terminal_and_moves_no_cursor_whatever_the_name_is() -> None:
    written: list[str] = []
    clock = Clock()
    line = ProgressLine(written.append, clock=clock)
    line("\x1b[2J" + "模型" * 200, Bytes(3), Bytes(10**12))
    clock.now += 99
    line("\x1b[2J" + "模型" * 200, Bytes(10**6), Bytes(10**12))
    assert max(len(part.strip("\r")) for part in written) < 80
    assert "left" in written[1]
    assert written[0].isascii()
    assert "\x1b" not in written[0]


def test_a_message_is_one_line_without_control_characters() -> None:
    assert one_line("first \n second\x1b[31m").count("\n") == 0
    assert "\x1b" not in one_line("first \n second\x1b[31m")
    assert one_line("first \n second") == "first  second"
    assert one_line("mole 👍 é") == "mole 👍 é"
