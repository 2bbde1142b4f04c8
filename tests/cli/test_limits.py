"""What a configuration says about the layers and heads of a model, before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from attncli.api.configured_limits import ConfiguredLimits, Limit, configured_limits
from attncli.attention.selection import parse_selection
from attncli.embeddings.state_selection import parse_states
from attncli.errors import UsageError

EXACT = ConfiguredLimits(Limit(6, True), Limit(12, True))


@pytest.mark.parametrize(
    ("fields", "limits"),
    [
        ({"model_type": "bert", "num_hidden_layers": 6}, EXACT),
        ({"model_type": "gpt2", "n_layer": 3}, ConfiguredLimits(Limit(3, True), Limit(12, True))),
        # Two stacks, of which the class doesn't say which is the larger.
        (
            {"model_type": "bart", "encoder_layers": 2, "decoder_layers": 5, "encoder_attention_heads": 4},
            ConfiguredLimits(Limit(5, False), Limit(16, False)),
        ),
        # Layers that are computed from others, configurations within one that are missing, and types that aren't known.
        ({"model_type": "longcat_flash", "num_layers": 4}, ConfiguredLimits(None, Limit(64, True))),
        ({"model_type": "clip", "text_config": {"model_type": "clip_text_model"}}, ConfiguredLimits()),
        ({"model_type": "novel", "num_hidden_layers": 6}, ConfiguredLimits()),
        ({"num_hidden_layers": 6}, ConfiguredLimits()),
        (None, ConfiguredLimits()),
    ],
    ids=lambda it: it.get("model_type", "none") if isinstance(it, dict) else "",
)
def test_limits_are_those_that_no_model_of_the_configuration_exceeds(
    fields: Mapping[str, Any] | None, limits: ConfiguredLimits
) -> None:
    assert configured_limits(fields) == limits


@pytest.mark.parametrize(
    ("layer", "head", "message"),
    [
        ("6", None, "there is no layer 6 in the model"),
        ("-7", None, "there is no layer -7 in the model"),
        ("0-6", None, "there is no layer 6 in the model"),
        (None, "6.0", "there is no layer 6 in the model"),
        (None, "5.12", "there is no head 12 in layer 5"),
        (None, "12", "there is no head 12 in a layer"),
    ],
)
def test_what_is_beyond_the_limits_is_refused(layer: str | None, head: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EXACT.check_selection(parse_selection(layer, head))


def test_what_is_within_the_limits_is_left_to_the_model() -> None:
    EXACT.check_selection(parse_selection("0-5,-6", "5.11,-1.-12"))
    EXACT.check_states(parse_states("0-6,-7"))
    ConfiguredLimits().check_selection(parse_selection("99", "99.99"))
    with pytest.raises(UsageError, match="there is no state 7 in the model") as caught:
        EXACT.check_states(parse_states("7"))
    assert caught.value.hint == "--state accepts states 0-6"


def test_an_upper_limit_is_told_as_one() -> None:
    with pytest.raises(UsageError) as caught:
        ConfiguredLimits(Limit(5, False)).check_selection(parse_selection("5"))
    assert caught.value.hint == "the model has at most the layers 0-4"
