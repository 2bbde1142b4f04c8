"""Weights become lighter, in every number of colours."""

from __future__ import annotations

from itertools import pairwise

import pytest

from attncli.render.common.colormap import difference_color, has_colormap, text_color_on, weight_color
from attncli.render.common.console import render_blocks, rgb_style, row
from attncli.render.common.numbers import hundredths, metric_number
from attncli.render.common.terminal import ColorDepth, Rgb, Terminal
from attncli.render.heads.heatmap import DENSITY_RAMP, HeatScale

STEPS = [step / 255 for step in range(256)]


def luminance(color: Rgb) -> float:
    linear = [(v / 255) / 12.92 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("depth", "colors"), [(ColorDepth.TRUE, 64), (ColorDepth.EIGHT_BIT, 8)])
def test_more_weight_is_never_darker(depth: ColorDepth, colors: int) -> None:
    shown = list(dict.fromkeys(weight_color(step, depth) for step in STEPS))
    light = [luminance(color) for color in shown]
    assert len(shown) == colors
    assert all(a < b for a, b in pairwise(light))


def test_the_ends_are_those_of_viridis() -> None:
    assert weight_color(0, ColorDepth.TRUE) == (0x44, 0x01, 0x54)
    assert weight_color(0.5, ColorDepth.TRUE) in {
        (0x20, 0x92, 0x8C),
        (0x21, 0x8D, 0x8D),
        (0x20, 0x8D, 0x8D),
        (0x21, 0x90, 0x8C),
    }
    assert weight_color(1, ColorDepth.TRUE) == (0xFD, 0xE7, 0x25)


def test_weights_beyond_the_scale_take_its_ends() -> None:
    assert weight_color(-0.1, ColorDepth.TRUE) == weight_color(0, ColorDepth.TRUE)
    assert weight_color(1.1, ColorDepth.TRUE) == weight_color(1, ColorDepth.TRUE)


def test_the_256_colours_are_written_as_they_are_meant() -> None:
    terminal = Terminal(80, ColorDepth.EIGHT_BIT)
    rows = [row((" ", rgb_style(bg=weight_color(step / 7, terminal.color)))) for step in range(8)]
    written = render_blocks([rows], terminal).splitlines()
    assert written == [f"\x1b[48;5;{number}m \x1b[0m" for number in (17, 19, 24, 30, 36, 77, 184, 226)]


def test_sixteen_colours_and_none_have_no_colormap() -> None:
    assert [has_colormap(depth) for depth in ColorDepth] == [False, False, True, True]


def test_ink_is_readable_on_every_colour() -> None:
    for depth in (ColorDepth.TRUE, ColorDepth.EIGHT_BIT):
        for step in STEPS:
            color = weight_color(step, depth)
            bright, dark = sorted((luminance(color), luminance(text_color_on(color))), reverse=True)
            assert (bright + 0.05) / (dark + 0.05) >= 4.5


def test_the_ramp_is_even() -> None:
    scale = HeatScale(2.0, Terminal())
    assert "".join(scale.ascii_text(2.0 * step / 9) for step in range(10)) == DENSITY_RAMP
    assert scale.ascii_text(3.0) == "@"
    assert HeatScale(0.0, Terminal()).ascii_text(0.0) == " "


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.834, "0.83"), (-0.0001, "0.00"), (12.345, "12.35"), (99.99, "99.99"), (100.0, "100.0"), (None, "·")],
)
def test_numbers(value: float | None, text: str) -> None:
    assert metric_number(value, Terminal()) == text


@pytest.mark.parametrize(
    ("weight", "text"), [(0.0, ""), (0.0049, ""), (0.006, "1"), (0.834, "83"), (0.996, "100"), (1.0, "100")]
)
def test_hundredths(weight: float, text: str) -> None:
    assert hundredths(weight) == text


def test_cells_in_ink() -> None:
    scale = HeatScale(1.0, Terminal())
    widths = [scale.cell(0.83, width)[0] for width in (1, 2, 4, 5, 6, 7)]
    assert widths == ["#", "##", " 83 ", "  83 ", "  83  ", "   83  "]
    assert [scale.cell(1.0, width)[0] for width in (5, 7)] == [" 100 ", "  100  "]
    assert scale.cell(0.001, 5)[0] == "   · "


@pytest.mark.parametrize(
    ("full", "text"), [(0.0, "0"), (0.00123, "0.0012"), (0.0833, "0.083"), (0.5, "0.50"), (1, "1.00")]
)
def test_the_scale_says_what_its_end_means(full: float, text: str) -> None:
    assert HeatScale(full, Terminal()).legend().plain == f"0 [{DENSITY_RAMP}] {text}"
    assert HeatScale(full, Terminal(color=ColorDepth.TRUE)).legend().plain == f"0 {' ' * 20} {text}"


@pytest.mark.parametrize(("depth", "colors"), [(ColorDepth.TRUE, 17), (ColorDepth.EIGHT_BIT, 6)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_larger_difference_is_never_darker(depth: ColorDepth, colors: int, sign: int) -> None:
    shown = list(dict.fromkeys(difference_color(sign * step, depth) for step in STEPS))
    light = [luminance(color) for color in shown]
    assert len(shown) == colors
    assert all(a < b for a, b in pairwise(light))


@pytest.mark.parametrize("depth", [ColorDepth.TRUE, ColorDepth.EIGHT_BIT])
def test_signs_differ_in_blue_which_all_eyes_tell_apart(depth: ColorDepth) -> None:
    for step in (0.3, 0.6, 1.0):
        less, more = difference_color(-step, depth), difference_color(step, depth)
        assert less[2] > less[0] + 40 and more[0] > more[2] + 40
    assert difference_color(0.0, depth) == difference_color(-0.0, depth)
