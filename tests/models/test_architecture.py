"""Which class a configuration stands for, and its module without weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from attncli.errors import ModelError
from attncli.models.loading.meta_model import empty_module, named_class_note, whole_class


def class_name(config: str, **fields: Any) -> str:
    made = getattr(transformers, f"{config}Config")(**fields)
    return whole_class(made).__name__


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("GPT2", "GPT2LMHeadModel"),
        ("Llama", "LlamaForCausalLM"),
        ("XLNet", "XLNetLMHeadModel"),
        ("T5", "T5ForConditionalGeneration"),
        ("Whisper", "WhisperForConditionalGeneration"),
        ("Bert", "BertModel"),
        ("ViT", "ViTModel"),
        # A part of a model, which stands in none of transformers' tables.
        ("CLIPText", "CLIPTextModel"),
        ("SamMaskDecoder", "SamMaskDecoder"),
        # Listed as a causal model, by a class that takes a part of the configuration only.
        ("Llama4", "Llama4ForConditionalGeneration"),
    ],
)
def test_without_architectures(config: str, expected: str) -> None:
    assert class_name(config) == expected


def test_architectures_go_first() -> None:
    assert class_name("Bert", architectures=["BertForPreTraining"]) == "BertForPreTraining"
    assert class_name("Bert", architectures=["NoSuchClass", "BertForMaskedLM"]) == "BertForMaskedLM"


def test_a_class_that_takes_a_part_of_the_configuration() -> None:
    text = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48,
            "num_hidden_layers": 2, "cross_attention_layers": [1], "vocab_size": 99, "pad_token_id": 0}  # fmt: skip
    config = transformers.MllamaConfig(text_config=text, architectures=["MllamaForCausalLM"])
    assert whole_class(config) is transformers.MllamaForCausalLM
    module = empty_module(transformers.MllamaForCausalLM, config)
    with torch.device("meta"):
        expected = transformers.MllamaForCausalLM(config.text_config)
    assert {name: part.shape for name, part in module.named_parameters()} == {
        name: part.shape for name, part in expected.named_parameters()
    }
    assert named_class_note(transformers.MllamaForCausalLM, config) is None


def test_a_class_that_is_not_honoured_is_named() -> None:
    def note(*architectures: str) -> str | None:
        config = transformers.BertConfig(architectures=list(architectures))
        return named_class_note(whole_class(config), config)

    assert note("BertForMaskedLM") is None
    assert note() == "config.json has no architectures: counted as BertModel"
    assert note("OurBert") == "config.json names OurBert, which transformers doesn't have: counted as BertModel"
    assert note("GPT2LMHeadModel") == (
        "config.json names GPT2LMHeadModel, which doesn't accept this configuration: counted as BertModel"
    )


def test_an_encoder_that_says_it_decodes_is_a_decoder() -> None:
    assert class_name("Bert", is_decoder=True) == "BertLMHeadModel"


def test_what_a_configuration_leaves_open_follows_by_convention() -> None:
    config = transformers.MinistralConfig(hidden_size=64, num_attention_heads=4, num_hidden_layers=1, head_dim=None)
    module = empty_module(whole_class(config), config)
    assert module.get_submodule("model.layers.0.self_attn.q_proj").weight.shape == (64, 64)
    assert config.head_dim is None


def test_a_refused_configuration_says_what_is_wrong() -> None:
    config = transformers.BertConfig(hidden_size=30, num_attention_heads=4)
    with pytest.raises(ModelError, match="hidden size") as raised:
        empty_module(whole_class(config), config)
    assert "\n" not in raised.value.message


def test_a_class_whose_package_is_missing_is_told() -> None:
    from transformers.utils.import_utils import DummyObject

    class Unavailable(metaclass=DummyObject):
        _backends = ("torchaudio_of_the_moon",)

        def __init__(self, *_: Any) -> None:
            raise ImportError("Unavailable requires a library")

    with pytest.raises(
        ModelError, match="Unavailable needs a package that is not installed: Unavailable requires a library"
    ):
        empty_module(Unavailable, transformers.BertConfig())  # type: ignore[arg-type]
