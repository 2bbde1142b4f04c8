"""Attention spread evenly over the visible keys: what each metric of it is, and which queries can show it.

That is the uniform baseline that every value is read against. It depends on the tokens and the mask alone, so one
answer serves all heads of all layers that share a mask; for plain masks it is a matter of running sums, O(N).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.attention.float64 import float64_device
from attncli.attention.metrics import QueryKeySides, RowValues, compute_row_metrics, uniform_weights
from attncli.attention.token_matches import TokenMatches, count_earlier_matches

if TYPE_CHECKING:
    from attncli.models.capture.lazy_mask import Visibility


@dataclass(frozen=True)
class UniformBaseline:
    """The metrics of even attention for every query: (batch, 1, queries) each, with the queries that can show it.

    causal: no query sees a later key.  pairs: those of equal tokens.
    """

    rows: dict[str, RowValues]
    causal: bool
    pairs: TokenMatches


def compute_uniform_baseline(pair: QueryKeySides, visibility: Visibility) -> UniformBaseline:
    """What even attention would show under a mask."""
    if visibility.shape == "other" or pair.keys.length != visibility.keys:
        return _baseline_by_blocks(pair, visibility)
    causal, device = visibility.shape == "causal", pair.keys.ids.device
    near = pair.to(float64_device(device))
    rows = _closed_form_metrics(near, _VisibleKeys.of(near, causal=causal))
    there = {name: (value.to(device), shows.to(device)) for name, (value, shows) in rows.items()}
    return UniformBaseline(there, causal, TokenMatches(pair))


def _baseline_by_blocks(pair: QueryKeySides, visibility: Visibility) -> UniformBaseline:
    """Block by block of the mask's rows, for masks of any form."""
    parts: list[dict[str, RowValues]] = []
    causal = True
    for start, stop, visible in visibility.blocks(pair.keys.ids.shape[0]):
        real = pair.queries.real[:, None, start:stop, None]
        seen = visible & pair.keys.real[:, None, None, :] & real
        causal &= not bool(seen.triu(start + 1).any())
        parts.append(compute_row_metrics(pair, start, uniform_weights(seen), visible))
    rows = {name: _concatenate([part[name] for part in parts]) for name in parts[0]}
    return UniformBaseline(rows, causal, TokenMatches(pair))


def _concatenate(parts: list[RowValues]) -> RowValues:
    values, shows = zip(*((value, shown.expand_as(value)) for value, shown in parts), strict=True)
    return torch.cat(values, dim=-1), torch.cat(shows, dim=-1)


@dataclass(frozen=True)
class _VisibleKeys:
    """Sums over the keys that a query sees, as running sums or whole ones. All (batch, queries)."""

    pair: QueryKeySides
    causal: bool
    seen: Tensor

    @classmethod
    def of(cls, pair: QueryKeySides, *, causal: bool) -> _VisibleKeys:
        counts = cls(pair, causal, pair.keys.real)
        return cls(pair, causal, counts.visible_sum(pair.keys.real))

    def visible_sum(self, values: Tensor) -> Tensor:
        """Σ over visible keys of a value a key (batch, keys)."""
        real = values.double() * self.pair.keys.real
        if self.causal:
            return real.cumsum(1)
        return real.sum(1, keepdim=True).expand(-1, self.pair.queries.length)

    def sees(self, columns: Tensor) -> Tensor:
        """Whether each query sees the key at a column of its own, (batch, queries)."""
        inside = (columns >= 0) & (columns < self.pair.keys.length)
        real = self.pair.keys.real.gather(1, columns.clamp(0, self.pair.keys.length - 1))
        rows = torch.arange(self.pair.queries.length, device=columns.device)
        return inside & real & ((columns <= rows) if self.causal else True)


def _closed_form_metrics(pair: QueryKeySides, counts: _VisibleKeys) -> dict[str, RowValues]:
    seen = counts.seen.clamp(min=1)
    shown = {
        "entropy": (seen.log(), counts.seen > 0),
        "confidence": (1 / seen, counts.seen > 0),
        "virtual_sink": (torch.zeros_like(seen), counts.seen > 0),
        "special": _weight_of_count(counts.visible_sum(pair.keys.special), seen),
        "first": _weight_of_key(counts, pair.keys.first[:, None].expand(-1, pair.queries.length), seen),
    }
    if pair.same:
        shown |= _positional_metrics(pair, counts, seen)
    real = pair.queries.real
    return {name: (value.float()[:, None], (shows & real)[:, None]) for name, (value, shows) in shown.items()}


def _positional_metrics(pair: QueryKeySides, counts: _VisibleKeys, seen: Tensor) -> dict[str, RowValues]:
    places = torch.arange(pair.keys.length, device=seen.device).expand_as(pair.keys.ids)
    copies, followed = count_earlier_matches(pair)
    return {
        "distance": (_distance_sum(pair, counts, places) / seen, counts.seen > 0),
        "previous": _weight_of_key(counts, places - 1, seen),
        "current": _weight_of_key(counts, places, seen),
        "next": _weight_of_key(counts, places + 1, seen),
        "duplicate": _weight_of_count(copies.double(), seen),
        "induction": _weight_of_count(followed.double(), seen),
    }


def _distance_sum(pair: QueryKeySides, counts: _VisibleKeys, places: Tensor) -> Tensor:
    """Σ |i − j| over visible keys j: what lies before, and what lies after where that is seen."""
    real = pair.keys.real.double()
    before, before_places = real.cumsum(1), (real * places).cumsum(1)
    behind = places * before - before_places
    if counts.causal:
        return behind
    after, after_places = real.sum(1, keepdim=True) - before, (real * places).sum(1, keepdim=True) - before_places
    return behind + after_places - places * after


def _weight_of_count(count: Tensor, seen: Tensor) -> RowValues:
    return count / seen, count > 0


def _weight_of_key(counts: _VisibleKeys, columns: Tensor, seen: Tensor) -> RowValues:
    return 1 / seen, counts.sees(columns)
