"""Weights and what they change by as numbers: in one column alike, and the smallest of them still told apart."""

from __future__ import annotations

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
