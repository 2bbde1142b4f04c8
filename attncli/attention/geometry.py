"""How far apart positions are, and which are neighbours: along a text or a sound, or in the grid of a picture."""

from __future__ import annotations

import torch
from torch import Tensor

from attncli.results.media import Grid, Medium


def distances(medium: Medium, rows: Tensor, keys: int) -> Tensor:
    """From each of `rows` to every key: float32 (rows, keys).

    In a text |i − j|; in a picture the distance of the patches' centres, in patches. What is no patch has no place, so
    that it adds nothing.
    """
    columns = torch.arange(keys, device=rows.device)
    if medium.grid is None:
        return (rows[:, None] - columns[None, :]).abs().float()
    here, there = _cells(medium.grid, rows), _cells(medium.grid, columns)
    apart = (here[:, None] - there[None, :]).float().norm(dim=-1)
    both = placed(medium, rows)[:, None] & placed(medium, columns)[None, :]
    return torch.where(both, apart, 0)


def placed(medium: Medium, positions: Tensor) -> Tensor:
    """Which positions have a place, from which distances can be measured: all of a text, the patches of a picture."""
    if medium.grid is None:
        return torch.ones_like(positions, dtype=torch.bool)
    return (positions >= medium.grid.patches.start) & (positions < medium.grid.patches.stop)


def neighbours(medium: Medium, rows: Tensor, step: int) -> Tensor:
    """The position before (step −1), at (0) or after (1) each of `rows`, −1 for none: (rows,).

    In a picture these are the patches beside it in the same row.
    """
    beside = rows + step
    if medium.grid is None or step == 0:
        return beside
    columns = _cells(medium.grid, rows)[:, 1] + step
    inside = placed(medium, rows) & (columns >= 0) & (columns < medium.grid.columns)
    return torch.where(inside, beside, -1)


def _cells(grid: Grid, positions: Tensor) -> Tensor:
    """Row and column of positions, (positions, 2); without meaning for what is no patch."""
    place = positions - grid.first
    return torch.stack([place.div(grid.columns, rounding_mode="floor"), place % grid.columns], dim=-1)
