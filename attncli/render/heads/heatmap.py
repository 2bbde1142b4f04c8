"""Scales that turn a weight or a difference into a heatmap cell; half-blocks; and the legend of a scale.

`HeatScale` draws weights: coloured cells where the terminal has 256 colours or more, else a ramp of ASCII characters.
`SignedHeatScale` draws differences: blue and orange cells, or a sign and a digit. The heatmap of a whole pattern with
its labels is drawn by `pattern_grid`, small ones without labels by `thumbnails`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from rich.style import Style
from rich.text import Text

from attncli.render.common.cells import glyphs
from attncli.render.common.colormap import difference_color, has_colormap, text_color_on, weight_color
from attncli.render.common.console import Flow, StyledText, rgb_style, row
from attncli.render.common.numbers import hundredths, two_digits
from attncli.render.common.terminal import Rgb, Terminal

#: ASCII density ramp, from no weight to full scale.
DENSITY_RAMP = " .:-=+*#%@"
# Least widths of a cell that shows hundredths: `100` and a space, on colour or alone.
_DIGITS_ON_COLOR = 4
_DIGITS_ALONE = 4
ROWS_LOOK_AT_COLUMNS = "rows look at columns"
#: What a picture of attention shows, in one line.
ATTENTION_LEGEND = f"attention weight, {ROWS_LOOK_AT_COLUMNS}"


@dataclass(frozen=True, slots=True)
class HeatScale:
    """Draws weights on a terminal, from 0 to `full`, the weight of the brightest colour or densest character.

    relative: digits are hundredths of `full`, for weights that are not shares of 1.
    """

    full: float
    terminal: Terminal
    relative: bool = False

    @property
    def min_width(self) -> int:
        """The fewest cells that one value can take."""
        return 1

    @property
    def colored(self) -> bool:
        return has_colormap(self.terminal.color)

    @property
    def half_blocks(self) -> bool:
        """Whether two values, one above the other, fit in one cell."""
        return self.colored and self.terminal.unicode

    def share(self, weight: float) -> float:
        return weight / self.full if self.full > 0 else 0.0

    def color(self, weight: float) -> Rgb:
        return weight_color(self.share(weight), self.terminal.color)

    def ascii_text(self, weight: float) -> str:
        """The character of the ramp for a weight."""
        return DENSITY_RAMP[round(min(max(self.share(weight), 0.0), 1.0) * (len(DENSITY_RAMP) - 1))]

    def shade(self, weight: float) -> Style:
        """The colour of a weight as background, with a text colour that is readable on it."""
        return _shade(self.color(weight))

    def cell(self, weight: float, width: int) -> StyledText:
        """A weight in `width` cells: its hundredths if there is room, on its colour or alone; else colour or ink.

        A number has no ink beside it, which would read as a part of it; less than half a hundredth is a dot.
        """
        text = hundredths(self.share(weight) if self.relative else weight) if self.has_digits(width) else ""
        if self.colored:
            if text:
                return f"{text:>2}".center(width), self.shade(weight)
            return " " * width, rgb_style(bg=self.color(weight))
        if self.has_digits(width):
            return f"{text or glyphs(self.terminal).dot:>3}".center(width), "" if text else "dim"
        ink = self.ascii_text(weight)
        # Cells of one or two characters touch, as in a picture; wider ones leave a space, as in a table.
        return (ink * (width if width <= 2 else width - 1)).ljust(width), ""

    def has_digits(self, width: int) -> bool:
        """Whether cells of this width also show their weights as digits."""
        return width >= (_DIGITS_ON_COLOR if self.colored else _DIGITS_ALONE)

    def digits_note(self) -> str:
        """What the digits in cells mean, with the largest weight as example: `93 means 0.93`; empty where no weight is
        large enough for digits."""
        if self.relative:
            return "100 means the largest"
        largest = hundredths(self.full)
        return f"{largest} means {int(largest) / 100:.2f}" if largest else ""

    def legend(self) -> Text:
        """The scale as a legend: `0 <ramp> 0.93`."""
        full = two_digits(self.full)
        steps = (self.cell(step / 19 * self.full, 1) for step in range(20))
        return row("0 ", *steps, f" {full}") if self.colored else row(f"0 [{DENSITY_RAMP}] {full}")

    def legend_row(self, *notes: str, digits: bool) -> Flow:
        """Below a picture: the scale, notes, and what digits in cells mean; these need no scale of ink."""
        shown = [*notes, *([self.digits_note()] if digits else [])]
        scale = [] if digits and not self.colored else [self.legend()]
        return Flow([*scale, *(Text(note, "dim") for note in shown if note)], "   ")


@lru_cache(maxsize=4096)
def _shade(background: Rgb) -> Style:
    return rgb_style(text_color_on(background), background)


def half_blocks(rows: Sequence[Sequence[Rgb | None]]) -> list[list[StyledText]]:
    """Rows of colours, two to a line of half-blocks; None is left blank."""
    below = [*rows[1::2], *([[None] * len(rows[-1])] if len(rows) % 2 else [])]
    return [list(map(_half_block, *pair)) for pair in zip(rows[::2], below, strict=True)]


def _half_block(top: Rgb | None, bottom: Rgb | None) -> StyledText:
    if top is None:
        return (" ", "") if bottom is None else ("▄", rgb_style(bottom))
    return "▀", rgb_style(top, bottom)


# --- signed differences

_NINTHS = 9
# Width of a sign and a digit.
_SIGN_AND_DIGIT = 2
# Digits after the point, by how large the largest difference is at least.
_DECIMALS = ((0.095, 2), (0.0095, 3), (0.00095, 4))


@dataclass(frozen=True, slots=True)
class SignedHeatScale(HeatScale):
    """Draws differences on a terminal, from -`full` to `full`, the largest absolute difference."""

    @property
    def min_width(self) -> int:
        """The fewest cells that one difference can take: without colours, a sign, a digit and a space."""
        return 1 if self.colored else _SIGN_AND_DIGIT + 1

    def color(self, weight: float) -> Rgb:
        return difference_color(self.share(weight), self.terminal.color)

    def has_digits(self, width: int) -> bool:
        """Whether cells of this width show signed hundredths or the number itself."""
        return self._form(width) is not None

    def has_numbers(self, width: int) -> bool:
        """Whether cells of this width show the number itself."""
        return self._form(width) in ("number", "short")

    def ascii_text(self, weight: float) -> str:
        """A sign and a digit, in ninths of `full`; blank for less than half a ninth."""
        ninths = round(min(max(self.share(weight), -1.0), 1.0) * _NINTHS)
        return f"{ninths:+d}" if ninths else " " * _SIGN_AND_DIGIT

    def text(self, weight: float, width: int) -> str:
        """A difference as `+0.12`, `+.12`, or `+12` hundredths, as there is room; blank if it rounds to zero."""
        form = self._form(width)
        if form is None:
            return "" if self.colored else self.ascii_text(weight)
        return self._written(weight, form) if round(weight, self._decimals) else ""

    @property
    def _decimals(self) -> int:
        """Digits after the point, so that the largest difference shows two significant ones; none for large numbers."""
        return next((decimals for least, decimals in _DECIMALS if self.full >= least), 0)

    def _form(self, width: int) -> str | None:
        """The widest form in which the largest difference fits with a space beside it."""
        telling = {"number": self._decimals > 0, "short": self._decimals > 0, "hundredths": self._decimals == 2}
        fitting = (form for form, tells in telling.items() if tells and len(self._written(self.full, form)) < width)
        return next(fitting, None)

    def _written(self, weight: float, form: str) -> str:
        if form == "hundredths":
            return f"{round(weight * 100):+d}"
        number = f"{weight:+.{self._decimals}f}"
        return number.replace("0.", ".", 1) if form == "short" and abs(weight) < 1 else number

    def cell(self, weight: float, width: int) -> StyledText:
        """A difference in `width` cells: the number if there is room, else only its colour, or sign and digit."""
        # Right-aligned with the other numbers, in the middle of the cell.
        widest = len(self.text(self.full, width))
        text = f"{' ' * ((width - widest) // 2)}{self.text(weight, width).rjust(widest)}".ljust(width)[:width]
        return text, self.shade(weight) if self.colored else ""

    def digits_note(self) -> str:
        """What hundredths mean, with the largest difference as example."""
        largest = round(self.full * 100)
        return f"+{largest} means +{largest / 100:.2f}"

    def legend(self) -> Text:
        """The scale as a legend, for colours or for signs and digits."""
        full = two_digits(self.full)
        if not self.colored:
            return row(f"+{_NINTHS} means +{full}, -{_NINTHS} means -{full}")
        steps = (self.cell((step / 10 - 1) * self.full, 1) for step in range(21))
        return row(f"-{full} ", *steps, f" +{full}")
