"""What configurations declare, read without importing transformers."""

from __future__ import annotations

import pytest
from transformers import CONFIG_MAPPING

from attncli.models.loading.config_source import declares_generation, declares_value


def test_who_gives_heads_a_width_of_their_own() -> None:
    fields = ("head_dim", "d_kv")
    assert declares_value("t5", fields) is True
    assert declares_value("qwen3", fields) is True
    assert declares_value("llama", fields) is False
    assert declares_value("no-such-model", fields) is None
    assert declares_value("../../etc", fields) is None


@pytest.mark.parametrize("model_type", ["t5", "mt5", "qwen3", "gemma", "llama", "mistral", "gpt2"])
def test_the_source_says_what_the_class_does(model_type: str) -> None:
    import dataclasses

    defaults = {field.name: field.default for field in dataclasses.fields(CONFIG_MAPPING[model_type])}
    has_value = any(type(defaults.get(name)) is int for name in ("head_dim", "d_kv"))
    assert declares_value(model_type, ("head_dim", "d_kv")) is has_value


@pytest.mark.parametrize(
    ("fields", "writes"),
    [
        ({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, True),
        ({"architectures": ["T5ForConditionalGeneration"]}, True),
        ({"architectures": ["BertModel"]}, False),
        ({"architectures": ["BertForMaskedLM"]}, False),
        ({"model_type": "llama"}, True),
        ({"model_type": "nomic-bert"}, False),
        ({}, False),
    ],
)
def test_who_writes(fields: dict[str, object], writes: bool) -> None:
    assert declares_generation(fields) is writes
