"""Whole numbers as people write them into a configuration."""

from __future__ import annotations

#: What a field may be written with beside digits, and what that multiplies.
_MULTIPLES = {"k": 1024, "m": 1024**2}


def whole_number(value: str) -> int | None:
    """A whole number, with commas or underscores between its digits, and k for 1,024 of it."""
    digits = value.replace(",", "").replace("_", "").lower()
    factor = _MULTIPLES.get(digits[-1:], 1)
    digits = digits[:-1] if factor > 1 else digits
    sign, digits = (-1, digits[1:]) if digits.startswith("-") else (1, digits)
    return sign * int(digits) * factor if digits.isascii() and digits.isdigit() and len(digits) < 20 else None
