"""Norm-weighted attention: what a key is worth to a query counts the size of what is read there, not the weight alone.

A head adds Σ_j A_ij f(x_j) to the residual stream, with f(x) = (x W_V + b_V) W_O. Kobayashi et al. 2020 ("Attention is
not only a weight") look at ‖A_ij f(x_j)‖ = A_ij ‖f(x_j)‖ instead of A_ij: the separator that a head rests on often has
a large weight and a tiny vector.

Readouts: statistics of attention without the matrix.

What is linear in the attention weights is attention with other values: A V' comes out of the same fused kernel that
gives the model its A V, for any V', and the N × N matrix A never exists. With V' = …

    the one-hot bin of each key        a heatmap pooled to P × P, once the rows of a bin are averaged
    an indicator of some keys          the mass on them (special tokens)
    the position j of each key         the mean position looked at, and so the distance of causal heads
    K itself                           Σ_j A_ij s_ij, and so the entropy: H_i = lse_i − Σ_j A_ij s_ij

Weights at known keys (the first, the previous, the next) are exp(s_ij − lse_i), with the lse that the kernel gives.
A distance in both directions takes the same reading once more of what lies before each query:

    Σ_j A_ij |i−j| = 2 w_i (i − E_i) + Σ_j A_ij j − i Σ_j A_ij

with w_i the weight on keys up to i and E_i their mean position. What is not linear (the largest weight) or asks of
pairs of tokens (duplicate, induction) goes tile by tile over the scores, and keeps nothing of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.attention.metrics import QueryKeySides
from attncli.attention.token_matches import InTile
from attncli.attention.uniform_baseline import UniformBaseline
from attncli.choices import METRICS
from attncli.errors import UsageError

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention
    from attncli.models.capture.fused_attention import FusedAttention, FusedRows, QueryKeyStates, ScoreTile


def value_norms(path: str, attention: Attention, projections: Mapping[str, Tensor]) -> Tensor:
    """‖f(x_j)‖ of every key for every head: float32 (batch, heads, keys). O(N · d²) a head.

    Raises UsageError where the values or the output matrix of the module are not to be had.
    """
    reader, matrix = attention.with_values, projections.get(path)
    if reader is None or matrix is None:
        raise UsageError(
            "--norm-weighted needs the values that heads read, and this model's attention doesn't show them",
            hint="leave --norm-weighted out, or name another model (-m)",
        )
    value = reader.value.float()
    heads, width = attention.heads, value.shape[-1]
    output = matrix.float().to(value.device).reshape(heads, width, -1)
    # ‖v W‖² = v (W Wᵀ) vᵀ: no vector of the model's width is kept for each key of each head.
    gram = output @ output.transpose(1, 2)
    value = value.repeat_interleave(heads // value.shape[1], dim=1)
    squares = torch.einsum("bhkd,hde,bhke->bhk", value, gram, value)
    return squares.clamp(min=0).sqrt()


#: Metrics whose rows come from readings at values of ours, from weights at known keys, and from scores tile by tile.
_TILED = frozenset({"confidence", "duplicate", "induction"})


@dataclass(frozen=True)
class Readouts:
    """What was read of one layer.

    rows: a value for every query, float32 (batch, heads, queries), of each metric asked for.
    pooled: heatmaps, (batch, heads, row bins, column bins): rows averaged, columns summed; None where no bins were
    asked for.
    finite: whether every query that sees something has a number for its sum.
    """

    rows: dict[str, Tensor]
    pooled: Tensor | None
    finite: bool


def read(
    reader: FusedAttention,
    pair: QueryKeySides,
    even: UniformBaseline,
    *,
    metrics: Sequence[str] = METRICS,
    bins: tuple[Tensor, Tensor] | None = None,
) -> Readouts:
    """Read the metrics of every head of one layer, O(N·d) memory a head beyond the forward pass.

    metrics: those that are wanted; what no query can show is left out.  bins: the bin of every query and of every key,
    int64 (queries,) and (keys,), −1 for those in none.
    """
    wanted = {name for name in metrics if name in even.rows and bool(even.rows[name][1].any())}
    values, places = _values(pair, wanted, bins)
    whole = _Whole.empty(reader.attention, pair, bins)
    for reading in reader.weighted_sums(values, scores="entropy" in wanted):
        whole.take(reading, places)
        del reading  # before the next is computed
    rows = whole.rows(wanted)
    if "distance" in wanted:
        rows["distance"] = _distance(reader, whole, even)
    rows |= _at_known_keys(reader, pair, whole.lse, wanted)
    if wanted & _TILED:
        rows |= _tiled(reader, even, whole.lse, wanted)
    shows = even.rows["entropy"][1]
    return Readouts(rows, whole.pooled, bool((torch.isfinite(whole.lse) | ~shows).all()))


def _values(pair: QueryKeySides, wanted: set[str], bins: tuple[Tensor, Tensor] | None) -> tuple[Tensor, dict[str, int]]:
    """V', (batch, keys, w): an indicator of each bin, then one column for each sum that is wanted; and their places."""
    batch, keys = pair.keys.ids.shape
    device = pair.keys.ids.device
    columns, places = [], {}
    if bins is not None:
        # A column for what is in none (−1) goes first, and is dropped.
        indicators = torch.nn.functional.one_hot(bins[1].to(device) + 1)[:, 1:]
        columns.append(indicators.float().expand(batch, -1, -1))
    width = sum(column.shape[-1] for column in columns)
    if "special" in wanted:
        places["special"] = width
        columns.append((pair.keys.special & pair.keys.real).float()[..., None])
    if "distance" in wanted:
        places["position"] = width + len(places)
        columns.append(torch.arange(keys, device=device).float().expand(batch, -1)[..., None])
    return torch.cat(columns, dim=-1) if columns else torch.zeros(batch, keys, 0, device=device), places


@dataclass
class _Whole:
    """What the readings of all heads and rows add up to. Every tensor but `pooled` is (batch, heads, queries)."""

    lse: Tensor
    share: Tensor
    score: Tensor
    special: Tensor
    position: Tensor
    pooled: Tensor | None
    row_bins: Tensor | None
    has_sink: bool

    @classmethod
    def empty(cls, attention: QueryKeyStates, pair: QueryKeySides, bins: tuple[Tensor, Tensor] | None) -> _Whole:
        batch, device = attention.query.shape[0], attention.query.device
        lse, share, score, special, position = torch.zeros(
            5, batch, attention.heads, attention.queries, device=device
        ).unbind()
        rows = None if bins is None else bins[0].to(device)
        shape = None if bins is None else (int(bins[0].max()) + 1, int(bins[1].max()) + 1)
        pooled = None if shape is None else torch.zeros(batch, attention.heads, *shape, device=device)
        return cls(lse, share, score, special, position, pooled, rows, attention.has_sink)

    def take(self, reading: FusedRows, places: dict[str, int]) -> None:
        part = (slice(None), reading.heads, slice(reading.start, reading.stop))
        self.lse[part] = reading.lse
        self.share[part] = 1.0 if reading.share is None else reading.share
        if reading.score is not None:
            self.score[part] = reading.score
        for name, place in places.items():
            getattr(self, name)[part] = reading.values[..., place]
        if self.pooled is not None and self.row_bins is not None:
            masses = reading.values[..., : self.pooled.shape[-1]]
            rows = self.row_bins[reading.start : reading.stop]
            self.pooled[:, reading.heads].index_add_(2, rows[rows >= 0], masses[:, :, rows >= 0])

    def rows(self, wanted: set[str]) -> dict[str, Tensor]:
        """What is read off directly; heatmaps become means of their rows."""
        if self.pooled is not None and self.row_bins is not None:
            self.pooled /= self.row_bins[self.row_bins >= 0].bincount(minlength=self.pooled.shape[2])[:, None]
        found = {"special": self.special, "entropy": self.lse * self.share - self.score}
        if self.has_sink:
            found["virtual_sink"] = 1 - self.share
        return {name: values for name, values in found.items() if name in wanted}


def _distance(reader: FusedAttention, whole: _Whole, even: UniformBaseline) -> Tensor:
    """Σ_j A_ij |i−j|, (batch, heads, queries)."""
    places = torch.arange(reader.attention.queries, device=whole.lse.device).float()
    if even.causal:
        return places * whole.share - whole.position
    behind = torch.empty_like(whole.lse)
    for reading in reader.earlier_weighted_sums(places[None, :, None]):
        part = (slice(None), reading.heads, slice(reading.start, reading.stop))
        weight = (reading.lse - whole.lse[part]).exp()
        behind[part] = weight * (places[reading.start : reading.stop] - reading.values[..., 0])
    return 2 * behind + whole.position - places * whole.share


def _at_known_keys(reader: FusedAttention, pair: QueryKeySides, lse: Tensor, wanted: set[str]) -> dict[str, Tensor]:
    attention = reader.attention
    places = torch.arange(attention.queries, device=lse.device).expand(lse.shape[0], -1)
    known = {
        "first": pair.keys.first[:, None].expand(-1, attention.queries),
        "previous": places - 1,
        "current": places,
        "next": places + 1,
    }
    return {
        name: (reader.scores_at(keys.clamp(0, attention.keys - 1)) - lse).exp()
        for name, keys in known.items()
        if name in wanted
    }


def _tiled(reader: FusedAttention, even: UniformBaseline, lse: Tensor, wanted: set[str]) -> dict[str, Tensor]:
    """The metrics that are not linear, or ask of pairs of tokens."""
    rows = {name: torch.zeros_like(lse) for name in sorted(wanted & _TILED)}
    if "confidence" in rows:
        rows["confidence"] = torch.full_like(lse, -torch.inf)
    pairs = {name: even.pairs.in_tiles(name, *reader.tile_size) for name in rows if name != "confidence"}
    for tile in reader.tiles():
        part = slice(tile.start, tile.start + tile.scores.shape[2])
        if "confidence" in rows:
            best = rows["confidence"][:, :, part]
            torch.maximum(best, tile.scores.amax(-1), out=best)
        for name, in_tile in pairs.items():
            _add_pairs(rows[name], lse, tile, in_tile)
    if "confidence" in rows:
        rows["confidence"] = (rows["confidence"] - lse).exp()
    return rows


def _add_pairs(sums: Tensor, lse: Tensor, tile: ScoreTile, in_tile: InTile) -> None:
    """Add the weights of a tile's pairs to their rows; a tile has few of them, so each is computed by itself."""
    rows = slice(tile.start, tile.start + tile.scores.shape[2])
    columns = slice(tile.first, tile.first + tile.scores.shape[3])
    texts, row, column = in_tile(rows, columns)
    if len(texts):
        places = (texts, tile.start + row)
        weights = (tile.scores[texts, :, row, column] - lse.transpose(1, 2)[places]).exp()
        sums.transpose(1, 2).index_put_(places, weights, accumulate=True)
