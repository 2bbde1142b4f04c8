"""The metrics of `attention.metrics` computed from queries and keys, without the N × N attention matrix A.

What is linear in the attention weights is attention with other values: the fused kernel that gives the model its A V
gives A V' for any V', and A never exists. With V' = …

    the one-hot bin of each key        a heatmap pooled to P × P, once the rows of a bin are averaged
    an indicator of some keys          the mass on them (`special`)
    the position j of each key         the mean position attended to, and so the `distance` of causal heads
    K itself                           Σ_j A_ij s_ij, and so the `entropy`: H_i = lse_i − Σ_j A_ij s_ij

where s_ij are the scores and lse_i the logarithm of the sum under row i, which the kernel gives as well. Weights at
known keys (`first`, `previous`, `current`, `next`) are exp(s_ij − lse_i). A distance in both directions takes a second
readout, of the keys before each query:

    Σ_j A_ij |i−j| = 2 w_i (i − E_i) + Σ_j A_ij j − i Σ_j A_ij

with w_i the weight on keys up to i and E_i their mean position. Sums over queries i in place of keys (`token`) are
attention the other way round: Σ_i A_ij = Σ_i exp(s_ij − lse_i), whose logarithm the kernel gives as the lse of a row j
where the keys are the queries and −lse_i is added to the scores (`FusedAttention.column_sums`).

What is not linear (`confidence`) or compares tokens
(`duplicate`, `induction`) goes over the scores tile by tile, and stores none of them.

`compute_value_norms` gives the norms for norm-weighted attention. A head adds Σ_j A_ij f(x_j) to the residual stream,
with f(x) = (x W_V + b_V) W_O. Kobayashi et al. 2020 ("Attention is not only a weight") measure ‖A_ij f(x_j)‖ =
A_ij ‖f(x_j)‖ instead of A_ij: a separator that a head attends to often has a large weight and a tiny vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.attention.metrics import ColumnSums, QueryKeySides, sink_entropy, to_float64_device
from attncli.attention.token_matches import TileMatches
from attncli.attention.uniform_baseline import UniformBaseline
from attncli.choices import METRICS
from attncli.errors import UsageError

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention
    from attncli.models.capture.fused_attention import FusedAttention, FusedRows, QueryKeyStates, ScoreTile

#: Metrics that are computed from the scores tile by tile.
_TILED_METRICS = frozenset({"confidence", "duplicate", "induction"})


@dataclass(frozen=True)
class Readouts:
    """The metrics of one layer.

    rows: a value for every query, float32 (batch, heads, queries), of each requested metric.
    columns: the sums over the queries of the weight on each key; None unless `token` is requested.
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
    metrics: Sequence[str] = METRICS,
    bins: tuple[Tensor, Tensor] | None = None,
) -> Readouts:
    """Compute the metrics of every head of one layer, in O(N·d) memory per head beyond the forward pass.

    metrics: which to compute; those that are defined for no query are left out.
    bins: the bin of every query and of every key, int64 (queries,) and (keys,), −1 for those in none.
    """
    names = {name for name in metrics if name in baseline.rows and bool(baseline.rows[name][1].any())}
    values, columns = _readout_values(sides, names, bins)
    sums = _RowSums.zeros(fused.attention, sides, bins)
    for part in fused.weighted_sums(values, scores="entropy" in names):
        sums.add(part, columns)
        del part  # freed before the next is computed
    rows = sums.rows(names)
    if "distance" in names:
        rows["distance"] = _distance_rows(fused, sums, baseline)
    rows |= _weights_at_known_keys(fused, sides, sums.lse, names)
    if names & _TILED_METRICS:
        rows |= _tiled_rows(fused, baseline, sums.lse, names)
    key_sums = _column_sums(fused, sides, baseline, sums.lse) if "token" in metrics else None
    shows = baseline.rows["entropy"][1]
    return Readouts(rows, key_sums, sums.pooled, bool((torch.isfinite(sums.lse) | ~shows).all()))


def _column_sums(fused: FusedAttention, sides: QueryKeySides, baseline: UniformBaseline, lse: Tensor) -> ColumnSums:
    """Σ_i A_ij over the queries i ≠ j."""
    sums = fused.column_sums(lse, sides.queries.real & baseline.rows["entropy"][1][:, 0])
    if sides.same_sequence:
        positions = torch.arange(fused.attention.queries, device=lse.device).expand(lse.shape[0], -1)
        seen, real = baseline.rows["current"][1], sides.queries.real[:, None]
        sums = sums - torch.where(seen & real, (fused.scores_at(positions) - lse).exp(), 0)
    return ColumnSums(to_float64_device(sums).double(), baseline.columns.queries)


def _readout_values(
    sides: QueryKeySides, names: set[str], bins: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, dict[str, int]]:
    """V', (batch, keys, w): an indicator of each bin, then one column per sum; and the column of each sum."""
    batch, keys = sides.keys.ids.shape
    device = sides.keys.ids.device
    columns, sum_columns = [], {}
    if bins is not None:
        # The first column is that of keys in no bin (−1), and is dropped.
        indicators = torch.nn.functional.one_hot(bins[1].to(device) + 1)[:, 1:]
        columns.append(indicators.float().expand(batch, -1, -1))
    width = sum(column.shape[-1] for column in columns)
    if "special" in names:
        sum_columns["special"] = width
        columns.append((sides.keys.special & sides.keys.real).float()[..., None])
    if "distance" in names:
        sum_columns["position"] = width + len(sum_columns)
        columns.append(torch.arange(keys, device=device).float().expand(batch, -1)[..., None])
    empty = torch.zeros(batch, keys, 0, dtype=torch.float32, device=device)
    return torch.cat(columns, dim=-1) if columns else empty, sum_columns


@dataclass
class _RowSums:
    """The sums of every row that the fused kernel gives. Every tensor but `pooled` is (batch, heads, queries).

    lse: the logarithm of the sum under each row.  share: Σ_j A_ij.  score: Σ_j A_ij s_ij.  special: the mass on special
    tokens.  position: Σ_j A_ij j.
    """

    lse: Tensor
    share: Tensor
    score: Tensor
    special: Tensor
    position: Tensor
    pooled: Tensor | None
    row_bins: Tensor | None
    has_sink: bool

    @classmethod
    def zeros(cls, attention: QueryKeyStates, sides: QueryKeySides, bins: tuple[Tensor, Tensor] | None) -> _RowSums:
        batch, device = attention.query.shape[0], attention.query.device
        lse, share, score, special, position = torch.zeros(
            5, batch, attention.heads, attention.queries, dtype=torch.float32, device=device
        ).unbind()
        rows = None if bins is None else bins[0].to(device)
        shape = None if bins is None else (int(bins[0].max()) + 1, int(bins[1].max()) + 1)
        pooled = (
            None if shape is None else torch.zeros(batch, attention.heads, *shape, dtype=torch.float32, device=device)
        )
        return cls(lse, share, score, special, position, pooled, rows, attention.has_sink)

    def add(self, part: FusedRows, columns: dict[str, int]) -> None:
        """Add some heads and rows. columns: of `special` and `position` in their values."""
        where = (slice(None), part.heads, slice(part.start, part.stop))
        self.lse[where] = part.lse
        self.share[where] = 1.0 if part.share is None else part.share
        if part.score is not None:
            self.score[where] = part.score
        for name, column in columns.items():
            getattr(self, name)[where] = part.values[..., column]
        if self.pooled is not None and self.row_bins is not None:
            masses = part.values[..., : self.pooled.shape[-1]]
            rows = self.row_bins[part.start : part.stop]
            self.pooled[:, part.heads].index_add_(2, rows[rows >= 0], masses[:, :, rows >= 0])

    def rows(self, names: set[str]) -> dict[str, Tensor]:
        """The metrics that follow from the sums alone; turns heatmaps into means of their rows."""
        if self.pooled is not None and self.row_bins is not None:
            self.pooled /= self.row_bins[self.row_bins >= 0].bincount(minlength=self.pooled.shape[2])[:, None]
        found = {"special": self.special, "entropy": self.lse * self.share - self.score}
        if self.has_sink:
            found["virtual_sink"] = 1 - self.share
            found["entropy"] = found["entropy"] + sink_entropy(found["virtual_sink"])
        return {name: values for name, values in found.items() if name in names}


def _distance_rows(fused: FusedAttention, sums: _RowSums, baseline: UniformBaseline) -> Tensor:
    """Σ_j A_ij |i−j|, (batch, heads, queries)."""
    positions = torch.arange(fused.attention.queries, device=sums.lse.device).float()
    if baseline.causal:
        return positions * sums.share - sums.position
    behind = torch.empty_like(sums.lse)
    for part in fused.earlier_weighted_sums(positions[None, :, None]):
        where = (slice(None), part.heads, slice(part.start, part.stop))
        weight = (part.lse - sums.lse[where]).exp()
        behind[where] = weight * (positions[part.start : part.stop] - part.values[..., 0])
    return 2 * behind + sums.position - positions * sums.share


def _weights_at_known_keys(
    fused: FusedAttention, sides: QueryKeySides, lse: Tensor, names: set[str]
) -> dict[str, Tensor]:
    attention = fused.attention
    positions = torch.arange(attention.queries, device=lse.device).expand(lse.shape[0], -1)
    known = {
        "first": sides.keys.first[:, None].expand(-1, attention.queries),
        "previous": positions - 1,
        "current": positions,
        "next": positions + 1,
    }
    return {
        name: (fused.scores_at(keys.clamp(0, attention.keys - 1)) - lse).exp()
        for name, keys in known.items()
        if name in names
    }


def _tiled_rows(fused: FusedAttention, baseline: UniformBaseline, lse: Tensor, names: set[str]) -> dict[str, Tensor]:
    """The metrics that are not linear in the weights, or compare tokens."""
    rows = {name: torch.zeros_like(lse) for name in sorted(names & _TILED_METRICS)}
    if "confidence" in rows:
        rows["confidence"] = torch.full_like(lse, -torch.inf)
    matches = {name: baseline.matches.in_tiles(name, *fused.tile_size) for name in rows if name != "confidence"}
    for tile in fused.tiles():
        tile_rows = slice(tile.start, tile.start + tile.scores.shape[2])
        if "confidence" in rows:
            largest = rows["confidence"][:, :, tile_rows]
            torch.maximum(largest, tile.scores.amax(-1), out=largest)
        for name, in_tile in matches.items():
            _add_matches(rows[name], lse, tile, in_tile)
    if "confidence" in rows:
        rows["confidence"] = (rows["confidence"] - lse).exp()
    return rows


def _add_matches(sums: Tensor, lse: Tensor, tile: ScoreTile, in_tile: TileMatches) -> None:
    """Add the weights of a tile's matches to their rows. A tile has few of them, so only theirs are computed."""
    rows = slice(tile.start, tile.start + tile.scores.shape[2])
    columns = slice(tile.first, tile.first + tile.scores.shape[3])
    texts, row, column = in_tile(rows, columns)
    if len(texts):
        queries = (texts, tile.start + row)
        weights = (tile.scores[texts, :, row, column] - lse.transpose(1, 2)[queries]).exp()
        sums.transpose(1, 2).index_put_(queries, weights, accumulate=True)


# --- Norm-weighted attention


def compute_value_norms(path: str, attention: Attention, projections: Mapping[str, Tensor]) -> Tensor:
    """‖f(x_j)‖ of every key for every head: float32 (batch, heads, keys). O(N · d²) per head.

    path: of the attention module.  projections: the output matrix of each module by its path.
    Raises UsageError where the values or the output matrix are unavailable.
    """
    states, matrix = attention.with_values, projections.get(path)
    if states is None or matrix is None:
        raise UsageError(
            "--norm-weighted needs the values that heads read, and this model's attention doesn't show them",
            hint="leave --norm-weighted out, or name another model (-m)",
        )
    value = states.value.float()
    heads, width = attention.heads, value.shape[-1]
    output = matrix.float().to(value.device).reshape(heads, width, -1)
    # ‖v W‖² = v (W Wᵀ) vᵀ: no vector of the model's width has to be stored for each key of each head.
    gram = output @ output.transpose(1, 2)
    value = value.repeat_interleave(heads // value.shape[1], dim=1)
    squares = torch.einsum("bhkd,hde,bhke->bhk", value, gram, value)
    return squares.clamp(min=0).sqrt()
