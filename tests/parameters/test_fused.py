"""Tensors that hold several things: every layout is cut where its heads say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parameters.counting import counted, sums

Case = tuple[str, dict[str, Any], dict[str, int]]
COMMON = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 99}
COMMON |= {"intermediate_size": 96}

CASES: dict[str, Case] = {
    "Conv1D, three alike with a bias": (
        "GPT2",
        {"n_embd": 64, "n_layer": 1, "n_head": 4, "vocab_size": 99},
        dict.fromkeys(("attention.query", "attention.key", "attention.value"), 64 * 64 + 64),
    ),
    "one key and one value for all heads": (
        "GPTBigCode",
        {"n_embd": 64, "n_layer": 1, "n_head": 4, "vocab_size": 99, "multi_query": True},
        {"attention.query": 65 * 64, "attention.key": 65 * 16, "attention.value": 65 * 16},
    ),
    "interleaved by head": (
        "GPTNeoX",
        COMMON,
        dict.fromkeys(("attention.query", "attention.key", "attention.value"), 65 * 64),
    ),
    "interleaved, no positions": (
        "Bloom",
        {"hidden_size": 64, "n_layer": 1, "n_head": 4, "vocab_size": 99},
        dict.fromkeys(("attention.query", "attention.key", "attention.value"), 65 * 64),
    ),
    "grouped": (
        "Falcon",
        {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "num_kv_heads": 2, "vocab_size": 99}
        | {"new_decoder_architecture": True},
        {"attention.query": 64 * 64, "attention.key": 64 * 32, "attention.value": 64 * 32},
    ),
    "one after another, grouped": (
        "Phi3",
        COMMON | {"num_key_value_heads": 2, "pad_token_id": 0},
        {"attention.query": 64 * 64, "attention.key": 64 * 32, "attention.value": 64 * 32}
        | {"mlp.gate": 64 * 96, "mlp.up": 64 * 96, "mlp.down": 64 * 96},
    ),
    "an encoder's first layer that is no gate": (
        "T5",
        {"d_model": 64, "num_layers": 1, "num_heads": 4, "d_kv": 16, "d_ff": 64, "vocab_size": 99},
        {"mlp.up": 2 * 64 * 64, "mlp.down": 2 * 64 * 64},
    ),
    "queries with their gate, and linear attention": (
        "Qwen3Next",
        COMMON
        | {"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"], "num_key_value_heads": 2}
        | {"head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8}
        | {"linear_value_head_dim": 8, "linear_conv_kernel_dim": 4, "num_experts": 4, "moe_intermediate_size": 24}
        | {"shared_expert_intermediate_size": 40, "num_experts_per_tok": 2},
        {"attention.query": 64 * 64, "attention.gate": 64 * 64, "attention.key": 64 * 32, "attention.value": 64 * 32}
        | {"mixer.query": 64 * 16, "mixer.key": 64 * 16, "mixer.value": 64 * 32, "mixer.gate": 64 * 32}
        | {"mixer.convolution": (16 + 16 + 32) * 4, "mixer.state": 64 * 8 + 4 + 4, "mixer.output": 64 * 32}
        | {"moe.router": 2 * 4 * 64, "moe.gate": 2 * 4 * 64 * 24, "moe.up": 2 * 4 * 64 * 24}
        | {"moe.down": 2 * 4 * 64 * 24, "moe.shared": 2 * (3 * 64 * 40 + 64)},
    ),
    "a state space with its input and gate": (
        "Mamba",
        {"hidden_size": 64, "num_hidden_layers": 1, "vocab_size": 99, "state_size": 4, "expand": 2, "conv_kernel": 4}
        | {"time_step_rank": 4},
        {"mixer.input": 64 * 128, "mixer.gate": 64 * 128, "mixer.convolution": 128 * 4 + 128}
        | {"mixer.state": 128 * (4 + 4 + 4) + 4 * 128 + 128 + 128 * 4 + 128, "mixer.output": 128 * 64},
    ),
    "a state space with all in one projection": (
        "Mamba2",
        {"hidden_size": 64, "num_hidden_layers": 1, "vocab_size": 99, "state_size": 8, "expand": 2, "num_heads": 8}
        | {"head_dim": 16, "n_groups": 1, "conv_kernel": 4},
        {"mixer.input": 64 * 128, "mixer.gate": 64 * 128, "mixer.state": 64 * (8 + 8 + 8) + 3 * 8},
    ),
}


@pytest.mark.parametrize("layout", CASES)
def test_cut(layout: str) -> None:
    name, fields, expected = CASES[layout]
    found = sums(counted(name, **fields))
    assert {component: found.get(component) for component in expected} == expected
    assert "other" not in found and "attention.other" not in found and "mixer.other" not in found


def test_a_bias_is_cut_like_its_matrix() -> None:
    found = counted("GPT2", n_embd=64, n_layer=1, n_head=4, vocab_size=99)
    query = next(component for component in found.components if component.component == "attention.query")
    assert (query.weights, query.biases) == (64 * 64, 64)
