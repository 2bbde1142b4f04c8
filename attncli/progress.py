"""How slow work says how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Bytes(int):
    """A number of bytes: done work that has a rate worth telling."""


class Progress(Protocol):
    """Called with what is being done (`loading weights`), how much is done, and how much there is (None: unknown).

    done: a count of anything, or `Bytes`.
    """

    def __call__(self, what: str, done: int, total: int | None) -> None: ...


def silent(what: str, done: int, total: int | None) -> None:
    """The listener that says nothing: the default of the Python functions."""
