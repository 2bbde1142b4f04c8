"""The protocol of progress callbacks, and one that shows nothing. cli/messages.py shows the progress."""

from __future__ import annotations

from typing import Protocol


class Bytes(int):
    """A number of bytes: done work that has a rate worth telling."""


class Texts(int):
    """A number of texts: done work that has a rate worth telling, too."""


class Progress(Protocol):
    """Called with what is being done (`loading weights`), how much is done, and how much there is (None: unknown).

    done: a count of anything, or `Bytes` or `Texts`.
    """

    def __call__(self, what: str, done: int, total: int | None) -> None: ...


class _Silent:
    """Progress that is not shown."""

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Nothing is shown."""

    def __repr__(self) -> str:
        return "silent"


#: The default of the Python functions; by this name it stands in their signatures.
silent = _Silent()
