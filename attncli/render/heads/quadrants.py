"""How two texts look at each other: the heads that cross most, or the quadrants of one head."""

from __future__ import annotations

from collections.abc import Iterator

from attncli.render.heads.metric_words import number
from attncli.render.layout import flow, joined, padded
from attncli.render.lines import BOLD, DIM, Line, Style, StyledSpan
from attncli.render.terminal import Terminal
from attncli.results.heads import HeadMetrics, Quadrants, Stack

_SHOWN = 3


def crossing_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """The heads that look most from either text to the other, beside what even attention would."""
    heads = [(head, head.quadrants, stack.even_quadrants.get(head.layer)) for head in stack.metrics]
    known = [(head, own, even) for head, own, even in heads if own is not None and even is not None]
    known.sort(key=lambda entry: -entry[1].crossing)
    if not known:
        return []
    arrow = _arrow(terminal)
    name = max(len(head.name) for head, _, _ in known[:_SHOWN])
    # Under a causal mask, A comes before all of B.
    sees_both = any(even.a_to_b > 0 for _, _, even in known)
    blind = "" if sees_both else " (A can't see B, which comes later)"
    said = f"between the text (A) and its pair (B), these heads of the {stack.stack} cross most{blind}:"
    lines = flow(map(Line.of, said.split()), separator=" ", width=terminal.width)
    for head, own, even in known[:_SHOWN]:
        parts = [Line.of(StyledSpan(f"    {head.name:>{name}}", BOLD))]
        parts += _beside(f"A{arrow}B", own.a_to_b, even.a_to_b, terminal) if sees_both else ()
        parts += _beside(f"B{arrow}A", own.b_to_a, even.b_to_a, terminal)
        lines += flow(parts, separator="  ", width=terminal.width, indent=name + 6)
    return lines


def _beside(name: str, value: float, even: float, terminal: Terminal) -> Iterator[Line]:
    yield joined(
        [
            Line.of(f"{name} ", StyledSpan(number(value, terminal), BOLD)),
            Line.of(StyledSpan(f", uniform {number(even, terminal)}", DIM)),
        ]
    )


def quadrant_lines(head: HeadMetrics, stack: Stack, terminal: Terminal) -> list[Line]:
    """The shares of one head as a table, each row beside that of even attention."""
    own, even = head.quadrants, stack.even_quadrants.get(head.layer)
    if own is None or even is None:
        return []
    said = "A is the text, B its pair; shares of what queries of one give to keys of one:"
    lines = flow([Line.of(StyledSpan(word, DIM)) for word in said.split()], separator=" ", width=terminal.width)
    heading = "".join(f"{name:>9}" for name in ("to A", "to B", "special"))
    lines.append(Line.of(StyledSpan(f"{'':8}{heading}", DIM)))
    for name, row, even_row in zip(("from A", "from B"), _rows(own), _rows(even), strict=True):
        lines.append(joined([padded(Line.of(f"{name}"), 8), _numbers(row, terminal, BOLD)]))
        lines.append(joined([padded(Line.of(StyledSpan(" uniform", DIM)), 8), _numbers(even_row, terminal, DIM)]))
    return lines


def _rows(quadrants: Quadrants) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return quadrants[:3], quadrants[3:]


def _numbers(values: tuple[float, ...], terminal: Terminal, style: Style) -> Line:
    return Line.of(StyledSpan("".join(f"{number(value, terminal):>9}" for value in values), style))


def _arrow(terminal: Terminal) -> str:
    return "→" if terminal.unicode else "->"
