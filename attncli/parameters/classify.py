"""Tensors -> the components that they belong to. A tensor that holds several is cut; nothing is lost or doubled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from attncli.parameters.fused import LAYOUTS, Neighbours, width_out
from attncli.parameters.inventory import Inventory, Kind, Tensor
from attncli.parameters.locate import Located, locate
from attncli.parameters.rules import RULES
from attncli.parameters.settings import Settings
from attncli.results.parameters import COMPONENTS


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
