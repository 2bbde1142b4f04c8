"""How far apart positions are, and which are neighbours: along a text or a sound, or in the grid of a picture.

The metrics of a head, as means over the queries that can show them.

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

How much attention stays within each of two texts that were read together, and how much crosses over.

A quadrant is the mean over the queries of one text of their weight on the keys of one text: Σ_j A_ij over j in B, at
the mean over i in A. That is linear in the weights, so that long texts need no matrix: it is attention to an indicator
of B.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.attention.float64 import summable
from attncli.choices import METRICS
from attncli.results.heads import Quadrants
from attncli.results.patterns import TOKENS, Grid, Medium
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.models.capture.fused_attention import FusedAttention
    from attncli.models.capture.lazy_mask import Visibility


def distances(medium: Medium, rows: Tensor, keys: int) -> Tensor:
    """From each of `rows` to every key: float32 (rows, keys).

    In a text |i − j|; in a picture the distance of the patches' centres, in patches. What is no patch has no place, so
    that it adds nothing.
    """
    columns = torch.arange(keys, device=rows.device)
    if medium.grid is None:
        return (rows[:, None] - columns[None, :]).abs().float()
    here, there = _cells(medium.grid, rows), _cells(medium.grid, columns)
    apart = (here[:, None] - there[None, :]).float().norm(dim=-1)
    both = placed(medium, rows)[:, None] & placed(medium, columns)[None, :]
    return torch.where(both, apart, 0)


def placed(medium: Medium, positions: Tensor) -> Tensor:
    """Which positions have a place, from which distances can be measured: all of a text, the patches of a picture."""
    if medium.grid is None:
        return torch.ones_like(positions, dtype=torch.bool)
    return (positions >= medium.grid.patches.start) & (positions < medium.grid.patches.stop)


def neighbours(medium: Medium, rows: Tensor, step: int) -> Tensor:
    """The position before (step −1), at (0) or after (1) each of `rows`, −1 for none: (rows,).

    In a picture these are the patches beside it in the same row.
    """
    beside = rows + step
    if medium.grid is None or step == 0:
        return beside
    columns = _cells(medium.grid, rows)[:, 1] + step
    inside = placed(medium, rows) & (columns >= 0) & (columns < medium.grid.columns)
    return torch.where(inside, beside, -1)


def _cells(grid: Grid, positions: Tensor) -> Tensor:
    """Row and column of positions, (positions, 2); without meaning for what is no patch."""
    place = positions - grid.first
    return torch.stack([place.div(grid.columns, rounding_mode="floor"), place % grid.columns], dim=-1)


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
class QueryKeySides:
    """Who looks at whom. `same`: queries and keys are one sequence, so positions can be compared."""

    queries: Side
    keys: Side
    same: bool

    @property
    def in_line(self) -> bool:
        """Whether positions follow one another, as in a text, and don't lie in a plane."""
        return self.queries.medium.grid is None or not self.same

    def to(self, device: torch.device) -> QueryKeySides:
        return QueryKeySides(self.queries.to(device), self.keys.to(device), self.same)


@dataclass
class MetricSums:
    """Running sums of the metrics of one layer, of so many heads, over blocks of rows."""

    pair: QueryKeySides
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


def row_metrics(pair: QueryKeySides, start: int, weights: Tensor, visible: Tensor) -> dict[str, Shown]:
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


def _positional(pair: QueryKeySides, rows: Tensor, weights: Tensor, seen: Tensor) -> dict[str, Shown]:
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


#: What a token is part of: the first text, the second, or neither (special tokens); −1 for padding.
FIRST, SECOND, APART = 0, 1, 2


def parts_of(sequences: Sequence[int | None], special: Sequence[bool]) -> list[int]:
    """The part of every token. sequences: of which text it is, None of neither."""
    return [
        APART if sequence is None or apart else sequence for sequence, apart in zip(sequences, special, strict=True)
    ]


@dataclass
class PairAttentionSums:
    """Running sums of the mass on each part, of so many heads of one layer, by the part of the query.

    They are (batch, heads, 2, 3): queries of the first and the second text; keys of the first, the second, of neither.
    """

    pair: QueryKeySides
    _sums: Tensor | None = field(default=None, init=False)

    @classmethod
    def of(cls, pair: QueryKeySides) -> PairAttentionSums | None:
        """None where queries or keys are not of two texts."""
        parts = pair.queries.parts, pair.keys.parts
        return None if any(side is None or not bool((side == SECOND).any()) for side in parts) else cls(pair)

    @property
    def indicators(self) -> Tensor:
        """A column for each part, float32 (batch, keys, 3)."""
        assert self.pair.keys.parts is not None
        return torch.stack([self.pair.keys.parts == part for part in (FIRST, SECOND, APART)], dim=-1).float()

    def add(self, start: int, weights: Tensor) -> None:
        """Take in the rows from `start`: weights float32 (batch, heads, rows, keys)."""
        self.add_masses(start, weights @ self.indicators[:, None])

    def add_masses(self, start: int, masses: Tensor) -> None:
        """Take in what rows give to each part: (batch, heads, rows, 3)."""
        assert self.pair.queries.parts is not None
        parts = self.pair.queries.parts[:, start : start + masses.shape[2]]
        own = summable(torch.stack([parts == part for part in (FIRST, SECOND)], dim=1)).double()
        total = own[:, None] @ summable(masses).double()
        self._sums = total if self._sums is None else self._sums + total

    def read(self, reader: FusedAttention) -> None:
        """Take in all rows without the matrix."""
        heads = reader.attention.heads
        for reading in reader.weighted_sums(self.indicators):
            masses = reading.values.new_zeros(reading.values.shape[0], heads, *reading.values.shape[2:])
            masses[:, reading.heads] = reading.values
            self.add_masses(reading.start, masses)

    def spread(self, visibility: Visibility) -> None:
        """Take in attention spread evenly over what a mask shows."""
        for start, _, visible in visibility.blocks(self.pair.keys.ids.shape[0]):
            self.add(start, uniform(visible & self.pair.keys.real[:, None, None, :]))

    def means(self, text: int) -> list[Quadrants]:
        """The quadrants of every head."""
        assert self._sums is not None and self.pair.queries.parts is not None
        counts = torch.stack([(self.pair.queries.parts[text] == part).sum() for part in (FIRST, SECOND)])
        means = (self._sums[text].cpu() / counts.clamp(min=1)[:, None].cpu()).tolist()
        return [Quadrants(*first, *second) for first, second in means]
