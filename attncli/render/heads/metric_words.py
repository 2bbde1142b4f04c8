"""Weights and what they change by as numbers: in one column alike, and the smallest of them still told apart.

How metrics and labels are called, drawn and explained to a reader.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from attncli.render.common.cells import glyphs
from attncli.render.common.lines import Line, Rgb, Style, StyledSpan
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.results.heads import Interval
from attncli.results.patterns import TOKENS, Medium

#: Digits behind the point of a column whose largest number is at least so large. Where all are smaller, each is written
#: with its power of ten.
_DECIMALS = ((0.1, 3), (0.01, 4), (0.001, 5))
_FEWEST = 3
# From here on a number is no share of 1, and digits behind the point say little.
_LARGE, _HUNDRED = 10, 100
# Less than this is what is left of a zero after rounding, or as good as one.
_NOTHING = 1e-9


def decimals_for(largest: float) -> int:
    """How many digits stand behind the points of a column, by the size of its largest number.

    >>> [decimals_for(largest) for largest in (0.9, 0.04, 0.004)]
    [3, 4, 5]
    """
    return next((decimals for least, decimals in _DECIMALS if abs(largest) >= least), _FEWEST)


def weight_number(weight: float, decimals: int = _FEWEST) -> str:
    """A weight with so many digits behind its point; one that would be nothing but zeros has its power of ten.

    >>> [weight_number(weight) for weight in (0.1234, 0.00004321, 0.0)]
    ['0.123', '4.3e-5', '0']
    """
    size = abs(weight)
    if size >= _LARGE:
        return f"{weight:.1f}"
    if size >= 10.0**-decimals:
        return f"{weight:.{decimals}f}"
    return _power(weight, 1) if size else "0"


def signed_number(change: float, decimals: int = _FEWEST) -> str:
    """A change, written likewise, with its sign."""
    text = weight_number(change, decimals)
    return f"+{text}" if change > 0 else text


def place_number(value: float, decimals: int, *, small: bool = True) -> str:
    """A number for a small place; one that would be nothing but zeros is its power of ten, if `small` ones matter.

    >>> [place_number(value, 2) for value in (0.4, 0.0004, 0.0)]
    ['0.40', '4e-4', '0.00']
    """
    size = abs(value)
    if size >= _HUNDRED:
        return f"{value:.1f}"
    is_zero = round(size, decimals) == 0
    return _power(value, 0) if is_zero and small and size >= _NOTHING else f"{value:z.{decimals}f}"


def signed_place(change: float) -> str:
    """A change for a small place, with its sign and no zero before its point: `+.041`, `-3e-5`, `+12.3`."""
    size = abs(change)
    if size < _NOTHING:
        return "0"
    if size >= 1:
        return f"{change:+.2f}" if size < _LARGE else f"{change:+.1f}"
    return f"{change:+.3f}".replace("0.", ".", 1) if round(size, 3) else f"{'+' * (change > 0)}{_power(change, 0)}"


def two_digits(value: float) -> str:
    """Two digits that count: `0.93`, `0.0061`, `4.3e-5`."""
    return _power(value, 1) if 0 < abs(value) < 1e-4 else f"{value:.2g}" if abs(value) < 0.1 else f"{value:.2f}"


def _power(value: float, decimals: int) -> str:
    """`4.3e-5`"""
    mantissa, power = f"{value:.{decimals}e}".split("e")
    return f"{mantissa}e{int(power)}"


_BLACK: Rgb = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Label:
    """A head's label: its letter on the map, its colour (and which of sixteen), what it looks at, and the sentence."""

    letter: str
    target: str
    sentence: str
    color: Rgb | None = None
    basic_color: Rgb | None = None

    def tile(self, width: int, terminal: Terminal) -> StyledSpan:
        """The letter in the middle of `width` coloured cells."""
        # Bold black is grey where there are only sixteen colours.
        few = terminal.color is ColorDepth.ANSI
        background = self.basic_color if few else self.color
        return StyledSpan(
            self.letter.center(width), Style(background and _BLACK, background, bold=not (few and background))
        )


# Colours that colour-blind eyes can tell apart: Okabe & Ito 2008, "Color universal design".
LABELS = {
    "previous": Label("P", "previous token", "looks at the previous token", (86, 180, 233), (0, 170, 170)),
    "next": Label("N", "next token", "looks at the next token", (230, 159, 0), (255, 255, 85)),
    "first": Label("F", "first token", "looks at the first token", (213, 94, 0), (170, 0, 0)),
    "special": Label("S", "special tokens", "looks at special tokens", (204, 121, 167), (170, 0, 170)),
    "induction": Label(
        "I", "what followed earlier copies", "looks at what followed earlier copies", (0, 158, 115), (0, 170, 0)
    ),
}

# What each metric says, with its unit; the formulas are in the documentation of the functions that compute them.
MEANINGS = {
    "entropy": "how widely a row spreads its weight (nats)",
    "distance": "how far away it looks (tokens)",
    "confidence": "largest weight of a row",
    "previous": "weight on the previous token",
    "current": "weight on the token itself",
    "next": "weight on the next token",
    "first": "weight on the first token",
    "special": "weight on special tokens",
    "virtual_sink": "weight that no token gets",
    "duplicate": "weight on earlier copies of the token",
    "induction": "weight on what followed earlier copies",
}


# Where patches of a picture stand for tokens.
_OF_PATCHES = {
    "distance": "how far away it looks (patches)",
    "previous": "weight on the patch to the left",
    "current": "weight on the patch itself",
    "next": "weight on the patch to the right",
    "first": "weight on the first position",
    "special": "weight on what is no patch, as [CLS]",
    "virtual_sink": "weight that no patch gets",
    "duplicate": "weight on earlier copies of the patch",
}

#: What labels say there.
_TARGETS_OF_PATCHES = {
    "previous": "the patch to the left",
    "next": "the patch to the right",
    "first": "the first position",
    "special": "what is no patch",
}


def meaning(name: str, medium: Medium) -> str:
    """What a metric says of tokens, of the patches of a picture, or of the frames of a sound."""
    said = MEANINGS.get(name, "")
    if medium.kind == "patches":
        return _OF_PATCHES.get(name, said)
    return said.replace("token", "frame") if medium.kind == "frames" else said


def label_of(name: str, medium: Medium = TOKENS) -> Label:
    """The label called `name`, in words for what is looked at; one that this table doesn't know is drawn by its first
    letter, without a colour."""
    label = LABELS.get(name) or Label(name[:1].upper(), name, f"stands out by {name}")
    if medium.kind == "frames":
        target, sentence = (words.replace("token", "frame") for words in (label.target, label.sentence))
        return replace(label, target=target, sentence=sentence)
    if medium.kind == "patches" and name in _TARGETS_OF_PATCHES:
        target = _TARGETS_OF_PATCHES[name]
        return replace(label, target=target.removeprefix("the "), sentence=f"looks at {target}")
    return label


def label_entry(label: Label, terminal: Terminal) -> Line:
    """A label's letter and what it means, for a legend."""
    return Line.of(label.tile(3, terminal), f" {label.target}")


def in_order(names: Iterable[str]) -> list[str]:
    """Labels, each once: those that we know in their own order, then the rest as they come."""
    present = dict.fromkeys(names)
    return [*(name for name in LABELS if name in present), *(name for name in present if name not in LABELS)]


def number(value: float | None, terminal: Terminal) -> str:
    """A metric's value: two decimals, one where it is a hundred or more, a dash where there is none."""
    if value is None:
        return glyphs(terminal).dash
    return f"{value:z.1f}" if abs(value) >= 100 else f"{value:z.2f}"


def even_number(value: float | None, terminal: Terminal, decimals: int = 2) -> str:
    """The same of even attention: one that would be nothing but zeros has two digits that count.

    >>> even_number(0.0045, Terminal())
    '0.0045'
    """
    if value is None:
        return glyphs(terminal).dash
    is_zero = round(value, decimals) == 0
    return two_digits(value) if is_zero and abs(value) > 1e-9 else place_number(value, decimals)


def give(interval: Interval | None, terminal: Terminal, decimals: int = 2) -> str:
    """` ± 0.02`: half the width of an interval around a mean; nothing where there is none."""
    if interval is None:
        return ""
    return f" {glyphs(terminal).give} {place_number((interval[1] - interval[0]) / 2, decimals, small=False)}"


def beside_uniform(
    metric: str, value: float | None, uniform: float | None, terminal: Terminal, interval: Interval | None = None
) -> list[Line]:
    """`next 0.83 ± 0.02` and `uniform 0.07`: a value, its interval if it is a mean, and that of even attention."""
    here = Line.of(f"{metric} ", StyledSpan(number(value, terminal), Style(bold=True)), give(interval, terminal))
    return [here, Line.of(StyledSpan(f"uniform {even_number(uniform, terminal)}", Style(dim=True)))]
