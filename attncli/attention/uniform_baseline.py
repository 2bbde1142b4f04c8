"""Attention spread evenly over the visible keys: what each metric of it is, and which queries can show it.

That is the uniform baseline that every value is read against. It depends on the tokens and the mask alone, so one
answer serves all heads of all layers that share a mask; for plain masks it is a matter of running sums, O(N).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.attention.float64 import with_float64
from attncli.attention.metrics import QueryKeySides, Shown, row_metrics, uniform
from attncli.attention.token_matches import EarlierPairs, earlier_copies

if TYPE_CHECKING:
    from attncli.models.capture.lazy_mask import Visibility


@dataclass(frozen=True)
class UniformBaseline:
    """The metrics of even attention for every query: (batch, 1, queries) each, with the queries that can show it.

    causal: no query sees a later key.  pairs: those of equal tokens.
    """

    rows: dict[str, Shown]
    causal: bool
    pairs: EarlierPairs


def uniform_baseline(pair: QueryKeySides, visibility: Visibility) -> UniformBaseline:
    """What even attention would show under a mask."""
    if visibility.shape == "other" or pair.keys.length != visibility.keys:
        return _spelled_out(pair, visibility)
    causal, device = visibility.shape == "causal", pair.keys.ids.device
    near = pair.to(with_float64(device))
    rows = _closed(near, _Counts.of(near, causal=causal))
    there = {name: (value.to(device), shows.to(device)) for name, (value, shows) in rows.items()}
    return UniformBaseline(there, causal, EarlierPairs(pair))


def _spelled_out(pair: QueryKeySides, visibility: Visibility) -> UniformBaseline:
    """Block by block of the mask's rows, for masks of any form."""
    parts: list[dict[str, Shown]] = []
    causal = True
    for start, stop, visible in visibility.blocks(pair.keys.ids.shape[0]):
        real = pair.queries.real[:, None, start:stop, None]
        seen = visible & pair.keys.real[:, None, None, :] & real
        causal &= not bool(seen.triu(start + 1).any())
        parts.append(row_metrics(pair, start, uniform(seen), visible))
    rows = {name: _joined([part[name] for part in parts]) for name in parts[0]}
    return UniformBaseline(rows, causal, EarlierPairs(pair))


def _joined(parts: list[Shown]) -> Shown:
    values, shows = zip(*((value, shown.expand_as(value)) for value, shown in parts), strict=True)
    return torch.cat(values, dim=-1), torch.cat(shows, dim=-1)


@dataclass(frozen=True)
class _Counts:
    """Sums over the keys that a query sees, as running sums or whole ones. All (batch, queries)."""

    pair: QueryKeySides
    causal: bool
    seen: Tensor

    @classmethod
    def of(cls, pair: QueryKeySides, *, causal: bool) -> _Counts:
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


def _closed(pair: QueryKeySides, counts: _Counts) -> dict[str, Shown]:
    seen = counts.seen.clamp(min=1)
    shown = {
        "entropy": (seen.log(), counts.seen > 0),
        "confidence": (1 / seen, counts.seen > 0),
        "virtual_sink": (torch.zeros_like(seen), counts.seen > 0),
        "special": _share(counts.visible_sum(pair.keys.special), seen),
        "first": _one(counts, pair.keys.first[:, None].expand(-1, pair.queries.length), seen),
    }
    if pair.same:
        shown |= _positions(pair, counts, seen)
    real = pair.queries.real
    return {name: (value.float()[:, None], (shows & real)[:, None]) for name, (value, shows) in shown.items()}


def _positions(pair: QueryKeySides, counts: _Counts, seen: Tensor) -> dict[str, Shown]:
    places = torch.arange(pair.keys.length, device=seen.device).expand_as(pair.keys.ids)
    copies, followed = earlier_copies(pair)
    return {
        "distance": (_distance_sum(pair, counts, places) / seen, counts.seen > 0),
        "previous": _one(counts, places - 1, seen),
        "current": _one(counts, places, seen),
        "next": _one(counts, places + 1, seen),
        "duplicate": _share(copies.double(), seen),
        "induction": _share(followed.double(), seen),
    }


def _distance_sum(pair: QueryKeySides, counts: _Counts, places: Tensor) -> Tensor:
    """Σ |i − j| over visible keys j: what lies before, and what lies after where that is seen."""
    real = pair.keys.real.double()
    before, before_places = real.cumsum(1), (real * places).cumsum(1)
    behind = places * before - before_places
    if counts.causal:
        return behind
    after, after_places = real.sum(1, keepdim=True) - before, (real * places).sum(1, keepdim=True) - before_places
    return behind + after_places - places * after


def _share(count: Tensor, seen: Tensor) -> Shown:
    return count / seen, count > 0


def _one(counts: _Counts, columns: Tensor, seen: Tensor) -> Shown:
    return 1 / seen, counts.sees(columns)
