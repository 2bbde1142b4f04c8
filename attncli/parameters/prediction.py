"""Layers for multi-token prediction, which checkpoints hold behind a model's own and which it runs without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attncli.parameters.inventory import Inventory, Tensor

#: What configurations call the number of such layers.
PREDICTION_LAYERS = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers", "mtp_num_layers")
_OWN_LAYERS = "num_hidden_layers"


def prediction_layers(inventory: Inventory, config: Mapping[str, Any]) -> tuple[int, int]:
    """The number of the first such layer of a checkpoint, and the parameters from there on; (0, 0) where none is."""
    first = config.get(_OWN_LAYERS)
    if type(first) is not int or not any(config.get(name) for name in PREDICTION_LAYERS):
        return 0, 0
    beyond = sum(tensor.parameters for tensor in _beyond(inventory.tensors, first))
    return (first, beyond) if beyond else (0, 0)


def _beyond(tensors: Iterable[Tensor], first: int) -> Iterable[Tensor]:
    for tensor in tensors:
        layer = next((int(step) for step in tensor.name.split(".") if step.isdecimal()), -1)
        if layer >= first:
            yield tensor
