"""Positions that are places of a picture or moments of a sound: `4,7` is a patch, `1.5s` the frame at that time."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attncli.results.tokens import Token

_PATCH = re.compile(r"(-?\d+)\s*,\s*(-?\d+)")
_SECONDS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*s")


class NoPlaceError(Exception):
    """There is no such place; the message says so, and `hint` which there are."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def place_of(typed: str, tokens: Sequence[Token]) -> int | None:
    """The position of a patch or of a moment; None for what is neither, or where there are no such places.

    A row or a column may count from the end (-1). Raises NoPlaceError for a patch or a moment that isn't there.
    """
    last = tokens[-1].token if tokens and tokens[-1].word is None else ""
    if (patch := _PATCH.fullmatch(typed)) and (corner := _PATCH.fullmatch(last)):
        return _patch((int(patch[1]), int(patch[2])), (int(corner[1]) + 1, int(corner[2]) + 1), len(tokens))
    if (moment := _SECONDS.fullmatch(typed)) and _SECONDS.fullmatch(last) and len(tokens) > 1:
        # The last frame's time over their number is less rounded than the second one's.
        return _frame(float(moment[1]), float(last.rstrip("s")) / (len(tokens) - 1), len(tokens))
    return None


def _patch(typed: tuple[int, int], size: tuple[int, int], count: int) -> int:
    row, column = (place + length * (place < 0) for place, length in zip(typed, size, strict=True))
    if not (0 <= row < size[0] and 0 <= column < size[1]):
        raise NoPlaceError(
            f"no patch {typed[0]},{typed[1]} among {size[0]} rows of {size[1]}",
            f"rows run from 0 to {size[0] - 1}, columns from 0 to {size[1] - 1}",
        )
    # What is no patch stands before them.
    return count - size[0] * size[1] + row * size[1] + column


def _frame(seconds: float, step: float, count: int) -> int:
    # 0.06 / 0.02 is a little less than 3.
    frame = int(seconds / step + 1e-6)
    if frame >= count:
        raise NoPlaceError(
            f"nothing is heard at {seconds:g} s", f"moments run from 0s to {step * (count - 1):.2f}s, {step:.3g} s each"
        )
    return frame
