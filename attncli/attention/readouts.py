"""The metrics of `attention.metrics` computed from queries and keys, without the N × N attention matrix A.

What is linear in the attention weights is attention with other values: the fused kernel that gives the model its A V
gives A V' for any V', and A never exists. With V' = …

    the one-hot bin of each key        a heatmap pooled to P × P, once the rows of a bin are averaged
    an indicator of some keys          the mass on them (`WeightOnSpecial`)
    the position j of each key         the mean position attended to, and so the `Distance` of causal heads
    K itself                           Σ_j A_ij s_ij, and so the `Entropy`: H_i = lse_i − Σ_j A_ij s_ij

where s_ij are the scores and lse_i the logarithm of the sum under row i, which the kernel gives as well. Weights at
known keys (`WeightAt`) are exp(s_ij − lse_i). A distance in both directions takes a second
readout, of the keys before each query:

    Σ_j A_ij |i−j| = 2 w_i (i − E_i) + Σ_j A_ij j − i Σ_j A_ij

with w_i the weight on keys up to i and E_i their mean position. Sums over queries i in place of keys (`LargestColumn`)
are attention the other way round: Σ_i A_ij = Σ_i exp(s_ij − lse_i), whose logarithm the kernel gives as the lse of a
row j where the keys are the queries and −lse_i is added to the scores (`FusedAttention.column_sums`). What is not
linear (`LargestWeight`) or compares tokens (`WeightOnCopies`) goes over the scores tile by tile, and stores none.

`compute_value_norms` gives the norms for norm-weighted attention. A head adds Σ_j A_ij f(x_j) to the residual stream,
with f(x) = (x W_V + b_V) W_O. Kobayashi et al. 2020 ("Attention is not only a weight") measure ‖A_ij f(x_j)‖ =
A_ij ‖f(x_j)‖ instead of A_ij: a separator that a head attends to often has a large weight and a tiny vector.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.attention.metrics import ColumnSums, QueryKeySides, sink_entropy, to_float64_device
from attncli.attention.uniform_baseline import UniformBaseline
from attncli.errors import UsageError
from attncli.metrics import (
    METRICS,
    Distance,
    Entropy,
    Formula,
    LargestWeight,
    Unattended,
    WeightAt,
    WeightOnCopies,
    WeightOnSpecial,
)

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention
    from attncli.models.capture.fused_attention import FusedAttention, FusedRows, QueryKeyStates

#: The bin of every query and of every key, int64 (queries,) and (keys,), −1 for those in none.
BinsOfSides = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Readouts:
    """The metrics of one layer.

    rows: a value for every query, float32 (batch, heads, queries), of each requested metric.
    columns: the sums over the queries of the weight on each key; None unless a metric of one key is requested.
    pooled: heatmaps, (batch, heads, row bins, column bins): rows averaged, columns summed; None without bins.
    finite: whether the sum under every row with a visible key is finite.
    """

    rows: dict[str, Tensor]
    columns: ColumnSums | None
    pooled: Tensor | None
    finite: bool


def read_metrics(
    fused: FusedAttention,
    sides: QueryKeySides,
    baseline: UniformBaseline,
    *,
    metrics: Iterable[str] = METRICS,
    bins: BinsOfSides | None = None,
) -> Readouts:
    """Compute the metrics of every head of one layer, in O(N·d) memory per head beyond the forward pass.

    metrics: which to compute; those that are defined for no query are left out.
    """
    wanted = {name: METRICS[name] for name in metrics}
    formulas = {
        name: metric.formula
        for name, metric in wanted.items()
        if name in baseline.rows
        and (fused.attention.has_sink or not metric.of_sink)
        and bool(baseline.rows[name][1].any())
    }
    values, columns = _readout_values(sides, formulas, bins)
    sums = _RowSums(fused.attention, columns, bins)
    for part in fused.weighted_sums(values, scores=Entropy() in formulas.values()):
        sums.add(part)
        del part  # freed before the next is computed
    rows = _rows_in_tiles(fused, baseline, sums.lse, formulas)
    for name, formula in formulas.items():
        match formula:
            case Entropy():
                entropy = sums.lse * sums.share - sums.score
                rows[name] = entropy + sink_entropy(1 - sums.share) if fused.attention.has_sink else entropy
            case Unattended():
                rows[name] = 1 - sums.share
            case WeightOnSpecial():
                rows[name] = sums.values[name]
            case Distance():
                rows[name] = _distance_rows(fused, sums, sums.values[name], baseline)
            case WeightAt():
                rows[name] = _weight_at(fused, sides, baseline, sums.lse, formula)
    key_sums = None
    if any(metric.of_one_key for metric in wanted.values()):
        by_key = fused.column_sums(sums.lse, baseline.sees[:, 0])
        if sides.same_sequence:
            by_key = by_key - _weight_at(fused, sides, baseline, sums.lse, WeightAt((0,)))
        key_sums = ColumnSums(to_float64_device(by_key).double(), baseline.columns.queries)
    return Readouts(rows, key_sums, sums.pooled_means(), bool((torch.isfinite(sums.lse) | ~baseline.sees).all()))


def _readout_values(
    sides: QueryKeySides, formulas: Mapping[str, Formula], bins: BinsOfSides | None
) -> tuple[Tensor, dict[str, int]]:
    """V', (batch, keys, w): an indicator of each bin, then one column per sum; and the column of each metric's sum."""
    batch, keys = sides.keys.ids.shape
    device = sides.keys.ids.device
    values, columns = [torch.zeros(batch, keys, 0, dtype=torch.float32, device=device)], dict[str, int]()
    if bins is not None:
        # The first column is that of keys in no bin (−1), and is dropped.
        indicators = torch.nn.functional.one_hot(bins[1].to(device) + 1)[:, 1:]
        values.append(indicators.float().expand(batch, -1, -1))
    width = sum(column.shape[-1] for column in values)
    for name, formula in formulas.items():
        if isinstance(formula, WeightOnSpecial | Distance):
            columns[name] = width + len(columns)
            special = sides.keys.special & sides.keys.real
            positions = torch.arange(keys, device=device).expand(batch, -1)
            values.append((special if isinstance(formula, WeightOnSpecial) else positions).float()[..., None])
    return torch.cat(values, dim=-1), columns


class _RowSums:
    """The sums of every row that the fused kernel gives. Every tensor but `pooled` is (batch, heads, queries).

    lse: the logarithm of the sum under each row.  share: Σ_j A_ij.  score: Σ_j A_ij s_ij.  values: Σ_j A_ij V'_j, by
    metric.
    """

    def __init__(self, attention: QueryKeyStates, columns: Mapping[str, int], bins: BinsOfSides | None) -> None:
        """columns: of each metric's sum in the values of the kernel."""
        batch, heads, device = len(attention.query), attention.heads, attention.device
        each = torch.zeros(3, batch, heads, attention.queries, dtype=torch.float32, device=device)
        self.lse, self.share, self.score = each.unbind()
        self.values = {name: torch.zeros_like(self.lse) for name in columns}
        self.columns, self.pooled, self.row_bins = columns, None, None
        if bins is not None:
            rows, keys = (int(side.max()) + 1 for side in bins)
            self.pooled = torch.zeros(batch, heads, rows, keys, dtype=torch.float32, device=device)
            self.row_bins = bins[0].to(device)

    def add(self, part: FusedRows) -> None:
        """Add some heads and rows."""
        where = (slice(None), part.heads, slice(part.start, part.stop))
        self.lse[where] = part.lse
        self.share[where] = 1.0 if part.share is None else part.share
        if part.score is not None:
            self.score[where] = part.score
        for name, column in self.columns.items():
            self.values[name][where] = part.values[..., column]
        if self.pooled is not None and self.row_bins is not None:
            masses = part.values[..., : self.pooled.shape[-1]]
            rows = self.row_bins[part.start : part.stop]
            self.pooled[:, part.heads].index_add_(2, rows[rows >= 0], masses[:, :, rows >= 0])

    def pooled_means(self) -> Tensor | None:
        """The heatmaps with the means of their rows."""
        if self.pooled is None or self.row_bins is None:
            return None
        return self.pooled / self.row_bins[self.row_bins >= 0].bincount(minlength=self.pooled.shape[2])[:, None]


def _distance_rows(fused: FusedAttention, sums: _RowSums, position: Tensor, baseline: UniformBaseline) -> Tensor:
    """Σ_j A_ij |i−j|, (batch, heads, queries). position: Σ_j A_ij j."""
    positions = torch.arange(fused.attention.queries, device=sums.lse.device).float()
    if baseline.causal:
        return positions * sums.share - position
    behind = torch.empty_like(sums.lse)
    for part in fused.earlier_weighted_sums(positions[None, :, None]):
        where = (slice(None), part.heads, slice(part.start, part.stop))
        weight = (part.lse - sums.lse[where]).exp()
        behind[where] = weight * (positions[part.start : part.stop] - part.values[..., 0])
    return 2 * behind + position - positions * sums.share


def _weight_at(
    fused: FusedAttention, sides: QueryKeySides, baseline: UniformBaseline, lse: Tensor, formula: WeightAt
) -> Tensor:
    rows = torch.arange(fused.attention.queries, device=lse.device)
    total = torch.zeros_like(lse)
    for place in formula.places:
        keys = sides.keys_at(place, rows).clamp(0, fused.attention.keys - 1)
        total += torch.where(baseline.sees_at[place], (fused.scores_at(keys) - lse).exp(), 0)
    return total


def _rows_in_tiles(
    fused: FusedAttention, baseline: UniformBaseline, lse: Tensor, formulas: Mapping[str, Formula]
) -> dict[str, Tensor]:
    """The metrics that are not linear in the weights, or compare tokens, from the scores tile by tile."""
    tiled = {name: each for name, each in formulas.items() if isinstance(each, LargestWeight | WeightOnCopies)}
    rows = {
        name: torch.full_like(lse, -torch.inf if isinstance(each, LargestWeight) else 0) for name, each in tiled.items()
    }
    matches = {
        name: baseline.matches.in_tiles(each.shift, *fused.tile_size)
        for name, each in tiled.items()
        if isinstance(each, WeightOnCopies)
    }
    for tile in fused.tiles() if tiled else ():
        tile_rows = slice(tile.start, tile.start + tile.scores.shape[2])
        tile_columns = slice(tile.first, tile.first + tile.scores.shape[3])
        for name, sums in rows.items():
            if name not in matches:
                largest = sums[:, :, tile_rows]
                torch.maximum(largest, tile.scores.amax(-1), out=largest)
                continue
            # A tile has few matches, so only their weights are computed.
            texts, row, column = matches[name](tile_rows, tile_columns)
            if len(texts):
                queries = (texts, tile.start + row)
                weights = (tile.scores[texts, :, row, column] - lse.transpose(1, 2)[queries]).exp()
                sums.transpose(1, 2).index_put_(queries, weights, accumulate=True)
    return {name: sums if name in matches else (sums - lse).exp() for name, sums in rows.items()}


@cache
def _trim() -> Callable[[int], object] | None:
    """The function of glibc that gives freed memory back; None for other libraries."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def free_memory() -> None:
    """Give the memory of freed tensors back to the system.

    glibc keeps blocks of up to 32 MiB for the next ones of that size, which a long text's readouts are full of and the
    model has none of: they would stay beside what its next layers take.
    """
    if (trim := _trim()) is not None:
        trim(0)


# --- Norm-weighted attention


def compute_value_norms(path: str, attention: Attention, projections: Mapping[str, Tensor]) -> Tensor:
    """‖f(x_j)‖ of every key for every head: float32 (batch, heads, keys). O(N · d²) per head.

    path: of the attention module.  projections: the output matrix of each module by its path.
    Raises UsageError where the values or the output matrix are unavailable.
    """
    states, matrix = attention.with_values, projections.get(path)
    if states is None or matrix is None:
        raise UsageError(
            "--norm-weighted needs the value vectors, and this model's attention doesn't expose them",
            hint="leave --norm-weighted out, or use another model (-m)",
        )
    value = states.value.float()
    heads, width = attention.heads, value.shape[-1]
    output = matrix.float().to(value.device).reshape(heads, width, -1)
    # ‖v W‖² = v (W Wᵀ) vᵀ: no vector of the model's width has to be stored for each key of each head.
    gram = output @ output.transpose(1, 2)
    value = value.repeat_interleave(heads // value.shape[1], dim=1)
    squares = torch.einsum("bhkd,hde,bhke->bhk", value, gram, value)
    return squares.clamp(min=0).sqrt()
