"""`--set`: fields of a configuration, changed as a user would in its file."""

from __future__ import annotations

from typing import Any

import pytest
import transformers

from attncli.errors import UsageError
from attncli.models.loading.config_overrides import override_fields, rebuild_config

LLAMA = {"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "vocab_size": 99}


def changed(*changes: str, config: transformers.PreTrainedConfig | None = None, **fields: Any) -> dict[str, Any]:
    return override_fields(config or transformers.LlamaConfig(**LLAMA), {**LLAMA, **fields}, changes)


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("num_hidden_layers=48", "num_hidden_layers", 48),
        ("vocab_size=128,256", "vocab_size", 128_256),
        ("vocab_size=128_256", "vocab_size", 128_256),
        ("max_position_embeddings=128k", "max_position_embeddings", 131_072),
        ("rms_norm_eps=1e-5", "rms_norm_eps", 1e-5),
        ("tie_word_embeddings=true", "tie_word_embeddings", True),
        ("hidden_act=gelu", "hidden_act", "gelu"),
        ("bos_token_id = 5", "bos_token_id", 5),
    ],
)
def test_values_keep_the_type_of_the_old_ones(change: str, field: str, value: object) -> None:
    found = changed(change)[field]
    assert (found, type(found)) == (value, type(value))


def test_what_follows_from_a_field_follows_from_its_new_value() -> None:
    config = transformers.LlamaConfig(**LLAMA)
    assert config.head_dim == 8
    assert rebuild_config(config, changed("hidden_size=64")).head_dim == 16


def test_a_field_may_be_called_as_other_models_call_it() -> None:
    config = transformers.GPT2Config(n_layer=2)
    fields = override_fields(config, {"model_type": "gpt2", "n_layer": 2}, ["num_hidden_layers=3"])
    assert fields == {"model_type": "gpt2", "n_layer": 3}
    assert rebuild_config(config, fields).num_hidden_layers == 3
    # The file may have used that other name as well.
    assert override_fields(config, {"num_hidden_layers": 2}, ["n_layer=3"]) == {"n_layer": 3}


def test_a_field_may_be_called_as_it_was_called_before() -> None:
    config = transformers.LlamaConfig(**LLAMA)
    fields = changed("torch_dtype=float16", torch_dtype="bfloat16")
    assert fields == {**LLAMA, "dtype": "float16"}
    assert str(rebuild_config(config, fields).dtype) == "torch.float16"
    # What the file says under its former name is no second opinion.
    assert changed("dtype=float16", torch_dtype="bfloat16") == fields


def test_a_field_of_a_part() -> None:
    config = transformers.LlavaConfig()
    fields = override_fields(config, {"model_type": "llava"}, ["text_config.num_hidden_layers=3"])
    assert rebuild_config(config, fields).text_config.num_hidden_layers == 3


def test_lists_of_layers_go_on_as_they_begin() -> None:
    kinds = ["sliding_attention", "full_attention"] * 2
    config = transformers.Gemma2Config(num_hidden_layers=4, layer_types=kinds)
    fields = {"num_hidden_layers": 4, "layer_types": kinds, "other": [1, 2]}
    more = override_fields(config, fields, ["num_hidden_layers=5"])
    assert more["layer_types"] == [*kinds, "sliding_attention"]
    assert more["other"] == [1, 2]
    assert override_fields(config, fields, ["num_hidden_layers=1"])["layer_types"] == ["sliding_attention"]
    assert fields["layer_types"] == kinds, "what was given stays as it is"


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ("layers", "--set layers: there is no KEY=VALUE in it", "write for instance --set num_hidden_layers=48"),
        (
            "model_type=gpt2",
            "--set model_type=gpt2: the model type can't be changed, because the other fields are those of llama",
            "name a model or a preset of the type gpt2; attn params --list-presets lists the presets",
        ),
        ("=5", "--set =5: there is no KEY=VALUE in it", "write for instance --set num_hidden_layers=48"),
        (
            "num_hiden_layers=5",
            "--set num_hiden_layers: LlamaConfig has no such field",
            "did you mean --set num_hidden_layers=…?",
        ),
        ("vocab_size=many", "--set vocab_size can't be 'many': it has to be a whole number", "its value now is 99"),
        ("vocab_size=1.5", "--set vocab_size can't be '1.5': it has to be a whole number", "its value now is 99"),
        ("use_cache=maybe", "--set use_cache can't be 'maybe': it has to be true or false", "its value now is true"),
        ("rms_norm_eps=small", "--set rms_norm_eps can't be 'small': it has to be a number", "its value now is 1e-06"),
    ],
)
def test_changes_that_cannot_be(change: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        changed(change)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_another_kind_of_part_is_another_configuration_too() -> None:
    with pytest.raises(
        UsageError,
        match=r"--set text_config.model_type=gpt2: the model type",
    ):
        override_fields(transformers.LlavaConfig(), {"model_type": "llava"}, ["text_config.model_type=gpt2"])
    assert changed("model_type=llama") == LLAMA


def test_a_field_of_a_part_that_was_named_without_it() -> None:
    with pytest.raises(UsageError) as caught:
        override_fields(transformers.LlavaConfig(), {}, ["num_key_value_heads=3"])
    assert caught.value.hint == "did you mean --set text_config.num_key_value_heads=…?"


def test_what_the_class_refuses_is_a_sentence() -> None:
    config = transformers.LlamaConfig(**LLAMA)
    with pytest.raises(UsageError, match="LlamaConfig doesn't accept the values of --set"):
        rebuild_config(config, {**LLAMA, "num_attention_heads": 0})
