"""How far heads are apart: by hand, and two models or two texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

import attncli
from attncli.attention.head_differences import compute_difference, total_variation
from attncli.errors import UsageError
from attncli.results.heads import HeadsResult
from attncli.results.patterns import Bins, Pattern
from tests import tiny
from tests.render.heads_samples import head, on_offset, pattern, result, stack, tokens

IDS = [5, 7, 9, 11, 5, 7, 9, 13, 17]
TEXT = "The cat sat on the mat because it was tired"


def of(*rows: list[float], bins: Bins | None = None) -> Pattern:
    return Pattern(0, 0, np.array(rows, dtype=np.float32), bins)


def test_total_variation_by_hand() -> None:
    same, moved = of([1, 0], [0.5, 0.5]), of([0, 1], [0.5, 0.5])
    assert total_variation(same, same) == 0
    # All of the first row, nothing of the second.
    assert total_variation(same, moved) == pytest.approx(0.5)
    # A sink takes a quarter that went to a key.
    assert total_variation(of([1, 0]), of([0.75, 0])) == pytest.approx(0.25)
    # A row that stands for three queries counts three times.
    bins = Bins(((0, 3), (3, 4)), ((0, 1), (1, 2)))
    assert total_variation(of([1, 0], [0, 1], bins=bins), of([0, 1], [0, 1], bins=bins)) == pytest.approx(0.75)


def test_total_variation_is_a_distance() -> None:
    random = np.random.default_rng(0)
    a, b, c = (of(*random.dirichlet(np.ones(5), size=4).tolist()) for _ in range(3))
    assert total_variation(a, b) == total_variation(b, a) > 0
    assert total_variation(a, c) <= total_variation(a, b) + total_variation(b, c) + 1e-12


def result_with(*values: dict[str, float], weights: np.ndarray | None = None, size: int = 12) -> HeadsResult:
    """A result of two heads."""
    heads = tuple(head(f"0.{number}", **changed) for number, changed in enumerate(values))
    patterns = () if weights is None else (pattern("0.0", weights), pattern("0.1", on_offset(0, size)))
    return result(stack(*patterns, heads=heads))


def test_heads_are_in_the_order_of_their_change() -> None:
    here = result_with({}, {"first": 0.1, "induction": 0.2}, weights=on_offset(-1))
    there = result_with({}, {"first": 0.5, "induction": 0.1}, weights=on_offset(1))
    by_pattern = compute_difference(here, there, "models", metric=None, patterns=False)
    assert by_pattern.by_total_variation and by_pattern.stacks[0].patterns == ()
    assert [one.name for one in by_pattern.stacks[0].heads] == ["0.0", "0.1"]
    assert by_pattern.stacks[0].heads[0].total_variation == pytest.approx(0.9)
    by_metric = compute_difference(here, there, "models", metric="first", patterns=True)
    assert [one.name for one in by_metric.stacks[0].heads] == ["0.1", "0.0"]
    changed = by_metric.stacks[0].heads[0]
    assert changed.largest == "first" and changed.changes["first"] == pytest.approx(0.4)
    assert changed.changes["induction"] == pytest.approx(-0.1)
    np.testing.assert_allclose(by_metric.stacks[0].patterns[0].weights, on_offset(1) - on_offset(-1))


def test_without_patterns_the_largest_change_of_a_share_counts() -> None:
    # Entropy is no share: its change can't be compared with the others.
    here, there = result_with({"entropy": 0.1}, {}), result_with({"entropy": 2.0, "next": 0.3}, {"first": 0.9})
    found = compute_difference(here, there, "texts", metric=None, patterns=False)
    assert not found.by_total_variation
    assert [(one.name, one.largest) for one in found.stacks[0].heads] == [("0.1", "first"), ("0.0", "next")]


def test_other_shapes_are_named() -> None:
    here, there = result_with({}, {}), result(stack(layers=stack().layers[:1]))
    with pytest.raises(UsageError, match=r"encoder 2 layers of 4 heads .* encoder 1 layer of 4 heads"):
        compute_difference(here, there, "models", metric=None, patterns=False)


def test_patterns_of_other_lengths_are_refused_and_metrics_are_not() -> None:
    texts = tokens(*"abcd")
    other = result(stack(pattern("0.0", on_offset(0, 4)), heads=(head("0.0", first=0.5),), queries=texts, keys=texts))
    here = result(stack(pattern("0.0", on_offset(0)), heads=(head("0.0", first=0.1),)))
    with pytest.raises(UsageError, match="12 by 12 tokens in the encoder, and 4 by 4"):
        compute_difference(here, other, "texts", metric=None, patterns=True)
    found = compute_difference(here, other, "texts", metric=None, patterns=False)
    assert found.stacks[0].heads[0].total_variation is None
    assert found.stacks[0].heads[0].change == pytest.approx(0.4)


def two_models() -> list[transformers.PreTrainedModel]:
    """A model, and the same with one head of its second layer moved."""
    base, tuned = tiny.build(tiny.llama()), tiny.build(tiny.llama())
    with torch.no_grad():
        tuned.layers[1].self_attn.q_proj.weight[8:16] *= 3
    return [base, tuned]


def test_a_model_and_its_fine_tune() -> None:
    found = attncli.heads(model=two_models(), input_ids=IDS)
    assert found.difference is not None and found.difference.kind == "models"
    (changed,) = found.difference.stacks
    variation = {head.name: head.total_variation or 0.0 for head in changed.heads}
    assert changed.heads[0].name == "1.1" and variation["1.1"] > 0.05
    # Nothing before that head changed.
    assert all(variation[f"0.{number}"] == 0 for number in range(4))
    assert [variation[f"1.{number}"] for number in (0, 2, 3)] == [0, 0, 0]
    assert found.stacks[0].patterns == () and changed.patterns == ()


def test_the_pattern_of_a_chosen_head_is_that_of_both() -> None:
    base, tuned = two_models()
    found = attncli.heads(model=[base, tuned], input_ids=IDS, head="1.1")
    here, there = (attncli.heads(model=one, input_ids=IDS, head="1.1").stacks[0].patterns[0] for one in (base, tuned))
    (pattern_,) = found.difference.stacks[0].patterns  # type: ignore[union-attr]
    np.testing.assert_allclose(pattern_.weights, there.weights - here.weights, atol=1e-7)
    np.testing.assert_array_equal(found.stacks[0].patterns[0].weights, here.weights)


def test_probes_are_compared_by_their_metrics() -> None:
    found = attncli.heads(model=["builtin:induction", "builtin:induction"], probe=True)
    assert found.difference is not None and not found.difference.by_total_variation
    assert all(change in (0, None) for head in found.difference.stacks[0].heads for change in head.changes.values())
    assert not any("different numbers of tokens" in note for note in found.notes)


def test_two_texts_on_the_default_model() -> None:
    found = attncli.heads(TEXT, against=TEXT.replace("cat", "dog"))
    assert found.difference is not None and found.difference.kind == "texts"
    first = found.difference.stacks[0].heads[0]
    assert first.name == "5.4" and first.total_variation == pytest.approx(0.263, abs=0.01)
    shorter = attncli.heads(TEXT, against="The cat sat")
    assert any("different numbers of tokens" in note for note in shorter.notes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": ["a", "b", "c"]}, "3 models"),
        ({"model": ["a", "b"], "against": "x"}, "--against can't be combined with two models"),
        (
            {"against": "x", "check": "0.0 first > 1"},
            "--check can't be combined with --against: it tests one model on one text",
        ),
        ({"against": "x", "rollout": True}, "--rollout can't be combined with --against"),
        ({"against": "x", "norm_weighted": True}, "don't sum to 1"),
    ],
)
def test_what_cannot_be_compared(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        attncli.heads("some text", **arguments)


@pytest.mark.parametrize("text", [None, ["a", "b"]])
def test_a_text_is_compared_with_a_text(text: list[str] | None) -> None:
    with pytest.raises(UsageError, match="compares one text with another one"):
        attncli.heads(text, against="x")
