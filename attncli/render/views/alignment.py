"""What is said of aligned words: which heads align them, and the links of a pair as numbers and as words."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.render.views.sentences import Sentence, Words, count_noun, strong
from attncli.results.alignment import AlignedPair
from attncli.results.heads import HeadsResult

ALIGNMENT_NOTE = (
    "i-j: word i of the source is what word j of the target reads most, at the positions where it is the decoder's "
    "input; words are runs of non-space, from 0"
)

#: As many heads are named one by one.
_MOST_NAMES = 4


def alignment_sentence(result: HeadsResult, pairs: int) -> Sentence:
    """`2 pairs of texts, aligned by the mean of the 4 heads of cross layer 0`"""
    names = result.alignment_heads
    by = "aligned by " if len(names) == 1 else "aligned by the mean of "
    return strong(f"{count_noun(pairs, 'pair')} of texts"), Words(f", {by}{_heads(names)}")


def _heads(names: Sequence[str]) -> str:
    if len(names) <= _MOST_NAMES:
        return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    layers = sorted({int(name.split(".")[-2]) for name in names})
    of = f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]} to {layers[-1]}"
    return f"{len(names)} heads of {of} of the cross-attention"


def pharaoh(pair: AlignedPair) -> str:
    """The links as `0-0 2-1`: source word, target word."""
    return " ".join(f"{link.source.index}-{link.target.index}" for link in pair.alignment)


def shown_pairs(pair: AlignedPair) -> str:
    """The links as words of both texts: `La–The maison–house`."""
    return "  ".join(f"{link.source.text}–{link.target.text}" for link in pair.alignment)
