"""The bytes of a model's weights in llama.cpp's mixes of types (Q4_K_M and others), by the rules that it quantizes by.

Source: `llama_tensor_get_type_impl` and `tensor_allows_quantization` of llama.cpp's src/llama-quant.cpp (2026), and the
block sizes of ggml-common.h. Vectors, routers, convolutions and tables of positions stay in float32; what isn't part of
the text model is in a file of its own, in float16. Metadata and the tokenizer of a file come on top.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from attncli.components import COMPONENTS
from attncli.parameters.cache import is_prediction_layer
from attncli.parameters.classify import width_in
from attncli.parameters.inventory import Settings, Tensor

if TYPE_CHECKING:
    from attncli.parameters.classify import LocatedShare
    from attncli.parameters.locate import Location

#: The numbers that a type stores together, and their bytes.
_BLOCKS: Mapping[str, tuple[int, int]] = {
    "F32": (1, 4), "F16": (1, 2), "Q8_0": (32, 34), "Q6_K": (256, 210), "Q5_K": (256, 176), "Q4_K": (256, 144),
    "Q5_1": (32, 24), "Q5_0": (32, 22),
}  # fmt: skip
#: What takes the place of a type where a row is no whole number of its blocks.
_FALLBACKS = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


class _Mix(NamedTuple):
    """A mix. base: the type of most matrices.  output: of the unembedding, or of the token table that is one.

    more: of the values' and the down-projections' matrices in some layers.  experts_output: of the attention's output
    in a model of eight experts.
    """

    base: str
    output: str
    more: str
    experts_output: str


MIXES: Mapping[str, _Mix] = {
    "Q8_0": _Mix("Q8_0", "Q8_0", "Q8_0", "Q8_0"),
    "Q6_K": _Mix("Q6_K", "Q6_K", "Q6_K", "Q6_K"),
    "Q5_K_M": _Mix("Q5_K", "Q6_K", "Q6_K", "Q5_K"),
    "Q4_K_M": _Mix("Q4_K", "Q6_K", "Q6_K", "Q5_K"),
}

#: In other files than that of the text model.
_OTHER_FILES = ("vision", "audio", "projector")
#: Kept as they are.
_KEPT = frozenset(
    ("moe.router", "embedding.position", "embedding.segment", "mixer.convolution", "attention.position_bias", "norm")
)
#: Tables of tokens.
_TABLES = frozenset(("embedding.token", "embedding.per_layer"))
#: A model of so many experts gets more bits in its attention, one of so many layers and grouped heads in its values.
_EIGHT_EXPERTS, _MANY_LAYERS = 8, 80


def mix_bytes(located: Sequence[LocatedShare], settings: Settings) -> dict[str, int]:
    """The bytes of the weights in each mix; nothing for a model without a text part.

    located: every tensor once.
    """
    tensors: dict[Tensor, tuple[set[str], Location]] = {}
    for entry in located:
        share, location = entry
        if is_prediction_layer(entry, settings):
            continue
        found, _ = tensors.setdefault(share.tensor, (set(), location))
        found.add("bias" if share.is_bias else share.component)
    if not any("embedding.token" in components for components, _ in tensors.values()):
        return {}
    plan = _Plan(tensors, settings)
    return {name: sum(_stored(tensor, plan.type_of(tensor, mix)) for tensor in tensors) for name, mix in MIXES.items()}


def _stored(tensor: Tensor, kind: str) -> int:
    """The bytes of a tensor in a type, or in that which takes its place."""
    row = _row(tensor)
    while row % _BLOCKS[kind][0]:
        kind = _FALLBACKS.get(kind, "F16")
    numbers, size = _BLOCKS[kind]
    return prod(tensor.shape) // numbers * size


def _row(tensor: Tensor) -> int:
    """The length of a row as ggml stores the tensor: the input width of a matrix."""
    is_table = tensor.kind.value == "embedding" or len(tensor.shape) < 2
    return (tensor.shape[-1] if tensor.shape else 1) if is_table else width_in(tensor)


class _Plan:
    """Which type each tensor of a model has in a mix."""

    def __init__(self, tensors: Mapping[Tensor, tuple[set[str], Location]], settings: Settings) -> None:
        self._tensors = tensors
        self._layers = 1 + max((place.layer for _, place in tensors.values() if place.layer is not None), default=0)
        values = [tensor for tensor, (components, _) in tensors.items() if _holds_values(tensor, components)]
        self._values = {tensor: place for place, tensor in enumerate(values)}
        self._is_tied = not any("unembedding" in components for components, _ in tensors.values())
        heads, groups = (settings.look_up("", field) for field in ("heads", "kv_heads"))
        self._has_eight = settings.look_up("", "experts") == _EIGHT_EXPERTS
        self._is_grouped = self._layers == _MANY_LAYERS and heads != groups

    def type_of(self, tensor: Tensor, mix: _Mix) -> str:
        components, place = self._tensors[tensor]
        if place.part in _OTHER_FILES:
            return "F16" if len(tensor.shape) > 1 else "F32"
        if len(tensor.shape) < 2 or components & _KEPT or "bias" in components:
            return "F32"
        if "unembedding" in components or (self._is_tied and components & _TABLES):
            return mix.output
        if tensor in self._values:
            return self._value_type(tensor, mix)
        if components == {"attention.key"} and self._has_eight:
            return "Q8_0"
        if components == {"attention.output"} and self._has_eight:
            return mix.experts_output
        if _is_down(tensor, components) and _has_more(place.layer or 0, self._layers):
            return mix.more
        return mix.base

    def _value_type(self, tensor: Tensor, mix: _Mix) -> str:
        if self._has_eight:
            return "Q8_0"
        kind = mix.more if _has_more(self._values[tensor], len(self._values)) else mix.base
        return "Q5_K" if self._is_grouped and kind == "Q4_K" else kind


def _holds_values(tensor: Tensor, components: Iterable[str]) -> bool:
    """Whether a matrix gives values, by itself or with queries and keys."""
    held = set(components)
    return len(tensor.shape) > 1 and "attention.value" in held and held != {"attention.key", "attention.value"}


def _is_down(tensor: Tensor, components: set[str]) -> bool:
    if components == {"moe.shared"}:
        return "down" in tensor.name
    return components <= {name for name in COMPONENTS if name in ("mlp.down", "moe.down")}


def _has_more(index: int, count: int) -> bool:
    """Whether a matrix gets more bits: in the first and the last eighth of the layers, and in every third between."""
    return index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2
