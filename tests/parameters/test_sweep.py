"""Every architecture of transformers: exact, everything once, hardly anything without a component."""

from __future__ import annotations

import pytest

from tests.parameters.sweep import Outcome, sweep, table

pytestmark = pytest.mark.sweep


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    found = sweep()
    print(table(found))
    return found


def test_nearly_every_model_type_can_be_built(outcomes: list[Outcome]) -> None:
    built = [found for found in outcomes if found.reason is None]
    assert len(built) >= 0.85 * len(outcomes), [found for found in outcomes if found.reason]


def test_components_sum_exactly_to_the_module(outcomes: list[Outcome]) -> None:
    assert [found for found in outcomes if not found.exact] == []


def test_little_is_left_in_other(outcomes: list[Outcome]) -> None:
    limit = {True: 0.01, False: 0.05}
    wrong = {found.model_type: found.other_share for found in outcomes if found.other_share > limit[found.is_text]}
    assert wrong == {}


def test_the_families_of_known_answers_have_no_other(outcomes: list[Outcome]) -> None:
    families = {"gpt2", "bert", "t5", "llama", "mixtral", "gpt_oss", "deepseek_v3", "vit", "mamba", "albert"}
    found = {outcome.model_type: outcome.other for outcome in outcomes if outcome.model_type in families}
    assert found == dict.fromkeys(families, 0)
