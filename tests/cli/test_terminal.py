"""Colour, width and characters: which wish wins."""

from __future__ import annotations

import pytest

from attncli.cli.environment import choose_color, choose_terminal, choose_width
from attncli.render.common.terminal import ColorDepth, Terminal
from tests.cli.conftest import surroundings

NONE, ANSI, EIGHT_BIT, TRUE = ColorDepth.NONE, ColorDepth.ANSI, ColorDepth.EIGHT_BIT, ColorDepth.TRUE


@pytest.mark.parametrize(
    ("color", "terminal", "variables", "expected"),
    [
        # Each line is beaten by the one above it.
        ("always", False, {"NO_COLOR": "1", "TERM": "dumb"}, ANSI),
        ("never", True, {"FORCE_COLOR": "3"}, NONE),
        ("auto", True, {"NO_COLOR": "1", "FORCE_COLOR": "3"}, NONE),
        ("auto", False, {"FORCE_COLOR": "1", "TERM": "dumb"}, ANSI),
        ("auto", True, {"FORCE_COLOR": "0"}, NONE),
        ("auto", True, {"TERM": "dumb", "COLORTERM": "truecolor"}, NONE),
        ("auto", True, {"TERM": "xterm"}, ANSI),
        ("auto", False, {"TERM": "xterm"}, NONE),
        # An empty variable is none.
        ("auto", True, {"NO_COLOR": "", "TERM": "xterm"}, ANSI),
        ("auto", False, {"FORCE_COLOR": ""}, NONE),
    ],
)
def test_the_strongest_wish_decides_on_colour(
    color: str, terminal: bool, variables: dict[str, str], expected: ColorDepth
) -> None:
    assert choose_color(surroundings(terminal=terminal, variables=variables), color) is expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ANSI),
        ({"TERM": "xterm"}, ANSI),
        ({"TERM": "xterm-256color"}, EIGHT_BIT),
        ({"TERM": "xterm-direct"}, TRUE),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, TRUE),
        ({"COLORTERM": "24bit"}, TRUE),
        ({"FORCE_COLOR": "1", "COLORTERM": "truecolor"}, TRUE),
        ({"FORCE_COLOR": "1", "TERM": "xterm"}, ANSI),
        ({"FORCE_COLOR": "2"}, EIGHT_BIT),
        ({"FORCE_COLOR": "3", "TERM": "xterm"}, TRUE),
        ({"FORCE_COLOR": "true", "TERM": "xterm-256color"}, EIGHT_BIT),
    ],
)
def test_how_many_colours_there_are(variables: dict[str, str], expected: ColorDepth) -> None:
    assert choose_color(surroundings(terminal=True, variables=variables), "auto") is expected


def test_the_old_console_of_windows_shows_no_colours() -> None:
    old = surroundings(terminal=True, windows=True)
    new = surroundings(terminal=True, windows=True, variables={"WT_SESSION": "1"})
    assert choose_color(old, "auto") is NONE
    assert choose_color(new, "auto") is TRUE


@pytest.mark.parametrize(
    ("width", "variables", "columns", "expected"),
    [
        (50, {"COLUMNS": "60"}, 70, 50),
        (None, {"COLUMNS": "60"}, 70, 60),
        (None, {}, 70, 70),
        (None, {}, None, 80),
        (None, {"COLUMNS": "0"}, 70, 70),
        (None, {"COLUMNS": "-5"}, None, 80),
        (None, {"COLUMNS": "wide"}, None, 80),
        (None, {"COLUMNS": "²"}, None, 80),
        (None, {"COLUMNS": "99999"}, None, 10_000),
        (None, {"COLUMNS": "9" * 5000}, None, 80),
    ],
)
def test_the_strongest_wish_decides_on_width(
    width: int | None, variables: dict[str, str], columns: int | None, expected: int
) -> None:
    assert choose_width(surroundings(variables=variables, columns=columns), width) == expected


@pytest.mark.parametrize(
    ("variables", "lines", "expected"),
    [({"LINES": "40"}, 30, 40), ({}, 30, 30), ({}, None, 24), ({"LINES": "0"}, None, 24), ({"LINES": "1"}, None, 1)],
)
def test_the_height_is_that_of_the_variable_then_of_the_terminal(
    variables: dict[str, str], lines: int | None, expected: int
) -> None:
    environment = surroundings(variables=variables, lines=lines)
    assert choose_terminal(environment, color="auto", width=None, ascii_only=False).height == expected


@pytest.mark.parametrize("full", [False, True])
def test_full_reaches_the_renderer(full: bool) -> None:
    assert choose_terminal(surroundings(), color="auto", width=None, ascii_only=False, full=full).full is full


@pytest.mark.parametrize(
    ("encoding", "ascii_only", "unicode"),
    [("utf-8", False, True), ("UTF8", False, True), ("utf-8", True, False), ("cp1252", False, False)],
)
def test_characters_beyond_ascii_need_a_reader_that_knows_them(encoding: str, ascii_only: bool, unicode: bool) -> None:
    environment = surroundings(encoding=encoding)
    assert choose_terminal(environment, color="auto", width=None, ascii_only=ascii_only) == Terminal(80, NONE, unicode)
