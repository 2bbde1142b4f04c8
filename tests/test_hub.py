"""Known heads of published models, on their real weights. Skipped where the hub is out of reach."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from tests.attention.effects.indirect_objects import direct_effects_of, lines
from tests.cli.conftest import attn

pytestmark = pytest.mark.hub

#: Sentences with a plain direct object: the noun and its verb.
OBJECTS = (
    ("The old farmer sold the horse last week.", "horse", "sold"),
    ("My sister wrote a letter to the bank.", "letter", "wrote"),
    ("They painted the door in the morning.", "door", "painted"),
)


@pytest.fixture(scope="module", autouse=True)
def _reach() -> None:
    try:
        socket.create_connection(("huggingface.co", 443), timeout=3).close()
    except OSError as error:
        pytest.skip(f"no hub: {error}")


def _heads(*arguments: str) -> dict[str, dict[str, Any]]:
    outcome = attn("heads", *arguments, "--json")
    assert outcome.code == 0, outcome.error
    return {head["name"]: head for head in json.loads(outcome.text)["stacks"][0]["metrics"]}


def test_gpt2_reads_the_previous_token_and_what_followed_last_time() -> None:
    """Heads of Wang et al. 2022, Interpretability in the Wild: 4.11 feeds the induction heads."""
    found = _heads("-m", "gpt2", "--probe")
    assert "previous" in found["4.11"]["labels"]
    assert {name for name in ("5.5", "6.9") if "induction" in found[name]["labels"]} == {"5.5", "6.9"}
    ranked = sorted(found, key=lambda name: -found[name]["induction"])
    assert {"5.5", "5.8", "5.9", "6.9"} <= set(ranked[:24])


def test_bert_reads_the_next_token_the_separator_and_everything() -> None:
    """Heads of Clark et al. 2019, What Does BERT Look At?, which counts from 1."""
    found = _heads(OBJECTS[0][0], "-m", "google-bert/bert-base-uncased")
    assert "next" in found["2.0"]["labels"]
    assert "special" in found["7.6"]["labels"]
    broadest = sorted(found, key=lambda name: -found[name]["entropy"])[:24]
    assert "0.0" in broadest


@pytest.mark.parametrize(("sentence", "noun", "verb"), OBJECTS)
def test_bert_finds_the_verb_of_a_direct_object(sentence: str, noun: str, verb: str) -> None:
    chosen = ("--query", noun, "--key", verb, "--patterns")
    outcome = attn("heads", sentence, "-m", "google-bert/bert-base-uncased", *chosen, "--json")
    assert outcome.code == 0, outcome.error
    patterns = json.loads(outcome.text)["stacks"][0]["patterns"]
    weights = {f"{each['layer']}.{each['head']}": each["weights"][0][0] for each in patterns}
    assert "7.9" in sorted(weights, key=lambda name: -weights[name])[:5]


def test_gpt2_moves_names_to_where_an_indirect_object_stands() -> None:
    """Wang et al. 2022: a mean logit difference of 3.55; heads that write the name, and heads that write against it."""
    found = direct_effects_of("gpt2", lines())
    assert found.difference == pytest.approx(3.55, abs=0.6)
    assert {name for name in ("9.9", "10.0", "9.6") if found.intervals[name][0] > 0} == {"9.9", "10.0", "9.6"}
    assert {name for name in ("10.7", "11.10") if found.intervals[name][1] < 0} == {"10.7", "11.10"}
    assert {"9.9", "9.6", "10.7"} <= set(sorted(found.heads, key=lambda name: -abs(found.heads[name]))[:8])
