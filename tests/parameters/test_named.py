"""Names and shapes alone say as much as the module does."""

from __future__ import annotations

from typing import Any

import pytest
import transformers

from attncli.parameters.count import count_parameters
from attncli.parameters.inventory import inventory_from_header, is_buffer
from tests.parameters.counting import inventory_of, sums
from tests.parameters.test_known_answers import KNOWN

LAYERS = {"num_hidden_layers", "num_layers", "n_layer"}


@pytest.mark.parametrize(
    "model", [name for name in KNOWN if name not in ("gpt3", "Llama-2-7B", "Mistral-7B", "Qwen2-7B")]
)
@pytest.mark.parametrize("with_config", [True, False])
def test_a_header_counts_like_the_module(model: str, with_config: bool) -> None:
    name, fields, _ = KNOWN[model]
    # Of four layers, three of which are dense in DeepSeek-V3, as much is to be told as of all.
    fields = {field: min(value, 4) if field in LAYERS else value for field, value in fields.items()}
    inventory = inventory_of(name, **fields)
    config = getattr(transformers, f"{name}Config")(**{k: v for k, v in fields.items() if k != "architecture"})
    shapes = {tensor.name: tensor.shape for tensor in inventory.tensors}
    header = count_parameters(inventory_from_header(shapes, config if with_config else None), model=name)
    assert header.components == count_parameters(inventory, model=name).components


@pytest.mark.parametrize("name", ["GPTBigCode", "Falcon", "Bloom", "GPTNeoX", "Whisper", "CLIP", "Qwen2VL"])
def test_fused_tensors_and_towers_are_told_by_names(name: str) -> None:
    inventory = inventory_of(name)
    shapes = {tensor.name: tensor.shape for tensor in inventory.tensors}
    assert (
        count_parameters(inventory_from_header(shapes), model=name).components
        == count_parameters(inventory, model=name).components
    )


#: A layer of experts as checkpoints keep it, each expert by itself.
MIXTRAL_FILE: dict[str, Any] = {
    "model.layers.0.block_sparse_moe.gate.weight": (2, 8),
    **{
        f"model.layers.0.block_sparse_moe.experts.{expert}.{name}.weight": shape
        for expert in range(2)
        for name, shape in (("w1", (12, 8)), ("w2", (8, 12)), ("w3", (12, 8)))
    },
}


def test_experts_one_by_one() -> None:
    found = count_parameters(
        inventory_from_header(MIXTRAL_FILE, {"num_local_experts": 2, "num_experts_per_tok": 1}), model="file"
    )
    assert sums(found) == {"moe.router": 16, "moe.gate": 192, "moe.up": 192, "moe.down": 192}
    assert found.active.total == 16 + 96 * 3


DEEPSEEK_FILE = {
    "model.layers.0.mlp.gate.weight": (2, 8),
    "model.layers.0.mlp.gate.e_score_correction_bias": (2,),
    "model.layers.0.mlp.experts.0.gate_proj.weight": (12, 8),
    "model.layers.0.mlp.experts.0.up_proj.weight": (12, 8),
    "model.layers.0.mlp.experts.0.down_proj.weight": (8, 12),
    "model.layers.0.mlp.shared_experts.gate_proj.weight": (12, 8),
    "model.layers.1.mlp.gate_proj.weight": (20, 8),
}


def test_a_gate_beside_experts_is_a_router() -> None:
    assert sums(count_parameters(inventory_from_header(DEEPSEEK_FILE), model="file")) == {
        "mlp.gate": 160,
        "moe.router": 18,
        "moe.gate": 96,
        "moe.up": 96,
        "moe.down": 96,
        "moe.shared": 96,
    }


@pytest.mark.parametrize(
    ("name", "shape"),
    [("embeddings.position_ids", (1, 512)), ("h.0.attn.bias", (1, 1, 1024, 1024)), ("rotary_emb.inv_freq", (32,))],
)
def test_what_is_no_parameter_is_left_out(name: str, shape: tuple[int, ...]) -> None:
    assert is_buffer(name, shape)
    assert inventory_from_header({name: shape}).total == 0


def test_a_bias_of_an_attention_is_a_parameter() -> None:
    assert not is_buffer("h.0.attn.bias", (768,))


def test_a_first_layer_twice_as_wide_as_the_second_takes_has_a_gate() -> None:
    shapes = {"attn.Wqkv.weight": (192, 64), "attn.Wo.weight": (64, 64), "mlp.Wi.weight": (192, 64)}
    gated = sums(count_parameters(inventory_from_header(shapes | {"mlp.Wo.weight": (64, 96)}), model="gated"))
    assert gated["mlp.gate"] == gated["mlp.up"] == 64 * 96
    assert gated["attention.query"] == gated["attention.key"] == gated["attention.value"] == 64 * 64
    plain = sums(count_parameters(inventory_from_header(shapes | {"mlp.Wo.weight": (64, 192)}), model="plain"))
    assert "mlp.gate" not in plain and plain["mlp.up"] == 192 * 64


def test_what_does_not_add_up_is_not_cut() -> None:
    odd = count_parameters(
        inventory_from_header({"layers.0.attn.qkv.weight": (100, 64)}, {"num_attention_heads": 3}), model="odd"
    )
    assert sums(odd) == {"attention.other": 6400}
