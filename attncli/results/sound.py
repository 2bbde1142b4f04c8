"""A sound that is longer than the window of a model."""

from __future__ import annotations

from attncli.results.struct import Struct


class Sound(Struct):
    """A sound in windows that were run one by one, in seconds. shown: the place of the one whose stacks these are."""

    seconds: float
    windows: tuple[tuple[float, float], ...]
    shown: int
