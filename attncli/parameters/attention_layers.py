"""Which layers attend, and how wide: read off the shapes of their projections, whatever the architecture is called.

What one head holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.parameters.classify import width_in, width_out
from attncli.parameters.inventory import FIELDS, Kind, Settings, Tensor
from attncli.results.params import PerHead

if TYPE_CHECKING:
    from attncli.parameters.classify import Placed, Share

#: What configurations call the number of tokens that a layer sees back, by the kind of layer that it holds for.
_WINDOWS: Mapping[str, tuple[str, ...]] = {
    "sliding": ("sliding_window", "attention_window_size", "window_size", "sliding_window_size"),
    "chunked": ("attention_chunk_size",),
}
#: A list that names the kind of every layer.
_KINDS = ("layer_types", "attention_layers")
#: Words of such a list for layers that don't see everything, and what their window is called.
_LIMITED = {"sliding_attention": "sliding", "local": "sliding", "local_attention": "sliding",
            "chunked_attention": "chunked"}  # fmt: skip
#: A switch that may turn windows off although their width is there.
_SWITCH = "use_sliding_window"
#: What turns something else than a text into vectors.
_NO_TEXT = ("embedding.audio", "embedding.patch")


class AttentionLayer(NamedTuple):
    """One layer's attention in numbers per token.

    queries: heads · d_qk.  values: heads · d_v, what the output projection takes.  cached: keys and values, or their
    latent.  window: how many tokens a query sees; None for all.  cross: the layer's attention to another sequence.
    positions: how many it attends to, however long the text; None where nothing fixes that.
    """

    part: str
    stack: str
    layer: int
    queries: int
    values: int
    cached: int
    window: int | None = None
    cross: bool = False
    positions: int | None = None

    def seen(self, context: int) -> int:
        """How many positions a query sees of a text of `context` tokens, or of what is read in its place."""
        if self.positions is not None:
            return self.positions
        return context if self.window is None else min(context, self.window)


def encoder_positions(placed: Iterable[Placed]) -> int | None:
    """How many positions an encoder of sound or pictures has, by its table of them: it reads so many, no text.

    None for an encoder that reads texts (too), and where there is no encoder, or no table in it. Tensors must stand
    under each of their names.
    """
    shares = [share for share, where in placed if where.part == "encoder" and not share.is_bias]
    components = {share.component for share in shares}
    if components.isdisjoint(_NO_TEXT) or "embedding.token" in components:
        return None
    tables = (share.tensor.shape for share in shares if share.component == "embedding.position")
    return next((shape[-2] for shape in tables if len(shape) > 1 and shape[-2] > 1), None)


def attention_layers(
    placed: Iterable[Placed], settings: Settings, *, positions: int | None = None
) -> tuple[AttentionLayer, ...]:
    """Every attention of every layer, in the model's order. Tensors must stand under each of their names.

    positions: those of the encoder, where they are fixed (`encoder_positions`).
    """
    groups: dict[tuple[str, str, int, bool], list[Share]] = defaultdict(list)
    for share, where in placed:
        kind, _, _ = share.component.partition(".")
        if kind in ("attention", "cross_attention") and where.stack is not None and where.layer is not None:
            groups[where.part, where.stack, where.layer, kind == "cross_attention"].append(share)
    found = (_attending(key, shares, settings, positions) for key, shares in groups.items())
    return tuple(layer for layer in found if layer.cached or layer.queries)


def _attending(
    key: tuple[str, str, int, bool], shares: Sequence[Share], settings: Settings, positions: int | None
) -> AttentionLayer:
    part, stack, layer, cross = key
    widths = widths_of(shares)
    window = None if cross else window_of(f"{stack}.{layer}", layer, settings)
    fixed = positions if cross or part == "encoder" else None
    cached = _cached(shares, widths)
    return AttentionLayer(part, stack, layer, widths["query"], widths["output"], cached, window, cross, fixed)


def widths_of(shares: Iterable[Share]) -> dict[str, int]:
    """How wide queries, keys and values are, and what the output takes: summed over a layer's projections."""
    widths: dict[str, int] = defaultdict(int)
    for share in shares:
        kind = share.component.rpartition(".")[2]
        if not share.is_bias:
            widths[kind] += _width(share, is_output=kind == "output")
    return widths


def _width(share: Share, *, is_output: bool) -> int:
    """How many numbers a share of a projection gives, or of an output projection takes; 0 for what is no matrix."""
    shape = share.tensor.shape
    while len(shape) > 2 and shape[-1] == 1:  # a convolution over one position
        shape = shape[:-1]
    if len(shape) == 3 and share.tensor.kind is not Kind.CONVOLUTION:
        # Heads apart, (model, heads, d_head), for the output too; or several matrices, of which one is used.
        return share.parameters // (shape[0] if shape[0] > shape[1] else shape[0] * shape[2])
    if len(shape) != 2:
        return 0
    matrix = share.tensor._replace(shape=shape)
    return share.parameters // (width_out(matrix) if is_output else width_in(matrix))


def _cached(shares: Sequence[Share], widths: Mapping[str, int]) -> int:
    """Keys and values; where both come out of a latent, the latent and the rotary part of the keys.

    Without a projection of their own, values are the keys before they are normed, and cached beside them.
    """
    latents = list(_key_latents(shares))
    return sum(map(width_out, latents)) if latents else widths["key"] + (widths["value"] or widths["key"])


def _key_latents(shares: Sequence[Share]) -> Iterator[Tensor]:
    """The projections that give a latent and a part of the key beside it (multi-head latent attention)."""
    components: dict[Tensor, set[str]] = defaultdict(set)
    for share in shares:
        if not share.is_bias:
            components[share.tensor].add(share.component.rpartition(".")[2])
    return (tensor for tensor, kinds in components.items() if kinds == {"latent", "key"})


def window_of(path: str, layer: int, settings: Settings) -> int | None:
    """How many tokens the layer at `path` sees back; None for all of them."""
    for fields in near(settings, path):
        kinds = next((fields[name] for name in _KINDS if isinstance(fields.get(name), list | tuple)), None)
        if kinds is not None:
            limited = _LIMITED.get(str(kinds[layer])) if layer < len(kinds) else None
            return _window(limited, path, settings) if limited else None
    return _window("sliding", path, settings)


def _window(kind: str, path: str, settings: Settings) -> int | None:
    for fields in _own(settings, path):
        if fields.get(_SWITCH) is False:
            return None
        for name in _WINDOWS[kind]:
            value = fields.get(name)
            if type(value) is int and value > 0:
                return value
    return None


def _own(settings: Settings, path: str) -> Iterator[Mapping[str, Any]]:
    """As `near`, up to the configuration of the stack itself: windows of the model around it are for something else."""
    for fields in near(settings, path):
        yield fields
        is_configuration = any(type(value) is not int for value in fields.values())
        if is_configuration and any(name in fields for name in FIELDS["layers"]):
            return


def near(settings: Settings, path: str) -> Iterator[Mapping[str, Any]]:
    """The fields that are known at a path, then at the path that holds it, and so on to the whole model."""
    while True:
        for source in settings.sources.get(path, ()):
            yield source if isinstance(source, Mapping) else vars(source)
        if not path:
            return
        path = path.rpartition(".")[0]


def number(settings: Settings, path: str, names: Sequence[str]) -> int | None:
    """The first whole number of these names, looked for from `path` outwards."""
    for fields in near(settings, path):
        for name in names:
            value = fields.get(name)
            if type(value) is int and value > 0:
                return value
    return None


#: What each head has a part of.
_OWN = ("query", "key", "value", "output")


def per_head(placed: Sequence[Placed], settings: Settings) -> PerHead | None:
    """The matrices of one head of the first layer that attends, in the part with most attention.

    None where the model has no attention, or its heads can't be told.
    """
    stack, layers = _attending_modules(placed)
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
    shapes = _shapes(shares, own, settings)
    return PerHead(**own, heads=heads, key_value_heads=groups, layer=whole, stack=stack, layers=alike, shapes=shapes)


def _shapes(shares: Sequence[Share], own: Mapping[str, int], settings: Settings) -> tuple[tuple[int, int], ...] | None:
    """Each matrix of a head as (what it reads, what it gives); the output gives what the others read."""
    found = []
    matrices = _matrices(shares)
    for kind, parameters in own.items():
        tensors = [share.tensor for share in matrices if share.component == f"attention.{kind}"]
        widths = {_head_width(tensor, settings, gives=kind == "output") for tensor in tensors}
        width = widths.pop()
        if widths or not width or parameters % width:
            return None
        found.append((parameters // width, width) if kind == "output" else (width, parameters // width))
    return tuple(found)


def _head_width(tensor: Tensor, settings: Settings, *, gives: bool) -> int | None:
    """What a matrix of all heads reads, or what it gives."""
    if tensor.kind in (Kind.LINEAR, Kind.TRANSPOSED, Kind.PACKED_ATTENTION) and len(tensor.shape) == 2:
        return tensor.shape[gives == (tensor.kind is Kind.TRANSPOSED)]
    hidden = settings.look(tensor.module, "hidden")
    return hidden if hidden in tensor.shape else None


def _attending_modules(placed: Sequence[Placed]) -> tuple[str, list[list[Share]]]:
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
