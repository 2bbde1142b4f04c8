"""The metrics of a head, as means over the queries that can show them.

Each is computed on blocks of rows, so the N × N matrix of a head never has to exist, and is computed a second time on
attention spread evenly over the visible keys: that is the uniform baseline that a value is read against.

A is a head's attention, rows i are queries, columns j keys; a row sums to 1, or less where the model has a sink.

    entropy       −Σ_j A_ij ln A_ij, in nats                      Clark et al. 2019; Vig & Belinkov 2019
    distance      Σ_j A_ij |i−j|, in tokens or patches            Vig & Belinkov 2019; Dosovitskiy et al. 2021
    confidence    max_j A_ij                                      Voita et al. 2019
    previous      A_{i,i−1}                                       Clark et al. 2019
    current       A_{i,i}                                         Clark et al. 2019
    next          A_{i,i+1}                                       Clark et al. 2019
    first         A_{i,0}                                         Xiao et al. 2023
    special       mass on special tokens                          Clark et al. 2019
    virtual_sink  1 − Σ_j A_ij                                    gpt-oss's learned sinks
    duplicate     Σ A_ij over j < i with x_j = x_i                Wang et al. 2022
    induction     Σ A_ij over 1 ≤ j < i with x_{j−1} = x_i        Olsson et al. 2022

What followed an earlier copy is another token than the query: where x_{i−1} = x_i the query itself did, and that weight
counts as `current` alone.

Between patches of a picture |i−j| is the distance of their centres, i−1 and i+1 are the patches to the left and to the
right; a class token has no place, neither as a query nor as a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attncli.attention.exact import summable
from attncli.attention.geometry import distances, neighbours, placed
from attncli.results.media import TOKENS, Medium
from attncli.results.metrics import METRICS
from attncli.results.tokens import Token

_OF_REPEATS = frozenset({"duplicate", "induction"})

#: A value for every row, (batch, heads, rows), and the rows that can show it, broadcastable to that.
Shown = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Side:
    """The tokens on one side of the attention: ids, which are special, which are real and no padding; (batch, n).

    tokens: those of every text, without padding.  parts: which of two texts each is of, see `attention.quadrants`; None
    where there is one alone.  medium: what they are, if not tokens of a text.
    """

    ids: Tensor
    special: Tensor
    real: Tensor
    tokens: tuple[tuple[Token, ...], ...]
    parts: Tensor | None = None
    medium: Medium = TOKENS

    @property
    def length(self) -> int:
        return self.ids.shape[1]

    @property
    def first(self) -> Tensor:
        """The first real position of every text, (batch,)."""
        return self.real.int().argmax(dim=1)

    def to(self, device: torch.device) -> Side:
        parts = None if self.parts is None else self.parts.to(device)
        ids, special, real = (each.to(device) for each in (self.ids, self.special, self.real))
        return Side(ids, special, real, self.tokens, parts, self.medium)


@dataclass(frozen=True)
class Pair:
    """Who looks at whom. `same`: queries and keys are one sequence, so positions can be compared."""

    queries: Side
    keys: Side
    same: bool

    @property
    def in_line(self) -> bool:
        """Whether positions follow one another, as in a text, and don't lie in a plane."""
        return self.queries.medium.grid is None or not self.same

    def to(self, device: torch.device) -> Pair:
        return Pair(self.queries.to(device), self.keys.to(device), self.same)


@dataclass
class MetricSums:
    """Running sums of the metrics of one layer, of so many heads, over blocks of rows."""

    pair: Pair
    has_sink: bool
    heads: int = 1
    _sums: dict[str, Tensor] = field(default_factory=dict)
    _counts: dict[str, Tensor] = field(default_factory=dict)
    #: Of those the ordinary tokens: separators that repeat say nothing of what a head does with a text that does.
    _telling: dict[str, Tensor] = field(default_factory=dict)

    def add(self, start: int, weights: Tensor, visible: Tensor) -> None:
        """Take in the rows from `start`: weights float32 (batch, heads, rows, keys), visible broadcastable to them."""
        self.add_rows(row_metrics(self.pair, start, weights, visible), start)

    def add_rows(self, rows: Mapping[str, Shown], start: int = 0) -> None:
        """Take in metrics of the rows from `start`."""
        for name, (value, shows) in rows.items():
            shows = shows.expand_as(value)
            # Rows that can't show a metric may hold anything, NaN too.
            total = summable(torch.where(shows, value, 0)).sum(-1, dtype=torch.float64)
            self._sums[name] = self._sums.get(name, 0) + total
            self._counts[name] = self._counts.get(name, 0) + summable(shows.sum(-1))
            if name in _OF_REPEATS:
                special = self.pair.queries.special[:, None, start : start + value.shape[-1]]
                self._telling[name] = self._telling.get(name, 0) + summable((shows & ~special).sum(-1))

    def means(self) -> list[list[dict[str, float | None]]]:
        """The metrics of every head of every text; None where no query can show one."""
        sums = {name: total.cpu() for name, total in self._sums.items()}
        counts = {name: count.cpu() for name, count in self._counts.items()}
        texts = range(self.pair.queries.ids.shape[0])
        return [[self._head(sums, counts, text, head) for head in range(self.heads)] for text in texts]

    def by_text(self) -> Tensor:
        """The same in one tensor: float64 (batch, metrics, heads) on a CPU, NaN where no query can show a metric."""
        shown = {name: total for name, total in self._sums.items() if name != "virtual_sink" or self.has_sink}
        nothing = torch.full_like(next(iter(self._sums.values())), torch.nan)
        # What is a sum over no queries becomes 0/0, which is NaN as well.
        means = [shown[name] / self._counts[name] if name in shown else nothing for name in METRICS]
        return torch.stack(means, dim=1).cpu()

    def all_queries(self) -> Tensor:
        """How many queries of all texts together told each metric, int64 (metrics,) on a CPU: see `queries`."""
        told = self._counts | self._telling
        counts = [told[name].amax(1).sum() if name in told else None for name in METRICS]
        return torch.tensor([0 if count is None else int(count) for count in counts])

    def queries(self, text: int) -> dict[str, int]:
        """How many queries of a text told each metric: all that showed it, or of repeats the ordinary tokens."""
        return {name: int(count[text].max()) for name, count in (self._counts | self._telling).items()}

    def _head(
        self, sums: dict[str, Tensor], counts: dict[str, Tensor], text: int, head: int
    ) -> dict[str, float | None]:
        values: dict[str, float | None] = {}
        for name in METRICS:
            count = int(counts[name][text, head]) if name in counts else 0
            shown = count > 0 and (name != "virtual_sink" or self.has_sink)
            values[name] = float(sums[name][text, head]) / count if shown else None
        return values


def uniform(visible: Tensor) -> Tensor:
    """Attention spread evenly over the visible keys: float32, of the mask's shape."""
    return visible.float() / visible.sum(-1, keepdim=True).clamp(min=1)


def row_metrics(pair: Pair, start: int, weights: Tensor, visible: Tensor) -> dict[str, Shown]:
    """Every metric of the rows from `start`, with the rows that can show it."""
    rows = torch.arange(start, start + weights.shape[2], device=weights.device)
    seen = visible & pair.keys.real[:, None, None, :]
    real = pair.queries.real[:, None, start : start + weights.shape[2]]
    special = pair.keys.special & pair.keys.real
    shown: dict[str, Shown] = {
        "entropy": (torch.special.entr(weights).sum(-1), real & seen.any(-1)),
        "confidence": (weights.amax(-1), real & seen.any(-1)),
        "virtual_sink": (1 - weights.sum(-1), real & seen.any(-1)),
        "special": _mass(weights, seen, special[:, None, :].expand(-1, len(rows), -1)),
        "first": _at(weights, seen, pair.keys.first[:, None].expand(-1, len(rows))),
    }
    if pair.same:
        shown |= _positional(pair, rows, weights, seen)
    return {name: (value, shows & real) for name, (value, shows) in shown.items()}


def _positional(pair: Pair, rows: Tensor, weights: Tensor, seen: Tensor) -> dict[str, Shown]:
    """The metrics that compare positions or tokens of queries and keys."""
    columns = torch.arange(weights.shape[3], device=weights.device)
    medium, batch = pair.queries.medium, weights.shape[0]
    offsets = distances(medium, rows, weights.shape[3])
    earlier = columns[None, :] < rows[:, None]
    ids = pair.keys.ids.masked_fill(~pair.keys.real, -1)
    before = torch.cat([ids.new_full((batch, 1), -1), ids[:, :-1]], dim=1)
    now = pair.queries.ids[:, rows, None]
    return {
        "distance": (torch.einsum("bhrk,rk->bhr", weights, offsets), seen.any(-1) & placed(medium, rows)),
        "previous": _at(weights, seen, neighbours(medium, rows, -1).expand(batch, -1)),
        "current": _at(weights, seen, rows.expand(batch, -1)),
        "next": _at(weights, seen, neighbours(medium, rows, 1).expand(batch, -1)),
        "duplicate": _mass(weights, seen, earlier & (ids[:, None, :] == now)),
        "induction": _mass(weights, seen, earlier & (before[:, None, :] == now)),
    }


def _at(weights: Tensor, seen: Tensor, columns: Tensor) -> Shown:
    """The weight at one column a row, (batch, rows); shown where that column exists and is visible."""
    inside = (columns >= 0) & (columns < weights.shape[3])
    place = columns.clamp(0, weights.shape[3] - 1)[:, None, :, None]
    value = weights.gather(-1, place.expand(*weights.shape[:3], 1)).squeeze(-1)
    whole = seen.expand(weights.shape[0], seen.shape[1], *weights.shape[2:])
    visible = whole.gather(-1, place.expand(*whole.shape[:3], 1)).squeeze(-1)
    return value, visible & inside[:, None, :]


def _mass(weights: Tensor, seen: Tensor, keys: Tensor) -> Shown:
    """The weight on a set of keys a row, (batch, rows, keys); shown where one of them is visible."""
    chosen = seen & keys[:, None]
    return torch.where(chosen, weights, 0).sum(-1), chosen.any(-1)
