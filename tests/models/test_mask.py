"""The mask that is a rule: the same as transformers' own mask, row by row, and a real tensor to whoever computes."""

from __future__ import annotations

import pytest
import torch
from transformers import masking_utils

from attncli.models.capture.attention_types import QueryKeyAttention, WeightsAttention
from attncli.models.capture.lazy_mask import LazyMaskTensor, lazy_mask, restrict_to_selected

PADDING = torch.tensor([[True] * 7, [False, False, True, True, True, True, True]])
RULES = {
    "causal": masking_utils.causal_mask_function,
    "bidirectional": masking_utils.bidirectional_mask_function,
    "window": masking_utils.sliding_window_causal_mask_function(3),
}


def arguments(rule: str, padding: torch.Tensor | None, use_vmap: bool = False) -> dict[str, object]:
    return {
        "batch_size": 2,
        "q_length": 7,
        "kv_length": 7,
        "mask_function": RULES[rule],
        "attention_mask": padding,
        "use_vmap": use_vmap,
        "dtype": torch.float32,
        "device": torch.device("cpu"),
    }


@pytest.mark.parametrize("use_vmap", [False, True])
@pytest.mark.parametrize("padding", [None, PADDING], ids=["whole", "padded"])
@pytest.mark.parametrize("rule", RULES)
def test_rows_are_those_of_transformers_mask(rule: str, padding: torch.Tensor | None, use_vmap: bool) -> None:
    given = arguments(rule, padding, use_vmap)
    whole = masking_utils.sdpa_mask(**given, allow_is_causal_skip=False)
    mask = lazy_mask(**given, allow_is_causal_skip=True, config=None)
    for start, stop in ((0, 7), (2, 5), (6, 7)):
        assert torch.equal(mask.definition.rows(start, stop).expand(2, 1, -1, -1), whole[:, :, start:stop])


def test_a_lazy_mask_is_a_tensor_that_becomes_real_when_computed_with() -> None:
    given = arguments("causal", PADDING)
    mask = lazy_mask(**given)
    assert isinstance(mask, torch.Tensor) and mask.shape == (2, 1, 7, 7) and mask.dtype == torch.float32
    real = masking_utils.eager_mask(**given)
    for computed in (mask + 0, mask[:, :, :, :7], torch.cat([mask, mask])[:2], mask.to(torch.float64).float()):
        assert type(computed) is torch.Tensor and torch.equal(computed, real)
    assert "LazyMaskTensor" in repr(mask) and isinstance(mask, LazyMaskTensor)


def test_it_stays_a_rule_on_another_device() -> None:
    mask = lazy_mask(**arguments("causal", PADDING)).to("meta")
    assert isinstance(mask, LazyMaskTensor) and mask.device.type == "meta"
    assert (
        mask.definition.rows(0, 2).device.type
        == mask.definition.visibility.device.type
        == (mask + 0).device.type
        == "meta"
    )


def attention(mask: torch.Tensor | None, *, is_causal: bool = False) -> QueryKeyAttention:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4, 7, 8), torch.randn(2, 2, 7, 8), torch.randn(2, 2, 7, 6)
    return QueryKeyAttention(query, key, value, mask, is_causal, 0.5)


def whole(call: QueryKeyAttention) -> torch.Tensor:
    return torch.cat([block.weights for block in call.blocks()], dim=2)


def test_every_form_of_a_mask_means_the_same() -> None:
    given = arguments("causal", None)
    boolean = masking_utils.sdpa_mask(**given, allow_is_causal_skip=False)
    additive = masking_utils.eager_mask(**given)
    expected = whole(attention(lazy_mask(**given)))
    for call in (attention(boolean), attention(additive), attention(None, is_causal=True)):
        torch.testing.assert_close(whole(call), expected)
    assert (whole(attention(None)) > 0).all()


def test_an_additive_mask_may_be_a_bias_too() -> None:
    bias = torch.linspace(-3, 3, 49).reshape(1, 1, 7, 7)
    call = attention(bias)
    scores = call.query @ call.key.repeat_interleave(2, dim=1).transpose(2, 3) * 0.5 + bias
    torch.testing.assert_close(whole(call), scores.softmax(-1))
    assert all(block.visible.all() for block in call.blocks())


def test_a_row_that_sees_nothing_is_even_and_not_nan() -> None:
    hidden = torch.zeros(1, 1, 7, 7, dtype=torch.bool)
    torch.testing.assert_close(whole(attention(hidden)), torch.full((2, 4, 7, 7), 1 / 7))


def test_weights_that_a_family_hands_out() -> None:
    weights = torch.tensor([[[[1.0, 0.0], [0.25, 0.75]]]])
    (block,) = WeightsAttention(weights).blocks()
    assert torch.equal(block.weights, weights) and block.visible.tolist() == [[[[True, False], [True, True]]]]
    assert not WeightsAttention(weights).has_sink and WeightsAttention(weights * 0.5).has_sink


@pytest.mark.parametrize("form", ["rule", "boolean", "additive", "none"])
def test_a_search_leaves_only_the_keys_that_it_chose(form: str) -> None:
    given = arguments("causal", None)
    boolean = masking_utils.sdpa_mask(**given, allow_is_causal_skip=False).expand(2, -1, -1, -1)
    forms = {
        "rule": lazy_mask(**given),
        "boolean": boolean,
        "additive": masking_utils.eager_mask(**given),
        "none": None,
    }
    selected = torch.tensor([[[0, row, -1]] for row in range(7)]).transpose(0, 1).expand(2, -1, -1)
    chosen = torch.zeros(2, 1, 7, 7, dtype=torch.bool)
    for row in range(7):
        chosen[:, :, row, [0, row]] = True
    call = attention(restrict_to_selected(forms[form], selected, keys=7))
    visible = torch.cat([block.visible.expand(2, 1, -1, -1) for block in call.blocks()], dim=2)
    assert torch.equal(visible, chosen)
    torch.testing.assert_close(whole(call), whole(attention(chosen)))
