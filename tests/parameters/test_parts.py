"""Where tensors stand: parts, layers by their true index, and rows."""

from __future__ import annotations

from attncli.parameters.count import count_parameters
from attncli.parameters.inventory import inventory_from_header
from tests.parameters.counting import counted, inventory_of

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def test_a_vision_language_model_has_towers_and_a_projector() -> None:
    vision = TINY | {"model_type": "clip_vision_model"}
    text = TINY | {"model_type": "llama", "num_key_value_heads": 4}
    found = counted("Llava", vision_config=vision, text_config=text)
    assert list(dict.fromkeys(component.part for component in found.components)) == ["vision", "projector", "text"]
    projector = {entry.component: entry.parameters for entry in found.components if entry.part == "projector"}
    assert projector == {"mlp.up": 33 * 32, "mlp.down": 33 * 32}
    towers = [(part, layer) for part in ("vision", "text") for layer in range(2)]
    assert [(layer.part, layer.layer) for layer in found.layers] == towers


def test_layers_hold_what_stands_in_them() -> None:
    found = counted("Bert", **TINY)
    by_hand = 4 * (32 * 32 + 32) + (32 * 48 + 48) + (48 * 32 + 32) + 2 * 2 * 32
    assert [(layer.layer, layer.parameters) for layer in found.layers] == [(0, by_hand), (1, by_hand)]
    assert found.layers[0].stack == "encoder.layer"


def test_layers_keep_their_true_index() -> None:
    names = [f"model.layers.{layer}.mlp.{name}.weight" for layer in (3, 7) for name in ("up_proj", "down_proj")]
    shapes = dict.fromkeys(names, (4, 4))
    assert [layer.layer for layer in count_parameters(inventory_from_header(shapes), model="a shard").layers] == [3, 7]


def test_rows_by_tensor_add_up_and_name_the_cut() -> None:
    inventory = inventory_of("GPT2", n_embd=32, n_layer=1, n_head=4, vocab_size=99)
    found = count_parameters(inventory, model="gpt2", by="tensor")
    rows = [row for row in found.rows if row.tensor == "transformer.h.0.attn.c_attn.weight"]
    assert [(row.component, row.parameters, row.shape) for row in rows] == [
        (f"attention.{kind}", 1024, (32, 96)) for kind in ("query", "key", "value")
    ]
    assert rows[0].module == "transformer.h.0.attn.c_attn"
    assert sum(row.parameters for row in found.rows) == found.total


def test_rows_by_module_go_as_deep_as_asked() -> None:
    inventory = inventory_of("Bert", **TINY)
    shallow = count_parameters(inventory, model="bert", by="module", depth=1)
    assert {row.module for row in shallow.rows} == {"embeddings", "encoder", "pooler"}
    assert sum(row.parameters for row in shallow.rows) == shallow.total
    deep = count_parameters(inventory, model="bert", by="module", depth=3)
    assert {row.module for row in deep.rows if row.module.startswith("encoder")} == {
        "encoder.layer.0",
        "encoder.layer.1",
    }
