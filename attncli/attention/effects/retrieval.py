"""`--needle N`: which heads find a needle in N tokens of filler (retrieval heads, Wu et al. 2024, arXiv 2404.15574).

The needle, a few different tokens, stands somewhere in random filler and once more at the end, where the model would
write it (teacher-forced). For each of its tokens but the first, which nothing foretells: 1 if the head's largest weight
from the token before it is on that token's first occurrence. The metric is the mean over these tokens and the seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.attention.averages import Moments, confidence_interval
from attncli.attention.collector import Collector, StackKey
from attncli.errors import UsageError
from attncli.metrics import RETRIEVAL
from attncli.results.heads import HeadMetrics, Needle, Spread, Stack

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention

#: The usual needle has so many tokens, and so many texts are drawn.
NEEDLE_TOKENS, NEEDLE_TEXTS = 8, 16


@dataclass(frozen=True)
class NeedleText:
    """The ids of a text, and where the needle begins in it, and begins again."""

    ids: tuple[int, ...]
    first: int
    second: int


def choose_needle(length: int, ordinary: int, limit: int | None, *, before: int, seed: int) -> Needle:
    """The usual needle in `length` tokens, both copies counted.

    ordinary: how many tokens there are.  limit: the model's positions.  before: special tokens that come first.
    Raises UsageError where that is too short for two copies, or too long for the model, or where the vocabulary is too
    small.
    """
    least = 2 * NEEDLE_TOKENS
    if length < least:
        raise UsageError(
            f"--needle {length} is too short: the two copies of the needle alone take {least} tokens",
            hint=f"--needle takes a number from {least}, for instance 256",
        )
    if limit is not None and length + before > limit:
        raise UsageError(
            f"--needle {length:,} is too long: the model takes {limit:,} tokens",
            hint=f"--needle takes {limit - before:,} at most here",
        )
    if ordinary < 2 * NEEDLE_TOKENS:
        raise UsageError(
            f"the model has {ordinary} ordinary tokens, too few for a needle and filler",
            hint="name another model (-m)",
        )
    return Needle(NEEDLE_TEXTS, length, NEEDLE_TOKENS, seed)


def needle_texts(needle: Needle, ordinary: Sequence[int], first: int | None = None) -> Iterator[NeedleText]:
    """The texts: `first`, if there is one, then filler with the needle in it, then the needle.

    No token of a needle occurs twice in it, or in the filler.
    """
    random = Random(needle.seed)
    begin = () if first is None else (first,)
    for _ in range(needle.texts):
        words = random.sample(ordinary, needle.needle_tokens)
        others = list(set(ordinary) - set(words))
        others.sort()
        filler = random.choices(others, k=needle.tokens - 2 * needle.needle_tokens)
        place = random.randrange(len(filler) + 1)
        ids = (*begin, *filler[:place], *words, *filler[place:], *words)
        yield NeedleText(ids, len(begin) + place, len(ids) - needle.needle_tokens)


@dataclass
class RetrievalSums:
    """The metric of every head of all texts, as they run.

    texts: of the batch that runs.  needle: how many tokens it has.
    """

    needle: int
    texts: Sequence[NeedleText] = ()
    heads: dict[tuple[StackKey, int], Moments] = field(default_factory=dict)
    chance: dict[tuple[StackKey, int], list[float]] = field(default_factory=dict)

    def __call__(self, collector: Collector, attention: Attention) -> None:
        """Add one attention computation, of the layer that was collected last."""
        key = collector.latest
        length = len(self.texts[0].ids)
        # A decoder's tokens follow its start token; virtual tokens of an adapter come first.
        rows, columns = attention.queries - length, attention.keys - length
        if rows < 0 or columns < 0 or not collector.layers[key[0]][key[1]].chosen:
            return
        start = rows + self.texts[0].second
        blocks = list(attention.blocks(rows=(start, start + self.needle - 1)))
        found = torch.cat([block.weights.argmax(-1) for block in blocks], dim=2).cpu()
        first = torch.tensor([text.first for text in self.texts])[:, None] + torch.arange(1, self.needle)
        hits = (found == columns + first[:, None, :]).double().mean(-1)
        moments = Moments.from_values(hits[:, None, :])
        self.heads[key] = self.heads[key].merged(moments) if key in self.heads else moments
        visible = torch.cat([_counts(block.visible, attention.keys) for block in blocks])
        self.chance.setdefault(key, []).append(float((1 / visible.clamp(min=1)).mean()))

    def merged(self, others: Sequence[RetrievalSums]) -> RetrievalSums:
        """The sums of several processes."""
        for other in others:
            for key, moments in other.heads.items():
                self.heads[key] = self.heads[key].merged(moments) if key in self.heads else moments
                self.chance.setdefault(key, []).extend(other.chance[key])
        return self

    def stack(self, key: StackKey, stack: Stack) -> Stack:
        """A stack with the metric beside its others."""
        heads = tuple(self._head(key, head) for head in stack.metrics)
        baselines = {number: {**values, **self._baseline(key, number)} for number, values in stack.baselines.items()}
        return replace(stack, metrics=heads, baselines=baselines)

    def _head(self, key: StackKey, head: HeadMetrics) -> HeadMetrics:
        moments = self.heads.get((key, head.layer))
        if moments is None:
            return replace(head, values={**head.values, RETRIEVAL: None})
        mean, squares, count = (float(part[0, head.head]) for part in (moments.mean, moments.squares, moments.count))
        spread = head.spread or Spread({}, {})
        interval = confidence_interval(mean, squares, int(count))
        return replace(
            head,
            values={**head.values, RETRIEVAL: mean},
            spread=Spread({**spread.intervals, RETRIEVAL: interval}, {**spread.counts, RETRIEVAL: int(count)}),
        )

    def _baseline(self, key: StackKey, number: int) -> dict[str, float | None]:
        found = self.chance.get((key, number))
        return {RETRIEVAL: None if not found else sum(found) / len(found)}


def _counts(visible: Tensor, keys: int) -> Tensor:
    """How many keys each row sees, flat. visible: may have one column for all keys."""
    return visible.expand(*visible.shape[:-1], keys).sum(-1).double().flatten().cpu()
