"""Positions that are places of a picture or moments of a sound: `4,7` is a patch, `1.5s` the frame at that time.

What a model sees or hears, as positions that can be named: patches `ROW,COLUMN` of a picture, seconds of a sound.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from attncli.attention.metrics import Side
from attncli.results.patterns import Grid, Medium
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


class Scene(Protocol):
    """A picture or a sound. name: of a stack that looks at nothing else."""

    @property
    def name(self) -> str: ...

    def side(self, length: int) -> Side | None:
        """What the `length` positions of a stack stand for; None where it isn't known."""
        ...


@dataclass(frozen=True)
class PictureScene:
    """A picture in patches.

    rows, columns: of patches where they enter the model; towers that merge patches (Swin) have half as many after each
    merger.  before: the names of what stands before the patches, such as a class token.  window: how many patches a
    side, where each sees those of its own window alone.
    """

    rows: int
    columns: int
    before: tuple[str, ...] = ()
    window: int | None = None

    @property
    def name(self) -> str:
        return "vision"

    def side(self, length: int) -> Side | None:
        grid = self._grid(length)
        if grid is None:
            return None
        special = tuple(f"[{name.upper()}]" for name in self.before[: grid.first])
        names = [*special, *(f"{row},{column}" for row in range(grid.rows) for column in range(grid.columns))]
        window = None if self.window is None else min(self.window, grid.rows, grid.columns)
        return _side(names, grid.first, Medium("patches", grid=grid, window=window))

    def _grid(self, length: int) -> Grid | None:
        """The patches that fit: all of them behind what stands before, or merged ones alone."""
        if length == len(self.before) + self.rows * self.columns:
            return Grid(self.rows, self.columns, len(self.before))
        rows, columns = self.rows, self.columns
        while rows * columns > length:
            rows, columns = (rows + 1) // 2, (columns + 1) // 2
        return Grid(rows, columns, 0) if rows * columns == length else None


@dataclass(frozen=True)
class SoundScene:
    """A sound, `seconds` long with the silence that fills it up; step: seconds a position, where they are known."""

    seconds: float
    step: float | None = None

    @property
    def name(self) -> str:
        return "audio"

    def side(self, length: int) -> Side | None:
        if not length:
            return None
        step = self.step or self.seconds / length
        return _side([f"{place * step:.2f}s" for place in range(length)], 0, Medium("frames", seconds=step))


def _side(names: list[str], special: int, medium: Medium) -> Side:
    """A batch of one."""
    tokens = tuple(Token(place, place, name, name, special=place < special) for place, name in enumerate(names))
    ids = torch.arange(len(tokens))[None]
    return Side(ids, ids < special, torch.ones_like(ids, dtype=torch.bool), (tokens,), medium=medium)
