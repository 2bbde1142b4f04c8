"""Arithmetic, training and adapters on models whose numbers can be worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from attncli.errors import UsageError
from attncli.parameters.costs import CostsRequest, estimate_costs, training_memory
from attncli.parameters.count import InventoryShares
from attncli.parameters.lora import LoraRequest, no_matrix_error, parse_lora
from attncli.results.costs import Costs, by_dtype
from tests.parameters.counting import inventory_of

LLAMA = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 99}


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
    assert found.to_dict()["kv_cache_bytes_per_token"] == dict.fromkeys(("float32", "bfloat16", "float16", "int8"), 0)


def test_attention_outgrows_the_matrices() -> None:
    shares = [flops.attention_share for flops in costs_of("Llama", **LLAMA, max_position_embeddings=4096).growth]
    assert shares == sorted(shares)
    assert shares[0] < 0.5 < shares[-1]


def test_a_context_that_nobody_names_is_assumed() -> None:
    t5 = costs_of("T5", d_model=32, num_layers=1, num_heads=4, d_kv=8, d_ff=48, vocab_size=99)
    assert t5.notes == ("it doesn't say how long its texts are: 4,096 tokens are assumed (--context)",)
    assert t5.made_for is None
    assert costs_of("Llama", **LLAMA).notes == ()


def test_a_context_beyond_what_a_model_is_made_for() -> None:
    beyond, within = (
        costs_of("Llama", CostsRequest(context=context), **LLAMA, max_position_embeddings=64) for context in (65, 64)
    )
    assert beyond.notes == ("it is made for 64 tokens: what is said of 65 is beyond what it takes",)
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
    assert "its encoder has 20 positions however long the text is, and is counted with as many" in found.notes


def test_an_encoder_of_pages_reads_their_texts_too() -> None:
    shape = {"d_model": 32, "num_layers": 1, "num_heads": 4, "d_kv": 8, "d_ff": 48, "vocab_size": 99}
    found = costs_of("Udop", CostsRequest(context=10), **shape)
    assert found.cache is not None
    assert found.cache.cross and found.cache.cross_positions is None


def test_an_encoder_of_texts_reads_as_much_as_is_asked_for() -> None:
    shape = {**WHISPER, "max_position_embeddings": 16}
    found = costs_of(
        "Bart", CostsRequest(context=16), **{name: shape[name] for name in shape if "_positions" not in name}
    )
    assert found.cache is not None
    assert found.cache.numbers() == 2 * 2 * 32 * (16 + 16)
    assert found.notes == ()


def test_bytes_by_dtype_round_up() -> None:
    assert by_dtype(3, {"int4": 4, "bfloat16": 16}) == {"int4": 2, "bfloat16": 6}


def test_training_holds_sixteen_bytes_a_parameter() -> None:
    found = training_memory(10)
    assert tuple(found["float32"]) == (40, 40, 80, 0)
    assert tuple(found["bfloat16"]) == (20, 20, 80, 40)
    assert {need.total for need in found.values()} == {160}


def test_training_adapters_freezes_the_rest() -> None:
    assert tuple(training_memory(10, 1)["bfloat16"]) == (22, 2, 8, 4)


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
    found = costs_of("Llama", CostsRequest(lora=request, training=True), **LLAMA)
    # Training the model itself is not what was asked for.
    assert (found.lora, found.training) == (None, {})
    assert found.notes == ("it has no matrix of mixer to adapt",)
    placed = InventoryShares(inventory_of("Llama", **LLAMA)).unique
    alone, several = (no_matrix_error(names, placed, request) for names in (["a"], ["a", "b"]))
    assert alone.message == "a has no matrix of mixer to adapt"
    assert several.message == "none of a, b has a matrix of mixer to adapt"
    assert alone.hint.startswith("--lora 4:COMPONENT takes one or several of embedding.token, attention.query")


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
        ("8:q_proj,v_proj", LoraRequest(8, ("attention.query", "attention.value"))),
        ("8:down_proj,mlp.down", LoraRequest(8, ("mlp.down", "moe.down"))),
        ("8:all", LoraRequest(8, ("attention", "cross_attention", "mlp", "moe", "mixer"))),
        ("8:all-linear", LoraRequest(8, ("attention", "cross_attention", "mlp", "moe", "mixer"))),
    ],
)
def test_adapter_requests(given: int | str | None, expected: LoraRequest | None) -> None:
    assert parse_lora(given) == expected


@pytest.mark.parametrize("given", ["", "0", "-1", "x", ":mlp", 0, "1e3"])
def test_ranks_that_are_none(given: int | str) -> None:
    with pytest.raises(UsageError, match="starts with a rank"):
        parse_lora(given)


def test_a_misspelt_component() -> None:
    with pytest.raises(UsageError) as caught:
        parse_lora("16:atention")
    assert caught.value.hint == "did you mean attention?"
    with pytest.raises(UsageError, match="there is no component 'lm'") as caught:
        parse_lora("16:lm")
    assert caught.value.hint.startswith("name attention.query, attention.key,")
    assert caught.value.hint.endswith("or as peft does q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, "
                                      "all, all-linear")  # fmt: skip
