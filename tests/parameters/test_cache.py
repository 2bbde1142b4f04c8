"""What a model keeps from token to token: public figures, and small models worked out by hand."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import attncli
from attncli.choices import KV_DTYPES
from attncli.models.files.layer_windows import DEFAULT_PATTERNS, with_layer_types
from attncli.parameters.cache import cached_layers
from attncli.parameters.count import locate_shares
from attncli.parameters.fits import Memory, longest_contexts
from attncli.parameters.inventory import Settings, inventory_from_module
from attncli.results.cache import CACHE_BITS, Amount, Cache, CachedLayer, CacheDtypes, Compressed, without_windows
from attncli.results.costs import Costs, Fit
from tests.gguf_files import decoder_tensors, gguf_model
from tests.parameters.cache_sweep import AGREES, outcome, tensors_in
from tests.parameters.counting import LLAMA, inventory_of


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


SIZES = {"float32": 400, "bfloat16": 200, "float16": 200, "int8": 100, "int4": 50}


def test_the_longest_context_that_fits() -> None:
    layers = (CachedLayer("text", 0, per_token=10, values=5),)
    fits = longest_contexts(SIZES, layers, Memory(1000, batch=2))
    contexts = {(choice.weights, choice.cache): choice.context for choice in fits.choices}
    # float32: 1,000 − 400 bytes for 2 · 40 a token. int4: 50 bytes of weights, and a cache of 2 · 20 a token.
    # q4_0 takes 4.5 bits a number, 11.25 bytes for two texts.
    assert contexts == {
        ("float32", "float32"): 7,
        ("float32", "fp8"): 30,
        ("float32", "q4_0"): 53,
        ("bfloat16", "bfloat16"): 20,
        ("bfloat16", "fp8"): 40,
        ("bfloat16", "q4_0"): 71,
        ("float16", "float16"): 20,
        ("float16", "fp8"): 40,
        ("float16", "q4_0"): 71,
        ("int8", "bfloat16"): 22,
        ("int8", "fp8"): 45,
        ("int8", "q4_0"): 80,
        ("int4", "bfloat16"): 23,
        ("int4", "fp8"): 47,
        ("int4", "q4_0"): 84,
    }


def test_a_chosen_cache_is_the_only_one() -> None:
    layers = (CachedLayer("text", 0, per_token=64, values=32),)
    fits = longest_contexts(SIZES, layers, Memory(1000), CacheDtypes("q8_0", "q4_0"))
    # 32 keys in 34 bytes and 32 values in 18.
    assert {(choice.weights, choice.cache, choice.context) for choice in fits.choices} == {
        (weights, "q8_0,q4_0", (1000 - size) // 52) for weights, size in SIZES.items()
    }


def test_nothing_fits_and_everything_fits() -> None:
    growing, state = (CachedLayer("text", 0, per_token=10),), (CachedLayer("text", 0, state=10),)
    nothing = longest_contexts(SIZES, growing, Memory(40)).choices
    assert {choice.context for choice in nothing} == {0}
    # Beside the weights, one token of ten numbers.
    assert {choice.missing for choice in nothing if choice.weights == "int8" and choice.cache == "bfloat16"} == {80}
    small = {"int8": 1}
    assert {choice.context for choice in longest_contexts(small, state, Memory(50)).choices} == {None}
    windowed = (CachedLayer("text", 0, per_token=1, window=4),)
    assert {choice.context for choice in longest_contexts(small, windowed, Memory(50)).choices} == {None}


LAYERS = st.builds(
    CachedLayer,
    st.just("text"),
    st.integers(0, 3),
    per_token=st.integers(2, 100),
    values=st.integers(0, 2),
    window=st.none() | st.integers(1, 50),
    state=st.integers(0, 500),
    index_keys=st.integers(0, 20),
    compressed=st.lists(st.builds(Compressed, st.integers(1, 20), st.integers(1, 9)), max_size=2).map(tuple),
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(LAYERS, min_size=1, max_size=4).map(tuple),
    st.integers(1, 100_000),
    st.integers(1, 4),
    st.none() | st.builds(CacheDtypes, *[st.sampled_from(sorted(CACHE_BITS))] * 2, st.just("bfloat16")),
    st.none() | st.integers(1, 500),
)
def test_the_context_that_fits_is_the_longest(
    layers: tuple[CachedLayer, ...], budget: int, batch: int, dtypes: CacheDtypes | None, made_for: int | None
) -> None:
    for choice in longest_contexts({"int8": 300}, layers, Memory(budget, batch, made_for), dtypes).choices:
        keys, _, values = choice.cache.partition(",")
        caching = CacheDtypes(keys, values or keys, "bfloat16")

        def needed(context: int, caching: CacheDtypes = caching) -> int:
            return 300 + Cache(context, batch, layers, caching).bytes

        assert choice.needed == needed(1)
        assert choice.missing == max(needed(1) - budget, 0)
        if choice.context is None:
            assert needed(1 << 40) <= budget
        elif choice.by_positions:
            assert choice.context == made_for and needed(choice.context) <= budget
        else:
            assert choice.context == 0 or needed(choice.context) <= budget
            assert needed(choice.context + 1) > budget


def test_a_context_that_is_asked_about() -> None:
    layers = (CachedLayer("text", 0, per_token=10),)
    fits = longest_contexts({"int8": 100}, layers, Memory(1000, context=50), CacheDtypes())
    assert fits.choices == (Fit("int8", "bfloat16", 45, needed=1100, missing=100),)
    assert fits.context == 50


@pytest.mark.parametrize("model_type", ["deepseek_v4", "zaya"])
def test_what_stands_beside_keys_and_values(model_type: str) -> None:
    # Blocks that aren't full; and inputs of convolutions on queries and keys, with the value of the token before.
    found = outcome(model_type)
    assert found.ours["constant"] > 0
    assert found.kind == AGREES, found


def test_the_parts_of_a_cache_add_up() -> None:
    layers = (
        CachedLayer("text", 0, per_token=10, values=4),
        CachedLayer("text", 1, per_token=10, window=4, index_keys=3, values=5),
        CachedLayer("text", 2, state=7, cross=2, cross_positions=5, cross_values=1),
        CachedLayer("text", 3, per_token=2, window=4, compressed=(Compressed(5, 4), Compressed(1, 4))),
    )
    cache = Cache(9, 2, layers)
    assert {part.kind: (part.layers, ceil(part.per_token.total), part.numbers) for part in cache.parts} == {
        "growing": (1, 10, 2 * 90),
        "window": (2, 12, 2 * (40 + 8)),
        "constant": (1, 0, 2 * (7 + 10)),
        "index": (1, 3, 2 * 27),
        # Of nine tokens, two blocks of four are full.
        "compressed": (1, 2, 2 * 2 * 6),
    }
    assert sum(part.numbers for part in cache.parts) == cache.numbers()
    assert (cache.per_token, cache.beyond_windows) == (10 + 12 + 3 + 2, 10 + 3 + 2)
    assert cache.byte_parts[0] == ("growing", 1, "bfloat16", 20, 360)
    assert sum(part.bytes for part in cache.byte_parts) == cache.dtype_bytes["bfloat16"] == cache.bytes
    two = cache._replace(dtypes=CacheDtypes("fp8", "q4_0", "float32"))
    assert two.byte_parts[0] == ("growing", 1, "fp8,q4_0", ceil(6 + 4 * 4.5 / 8), ceil(2 * 9 * (6 + 4 * 4.5 / 8)))
    # States keep their own dtype; what the other sequence gives has that of keys and values.
    assert two.byte_parts[2] == ("constant", 1, "fp8,q4_0,float32", 0, ceil(2 * (7 * 4 + 5 * (1 + 4.5 / 8))))
    assert two.amount() == Amount(keys=2 * (9 * 6 + 4 * 5 + 5 + 27 + 8 + 12), values=2 * (9 * 4 + 4 * 5 + 5), states=14)


def test_windowed_layers_with_room_for_all_tokens() -> None:
    layers = (CachedLayer("text", 0, per_token=10, window=4), CachedLayer("text", 1, per_token=10))
    assert Cache(100, 1, layers).numbers() == 40 + 1000
    assert Cache(100, 1, without_windows(layers)).numbers() == 2000


def test_dtypes_that_can_be_chosen_are_those_of_caches() -> None:
    assert set(KV_DTYPES) == set(CACHE_BITS)


@pytest.mark.parametrize("dtype", ["q8_0", "q4_0"])
def test_blocks_of_caches_are_those_of_ggml(dtype: str) -> None:
    gguf = pytest.importorskip("gguf")
    numbers, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[dtype.upper()]]
    assert CACHE_BITS[dtype] == Fraction(8 * size, numbers)


def test_gpt_oss_as_engines_log_it() -> None:
    # 24 layers of 8 heads of 64 numbers, keys and values; every other one sees 128 tokens.
    cache = cache_of("GptOss", 8192, 32, num_hidden_layers=24, num_local_experts=4)
    assert round(cache.bytes / 2**30, 2) == 6.09
    assert cache._replace(layers=without_windows(cache.layers)).bytes == 12 * 2**30


def test_qwen_3_6_as_llama_cpp_logs_it() -> None:
    # 64 layers, every fourth with 4 key-value heads of 256; 48 of 48 value and 16 key heads of 128, for four sequences.
    growing = [CachedLayer("text", 3 + 4 * layer, per_token=2 * 4 * 256, values=4 * 256) for layer in range(16)]
    states = [CachedLayer("text", 0, state=48 * 128 * 128 + 3 * (2 * 16 * 128 + 48 * 128)) for _ in range(48)]
    cache = Cache(262_144, 1, (*growing, *states), CacheDtypes("float16", "float16", "float32"))
    parts = {part.kind: part.bytes for part in cache.byte_parts}
    assert parts["growing"] == 16_384 * 2**20
    assert 4 * parts["constant"] == 598.5 * 2**20


# --- As transformers caches

LATENT = {
    "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 99,
    "intermediate_size": 48, "moe_intermediate_size": 16, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 1,
    "topk_group": 1, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8, "index_n_heads": 2, "index_head_dim": 16, "index_topk": 64,
}  # fmt: skip
GROUPED = {**LLAMA, "num_key_value_heads": 2, "head_dim": 8, "num_hidden_layers": 4}
LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}


def cached_by_transformers(name: str, tokens: int, **fields: Any) -> tuple[Cache, dict[str, int]]:
    """Our cache, and the numbers in transformers' own after a run, by the attributes of its layers."""
    config = getattr(transformers, f"{name}Config")(**fields)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        cache = model(torch.arange(tokens)[None] % 90 + 3, use_cache=True).past_key_values
    held: dict[str, int] = {}
    for layer in cache.layers:
        for attribute, value in vars(layer).items():
            if attribute == "values" and value is vars(layer)["keys"]:
                continue
            held[attribute] = held.get(attribute, 0) + sum(
                t.numel() for t in tensors_in(value) if t.is_floating_point()
            )
    inventory = inventory_from_module(model).untied()
    return Cache(tokens, 1, cached_layers(locate_shares(inventory), Settings(inventory.settings))), held


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("DeepseekV3", LATENT),
        ("DeepseekV32", LATENT),
        ("GlmMoeDsa", LATENT),
        ("GlmMoeDsa", {**LATENT, "indexer_types": ["full", "shared", "full", "shared"]}),
        ("Qwen3Next", {**GROUPED, **LINEAR, "num_experts": 4, "num_experts_per_tok": 2}),
        ("Lfm2", {**GROUPED, "layer_types": ["conv", "full_attention", "conv", "conv"]}),
        # What has a window, and what hasn't, by another name of the list.
        ("NemotronH", {**GROUPED, "sliding_window": 8}),
        ("Gemma2", {**GROUPED, "sliding_window": 64}),
    ],
    ids=[
        "latent",
        "index keys",
        "index keys of all",
        "index keys of some",
        "delta net",
        "convolution",
        "hybrid",
        "window",
    ],
)
def test_as_much_as_transformers_caches(name: str, fields: dict[str, Any]) -> None:
    if not hasattr(transformers, f"{name}Config"):
        pytest.skip("a newer transformers has it")
    cache, held = cached_by_transformers(name, 16, **fields)
    assert cache.numbers() == sum(held.values())


def test_index_keys_of_deepseek_v3_2() -> None:
    if not hasattr(transformers, "DeepseekV32Config"):
        pytest.skip("a newer transformers has it")
    cache = cache_of("DeepseekV32")
    # 61 layers of 512 numbers of the latent, 64 of the rotary key and 128 of the index key.
    assert half(cache.per_token) == 85_888
    assert {part.kind: half(int(part.per_token.total)) for part in cache.parts} == {
        "growing": 70_272,
        "index": 61 * 256,
    }


def test_blocks_of_tokens_that_are_kept_as_one() -> None:
    if not hasattr(transformers, "DeepseekV4Config"):
        pytest.skip("a newer transformers has it")
    kinds = ["sliding_attention", "heavily_compressed_attention", "compressed_sparse_attention"]
    rates = {"heavily_compressed_attention": 8, "compressed_sparse_attention": 4}
    fields = {**LATENT, "num_hidden_layers": 3, "layer_types": kinds, "compress_rates": rates, "num_key_value_heads": 1,
              "head_dim": 8, "sliding_window": 6}  # fmt: skip
    cache, held = cached_by_transformers("DeepseekV4", 21, **fields)
    assert [layer.window for layer in cache.layers] == [6, 6, 6]
    parts = {part.kind: part.numbers for part in cache.parts}
    # transformers keeps one token less than the window, as the next one comes first.
    assert (parts["window"], held["keys"]) == (3 * 6 * 8, 3 * 5 * 8)
    assert parts["compressed"] == held["compressed_kv"] == 2 * 8 + 5 * (8 + 16)


# --- As llama.cpp caches, by the metadata of a GGUF file


def gguf_costs(path: Path, architecture: str, tokens: int, tensors: Any = None, **metadata: Any) -> Costs:
    """Of four heads of 64 numbers and two key-value heads, unless the tensors are given."""
    layers = metadata.get("block_count", 4)
    known = {"block_count": layers, "embedding_length": 256, "attention.head_count": 4, "attention.head_count_kv": 2}
    given = {key.replace("__", "."): value for key, value in metadata.items()}
    file = gguf_model(path / "x.gguf", architecture, {**known, **given}, tensors or decoder_tensors(layers, 256, 128))
    (model,) = attncli.params(file, context=tokens).models
    return model.costs._replace(notes=(*model.notes, *model.costs.notes))


def numbers(costs: Costs) -> int:
    assert costs.cache is not None
    return costs.cache.numbers()


WINDOW = {"attention__sliding_window": 512}


@pytest.mark.parametrize(
    ("architecture", "layers", "full", "tokens"),
    [
        ("gemma2", 2, [1], 8192),
        ("gpt-oss", 4, [1, 3], 4096),
        ("gemma3", 6, [5], 4096),
        ("gemma3n", 6, [4], 4096),
        # The first of four.
        ("cohere2moe", 6, [0, 4], 4096),
        ("phi3", 2, [0, 1], 4096),
    ],
)
def test_windows_that_llama_cpp_sets_itself(
    tmp_path: Path, architecture: str, layers: int, full: list[int], tokens: int
) -> None:
    found = gguf_costs(tmp_path, architecture, tokens, block_count=layers, **WINDOW)
    assert found.cache is not None
    assert [layer.layer for layer in found.cache.layers if layer.window is None] == full
    assert numbers(found) == 256 * (len(full) * tokens + (layers - len(full)) * 512)
    assert found.notes == ()
    # Two multiplications and additions for each of 4 · 64 numbers of queries, and of values.
    assert found.flops.attention == 2 * 512 * (len(full) * tokens + (layers - len(full)) * 512)


@pytest.mark.parametrize(
    ("metadata", "windows"),
    [
        ({"attention__sliding_window_pattern": [True, False, True, True]}, [512, None, 512, 512]),
        ({"attention__sliding_window_pattern": [1, 0, 1, 1]}, [512, None, 512, 512]),
        ({"attention__sliding_window_pattern": 3}, [512, 512, None, 512]),
        ({"attention__sliding_window_pattern": 1}, [None] * 4),
        ({"attention__sliding_window_pattern": 0}, [512] * 4),
        ({"attention__sliding_window": 0}, [None] * 4),
    ],
    ids=["flags", "numbers", "period", "all full", "all windowed", "switched off"],
)
def test_windows_that_the_metadata_lists(tmp_path: Path, metadata: dict[str, Any], windows: list[int | None]) -> None:
    found = gguf_costs(tmp_path, "gemma2", 4096, **{**WINDOW, **metadata})
    assert found.cache is not None
    assert [layer.window for layer in found.cache.layers] == windows


def test_sizes_that_llama_cpp_sets_itself(tmp_path: Path) -> None:
    for architecture, metadata, windows in (
        ("llama4", {}, [8192, 8192, 8192, None]),
        ("llama4", {"attention__sliding_window": 0}, [None] * 4),
        ("smallthinker", WINDOW, [None, 4096, 4096, 4096]),
        ("smallthinker", {}, [None] * 4),
    ):
        found = gguf_costs(tmp_path, architecture, 16_384, **metadata)
        assert found.cache is not None
        assert [layer.window for layer in found.cache.layers] == windows


def test_a_window_that_nobody_places_is_in_no_layer(tmp_path: Path) -> None:
    found = gguf_costs(tmp_path, "novel", 4096, **WINDOW)
    assert numbers(found) == 4 * 256 * 4096
    assert (
        found.notes[0]
        == "it has an attention window of 512 tokens but doesn't say in which layers: all are counted as full"
    )


def test_layers_that_share_anothers_keys_and_layers_that_dont_run(tmp_path: Path) -> None:
    pattern = {**WINDOW, "attention__sliding_window_pattern": [True, False, True, False]}
    shared = gguf_costs(tmp_path, "gemma4", 4096, **pattern, attention__shared_kv_layers=2)
    assert numbers(shared) == 256 * (512 + 4096)
    tensors = {**decoder_tensors(4, 256, 128), "blk.3.nextn.eh_proj.weight": (256, 512)}
    whole = gguf_costs(tmp_path, "glm4moe", 4096)
    predicting = gguf_costs(tmp_path, "glm4moe", 4096, tensors, nextn_predict_layers=1)
    assert numbers(predicting) == 3 * 256 * 4096
    assert predicting.flops.attention * 4 == whole.flops.attention * 3
    assert predicting.flops.linear < whole.flops.linear
    assert "are for multi-token prediction and are not used by the model itself" in predicting.notes[0]


def test_index_keys_of_a_gguf_file(tmp_path: Path) -> None:
    tensors = decoder_tensors(4, 256, 128) | {f"blk.{layer}.indexer.attn_k.weight": (24, 256) for layer in (0, 2)}
    assert numbers(gguf_costs(tmp_path, "deepseek32", 1000, tensors)) == 1000 * (4 * 256 + 2 * 24)


def delta_net_tensors(layers: int, interval: int) -> dict[str, tuple[int, ...]]:
    """As llama.cpp's converter writes Qwen 3.5: two heads of keys, four of values, of 64 numbers each."""
    linear = [layer for layer in range(layers) if (layer + 1) % interval]
    found = decoder_tensors(layers, 256, 128, without_attention=linear)
    for layer in linear:
        shapes = {
            "attn_qkv.weight": (512, 256), "attn_gate.weight": (256, 256), "ssm_conv1d.weight": (512, 4),
            "ssm_dt.bias": (4,), "ssm_a": (4,), "ssm_beta.weight": (4, 256), "ssm_alpha.weight": (4, 256),
            "ssm_norm.weight": (64,), "ssm_out.weight": (256, 256),
        }  # fmt: skip
        found |= {f"blk.{layer}.{name}": shape for name, shape in shapes.items()}
    return found


STATE_SPACE = {"ssm__conv_kernel": 4, "ssm__inner_size": 256, "ssm__state_size": 64, "ssm__group_count": 2}


def test_linear_attention_of_a_gguf_file(tmp_path: Path) -> None:
    tensors = delta_net_tensors(4, 4)
    found = gguf_costs(tmp_path, "qwen35", 4096, tensors, **STATE_SPACE, full_attention_interval=4)
    # One layer grows. Three have the outer products of four heads, and three inputs of the convolution's 512 channels.
    assert numbers(found) == 1_048_576 + 3 * (4 * 64 * 64 + 3 * 512)
    assert found.flops.attention == 2 * (256 + 256) * 4096


def test_a_state_space_without_attention_of_a_gguf_file(tmp_path: Path) -> None:
    tensors: dict[str, tuple[int, ...]] = {"token_embd.weight": (99, 64), "output_norm.weight": (64,)}
    for layer in range(2):
        shapes = {
            "attn_norm.weight": (64,), "ssm_in.weight": (256, 64), "ssm_conv1d.weight": (128, 4),
            "ssm_conv1d.bias": (128,), "ssm_x.weight": (36, 128), "ssm_dt.weight": (128, 4), "ssm_dt.bias": (128,),
            "ssm_a": (128, 16), "ssm_d": (128,), "ssm_out.weight": (64, 128),
        }  # fmt: skip
        tensors |= {f"blk.{layer}.{name}": shape for name, shape in shapes.items()}
    heads = {"attention__head_count": 0, "attention__head_count_kv": 0}
    sizes = {"ssm__conv_kernel": 4, "ssm__state_size": 16, "ssm__inner_size": 128, "feed_forward_length": 0}
    found = gguf_costs(tmp_path, "mamba", 1000, tensors, block_count=2, **heads, **sizes)
    # A state of 16 numbers a channel and three inputs; Mamba 2.8B has 64 layers of 5,120 channels: 23.75 MiB.
    assert numbers(found) == 2 * 128 * (16 + 3)
    assert 4 * 64 * 5120 * (16 + 3) == 23.75 * (1 << 20)


# --- Kinds of layers


def test_a_kind_of_layer_that_isnt_known_is_named_and_counts_as_full() -> None:
    fields = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "sliding_window": 8}
    inventory = inventory_of("Llama", **LLAMA)
    kinds = {**fields, "layer_types": ["sliding_attention", "folded_attention"]}
    changed = inventory._replace(settings={"": (kinds,)})
    found = attncli_costs(changed, 100)
    assert found.cache is not None
    assert [layer.window for layer in found.cache.layers] == [8, None]
    assert found.notes == (
        "the cache of layers of the kind 'folded_attention' is unknown: 1 layer is counted as full attention",
    )


def attncli_costs(inventory: Any, tokens: int) -> Costs:
    from attncli.parameters.costs import CostsRequest, estimate_costs

    return estimate_costs(inventory, CostsRequest(tokens), total=inventory.total, generates=True)


def test_patterns_in_a_config_json_that_lists_no_layers() -> None:
    def kinds(**fields: Any) -> Any:
        return [
            kind == "full_attention" for kind in with_layer_types({"num_hidden_layers": 4, **fields})["layer_types"]
        ]  # type: ignore[attr-defined]

    window = {"sliding_window": 8}
    assert kinds(model_type="gemma2", **window) == [False, True] * 2
    assert kinds(model_type="cohere2", sliding_window_pattern=4, **window) == [False] * 3 + [True]
    assert kinds(model_type="qwen2", use_sliding_window=True, max_window_layers=3, **window) == [True] * 3 + [False]
    for fields in ({"model_type": "mistral", **window}, {"model_type": "gemma2"}, {"model_type": "phi3", **window}):
        assert "layer_types" not in with_layer_types({"num_hidden_layers": 4, **fields})
    inner = with_layer_types({"text_config": {"num_hidden_layers": 2, "model_type": "gemma2", **window}})
    assert inner["text_config"]["layer_types"] == ["sliding_attention", "full_attention"]  # type: ignore[index]


@pytest.mark.parametrize("name", ["Gemma2", "Gemma3Text", "GptOss", "Cohere2"])
def test_llama_cpp_and_transformers_have_the_same_pattern(name: str) -> None:
    config = getattr(transformers, f"{name}Config")(num_hidden_layers=12)
    pattern = DEFAULT_PATTERNS[config.model_type.removesuffix("_text").replace("gpt_oss", "gpt-oss")]
    assert pattern.layer_types(12) == config.layer_types
