"""The logit lens against the model's own modules, and which tokens and positions are meant."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attncli.attention.effects.direct import direct_effects
from attncli.attention.effects.prediction import RecordedRun, predict
from attncli.results.effects import OutcomeToken
from tests.attention.effects.predicting import ABOVE_MEAN, PREDICTING, build, recorded, run_of


def named(number: int) -> OutcomeToken:
    return OutcomeToken(number, f"t{number}")


def own_logits(run: RecordedRun) -> Tensor:
    arguments = {name: value for name, value in run.arguments.items() if isinstance(value, Tensor)}
    with torch.no_grad():
        logits: Tensor = run.model.module(**arguments).logits[0, run.position].float()
    return logits


@pytest.mark.parametrize("family", PREDICTING)
def test_the_last_state_predicts_what_the_model_does(family: str) -> None:
    run = run_of(family)
    expected = own_logits(run)
    prediction = predict(run, named(7), named, top=3)
    assert [token.id for token in prediction.tokens] == expected.topk(3).indices.tolist()
    assert [token.probability for token in prediction.tokens] == pytest.approx(
        expected.softmax(-1).topk(3).values.tolist(), abs=1e-5
    )
    assert [state.state for state in prediction.lens] == list(range(len(run.model.lists[-1].blocks) + 1))
    last = prediction.lens[-1]
    assert [token.id for token in last.tokens] == [token.id for token in prediction.tokens]
    assert last.answer.probability == pytest.approx(float(expected.softmax(-1)[7]), abs=1e-5)
    assert last.answer.rank == int((expected > expected[7]).sum()) + 1
    cap = PREDICTING[family][1].cap
    before = cap * torch.atanh(expected / cap) if cap else expected
    assert torch.allclose(run.logits.before_cap[0], before, atol=1e-3)


def test_states_in_between_go_through_the_final_norm_and_the_unembedding() -> None:
    run = run_of("llama")
    model: Any = run.model.module
    arguments = {name: value for name, value in run.arguments.items() if isinstance(value, Tensor)}
    with torch.no_grad():
        states = model(**arguments, output_hidden_states=True).hidden_states
        expected = [model.lm_head(model.model.norm(state[0, run.position])) for state in states[:-1]]
    lens = predict(run, named(7), named, top=1).lens
    for logits, state in zip(expected, lens, strict=False):
        assert state.tokens[0].id == int(logits.argmax())
        assert state.answer.probability == pytest.approx(float(logits.softmax(-1)[7]), abs=1e-5)


def test_more_states_than_tokens_are_read_in_several_rows() -> None:
    config = PREDICTING["gpt2"][0]()
    config.n_layer = 9
    run = recorded(build(config))
    assert len(predict(run, None, named, top=1).lens) == 10
    assert own_logits(run).argmax() == predict(run, None, named, top=1).lens[-1].tokens[0].id


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "bert", "bart"])
def test_shares_sum_to_the_logit_above_the_mean(family: str) -> None:
    run = run_of(family)
    found = direct_effects(run, ABOVE_MEAN)
    logits = run.logits.before_cap[0]
    total = sum(found.parts.values()) + sum(map(sum, found.heads.values()))
    assert total == pytest.approx(float(logits[7] - logits.mean()), abs=1e-4)


def test_parameters_that_have_gradients_change_nothing() -> None:
    model = build(PREDICTING["gpt2"][0]())
    trained = direct_effects(recorded(model.requires_grad_(True)), ABOVE_MEAN)
    frozen = direct_effects(recorded(model.requires_grad_(False)), ABOVE_MEAN)
    assert trained.parts == pytest.approx(frozen.parts)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_architecture_that_mixes_streams_adds_up() -> None:
    from tests.tiny import GROUPED, config_of

    config = config_of(
        "DeepseekV4", **GROUPED, head_dim=16, q_lora_rank=16, o_groups=2, o_lora_rank=8, qk_rope_head_dim=4,
        moe_intermediate_size=16, n_routed_experts=4, num_experts_per_tok=2, sliding_window=4, num_hash_layers=1,
    )  # fmt: skip
    found = direct_effects(recorded(build(config())), ABOVE_MEAN)
    assert len(found.heads) == 3
    assert abs(found.unexplained) < 1e-4


def test_an_adapter_predicts_at_any_position() -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed (extra adapters)")
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "o_proj", "down_proj"], init_lora_weights=False)
    adapted = peft.get_peft_model(build(PREDICTING["llama"][0]()), settings).eval()
    run = recorded(adapted)
    arguments = {name: value for name, value in run.arguments.items() if isinstance(value, Tensor)}
    with torch.no_grad():
        expected = adapted(**arguments).logits[0, run.position]
    assert torch.allclose(run.logits.own[0], expected, atol=1e-5)
    assert predict(run, None, named, top=1).lens[-1].tokens[0].id == int(expected.argmax())
    assert abs(direct_effects(run, ABOVE_MEAN).unexplained) < 1e-4
