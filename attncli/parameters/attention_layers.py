"""The attention layers of a model and the sizes of their heads, read off the shapes of their projections.

No model family is named here: what a tensor is says `classify`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.parameters.classify import width_in, width_out
from attncli.parameters.inventory import FIELDS, Kind, Settings, Tensor
from attncli.results.params import PerHead

if TYPE_CHECKING:
    from attncli.parameters.classify import LocatedShare, TensorShare

#: Names of the field with the size of the attention window in tokens, by the kind of window.
_WINDOWS: Mapping[str, tuple[str, ...]] = {
    "sliding": ("sliding_window", "attention_window_size", "window_size", "sliding_window_size"),
    "chunked": ("attention_chunk_size",),
}
#: Names of the field that lists the kind of every layer.
_LAYER_TYPES = ("layer_types", "attention_layers")
#: The kinds of layers with a window in such a list, and the kind of window.
_WINDOWED_LAYERS = {
    "sliding_attention": "sliding",
    "local": "sliding",
    "local_attention": "sliding",
    "chunked_attention": "chunked",
}
#: A field that may switch windows off although the size of one is given.
_WINDOW_SWITCH = "use_sliding_window"
#: Components that embed something other than text.
_NON_TEXT_INPUTS = ("embedding.audio", "embedding.patch")


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

    def visible_positions(self, context: int) -> int:
        """How many positions a query attends to where the text has `context` tokens."""
        if self.positions is not None:
            return self.positions
        return context if self.window is None else min(context, self.window)


def encoder_positions(located: Iterable[LocatedShare]) -> int | None:
    """The number of positions of an encoder of sound or pictures: the length of its position table.

    None for an encoder that also reads text, and where there is no encoder or no table. Tied tensors must be listed
    under each of their names.
    """
    shares = [share for share, location in located if location.part == "encoder" and not share.is_bias]
    components = {share.component for share in shares}
    if components.isdisjoint(_NON_TEXT_INPUTS) or "embedding.token" in components:
        return None
    tables = (share.tensor.shape for share in shares if share.component == "embedding.position")
    return next((shape[-2] for shape in tables if len(shape) > 1 and shape[-2] > 1), None)


def attention_layers(
    located: Iterable[LocatedShare], settings: Settings, *, positions: int | None = None
) -> tuple[AttentionLayer, ...]:
    """Every attention of every layer, in the model's order. Tied tensors must be listed under each of their names.

    positions: those of the encoder, where their number is fixed (`encoder_positions`).
    """
    groups: dict[tuple[str, str, int, bool], list[TensorShare]] = defaultdict(list)
    for share, location in located:
        kind, _, _ = share.component.partition(".")
        if kind in ("attention", "cross_attention") and location.stack is not None and location.layer is not None:
            groups[location.part, location.stack, location.layer, kind == "cross_attention"].append(share)
    found = (_attention_layer(key, shares, settings, positions) for key, shares in groups.items())
    return tuple(layer for layer in found if layer.cached or layer.queries)


def _attention_layer(
    key: tuple[str, str, int, bool], shares: Sequence[TensorShare], settings: Settings, positions: int | None
) -> AttentionLayer:
    part, stack, layer, cross = key
    widths = projection_widths(shares)
    window = None if cross else layer_window(f"{stack}.{layer}", layer, settings)
    fixed = positions if cross or part == "encoder" else None
    cached = _cached_numbers(shares, widths)
    return AttentionLayer(part, stack, layer, widths["query"], widths["output"], cached, window, cross, fixed)


def projection_widths(shares: Iterable[TensorShare]) -> dict[str, int]:
    """The widths of queries, keys and values, and of the output projection's input, summed over one layer."""
    widths: dict[str, int] = defaultdict(int)
    for share in shares:
        kind = share.component.rpartition(".")[2]
        if not share.is_bias:
            widths[kind] += _projection_width(share, is_output=kind == "output")
    return widths


def _projection_width(share: TensorShare, *, is_output: bool) -> int:
    """The output width of a projection, or the input width of an output projection; 0 for what is no matrix."""
    shape = share.tensor.shape
    while len(shape) > 2 and shape[-1] == 1:  # a convolution over one position
        shape = shape[:-1]
    if len(shape) == 3 and share.tensor.kind is not Kind.CONVOLUTION:
        # (d_model, heads, d_head), for the output too; or several matrices, of which one is used.
        return share.parameters // (shape[0] if shape[0] > shape[1] else shape[0] * shape[2])
    if len(shape) != 2:
        return 0
    matrix = share.tensor._replace(shape=shape)
    return share.parameters // (width_out(matrix) if is_output else width_in(matrix))


def _cached_numbers(shares: Sequence[TensorShare], widths: Mapping[str, int]) -> int:
    """Numbers cached per token: keys and values, or with latent attention the latent and the keys' rotary part.

    Where values have no projection, they are the keys before the norm, and both are cached.
    """
    latents = list(_key_latents(shares))
    return sum(map(width_out, latents)) if latents else widths["key"] + (widths["value"] or widths["key"])


def _key_latents(shares: Sequence[TensorShare]) -> Iterator[Tensor]:
    """The projections to a latent and the shared rotary part of the key (multi-head latent attention)."""
    components: dict[Tensor, set[str]] = defaultdict(set)
    for share in shares:
        if not share.is_bias:
            components[share.tensor].add(share.component.rpartition(".")[2])
    return (tensor for tensor, kinds in components.items() if kinds == {"latent", "key"})


def layer_window(path: str, layer: int, settings: Settings) -> int | None:
    """The attention window of the layer at `path` in tokens; None where it has none."""
    for fields in settings.enclosing_fields(path):
        kinds = next((fields[name] for name in _LAYER_TYPES if isinstance(fields.get(name), list | tuple)), None)
        if kinds is not None:
            limited = _WINDOWED_LAYERS.get(str(kinds[layer])) if layer < len(kinds) else None
            return _window_size(limited, path, settings) if limited else None
    return _window_size("sliding", path, settings)


def _window_size(kind: str, path: str, settings: Settings) -> int | None:
    for fields in _stack_fields(settings, path):
        if fields.get(_WINDOW_SWITCH) is False:
            return None
        for name in _WINDOWS[kind]:
            value = fields.get(name)
            if type(value) is int and value > 0:
                return value
    return None


def _stack_fields(settings: Settings, path: str) -> Iterator[Mapping[str, Any]]:
    """As `Settings.enclosing_fields`, up to the configuration of the stack: an outer window is for other stacks."""
    for fields in settings.enclosing_fields(path):
        yield fields
        is_configuration = any(type(value) is not int for value in fields.values())
        if is_configuration and any(name in fields for name in FIELDS["layers"]):
            return


# --- What one head holds

#: The matrices of which each head has a part.
_HEAD_MATRICES = ("query", "key", "value", "output")


def per_head(located: Sequence[LocatedShare], settings: Settings) -> PerHead | None:
    """The sizes of one head's matrices, in the first attention layer of the stack with the most attention weights.

    None where the model has no attention, or its heads are unknown.
    """
    stack, layers = _largest_stack(located)
    shares = layers[0] if layers else []
    query = next((share for share in shares if share.component == "attention.query"), None)
    if query is None:
        return None
    heads = settings.look_up(query.tensor.module, "heads")
    sums = _component_sizes(shares)
    if not heads or sums["query"] % heads or not all(sums[kind] for kind in _HEAD_MATRICES):
        return None
    groups = _key_value_heads(shares, heads, sums)
    if groups is None or sums["output"] % heads:
        return None
    shared = {"query": heads, "key": groups, "value": groups, "output": heads}
    whole = sum(share.parameters for share in shares if not share.is_bias)
    sizes = {kind: sums[kind] // shared[kind] for kind in _HEAD_MATRICES}
    layer_sums = map(_component_sizes, layers)
    same = sum(all(other[kind] == sums[kind] for kind in _HEAD_MATRICES) for other in layer_sums)
    shapes = _head_shapes(shares, sizes, settings)
    return PerHead(**sizes, heads=heads, key_value_heads=groups, layer=whole, stack=stack, layers=same, shapes=shapes)


def _head_shapes(
    shares: Sequence[TensorShare], sizes: Mapping[str, int], settings: Settings
) -> tuple[tuple[int, int], ...] | None:
    """The shapes of a head's matrices, (input width, output width); None where they are unknown."""
    found = []
    matrices = _head_matrices(shares)
    for kind, parameters in sizes.items():
        tensors = [share.tensor for share in matrices if share.component == f"attention.{kind}"]
        widths = {_model_width(tensor, settings, gives=kind == "output") for tensor in tensors}
        width = widths.pop()
        if widths or not width or parameters % width:
            return None
        found.append((parameters // width, width) if kind == "output" else (width, parameters // width))
    return tuple(found)


def _model_width(tensor: Tensor, settings: Settings, *, gives: bool) -> int | None:
    """The width on the model's side: what the matrix of all heads reads, or what it `gives`."""
    if tensor.kind in (Kind.LINEAR, Kind.TRANSPOSED, Kind.PACKED_ATTENTION) and len(tensor.shape) == 2:
        return tensor.shape[gives == (tensor.kind is Kind.TRANSPOSED)]
    hidden = settings.look_up(tensor.module, "hidden")
    return hidden if hidden in tensor.shape else None


def _largest_stack(located: Sequence[LocatedShare]) -> tuple[str, list[list[TensorShare]]]:
    """The stack with the most attention weights, and the shares of each of its attention layers."""
    found: dict[tuple[str, int], list[TensorShare]] = defaultdict(list)
    size: dict[str, int] = defaultdict(int)
    for share, location in located:
        if share.component.startswith("attention.") and location.stack is not None and location.layer is not None:
            found[location.stack, location.layer].append(share)
            size[location.stack] += share.parameters
    if not size:
        return "", []
    stack = max(size, key=lambda name: size[name])
    return stack, [shares for (name, _), shares in found.items() if name == stack]


def _head_matrices(shares: Sequence[TensorShare]) -> list[TensorShare]:
    """The shares that are divided among heads: no biases, and no projection to a latent, which all heads share."""
    latent = {share.tensor.name for share in shares if share.component == "attention.latent"}
    return [share for share in shares if not share.is_bias and share.tensor.name not in latent]


def _component_sizes(shares: Sequence[TensorShare]) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for share in _head_matrices(shares):
        sums[share.component.removeprefix("attention.")] += share.parameters
    return sums


def _key_value_heads(shares: Sequence[TensorShare], heads: int, sums: dict[str, int]) -> int | None:
    """The number of key and value heads, from the size of the keys beside the queries; None where it can't be."""
    groups, rest = divmod(sums["key"] * heads, sums["query"])
    if rest or not groups:
        # Keys are as many as queries but of another width (latent attention).
        groups = heads
    return groups if sums["key"] % groups == 0 and sums["value"] % groups == 0 else None
