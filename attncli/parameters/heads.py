"""What one head holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attncli.parameters.settings import Settings
from attncli.results.parameters import PerHead

if TYPE_CHECKING:
    from attncli.parameters.classify import Share
    from attncli.parameters.count import Placed

#: What each head has a part of.
_OWN = ("query", "key", "value", "output")


def per_head(placed: Sequence[Placed], settings: Settings) -> PerHead | None:
    """The matrices of one head of the first layer that attends, in the part with most attention.

    None where the model has no attention, or its heads can't be told.
    """
    shares = _first_attention(placed)
    query = next((share for share in shares if share.component == "attention.query"), None)
    if query is None:
        return None
    heads = settings.look(query.tensor.module, "heads")
    sums = _sums(shares)
    if not heads or sums["query"] % heads or not all(sums[kind] for kind in _OWN):
        return None
    groups = _key_heads(shares, heads, sums)
    if groups is None or sums["output"] % heads:
        return None
    shared = {"query": heads, "key": groups, "value": groups, "output": heads}
    whole = sum(share.parameters for share in shares if not share.is_bias)
    return PerHead(
        **{kind: sums[kind] // shared[kind] for kind in _OWN}, heads=heads, layer=whole, key_value_heads=groups
    )


def _first_attention(placed: Sequence[Placed]) -> list[Share]:
    """The attention weights of the first attending layer of the stack that has most of them."""
    found: dict[tuple[str, int], list[Share]] = defaultdict(list)
    size: dict[str, int] = defaultdict(int)
    for share, where in placed:
        if share.component.startswith("attention.") and where.stack is not None and where.layer is not None:
            found[where.stack, where.layer].append(share)
            size[where.stack] += share.parameters
    if not size:
        return []
    stack = max(size, key=lambda name: size[name])
    return next(shares for (name, _), shares in found.items() if name == stack)


def _sums(shares: Sequence[Share]) -> dict[str, int]:
    """Matrices alone; what comes with a latent is shared by all heads and isn't one head's."""
    latent = {share.tensor.name for share in shares if share.component == "attention.latent"}
    sums: dict[str, int] = defaultdict(int)
    for share in shares:
        if not share.is_bias and share.tensor.name not in latent:
            sums[share.component.removeprefix("attention.")] += share.parameters
    return sums


def _key_heads(shares: Sequence[Share], heads: int, sums: dict[str, int]) -> int | None:
    """How many heads keys and values have: as many as a key's share of the query's size says."""
    groups, rest = divmod(sums["key"] * heads, sums["query"])
    if rest or not groups:
        # Keys of another width than the queries (latent attention): a matrix for each head.
        groups = heads
    return groups if sums["key"] % groups == 0 and sums["value"] % groups == 0 else None
