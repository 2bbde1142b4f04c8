"""Tensors that hold several things, cut by what their neighbours' shapes and the head counts say; never into thirds
on faith. Every cut is checked against the tensor's own width, and one that doesn't add up isn't made.

Only the sizes of the pieces matter for counting, so their order within the tensor (one after another, interleaved by
head, grouped by key-value head) makes no difference.

Tensors -> the components that they belong to. A tensor that holds several is cut; nothing is lost or doubled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from attncli.choices import COMPONENTS
from attncli.parameters.inventory import Inventory, Kind, Settings, Tensor
from attncli.parameters.locate import Located, Place, locate
from attncli.parameters.name_rules import RULES

#: A piece: the component's name within its unit, and its share of the width.
Pieces = list[tuple[str, int]]


class Neighbours:
    """The tensors of one unit, found by what they mean, and what is known around them.

    vocabularies: the sizes that a table of tokens has in this model.
    """

    def __init__(self, path: str, located: list[Located], settings: Settings, vocabularies: frozenset[int]) -> None:
        self.path = path
        self.vocabularies = vocabularies | {size for size in (settings.look(path, "vocabulary"),) if size is not None}
        self._located = located
        self._settings = settings

    @cached_property
    def _matrices(self) -> dict[str, Tensor]:
        """The first matrix of each meaning."""
        found: dict[str, Tensor] = {}
        for place in self._located:
            if len(place.tensor.shape) > 1:
                found.setdefault(place.meaning, place.tensor)
        return found

    def matrix(self, *meanings: str) -> Tensor | None:
        return next((self._matrices[meaning] for meaning in meanings if meaning in self._matrices), None)

    def number(self, field: str) -> int | None:
        return self._settings.look(self.path, field)

    def matrix_of(self, tensor: Tensor) -> Tensor:
        """The matrix that a bias belongs to; the tensor itself where it is one, or stands alone."""
        if len(tensor.shape) > 1:
            return tensor
        stem = _stem(tensor)
        return next((p.tensor for p in self._located if len(p.tensor.shape) > 1 and _stem(p.tensor) == stem), tensor)

    def place_among(self, tensor: Tensor) -> tuple[int, int]:
        """The position of a matrix among those of its unit, and their number."""
        matrices = [place.tensor for place in self._located if len(place.tensor.shape) > 1]
        return matrices.index(tensor) if tensor in matrices else 0, len(matrices)


def _stem(tensor: Tensor) -> str:
    for ending in (".weight", ".bias", "_weight", "_bias"):
        if tensor.name.endswith(ending):
            return tensor.name.removesuffix(ending)
    return tensor.name


def width_out(tensor: Tensor) -> int:
    """How many numbers a matrix gives (a vector: its length)."""
    return tensor.shape[-1] if tensor.kind is Kind.TRANSPOSED else tensor.shape[-2 if len(tensor.shape) == 3 else 0]


def width_in(tensor: Tensor) -> int:
    """How many numbers a matrix takes."""
    return tensor.shape[0] if tensor.kind is Kind.TRANSPOSED else tensor.shape[-1 if len(tensor.shape) == 3 else 1]


def query_key_value(tensor: Tensor, near: Neighbours) -> Pieces | None:
    """Queries, keys and values in one: by head counts, else by the width that the output projection takes."""
    # torch's own attention keeps its biases packed where its matrices, of differing widths, stand apart.
    if tensor.kind is not Kind.PACKED_ATTENTION and near.matrix("QUERY", ".query") is not None:
        return key_value(tensor, near)
    width = width_out(tensor)
    for query, key, value in _attention_widths(width, tensor, near):
        if query > 0 and key > 0 and value > 0 and query + key + value == width:
            return [("query", query), ("key", key), ("value", value)]
    return None


def _attention_widths(width: int, tensor: Tensor, near: Neighbours) -> Iterator[tuple[int, int, int]]:
    """Widths of queries, keys and values that may add up to `width`, the best founded first."""
    heads, kv_heads, head_dim = (near.number(field) for field in ("heads", "kv_heads", "head_dim"))
    value_dim = near.number("value_head_dim") or head_dim
    if heads and head_dim and value_dim:
        kv = kv_heads or heads
        yield heads * head_dim, kv * head_dim, kv * value_dim
    if (output := near.matrix(".output")) is not None:
        query = width_in(output)
        yield query, (width - query) // 2, (width - query) // 2
    if heads:
        dim = width // (heads + 2 * (kv_heads or heads))
        yield heads * dim, (kv_heads or heads) * dim, (kv_heads or heads) * dim
    # As many heads for keys as for queries, where nothing says otherwise: three times the width of the input.
    if len(tensor.shape) == 2 and width == 3 * width_in(tensor):
        yield (width // 3,) * 3


def key_value(tensor: Tensor, near: Neighbours) -> Pieces | None:
    """Keys and values in one: alike, unless their heads are told to differ."""
    key, value = near.number("head_dim"), near.number("value_head_dim")
    if key and value and width_out(tensor) % (key + value) == 0:
        return [("key", key), ("value", value)]
    return _even(tensor, "key", "value")


def query_key(tensor: Tensor, near: Neighbours) -> Pieces | None:
    """Queries and keys in one."""
    heads, kv_heads = near.number("heads"), near.number("kv_heads")
    if heads and kv_heads and width_out(tensor) % (heads + kv_heads) == 0:
        return [("query", heads), ("key", kv_heads)]
    return _even(tensor, "query", "key")


def query_and_gate(tensor: Tensor, near: Neighbours) -> Pieces | None:
    """Queries, and a gate for the output beside them where a head of them is twice as wide as one of the keys.

    A head's width isn't needed: query/key and output/value are both the number of queries that share a key.
    """
    key, value, output = near.matrix(".key"), near.matrix(".value"), near.matrix(".output")
    if key is None or value is None or output is None or any(len(part.shape) != 2 for part in (key, value, output)):
        return [("query", 1)]
    is_gated = width_out(tensor) * width_out(value) == 2 * width_out(key) * width_in(output)
    return [("query", 1), ("gate", 1)] if is_gated else [("query", 1)]


def latent_and_key(tensor: Tensor, near: Neighbours) -> Pieces | None:
    """The latent of keys and values, and the rotary part of the key that all heads share."""
    up = near.matrix("KEY_AND_VALUE_UP")
    rank = near.number("latent_rank") or (width_in(up) if up is not None else 0)
    rotary = width_out(tensor) - rank
    if not rank or rotary < 0:
        return [("latent", 1)]
    return [("latent", rank), ("key", rotary)]


def key_and_value_up(tensor: Tensor, near: Neighbours) -> Pieces | None:
    """Keys and values out of their latent: the output projection takes as many numbers as there are values."""
    output, width = near.matrix(".output"), width_out(tensor)
    if output is None or width_in(output) >= width:
        return _even(tensor, "key", "value")
    return [("key", width - width_in(output)), ("value", width_in(output))]


def query_key_value_gate(tensor: Tensor, near: Neighbours) -> Pieces | None:
    """Linear attention's entry: the gate is as wide as the values, and both as wide as the output takes."""
    output, width = near.matrix(".output"), width_out(tensor)
    if output is None or (rest := width - 2 * width_in(output)) <= 0:
        return None
    return [("query", rest // 2), ("key", rest // 2), ("value", width_in(output)), ("gate", width_in(output))]


def mixed_query_key_value(tensor: Tensor, near: Neighbours) -> Pieces | None:
    """Linear attention's entry without the gate."""
    output, width = near.matrix(".output"), width_out(tensor)
    if output is None or (rest := width - width_in(output)) <= 0:
        return None
    return [("query", rest // 2), ("key", rest // 2), ("value", width_in(output))]


def state_space_in(tensor: Tensor, near: Neighbours) -> Pieces | None:
    """A state space's entry: its input, the gate as wide, and what sets the state (B, C and the time step) if any."""
    output, width = near.matrix(".output"), width_out(tensor)
    if output is None or (rest := width - 2 * width_in(output)) < 0:
        return [("input", 1)]
    return [("input", width_in(output)), ("gate", width_in(output)), ("state", rest)]


def gate_up(tensor: Tensor, near: Neighbours) -> Pieces | None:
    """A gated feed-forward network's first half: the gate and the way up are alike."""
    return [("gate", 1), ("up", 1)]


def up(tensor: Tensor, near: Neighbours) -> Pieces | None:
    """The way up; with a gate in it where it gives twice what the way down takes."""
    down = near.matrix(".down")
    if down is None or len(tensor.shape) < 2 or len(down.shape) != len(tensor.shape):
        return [("up", 1)]
    if len(tensor.shape) == 3:  # (experts, a, b) in either layout: the sizes tell, whichever axis is which
        return gate_up(tensor, near) if tensor.parameters == 2 * down.parameters else [("up", 1)]
    return gate_up(tensor, near) if width_out(tensor) == 2 * width_in(down) else [("up", 1)]


def first_of_three(tensor: Tensor, near: Neighbours) -> Pieces | None:
    """`w1`: the gate where a `w3` goes up, else the way up itself."""
    return [("gate", 1)] if near.matrix(".up") is not None else up(tensor, near)


def by_shape(tensor: Tensor, near: Neighbours) -> Pieces | None:
    """A layer of a feed-forward network that has no telling name: the last one goes down, the others up."""
    if len(tensor.shape) < 2:
        return None
    index, count = near.place_among(tensor)
    return [("down", 1)] if count > 1 and index == count - 1 else [("up", 1)]


def _even(tensor: Tensor, *names: str) -> Pieces | None:
    return [(name, 1) for name in names] if width_out(tensor) % len(names) == 0 else None


#: The meanings in capitals of `rules.py`.
LAYOUTS: Mapping[str, Callable[[Tensor, Neighbours], Pieces | None]] = {
    "QUERY_KEY_VALUE": query_key_value,
    "KEY_VALUE": key_value,
    "QUERY_KEY": query_key,
    "QUERY": query_and_gate,
    "LATENT_AND_KEY": latent_and_key,
    "KEY_AND_VALUE_UP": key_and_value_up,
    "QUERY_KEY_VALUE_GATE": query_key_value_gate,
    "MIXED_QUERY_KEY_VALUE": mixed_query_key_value,
    "STATE_SPACE_IN": state_space_in,
    "GATE_UP": gate_up,
    "UP": up,
    "FIRST": first_of_three,
    "BY_SHAPE": by_shape,
}


class Share(NamedTuple):
    """What one tensor gives to one component."""

    tensor: Tensor
    component: str
    parameters: int
    is_bias: bool


def classify(inventory: Inventory) -> list[Share]:
    """The components of every tensor, in the inventory's order; the shares of a tensor add up to it."""
    located = locate(inventory)
    units = _units(located, Settings(inventory.settings), frozenset(_vocabularies(located)))
    return [share for place in located for share in _shares(place, units[place.unit, place.path])]


def also_unembeds(tensor: Tensor) -> bool:
    """Whether a table of embeddings is also a matrix that multiplies: the unembedding, under another name."""
    return any(alias.kind is not Kind.EMBEDDING for alias in tensor.aliases)


def _vocabularies(located: list[Located]) -> Iterator[int]:
    """The sizes of the tables of tokens."""
    for place in located:
        if place.unit == "embedding" and place.tensor.kind is Kind.EMBEDDING and place.meaning in _TOKENS:
            yield place.tensor.shape[0]


def _units(
    located: list[Located], settings: Settings, vocabularies: frozenset[int]
) -> dict[tuple[str, str], Neighbours]:
    groups: dict[tuple[str, str], list[Located]] = {}
    for place in located:
        groups.setdefault((place.unit, place.path), []).append(place)
    return {key: Neighbours(key[1], group, settings, vocabularies) for key, group in groups.items()}


def _shares(place: Located, near: Neighbours) -> list[Share]:
    return [
        Share(place.tensor, component, parameters, place.is_bias)
        for component, parameters in _pieces(place, near)
        if parameters
    ]


def _pieces(place: Located, near: Neighbours) -> list[tuple[str, int]]:
    """The components of a tensor, and how many of its parameters each has."""
    tensor = place.tensor
    prefix, rest, _ = RULES[place.unit]
    # A scalar has no width to cut or compare, and an empty tensor nothing to give.
    has_width = bool(tensor.shape) and tensor.parameters > 0
    meaning = (_by_place(place, near) if has_width else None) or place.meaning
    if meaning.startswith(".") or meaning in COMPONENTS:
        return [(f"{prefix}{meaning}" if meaning.startswith(".") else meaning, tensor.parameters)]
    pieces = LAYOUTS[meaning](near.matrix_of(tensor), near) if has_width and meaning in LAYOUTS else None
    whole = sum(share for _, share in pieces or ())
    if not pieces or not whole or tensor.parameters % whole:
        return [(rest if rest in COMPONENTS else "other", tensor.parameters)]
    return [(f"{prefix}.{name}", tensor.parameters // whole * share) for name, share in pieces]


def _by_place(place: Located, near: Neighbours) -> str | None:
    """The component of what names don't tell apart: front ends, tables without a telling name, the unembedding."""
    if place.meaning == "FRONT_END":
        return _front_end(place, near.matrix_of(place.tensor))
    if place.meaning == ".value":
        return ".other" if _scores(place, near) else None
    if place.meaning == "TABLE":
        is_vocabulary = near.number("vocabulary") is None or place.tensor.shape[0] in near.vocabularies
        return "embedding.token" if is_vocabulary else "embedding.other"
    return "unembedding" if place.unit in ("", "head") and _unembeds(place, near) else None


def _scores(place: Located, near: Neighbours) -> bool:
    """Whether what is called v turns query and key into one number, as in additive attention (Bahdanau et al. 2015)."""
    matrix = near.matrix_of(place.tensor)
    is_vector = len(matrix.shape) < 2 and matrix.kind is Kind.OTHER and not place.is_bias
    return is_vector or (matrix.kind is Kind.LINEAR and width_out(matrix) == 1)


def _unembeds(place: Located, near: Neighbours) -> bool:
    """Whether a linear layer outside of the blocks gives a number for each word of a vocabulary."""
    is_layer = place.tensor.kind in (Kind.LINEAR, Kind.TRANSPOSED) and not place.in_block
    return is_layer and width_out(near.matrix_of(place.tensor)) in near.vocabularies


def _front_end(place: Located, matrix: Tensor) -> str:
    """Where samples or pixels come in: convolutions over time, or over a picture, that stand before the blocks."""
    if place.unit == "" and (place.in_block or "decoder" in place.tensor.name):
        return "mixer.convolution"
    over_time = len(matrix.shape) <= 3 or _SOUND.search(" ".join((place.tensor.name, *place.tensor.classes)))
    return "embedding.audio" if over_time else "embedding.patch"


#: What tables of tokens are called, by name or for want of another.
_TOKENS = ("embedding.token", "TABLE")

#: What a convolution over two axes is about where one of them is frequency.
_SOUND = re.compile("audio|speech|spectro|subsampl|wav2vec", re.IGNORECASE)


class Placed(NamedTuple):
    """A share of a tensor, and where the tensor stands."""

    share: Share
    place: Place
