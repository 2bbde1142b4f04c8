"""Differences as pictures: blue and orange cells where there are colours enough, else a sign and a digit."""

from __future__ import annotations

from dataclasses import dataclass

from attncli.render.colormap import ink_on, signed_heat
from attncli.render.heads.heatmap import Heat
from attncli.render.heads.metric_words import number
from attncli.render.lines import PLAIN, Line, Rgb, Span, Style

_SCALE_CELLS = 21
_NINTHS = 9
# A sign, three digits and a space.
_DIGITS = 5


@dataclass(frozen=True, slots=True)
class SignedHeat(Heat):
    """How differences are drawn: `full` is the largest, of either sign."""

    @property
    def least(self) -> int:
        """Without colours, a sign and a digit."""
        return 1 if self.colored else 2

    def has_digits(self, width: int) -> bool:
        """Whether cells of this width show hundredths, with their signs."""
        return width >= _DIGITS

    def ink(self, weight: float) -> str:
        """A sign and the ninths of full scale, blank where there is less than half of one."""
        ninths = round(min(max(self.share(weight), -1.0), 1.0) * _NINTHS)
        return f"{ninths:+d}" if ninths else "  "

    def shade(self, weight: float) -> Style:
        """The colour of a difference behind a text, with an ink that is read on it."""
        background = self._background(weight)
        return Style(fg=ink_on(background), bg=background)

    def labelled(self, weight: float, text: str, width: int) -> Span:
        """A text on the colour of a difference; its own sign says all where there are no colours."""
        return Span(text.center(width), self.shade(weight) if self.colored else PLAIN)

    def cell(self, weight: float, width: int) -> Span:
        """One difference in `width` cells: its hundredths where there is room, else its colour, or sign and digit."""
        hundredths = round(weight * 100)
        text = f"{hundredths:+d}" if hundredths and self.has_digits(width) else ""
        if not self.colored and not self.has_digits(width):
            text = self.ink(weight)
        # The middle of a sign and up to three digits, so that digits stand under digits.
        before = max(width - _DIGITS + 1, 0) // 2
        return self.labelled(weight, (" " * before + text.rjust(min(width, _DIGITS - 1))).ljust(width), width)

    def half_block(self, top: float | None, bottom: float | None) -> Span:
        """Two differences above each other in one cell; None where a query can't see the key."""
        above = None if top is None else self._background(top)
        below = None if bottom is None else self._background(bottom)
        if above is None:
            return Span(" ") if below is None else Span("▄", Style(fg=below))
        return Span("▀", Style(fg=above, bg=below))

    def scale(self) -> Line:
        """What the colours, or signs and digits, mean."""
        full = number(self.full, self.terminal) if self.full >= 0.1 else f"{self.full:.2g}"
        if not self.colored:
            return Line.of(f"-{_NINTHS} to +{_NINTHS}: -{full} to +{full}")
        steps = (2 * step / (_SCALE_CELLS - 1) - 1 for step in range(_SCALE_CELLS))
        return Line.of(f"-{full} ", *(self.cell(step * self.full, 1) for step in steps), f" +{full}")

    def _background(self, weight: float) -> Rgb:
        return signed_heat(self.share(weight), self.terminal.color)
