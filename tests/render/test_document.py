"""Lines of styled spans, their width, and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.style import Style as RichStyle
from rich.text import Text

from attncli.render.common.cells import cell_width, clusters, crop, pad, shorten
from attncli.render.common.console import render_blocks, rgb_style, text
from attncli.render.common.document import lines_to_text
from attncli.render.common.escape import name_text
from attncli.render.common.lines import (
    BOLD,
    PLAIN,
    Line,
    Style,
    StyledSpan,
    flow,
    joined,
    padded,
    separate_blocks,
)
from attncli.render.common.terminal import ColorDepth, Terminal

RED = Style(fg=(255, 0, 0))
FAMILY = "👩\u200d👧"

#: Letters, wide letters, combining marks, emoji, joiners and selectors.
TEXTS = st.text(st.sampled_from("ab 猫犬काe\u0301\u0303👍❤\ufe0f\u200dש·…"), max_size=12)


def test_widths_are_cells() -> None:
    assert [cell_width(text) for text in ("", "cat", "猫", "e\u0301", "👍", "·")] == [0, 3, 2, 1, 2, 1]


def test_vowel_signs_that_stand_beside_their_letter_have_a_cell() -> None:
    # As a terminal's cursor moves (tmux 3.3) and wcwidth 0.9 has it.
    widths = {"का": 2, "की": 2, "दुनिया": 5, "கா": 2, "က\u102c": 2, "នា": 2, "กำ": 2, "நி": 2, "பு": 2, "க்": 1}
    assert {text: cell_width(text) for text in widths} == widths
    assert cell_width("한\u302e") == 2
    assert clusters("दुनिया") == ["दु", "नि", "या"]
    assert pad("का", 4) == "का  "
    assert crop("काका", 3) == "काक"


def test_cropping_never_halves_a_wide_character() -> None:
    assert [crop("a猫b", width) for width in (-1, 0, 1, 2, 3, 4)] == ["", "", "a", "a", "a猫", "a猫b"]
    assert crop("cat", 2) == "ca"
    assert crop("e\u0301x", 1) == "e\u0301"


def test_nothing_cropped_ends_in_a_joiner() -> None:
    assert all(not crop(f"a{FAMILY}b", width).endswith("\u200d") for width in range(6))


def test_padding_fills_or_crops() -> None:
    assert [pad("猫", width) for width in (1, 2, 4)] == [" ", "猫", "猫  "]
    assert pad("cat", 5, right=True) == "  cat"


def test_shortening_says_so() -> None:
    assert [shorten("because", width, "…") for width in (0, 1, 4, 6, 7)] == ["", "…", "bec…", "becau…", "because"]
    assert shorten("猫猫", 3, "…") == "猫…"


def test_clusters_keep_together_what_belongs_together() -> None:
    assert clusters(f"e\u0301x❤\ufe0f{FAMILY}猫") == ["e\u0301", "x", "❤\ufe0f", FAMILY, "猫"]
    assert clusters("") == []


@given(TEXTS, st.integers(0, 8))
@settings(derandomize=True, deadline=None)
def test_padded_text_has_exactly_its_width(text: str, width: int) -> None:
    assert cell_width(pad(text, width)) == width
    assert cell_width(shorten(text, width, "…")) <= width
    assert "".join(clusters(text)) == text


def test_a_line_is_cropped_with_an_ellipsis() -> None:
    line = Line.of("one ", StyledSpan("two ", RED), "three")
    assert line.cropped(13, "…") is line
    assert line.cropped(12, "…") == Line(
        (StyledSpan("one "), StyledSpan("two ", RED), StyledSpan("thr"), StyledSpan("…"))
    )
    assert line.cropped(6, "…") == Line((StyledSpan("one "), StyledSpan("t", RED), StyledSpan("…")))


Span = tuple[str, Style]
Writer = Callable[[Sequence[Sequence[Span]], Terminal], str]


def own_writer(rows: Sequence[Sequence[Span]], terminal: Terminal) -> str:
    return lines_to_text([Line(tuple(StyledSpan(*span) for span in row)) for row in rows], terminal)


def rich_writer(rows: Sequence[Sequence[Span]], terminal: Terminal) -> str:
    return render_blocks([[Text.assemble(*(text(*as_rich(span)) for span in row)) for row in rows]], terminal)


def as_rich(span: Span) -> tuple[str, RichStyle]:
    style = span[1]
    attributes = RichStyle(bold=style.bold or None, dim=style.dim or None, underline=style.underline or None)
    return span[0], rgb_style(style.fg, style.bg) + attributes


#: What writes the lines of styled text: our own writer and rich's values give the same bytes.
writers = pytest.mark.parametrize("write", [own_writer, rich_writer])


@writers
def test_without_colours_only_the_characters_are_left(write: Writer) -> None:
    rows = [[("a", PLAIN), ("b", RED), ("  ", PLAIN)], [], [("猫猫猫", PLAIN)]]
    assert write(rows, Terminal(5)) == "ab\n\n猫猫…\n"
    assert write(rows, Terminal(5, unicode=False)).splitlines()[2] == "猫猫~"


@writers
@pytest.mark.parametrize(
    ("depth", "code"), [(ColorDepth.TRUE, "38;2;255;0;0"), (ColorDepth.EIGHT_BIT, "38;5;196"), (ColorDepth.ANSI, "31")]
)
def test_colours_are_brought_down_to_what_the_terminal_has(write: Writer, depth: ColorDepth, code: str) -> None:
    """Each in the same process as the others, since rich's styles remember the first codes that they were asked for."""
    assert write([[("a", PLAIN), ("b", RED)]], Terminal(80, depth)) == f"a\x1b[{code}mb\x1b[0m\n"


@writers
def test_attributes_are_written(write: Writer) -> None:
    style = Style(bold=True, dim=True, underline=True, bg=(0, 0, 0))
    assert write([[("x", style)]], Terminal(80, ColorDepth.EIGHT_BIT)) == "\x1b[1;2;4;48;5;16mx\x1b[0m\n"


@writers
def test_neighbours_of_one_style_are_written_together(write: Writer) -> None:
    rows = [[("a", RED), ("b", RED), ("c", PLAIN), ("d", PLAIN)]]
    assert write(rows, Terminal(80, ColorDepth.ANSI)) == "\x1b[31mab\x1b[0mcd\n"


@writers
def test_spaces_at_the_end_are_written_only_where_they_are_seen(write: Writer) -> None:
    a, shaded = ("a", PLAIN), ("  ", Style(bg=(0, 0, 255)))
    rows = [[a, ("b  ", RED), (" ", PLAIN)], [a, shaded], [a, shaded, ("  ", PLAIN)]]
    plain, *seen = write(rows, Terminal(80, ColorDepth.TRUE)).splitlines()
    assert plain == "a\x1b[38;2;255;0;0mb\x1b[0m"
    assert seen == ["a\x1b[48;2;0;0;255m  \x1b[0m"] * 2


SPANS = st.tuples(TEXTS.map(str.strip).filter(bool), st.sampled_from([PLAIN, RED, BOLD, Style(bg=(0, 0, 255))]))


@given(
    st.lists(st.lists(SPANS, max_size=4), max_size=4),
    st.builds(Terminal, st.integers(1, 20), st.sampled_from(ColorDepth), st.booleans()),
)
@settings(derandomize=True, deadline=None)
def test_both_writers_write_the_same(rows: list[list[Span]], terminal: Terminal) -> None:
    shown = [[(name_text(content, terminal), style) for content, style in row] for row in rows]
    assert own_writer(shown, terminal) == rich_writer(shown, terminal)


def test_parts_flow_over_lines() -> None:
    parts = [Line.of(part) for part in ("one", "two", "three", "four")]
    assert [line.plain for line in flow(parts, separator=", ", width=10, indent=2)] == ["one, two", "  three", "  four"]
    assert [line.plain for line in flow(parts[:2], separator=", ", width=8)] == ["one, two"]
    assert [line.plain for line in flow(parts[:2], separator=", ", width=7)] == ["one", "two"]
    assert [line.plain for line in flow(parts, separator=" ", width=80)] == ["one two three four"]
    assert flow([], separator=" ", width=80) == []


def test_blocks_under_one_another() -> None:
    one, two = [Line.of("a"), Line.of("bb")], [Line.of("c")]
    assert [line.plain for line in separate_blocks([one, two])] == ["a", "bb", "", "c"]
    assert padded(Line.of("long"), 2) == Line.of("long")
    assert joined([Line.of("a"), Line.of(StyledSpan("b", RED))], "-") == Line.of("a", "-", StyledSpan("b", RED))
