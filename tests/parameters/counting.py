"""Models built without weights, and their counts."""

from __future__ import annotations

from typing import Any

import transformers
from torch import nn

from attncli.models.loading.meta_model import empty_module, whole_class
from attncli.parameters.count import count_parameters
from attncli.parameters.inventory import Inventory, inventory_from_module
from attncli.results.params import ParameterCount

LLAMA = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 99}


def inventory_of(name: str, *, architecture: str | None = None, **fields: Any) -> Inventory:
    """The inventory of transformers' `<name>Config` with these fields."""
    config = getattr(transformers, f"{name}Config")(**fields)
    config.architectures = [architecture] if architecture else None
    return inventory_from_module(empty_module(whole_class(config), config))


def counted(name: str, *, architecture: str | None = None, **fields: Any) -> ParameterCount:
    return count_parameters(inventory_of(name, architecture=architecture, **fields), model=name)


def counted_module(module: nn.Module) -> ParameterCount:
    return count_parameters(inventory_from_module(module), model=type(module).__name__)


def sums(found: ParameterCount) -> dict[str, int]:
    """Parameters by component, over all parts."""
    result: dict[str, int] = {}
    for component in found.components:
        result[component.component] = result.get(component.component, 0) + component.parameters
    return result
