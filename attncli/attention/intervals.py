"""How sure a mean over a sample is: Student's interval, which needs nothing but the sample itself."""

from __future__ import annotations

import math
from functools import cache

from attncli.results.heads import Interval

#: The share of samples whose interval holds the true mean.
CONFIDENCE = 0.95

#: Degrees of freedom from which on an expansion around the normal distribution is exact to ten digits.
_MANY = 300


def interval(mean: float, squares: float, count: int) -> Interval | None:
    """The 95 % interval of a mean: mean ± t · s / √n, with s² = squares / (n − 1) (Student 1908).

    squares: the sum of squared deviations from the mean.  count: how many values there are; None below two.
    It isn't cut to what the values can be: the end of an interval around a share may lie above 1.
    """
    if count < 2:
        return None
    half = student_quantile(count - 1) * math.sqrt(max(squares, 0.0) / (count - 1) / count)
    return mean - half, mean + half


@cache
def student_quantile(freedom: int) -> float:
    """The t with P(|T| ≤ t) = 0.95 for Student's distribution with so many degrees of freedom.

    >>> round(student_quantile(7), 4)
    2.3646
    """
    if freedom > _MANY:
        return _expanded(1.959963984540054, freedom)
    low, high = 1.0, 13.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < CONFIDENCE else (low, middle)
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """P(|T| ≤ t), as a finite sum (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    # cos θ + 2/3 cos³ θ + …, or 1 + 1/2 cos² θ + …, up to the power freedom − 2.
    term, total = cosine if odd else 1.0, 0.0
    for power in range(odd, freedom - 1, 2):
        total += term
        term *= cosine * cosine * (power + 1) / (power + 2)
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total


def _expanded(z: float, freedom: int) -> float:
    """The quantile from the normal one (Abramowitz & Stegun 1964, 26.7.5)."""
    parts = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(part / float(freedom) ** power for power, part in enumerate(parts, 1))
