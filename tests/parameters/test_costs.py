"""Arithmetic, training and adapters on models whose numbers can be worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from attncli.errors import UsageError
from attncli.parameters.costs import CostsRequest, Stored, estimate_costs
from attncli.parameters.count import InventoryShares
from attncli.parameters.inventory import inventory_from_module
from attncli.parameters.lora import (
    LoraRequest,
    lora_adapters,
    no_matrix_error,
    parse_lora,
    unknown_name,
    unknown_name_error,
)
from attncli.parameters.published import published_format
from attncli.parameters.training import TrainingRequest
from attncli.results.cache import CACHE_BITS, by_dtype
from attncli.results.costs import Costs, Published
from tests.parameters.counting import LLAMA, counted, inventory_of


def costs_of(name: str, request: CostsRequest = CostsRequest(), *, generates: bool = True, **fields: Any) -> Costs:  # noqa: B008
    inventory = inventory_of(name, **fields)
    return estimate_costs(inventory, request, total=inventory.total, generates=generates)


def test_llama_3_1_8b() -> None:
    shape = {"num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8}
    found = costs_of("Llama", CostsRequest(context=8192), **shape, intermediate_size=14336, vocab_size=128256)
    assert found.flops.linear == 2 * (8_030_261_248 - 128_256 * 4096)
    assert found.flops.attention == 2 * 32 * 32 * (128 + 128) * 8192
    assert found.memory["bfloat16"] == 2 * 8_030_261_248
    assert found.attention_entries_per_head == 8192**2


def test_deepseek_v3_multiplies_what_is_active() -> None:
    found = costs_of("DeepseekV3", CostsRequest(context=1000))
    assert found.flops.linear == 2 * 36_625_603_584
    # 128 heads; queries and keys of 128 + 64 numbers, values of 128.
    assert found.flops.attention == 2 * 61 * 128 * (192 + 128) * 1000


def test_a_tied_unembedding_is_multiplied() -> None:
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 99, "n_positions": 16}
    found = costs_of("GPT2", **shape)
    block = 12 * 32 * 32 + 13 * 32  # four square matrices and twice four of them, biases, two norms
    assert found.flops.linear == 2 * (2 * block + 2 * 32 + 99 * 32)
    assert found.flops.context == 16


def test_a_window_bounds_attention() -> None:
    found = [
        costs_of("Mistral", CostsRequest(context=context), **LLAMA, num_key_value_heads=2, sliding_window=8).flops
        for context in (4, 8, 100)
    ]
    assert [flops.attention for flops in found] == [2 * 2 * (32 + 32) * seen for seen in (4, 8, 8)]


def test_a_layer_that_is_stored_once_runs_as_often_as_it_runs() -> None:
    shape = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 99}
    once, twelve = (
        costs_of("Albert", CostsRequest(context=10), **shape, embedding_size=16, num_hidden_layers=layers).flops
        for layers in (1, 12)
    )
    assert twelve.attention == 12 * once.attention
    # Four square matrices, the feed-forward network, biases and two norms.
    block = 4 * (32 * 32 + 32) + (32 * 48 + 48) + (48 * 32 + 32) + 2 * 2 * 32
    assert twelve.linear - once.linear == 2 * 11 * block


def test_a_model_without_attention_has_no_pattern() -> None:
    found = costs_of("Mamba", hidden_size=32, num_hidden_layers=2, state_size=4, vocab_size=99)
    assert (found.attends, found.growth, found.attention_entries_per_head) == (False, (), None)
    assert found.flops.attention == 0


def test_an_encoder_keeps_no_cache() -> None:
    found = costs_of("Bert", generates=False, **LLAMA)
    assert found.cache is None
    assert found.to_dict()["kv_cache_bytes_per_token"] == dict.fromkeys(CACHE_BITS, 0)


def test_a_context_that_nobody_names_is_assumed() -> None:
    t5 = costs_of("T5", d_model=32, num_layers=1, num_heads=4, d_kv=8, d_ff=48, vocab_size=99)
    assert t5.notes == ("its context length is unknown: 4,096 tokens are assumed (--context changes this)",)
    assert t5.made_for is None
    assert costs_of("Llama", **LLAMA).notes == ()


def test_a_context_beyond_what_a_model_is_made_for() -> None:
    beyond, within = (
        costs_of("Llama", CostsRequest(context=context), **LLAMA, max_position_embeddings=64) for context in (65, 64)
    )
    assert beyond.notes == ("it is made for 64 tokens: the figures for 65 tokens are beyond its limit",)
    assert (within.notes, within.made_for) == ((), 64)
    assert beyond.to_dict()["made_for"] == 64


WHISPER = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 99, "pad_token_id": 0, "max_source_positions": 20,
    "max_target_positions": 16,
}  # fmt: skip


@pytest.mark.parametrize("context", [4, 16, 1000])
def test_an_encoder_of_sound_has_as_many_positions_as_its_table(context: int) -> None:
    found = costs_of("Whisper", CostsRequest(context=context), **WHISPER)
    assert found.cache is not None
    # Two layers of keys and values of 32 numbers each: for every token of the text, and for 20 positions of the sound.
    assert found.cache.numbers() == 2 * 2 * 32 * (context + 20)
    assert found.cache.to_dict()["cross_positions"] == 20
    # The encoder's layer and the two layers' attention to it see 20 positions, the two layers' own the text.
    assert found.flops.attention == 2 * (32 + 32) * (3 * 20 + 2 * context)
    assert found.made_for == 16
    assert "its encoder always has 20 positions, and is counted with these" in found.notes


def test_an_encoder_of_pages_reads_their_texts_too() -> None:
    shape = {"d_model": 32, "num_layers": 1, "num_heads": 4, "d_kv": 8, "d_ff": 48, "vocab_size": 99}
    found = costs_of("Udop", CostsRequest(context=10), **shape)
    assert found.cache is not None
    assert found.cache.cross and found.cache.cross_positions is None


def test_bytes_by_dtype_round_up() -> None:
    assert by_dtype(3, {"int4": 4, "bfloat16": 16}) == {"int4": 2, "bfloat16": 6}


def test_adapters_of_separate_matrices() -> None:
    found = costs_of("Llama", CostsRequest(lora=LoraRequest(4)), **LLAMA, num_key_value_heads=2).lora
    assert found is not None
    assert [tuple(component) for component in found.components] == [
        ("attention.query", 2, 2 * 4 * (32 + 32)),
        ("attention.value", 2, 2 * 4 * (32 + 16)),
    ]
    assert found.parameters == 2 * 4 * (64 + 48)


def test_a_fused_matrix_has_one_adapter() -> None:
    found = costs_of("GPT2", CostsRequest(lora=LoraRequest(4)), n_embd=32, n_layer=2, n_head=4, vocab_size=99).lora
    assert found is not None
    assert [tuple(component) for component in found.components] == [("attention.query+key+value", 2, 2 * 4 * (32 + 96))]


def test_every_expert_has_an_adapter() -> None:
    found = costs_of("Mixtral", CostsRequest(lora=LoraRequest(1, ("moe.down",))), **LLAMA, num_local_experts=3).lora
    assert found is not None
    assert [tuple(component) for component in found.components] == [("moe.down", 6, 6 * (32 + 48))]


def test_adapters_of_what_a_model_has_not() -> None:
    request = LoraRequest(4, ("mixer",))
    found = costs_of("Llama", CostsRequest(lora=request, training=TrainingRequest()), **LLAMA)
    # Training the model itself is not what was asked for.
    assert (found.lora, found.training) == (None, {})
    assert found.notes == ("it has no mixer matrix for LoRA",)
    placed = InventoryShares(inventory_of("Llama", **LLAMA)).unique
    alone, several = (no_matrix_error(names, placed, request) for names in (["a"], ["a", "b"]))
    assert alone.message == "a has no mixer matrix for LoRA"
    assert several.message == "none of a, b has a mixer matrix for LoRA"
    assert alone.hint.startswith("--lora 4:COMPONENT accepts one or more of embedding.token, attention.query")


def test_adapters_stand_beside_what_multiplies() -> None:
    # Mamba's matrices: in (32 to 128), to time step and state (64 to 2 + 8), time step (2 to 64), out (64 to 32).
    fields = {"hidden_size": 32, "num_hidden_layers": 1, "state_size": 4, "vocab_size": 99, "time_step_rank": 2}
    found = costs_of("Mamba", CostsRequest(lora=LoraRequest(1, ("mixer",))), **fields).lora
    assert found is not None
    assert found.parameters == (32 + 128) + (64 + 10) + (2 + 64) + (64 + 32)
    assert sum(component.matrices for component in found.components) == 4


def test_adapters_come_in_the_order_of_components() -> None:
    found = costs_of("Whisper", CostsRequest(lora=LoraRequest(1, ("attention", "cross_attention"))), **WHISPER).lora
    assert found is not None
    kinds = ("query", "key", "value", "output")
    assert [component.component for component in found.components] == [
        *(f"attention.{kind}" for kind in kinds),
        *(f"cross_attention.{kind}" for kind in kinds),
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        (16, LoraRequest(16)),
        ("16", LoraRequest(16)),
        ("8:attention, mlp.up", LoraRequest(8, ("attention", "mlp.up"))),
        ("8:q_proj,v_proj", LoraRequest(8, (), ("q_proj", "v_proj"))),
        ("8:down_proj,mlp.down", LoraRequest(8, ("mlp.down",), ("down_proj",))),
        ("8:all", LoraRequest(8, ("attention", "cross_attention", "mlp", "moe", "mixer"))),
        ("8:all-linear", LoraRequest(8, (), ("all-linear",))),
    ],
)
def test_adapter_requests(given: int | str | None, expected: LoraRequest | None) -> None:
    assert parse_lora(given) == expected


@pytest.mark.parametrize("given", ["", "0", "-1", "x", ":mlp", 0, "1e3"])
def test_ranks_that_are_none(given: int | str) -> None:
    with pytest.raises(UsageError, match="has to start with a rank"):
        parse_lora(given)


def test_a_name_that_no_model_has() -> None:
    located = [InventoryShares(inventory_of(name, **LLAMA)).unique for name in ("Llama", "Bert")]
    everything = [entry for model in located for entry in model]
    assert unknown_name(located, LoraRequest(8, (), ("q_proj", "query", "all-linear", "o_proj"))) is None
    assert unknown_name(located, LoraRequest(8, (), ("q_proj", "atention"))) == "atention"
    error = unknown_name_error("atention", ["a", "b"], everything)
    assert error.message == "--lora: a, b has no component or module 'atention'"
    assert error.hint == "did you mean attention?"
    assert unknown_name_error("c_attn", ["a"], everything[:1]).hint.startswith("use attention.query, attention.key,")


def test_names_of_other_families_stand_for_components() -> None:
    shares = InventoryShares(inventory_of("GPT2", n_embd=32, n_layer=2, n_head=4, vocab_size=99)).unique
    assert lora_adapters(shares, LoraRequest(4, (), ("q_proj",))) == lora_adapters(shares, LoraRequest(4))
    assert lora_adapters(shares, LoraRequest(4, (), ("query",))) is None


TINY_BERT = {**LLAMA, "hidden_size": 96, "intermediate_size": 160}
TINY_T5 = {"d_model": 64, "d_kv": 32, "num_heads": 4, "d_ff": 192, "num_layers": 2, "vocab_size": 99}
AS_PEFT = [
    ("T5ForConditionalGeneration", TINY_T5, "8:all-linear", "all-linear", 53_248),
    ("T5ForConditionalGeneration", TINY_T5, "16:q,v", ["q", "v"], 36_864),
    ("T5ForConditionalGeneration", TINY_T5, "4:wi,wo,o", ["wi", "wo", "o"], None),
    ("BertModel", TINY_BERT, "8:all-linear", "all-linear", 22_016),
    ("BertModel", TINY_BERT, "4:dense", ["dense"], None),
    ("GPT2LMHeadModel", {"n_embd": 32, "n_layer": 2, "n_head": 4}, "8:wte,mlp.c_fc", ["wte", "mlp.c_fc"], None),
    ("LlamaForCausalLM", LLAMA, "8:down_proj,lm_head", ["down_proj", "lm_head"], None),
    ("WhisperForConditionalGeneration", WHISPER, "8:conv1,q_proj", ["conv1", "q_proj"], None),
    ("WhisperForConditionalGeneration", WHISPER, "8", ["q_proj", "v_proj"], None),
]


@pytest.mark.parametrize(("name", "fields", "given", "targets", "known"), AS_PEFT)
def test_adapters_as_peft_counts_them(
    name: str, fields: dict[str, Any], given: str, targets: Any, known: int | None
) -> None:
    peft = pytest.importorskip("peft")
    cls = getattr(transformers, name)
    with torch.device("meta"):
        model = cls(cls.config_class(**fields))
        inventory = inventory_from_module(model)
        request = parse_lora(given)
        assert request is not None
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=request.rank, target_modules=targets))
    found = lora_adapters(InventoryShares(inventory).unique, request)
    assert found is not None
    assert found.parameters == sum(each.numel() for path, each in adapted.named_parameters() if "lora_" in path)
    assert known is None or found.parameters == known


def test_experts_that_are_stored_together_are_no_linear_layers() -> None:
    request = CostsRequest(lora=LoraRequest(8, (), ("all-linear",)))
    found = costs_of("Mixtral", request, **LLAMA, num_local_experts=3)
    assert found.notes == (
        "its experts are stored together and are not linear layers: all-linear leaves them out (--lora "
        "RANK:moe adds them)",
    )
    assert costs_of("Llama", request, **LLAMA).notes == ()


# --- As published


def published_as(name: str, quantization: Any, dtype: str | None = "bfloat16", **fields: Any) -> Published | None:
    return published_format(InventoryShares(inventory_of(name, **fields)).unique, quantization, dtype)


def test_mxfp4_packs_the_experts() -> None:
    # The matrices of 32 experts in 24 layers in 4.25 bits, the rest in 16: what the published files hold.
    sizes = {"num_hidden_layers": 24, "num_local_experts": 32}
    found = published_as("GptOss", {"quant_method": "mxfp4"}, **sizes)
    assert found is not None
    assert (found.format, found.bytes) == ("MXFP4", 13_761_264_768)
    assert found.bits_per_weight == pytest.approx(8 * found.bytes / 20_914_757_184)


def test_fp8_packs_the_matrices_of_the_blocks() -> None:
    inventory, block = inventory_of("Llama", **LLAMA), 4 * 32 * 32 + 3 * 32 * 48
    blocks = {"quant_method": "fp8", "weight_block_size": [16, 16]}
    found = published_as("Llama", blocks, **LLAMA)
    assert found is not None
    # A scale of four bytes for each 16 × 16 weights.
    assert found.bytes == 2 * block + 2 * block // 256 * 4 + 2 * (inventory.total - 2 * block)
    kept = published_as("Llama", {**blocks, "modules_to_not_convert": ["model.layers.*.mlp", "lm_head"]}, **LLAMA)
    assert kept is not None
    assert kept.bytes - found.bytes == 2 * (3 * 32 * 48) - 2 * (3 * 32 * 48) // 256 * 4
    one = published_as("Llama", {**blocks, "modules_to_not_convert": ["model.layers.1.mlp"]}, **LLAMA)
    assert one is not None
    assert 2 * (one.bytes - found.bytes) == kept.bytes - found.bytes


def test_what_is_published_unpacked_or_in_another_way() -> None:
    total = inventory_of("Llama", **LLAMA).total
    plain = published_as("Llama", None, **LLAMA)
    assert plain is not None
    assert plain[:3] == ("bfloat16", 2 * total, 16.0)
    assert published_as("Llama", None, None, **LLAMA) is None
    assert published_as("Llama", {"quant_method": "novel"}, **LLAMA) is None


def test_no_context_exceeds_what_a_model_is_made_for() -> None:
    found = costs_of("Llama", CostsRequest(fit=1 << 30), **LLAMA, max_position_embeddings=64).fits
    assert found is not None
    assert {(choice.context, choice.by_positions) for choice in found.choices} == {(64, True)}
    # Beside the weights, 128 as the width of a token.
    weights = inventory_of("Llama", **LLAMA).total
    tight = costs_of("Llama", CostsRequest(fit=4 * (weights + 8 * 128)), **LLAMA, max_position_embeddings=64).fits
    assert tight is not None
    by_dtype = {choice.weights: choice for choice in tight.choices if choice.cache == choice.weights}
    assert (by_dtype["float32"].context, by_dtype["float32"].by_positions) == (8, False)
    assert (by_dtype["float16"].context, by_dtype["float16"].by_positions) == (64, True)


def test_the_published_format_is_among_what_fits() -> None:
    inventory = inventory_of("Llama", **LLAMA)
    published = Published("MXFP4", 1000, 4.5)
    found = estimate_costs(
        inventory,
        CostsRequest(fit=1000 + 2 * 256 * 10),
        total=inventory.total,
        generates=True,
        stored=Stored(published),
    )
    assert found.fits is not None
    # Two layers of keys and values of 32 numbers in bfloat16, ten times.
    assert ("MXFP4", "bfloat16", 20, False, 1256, 0) in found.fits.choices
    assert found.to_dict()["published"] == {
        "format": "MXFP4", "bytes": 1000, "bits_per_weight": 4.5, "components": [],
    }  # fmt: skip


def test_a_tied_unembedding_is_counted_again_among_the_readings() -> None:
    fields = {"d_model": 32, "num_layers": 1, "num_heads": 4, "d_kv": 8, "d_ff": 48, "vocab_size": 99}
    found = counted("T5", **fields)
    readings = {reading.name: reading.total for reading in found.readings}
    assert readings["untied"] == found.total + 99 * 32
    assert "untied" not in {reading.name for reading in counted("Llama", **LLAMA).readings}
