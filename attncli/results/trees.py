"""A model's modules as a tree."""

from __future__ import annotations

from typing import NamedTuple

from attncli.results.brief import briefly


@briefly
class Node(NamedTuple):
    """A module or a tensor, and what is in it.

    name: the last step of its path; of several alike that stand in a row (layers), the first and the last of them.
    copies: how many stand for this one node.  parameters: of each of them.  shape, component: of a tensor.
    """

    name: str
    parameters: int
    copies: int = 1
    last: str | None = None
    shape: tuple[int, ...] | None = None
    component: str | None = None
    children: tuple[Node, ...] = ()

    @property
    def total(self) -> int:
        return self.copies * self.parameters

    def alike(self, other: Node) -> bool:
        """Whether two nodes differ in nothing but their names."""
        return self._replace(name="", copies=1, last=None) == other._replace(name="", copies=1, last=None)
