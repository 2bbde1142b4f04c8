"""Differences as pictures: blue and orange cells where there are colours enough, else a sign and a digit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from attncli.render.colormap import ink_on, signed_heat
from attncli.render.heads.heatmap import Heat
from attncli.render.heads.numbers import two_digits
from attncli.render.lines import PLAIN, Line, Rgb, Style, StyledSpan

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
