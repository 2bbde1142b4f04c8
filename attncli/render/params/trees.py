"""Modules and tensors as a tree, layers that are alike drawn together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attncli.render.glyphs import glyphs
from attncli.render.lines import Line, Style
from attncli.render.params.grid import Cells, Column, table
from attncli.render.params.quantities import run_text, share_text
from attncli.render.terminal import Terminal
from attncli.results.params import Node

_COLUMNS = (
    Column("module", right=False),
    Column("shape", right=False, spare=2),
    Column("parameters"),
    Column("share", spare=3),
    Column("component", right=False, spare=1, style=Style(dim=True)),
)


def tree_lines(nodes: Sequence[Node], total: int, terminal: Terminal) -> list[Line]:
    """A row a module or tensor, with what it holds altogether and its share of the whole."""
    return table(_COLUMNS, list(_rows(nodes, "", 1, max(total, 1), terminal)), terminal)


def _rows(nodes: Sequence[Node], indent: str, copies: int, total: int, terminal: Terminal) -> Iterator[Cells]:
    """copies: how many there are of what holds the nodes."""
    times = glyphs(terminal).times
    for node in nodes:
        name = run_text(node.name, node.last, terminal)
        alike = ", each" if node.copies > 1 else ""
        shape = "" if node.shape is None else f" {times} ".join(map(str, node.shape)) or "1"
        share = share_text(copies * node.total / total)
        yield Cells((f"{indent}{name}{alike}", shape, f"{node.parameters:,}", share, node.component or ""))
        yield from _rows(node.children, f"{indent}  ", copies * node.copies, total, terminal)
