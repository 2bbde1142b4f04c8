"""What training holds: optimizers against their own states, activations against the formula of their paper."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attncli.choices import OPTIMIZERS, RECOMPUTE
from attncli.parameters.costs import CostsRequest
from attncli.parameters.count import InventoryShares
from attncli.parameters.inventory import Settings, inventory_from_module
from attncli.parameters.lora import LoraRequest, adapter_tensors, lora_adapters
from attncli.parameters.training import (
    Activations,
    Trained,
    TrainingRequest,
    activations,
    optimizer_bytes,
    trained_tensors,
    training_memory,
)
from attncli.results.costs import Costs
from tests.parameters.counting import LLAMA, inventory_of
from tests.parameters.test_costs import costs_of

TEN = (Trained((10,), False),)
GPT = {"n_embd": 64, "n_layer": 3, "n_head": 4, "vocab_size": 99, "n_positions": 32}
HALF = 2


def kept_by(name: str, **fields: Any) -> Activations:
    inventory = inventory_of(name, **fields)
    found = activations(InventoryShares(inventory).untied, Settings(inventory.settings))
    assert found is not None
    return found


def test_training_holds_sixteen_bytes_a_parameter() -> None:
    found = training_memory(10, TEN, TrainingRequest())
    assert tuple(found["float32"]) == (40, 40, 80, 0, None)
    assert tuple(found["bfloat16"]) == (20, 20, 80, 40, None)
    assert {need.total for need in found.values()} == {160}


def test_training_adapters_freezes_the_rest() -> None:
    one = (Trained((1,), False),)
    found = training_memory(10, one, TrainingRequest(), frozen=True, packed=8)
    assert tuple(found["bfloat16"]) == (22, 2, 8, 4, None)
    # Eight weights in a little more than half a byte each, two in two bytes, and the adapter.
    assert tuple(found["nf4"]) == (5 + 4 + 2, 2, 8, 4, None)
    assert "nf4" not in training_memory(10, one, TrainingRequest(), frozen=True)


# --- Optimizers


def states_of(optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> int:
    """Bytes of the states after a step, without counters of steps."""
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    tensors = [each for state in optimizer.state.values() for name, each in state.items() if name != "step"]
    return sum(each.numel() * each.element_size() for each in tensors if isinstance(each, torch.Tensor))


def small_model() -> torch.nn.Module:
    import transformers

    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA, num_key_value_heads=2))


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("adamw", torch.optim.AdamW),
        ("adafactor", torch.optim.Adafactor),
        ("sgd", torch.optim.SGD),
    ],
)
def test_states_are_those_of_torch(name: str, optimizer: Any) -> None:
    model = small_model()
    tensors = trained_tensors(each.share for each in InventoryShares(inventory_from_module(model)).unique)
    assert optimizer_bytes(name, tensors) == states_of(optimizer(model.parameters(), lr=0.01), model)


def test_muon_takes_the_matrices_of_blocks() -> None:
    model = small_model()
    tensors = trained_tensors(each.share for each in InventoryShares(inventory_from_module(model)).unique)
    inner = [each for name, each in model.named_parameters() if "layers" in name and each.dim() == 2]
    others = sum(each.numel() for each in model.parameters()) - sum(each.numel() for each in inner)
    momentum = sum(4 * each.numel() for each in inner)
    assert optimizer_bytes("muon", tensors) == momentum + 8 * others


def test_eight_bits_of_states() -> None:
    # A byte each for mean and variance, and a scale of four bytes for each 256 of them; small tensors keep 32 bits.
    assert optimizer_bytes("adamw8bit", [Trained((100, 100), True)]) == 2 * (10_000 + 4 * 40)
    assert optimizer_bytes("adamw8bit", [Trained((64, 63), True)]) == 8 * 64 * 63


def test_the_optimizers_are_those_that_can_be_chosen() -> None:
    for name in OPTIMIZERS:
        assert optimizer_bytes(name, TEN) >= 0
    with pytest.raises(KeyError):
        optimizer_bytes("lion", TEN)


def test_adapters_are_as_many_as_their_tensors() -> None:
    for name, fields in (("Llama", LLAMA), ("Mixtral", {**LLAMA, "num_local_experts": 3})):
        located = InventoryShares(inventory_of(name, **fields)).unique
        request = LoraRequest(4, ("attention", "mlp", "moe"))
        adapters = lora_adapters(located, request)
        assert adapters is not None
        assert sum(each.parameters for each in adapter_tensors(located, request)) == adapters.parameters


# --- Activations


@pytest.mark.parametrize(("context", "batch"), [(32, 1), (7, 3)])
def test_a_layer_keeps_what_the_paper_says(context: int, batch: int) -> None:
    kept, width, heads, layers = kept_by("GPT2", **GPT), 64, 4, 3
    # Korthikanti 2022, equations 1 and 2, and section 4.3: dropout of the embedding, last norm, unembedding, logits.
    outside = context * batch * (width + 2 * width + 2 * width + 4 * 99)
    layer = context * batch * width * 34
    assert kept.bytes(context, batch, HALF, "selective") == layers * layer + outside
    weights = 5 * heads * context**2 * batch
    assert kept.bytes(context, batch, HALF, "none") == layers * (layer + weights) + outside
    # The input of every layer, and one layer at a time.
    assert kept.bytes(context, batch, HALF, "full") == layers * 2 * context * batch * width + layer + outside


def test_gpt_3_at_the_papers_size() -> None:
    # 96 layers, 96 heads, width 12,288, texts of 2,048 tokens: 34 + 5·96·2048/12288 = 114 bytes a number of the state.
    sizes = {"n_embd": 12288, "n_layer": 96, "n_head": 96, "vocab_size": 51200, "n_positions": 2048}
    kept = kept_by("GPT2", **sizes)
    outside = kept._replace(layers=()).bytes(2048, 1, HALF, "none")
    assert kept.bytes(2048, 1, HALF, "none") - outside == 96 * 2048 * 12288 * 114


def test_gates_key_heads_and_no_dropout() -> None:
    kept = kept_by("Llama", **LLAMA, num_key_value_heads=2)
    # Input, queries, keys, values, sum; input, gate, its activation, the other factor, the product; two norms.
    numbers = (32 + 32 + 16 + 16 + 32) + (32 + 4 * 48) + 2 * 32
    outside = 10 * (2 * 32 + 2 * 32 + 4 * 99)
    assert kept.bytes(10, 1, HALF, "selective") == 2 * 10 * 2 * numbers + outside
    # Without dropout the weights are kept once, in half precision.
    assert kept.bytes(10, 1, HALF, "none") - kept.bytes(10, 1, HALF, "selective") == 2 * 4 * 10 * 10 * HALF


def test_a_token_passes_through_some_experts() -> None:
    fields = {**LLAMA, "num_local_experts": 8, "num_experts_per_tok": 2}
    few, many = (kept_by("Mixtral", **{**fields, "num_experts_per_tok": active}) for active in (2, 4))
    # Two layers, two more experts, four numbers for each of 48 inner ones.
    more = many.bytes(10, 1, HALF, "selective") - few.bytes(10, 1, HALF, "selective")
    assert more == 2 * 2 * 4 * 48 * 10 * HALF


def training_costs(**request: Any) -> Costs:
    return costs_of("Llama", CostsRequest(context=16, training=TrainingRequest(), **request), **LLAMA)


@pytest.mark.parametrize("recompute", RECOMPUTE)
def test_the_largest_batch_fits_and_one_text_more_does_not(recompute: str) -> None:
    request = TrainingRequest(recompute=recompute)
    found = costs_of("Llama", CostsRequest(context=16, training=request, fit=4 << 20), **LLAMA)
    assert found.fits is not None and found.training_setup is not None
    for fit in found.fits.training:
        assert fit.batch
        for batch in (fit.batch, fit.batch + 1):
            need = costs_of("Llama", CostsRequest(context=16, training=request, batch=batch), **LLAMA).training
            assert (need[fit.weights].total <= 4 << 20) == (batch == fit.batch)
    assert found.training_setup.recompute == recompute


def test_what_is_too_large_to_train_is_told() -> None:
    found = training_costs(fit=100_000)
    assert found.fits is not None
    assert {(fit.batch, fit.missing) for fit in found.fits.training} == {
        (0, need.total - 100_000) for need in found.training.values()
    }


def test_no_total_without_what_it_leaves_out() -> None:
    found = training_costs()
    assert found.training_setup is not None
    assert found.training_setup.leaves_out == "temporary buffers, what the framework itself takes"
