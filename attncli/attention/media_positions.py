"""Positions that are places of a picture or moments of a sound: `4,7` is a patch, `1.5s` the frame at that time.

What a model sees or hears, as positions that can be named: patches `ROW,COLUMN` of a picture, seconds of a sound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from attncli.attention.metrics import Side
from attncli.results.patterns import Grid, Medium
from attncli.results.tokens import Token


class MediaPositions(Protocol):
    """A picture or a sound. name: of a stack that looks at nothing else."""

    @property
    def name(self) -> str: ...

    def side(self, length: int) -> Side | None:
        """What the `length` positions of a stack stand for; None where it isn't known."""
        ...


@dataclass(frozen=True)
class PicturePositions:
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
        return _build_side(names, grid.first, Medium("patches", grid=grid, window=window))

    def _grid(self, length: int) -> Grid | None:
        """The patches that fit: all of them behind what stands before, or merged ones alone."""
        if length == len(self.before) + self.rows * self.columns:
            return Grid(self.rows, self.columns, len(self.before))
        rows, columns = self.rows, self.columns
        while rows * columns > length:
            rows, columns = (rows + 1) // 2, (columns + 1) // 2
        return Grid(rows, columns, 0) if rows * columns == length else None


@dataclass(frozen=True)
class SoundPositions:
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
        return _build_side([f"{place * step:.2f}s" for place in range(length)], 0, Medium("frames", seconds=step))


def _build_side(names: list[str], special: int, medium: Medium) -> Side:
    """A batch of one."""
    tokens = tuple(Token(place, place, name, name, special=place < special) for place, name in enumerate(names))
    ids = torch.arange(len(tokens))[None]
    return Side(ids, ids < special, torch.ones_like(ids, dtype=torch.bool), (tokens,), medium=medium)
