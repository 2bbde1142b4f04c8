"""Configurations that no model can have are refused from their file alone."""

from __future__ import annotations

import time
from typing import Any

import pytest

from attncli.errors import ModelError
from attncli.parameters.config_checks import check_numbers

SOUND = {"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "vocab_size": 99}


def check(fields: dict[str, Any], *, own_width: bool = False) -> None:
    check_numbers(fields, "tiny", has_head_width=lambda kind: own_width)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"num_attention_heads": 0}, "num_attention_heads is 0 (attention heads)"),
        ({"num_attention_heads": -4}, "num_attention_heads is -4 (attention heads)"),
        ({"num_attention_heads": 5}, "hidden_size, 32, can't be divided into 5 heads"),
        ({"num_key_value_heads": 3}, "num_attention_heads, 4, can't be shared by 3 key-value heads"),
        ({"num_hidden_layers": 10**12}, "num_hidden_layers is 1,000,000,000,000 (layers)"),
        ({"num_hidden_layers": 10**40}, "num_hidden_layers is at least 10^40 (layers)"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1 (layers)"),
        ({"num_local_experts": 10**9}, "num_local_experts is 1,000,000,000 (experts)"),
        ({"hidden_size": 0}, "hidden_size is 0 (width of a token)"),
        ({"hidden_size": 32.5}, "hidden_size is '32.5' instead of a number (width of a token)"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers is '2' instead of a number (layers)"),
        ({"vocab_size": -1}, "vocab_size is -1 (tokens in its vocabulary)"),
        ({"text_config": {"num_attention_heads": 0}}, "text_config.num_attention_heads is 0 (attention heads)"),
    ],
)
def test_numbers_that_cannot_be(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModelError) as caught:
        check({**SOUND, **fields})
    assert caught.value.message == f"the configuration of tiny is impossible: {sentence}"
    assert caught.value.hint.startswith("correct ")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"num_attention_heads": 5, "head_dim": 8},
        {"num_key_value_heads": None, "num_hidden_layers": 0, "max_position_embeddings": -1},
        {"num_attention_heads": [4, 2], "num_key_value_heads": [2, 1]},
        {"model_type": None, "num_attention_heads": 5},
    ],
)
def test_numbers_that_can_be(fields: dict[str, Any]) -> None:
    check({**SOUND, **fields})


def test_a_model_type_may_give_its_heads_a_width() -> None:
    check({**SOUND, "num_attention_heads": 5}, own_width=True)


def test_deep_nesting_ends() -> None:
    fields: dict[str, Any] = {}
    fields["text_config"] = fields
    started = time.monotonic()
    check(fields)
    assert time.monotonic() - started < 1
