"""Assigns every tensor to components; a tensor that holds several (fused query, key and value) is split.

How a tensor is split follows from the shapes of the other tensors of its unit and from head counts, never from an
assumed ratio, and each split is checked against the tensor's own width: one that doesn't add up isn't made. Only sizes
matter for counting, so the order of the pieces in a tensor (in sequence, interleaved by head, grouped by key-value
head) makes no difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from attncli.components import COMPONENTS
from attncli.parameters.inventory import Inventory, Settings, Tensor
from attncli.parameters.locate import Location, UnitTensor, assign_units
from attncli.parameters.name_rules import RULES, Kind

#: The pieces of a tensor: the name of a component within its unit, and its share of the width.
Pieces = list[tuple[str, int]]


class Unit:
    """The tensors of one unit, and the settings that hold there.

    path: the path of the unit.  vocabularies: the sizes of token tables in this model.
    """

    def __init__(self, path: str, tensors: list[UnitTensor], settings: Settings, vocabularies: frozenset[int]) -> None:
        self.path = path
        configured = settings.look_up(path, "vocabulary")
        self.vocabularies = vocabularies if configured is None else vocabularies | {configured}
        self._tensors = tensors
        self._settings = settings

    @cached_property
    def _matrices(self) -> list[UnitTensor]:
        return [each for each in self._tensors if len(each.tensor.shape) > 1]

    @cached_property
    def _by_meaning(self) -> dict[str, Tensor]:
        """The first matrix of each meaning."""
        return {each.meaning: each.tensor for each in reversed(self._matrices)}

    def matrix(self, *meanings: str) -> Tensor | None:
        """The first matrix that has one of these meanings."""
        return next((self._by_meaning[meaning] for meaning in meanings if meaning in self._by_meaning), None)

    def number(self, field: str) -> int | None:
        """The setting called `field` in FIELDS."""
        return self._settings.look_up(self.path, field)

    def matrix_for(self, tensor: Tensor) -> Tensor:
        """The matrix that a bias belongs to; the tensor itself where it is a matrix or has none."""
        if len(tensor.shape) > 1:
            return tensor
        stem = _stem(tensor)
        return next((each.tensor for each in self._matrices if _stem(each.tensor) == stem), tensor)

    def matrix_index(self, tensor: Tensor) -> tuple[int, int]:
        """The index of a matrix among those of its unit, and their number."""
        matrices = [each.tensor for each in self._matrices]
        return matrices.index(tensor) if tensor in matrices else 0, len(matrices)


def _stem(tensor: Tensor) -> str:
    return re.sub("[._](weight|bias)$", "", tensor.name)


def width_out(tensor: Tensor) -> int:
    """The output width of a matrix; the length of a vector."""
    return tensor.shape[-1] if tensor.kind is Kind.TRANSPOSED else tensor.shape[-2 if len(tensor.shape) == 3 else 0]


def width_in(tensor: Tensor) -> int:
    """The input width of a matrix."""
    return tensor.shape[0] if tensor.kind is Kind.TRANSPOSED else tensor.shape[-1 if len(tensor.shape) == 3 else 1]


def split_query_key_value(tensor: Tensor, unit: Unit) -> Pieces | None:
    """Fused queries, keys and values: by head counts, else by the input width of the output projection."""
    # torch's MultiheadAttention packs its biases even where its matrices, of differing widths, are separate.
    if tensor.kind is not Kind.PACKED_ATTENTION and unit.matrix("QUERY", ".query") is not None:
        return split_key_value(tensor, unit)
    width = width_out(tensor)
    for query, key, value in _attention_widths(width, tensor, unit):
        if query > 0 and key > 0 and value > 0 and query + key + value == width:
            return [("query", query), ("key", key), ("value", value)]
    return None


def _attention_widths(width: int, tensor: Tensor, unit: Unit) -> Iterator[tuple[int, int, int]]:
    """Candidate widths of queries, keys and values, the most reliable first; they may not add up to `width`."""
    heads, kv_heads, head_dim = (unit.number(field) for field in ("heads", "kv_heads", "head_dim"))
    value_dim = unit.number("value_head_dim") or head_dim
    if heads and head_dim and value_dim:
        kv = kv_heads or heads
        yield heads * head_dim, kv * head_dim, kv * value_dim
    if (output := unit.matrix(".output")) is not None:
        query = width_in(output)
        yield query, (width - query) // 2, (width - query) // 2
    if heads:
        dim = width // (heads + 2 * (kv_heads or heads))
        yield heads * dim, (kv_heads or heads) * dim, (kv_heads or heads) * dim
    # Three times the input width: as many key heads as query heads.
    if len(tensor.shape) == 2 and width == 3 * width_in(tensor):
        yield (width // 3,) * 3


def split_key_value(tensor: Tensor, unit: Unit) -> Pieces | None:
    """Fused keys and values: of equal width, unless settings give their heads different ones."""
    key, value = unit.number("head_dim"), unit.number("value_head_dim")
    if key and value and width_out(tensor) % (key + value) == 0:
        return [("key", key), ("value", value)]
    return _split_evenly(tensor, "key", "value")


def split_query_key(tensor: Tensor, unit: Unit) -> Pieces | None:
    """Fused queries and keys."""
    heads, kv_heads = unit.number("heads"), unit.number("kv_heads")
    if heads and kv_heads and width_out(tensor) % (heads + kv_heads) == 0:
        return [("query", heads), ("key", kv_heads)]
    return _split_evenly(tensor, "query", "key")


def split_query_and_gate(tensor: Tensor, unit: Unit) -> Pieces | None:
    """Queries, with a gate on the output where a query head is twice as wide as a key head.

    The width of a head isn't needed: query/key and output/value are both the number of queries that share a key.
    """
    key, value, output = unit.matrix(".key"), unit.matrix(".value"), unit.matrix(".output")
    if key is None or value is None or output is None or any(len(part.shape) != 2 for part in (key, value, output)):
        return [("query", 1)]
    is_gated = width_out(tensor) * width_out(value) == 2 * width_out(key) * width_in(output)
    return [("query", 1), ("gate", 1)] if is_gated else [("query", 1)]


def split_latent_and_key(tensor: Tensor, unit: Unit) -> Pieces | None:
    """The down-projection of latent attention: the latent, and the rotary part of the key that all heads share."""
    up = unit.matrix("KEY_AND_VALUE_UP")
    rank = unit.number("latent_rank") or (width_in(up) if up is not None else 0)
    rotary = width_out(tensor) - rank
    if not rank or rotary < 0:
        return [("latent", 1)]
    return [("latent", rank), ("key", rotary)]


def split_key_and_value_up(tensor: Tensor, unit: Unit) -> Pieces | None:
    """The up-projection of latent attention: values are as wide as the input of the output projection."""
    output, width = unit.matrix(".output"), width_out(tensor)
    if output is None or width_in(output) >= width:
        return _split_evenly(tensor, "key", "value")
    return [("key", width - width_in(output)), ("value", width_in(output))]


def split_query_key_value_gate(tensor: Tensor, unit: Unit) -> Pieces | None:
    """The input projection of linear attention: gate and values are as wide as the output projection's input."""
    output, width = unit.matrix(".output"), width_out(tensor)
    if output is None or (rest := width - 2 * width_in(output)) <= 0:
        return None
    return [("query", rest // 2), ("key", rest // 2), ("value", width_in(output)), ("gate", width_in(output))]


def split_mixed_query_key_value(tensor: Tensor, unit: Unit) -> Pieces | None:
    """The input projection of linear attention without a gate."""
    output, width = unit.matrix(".output"), width_out(tensor)
    if output is None or (rest := width - width_in(output)) <= 0:
        return None
    return [("query", rest // 2), ("key", rest // 2), ("value", width_in(output))]


def split_state_space_input(tensor: Tensor, unit: Unit) -> Pieces | None:
    """The input projection of a state space: input, a gate of that width, and B, C and the time step, if any."""
    output, width = unit.matrix(".output"), width_out(tensor)
    if output is None or (rest := width - 2 * width_in(output)) < 0:
        return [("input", 1)]
    return [("input", width_in(output)), ("gate", width_in(output)), ("state", rest)]


def split_gate_up(tensor: Tensor, unit: Unit) -> Pieces | None:
    """The first half of a gated feed-forward network: gate and up-projection have equal sizes."""
    return [("gate", 1), ("up", 1)]


def split_up(tensor: Tensor, unit: Unit) -> Pieces | None:
    """The up-projection; with a gate in it where its output is twice as wide as the down-projection's input."""
    down = unit.matrix(".down")
    if down is None or len(tensor.shape) < 2 or len(down.shape) != len(tensor.shape):
        return [("up", 1)]
    if len(tensor.shape) == 3:  # (experts, a, b) in either layout: only the sizes are compared
        return split_gate_up(tensor, unit) if tensor.parameters == 2 * down.parameters else [("up", 1)]
    return split_gate_up(tensor, unit) if width_out(tensor) == 2 * width_in(down) else [("up", 1)]


def gate_or_up(tensor: Tensor, unit: Unit) -> Pieces | None:
    """`w1`: the gate where there is a `w3`, which is the up-projection; else the up-projection itself."""
    return [("gate", 1)] if unit.matrix(".up") is not None else split_up(tensor, unit)


def up_or_down(tensor: Tensor, unit: Unit) -> Pieces | None:
    """A layer of a feed-forward network with an unknown name: the last is the down-projection."""
    if len(tensor.shape) < 2:
        return None
    index, count = unit.matrix_index(tensor)
    return [("down", 1)] if count > 1 and index == count - 1 else [("up", 1)]


def _split_evenly(tensor: Tensor, *names: str) -> Pieces | None:
    return [(name, 1) for name in names] if width_out(tensor) % len(names) == 0 else None


#: The meanings of token tables: by their name, or because no other name fits.
_TOKEN_TABLES = ("embedding.token", "TABLE")
#: Names of modules that take sound: there one axis of a two-dimensional convolution is frequency.
_SOUND_NAMES = re.compile("audio|speech|spectro|subsampl|wav2vec", re.IGNORECASE)

#: How tensors with a meaning in capitals (see `name_rules`) are split.
SPLITTERS: Mapping[str, Callable[[Tensor, Unit], Pieces | None]] = {
    "QUERY_KEY_VALUE": split_query_key_value,
    "KEY_VALUE": split_key_value,
    "QUERY_KEY": split_query_key,
    "QUERY": split_query_and_gate,
    "LATENT_AND_KEY": split_latent_and_key,
    "KEY_AND_VALUE_UP": split_key_and_value_up,
    "QUERY_KEY_VALUE_GATE": split_query_key_value_gate,
    "MIXED_QUERY_KEY_VALUE": split_mixed_query_key_value,
    "STATE_SPACE_IN": split_state_space_input,
    "GATE_UP": split_gate_up,
    "UP": split_up,
    "FIRST": gate_or_up,
    "BY_SHAPE": up_or_down,
}


class TensorShare(NamedTuple):
    """The parameters of one tensor that belong to one component."""

    tensor: Tensor
    component: str
    parameters: int
    is_bias: bool


class LocatedShare(NamedTuple):
    """A share of a tensor, and the location of the tensor in the model."""

    share: TensorShare
    location: Location


def classify(inventory: Inventory) -> list[TensorShare]:
    """The components of every tensor, in the inventory's order; the shares of a tensor add up to its size."""
    tensors = assign_units(inventory)
    groups: dict[tuple[str, str], list[UnitTensor]] = {}
    vocabularies = set()
    for member in tensors:
        groups.setdefault((member.unit_name, member.path), []).append(member)
        is_table = member.unit_name == "embedding" and member.tensor.kind is Kind.EMBEDDING
        if is_table and member.meaning in _TOKEN_TABLES:
            vocabularies.add(member.tensor.shape[0])
    settings, sizes = Settings(inventory.settings), frozenset(vocabularies)
    units = {key: Unit(key[1], members, settings, sizes) for key, members in groups.items()}
    return [
        TensorShare(member.tensor, component, parameters, member.is_bias)
        for member in tensors
        for component, parameters in _pieces(member, units[member.unit_name, member.path])
        if parameters
    ]


def _pieces(member: UnitTensor, unit: Unit) -> list[tuple[str, int]]:
    """The components of a tensor, and how many of its parameters belong to each."""
    tensor = member.tensor
    prefix, default, _ = RULES[member.unit_name]
    # A scalar has no width to split or compare, and an empty tensor no parameters.
    has_width = bool(tensor.shape) and tensor.parameters > 0
    meaning = (_component_by_context(member, unit) if has_width else None) or member.meaning
    if meaning.startswith(".") or meaning in COMPONENTS:
        return [(f"{prefix}{meaning}" if meaning.startswith(".") else meaning, tensor.parameters)]
    pieces = SPLITTERS[meaning](unit.matrix_for(tensor), unit) if has_width and meaning in SPLITTERS else None
    whole = sum(share for _, share in pieces or ())
    if not pieces or not whole or tensor.parameters % whole:
        return [(default if default in COMPONENTS else "other", tensor.parameters)]
    return [(f"{prefix}.{name}", tensor.parameters // whole * share) for name, share in pieces]


def _component_by_context(member: UnitTensor, unit: Unit) -> str | None:
    """The component of tensors that names don't tell apart: front ends, other tables, the unembedding."""
    if member.meaning == "FRONT_END":
        return _front_end_component(member, unit.matrix_for(member.tensor))
    if member.meaning == ".value":
        matrix = unit.matrix_for(member.tensor)
        # `v` may be the scoring vector of additive attention (Bahdanau et al. 2015), and no value projection.
        is_vector = len(matrix.shape) < 2 and matrix.kind is Kind.OTHER and not member.is_bias
        return ".other" if is_vector or (matrix.kind is Kind.LINEAR and width_out(matrix) == 1) else None
    if member.meaning == "TABLE":
        is_vocabulary = unit.number("vocabulary") is None or member.tensor.shape[0] in unit.vocabularies
        return "embedding.token" if is_vocabulary else "embedding.other"
    # A linear layer outside the blocks that has an output for each entry of a vocabulary.
    is_layer = member.tensor.kind in (Kind.LINEAR, Kind.TRANSPOSED) and not member.in_block
    if member.unit_name in ("", "head") and is_layer and width_out(unit.matrix_for(member.tensor)) in unit.vocabularies:
        return "unembedding"
    return None


def _front_end_component(member: UnitTensor, matrix: Tensor) -> str:
    """The component of convolutions before the blocks: over time for sound, over the picture for patches."""
    if member.unit_name == "" and (member.in_block or "decoder" in member.tensor.name):
        return "mixer.convolution"
    over_time = len(matrix.shape) <= 3 or _SOUND_NAMES.search(" ".join((member.tensor.name, *member.tensor.classes)))
    return "embedding.audio" if over_time else "embedding.patch"
