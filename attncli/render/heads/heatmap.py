"""Scales that turn a weight or a difference into a heatmap cell, and functions that pool and mask patterns.

`HeatScale` draws weights: coloured cells where the terminal has 256 colours or more, else a ramp of ASCII characters.
`SignedHeatScale` draws differences: blue and orange cells, or a sign and a digit. The heatmap of a whole pattern with
its labels is drawn by `pattern_grid`, small ones without labels by `overview.thumbnail`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import numpy.typing as npt

from attncli.render.common.colormap import difference_color, has_colormap, text_color_on, weight_color
from attncli.render.common.lines import PLAIN, Line, Rgb, Style, StyledSpan
from attncli.render.common.numbers import two_digits
from attncli.render.common.terminal import Terminal
from attncli.results.heads import Stack
from attncli.results.patterns import Bins, Pattern

#: ASCII density ramp, from no weight to full scale.
DENSITY_RAMP = " .:-=+*#%@"
#: The same for use beside numbers, without + and -, which would read as signs.
SIGNLESS_RAMP = " .:=*#%@"
_LEGEND_CELLS = 20
# Least widths of a cell that shows hundredths: `100` and a space, or two digits between ramp characters.
_DIGITS_ON_COLOR = 4
_DIGITS_IN_INK = 5

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class HeatScale:
    """Draws weights on a terminal, from 0 to `full`, the weight of the brightest colour or densest character.

    relative: digits are hundredths of `full`, for weights that are not shares of 1.  ramp: used without colours.
    """

    full: float
    terminal: Terminal
    relative: bool = False
    ramp: str = DENSITY_RAMP

    @property
    def min_width(self) -> int:
        """The fewest cells that one value can take."""
        return 1

    @property
    def colored(self) -> bool:
        return has_colormap(self.terminal.color)

    def share(self, weight: float) -> float:
        return weight / self.full if self.full > 0 else 0.0

    def ascii_text(self, weight: float) -> str:
        """The character of the ramp for a weight."""
        return self.ramp[round(min(max(self.share(weight), 0.0), 1.0) * (len(self.ramp) - 1))]

    def without_signs(self) -> HeatScale:
        """The same scale with a ramp that has no + and -, for cells with numbers."""
        return replace(self, ramp=SIGNLESS_RAMP)

    def shade(self, weight: float) -> Style:
        """The colour of a weight as background, with a text colour that is readable on it."""
        background = weight_color(self.share(weight), self.terminal.color)
        return Style(fg=text_color_on(background), bg=background)

    def cell(self, weight: float, width: int) -> StyledSpan:
        """A weight in `width` cells, with its hundredths if there is room: on its colour or between ramp characters."""
        text = hundredths(self.share(weight) if self.relative else weight) if self.has_digits(width) else ""
        if not self.colored:
            return StyledSpan(self._ascii_cell(self.ascii_text(weight), text, width))
        background = weight_color(self.share(weight), self.terminal.color)
        if not text:
            return StyledSpan(" " * width, Style(bg=background))
        return StyledSpan(f"{text:>2}".center(width), Style(fg=text_color_on(background), bg=background))

    def labelled(self, weight: float, text: str, width: int) -> StyledSpan:
        """A text centred in `width` cells, on the colour of a weight or after its ramp character."""
        if not self.colored:
            return StyledSpan(f"{self.ascii_text(weight)}{text}".center(width))
        return StyledSpan(text.center(width), self.shade(weight))

    def has_digits(self, width: int) -> bool:
        """Whether cells of this width also show their weights as digits."""
        return width >= (_DIGITS_ON_COLOR if self.colored else _DIGITS_IN_INK)

    @staticmethod
    def _ascii_cell(ink: str, text: str, width: int) -> str:
        if not text:
            # Cells of one or two characters touch, as in a picture; wider ones leave a space, as in a table.
            return (ink * (width if width <= 2 else width - 1)).ljust(width)
        return f"{ink}{text:>2}{ink}"[: width - 1].center(width)

    def half_block(self, top: float | None, bottom: float | None) -> StyledSpan:
        """Two weights, one above the other, in one cell; None where a query can't see the key."""
        depth = self.terminal.color
        above = None if top is None else weight_color(self.share(top), depth)
        below = None if bottom is None else weight_color(self.share(bottom), depth)
        if above is None:
            return StyledSpan(" ") if below is None else StyledSpan("▄", Style(fg=below))
        return StyledSpan("▀", Style(fg=above, bg=below))

    def digits_note(self) -> str:
        """What the digits in cells mean, with the largest weight as example: `93 means 0.93`; empty where no weight is
        large enough for digits."""
        if self.relative:
            return "100 means the largest"
        largest = hundredths(self.full)
        return f"{largest} means {int(largest) / 100:.2f}" if largest else ""

    def legend(self) -> Line:
        """The scale as a legend: `0 <ramp> 0.93`."""
        full = two_digits(self.full)
        if not self.colored:
            return Line.of(f"0 [{self.ramp}] {full}")
        steps = (step / (_LEGEND_CELLS - 1) for step in range(_LEGEND_CELLS))
        return Line.of("0 ", *(self.cell(step * self.full, 1) for step in steps), f" {full}")


def hundredths(weight: float) -> str:
    """`83` for 0.83; empty for less than half a hundredth."""
    return str(round(weight * 100) or "")


def full_scale(patterns: Iterable[Pattern]) -> float:
    """The largest weight of the patterns, for one scale for all of them."""
    return max((float(pattern.weights.max(initial=0.0)) for pattern in patterns), default=0.0)


def pooled_evenly(pattern: Pattern, rows: int, columns: int) -> Pattern:
    """The pattern pooled to at most `rows` × `columns` cells, each of about the same number of weights.

    Cells of one and of two weights side by side would show stripes that the pattern doesn't have.
    """
    return pattern.pooled(*map(_even_size, pattern.weights.shape, (rows, columns)))


def _even_size(count: int, most: int) -> int:
    return ceil(count / ceil(count / most)) if count else 0


def spans_of(pattern: Pattern) -> Bins:
    """The positions that each row and each column covers: one each where the pattern isn't pooled."""
    if pattern.bins is not None:
        return pattern.bins
    rows, columns = pattern.weights.shape
    return Bins(tuple((i, i + 1) for i in range(rows)), tuple((i, i + 1) for i in range(columns)))


def hidden_cells(stack: Stack, pattern: Pattern) -> Mask:
    """Which cells stay blank, because in a causal stack all their keys come after their queries: (rows, columns)."""
    if not stack.causal:
        return np.zeros(pattern.weights.shape, dtype=np.bool_)
    spans = spans_of(pattern)
    last_query = np.array([stack.queries[end - 1].index for _, end in spans.rows])
    first_key = np.array([stack.keys[start].index for start, _ in spans.columns])
    hidden: Mask = (first_key[None, :] > last_query[:, None]) & (pattern.weights == 0)
    return hidden


# --- signed differences

_SIGNED_LEGEND_CELLS = 21
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

    def has_digits(self, width: int) -> bool:
        """Whether cells of this width show signed hundredths or the number itself."""
        return self._fits(_hundredths, width) or self.has_numbers(width)

    def has_numbers(self, width: int) -> bool:
        """Whether cells of this width show the number itself."""
        return self._fits(_short_number, width)

    def ascii_text(self, weight: float) -> str:
        """A sign and a digit, in ninths of `full`; blank for less than half a ninth."""
        ninths = round(min(max(self.share(weight), -1.0), 1.0) * _NINTHS)
        return f"{ninths:+d}" if ninths else " " * _SIGN_AND_DIGIT

    def text(self, weight: float, width: int) -> str:
        """A difference as `+0.12`, `+.12`, or `+12` hundredths, as there is room; blank if it rounds to zero."""
        form = next((form for form in _FORMS if self._fits(form, width)), None)
        if form is None:
            return "" if self.colored else self.ascii_text(weight)
        return form(weight, self._decimals) if round(weight, self._decimals) else ""

    @property
    def _decimals(self) -> int:
        """Digits after the point, so that the largest difference shows two significant ones; none for large numbers."""
        return next((decimals for least, decimals in _DECIMALS if self.full >= least), 0)

    def _fits(self, form: Callable[[float, int], str], width: int) -> bool:
        """Whether the largest difference fits in this form with a space beside it."""
        decimals = self._decimals
        tells = decimals == _DECIMALS[0][1] if form is _hundredths else decimals > 0
        return tells and len(form(self.full, decimals)) < width

    def shade(self, weight: float) -> Style:
        """The colour of a difference as background, with a text colour that is readable on it."""
        background = self._background(weight)
        return Style(fg=text_color_on(background), bg=background)

    def labelled(self, weight: float, text: str, width: int) -> StyledSpan:
        """A text centred in `width` cells, on the colour of a difference; without colours, the text alone."""
        return StyledSpan(text.center(width), self.shade(weight) if self.colored else PLAIN)

    def cell(self, weight: float, width: int) -> StyledSpan:
        """A difference in `width` cells: the number if there is room, else only its colour, or sign and digit."""
        text = self.text(weight, width)
        # Right-aligned with the other numbers, in the middle of the cell.
        widest = len(self.text(self.full, width))
        before = " " * ((width - widest) // 2)
        return self.labelled(weight, f"{before}{text.rjust(widest)}".ljust(width)[:width], width)

    def half_block(self, top: float | None, bottom: float | None) -> StyledSpan:
        """Two differences, one above the other, in one cell; None where a query can't see the key."""
        above = None if top is None else self._background(top)
        below = None if bottom is None else self._background(bottom)
        if above is None:
            return StyledSpan(" ") if below is None else StyledSpan("▄", Style(fg=below))
        return StyledSpan("▀", Style(fg=above, bg=below))

    def digits_note(self) -> str:
        """What hundredths mean, with the largest difference as example."""
        largest = round(self.full * 100)
        return f"+{largest} means +{largest / 100:.2f}"

    def legend(self) -> Line:
        """The scale as a legend, for colours or for signs and digits."""
        full = two_digits(self.full)
        if not self.colored:
            return Line.of(f"+{_NINTHS} means +{full}, -{_NINTHS} means -{full}")
        steps = (2 * step / (_SIGNED_LEGEND_CELLS - 1) - 1 for step in range(_SIGNED_LEGEND_CELLS))
        return Line.of(f"-{full} ", *(self.cell(step * self.full, 1) for step in steps), f" +{full}")

    def _background(self, weight: float) -> Rgb:
        return difference_color(self.share(weight), self.terminal.color)


def _signed_number(weight: float, decimals: int) -> str:
    return f"{weight:+.{decimals}f}"


def _short_number(weight: float, decimals: int) -> str:
    """`+.12`"""
    return (
        _signed_number(weight, decimals).replace("0.", ".", 1) if abs(weight) < 1 else _signed_number(weight, decimals)
    )


def _hundredths(weight: float, decimals: int) -> str:
    return f"{round(weight * 100):+d}"


#: Number formats, the widest first.
_FORMS = (_signed_number, _short_number, _hundredths)
