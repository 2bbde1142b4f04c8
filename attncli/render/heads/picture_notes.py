"""What stands beneath pictures of patterns: their scale, and how they were made smaller."""

from __future__ import annotations

from attncli.render.glyphs import glyphs
from attncli.render.heads.header import whole_noun
from attncli.render.heads.heatmap import Heat
from attncli.render.layout import flow
from attncli.render.lines import DIM, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.results.heads import Stack
from attncli.results.patterns import Pattern


def scale_lines(heat: Heat, cell: int = 1) -> list[Line]:
    """What a colour or a character of a picture means, and which way to read it."""
    notes = ["rows look at columns"]
    if heat.has_digits(cell) and (said := heat.digits_note()):
        notes.append(said)
    return flow(
        [heat.scale(), *(Line.of(StyledSpan(note, DIM)) for note in notes)], separator="   ", width=heat.terminal.width
    )


def norm_lines(weighting: str, terminal: Terminal) -> list[Line]:
    """What patterns hold, if not plain weights."""
    said = "weights times the norm of what is read there (Kobayashi et al. 2020)"
    return _dim_lines(said if weighting == "norm" else "", terminal)


def unit_lines(stack: Stack, terminal: Terminal) -> list[Line]:
    """What the numbers of rows and columns count, where these are not tokens."""
    said = {
        "word": "rows and columns are words, and their numbers those of their first tokens",
        "line": "rows and columns are lines, numbered from 1",
    }
    return _dim_lines(said.get(stack.unit, ""), terminal)


def scope_lines(stack: Stack, terminal: Terminal, *, weighting: str = "attention") -> list[Line]:
    """What the metrics are of, where the picture shows less than that, or something else than tokens or weights."""
    plain = "of the weights alone, without norms" if weighting == "norm" else ""
    said = ", and ".join(words for words in (_scope(stack), plain) if words)
    return _dim_lines(f"metrics are {said}" if said else "", terminal)


def _scope(stack: Stack) -> str:
    # Means over many texts have no rows and columns.
    part = bool(stack.queries) and stack.whole is not None and stack.whole != (len(stack.queries), len(stack.keys))
    if not part and stack.unit == "token":
        return ""
    said = f"of the whole {whole_noun(stack)}"
    said += ", not of the part above" if part else ""
    said += f", token by token (not {stack.unit} by {stack.unit})" if stack.unit != "token" else ""
    return said


def _dim_lines(text: str, terminal: Terminal) -> list[Line]:
    if not text:
        return []
    return flow([Line.of(StyledSpan(word, DIM)) for word in text.split()], separator=" ", width=terminal.width)


def pooling_lines(stack: Stack, shown: Pattern, terminal: Terminal) -> list[Line]:
    """How many weights a cell stands for, where it is more than one."""
    if shown.bins is None:
        return []
    times = glyphs(terminal).times
    rows, columns = shown.weights.shape
    whole = f"{len(stack.queries):,} {times} {len(stack.keys):,} weights in {rows} {times} {columns} cells:"
    return flow([Line.of(whole), Line.of("rows averaged, columns summed")], separator=" ", width=terminal.width)
