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
    aliases: tuple[Tensor, ...] = ()

    @property
    def parameters(self) -> int:
        return prod(self.shape)

    @property
    def module(self) -> str:
        """The path of the module that owns it."""
        return self.name.rpartition(".")[0]


class Inventory(NamedTuple):
    """The tensors of one model.

    settings: numbers that say what shapes alone don't (heads, experts), by the path of the module that they hold for;
    the path "" stands for the whole model. Values are configurations or plain mappings.
    """

    tensors: tuple[Tensor, ...]
    settings: Mapping[str, tuple[Any, ...]] = {}

    @property
    def total(self) -> int:
        return sum(tensor.parameters for tensor in self.tensors)

    @property
    def tied(self) -> tuple[tuple[str, ...], ...]:
        """The names of each tensor that has several."""
        return tuple(
            (tensor.name, *(alias.name for alias in tensor.aliases)) for tensor in self.tensors if tensor.aliases
        )

    def untied(self) -> Inventory:
        """The same model with a tensor of its own for every name."""
        apart = (part for tensor in self.tensors for part in (tensor._replace(aliases=()), *tensor.aliases))
        return self._replace(tensors=tuple(apart))
