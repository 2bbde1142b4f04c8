"""A text and its pair, A and B: the heads that look across, and the shares of one head within and between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from attncli.results.heads import HeadMetrics, Quadrants, Stack

_HEADS_SHOWN = 3
# A head crosses where its share is more than so many times uniform attention's.
_LEAST_CROSSING = 1.1
QUADRANTS_NOTE = "A is the text, B its pair; shares of what queries of one give to keys of one:"


class CrossingHead(NamedTuple):
    """A head's shares between the texts: the direction (`A→B`), its value, and uniform attention's."""

    name: str
    shares: Sequence[tuple[str, float, float]]


class Crossing(NamedTuple):
    """What is said of the heads with the most attention between the two texts, and these heads."""

    sentence: str
    heads: Sequence[CrossingHead]


def crossing_view(stack: Stack) -> Crossing | None:
    """The heads that cross; None without a pair of texts."""
    heads = [(head.name, head.quadrants, stack.even_quadrants.get(head.layer)) for head in stack.metrics]
    known = [(name, shares, even) for name, shares, even in heads if shares is not None and even is not None]
    if not known:
        return None
    # Under a causal mask A, which comes first, can't attend to B.
    sees_both = any(even.a_to_b > 0 for _, _, even in known)
    known = [entry for entry in known if entry[1].crossing > _LEAST_CROSSING * entry[2].crossing]
    if not known:
        sentence = f"no head of the {stack.stack} looks across the text and its pair more than uniform attention does"
        return Crossing(sentence, [])
    known.sort(key=lambda entry: -entry[1].crossing)
    blind = "" if sees_both else " (A can't see B, which comes later)"
    sentence = f"between the text (A) and its pair (B), these heads of the {stack.stack} cross most{blind}:"
    return Crossing(sentence, [_crossing_head(*entry, sees_both=sees_both) for entry in known[:_HEADS_SHOWN]])


def _crossing_head(name: str, shares: Quadrants, even: Quadrants, *, sees_both: bool) -> CrossingHead:
    both = [("A→B", shares.a_to_b, even.a_to_b)] if sees_both else []
    return CrossingHead(name, [*both, ("B→A", shares.b_to_a, even.b_to_a)])


def quadrant_rows(head: HeadMetrics, stack: Stack) -> list[tuple[str, Sequence[float], Sequence[float]]]:
    """From A and from B, the shares to A, B and special tokens, and uniform attention's; nothing without a pair."""
    shares, even = head.quadrants, stack.even_quadrants.get(head.layer)
    if shares is None or even is None:
        return []
    return [("from A", shares[:3], even[:3]), ("from B", shares[3:], even[3:])]
