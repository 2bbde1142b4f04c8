"""Several heads beside one another, and all heads of a small stack beneath the map."""

from __future__ import annotations

import numpy as np
import pytest

from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.heads.text import heads_text
from attncli.results.heads import Layer, Stack
from tests.render.heads_samples import HEADS, SGR, UNIFORM, even, head, on_offset, pattern, result, stack, tokens

TWO = tokens("a", "b")


def causal_pair() -> Stack:
    """Two heads on two tokens, the second of which looks only at itself."""
    patterns = (pattern("0.0", even(2, causal=True)), pattern("0.1", np.eye(2, dtype=np.float32)))
    heads = (head("0.0", entropy=0.3466), head("0.1", entropy=0.0))
    layers = (Layer(0, 2),)
    return stack(*patterns, heads=heads, layers=layers, queries=TWO, keys=TWO, causal=True, stack="decoder")


def test_half_blocks_hold_two_rows_a_line() -> None:
    text = heads_text(result(causal_pair(), chosen=True), Terminal(80, ColorDepth.TRUE))
    full, half, none = "253;231;37", "32;146;140", "68;1;84"
    picture = text.splitlines()[4:13]
    # Each weight is nine cells wide and nine half cells high; what the first token can't see is left blank.
    assert picture[0].startswith(f"\x1b[38;2;{full};48;2;{full}m{'▀' * 9}\x1b[0m" + " " * 11)
    assert picture[4].startswith(f"\x1b[38;2;{full};48;2;{half}m{'▀' * 9}\x1b[0m\x1b[38;2;{half}m{'▄' * 9}\x1b[0m  ")
    assert picture[8].endswith(
        f"\x1b[38;2;{none};48;2;{none}m{'▀' * 9}\x1b[0m\x1b[38;2;{full};48;2;{full}m{'▀' * 9}\x1b[0m"
    )


def test_an_odd_number_of_rows_ends_in_half_a_line() -> None:
    three = tokens("a", "b", "c")
    of = stack(*(pattern(name, on_offset(-1, 3)) for name in ("0.0", "0.1")), queries=three, keys=tokens("a", "b", "c"))
    lines = SGR.sub("", heads_text(result(of, chosen=True), Terminal(80, ColorDepth.EIGHT_BIT))).splitlines()
    assert lines[4:13] == ["▀" * 18 + "  " + "▀" * 18] * 9


def test_colours_without_unicode_are_whole_cells() -> None:
    text = heads_text(result(causal_pair(), chosen=True), Terminal(80, ColorDepth.EIGHT_BIT, unicode=False))
    assert text.isascii()
    assert text.splitlines()[4].startswith("\x1b[48;5;226m  \x1b[0m")


def test_all_pictures_share_one_scale() -> None:
    """A head that looks everywhere is pale beside one that looks at one place."""
    patterns = (pattern("0.0", on_offset(-12)), pattern("0.1", even()))
    lines = heads_text(result(stack(*patterns), chosen=True), Terminal(80)).splitlines()
    assert lines[4] == "@              ............"
    assert lines[-1] == "0 [ .:-=+*#%@] 1.00   rows look at columns"
    alone = heads_text(result(stack(pattern("0.1", even()), pattern("0.2", even())), chosen=True), Terminal(80))
    assert alone.splitlines()[4] == "@@@@@@@@@@@@   @@@@@@@@@@@@"
    assert alone.splitlines()[-1] == "0 [ .:-=+*#%@] 0.083   rows look at columns"


def test_long_texts_are_pooled_and_say_so() -> None:
    many = tokens(*(f"t{i}" for i in range(90)))
    patterns = tuple(pattern(name, even(90)) for name in ("0.0", "0.1"))
    lines = heads_text(result(stack(*patterns, queries=many, keys=many), chosen=True), Terminal(80)).splitlines()
    assert lines[4:22] == ["@" * 18 + "  " + "@" * 18] * 18
    assert lines[-3] == "90 × 90 weights in 18 × 18 cells: rows averaged, columns summed"
    # 5 columns of 1/90 summed: the scale is that of what is drawn.
    assert lines[-1].startswith("0 [ .:-=+*#%@] 0.056")


def test_pooled_cells_stand_for_about_as_many_weights() -> None:
    """Of 26 tokens 13 pairs, not 8 pairs among 10 single ones, which would be stripes."""
    for count, cells in ((25, 25), (26, 13), (36, 18), (37, 13), (1000, 18)):
        many = tokens(*(f"t{i}" for i in range(count)))
        of = stack(pattern("0.0", even(count)), pattern("0.1", even(count)), queries=many, keys=many)
        line = heads_text(result(of, chosen=True), Terminal(80)).splitlines()[4]
        assert [len(row) for row in line.split()] == [cells, cells]


def test_rows_of_pictures_are_of_about_the_same_length() -> None:
    patterns = tuple(pattern(f"{layer}.{index}", even()) for layer in range(2) for index in range(3))
    names = [
        line.split()
        for line in heads_text(result(stack(*patterns), chosen=True), Terminal(80)).splitlines()
        if line.startswith(("0.", "1."))
    ]
    assert names == [["0.0", "P", "0.1", "N", "0.2"], ["1.0", "S", "F", "1.1", "I", "1.2"]]


def test_layers_that_differ_have_their_own_uniform_values() -> None:
    patterns = (pattern("0.2", even()), pattern("1.2", even()), pattern("1.3", even()))
    window = {**UNIFORM, "distance": 1.5, "entropy": None}
    text = heads_text(result(stack(*patterns, baselines={0: UNIFORM, 1: window}), chosen=True), Terminal(80))
    assert "\nuniform attention in layer 0: entropy 2.48, distance 3.97\n" in text
    assert "\nuniform attention in layer 1: entropy ·, distance 1.50\n" in text


def test_stacks_are_apart_and_share_the_scale() -> None:
    queries = tokens("Die", "Katze")
    weights = np.full((2, 12), 0.1, dtype=np.float32)
    cross = stack(pattern("0.0", weights), stack="cross", heads=(head("cross.0.0"),), queries=queries)
    text = heads_text(result(stack(pattern("0.0", on_offset(-1))), cross, chosen=True), Terminal(80))
    assert (
        "\n\ncross · 2 layers × 4 heads · 2 decoder tokens look at 12 encoder tokens\n"
        "rows    Die Katze\n"
        "columns [CLS] the cat sat on the mat because it was tired [SEP]\n"
        "\n............\n" in text
    )
    assert text.count("rows look at columns") == 1
    assert "\ncross.0.0\n" in text


@pytest.mark.parametrize("width", [20, 33, 50, 80, 200])
def test_every_chosen_head_is_shown_once(width: int) -> None:
    patterns = tuple(pattern(f"{layer}.{index}", even()) for layer in range(2) for index in range(4))
    text = heads_text(result(stack(*patterns), chosen=True), Terminal(width))
    captions = [
        word for line in text.splitlines() for word in line.split() if word[:2] in ("0.", "1.") and len(word) == 3
    ]
    assert sorted(captions) == [f"{layer}.{index}" for layer in range(2) for index in range(4)]


SKETCHES = tuple(pattern(one.name, on_offset(place - 4)) for place, one in enumerate(HEADS))


def shown(terminal: Terminal, count: int = 8, **changes: object) -> str:
    return heads_text(result(stack(sketches=SKETCHES[:count], heads=HEADS[:count], **changes)), terminal)


def test_half_blocks_in_colour() -> None:
    lines = SGR.sub("", shown(Terminal(60, ColorDepth.TRUE, height=60))).splitlines()
    assert sum("▀" * 12 in line for line in lines) == 18
    assert "Ct▀▀▀▀▀▀▀▀▀▀▀▀  Ct▀▀▀▀▀▀▀▀▀▀▀▀  Ct▀▀▀▀▀▀▀▀▀▀▀▀" in "\n".join(lines)


def test_pictures_are_drawn_where_the_screen_is_high_enough() -> None:
    high = next(height for height in range(24, 90) if "rows look at columns" in shown(Terminal(80, height=height)))
    assert high > 24 and shown(Terminal(80, height=high)).count("\n") <= high - 2
    assert "rows look at columns" in shown(Terminal(80, full=True))
    assert "rows look at columns" not in heads_text(result(stack()), Terminal(80, full=True))


def test_pooled_pictures_say_so() -> None:
    sketch = pattern("0.0", even(40))
    keys = tuple(token._replace(index=place) for place, token in enumerate(stack().keys * 4))[:40]
    text = heads_text(result(stack(sketches=(sketch,), heads=HEADS[:1], queries=keys, keys=keys)), Terminal(80))
    assert "40 × 40 weights in 6 × 10 cells: rows averaged, columns summed\n" in text


@pytest.mark.parametrize("color", [ColorDepth.NONE, ColorDepth.TRUE])
@pytest.mark.parametrize("width", range(10, 120, 7))
def test_no_line_is_wider_than_the_terminal(color: ColorDepth, width: int) -> None:
    lines = SGR.sub("", shown(Terminal(width, color))).splitlines()
    assert max(map(cell_width, lines)) <= width


def test_they_are_no_data() -> None:
    assert result(stack(*SKETCHES)).to_dict() != result(stack(sketches=SKETCHES)).to_dict() == result(stack()).to_dict()
