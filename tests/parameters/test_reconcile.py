"""A checkpoint against a module: what differs, and why; nothing is left unexplained or told twice."""

from __future__ import annotations

from math import prod
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from attncli.models.builtin.preset_modules import preset_module
from attncli.models.builtin.presets import read_preset
from attncli.models.loading.meta_model import module_names
from attncli.parameters.inventory import Inventory, Tensor, inventory_from_module
from attncli.parameters.name_rules import Kind
from attncli.parameters.quantization import WeightTensor
from attncli.parameters.reconcile import reconcile
from attncli.results.reconciliation import FAULTS, Reconciliation, TensorDifference


def weights(name: str, *shape: int) -> WeightTensor:
    return WeightTensor(name, shape, "F32", 4 * prod(shape))


def inventory(*tensors: Tensor, **config: Any) -> Inventory:
    return Inventory(tensors, {"": (config,)})


TABLE = Tensor("embed.weight", (10, 4), Kind.EMBEDDING, aliases=(Tensor("lm_head.weight", (10, 4)),))
LAYERS = tuple(Tensor(f"layers.{n}.q.weight", (4, 4)) for n in range(2))
MODULE = inventory(TABLE, *LAYERS)
CHECKPOINT = [weights("embed.weight", 10, 4), weights("layers.0.q.weight", 4, 4), weights("layers.1.q.weight", 4, 4)]


def test_what_agrees_has_no_differences() -> None:
    assert reconcile(MODULE, CHECKPOINT) == Reconciliation(72, 72, 72, ())
    # Which of its names a tied tensor is saved under makes no difference.
    assert reconcile(MODULE, [weights("lm_head.weight", 10, 4), *CHECKPOINT[1:]]).differences == ()


def test_a_tied_copy_that_was_saved() -> None:
    found = reconcile(MODULE, [*CHECKPOINT, weights("lm_head.weight", 10, 4)])
    assert found.differences == (TensorDifference("tied_copy", "lm_head.weight", None, 1, 40, 0),)
    assert (found.checkpoint_total, found.matched, found.agrees) == (112, 72, True)


def test_buffers() -> None:
    masks = [weights(f"layers.{n}.attn.bias", 1, 1, 8, 8) for n in range(2)]
    found = reconcile(MODULE, [*CHECKPOINT, *masks, weights("position_ids", 1, 8)])
    assert found.differences == (
        TensorDifference("buffer", "layers.*.attn.bias", None, 2, 128, 0),
        TensorDifference("buffer", "position_ids", None, 1, 8, 0),
    )
    assert found.agrees


def test_a_layer_for_multi_token_prediction() -> None:
    more = [weights("layers.2.q.weight", 4, 4), weights("layers.2.eh_proj.weight", 4, 8)]
    found = reconcile(MODULE, [*CHECKPOINT, *more])
    assert [(each.reason, each.checkpoint_parameters) for each in found.differences] == [
        ("prediction_layer", 16),
        ("prediction_layer", 32),
    ]
    assert found.agrees
    plain = [weights("layers.2.q.weight", 4, 4)]
    told = inventory(TABLE, *LAYERS, num_nextn_predict_layers=1)
    assert [each.reason for each in reconcile(told, [*CHECKPOINT, *plain]).differences] == ["prediction_layer"]
    apart = [weights("mtp.layers.0.q.weight", 4, 4)]
    assert [each.reason for each in reconcile(MODULE, [*CHECKPOINT, *apart]).differences] == ["prediction_layer"]


def test_a_layer_too_many() -> None:
    found = reconcile(MODULE, [*CHECKPOINT, weights("layers.2.q.weight", 4, 4)])
    assert found.differences == (TensorDifference("extra_layer", "layers.*.q.weight", None, 1, 16, 0),)
    assert not found.agrees
    assert not found.is_same_model


def test_what_is_loaded_is_what_was_counted_where_the_checkpoint_has_more() -> None:
    found = reconcile(MODULE, [*CHECKPOINT, weights("pooler.weight", 4), weights("pooler.bias", 2)])
    assert (found.agrees, found.is_same_model, found.unexpected) == (False, True, 6)


def test_missing_and_unexpected_tensors() -> None:
    found = reconcile(MODULE, [*CHECKPOINT[:2], weights("pooler.weight", 4)])
    assert found.differences == (
        TensorDifference("missing", None, "layers.*.q.weight", 1, 0, 16),
        TensorDifference("unexpected", "pooler.weight", None, 1, 4, 0),
    )
    assert (found.matched, found.agrees, found.is_same_model) == (56, False, False)


def test_another_size() -> None:
    found = reconcile(MODULE, [weights("embed.weight", 12, 4), *CHECKPOINT[1:]])
    assert found.differences == (TensorDifference("size", "embed.weight", "embed.weight", 1, 48, 40),)
    assert (found.matched, found.agrees) == (32, False)


def test_names_that_differ() -> None:
    names = {f"h.{n}.query.weight": f"layers.{n}.q.weight" for n in range(2)}
    found = reconcile(MODULE, [CHECKPOINT[0], *(weights(name, 4, 4) for name in names)], names)
    assert found.differences == (TensorDifference("renamed", "h.*.query.weight", "layers.*.q.weight", 2, 32, 32),)
    assert found.matched == 72


def test_experts_that_become_one_tensor() -> None:
    module = inventory(Tensor("layers.0.experts.gate_up_proj", (2, 8, 4)))
    names = {f"layers.0.moe.{e}.{w}.weight": "layers.0.experts.gate_up_proj" for e in range(2) for w in ("w1", "w3")}
    found = reconcile(module, [weights(name, 4, 4) for name in names], names)
    pattern = "layers.*.moe.*.w1.weight, layers.*.moe.*.w3.weight"
    assert found.differences == (TensorDifference("merged", pattern, "layers.*.experts.gate_up_proj", 4, 64, 64),)
    assert found.agrees


def test_a_module_whose_tensors_add_up_is_the_same_by_other_names() -> None:
    module = inventory(*(Tensor(f"layers.{n}.{name}.weight", (4, 4)) for n in range(2) for name in "qkv"))
    found = reconcile(module, [weights(f"layers.{n}.qkv.weight", 12, 4) for n in range(2)])
    names = "layers.*.k.weight, layers.*.q.weight, layers.*.v.weight"
    assert found.differences == (TensorDifference("merged", "layers.*.qkv.weight", names, 2, 96, 96),)
    assert found.matched == 96


def test_mixtral_as_it_is_published() -> None:
    preset = read_preset("mixtral-8x7b")
    module = preset_module(preset._replace(fields={**preset.fields, "num_hidden_layers": 1}))
    moe = "model.layers.0.block_sparse_moe"
    stored = [
        *(weights(f"{moe}.experts.{e}.{w}.weight", 14336, 4096) for e in range(8) for w in ("w1", "w3")),
        *(weights(f"{moe}.experts.{e}.w2.weight", 4096, 14336) for e in range(8)),
        weights(f"{moe}.gate.weight", 8, 4096),
        *(weights(f"model.layers.0.self_attn.{p}_proj.weight", 4096, 4096) for p in "qo"),
        *(weights(f"model.layers.0.self_attn.{p}_proj.weight", 1024, 4096) for p in "kv"),
        *(weights(f"model.layers.0.{norm}_layernorm.weight", 4096) for norm in ("input", "post_attention")),
        weights("model.norm.weight", 4096),
        weights("model.embed_tokens.weight", 32000, 4096),
        weights("lm_head.weight", 32000, 4096),
    ]
    found = reconcile(inventory_from_module(module), stored, module_names(module, [each.name for each in stored]))
    assert found.agrees
    assert found.matched == found.module_total == found.checkpoint_total
    assert [(each.reason, each.module) for each in found.differences] == [
        ("renamed", "model.layers.*.mlp.gate.weight"),
        ("merged", "model.layers.*.mlp.experts.gate_up_proj"),
        ("merged", "model.layers.*.mlp.experts.down_proj"),
    ]


NAMES = st.sampled_from([
    "embed.weight", "lm_head.weight", "layers.0.q.weight", "layers.1.q.weight", "layers.2.q.weight", "layers.0.bias",
    "layers.0.qkv.weight", "mtp.q.weight", "position_ids", "x",
])  # fmt: skip
STORED = st.lists(st.builds(weights, NAMES, st.integers(1, 4), st.integers(1, 4)), unique_by=lambda w: w.name)


@given(STORED)
def test_every_parameter_is_matched_or_told_once(stored: list[WeightTensor]) -> None:
    found = reconcile(MODULE, stored)
    gone = {"tied_copy", "buffer", "prediction_layer", *FAULTS}
    held = sum(each.checkpoint_parameters for each in found.differences if each.reason in gone)
    wanted = sum(each.module_parameters for each in found.differences if each.reason in gone)
    assert found.checkpoint_total - held == found.matched == found.module_total - wanted
