"""Number formats for weights and metrics, and how metrics and labels are worded, lettered and coloured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from attncli.render.common.cells import glyphs
from attncli.render.common.escape import token_text
from attncli.render.common.lines import Line, Rgb, Style, StyledSpan
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.results.heads import HeadMetrics, Interval, Stack
from attncli.results.patterns import TOKENS, Medium
from attncli.results.tokens import Token

#: Digits after the point, by how large the largest number of a column is at least. Columns of smaller numbers use
#: scientific notation.
_DECIMALS = ((0.1, 3), (0.01, 4), (0.001, 5))
_FEWEST_DECIMALS = 3
# From these on, one digit after the point is enough: for weights, and for other numbers.
_LARGE, _HUNDRED = 10, 100
# Smaller values are rounding errors of zero.
_ROUNDING_ERROR = 1e-9


def decimals_for(largest: float) -> int:
    """How many digits after the point a column has, by its largest number.

    >>> [decimals_for(largest) for largest in (0.9, 0.04, 0.004)]
    [3, 4, 5]
    """
    return next((decimals for least, decimals in _DECIMALS if abs(largest) >= least), _FEWEST_DECIMALS)


def weight_number(weight: float, decimals: int = _FEWEST_DECIMALS) -> str:
    """A weight with so many digits after the point; one that would show only zeros in scientific notation.

    >>> [weight_number(weight) for weight in (0.1234, 0.00004321, 0.0)]
    ['0.123', '4.3e-5', '0']
    """
    size = abs(weight)
    if size >= _LARGE:
        return f"{weight:.1f}"
    if size >= 10.0**-decimals:
        return f"{weight:.{decimals}f}"
    return _scientific(weight, 1) if size else "0"


def signed_number(change: float, decimals: int = _FEWEST_DECIMALS) -> str:
    """A change in the format of `weight_number`, with its sign."""
    text = weight_number(change, decimals)
    return f"+{text}" if change > 0 else text


def cell_number(value: float, decimals: int, *, small: bool = True) -> str:
    """A number for a narrow cell. small: whether one that would show only zeros is in scientific notation.

    >>> [place_number(value, 2) for value in (0.4, 0.0004, 0.0)]
    ['0.40', '4e-4', '0.00']
    """
    size = abs(value)
    if size >= _HUNDRED:
        return f"{value:.1f}"
    is_zero = round(size, decimals) == 0
    return _scientific(value, 0) if is_zero and small and size >= _ROUNDING_ERROR else f"{value:z.{decimals}f}"


def signed_cell_number(change: float) -> str:
    """A change for a narrow cell, with its sign and no zero before the point: `+.041`, `-3e-5`, `+12.3`."""
    size = abs(change)
    if size < _ROUNDING_ERROR:
        return "0"
    if size >= 1:
        return f"{change:+.2f}" if size < _LARGE else f"{change:+.1f}"
    return f"{change:+.3f}".replace("0.", ".", 1) if round(size, 3) else f"{'+' * (change > 0)}{_scientific(change, 0)}"


def two_digits(value: float) -> str:
    """Two significant digits: `0.93`, `0.0061`, `4.3e-5`."""
    return _scientific(value, 1) if 0 < abs(value) < 1e-4 else f"{value:.2g}" if abs(value) < 0.1 else f"{value:.2f}"


def _scientific(value: float, decimals: int) -> str:
    """`4.3e-5`"""
    mantissa, power = f"{value:.{decimals}e}".split("e")
    return f"{mantissa}e{int(power)}"


_BLACK: Rgb = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Label:
    """How a label of heads is shown: its letter on maps, its target for legends, a sentence, and its colours.

    basic_color: for terminals of sixteen colours.
    """

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
    "token": Label("T", "one ordinary token", "most tokens look at one ordinary token", (240, 228, 66), (85, 85, 255)),
}

# What each metric measures, with its unit. The formulas are in the docstrings of the functions that compute them.
MEANINGS = {
    "entropy": "how widely a row spreads its weight (nats)",
    "distance": "how far away it looks (tokens)",
    "confidence": "largest weight of a row",
    "previous": "weight on the previous token",
    "current": "weight on the token itself",
    "next": "weight on the next token",
    "first": "weight on the first token",
    "special": "weight on special tokens",
    "token": "weight on the ordinary token most looked at",
    "virtual_sink": "weight that no token gets",
    "duplicate": "weight on earlier copies of the token",
    "induction": "weight on what followed earlier copies",
}


# The same where the tokens are patches of a picture.
_PATCH_MEANINGS = {
    "distance": "how far away it looks (patches)",
    "previous": "weight on the patch to the left",
    "current": "weight on the patch itself",
    "next": "weight on the patch to the right",
    "first": "weight on the first position",
    "special": "weight on what is no patch, as [CLS]",
    "token": "weight on the patch most looked at",
    "virtual_sink": "weight that no patch gets",
    "duplicate": "weight on earlier copies of the patch",
}

# What labels look at there.
_PATCH_TARGETS = {
    "previous": "the patch to the left",
    "next": "the patch to the right",
    "first": "the first position",
    "special": "what is no patch",
    "token": "one patch",
}


def meaning(name: str, medium: Medium) -> str:
    """What a metric measures, worded for tokens, for patches of a picture or for frames of a sound."""
    words = MEANINGS.get(name, "")
    if medium.kind == "patches":
        return _PATCH_MEANINGS.get(name, words)
    return words.replace("token", "frame") if medium.kind == "frames" else words


def evidence_words(metric: str, stack: Stack) -> str:
    """On how many repeated tokens a metric of repeats rests, the most of any layer; empty for other metrics."""
    counts = [layer[metric] for layer in stack.repeats.values() if metric in layer]
    if not counts or not max(counts):
        return ""
    count = f"{max(counts):,} repeated token{'' if max(counts) == 1 else 's'}"
    few = "" if stack.has_evidence(metric) else ", too few to rank heads by (--probe measures it on repeated text)"
    return f"rests on {count}{few}"


def label_of(name: str, medium: Medium = TOKENS) -> Label:
    """The label called `name`, worded for tokens, patches or frames; an unknown one gets its first letter and no
    colour."""
    label = LABELS.get(name) or Label(name[:1].upper(), name, f"stands out by {name}")
    if medium.kind == "frames":
        target, sentence = (
            words.replace("ordinary token", "frame").replace("token", "frame")
            for words in (label.target, label.sentence)
        )
        return replace(label, target=target, sentence=sentence)
    if medium.kind == "patches" and name in _PATCH_TARGETS:
        target = _PATCH_TARGETS[name]
        sentence = f"most patches look at {target}" if name == "token" else f"looks at {target}"
        return replace(label, target=target.removeprefix("the "), sentence=sentence)
    return label


def label_sentence(head: HeadMetrics, name: str, stack: Stack, terminal: Terminal) -> str:
    """What a head with a label does; `token` names the token that it reads."""
    token = read_token(head, stack) if name == "token" else None
    if token is None:
        return label_of(name, stack.key_medium).sentence
    return f"most tokens look at {token_text(token, terminal)} (token {token.index})"


def read_token(head: HeadMetrics, stack: Stack) -> Token | None:
    """The token of a text that the metric `token` of a head is about; None where it isn't among those shown."""
    if stack.key_medium.kind != "tokens":
        return None
    return next((key for key in stack.keys if key.index == head.token_index), None)


def label_entry(label: Label, terminal: Terminal) -> Line:
    """A label in a legend: its letter and what it looks at."""
    return Line.of(label.tile(3, terminal), f" {label.target}")


def ordered_labels(names: Iterable[str]) -> list[str]:
    """The label names without repeats: known ones in the order of `LABELS`, then the others as they come."""
    present = dict.fromkeys(names)
    return [*(name for name in LABELS if name in present), *(name for name in present if name not in LABELS)]


def metric_number(value: float | None, terminal: Terminal) -> str:
    """A metric's value: two digits after the point, one from a hundred on, a dash for None."""
    if value is None:
        return glyphs(terminal).dash
    return f"{value:z.1f}" if abs(value) >= 100 else f"{value:z.2f}"


def uniform_number(value: float | None, terminal: Terminal, decimals: int = 2) -> str:
    """A metric's value under uniform attention: two significant digits if it would show only zeros.

    >>> even_number(0.0045, Terminal())
    '0.0045'
    """
    if value is None:
        return glyphs(terminal).dash
    is_zero = round(value, decimals) == 0
    return two_digits(value) if is_zero and abs(value) > 1e-9 else cell_number(value, decimals)


def plus_minus(interval: Interval | None, terminal: Terminal, decimals: int = 2) -> str:
    """` ± 0.02`: half the width of the interval around a mean; empty without one."""
    if interval is None:
        return ""
    return f" {glyphs(terminal).plus_minus} {cell_number((interval[1] - interval[0]) / 2, decimals, small=False)}"


def metric_and_uniform(
    metric: str, value: float | None, uniform: float | None, terminal: Terminal, interval: Interval | None = None
) -> list[Line]:
    """`next 0.83 ± 0.02` and `uniform 0.07`: a value, with its interval if it is a mean, and uniform attention's."""
    measured = Line.of(
        f"{metric} ", StyledSpan(metric_number(value, terminal), Style(bold=True)), plus_minus(interval, terminal)
    )
    return [measured, Line.of(StyledSpan(f"uniform {uniform_number(uniform, terminal)}", Style(dim=True)))]
