"""Views of rich's values: what reaches the terminal, whatever the text is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from attncli.render.common.cells import cell_width, crop
from attncli.render.common.console import (
    Beside,
    Flow,
    column_table,
    render_blocks,
    rgb_style,
    row,
    sentence,
    side_by_side,
    text,
)
from attncli.render.common.escape import name_text, printable
from attncli.render.common.terminal import ColorDepth, Terminal
from tests.render.heads_samples import SGR

#: Letters, wide letters, vowel signs with a cell of their own, marks without one, emoji, joiners, and what is escaped.
TEXTS = st.text(
    st.one_of(st.sampled_from("ab 猫犬कानिe\u0301👍❤\ufe0f\u200d·…\x1b\x07\x9b\n\tש[]"), st.characters()), max_size=30
)
TERMINALS = st.builds(Terminal, st.integers(1, 60), st.sampled_from(ColorDepth), st.booleans())
STYLES = st.sampled_from(["", "bold", "dim", "bold underline", rgb_style((255, 0, 0)), rgb_style(bg=(0, 0, 255))])


@given(TEXTS)
@settings(derandomize=True, deadline=None)
def test_rich_counts_the_cells_of_a_terminal(content: str) -> None:
    shown = printable(content)
    assert text(shown).cell_len == cell_width(shown)


def test_columns_stand_beneath_one_another_whatever_is_in_them() -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    for name in ("का", "e\u0301", "猫", "दुनिया", "cat"):
        table.add_row(text(name, "bold"), text("|"))
    rows = render_blocks([[table]], Terminal(40)).splitlines()
    assert {cell_width(row) for row in rows} == {8}
    assert rows[0] == "   का  |" and rows[1] == "    e\u0301  |"


def test_nothing_in_a_text_is_interpreted() -> None:
    content = "[bold]x[/bold] [link=http://x]y[/link] :smile: 'a' 3.14 http://example.org True /a/b"
    for depth in ColorDepth:
        assert render_blocks([[text(content)], [content]], Terminal(90, depth)) == f"{content}\n\n{content}\n"


def test_control_characters_are_escaped() -> None:
    assert render_blocks([[text("a\x1b[31mb\x9b\x85")]], Terminal(80)) == "a\\x1b[31mb\\x9b\\x85\n"


def test_only_the_terminal_given_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[text("a" * 20, rgb_style((255, 0, 0)))]]
    terminals = [Terminal(10, ColorDepth.TRUE), Terminal(10)]
    before = [render_blocks(rows, terminal) for terminal in terminals]
    variables = {
        "NO_COLOR": "1",
        "COLUMNS": "5",
        "LINES": "2",
        "TERM": "dumb",
        "FORCE_COLOR": "1",
        "TTY_COMPATIBLE": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert [render_blocks(rows, terminal) for terminal in terminals] == before == [
        "\x1b[38;2;255;0;0maaaaaaaaa\x1b[0m…\n", "aaaaaaaaa…\n",
    ]  # fmt: skip


def test_rows_and_tables_are_cropped_and_not_wrapped() -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row(text("one two"), text("three four"))
    table.add_row(text("one"), text("three"))
    rows = [Text("one two three"), table]
    assert render_blocks([rows], Terminal(12)) == "one two thr…\none two  th…\none      th…\n"
    assert "th~\n" in render_blocks([rows], Terminal(12, unicode=False))
    # Spaces that nobody sees aren't cropped.
    assert render_blocks([rows], Terminal(14)).endswith("\none      three\n")


def test_parts_and_sentences_flow_over_lines() -> None:
    def lines(flow: Flow, width: int) -> list[str]:
        return render_blocks([[flow]], Terminal(width)).splitlines()

    parts = [Text(part) for part in ("one", "two", "three", "four")]
    assert lines(Flow(parts, ", ", indent=2), 10) == ["one, two", "  three", "  four"]
    assert lines(Flow(parts[:2], ", "), 8) == ["one, two"]
    assert lines(Flow(parts[:2], ", "), 7) == ["one", "two"]
    assert lines(Flow([], ", "), 7) == []
    assert lines(sentence("का का का"), 5) == ["का का", "का"]
    assert lines(sentence("one  incomprehensible\ttwo", indent=2), 9) == ["one", "  incomp…", "  two"]


def test_blocks_beside_and_below_one_another() -> None:
    one, two = [row("a"), row(("bb", "bold"))], [text("c"), text("का")]
    assert render_blocks([side_by_side([one, two, one], width=3, gap=1)], Terminal(20)) == "a   c   a\nbb  का  bb\n"
    beside = Beside([text("का"), Text("b")], [Flow(map(Text, "cde"), " ")], ["", "f"])
    assert render_blocks([[beside]], Terminal(11)) == "का    c d e\nb\n"
    assert render_blocks([[beside]], Terminal(10)) == "का\nb\n\nf\nc d e\n"


def test_a_row_is_what_rich_assembles() -> None:
    whole = row("का ", ("b", "bold"), row("c", ("d", "dim")), Text("e", "underline"))
    assert whole == Text.assemble(text("का "), ("b", "bold"), "c", ("d", "dim"), ("e", "underline"))
    rows = [[whole], [Text.assemble(("a", "bold"), ("b", "dim"), style="underline")]]
    written = "का \x1b[1mb\x1b[0mc\x1b[2md\x1b[0m\x1b[4me\x1b[0m\n\n\x1b[1;4ma\x1b[0m\x1b[2;4mb\x1b[0m\n"
    assert render_blocks(rows, Terminal(20, ColorDepth.TRUE)) == written


def test_a_table_of_columns() -> None:
    columns = column_table([("n", "right", ["10", ("2", "bold")]), ("name", "left", ["a", "का"])])
    assert render_blocks([[columns]], Terminal(20)) == " n  name\n10  a\n 2  का\n"


def test_blocks_have_a_blank_line_between_them() -> None:
    assert render_blocks([[], [text("a"), text("b")], [], [text("c")]], Terminal(9)) == "a\nb\n\nc\n"
    assert render_blocks([], Terminal(9)) == ""


@given(st.lists(st.tuples(TEXTS, STYLES), min_size=1, max_size=5), TERMINALS)
@settings(derandomize=True, deadline=None)
def test_no_line_is_too_wide_or_ends_in_spaces_or_a_style(parts: list[tuple[str, str]], terminal: Terminal) -> None:
    shown = [(name_text(content, terminal), style) for content, style in parts]
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_row(*(text(content, style) for content, style in shown))
    table.add_row(*(text(crop(content, 3), style) for content, style in reversed(shown)))
    row = Text.assemble(*(text(content, style) for content, style in shown))
    flow = Flow([text(content, style) for content, style in shown], " · " if terminal.unicode else " | ", indent=2)
    whole = render_blocks([[row, flow], [table]], terminal)
    for line in whole.split("\n"):
        plain = SGR.sub("", line)
        assert cell_width(plain) <= terminal.width
        assert not any(unicodedata.category(character) in ("Cc", "Cs", "Co") for character in plain)
        assert terminal.color or (line == plain and not line.endswith(" "))
        assert "\x1b" not in line or line.rindex("\x1b[0m") == max(found.start() for found in SGR.finditer(line))
    assert terminal.unicode or whole.isascii()
