"""Positions of a picture or a sound: patches are called `ROW,COLUMN` (`4,7`), frames by their time (`1.5s`).

`attention.positions` finds the position that such a name stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from attncli.attention.metrics import Side
from attncli.results.patterns import Grid, Medium
from attncli.results.tokens import Token


class MediaPositions(Protocol):
    """The positions of a picture or a sound. name: what a stack that reads nothing else is called."""

    @property
    def name(self) -> str: ...

    def side(self, length: int) -> Side | None:
        """The `length` positions of a stack as tokens; None where it is unknown what they stand for."""
        ...


@dataclass(frozen=True)
class PicturePositions:
    """The patches of a picture.

    rows, columns: of patches at the model's input; towers that merge patches (Swin) halve both with each merge.
    before: the names of the tokens before the patches, such as a class token.  window: patches a side of a window,
    where each patch attends to those of its own window alone.
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
        """The grid with `length` positions: all patches and the tokens before them, or merged patches alone."""
        if length == len(self.before) + self.rows * self.columns:
            return Grid(self.rows, self.columns, len(self.before))
        rows, columns = self.rows, self.columns
        while rows * columns > length:
            rows, columns = (rows + 1) // 2, (columns + 1) // 2
        return Grid(rows, columns, 0) if rows * columns == length else None


@dataclass(frozen=True)
class UnnamedPositions:
    """The positions of a tower whose order is unknown: it may cut a picture into crops, or sort its patches anew."""

    @property
    def name(self) -> str:
        return "vision"

    def side(self, length: int) -> Side | None:
        return None


@dataclass(frozen=True)
class SoundPositions:
    """The frames of a sound.

    seconds: its length, with the silence that pads it.  step: seconds per position; None where that is unknown.
    """

    seconds: float
    step: float | None = None

    @property
    def name(self) -> str:
        return "audio"

    def side(self, length: int) -> Side | None:
        if not length:
            return None
        step = self.step or self.seconds / length
        return _build_side([f"{index * step:.2f}s" for index in range(length)], 0, Medium("frames", seconds=step))


def _build_side(names: list[str], special: int, medium: Medium) -> Side:
    """A batch of one sequence, whose first `special` tokens are special."""
    tokens = tuple(Token(index, index, name, name, special=index < special) for index, name in enumerate(names))
    ids = torch.arange(len(tokens))[None]
    return Side(ids, ids < special, torch.ones_like(ids, dtype=torch.bool), (tokens,), medium=medium)
