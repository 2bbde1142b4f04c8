"""Number formats of weights, metrics and changes, for columns, cells and sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attncli.render.common.cells import glyphs
from attncli.render.common.terminal import Terminal

if TYPE_CHECKING:
    from attncli.results.heads import Interval

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

    >>> [cell_number(value, 2) for value in (0.4, 0.0004, 0.0)]
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


def hundredths(weight: float) -> str:
    """`83` for 0.83; empty for less than half a hundredth."""
    return str(round(weight * 100) or "")


def _scientific(value: float, decimals: int) -> str:
    """`4.3e-5`"""
    mantissa, power = f"{value:.{decimals}e}".split("e")
    return f"{mantissa}e{int(power)}"


def metric_number(value: float | None, terminal: Terminal) -> str:
    """A metric's value: two digits after the point, one from a hundred on, a dot for None."""
    if value is None:
        return glyphs(terminal).dot
    return f"{value:z.1f}" if abs(value) >= 100 else f"{value:z.2f}"


def uniform_number(value: float | None, terminal: Terminal, decimals: int = 2) -> str:
    """A metric's value under uniform attention: two significant digits if it would show only zeros.

    >>> uniform_number(0.0045, Terminal())
    '0.0045'
    """
    if value is None:
        return glyphs(terminal).dot
    is_zero = round(value, decimals) == 0
    return two_digits(value) if is_zero and abs(value) > 1e-9 else cell_number(value, decimals)


def plus_minus(interval: Interval | None, terminal: Terminal, decimals: int = 2) -> str:
    """` ± 0.02`: half the width of the interval around a mean; empty without one."""
    if interval is None:
        return ""
    return f" {glyphs(terminal).plus_minus} {cell_number((interval[1] - interval[0]) / 2, decimals, small=False)}"


def percent_text(share: float) -> str:
    """A share for a sentence, from 99 % on to a tenth; never rounded to 0 or 100 %."""
    if share >= 0.99:
        return "100 %" if share == 1 else f"{min(100 * share, 99.9):.1f} %"
    whole = round(100 * share)
    return "under 1 %" if whole == 0 and share > 0 else f"{whole} %"


def share_text(share: float) -> str:
    """A share for a column: `33.1%`; small ones above 0 are `<0.1%`."""
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def p_value(value: float) -> str:
    """`0.53`, `0.067`, `4e-05`: as many digits as a probability needs."""
    return f"{value:.2f}" if value >= 0.095 else f"{value:.3f}" if value >= 0.001 else f"{value:.1g}"


def range_text(first: object, last: object | None) -> str:
    """`0–79`, or a single number."""
    return str(first) if last is None or last == first else f"{first}–{last}"


def bytes_text(count: int) -> str:
    """`327,680 bytes`, `15.0 GiB`: exact below 1 MiB, else to three digits."""
    if count < 1 << 20:
        return f"{count:,} byte{'' if count == 1 else 's'}"
    return _scaled(count, 1024, ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"))


def flops_text(count: int) -> str:
    """`15.0 GFLOPs`."""
    return f"{_scaled(count, 1000, ('', 'k', 'M', 'G', 'T', 'P', 'E'))}FLOPs"


def context_text(context: int) -> str:
    """`128k`, where k is 1,024 and M its square; other lengths in full."""
    for size, unit in ((1 << 20, "M"), (1 << 10, "k")):
        if context >= size and context % size == 0:
            return f"{context // size}{unit}"
    return f"{context:,}"


def _scaled(count: int, base: int, units: tuple[str, ...]) -> str:
    value, index = float(count), 0
    while value >= base and index < len(units) - 1:
        value, index = value / base, index + 1
    # 999.95 would round to 1000 of a unit that is too small.
    if f"{value:.3g}" == f"{base:.3g}" and base == 1000 and index < len(units) - 1:
        value, index = value / base, index + 1
    digits = f"{value:,.0f}" if value >= 100 or index == 0 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return f"{digits} {units[index]}"
