"""Word alignment from cross-attention: the source word that each word of a target reads most.

A target word is aligned at the positions whose input it is (Chen et al. 2020, "Accurate Word Alignment Induction from
Neural Machine Translation"), and not at those before them, where it is predicted and not yet known. By default the
heads are averaged of the middle layer: there this alignment is best, in the third of six layers in that paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.attention.positions import Span, word_spans
from attncli.results.alignment import AlignedWord, WordLink

if TYPE_CHECKING:
    from attncli.attention.collector import Collector
    from attncli.models.capture.attention_types import Attention
    from attncli.results.tokens import Token

_CROSS = "cross"


@dataclass
class CrossReader:
    """Sums the cross-attention of the chosen heads, or of the middle layer's, over one run on one pair of texts.

    heads: their names.  weights: the sum over them, float32 (queries, keys).
    """

    heads: list[str] = field(default_factory=list)
    weights: Tensor | None = None
    queries: tuple[Token, ...] = ()
    keys: tuple[Token, ...] = ()

    def __call__(self, collector: Collector, attention: Attention) -> None:
        key, number = collector.latest
        selection, layers = collector.request.selection, collector.layer_count(key)
        if not key.cross or not (selection.chosen or number == middle_layer(layers)):
            return
        heads = selection.heads_in(_CROSS, number, layers, attention.heads)
        if not heads:
            return
        rows = torch.cat([block.weights[0].sum(0) for block in attention.blocks(heads)]).float().cpu()
        self.weights = rows if self.weights is None else self.weights + rows
        sides = collector.layers[key][number].sides
        self.queries, self.keys = sides.queries.tokens[0], sides.keys.tokens[0]
        self.heads += [f"{_CROSS}.{number}.{head}" for head in heads]

    def links(self, record: int, source: str, target: str) -> tuple[WordLink, ...]:
        """A link for each word of the target. source, target: the texts, which words are cut from."""
        assert self.weights is not None
        mean = self.weights / len(self.heads)
        sources, links = list(_words(self.keys, source)), []
        for reader, (first, last) in _words(self.queries, target):
            row = mean[first:last].mean(0)
            weights = [float(row[start:stop].sum()) for _, (start, stop) in sources]
            best = max(range(len(weights)), key=weights.__getitem__)
            links.append(WordLink(record, sources[best][0], reader, weights[best]))
        return tuple(links)


def _words(tokens: Sequence[Token], text: str) -> Iterator[tuple[AlignedWord, Span]]:
    """Each word of a text, and its tokens among all of them."""
    for start, stop in word_spans(tokens):
        first, last = tokens[start], tokens[stop - 1]
        if first.word is not None:
            yield AlignedWord(first.word, text[first.start : last.end].strip()), (start, stop)


def middle_layer(layers: int) -> int:
    """The layer that aligns words by default: the third of six.

    >>> middle_layer(6), middle_layer(1)
    (2, 0)
    """
    return (layers - 1) // 2
