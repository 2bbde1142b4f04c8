"""Work that several processes share: who takes what, and how they learn what the others found."""

from __future__ import annotations

from typing import Protocol, TypeVar

Part = TypeVar("Part")


class Sharing(Protocol):
    """This process among those that work together. rank: its number.  world: how many there are."""

    @property
    def rank(self) -> int: ...
    @property
    def world(self) -> int: ...

    def own_device(self, wish: str) -> str:
        """The device that this process is to use where the user wishes for `wish`."""
        ...

    def check(self) -> None:
        """Raises what another process failed with, if one did: there is no use in going on."""
        ...

    def gather(self, part: Part) -> list[Part]:
        """What each process found, in the order of their ranks, once all are done. Raises likewise."""
        ...


class Alone:
    """The only process there is."""

    rank, world = 0, 1

    def own_device(self, wish: str) -> str:
        return wish

    def check(self) -> None:
        """Nobody else can fail."""

    def gather(self, part: Part) -> list[Part]:
        return [part]

    def __repr__(self) -> str:
        return "ALONE"


ALONE = Alone()
