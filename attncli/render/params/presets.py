"""The architectures that `preset:` knows, those of one source together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from attncli.render.lines import Line
from attncli.render.params.grid import Cells, Column, table
from attncli.render.params.labelled import labelled
from attncli.render.terminal import Terminal
from attncli.results.params import ListedPreset

_COLUMNS = (Column("preset", right=False), Column("published", right=False, spare=1))


def preset_lines(presets: Sequence[ListedPreset], terminal: Terminal) -> list[Line]:
    """A row a preset; beneath each family, where its numbers are from."""
    cells = [Cells((f"preset:{preset.name}", preset.published)) for preset in presets]
    heading, *rows = table(_COLUMNS, cells, terminal)
    lines = [heading]
    for source, family in groupby(zip(presets, rows, strict=True), key=lambda pair: pair[0].source):
        lines += [*(row for _, row in family), *labelled("", [source], terminal), Line()]
    return [*lines, *labelled("try", ["attn params preset:gpt3", "attn params preset:gpt2 preset:gpt2-xl"], terminal)]
