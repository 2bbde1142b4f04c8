"""Weights as pictures: coloured cells where there are colours enough, else characters of growing ink.

Differences as pictures: blue and orange cells where there are colours enough, else a sign and a digit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import numpy.typing as npt

from attncli.render.common.colormap import has_colormap, heat, ink_on, signed_heat
from attncli.render.common.lines import PLAIN, Line, Rgb, Style, StyledSpan
from attncli.render.common.terminal import Terminal
from attncli.render.heads.metric_words import two_digits
from attncli.results.heads import Stack
from attncli.results.patterns import Bins, Pattern

#: From no weight to full scale; each character has more ink than the one before.
RAMP = " .:-=+*#%@"
#: The same beside numbers: none of these is a sign.
RAMP_OF_NUMBERS = " .:=*#%@"
_SCALE_CELLS = 20
# Cells that a weight needs before its hundredths fit in: `100` and a space, or two digits with ink on both sides.
_DIGITS_ON_COLOR = 4
_DIGITS_IN_INK = 5

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Heat:
    """How weights are drawn on one terminal: `full` is the weight of the brightest colour (and of the darkest ink).

    relative: digits are of the full scale, as the weights are no shares of 1.  ramp: the ink without colours.
    """

    full: float
    terminal: Terminal
    relative: bool = False
    ramp: str = RAMP

    @property
    def least(self) -> int:
        """Cells that a weight needs at the least."""
        return 1

    @property
    def colored(self) -> bool:
        return has_colormap(self.terminal.color)

    def share(self, weight: float) -> float:
        return weight / self.full if self.full > 0 else 0.0

    def ink(self, weight: float) -> str:
        """The character of the ramp for a weight."""
        return self.ramp[round(min(max(self.share(weight), 0.0), 1.0) * (len(self.ramp) - 1))]

    def beside_numbers(self) -> Heat:
        """The same with an ink that no sign of a number is taken for."""
        return replace(self, ramp=RAMP_OF_NUMBERS)

    def shade(self, weight: float) -> Style:
        """The colour of a weight behind a text, with an ink that is read on it."""
        background = heat(self.share(weight), self.terminal.color)
        return Style(fg=ink_on(background), bg=background)

    def cell(self, weight: float, width: int) -> StyledSpan:
        """One weight in `width` cells, with its hundredths where there is room: on its colour, or between its ink."""
        text = hundredths(self.share(weight) if self.relative else weight) if self.has_digits(width) else ""
        if not self.colored:
            return StyledSpan(self._inked(self.ink(weight), text, width))
        background = heat(self.share(weight), self.terminal.color)
        if not text:
            return StyledSpan(" " * width, Style(bg=background))
        return StyledSpan(f"{text:>2}".center(width), Style(fg=ink_on(background), bg=background))

    def labelled(self, weight: float, text: str, width: int) -> StyledSpan:
        """A text on the colour of a weight, or behind its ink, in the middle of `width` cells."""
        if not self.colored:
            return StyledSpan(f"{self.ink(weight)}{text}".center(width))
        return StyledSpan(text.center(width), self.shade(weight))

    def has_digits(self, width: int) -> bool:
        """Whether cells of this width show their weights as numbers, too."""
        return width >= (_DIGITS_ON_COLOR if self.colored else _DIGITS_IN_INK)

    @staticmethod
    def _inked(ink: str, text: str, width: int) -> str:
        if not text:
            # Two cells of ink touch their neighbours, as a picture does; wider ones are a table.
            return (ink * (width if width <= 2 else width - 1)).ljust(width)
        return f"{ink}{text:>2}{ink}"[: width - 1].center(width)

    def half_block(self, top: float | None, bottom: float | None) -> StyledSpan:
        """Two weights above each other in one cell; None where a query can't see the key."""
        depth = self.terminal.color
        above = None if top is None else heat(self.share(top), depth)
        below = None if bottom is None else heat(self.share(bottom), depth)
        if above is None:
            return StyledSpan(" ") if below is None else StyledSpan("▄", Style(fg=below))
        return StyledSpan("▀", Style(fg=above, bg=below))

    def digits_note(self) -> str:
        """What the digits in cells mean, by the example of the largest weight: `93 means 0.93`; nothing where none is
        large enough to have some."""
        if self.relative:
            return "100 means the largest"
        largest = hundredths(self.full)
        return f"{largest} means {int(largest) / 100:.2f}" if largest else ""

    def scale(self) -> Line:
        """What the colours or characters mean: `0 <ramp> 0.93`."""
        full = two_digits(self.full)
        if not self.colored:
            return Line.of(f"0 [{self.ramp}] {full}")
        steps = (step / (_SCALE_CELLS - 1) for step in range(_SCALE_CELLS))
        return Line.of("0 ", *(self.cell(step * self.full, 1) for step in steps), f" {full}")


def hundredths(weight: float) -> str:
    """`83` of 0.83; nothing of less than half a hundredth."""
    return str(round(weight * 100) or "")


def full_scale(patterns: Iterable[Pattern]) -> float:
    """The largest weight of the patterns, so that they can share one scale."""
    return max((float(pattern.weights.max(initial=0.0)) for pattern in patterns), default=0.0)


def pooled_evenly(pattern: Pattern, rows: int, columns: int) -> Pattern:
    """The pattern in at most `rows` × `columns` cells that all stand for about as many weights.

    Cells of one and of two weights side by side would draw stripes that the head doesn't have.
    """
    return pattern.pooled(*map(_even, pattern.weights.shape, (rows, columns)))


def _even(count: int, most: int) -> int:
    return ceil(count / ceil(count / most)) if count else 0


def spans_of(pattern: Pattern) -> Bins:
    """The positions that each row and each column stand for, one each where the pattern isn't pooled."""
    if pattern.bins is not None:
        return pattern.bins
    rows, columns = pattern.weights.shape
    return Bins(tuple((i, i + 1) for i in range(rows)), tuple((i, i + 1) for i in range(columns)))


def unseen(stack: Stack, pattern: Pattern) -> Mask:
    """Where no query of the row may see any key of the column, because it comes later: (rows, columns)."""
    if not stack.causal:
        return np.zeros(pattern.weights.shape, dtype=np.bool_)
    spans = spans_of(pattern)
    last_query = np.array([stack.queries[end - 1].index for _, end in spans.rows])
    first_key = np.array([stack.keys[start].index for start, _ in spans.columns])
    hidden: Mask = (first_key[None, :] > last_query[:, None]) & (pattern.weights == 0)
    return hidden


_SIGNED_SCALE_CELLS = 21
_NINTHS = 9
# A sign and a digit.
_CODE = 2
# How many digits there are behind a point, by the least of the largest differences that have so many.
_DECIMALS = ((0.095, 2), (0.0095, 3), (0.00095, 4))


@dataclass(frozen=True, slots=True)
class SignedHeat(Heat):
    """How differences are drawn: `full` is the largest, of either sign."""

    @property
    def least(self) -> int:
        """Without colours, a sign, a digit and a space."""
        return 1 if self.colored else _CODE + 1

    def has_digits(self, width: int) -> bool:
        """Whether cells of this width show hundredths, or the number itself, with their signs."""
        return self._fits(_hundredths, width) or self.has_numbers(width)

    def has_numbers(self, width: int) -> bool:
        """Whether cells of this width show the number itself."""
        return self._fits(_short_number, width)

    def ink(self, weight: float) -> str:
        """A sign and the ninths of full scale, blank where there is less than half of one."""
        ninths = round(min(max(self.share(weight), -1.0), 1.0) * _NINTHS)
        return f"{ninths:+d}" if ninths else " " * _CODE

    def text(self, weight: float, width: int) -> str:
        """A difference as `+0.12`, `+.12`, or `+12` of hundredths, as there is room; blank where it is none."""
        form = next((form for form in _FORMS if self._fits(form, width)), None)
        if form is None:
            return "" if self.colored else self.ink(weight)
        return form(weight, self._decimals) if round(weight, self._decimals) else ""

    @property
    def _decimals(self) -> int:
        """Two digits of the largest difference count, or those before its point do."""
        return next((decimals for least, decimals in _DECIMALS if self.full >= least), 0)

    def _fits(self, form: Callable[[float, int], str], width: int) -> bool:
        """Whether the largest difference has room in this form, and a space beside it."""
        decimals = self._decimals
        tells = decimals == _DECIMALS[0][1] if form is _hundredths else decimals > 0
        return tells and len(form(self.full, decimals)) < width

    def shade(self, weight: float) -> Style:
        """The colour of a difference behind a text, with an ink that is read on it."""
        background = self._background(weight)
        return Style(fg=ink_on(background), bg=background)

    def labelled(self, weight: float, text: str, width: int) -> StyledSpan:
        """A text on the colour of a difference; its own sign says all where there are no colours."""
        return StyledSpan(text.center(width), self.shade(weight) if self.colored else PLAIN)

    def cell(self, weight: float, width: int) -> StyledSpan:
        """One difference in `width` cells: the number where there is room, else its colour, or sign and digit."""
        text = self.text(weight, width)
        # Digits stand under digits, about the middle of the cell.
        widest = len(self.text(self.full, width))
        before = " " * ((width - widest) // 2)
        return self.labelled(weight, f"{before}{text.rjust(widest)}".ljust(width)[:width], width)

    def half_block(self, top: float | None, bottom: float | None) -> StyledSpan:
        """Two differences above each other in one cell; None where a query can't see the key."""
        above = None if top is None else self._background(top)
        below = None if bottom is None else self._background(bottom)
        if above is None:
            return StyledSpan(" ") if below is None else StyledSpan("▄", Style(fg=below))
        return StyledSpan("▀", Style(fg=above, bg=below))

    def digits_note(self) -> str:
        """What hundredths are, by the example of the largest."""
        hundredths = round(self.full * 100)
        return f"+{hundredths} means +{hundredths / 100:.2f}"

    def scale(self) -> Line:
        """What the colours, or signs and digits, mean."""
        full = two_digits(self.full)
        if not self.colored:
            return Line.of(f"+{_NINTHS} means +{full}, -{_NINTHS} means -{full}")
        steps = (2 * step / (_SIGNED_SCALE_CELLS - 1) - 1 for step in range(_SIGNED_SCALE_CELLS))
        return Line.of(f"-{full} ", *(self.cell(step * self.full, 1) for step in steps), f" +{full}")

    def _background(self, weight: float) -> Rgb:
        return signed_heat(self.share(weight), self.terminal.color)


def _number(weight: float, decimals: int) -> str:
    return f"{weight:+.{decimals}f}"


def _short_number(weight: float, decimals: int) -> str:
    """`+.12`"""
    return _number(weight, decimals).replace("0.", ".", 1) if abs(weight) < 1 else _number(weight, decimals)


def _hundredths(weight: float, decimals: int) -> str:
    return f"{round(weight * 100):+d}"


#: From the one that needs most room to the one that needs least.
_FORMS = (_number, _short_number, _hundredths)
