"""Tensors -> the components that they belong to. A tensor that holds several is cut; nothing is lost or doubled."""

from __future__ import annotations

import re
from typing import NamedTuple

from attncli.parameters.fused import LAYOUTS, Neighbours
from attncli.parameters.inventory import Inventory, Kind, Tensor
from attncli.parameters.locate import Located, locate
from attncli.parameters.rules import RULES
from attncli.parameters.settings import Settings


class Share(NamedTuple):
    """What one tensor gives to one component."""

    tensor: Tensor
    component: str
    parameters: int
    is_bias: bool


def classify(inventory: Inventory) -> list[Share]:
    """The components of every tensor, in the inventory's order; the shares of a tensor add up to it."""
    settings = Settings(inventory.settings)
    located = locate(inventory)
    units = _units(located, settings)
    return [share for place in located for share in _shares(place, units[place.unit, place.path])]


def also_unembeds(tensor: Tensor) -> bool:
    """Whether a table of embeddings is also a matrix that multiplies: the unembedding, under another name."""
    return any(alias.kind is not Kind.EMBEDDING for alias in tensor.aliases)


def _units(located: list[Located], settings: Settings) -> dict[tuple[str, str], Neighbours]:
    groups: dict[tuple[str, str], list[Located]] = {}
    for place in located:
        groups.setdefault((place.unit, place.path), []).append(place)
    return {key: Neighbours(key[1], group, settings) for key, group in groups.items()}


def _shares(place: Located, near: Neighbours) -> list[Share]:
    return [
        Share(place.tensor, component, parameters, place.is_bias)
        for component, parameters in _pieces(place, near)
        if parameters
    ]


def _pieces(place: Located, near: Neighbours) -> list[tuple[str, int]]:
    """The components of a tensor, and how many of its parameters each has."""
    tensor, meaning = place.tensor, place.meaning
    prefix, rest, _ = RULES[place.unit]
    if meaning == "FRONT_END":
        return [(_front_end(place, near.matrix_of(tensor)), tensor.parameters)]
    if meaning in ("TABLE", "HEAD"):
        return [(_by_vocabulary(place, near), tensor.parameters)]
    if meaning not in LAYOUTS:
        return [(f"{prefix}{meaning}" if meaning.startswith(".") else meaning, tensor.parameters)]
    pieces = LAYOUTS[meaning](near.matrix_of(tensor), near)
    if pieces is None or tensor.parameters % (whole := sum(share for _, share in pieces)):
        return [(rest if rest not in LAYOUTS else "other", tensor.parameters)]
    return [(f"{prefix}.{name}", tensor.parameters // whole * share) for name, share in pieces]


def _by_vocabulary(place: Located, near: Neighbours) -> str:
    """A table or a head that has no telling name: has it a row for each word of the vocabulary?"""
    rows, vocabulary = place.tensor.shape[0] if place.tensor.shape else 0, near.number("vocabulary")
    if place.meaning == "TABLE":
        return "embedding.token" if vocabulary is None or rows >= vocabulary else "embedding.other"
    return "unembedding" if rows == vocabulary and len(place.tensor.shape) < 3 else "task_head"


def _front_end(place: Located, matrix: Tensor) -> str:
    """Where samples or pixels come in: convolutions over time, or over a picture, that stand before the blocks."""
    if place.unit == "" and (place.in_block or "decoder" in place.tensor.name):
        return "mixer.convolution"
    over_time = len(matrix.shape) <= 3 or _SOUND.search(" ".join((place.tensor.name, *place.tensor.classes)))
    return "embedding.audio" if over_time else "embedding.patch"


#: What a convolution over two axes is about where one of them is frequency.
_SOUND = re.compile("audio|speech|spectro|subsampl|wav2vec", re.IGNORECASE)
