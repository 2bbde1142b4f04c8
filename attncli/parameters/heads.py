"""What one head holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attncli.parameters.inventory import Kind
from attncli.parameters.settings import Settings
from attncli.results.parameters import PerHead

if TYPE_CHECKING:
    from attncli.parameters.classify import Share
    from attncli.parameters.count import Placed
    from attncli.parameters.inventory import Tensor

#: What each head has a part of.
_OWN = ("query", "key", "value", "output")


def per_head(placed: Sequence[Placed], settings: Settings) -> PerHead | None:
    """The matrices of one head of the first layer that attends, in the part with most attention.

    None where the model has no attention, or its heads can't be told.
    """
    stack, layers = _attending(placed)
    shares = layers[0] if layers else []
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
    own = {kind: sums[kind] // shared[kind] for kind in _OWN}
    alike = sum(all(other[kind] == sums[kind] for kind in _OWN) for other in map(_sums, layers))
    return PerHead(**own, heads=heads, layer=whole, stack=stack, layers=alike, shapes=_shapes(shares, own, settings))


def _shapes(shares: Sequence[Share], own: Mapping[str, int], settings: Settings) -> tuple[tuple[int, int], ...] | None:
    """Each matrix of a head as (what it reads, what it gives); the output gives what the others read."""
    found = []
    matrices = _matrices(shares)
    for kind, parameters in own.items():
        tensors = [share.tensor for share in matrices if share.component == f"attention.{kind}"]
        widths = {_width(tensor, settings, gives=kind == "output") for tensor in tensors}
        width = widths.pop()
        if widths or not width or parameters % width:
            return None
        found.append((parameters // width, width) if kind == "output" else (width, parameters // width))
    return tuple(found)


def _width(tensor: Tensor, settings: Settings, *, gives: bool) -> int | None:
    """What a matrix of all heads reads, or what it gives."""
    if tensor.kind in (Kind.LINEAR, Kind.TRANSPOSED, Kind.PACKED_ATTENTION) and len(tensor.shape) == 2:
        return tensor.shape[gives == (tensor.kind is Kind.TRANSPOSED)]
    hidden = settings.look(tensor.module, "hidden")
    return hidden if hidden in tensor.shape else None


def _attending(placed: Sequence[Placed]) -> tuple[str, list[list[Share]]]:
    """The stack with most attention weights, and those of each of its layers that attends."""
    found: dict[tuple[str, int], list[Share]] = defaultdict(list)
    size: dict[str, int] = defaultdict(int)
    for share, where in placed:
        if share.component.startswith("attention.") and where.stack is not None and where.layer is not None:
            found[where.stack, where.layer].append(share)
            size[where.stack] += share.parameters
    if not size:
        return "", []
    stack = max(size, key=lambda name: size[name])
    return stack, [shares for (name, _), shares in found.items() if name == stack]


def _matrices(shares: Sequence[Share]) -> list[Share]:
    """Without biases; what comes with a latent is shared by all heads and isn't one head's."""
    latent = {share.tensor.name for share in shares if share.component == "attention.latent"}
    return [share for share in shares if not share.is_bias and share.tensor.name not in latent]


def _sums(shares: Sequence[Share]) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for share in _matrices(shares):
        sums[share.component.removeprefix("attention.")] += share.parameters
    return sums


def _key_heads(shares: Sequence[Share], heads: int, sums: dict[str, int]) -> int | None:
    """How many heads keys and values have: as many as a key's share of the query's size says."""
    groups, rest = divmod(sums["key"] * heads, sums["query"])
    if rest or not groups:
        # Keys of another width than the queries (latent attention): a matrix for each head.
        groups = heads
    return groups if sums["key"] % groups == 0 and sums["value"] % groups == 0 else None
