"""Numbers as people write them: counts and sizes (`131,072`, `128k`, `24GiB`), and whole numbers in a configuration."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from attncli.errors import UsageError

#: What a field may be written with beside digits, and what that multiplies.
_MULTIPLES = {"k": 1024, "m": 1024**2}


def whole_number(value: str) -> int | None:
    """A whole number, with commas or underscores between its digits, and k for 1,024 of it."""
    digits = value.replace(",", "").replace("_", "").lower()
    factor = _MULTIPLES.get(digits[-1:], 1)
    digits = digits[:-1] if factor > 1 else digits
    sign, digits = (-1, digits[1:]) if digits.startswith("-") else (1, digits)
    return sign * int(digits) * factor if digits.isascii() and digits.isdigit() and len(digits) < 20 else None


#: A comma parts thousands: `1,2` is more likely 1.2 than 12.
_DIGITS = r"(?P<digits>[0-9]{1,3}(,[0-9]{3})+|[0-9][0-9_]*"
_COUNT = re.compile(_DIGITS + r")(?P<unit>[kKmM]?)")
_DEVICES = r"((?P<devices>[0-9]{1,6})\s*[xX×*]\s*)?"
_SIZE = re.compile(_DEVICES + _DIGITS + r"(\.[0-9]+)?)\s*(?P<unit>[kKmMgGtT]i?[bB]?|[bB])")
_ROUNDED = re.compile(r"(?P<digits>[0-9]+(\.[0-9]+)?)\s*(?P<unit>[mMbBtT])")
#: What people round totals of parameters to.
_ROUNDED_UNITS = {"m": 10**6, "b": 10**9, "t": 10**12}
#: What stands for so many tokens: 1,024 and its square, as contexts are counted.
_COUNT_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20}
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
#: Nothing that is counted here comes near it.
_MOST = 10**18


def count_of(option: str, given: int | str | None, *, instance: str = "131,072 or 128k") -> int | None:
    """A whole number from 1 on: commas and underscores between digits, k for 1,024. None stays None.

    Raises UsageError for anything else; `option` is its name in the message, and `instance` what it could be.
    """
    if given is None:
        return None
    match = _COUNT.fullmatch(str(given).strip())
    if match is not None and len(match["digits"]) < 30:
        count = int(re.sub("[,_]", "", match["digits"])) * _COUNT_UNITS[match["unit"].lower()]
        if 0 < count < _MOST:
            return count
    raise UsageError(
        f"{option} can't be {given!r}: it has to be a whole number of at least 1",
        hint=f"for instance {option} {instance}",
    )


def check_number(option: str, given: object, *, least: int = 1, instance: int) -> None:
    """Raise UsageError for what is no whole number from `least` on; a number as a text is none.

    option, instance: as `count_of` takes them.
    """
    if not isinstance(given, int) or isinstance(given, bool) or given < least:
        raise UsageError(
            f"{option} can't be {given!r}: it has to be a whole number of at least {least}",
            hint=f"for instance {option} {instance}",
        )


class Total(NamedTuple):
    """A total that is expected: `number`, give or take `margin`, as it was `written`."""

    number: int
    margin: int
    written: str

    def holds(self, total: int) -> bool:
        return abs(total - self.number) <= self.margin


def total_of(option: str, given: int | str | None) -> Total | None:
    """A total of parameters: a whole number, which is meant to the last digit, or `175B`, `7.24B`, `124M`, which holds
    for whatever rounds to that. None stays None.

    Raises UsageError for anything else.
    """
    match = _ROUNDED.fullmatch(str(given).strip())
    if match is None or len(match["digits"]) > 20:
        count = count_of(option, given, instance="124,439,808, or 124M for what rounds to it")
        return None if count is None else Total(count, 0, f"{count:,}")
    unit = _ROUNDED_UNITS[match["unit"].lower()]
    places = len(match["digits"].partition(".")[2])
    return Total(
        int(Decimal(match["digits"]) * unit), unit // 10**places // 2, f"{match['digits']}{match['unit'].upper()}"
    )


class Size(NamedTuple):
    """An amount of memory, of all devices together, and as it was `written`: `2 × 80 GB`; None for plain bytes."""

    size: int
    written: str | None = None


def size_of(option: str, given: int | str | None) -> Size | None:
    """Memory: `24GiB` or `24G` in powers of 1,024, `24GB` in powers of 1,000, and `2x80GB` for two devices of that.

    A number that is no text is bytes, and None stays None. Raises UsageError for anything else.
    """
    if given is None:
        return None
    if type(given) is int and given > 0:
        return Size(given)
    match = _SIZE.fullmatch(str(given).strip())
    if match is not None and len(match["digits"]) < 30:
        devices, unit = int(match["devices"] or 1), match["unit"]
        size = devices * int(float(re.sub("[,_]", "", match["digits"])) * _multiple(unit.lower()))
        if 0 < size < _MOST:
            each = f"{match['digits']} {unit}"
            return Size(size, f"{devices:,} × {each}" if match["devices"] else each)
    raise UsageError(
        f"{option} can't be {given!r}: it has to be a memory size", hint=f"for instance {option} 24GiB, 80GB or 2x80GB"
    )


def _multiple(unit: str) -> int:
    """The bytes of a unit; `kb` stands for 1,000, `kib` and `k` for 1,024."""
    base = 1000 if unit.endswith("b") and "i" not in unit else 1024
    return int(base ** _POWERS.get(unit[0], 0))
