"""What the positions on one side of a pattern are: tokens of a text, patches of a picture, moments of a sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from attncli.results.brief import briefly

Kind = Literal["tokens", "patches", "frames"]


class Grid(NamedTuple):
    """Patches in rows and columns, row by row. first: the position of the patch 0,0; a class token may stand before."""

    rows: int
    columns: int
    first: int

    @property
    def patches(self) -> range:
        """The positions that are patches."""
        return range(self.first, self.first + self.rows * self.columns)

    def cell(self, position: int) -> tuple[int, int] | None:
        """The row and the column of a position; None where it is no patch."""
        return divmod(position - self.first, self.columns) if position in self.patches else None

    def to_dict(self) -> dict[str, int]:
        return self._asdict()


@briefly
class Medium(NamedTuple):
    """What positions are.

    grid: where patches lie in the picture.  window: of how many patches a side each sees no more than its own.
    seconds: how long a frame of a sound is.
    """

    kind: Kind = "tokens"
    grid: Grid | None = None
    window: int | None = None
    seconds: float | None = None

    def to_dict(self) -> dict[str, object]:
        grid = None if self.grid is None else self.grid.to_dict()
        return {"kind": self.kind, "grid": grid, "window": self.window, "seconds": self.seconds}

    def stretch(self, first: int, last: int) -> str | None:
        """From the start of one frame to the end of another, as `0.20–0.40s`; None where positions are no frames."""
        return None if self.seconds is None else f"{first * self.seconds:.2f}–{(last + 1) * self.seconds:.2f}s"


TOKENS = Medium()


@briefly
@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as small as it can be drawn over its patches: uint8 (height, width, 3), the part that the model saw.

    It is for renderers, and in no data.
    """

    pixels: npt.NDArray[np.uint8]

    def resized(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """Means of the pixels that fall into each of height × width cells, or the nearest one where there are less."""
        rows, columns = (_edges(size, wanted) for size, wanted in zip(self.pixels.shape, (height, width), strict=False))
        values = self.pixels.astype(np.float32)
        cells = [[values[a:b, c:d].mean((0, 1)) for c, d in columns] for a, b in rows]
        return np.asarray(cells).round().astype(np.uint8)


def _edges(size: int, wanted: int) -> list[tuple[int, int]]:
    starts = [size * place // wanted for place in range(wanted)]
    ends = [max(size * (place + 1) // wanted, start + 1) for place, start in enumerate(starts)]
    return list(zip(starts, ends, strict=True))
