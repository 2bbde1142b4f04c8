"""The metrics of attention heads, computed from blocks of explicit attention weights (see `compute_row_metrics`).

Their formulas and sources are in `attncli.metrics`. For long texts `attention.readouts` computes the same metrics
without the matrix. The uniform baseline, the same metrics of attention spread evenly over the visible keys, is in
`attention.uniform_baseline`. `PairAttentionSums` measures how much attention stays within each of two texts that were
read together.

Sums are taken in float64, on the CPU where a device has none (`to_float64_device`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.metrics import (
    METRICS,
    REPEAT_METRICS,
    Distance,
    Entropy,
    Formula,
    LargestWeight,
    Place,
    Unattended,
    WeightAt,
    WeightOnCopies,
    WeightOnSpecial,
)
from attncli.results.heads import Quadrants
from attncli.results.patterns import TOKENS, Medium
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.models.capture.fused_attention import FusedAttention
    from attncli.models.capture.lazy_mask import Visibility

#: Apple's GPUs have no float64.
DEVICE_TYPES_WITHOUT_FLOAT64 = frozenset(("mps",))


def float64_device(device: torch.device) -> torch.device:
    """The device itself, or the CPU for a device without float64."""
    return torch.device("cpu") if device.type in DEVICE_TYPES_WITHOUT_FLOAT64 else device


def to_float64_device(values: Tensor) -> Tensor:
    """The tensor on a device where it can be converted to float64."""
    return values.to(float64_device(values.device))


#: A value for every row, (batch, heads, rows), and for which rows it is defined, broadcastable to that.
RowValues = tuple[Tensor, Tensor]

#: Metrics that follow from the sums of columns.
COLUMN_METRICS = tuple(name for name, metric in METRICS.items() if metric.of_one_key)


@dataclass(frozen=True)
class Side:
    """The tokens on one side of the attention, queries or keys.

    ids, special, real: their ids, which are special, which are no padding; (batch, n).
    tokens: those of every text, without padding.
    parts: `FIRST_TEXT`, `SECOND_TEXT`, `NEITHER_TEXT` or −1, (batch, n); None unless two texts were read together.
    virtual: how many virtual tokens of an adapter come before every text.
    medium: what the positions are, if not tokens of a text.
    """

    ids: Tensor
    special: Tensor
    real: Tensor
    tokens: tuple[tuple[Token, ...], ...]
    parts: Tensor | None = None
    medium: Medium = TOKENS
    virtual: int = 0

    @property
    def length(self) -> int:
        return self.ids.shape[1]

    @property
    def first(self) -> Tensor:
        """The first real position of every text, (batch,), after any virtual tokens."""
        return self.virtual + self.real[:, self.virtual :].int().argmax(dim=1)

    def to(self, device: torch.device) -> Side:
        ids, special, real = (each.to(device) for each in (self.ids, self.special, self.real))
        parts = None if self.parts is None else self.parts.to(device)
        return replace(self, ids=ids, special=special, real=real, parts=parts)


@dataclass(frozen=True)
class QueryKeySides:
    """The queries and keys of a stack.

    same_sequence: they are one sequence, so positions can be compared.  prefix: keys at its beginning that have no
    query (the virtual tokens of prefix tuning); query i is at the position of key prefix + i.
    """

    queries: Side
    keys: Side
    same_sequence: bool
    prefix: int = 0

    @property
    def one_dimensional(self) -> bool:
        """Whether the metrics count positions along a sequence, and not in the grid of a picture."""
        return not has_coordinates(self.queries.medium) or not self.same_sequence

    @property
    def is_square(self) -> bool:
        """Whether every key has a query, its own."""
        return self.same_sequence and not self.prefix

    def to(self, device: torch.device) -> QueryKeySides:
        return replace(self, queries=self.queries.to(device), keys=self.keys.to(device))

    def seen(self, start: int, stop: int, visible: Tensor) -> Tensor:
        """Which keys the rows start…stop see, without padding on either side: (batch, heads or 1, rows, keys).

        visible: what the mask says, broadcastable to that.
        """
        real = self.queries.real[:, None, start:stop, None]
        return visible & self.keys.real[:, None, None, :] & real

    def keys_at(self, place: Place, rows: Tensor) -> Tensor:
        """The key at a place of each of `rows`, (batch, rows); beyond the keys where there is none."""
        if place == "first":
            return self.keys.first[:, None].expand(-1, len(rows))
        return neighbours(self.queries.medium, rows + self.prefix, place).expand(self.keys.ids.shape[0], -1)

    def ids_before(self, shift: int) -> Tensor:
        """The id so many keys before each key, −1 for padding and where there is none: (batch, keys)."""
        ids = self.keys.ids.masked_fill(~self.keys.real, -1)
        return torch.cat([ids.new_full((len(ids), shift), -1), ids], dim=1)[:, : ids.shape[1]]


@dataclass(frozen=True)
class ColumnSums:
    """Σ_i A_ij over the queries i ≠ j that see a key j, from which the metric `token` follows.

    `token` is the largest mean A_ij of an ordinary key j over these queries, and its `index` is that j: one token that
    most queries read. Only keys that at least half of the queries see count, and at least two: the last tokens of a
    causal text are seen by a query or two, whose weights say nothing of the others.

    sums: float64 (batch, heads, keys).  queries: how many queries see each key, (batch, 1, keys).
    """

    sums: Tensor
    queries: Tensor

    @classmethod
    def of_block(cls, sides: QueryKeySides, start: int, weights: Tensor, visible: Tensor) -> ColumnSums:
        """The sums of the rows from `start`: weights (batch, heads, rows, keys), visible broadcastable to them."""
        stop = start + weights.shape[2]
        rows, seen = torch.arange(start, stop, device=weights.device), sides.seen(start, stop, visible)
        if sides.same_sequence:
            seen = seen & (rows[:, None] != torch.arange(weights.shape[3], device=weights.device))
        sums = torch.where(seen, weights, 0).sum(2, dtype=torch.float32)
        return cls(to_float64_device(sums).double(), to_float64_device(seen.sum(2)))

    @classmethod
    def uniform(cls, sides: QueryKeySides, *, causal: bool) -> ColumnSums:
        """Those of attention spread evenly over the keys under a causal or full mask, of one head. O(N)."""
        keys, queries = sides.keys.real.double(), sides.queries.real.double()
        seen = keys.cumsum(1) if causal else keys.sum(1, keepdim=True).expand_as(queries)
        share = torch.where(seen > 0, queries / seen.clamp(min=1), 0)
        # Of the queries after a key; or of all but, in one sequence, the key's own.
        sums, counts = (
            each.flip(1).cumsum(1).flip(1) - each
            if causal
            else each.sum(1, keepdim=True) - (each if sides.same_sequence else torch.zeros_like(keys))
            for each in (share, queries)
        )
        return cls((sums * keys)[:, None], (counts * keys)[:, None])

    def __add__(self, other: ColumnSums) -> ColumnSums:
        return ColumnSums(self.sums + other.sums, self.queries + other.queries)

    def largest(self, sides: QueryKeySides) -> tuple[Tensor, Tensor]:
        """`token` and its `index`: float64 and int64, (batch, heads) each; NaN and −1 where no key counts."""
        ordinary = to_float64_device(sides.keys.real & ~sides.keys.special)[:, None]
        total = to_float64_device(sides.queries.real.sum(1))[:, None, None]
        counts = ordinary & (self.queries >= MIN_TOKEN_QUERIES) & (2 * self.queries >= total - int(sides.same_sequence))
        means = torch.where(counts, self.sums / self.queries.clamp(min=1), -1.0)
        value, index = means.max(-1)
        return torch.where(value < 0, torch.nan, value), torch.where(value < 0, -1, index)


#: `ColumnSums.largest` leaves out keys that fewer queries see.
MIN_TOKEN_QUERIES = 2


@dataclass
class MetricSums:
    """Running sums of the metrics of all heads of one layer, over blocks of rows."""

    sides: QueryKeySides
    has_sink: bool
    heads: int = 1
    #: None unless two texts are read together.
    pairs: PairAttentionSums | None = None
    _sums: dict[str, Tensor] = field(default_factory=dict)
    _counts: dict[str, Tensor] = field(default_factory=dict)
    #: Counts without special tokens: repeated separators don't show what a head does with repeated text.
    _ordinary_counts: dict[str, Tensor] = field(default_factory=dict)
    _columns: ColumnSums | None = None

    def add(self, start: int, weights: Tensor, visible: Tensor) -> None:
        """Add the rows from `start`: weights float32 (batch, heads, rows, keys), visible broadcastable to them."""
        self.add_rows(compute_row_metrics(self.sides, start, weights, visible, has_sink=self.has_sink), start)
        self.add_columns(ColumnSums.of_block(self.sides, start, weights, visible))
        if self.pairs is not None:
            self.pairs.add(start, weights)

    def add_rows(self, rows: Mapping[str, RowValues], start: int = 0) -> None:
        """Add metrics of the rows from `start`; those of a sink count where there is one."""
        for name, (value, shows) in rows.items():
            if METRICS[name].of_sink and not self.has_sink:
                continue
            shows = shows.expand_as(value)
            # Rows for which a metric is undefined may hold anything, NaN too.
            total = to_float64_device(torch.where(shows, value, 0)).sum(-1, dtype=torch.float64)
            self._sums[name] = self._sums.get(name, 0) + total
            self._counts[name] = self._counts.get(name, 0) + to_float64_device(shows.sum(-1))
            if name in REPEAT_METRICS:
                special = self.sides.queries.special[:, None, start : start + value.shape[-1]]
                ordinary = to_float64_device((shows & ~special).sum(-1))
                self._ordinary_counts[name] = self._ordinary_counts.get(name, 0) + ordinary

    def add_columns(self, columns: ColumnSums) -> None:
        """Add the sums over some queries of the weight on each key."""
        self._columns = columns if self._columns is None else self._columns + columns

    def means(self) -> list[list[dict[str, float | None]]]:
        """The metrics of every head of every text; None where a metric is defined for no query."""
        return [
            [
                {name: None if value != value else value for name, value in zip(METRICS, head, strict=True)}
                for head in text.T.tolist()
            ]
            for text in self.means_by_text()
        ]

    def token_indices(self) -> list[list[int | None]]:
        """The key that the metrics of one key of every head of every text are about; None without one."""
        if self._columns is None:
            return [[None] * self.heads for _ in range(self.sides.queries.ids.shape[0])]
        _, index = self._columns.largest(self.sides)
        return [[None if key < 0 else key for key in text] for text in index.tolist()]

    def means_by_text(self) -> Tensor:
        """The means as one tensor: float64 (batch, metrics, heads) on a CPU, NaN where a metric is undefined."""
        # The mean over no queries is 0/0, which is NaN as well.
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        if self._columns is not None:
            means |= dict.fromkeys(COLUMN_METRICS, self._columns.largest(self.sides)[0])
        # A mask of its own for each head makes a uniform baseline for each.
        empty = torch.empty(self.sides.queries.ids.shape[0], self.heads, dtype=torch.float64)
        nothing = torch.full_like(next(iter(means.values()), empty), torch.nan, device="cpu")
        return torch.stack([means[name].cpu() if name in means else nothing for name in METRICS], dim=1)

    def total_queries(self) -> Tensor:
        """`query_counts` of all texts together: int64 (metrics,) on a CPU."""
        counts = self._counts_by_text()
        return torch.tensor([int(counts[name].sum()) if name in counts else 0 for name in METRICS])

    def query_counts(self, text: int) -> dict[str, int]:
        """How many queries of a text each metric is a mean of; for repeats, without special tokens."""
        return {name: int(count[text]) for name, count in self._counts_by_text().items()}

    def repeats(self, text: int) -> dict[str, int]:
        """`query_counts` of the metrics that are defined where tokens repeat, 0 where none does."""
        return {name: count for name, count in self.query_counts(text).items() if name in REPEAT_METRICS}

    def _counts_by_text(self) -> dict[str, Tensor]:
        """`query_counts` of each text: (batch,)."""
        counts = {name: count.amax(1) for name, count in (self._counts | self._ordinary_counts).items()}
        columns = {} if self._columns is None else dict.fromkeys(COLUMN_METRICS, self._columns.queries.amax((1, 2)))
        return counts | columns


def compute_row_metrics(
    sides: QueryKeySides, start: int, weights: Tensor, visible: Tensor, *, has_sink: bool = False
) -> dict[str, RowValues]:
    """Every metric of the rows from `start`, and for which rows it is defined.

    weights: float32 (batch, heads, rows, keys).  visible: bool, broadcastable to them.
    has_sink: whether what rows lack counts as one more key in their entropy.
    """
    stop = start + weights.shape[2]
    seen = sides.seen(start, stop, visible)
    block = _Block(sides, torch.arange(start, stop, device=weights.device), weights, seen, seen.any(-1), has_sink)
    return {
        name: block.row_values(metric.formula)
        for name, metric in METRICS.items()
        if not metric.of_one_key and (sides.same_sequence or not metric.needs_one_sequence)
    }


@dataclass(frozen=True)
class _Block:
    """Some rows of the weights, and which keys they see: (batch, heads, rows, keys); `seen` may have one head.

    sees: whether each row sees a key.
    """

    sides: QueryKeySides
    rows: Tensor
    weights: Tensor
    seen: Tensor
    sees: Tensor
    has_sink: bool

    def row_values(self, formula: Formula) -> RowValues:
        sides, weights, sees = self.sides, self.weights, self.sees
        match formula:
            case Entropy():
                entropy = torch.special.entr(weights).sum(-1)
                return entropy + sink_entropy(1 - weights.sum(-1)) if self.has_sink else entropy, sees
            case Distance():
                medium, positions = sides.queries.medium, self.rows + sides.prefix
                offsets = position_distances(medium, positions, weights.shape[3])
                return torch.einsum("bhrk,rk->bhr", weights, offsets), sees & have_coordinates(medium, positions)
            case LargestWeight():
                return weights.amax(-1), sees
            case Unattended():
                return 1 - weights.sum(-1), sees
            case WeightAt(places):
                value, shows = self._weight_at(places[0])
                for place in places[1:]:
                    more, also = self._weight_at(place)
                    value, shows = value + more, shows | also
                return value, shows
            case WeightOnSpecial():
                return self._weight_on((sides.keys.special & sides.keys.real)[:, None, :])
            case WeightOnCopies(shift):
                same = sides.ids_before(shift)[:, None, :] == sides.queries.ids[:, self.rows, None]
                columns = torch.arange(weights.shape[3], device=weights.device)
                return self._weight_on(same & (columns < (self.rows + sides.prefix)[:, None]))
        raise TypeError(f"{formula} is of no single row")

    def _weight_at(self, place: Place) -> RowValues:
        """The weight of each row at a place, 0 where no key is visible there; defined where one is."""
        keys = self.sides.keys_at(place, self.rows)
        at = keys.clamp(0, self.weights.shape[3] - 1)[:, None, :, None]
        value = self.weights.gather(-1, at.expand(*self.weights.shape[:3], 1)).squeeze(-1)
        shows = visible_at(self.seen, keys)
        return torch.where(shows, value, 0), shows

    def _weight_on(self, keys: Tensor) -> RowValues:
        """The weight on a set of keys per row, (batch, rows or 1, keys); defined where one of them is visible."""
        chosen = self.seen & keys[:, None]
        return torch.where(chosen, self.weights, 0).sum(-1), chosen.any(-1)


def visible_at(seen: Tensor, keys: Tensor) -> Tensor:
    """Whether rows see one key each: seen (batch, heads or 1, rows, keys), keys (batch, rows)."""
    inside = (keys >= 0) & (keys < seen.shape[3])
    place = keys.clamp(0, seen.shape[3] - 1)[:, None, :, None]
    return inside[:, None, :] & seen.gather(-1, place.expand(*seen.shape[:3], 1)).squeeze(-1)


def sink_entropy(weight: Tensor) -> Tensor:
    """−a ln a of a sink's weight a, by which it counts as one more key in a row's entropy. Rounding may make it < 0."""
    return torch.special.entr(weight.clamp(min=0))  # type: ignore[no-any-return]


def uniform_weights(visible: Tensor) -> Tensor:
    """Attention spread evenly over the visible keys: float32, of the mask's shape."""
    return visible.float() / visible.sum(-1, keepdim=True).clamp(min=1)


# --- Distances and neighbours: along a sequence, or in the grid of a picture


def position_distances(medium: Medium, rows: Tensor, keys: int) -> Tensor:
    """From each of `rows` to every key: float32 (rows, keys).

    In a text |i − j|; in a picture the distance of the patches' centres, in patches, and 0 where one is no patch or of
    another picture.
    """
    columns = torch.arange(keys, device=rows.device)
    if not has_coordinates(medium):
        return (rows[:, None] - columns[None, :]).abs().float()
    here, there = _coordinates(medium, rows), _coordinates(medium, columns)
    apart = (here[:, None, 1:] - there[None, :, 1:]).float().norm(dim=-1)
    both = (here[:, None, 0] == there[None, :, 0]) & (here[:, None, 0] >= 0)
    return torch.where(both, apart, 0)


def has_coordinates(medium: Medium) -> bool:
    """Whether positions are patches with places in a picture, and not along a sequence."""
    return medium.grid is not None or (medium.kind == "patches" and bool(medium.pictures))


def have_coordinates(medium: Medium, positions: Tensor) -> Tensor:
    """Which positions have coordinates to measure distances from: all of a text, the patches of a picture."""
    if not has_coordinates(medium):
        return torch.ones_like(positions, dtype=torch.bool)
    return _coordinates(medium, positions)[:, 0] >= 0


def neighbours(medium: Medium, rows: Tensor, step: int) -> Tensor:
    """The position before (step −1), at (0) or after (1) each of `rows`, −1 for none: (rows,).

    In a picture these are the adjacent patches of the same row.
    """
    if not has_coordinates(medium) or step == 0:
        return rows + step
    found, here = torch.full_like(rows, -1), _coordinates(medium, rows)
    for number, cells in _grid_cells(medium, rows.device):
        column = here[:, 2] + step
        own = (here[:, 0] == number) & (column >= 0) & (column < cells.shape[1])
        found[own] = cells[here[own, 1], column[own]]
    return found


def _grid_cells(medium: Medium, device: torch.device) -> Iterator[tuple[int, Tensor]]:
    """The number of each grid of patches, and the positions of its patches by rows and columns, −1 for none."""
    if medium.grid is not None:
        patches = torch.arange(medium.grid.patches.start, medium.grid.patches.stop, device=device)
        yield 0, patches.view(medium.grid.rows, medium.grid.columns)
        return
    for number, grid in enumerate(medium.pictures):
        places = [-1 if place is None else place for place in grid.places]
        yield number, torch.tensor(places, device=device).view(grid.rows, grid.columns)


def _coordinates(medium: Medium, positions: Tensor) -> Tensor:
    """The number of the grid, the row and the column of positions, (positions, 3); −1 for what is no patch."""
    grids = [(number, cells, cells >= 0) for number, cells in _grid_cells(medium, positions.device)]
    length = 1 + max(int(each.max()) for each in (positions, *(cells for _, cells, _ in grids)))
    table = torch.full((length, 3), -1, device=positions.device)
    for number, cells, filled in grids:
        table[cells[filled], 0] = number
        table[cells[filled], 1:] = filled.nonzero()
    return table[positions]


# --- Attention within and between two texts

#: Which of two texts a token is in; neither: special tokens. Padding has −1.
FIRST_TEXT, SECOND_TEXT, NEITHER_TEXT = 0, 1, 2


@dataclass
class PairAttentionSums:
    """Running sums of the attention within and between two texts, of all heads of one layer.

    They are (batch, heads, 2, 3): queries in the first and the second text; keys in the first, the second, in neither.
    A quadrant is the mean over the queries in one text of their weight on the keys in one text. That is linear in the
    weights, A V' with an indicator of each part as V', so that long texts need no matrix.
    """

    sides: QueryKeySides
    _sums: Tensor | None = field(default=None, init=False)

    @classmethod
    def for_two_texts(cls, sides: QueryKeySides) -> PairAttentionSums | None:
        """Sums for these sides; None where queries or keys are not of two texts."""
        parts = sides.queries.parts, sides.keys.parts
        return None if any(side is None or not bool((side == SECOND_TEXT).any()) for side in parts) else cls(sides)

    @property
    def indicators(self) -> Tensor:
        """V': a column for each part, float32 (batch, keys, 3)."""
        assert self.sides.keys.parts is not None
        parts = [self.sides.keys.parts == part for part in (FIRST_TEXT, SECOND_TEXT, NEITHER_TEXT)]
        return torch.stack(parts, dim=-1).float()

    def add(self, start: int, weights: Tensor) -> None:
        """Add the rows from `start`: weights float32 (batch, heads, rows, keys)."""
        self.add_masses(start, weights @ self.indicators[:, None])

    def add_masses(self, start: int, masses: Tensor) -> None:
        """Add the weight of the rows from `start` on each part: (batch, heads, rows, 3)."""
        assert self.sides.queries.parts is not None
        parts = self.sides.queries.parts[:, start : start + masses.shape[2]]
        query_parts = torch.stack([parts == part for part in (FIRST_TEXT, SECOND_TEXT)], dim=1)
        total = to_float64_device(query_parts).double()[:, None] @ to_float64_device(masses).double()
        self._sums = total if self._sums is None else self._sums + total

    def add_fused(self, fused: FusedAttention) -> None:
        """Add all rows without the matrix."""
        heads = fused.attention.heads
        for part in fused.weighted_sums(self.indicators):
            masses = part.values.new_zeros(part.values.shape[0], heads, *part.values.shape[2:])
            masses[:, part.heads] = part.values
            self.add_masses(part.start, masses)

    def add_uniform(self, visibility: Visibility) -> None:
        """Add all rows of attention spread evenly over the visible keys."""
        for start, stop, visible in visibility.blocks(self.sides.keys.ids.shape[0]):
            self.add(start, uniform_weights(self.sides.seen(start, stop, visible)))

    def means(self, text: int) -> list[Quadrants]:
        """The quadrants of every head."""
        assert self._sums is not None and self.sides.queries.parts is not None
        counts = torch.stack([(self.sides.queries.parts[text] == part).sum() for part in (FIRST_TEXT, SECOND_TEXT)])
        means = (self._sums[text].cpu() / counts.clamp(min=1)[:, None].cpu()).tolist()
        return [Quadrants(*first, *second) for first, second in means]
