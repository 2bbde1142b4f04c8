"""The tables of `attn params`: by component, part or layer (equal layers together), and trees of modules or tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from attncli.choices import COMPONENTS
from attncli.render.common.cells import bar, glyphs
from attncli.render.common.lines import BOLD, Line, Style
from attncli.render.common.terminal import Terminal
from attncli.render.params.cost_lines import range_text, share_text
from attncli.render.params.grid import Cells, Column, has_room, table
from attncli.results.params import Node, ParameterCount
from attncli.results.summaries import ComponentGroup, LayerRun, component_groups, layer_runs, outside_layers

#: A blue that is legible on black and on white, also for colour-blind readers.
_BAR_STYLE = Style(fg=(0x2E, 0x8F, 0xC2))
_BAR_WIDTHS = (20, 14, 8)
_NUMBER_COLUMNS = (
    Column("weights", spare=3),
    Column("biases", spare=2),
    Column("parameters"),
    Column("share", spare=4),
)
_TREE_COLUMNS = (
    Column("module", right=False),
    Column("shape", right=False, spare=2),
    Column("parameters"),
    Column("share", spare=3),
    Column("component", right=False, spare=1, style=Style(dim=True)),
)


def component_table(count: ParameterCount, terminal: Terminal) -> list[Line]:
    """Parts, groups and components; weights and biases in separate columns if there are biases."""
    rows: list[Cells] = []
    for part, members in _by_part(count):
        rows.append(_part_row(part, members, count.total, BOLD))
        for group in members:
            rows += _group_rows(group, count.total)
    return _with_bars("component", rows, _bar_shares(count), terminal)


def part_table(count: ParameterCount, terminal: Terminal) -> list[Line]:
    """A row for each part."""
    rows = [_part_row(part, members, count.total) for part, members in _by_part(count)]
    shares = [_group_total(members) / max(count.total, 1) for _, members in _by_part(count)]
    return _with_bars("part", rows, shares, terminal)


def layer_table(count: ParameterCount, terminal: Terminal) -> list[Line]:
    """Runs of equal layers with their parameters by group, and the parameters outside of all layers.

    A column for each group, or if these don't fit, a row for each group beneath its run.
    """
    runs = layer_runs(count.layers)
    order = list(dict.fromkeys(name.partition(".")[0] for name in COMPONENTS))
    names = sorted({group.name for run in runs for group in component_groups(run.components)}, key=order.index)
    rows = _layer_rows(count, runs, terminal, names)
    columns = _layer_columns(names)
    if has_room(columns, rows, terminal):
        return table(columns, rows, terminal)
    return table(_layer_columns(()), _layer_rows(count, runs, terminal, ()), terminal)


def _layer_columns(names: Iterable[str]) -> list[Column]:
    return [Column("layers", right=False), Column("each"), *map(Column, names), Column("together", spare=1)]


def _layer_rows(
    count: ParameterCount, runs: Sequence[LayerRun], terminal: Terminal, names: Sequence[str]
) -> list[Cells]:
    """names: the groups that have a column; without any, each group has a row."""
    rows: list[Cells] = []
    empty = ("",) * (len(names) + 2)
    for stack, members in groupby(runs, key=lambda run: (run.part, run.stack)):
        rows.append(Cells((f"{stack[0]} ({stack[1]})", *empty), BOLD))
        for run in members:
            rows.append(_layer_row(run, names, terminal))
            rows += [] if names else _layer_group_rows(run)
    rows.append(Cells(("outside of layers", f"{outside_layers(count):,}", *empty[1:])))
    return rows


def _layer_row(run: LayerRun, names: Sequence[str], terminal: Terminal) -> Cells:
    found = {group.name: group.parameters for group in component_groups(run.components)}
    name = f"  {range_text(run.first, run.last, terminal)}"
    numbers = (_number_text(found.get(group, 0), terminal) for group in names)
    return Cells((name, f"{run.each:,}", *numbers, f"{run.total:,}"))


def _layer_group_rows(run: LayerRun) -> Iterator[Cells]:
    for group in component_groups(run.components):
        yield Cells((f"    {group.name}", f"{group.parameters:,}", f"{run.layers * group.parameters:,}"))


def _by_part(count: ParameterCount) -> Iterator[tuple[str, list[ComponentGroup]]]:
    for part, members in groupby(component_groups(count.components), key=lambda group: group.part):
        yield part, list(members)


def _group_rows(group: ComponentGroup, total: int) -> Iterator[Cells]:
    if len(group.components) == 1:
        component = group.components[0]
        yield _component_row(f"  {component.component}", component.weights, component.biases, total)
        return
    yield _component_row(f"  {group.name}", group.weights, group.biases, total)
    for component in group.components:
        kind = component.component.partition(".")[2]
        yield _component_row(f"    {kind}", component.weights, component.biases, total)


def _part_row(part: str, members: Sequence[ComponentGroup], total: int, style: Style | None = None) -> Cells:
    weights, biases = sum(group.weights for group in members), sum(group.biases for group in members)
    cells = _component_row(part, weights, biases, total)
    return cells._replace(style=style) if style else cells


def _component_row(name: str, weights: int, biases: int, total: int) -> Cells:
    share = share_text((weights + biases) / max(total, 1))
    return Cells((name, f"{weights:,}", f"{biases:,}", f"{weights + biases:,}", share))


def _bar_shares(count: ParameterCount) -> list[float | None]:
    """The share for the bar of each row; None for parts, which have no bar."""
    total = max(count.total, 1)
    shares: list[float | None] = []
    for _, members in _by_part(count):
        shares.append(None)
        for group in members:
            shares.append(group.parameters / total)
            if len(group.components) > 1:
                shares += [component.parameters / total for component in group.components]
    return shares


def _with_bars(title: str, rows: Sequence[Cells], shares: Iterable[float | None], terminal: Terminal) -> list[Line]:
    """The table with bars for the shares, as long as the width allows."""
    has_biases = any(row.texts[2] not in ("0", "") for row in rows)
    columns = [Column(title, right=False), *_NUMBER_COLUMNS]
    if not has_biases:
        rows = [row._replace(texts=(row.texts[0], "", "", *row.texts[3:])) for row in rows]
    rows = [row._replace(texts=tuple(_dash_for_zero(text, terminal) for text in row.texts)) for row in rows]
    plain = table(columns, rows, terminal)
    shares = list(shares)
    room = terminal.width - max(line.width for line in plain) - 2
    width = next((width for width in _BAR_WIDTHS if width <= room), 0)
    if not width:
        return plain
    bars = [Cells((*row.texts, "" if share is None else bar(share, width, terminal)), row.style)
            for row, share in zip(rows, shares, strict=True)]  # fmt: skip
    return table([*columns, Column("", right=False, spare=1, style=_BAR_STYLE)], bars, terminal)


def _number_text(count: int, terminal: Terminal) -> str:
    return _dash_for_zero(f"{count:,}", terminal)


def _dash_for_zero(text: str, terminal: Terminal) -> str:
    """A dash in place of 0."""
    return glyphs(terminal).dash if text == "0" else text


def _group_total(members: Iterable[ComponentGroup]) -> int:
    return sum(group.parameters for group in members)


def tree_lines(nodes: Sequence[Node], total: int, terminal: Terminal) -> list[Line]:
    """A row for each module or tensor, with its parameters and its share of all."""
    return table(_TREE_COLUMNS, list(_tree_rows(nodes, "", 1, max(total, 1), terminal)), terminal)


def _tree_rows(nodes: Sequence[Node], indent: str, copies: int, total: int, terminal: Terminal) -> Iterator[Cells]:
    """copies: the number of equal modules that contain the nodes."""
    times = glyphs(terminal).times
    for node in nodes:
        name = range_text(node.name, node.last, terminal)
        alike = ", each" if node.copies > 1 else ""
        shape = "" if node.shape is None else f" {times} ".join(map(str, node.shape)) or "1"
        share = share_text(copies * node.total / total)
        yield Cells((f"{indent}{name}{alike}", shape, f"{node.parameters:,}", share, node.component or ""))
        yield from _tree_rows(node.children, f"{indent}  ", copies * node.copies, total, terminal)
