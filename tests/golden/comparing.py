"""Whether two recordings of one command say the same: exactly, or but for what another processor rounds differently."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

#: Shades and bars from nothing to full: a cell may be drawn one step away.
RAMPS = (" .:-=+*#%@", " .:=*#%@", " ▏▎▍▌▋▊▉█", " ▁▂▃▄▅▆▇█", "▁▂▃▄▅▆▇█")
NEIGHBOURS = {frozenset(pair) for ramp in RAMPS for pair in pairwise(ramp)}

#: How far apart two floats of data may be: one step of the five decimals that pages have.
CLOSE = 1.1e-5
#: A figure of packed bytes, of which each may be one step away.
LOOSE = 0.6

_NUMBER = re.compile(r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:e-?\d+)?")
_DATUM = re.compile(r"~?-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_ESCAPE = re.compile(r"␛\[([\d;]*)m")


def agree(kind: str, recorded: str, found: str) -> bool:
    """kind: `text`, drawn for a reader, or `data`, for programs."""
    return recorded == found or (_data_agree if kind == "data" else _texts_agree)(recorded, found)


# Data: numbers apart from all else


def _data_agree(recorded: str, found: str) -> bool:
    if _DATUM.sub("#", recorded) != _DATUM.sub("#", found):
        return False
    return all(map(_close, _DATUM.findall(recorded), _DATUM.findall(found)))


def _close(recorded: str, found: str) -> bool:
    if recorded == found:
        return True
    if recorded[0] == "~" or found[0] == "~":
        return recorded[0] == found[0] and abs(float(recorded[1:]) - float(found[1:])) <= LOOSE
    if any("." not in number and "e" not in number for number in (recorded, found)):
        return False  # counts, ids and places are exact
    a, b = float(recorded), float(found)
    return abs(a - b) <= CLOSE * max(1.0, abs(a), abs(b))


# Text: a grid of cells


class Line(NamedTuple):
    """Characters, and the style of each."""

    text: str
    styles: tuple[tuple[str, ...], ...]


def _texts_agree(recorded: str, found: str) -> bool:
    """Numbers may differ by one in their last digit, colours and shades by a step, and few of them may."""
    old, new = list(_lines(recorded)), list(_lines(found))
    if [len(line.text) for line in old] != [len(line.text) for line in new]:
        return False
    maps = "means 0." in recorded
    steps = 0
    for before, after in zip(old, new, strict=True):
        different = _steps(before, after, heat=maps and re.match(r"\s*\d", before.text) is not None)
        if different is None:
            return False
        steps += different
    return steps <= 3 + sum(len(line.text) for line in old) // 100


def _lines(text: str) -> Iterator[Line]:
    style: dict[str, str] = {}
    for line in text.split("\n"):
        characters, styles = [], []
        for index, part in enumerate(_ESCAPE.split(line)):
            if index % 2:
                _apply(part, style)
            else:
                characters.append(part)
                styles += [tuple(f"{key} {value}" for key, value in sorted(style.items()))] * len(part)
        yield Line("".join(characters), tuple(styles))


def _apply(codes: str, style: dict[str, str]) -> None:
    """What an escape sequence changes: foreground, background, and anything else as it is written."""
    numbers = codes.split(";")
    while numbers:
        code = numbers.pop(0)
        if code in ("", "0"):
            style.clear()
        elif code in ("38", "48"):
            count = 2 if numbers[0] == "5" else 4
            style[code] = ";".join(numbers[:count])
            del numbers[:count]
        elif code in ("39", "49"):
            style.pop("38" if code == "39" else "48", None)
        else:
            style[f"set {code}"] = ""


def _steps(old: Line, new: Line, *, heat: bool) -> int | None:
    """How many numbers, shades and colours are a step apart; None where something else differs."""
    steps = 0
    places = [found.span() for found in _NUMBER.finditer(old.text)]
    if places != [found.span() for found in _NUMBER.finditer(new.text)]:
        return None
    numbers = {index for start, end in places for index in range(start, end)}
    for place, (start, end) in enumerate(places):
        if old.text[start:end] != new.text[start:end]:
            share = (heat and place > 0) or re.match(r" ?%", old.text[end:]) is not None
            if not _one_apart(old.text[start:end], new.text[start:end], share=share):
                return None
            steps += 1
    for index, (before, after) in enumerate(zip(old.text, new.text, strict=True)):
        if before == after or index in numbers:
            continue
        # A colon that ends a word is no shade.
        if frozenset((before, after)) not in NEIGHBOURS or (index and old.text[index - 1].isalpha()):
            return None
        steps += 1
    for before, after in zip(old.styles, new.styles, strict=True):
        if before != after:
            if not _styles_near(before, after):
                return None
            steps += 1
    return steps


def _one_apart(old: str, new: str, *, share: bool) -> bool:
    """share: a whole number that stands for a share of 100, and not for a count.

    A number with one decimal is the name of a head.
    """
    a, b = Decimal(old.replace(",", "")), Decimal(new.replace(",", ""))
    digits = int(a.as_tuple().exponent)
    if digits != b.as_tuple().exponent or digits == -1 or (digits == 0 and not share):
        return False
    return abs(a - b) <= Decimal(1).scaleb(digits)


def _styles_near(old: tuple[str, ...], new: tuple[str, ...]) -> bool:
    if [each.split()[0] for each in old] != [each.split()[0] for each in new]:
        return False
    return all(a == b or _colors_near(a.split()[-1], b.split()[-1]) for a, b in zip(old, new, strict=True))


def _colors_near(old: str, new: str) -> bool:
    a, b = ([int(each) for each in color.split(";")] for color in (old, new))
    if a[0] != b[0]:
        return False
    if a[0] == 2:
        return all(abs(x - y) <= 8 for x, y in zip(a[1:], b[1:], strict=True))
    if min(a[1], b[1]) >= 232:
        return abs(a[1] - b[1]) <= 1
    return all(abs(x - y) <= 1 for x, y in zip(_cube(a[1]), _cube(b[1]), strict=True))


def _cube(color: int) -> tuple[int, int, int]:
    """Where one of 256 colours stands in the cube of 6 × 6 × 6."""
    place = max(color - 16, 0)
    return place // 36, place // 6 % 6, place % 6
