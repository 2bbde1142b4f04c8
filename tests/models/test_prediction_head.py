"""Models with their language-model heads: which class is loaded, and what is done where the weights have no head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from attncli.api.loading import ModelLoader
from attncli.models.loading.weights import full_depth
from tests.cli.conftest import attn
from tests.tiny import FAMILIES, build, byte_bpe

CLASSES = {"gpt2": "GPT2LMHeadModel", "bert": "BertForMaskedLM", "t5": "T5ForConditionalGeneration",
           "bart": "BartForConditionalGeneration"}  # fmt: skip


def saved(folder: Path, family: str, cls: str | None) -> Path:
    """A model as a folder with a byte-level tokenizer, with its head if a class is named."""
    config = FAMILIES[family]()
    config.vocab_size = 400
    torch.manual_seed(0)
    made = build(config) if cls is None else getattr(transformers, cls)(config)
    made.save_pretrained(folder)
    byte_bpe(bos=True).save(str(folder / "tokenizer.json"))
    return folder


def loaded(folder: Path, *, predicts: bool = True) -> Any:
    loader = ModelLoader(str(folder))
    return loader.load(loader.files(), full_depth, predicts=predicts)


@pytest.mark.parametrize("family", CLASSES)
def test_the_class_is_that_of_the_checkpoint(family: str, tmp_path: Path) -> None:
    model = loaded(saved(tmp_path, family, CLASSES[family]))
    assert (model.class_name, model.predicts, model.predicts_masks) == (CLASSES[family], True, family == "bert")
    assert not loaded(tmp_path, predicts=False).predicts


def test_weights_without_a_head_are_loaded_without_it(tmp_path: Path) -> None:
    model = loaded(saved(tmp_path, "bert", None))
    assert (model.class_name, model.predicts) == ("BertModel", False)


def test_a_masked_model_predicts_at_a_chosen_position_alone(tmp_path: Path) -> None:
    folder = str(saved(tmp_path, "bert", "BertForMaskedLM"))
    refused = attn("heads", "-m", folder, "a cat", "--predict")
    assert refused.code == 2
    assert refused.error[0] == "--predict: this model predicts masked tokens, and the text has no mask"
    chosen = attn("heads", "-m", folder, "a cat", "--effect", "direct", "--predict", "--query", "1", "--json")
    assert chosen.code == 0, chosen.err
    data = json.loads(chosen.text)
    assert (data["effects"]["stack"], data["effects"]["position"]) == ("encoder", 1)
    assert abs(data["effects"]["unexplained"]) < 1e-4


def test_an_encoder_has_no_direct_effects_on_what_the_decoder_predicts(tmp_path: Path) -> None:
    folder = str(saved(tmp_path, "t5", CLASSES["t5"]))
    found = attn("heads", "-m", folder, "a cat", "--target", "ein", "--effect", "direct", "--json")
    assert found.code == 0, found.err
    data = json.loads(found.text)
    values = {stack["stack"]: [head["direct"] for head in stack["effects"]] for stack in data["stacks"]}
    assert set(values["encoder"]) == {None}
    assert all(value is not None for stack in ("decoder", "cross") for value in values[stack])
    effects = data["effects"]
    assert (effects["stack"], effects["position"]) == ("decoder", len(data["stacks"][1]["queries"]) - 1)
    total = sum(value or 0 for stack in values.values() for value in stack) + sum(p["direct"] for p in effects["parts"])
    assert total == pytest.approx(effects["outcome"]["value"], abs=1e-4)
