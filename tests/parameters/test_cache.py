"""What a model keeps from token to token: public figures, and small models worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from attncli.parameters.cache import cached_layers, longest_contexts
from attncli.parameters.count import locate_shares
from attncli.parameters.inventory import Settings
from attncli.results.costs import Cache, CachedLayer
from tests.parameters.counting import inventory_of

LLAMA = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 99}


def cache_of(name: str, context: int = 1, batch: int = 1, **fields: Any) -> Cache:
    inventory = inventory_of(name, **fields).untied()
    return Cache(context, batch, cached_layers(locate_shares(inventory), Settings(inventory.settings)))


def half(numbers: int) -> int:
    """Bytes in bfloat16."""
    return 2 * numbers


def test_llama_3_1_70b() -> None:
    shape = {"num_hidden_layers": 80, "hidden_size": 8192, "num_attention_heads": 64, "num_key_value_heads": 8}
    assert half(cache_of("Llama", **shape, intermediate_size=28672, vocab_size=128256).per_token) == 327_680


def test_deepseek_v3_keeps_its_latents() -> None:
    # 61 layers of 512 numbers of the latent and 64 of the rotary key.
    cache = cache_of("DeepseekV3")
    assert half(cache.per_token) == 70_272
    assert {layer.per_token for layer in cache.layers} == {512 + 64}


@pytest.mark.parametrize(
    ("name", "fields", "per_token"),
    [
        # Keys and values of 4 heads of 8 numbers, in two layers; then of 2 heads; then of one head for all.
        ("Llama", LLAMA, 2 * 2 * 4 * 8),
        ("Llama", {**LLAMA, "num_key_value_heads": 2}, 2 * 2 * 2 * 8),
        ("GPTBigCode", {"n_embd": 32, "n_layer": 2, "n_head": 4, "multi_query": True, "vocab_size": 99}, 2 * 2 * 8),
        ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 99}, 2 * 2 * 32),
        # A head's width that isn't the model's divided by the heads.
        ("Llama", {**LLAMA, "head_dim": 16, "num_key_value_heads": 2}, 2 * 2 * 2 * 16),
    ],
    ids=["multi-head", "grouped", "multi-query", "fused", "wide heads"],
)
def test_keys_and_values(name: str, fields: dict[str, Any], per_token: int) -> None:
    assert cache_of(name, **fields).per_token == per_token


def test_gemma_2_stops_half_of_its_layers_at_the_window() -> None:
    # 26 layers, 4 key-value heads of 256: 2,048 numbers a layer; every other one sees 4,096 tokens back.
    cache = cache_of("Gemma2", num_key_value_heads=4, head_dim=256)
    assert (cache.per_token, cache.beyond_windows, cache.windows) == (26 * 2048, 13 * 2048, {4096: 13})
    assert cache.numbers(8192) == 13 * 2048 * (4096 + 8192)


def test_gemma_3_sees_everything_in_every_sixth_layer() -> None:
    cache = cache_of("Gemma3Text", **LLAMA | {"num_hidden_layers": 7}, num_key_value_heads=2, head_dim=8,
                     sliding_window=16)  # fmt: skip
    assert [layer.window for layer in cache.layers] == [16, 16, 16, 16, 16, None, 16]
    assert cache.numbers(100) == 32 * (6 * 16 + 100)
    assert cache.numbers(10) == 32 * 7 * 10


def test_mistral_has_one_window_for_all_and_qwen_2_switches_it_off() -> None:
    assert cache_of("Mistral", **LLAMA, num_key_value_heads=2, sliding_window=8).beyond_windows == 0
    qwen = cache_of("Qwen2", **LLAMA, num_key_value_heads=2, sliding_window=8, use_sliding_window=False)
    assert qwen.beyond_windows == qwen.per_token == 2 * 2 * 2 * 8


def test_llama_4_keeps_chunks() -> None:
    cache = cache_of("Llama4Text", **LLAMA, num_key_value_heads=2, head_dim=8, attention_chunk_size=64,
                     num_local_experts=2, layer_types=["chunked_attention", "full_attention"])  # fmt: skip
    assert [layer.window for layer in cache.layers] == [64, None]


def test_jamba_grows_in_its_attention_and_keeps_states_elsewhere() -> None:
    # Attention in layers 4, 12, 20, 28: 8 key-value heads of 128. Mamba: 8,192 channels, 16 numbers of state, 4 inputs.
    cache = cache_of("Jamba")
    growing = [layer.layer for layer in cache.layers if layer.per_token]
    assert growing == [4, 12, 20, 28]
    assert half(cache.per_token) == 4 * 2 * 8 * 128 * 2 == 16_384
    assert {layer.state for layer in cache.layers if not layer.per_token} == {8192 * (16 + 4)}
    assert cache.with_state == 28


def test_qwen_3_next_keeps_outer_products() -> None:
    # Every fourth of 48 layers attends with 2 key-value heads of 256. The others: 32 heads of 128 by 128 numbers, and
    # 4 inputs of the convolution over 2 · 16 · 128 + 32 · 128 channels.
    cache = cache_of("Qwen3Next")
    assert half(cache.per_token) == 12 * 2 * 2 * 256 * 2 == 24_576
    assert {layer.state for layer in cache.layers if not layer.per_token} == {32 * 128 * 128 + 4 * 8192}


@pytest.mark.parametrize(
    ("name", "fields", "state"),
    [
        ("Mamba", {"hidden_size": 32, "state_size": 4, "conv_kernel": 3}, 64 * (4 + 3)),
        # Two groups of B and C pass through the convolution too.
        (
            "Mamba2",
            {"hidden_size": 32, "num_heads": 8, "head_dim": 8, "state_size": 4, "n_groups": 2, "conv_kernel": 3},
            64 * 4 + (64 + 2 * 2 * 4) * 3,
        ),
        ("Rwkv", {"hidden_size": 32, "attention_hidden_size": 32, "intermediate_size": 48}, 5 * 32),
        (
            "RecurrentGemma",
            {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "conv1d_width": 3}
            | {"block_types": ["recurrent"]},
            32 * (1 + 3),
        ),
        (
            "MiniMax",
            LLAMA | {"num_local_experts": 2, "head_dim": 8, "layer_types": ["linear_attention"] * 2},
            4 * 8 * 8,
        ),
    ],
    ids=["mamba", "mamba 2", "rwkv", "rg-lru", "lightning attention"],
)
def test_states(name: str, fields: dict[str, Any], state: int) -> None:
    cache = cache_of(name, **{"num_hidden_layers": 2, "vocab_size": 99, **fields})
    assert {layer.state for layer in cache.layers} == {state}
    assert cache.per_token == 0


def test_an_encoder_decoder_keeps_the_encoders_tokens_too() -> None:
    sizes = {"d_model": 32, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 48}
    cache = cache_of("T5", **sizes, vocab_size=99)
    assert [layer.part for layer in cache.layers] == ["decoder"] * 2
    assert (cache.per_token, cache.cross) == (2 * 2 * 32, 2 * 2 * 32)


def test_blocks_that_several_layers_share_have_a_cache_each() -> None:
    cache = cache_of("Zamba2", num_hidden_layers=4, hidden_size=32, num_attention_heads=4, attention_head_dim=16,
                     intermediate_size=48, mamba_d_state=4, n_mamba_heads=8, vocab_size=99, kv_channels=8,
                     layers_block_type=["linear_attention", "hybrid", "linear_attention", "hybrid"])  # fmt: skip
    assert [layer.layer for layer in cache.layers if layer.per_token] == [1, 3]


def test_a_batch_multiplies_everything() -> None:
    layers = (CachedLayer("text", 0, per_token=10, window=4), CachedLayer("text", 1, per_token=2, state=7, cross=1))
    assert Cache(6, 1, layers).numbers() == 10 * 4 + 2 * 6 + 7 + 6
    assert Cache(6, 3, layers).numbers() == 3 * Cache(6, 1, layers).numbers()


def test_the_longest_context_that_fits() -> None:
    layers = (CachedLayer("text", 0, per_token=10),)
    fits = longest_contexts(100, layers, budget=1000, batch=2)
    contexts = {choice.weights: (choice.cache, choice.context) for choice in fits.choices}
    # float32: 1,000 − 400 bytes for 2 · 40 a token. int4: 50 bytes of weights, and a cache of 2 · 20 a token.
    assert contexts == {
        "float32": ("float32", 7),
        "bfloat16": ("bfloat16", 20),
        "float16": ("float16", 20),
        "int8": ("bfloat16", 22),
        "int4": ("bfloat16", 23),
    }


def test_nothing_fits_and_everything_fits() -> None:
    growing, state = (CachedLayer("text", 0, per_token=10),), (CachedLayer("text", 0, state=10),)
    assert {choice.context for choice in longest_contexts(100, growing, budget=50, batch=1).choices} == {0}
    assert {choice.context for choice in longest_contexts(1, state, budget=50, batch=1).choices} == {None}
    windowed = (CachedLayer("text", 0, per_token=1, window=4),)
    assert {choice.context for choice in longest_contexts(1, windowed, budget=50, batch=1).choices} == {None}
