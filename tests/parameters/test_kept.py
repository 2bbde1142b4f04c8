"""An inventory as JSON and back: counted alike, to the last share."""

from __future__ import annotations

import json

import pytest
from torch import nn

from attncli.models.builtin.preset_modules import preset_module
from attncli.models.builtin.presets import read_preset
from attncli.parameters.costs import CostsRequest, estimate_costs
from attncli.parameters.count import count_parameters
from attncli.parameters.inventory import Inventory, inventory_from_json, inventory_from_module, inventory_to_json
from attncli.parameters.training import TrainingRequest
from tests.parameters.counting import inventory_of


def again(inventory: Inventory) -> Inventory:
    return inventory_from_json(json.loads(json.dumps(inventory_to_json(inventory))))


@pytest.mark.parametrize(
    "name", ["gpt2", "mixtral-8x7b", "gpt-oss-20b", "mamba-130m", "t5-small", "transformer-base", "vit-b-16"]
)
def test_a_kept_inventory_is_counted_alike(name: str) -> None:
    inventory = inventory_from_module(preset_module(read_preset(name)))
    kept = again(inventory)
    assert kept.tensors == inventory.tensors
    assert count_parameters(kept, model=name, by="tensor") == count_parameters(inventory, model=name, by="tensor")
    wishes = CostsRequest(8192, 2, 24 << 30, training=TrainingRequest())
    assert estimate_costs(kept, wishes, total=kept.total, generates=True) == estimate_costs(
        inventory, wishes, total=inventory.total, generates=True
    )


@pytest.mark.parametrize(
    ("name", "layers"), [("Qwen3Next", 4), ("DeepseekV3", 4), ("Jamba", 8), ("Gemma3", None), ("Albert", 12)]
)
def test_families_with_settings_of_their_own(name: str, layers: int | None) -> None:
    inventory = inventory_of(name, **({} if layers is None else {"num_hidden_layers": layers}))
    kept = again(inventory)
    assert count_parameters(kept, model=name, by="tensor") == count_parameters(inventory, model=name, by="tensor")
    wishes = CostsRequest(8192)
    assert estimate_costs(kept, wishes, total=kept.total, generates=True) == estimate_costs(
        inventory, wishes, total=inventory.total, generates=True
    )


def test_a_plain_module() -> None:
    inventory = inventory_from_module(nn.Transformer(16, 2, 1, 1, 32, batch_first=True, device="meta"))
    assert again(inventory).tensors == inventory.tensors


@pytest.mark.parametrize(
    "kept",
    [{}, {"classes": [], "tensors": [["a", [1], "linear", 5, []]], "sources": [], "settings": {}}, {"classes": 1}],
)
def test_anything_else_is_refused(kept: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no inventory"):
        inventory_from_json(kept)
