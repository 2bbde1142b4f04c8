"""What the analysis of parameters works on: a model's tensors by name, wherever the names come from.

A module on the meta device gives an inventory with everything in it (`walk.py`); the headers of a checkpoint give the
names and the shapes alone. Nothing after this point knows the difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from math import prod
from typing import Any, NamedTuple


class Kind(Enum):
    """What a tensor's owner does with it; it decides which axis is which, and what the owner can be."""

    LINEAR = "linear"  # (out, in)
    TRANSPOSED = "transposed"  # (in, out): GPT-2's Conv1D
    CONVOLUTION = "convolution"
    EMBEDDING = "embedding"
    NORM = "norm"
    RECURRENT = "recurrent"
    PACKED_ATTENTION = "packed attention"  # torch's MultiheadAttention, which holds its in-projection itself
    OTHER = "other"  # a module of the model's own, or unknown: all that a checkpoint's header tells


class Tensor(NamedTuple):
    """One stored tensor, counted once.

    name: its first dotted name.  shape: as stored.  classes: the class of the module at each dot of the name, the
    owner last; empty where only names are known.  aliases: further names of the same tensor.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind = Kind.OTHER
    classes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        return prod(self.shape)


class Inventory(NamedTuple):
    """The tensors of one model.

    settings: numbers that say what shapes alone don't (heads, experts), by the path of the module that they hold for;
    the path "" stands for the whole model. Values are configurations or plain mappings.
    """

    tensors: tuple[Tensor, ...]
    settings: Mapping[str, tuple[Any, ...]]

    @property
    def total(self) -> int:
        return sum(tensor.parameters for tensor in self.tensors)
