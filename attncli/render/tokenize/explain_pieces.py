"""What the pictures of `--why` are put together from: pieces of texts and vocabularies, after one another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attncli.render.cells import cell_width, clusters
from attncli.render.escape import visible
from attncli.render.layout import flow, joined, padded
from attncli.render.lines import DIM, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import direction_end
from attncli.results.explanation import Entry

GAP = "  "

#: So many pieces are drawn one after another.
MANY = 60

#: So many characters of one piece.
_LONG = 1000


def raw(text: str, terminal: Terminal) -> str:
    """A piece of a text or of a vocabulary, safe for a terminal and for what stands beside it."""
    shown = visible(text, unicode=terminal.unicode)
    # A letter that takes no cell of its own would join whatever stands before it.
    shown = f"◌{shown}" if shown and cell_width(shown[0]) == 0 else shown
    return shown + direction_end(shown)


def entries(tokens: Iterable[Entry], terminal: Terminal) -> list[str]:
    return [raw(entry.token, terminal) for entry in tokens]


def listed(texts: Sequence[str], room: int, *, separator: str = " ") -> list[Line]:
    """Pieces after one another over as many rows as they need; of many, the first ones and how many more there are."""
    parts = [Line.of(part) for text in texts[:MANY] for part in broken(text, room)]
    if len(texts) > MANY:
        parts.append(Line.of(StyledSpan(f"and {len(texts) - MANY:,} more", DIM)))
    return flow(parts, separator=separator, width=room)


def broken(text: str, room: int) -> Iterator[str]:
    """A piece as parts that fit in a row; no more than a screenful of it."""
    part = ""
    for cluster in clusters(text[:_LONG]):
        if part and cell_width(part + cluster) > room:
            yield part
            part = ""
        part += cluster
    yield part + ("" if len(text) <= _LONG else "...")


def told(sentence: str, room: int) -> list[Line]:
    """Our own words, wrapped between them."""
    parts = (Line.of(part) for word in sentence.split(" ") for part in broken(word, room))
    words = flow(parts, separator=" ", width=room)
    return [Line.of(StyledSpan(line.plain, DIM)) for line in words]


def beside(head: Line, block: Sequence[Line], column: int) -> list[Line]:
    """A block of lines from a column on, and what it is about before it; above it where that is too wide."""
    indented = [joined([Line.of(" " * column), line]) for line in block]
    if head.width >= column or not block:
        return [head, *indented]
    return [joined([padded(head, column), block[0]]), *indented[1:]]
