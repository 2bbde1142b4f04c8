"""The path of similarities over the states of `attn compare`, as sparklines in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from attncli.render.common.cells import cell_width, pad
from attncli.render.common.console import sentence, text
from attncli.render.common.escape import ascii_safe
from attncli.render.common.terminal import Terminal
from attncli.render.views.compare import RANDOM_WORDS, CompareView, Track, cosine_text

#: Marks of values from low to high, and of values below the scale.
_SPARK_BLOCKS, _LOWER = "▁▂▃▄▅▆▇█", "↓"
_SPARK_DIGITS, _LOWER_ASCII = "0123456789", "v"
Block = Sequence[RenderableType]


def path_rows(view: CompareView, terminal: Terminal, *, pairs: bool) -> Block:
    """Sparklines of all pairs together, or also of single pairs; no rows for a single state."""
    states, summary = view.result.states, view.summary_tracks
    # Random words are far below: with them on the scale, the other tracks would look flat.
    single = view.pair_tracks if pairs else []
    others = [track for track in (*summary, *single) if track.name != RANDOM_WORDS]
    known = [value for track in others for value in track.values if value is not None]
    if len(states) < 2 or not known:
        return []
    low, high = min(known), max(known)
    marks, lower = (_SPARK_BLOCKS, _LOWER) if terminal.unicode else (_SPARK_DIGITS, _LOWER_ASCII)
    any_lower = any(value is not None and value < low for track in summary for value in track.values)
    title = (
        f"Mean cosine from state {states[0].state} to {states[-1].state} ({marks[0]} {cosine_text(low)}, {marks[-1]} "
        f"{cosine_text(high)}{f', {lower} lower' if any_lower else ''})"
    )
    rows: Block = [sentence(ascii_safe(title, terminal)), *_track_rows(summary, low, high, terminal)]
    if not single:
        return rows
    cells = _track_rows(single, low, high, terminal)
    width = max(cell.cell_len for cell in cells)
    for cell in cells:
        cell.pad_right(width - cell.cell_len)
    gap = "   "
    height = -(-len(cells) // max((terminal.width + len(gap)) // (width + len(gap)), 1))
    return [*rows, Text(), *(Text(gap).join(cells[row::height]) for row in range(height))]


def _track_rows(tracks: Sequence[Track], low: float, high: float, terminal: Terminal) -> list[Text]:
    """`all pairs  ▅▇▇▆  0.90 → 0.93`: a track's name, its values, and the ends of these."""
    names = [ascii_safe(track.name, terminal) for track in tracks]
    width = max(map(cell_width, names))
    rows = []
    for name, (_, values) in zip(names, tracks, strict=True):
        first, *_, last = [value for value in values * 2 if value is not None]
        ends = ascii_safe(f"  {cosine_text(first)} → {cosine_text(last)}", terminal)
        spark = "".join(_spark_mark(value, low, high, terminal) for value in values)
        rows.append(Text.assemble(text(pad(name, width, right=True), "dim"), "  ", (spark, "bold"), ends))
    return rows


def _spark_mark(value: float | None, low: float, high: float, terminal: Terminal) -> str:
    marks, lower = (_SPARK_BLOCKS, _LOWER) if terminal.unicode else (_SPARK_DIGITS, _LOWER_ASCII)
    if value is None or value < low:
        return " " if value is None else lower
    share = (value - low) / (high - low) if high - low > 1e-9 else 1.0
    return marks[min(max(int(share * len(marks)), 0), len(marks) - 1)]
