"""Public models to the last digit. Configurations are written out as their files on the hub have them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parameters.counting import counted, sums

KNOWN: dict[str, tuple[str, dict[str, Any], int]] = {
    "gpt2": (
        "GPT2",
        {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024, "vocab_size": 50257},
        124_439_808,
    ),
    "bert-base": ("Bert", {}, 109_482_240),
    "bert-base, masked": ("Bert", {"architecture": "BertForMaskedLM"}, 109_514_298),
    "bert-base, pretraining": ("Bert", {"architecture": "BertForPreTraining"}, 110_106_428),
    "all-MiniLM-L6-v2": (
        "Bert",
        {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536},
        22_713_216,
    ),
    "t5-small": (
        "T5",
        {"num_layers": 6, "d_model": 512, "num_heads": 8, "d_kv": 64, "d_ff": 2048, "vocab_size": 32128},
        60_506_624,
    ),
    "Llama-2-7B": (
        "Llama",
        {"num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "intermediate_size": 11008}
        | {"vocab_size": 32000},
        6_738_415_616,
    ),
    "Llama-3.1-8B": (
        "Llama",
        {"num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8}
        | {"intermediate_size": 14336, "vocab_size": 128256},
        8_030_261_248,
    ),
    "Mistral-7B": (
        "Mistral",
        {"num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8}
        | {"intermediate_size": 14336, "vocab_size": 32000},
        7_241_732_096,
    ),
    "Qwen2-7B": (
        "Qwen2",
        {"num_hidden_layers": 28, "hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4}
        | {"intermediate_size": 18944, "vocab_size": 152064},
        7_615_616_512,
    ),
    "gemma-2-2b": (
        "Gemma2",
        {"num_hidden_layers": 26, "hidden_size": 2304, "num_attention_heads": 8, "num_key_value_heads": 4}
        | {"head_dim": 256, "intermediate_size": 9216, "vocab_size": 256000},
        2_614_341_888,
    ),
    "Phi-3-mini": (
        "Phi3",
        {"num_hidden_layers": 32, "hidden_size": 3072, "num_attention_heads": 32, "num_key_value_heads": 32}
        | {"intermediate_size": 8192, "vocab_size": 32064},
        3_821_079_552,
    ),
    "Mixtral-8x7B": (
        "Mixtral",
        {"num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8}
        | {"intermediate_size": 14336, "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2},
        46_702_792_704,
    ),
    "gpt-oss-20b": (
        "GptOss",
        {"num_hidden_layers": 24, "hidden_size": 2880, "num_attention_heads": 64, "num_key_value_heads": 8}
        | {"head_dim": 64, "intermediate_size": 2880, "vocab_size": 201088}
        | {"num_local_experts": 32, "num_experts_per_tok": 4},
        20_914_757_184,
    ),
    "DeepSeek-V3": (
        "DeepseekV3",
        {"num_hidden_layers": 61, "hidden_size": 7168, "num_attention_heads": 128, "intermediate_size": 18432}
        | {"moe_intermediate_size": 2048, "vocab_size": 129280, "n_routed_experts": 256, "n_shared_experts": 1}
        | {"num_experts_per_tok": 8, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128}
        | {"qk_rope_head_dim": 64, "v_head_dim": 128, "first_k_dense_replace": 3},
        671_026_404_352,
    ),
    "vit-base-patch16-224": ("ViT", {"architecture": "ViTForImageClassification", "num_labels": 1000}, 86_567_656),
    "mamba-130m": ("Mamba", {"hidden_size": 768, "num_hidden_layers": 24, "vocab_size": 50280}, 129_135_360),
    "gpt3": ("GPT2", {"n_layer": 96, "n_embd": 12288, "n_head": 96, "n_positions": 2048}, 174_604_259_328),
}


@pytest.mark.parametrize("model", KNOWN)
def test_total_is_exact_and_all_of_it_has_a_component(model: str) -> None:
    name, fields, total = KNOWN[model]
    found = counted(name, **fields)
    assert found.total == total
    assert sum(component.parameters for component in found.components) == total
    assert found.of("other") == 0
    assert len({(layer.stack, layer.layer) for layer in found.layers}) == len(found.layers)


def test_gpt3_as_teaching_counts_it() -> None:
    name, fields, _ = KNOWN["gpt3"]
    found = counted(name, **fields)
    weights = {component.component: component.weights for component in found.components}
    for kind in ("query", "key", "value", "output"):
        assert weights[f"attention.{kind}"] == 14_495_514_624
    assert sum(weights[f"attention.{kind}"] for kind in ("query", "key", "value", "output")) == 57_982_058_496
    assert weights["mlp.up"] == weights["mlp.down"] == 57_982_058_496
    assert weights["embedding.token"] == 617_558_016
    assert {reading.name: reading.total for reading in found.readings}["matrices"] == 175_181_291_520
    assert found.per_head is not None
    assert found.per_head.to_dict() == dict.fromkeys(("query", "key", "value", "output"), 1_572_864) | {
        "parameters": 6_291_456,
        "heads": 96,
        "layer": 603_979_776,
        "stack": "transformer.h",
        "layers": 96,
        "shapes": {"query": [12_288, 128], "key": [12_288, 128], "value": [12_288, 128], "output": [128, 12_288]},
    }
    block = found.layers[0].components
    assert sum(part.weights for part in block if part.component.startswith("attention.")) == 603_979_776
    assert found.tied == (("transformer.wte.weight", "lm_head.weight"),)


def test_llama_by_component() -> None:
    # By hand: 32 layers; query and output 4096², key and value 4096 × 1024; three matrices of 4096 × 14336.
    name, fields, _ = KNOWN["Llama-3.1-8B"]
    assert sums(counted(name, **fields)) == {
        "embedding.token": 128256 * 4096,
        "attention.query": 32 * 4096 * 4096,
        "attention.key": 32 * 4096 * 1024,
        "attention.value": 32 * 4096 * 1024,
        "attention.output": 32 * 4096 * 4096,
        "mlp.gate": 32 * 4096 * 14336,
        "mlp.up": 32 * 4096 * 14336,
        "mlp.down": 32 * 4096 * 14336,
        "norm": (2 * 32 + 1) * 4096,
        "unembedding": 128256 * 4096,
    }


def test_grouped_heads_share_keys() -> None:
    name, fields, _ = KNOWN["Llama-3.1-8B"]
    per_head = counted(name, **fields).per_head
    assert per_head is not None
    assert per_head[:4] == (4096 * 128,) * 4
    assert (per_head.layers, per_head.shapes) == (32, ((4096, 128),) * 3 + ((128, 4096),))


def test_a_head_behind_a_latent_reads_that() -> None:
    # DeepSeek-V3, section 2.1.1: queries come from 1,536 numbers, keys and values from 512; 192 are 128 and 64 turned.
    name, fields, _ = KNOWN["DeepSeek-V3"]
    per_head = counted(name, **fields).per_head
    assert per_head is not None
    assert per_head.shapes == ((1536, 192), (512, 128), (512, 128), (128, 7168))


def test_gpt_oss_by_component() -> None:
    name, fields, _ = KNOWN["gpt-oss-20b"]
    found = sums(counted(name, **fields))
    assert found["attention.sinks"] == 24 * 64
    assert found["attention.query"] == 24 * (2880 + 1) * 64 * 64
    assert found["attention.key"] == found["attention.value"] == 24 * (2880 + 1) * 8 * 64
    assert found["moe.router"] == 24 * (2880 + 1) * 32
    assert found["moe.gate"] == found["moe.up"] == found["moe.down"] == 24 * 32 * (2880 + 1) * 2880


def test_deepseek_by_component() -> None:
    name, fields, _ = KNOWN["DeepSeek-V3"]
    found = sums(counted(name, **fields))
    assert found["attention.latent"] == 61 * 7168 * (1536 + 512)
    assert found["attention.query"] == 61 * 1536 * 128 * (128 + 64)
    # The rotary key is one for all heads, beside the latent; the rest comes out of the latent, head by head.
    assert found["attention.key"] == 61 * (7168 * 64 + 512 * 128 * 128)
    assert found["attention.value"] == 61 * 512 * 128 * 128
    assert found["moe.shared"] == 58 * 3 * 7168 * 2048
    assert found["mlp.up"] == 3 * 7168 * 18432


@pytest.mark.parametrize(
    ("model", "total", "without_lookup"),
    [
        ("Mixtral-8x7B", 12_879_925_248, 12_748_853_248),
        ("DeepSeek-V3", 37_552_282_624, 36_625_603_584),
        # Dense: everything is active; a tied table is multiplied, and stays; the table of positions is looked up.
        ("gpt2", 124_439_808, 124_439_808 - 1024 * 768),
        ("bert-base", 109_482_240, 109_482_240 - (30522 + 512 + 2) * 768),
    ],
)
def test_active_parameters_in_both_conventions(model: str, total: int, without_lookup: int) -> None:
    name, fields, _ = KNOWN[model]
    assert counted(name, **fields).active == (total, without_lookup)


def test_t5_has_its_relative_bias_once_a_stack() -> None:
    name, fields, _ = KNOWN["t5-small"]
    found = counted(name, **fields)
    bias = {entry.part: entry.parameters for entry in found.components if entry.component == "attention.position_bias"}
    assert bias == {"encoder": 32 * 8, "decoder": 32 * 8}
    assert {entry.part for entry in found.components} == {"text", "encoder", "decoder"}
    holders = [layer.layer for layer in found.layers for part in layer.components if "position_bias" in part.component]
    assert holders == [0, 0]


def test_vit_is_a_vision_model() -> None:
    name, fields, _ = KNOWN["vit-base-patch16-224"]
    found = counted(name, **fields)
    assert {component.part for component in found.components} == {"vision"}
    assert sums(found)["embedding.patch"] == 16 * 16 * 3 * 768 + 768
    assert sums(found)["task_head"] == 769_000


def test_albert_stores_one_layer_and_runs_it_twelve_times() -> None:
    found = counted("Albert", hidden_size=768, num_attention_heads=12, intermediate_size=3072)
    assert found.total == 11_683_584
    assert len(found.layers) == 1
    assert found.notes == ("1 layer is stored and run as 12",)
