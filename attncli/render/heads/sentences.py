"""The heads that stand out, a sentence each, with the numbers that say so."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.render.heads.metric_words import beside_uniform, label_of
from attncli.render.heads.standouts import Standout
from attncli.render.layout import flow, joined, padded
from attncli.render.lines import BOLD, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.results.heads import Stack


def sentence_lines(found: tuple[Standout, ...], stack: Stack, terminal: Terminal) -> list[Line]:
    """A line a head, in columns; the numbers go beneath the sentences where a line would be too wide."""
    name_width = max(len(standout.head.name) for standout in found)
    says = [_said(standout, name_width, terminal) for standout in found]
    parts = [_numbers(standout, stack, terminal) for standout in found]
    numbers = [joined(pair, ", ") for pair in parts]
    column = max(line.width for line in says) + 2
    if column + max(line.width for line in numbers) <= terminal.width:
        return [joined([padded(says_, column), numbers_]) for says_, numbers_ in zip(says, numbers, strict=True)]
    rows = [_in_words(one, name_width, pair, terminal) for one, pair in zip(found, parts, strict=True)]
    return [line for row in rows for line in row]


def _said(standout: Standout, name_width: int, terminal: Terminal) -> Line:
    return joined([_named(standout, name_width, terminal), Line.of(standout.sentence)], "  ")


def _named(standout: Standout, name_width: int, terminal: Terminal) -> Line:
    tile = label_of(standout.label).tile(3, terminal) if standout.label else StyledSpan("   ")
    return Line.of(tile, " ", StyledSpan(standout.head.name.rjust(name_width), BOLD))


def _in_words(standout: Standout, name_width: int, numbers: Sequence[Line], terminal: Terminal) -> list[Line]:
    """The same over several lines, where the terminal is narrow."""
    name = _named(standout, name_width, terminal)
    words = [Line.of(word) for word in standout.sentence.split()]
    said = flow([name, *words], separator=" ", width=terminal.width, indent=name.width + 1)
    values = flow(numbers, separator=", ", width=terminal.width - name.width - 1)
    return [*said, *(joined([Line.of(" " * (name.width + 1)), line]) for line in values)]


def _numbers(standout: Standout, stack: Stack, terminal: Terminal) -> list[Line]:
    uniform = stack.baselines.get(standout.head.layer, {}).get(standout.metric)
    interval = standout.head.interval(standout.metric)
    return beside_uniform(standout.metric, standout.value, uniform, terminal, interval)
