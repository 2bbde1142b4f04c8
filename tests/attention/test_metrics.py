"""Metrics on values that can be computed by hand, and the closed forms of attention without weights."""

from __future__ import annotations

import math

import pytest
import torch

from attncli.attention.inputs import build_inputs
from attncli.attention.metrics import MetricSums, QueryKeySides, Side, uniform_weights
from attncli.attention.selection import HeadsRequest
from attncli.metrics import METRICS
from attncli.models.loading.loaded_model import wrap_model
from tests import tiny
from tests.tiny import read_heads


def side(ids: list[int], special: tuple[int, ...] = (), real: list[int] | None = None) -> Side:
    row = torch.tensor([ids])
    real_row = torch.tensor([real or [1] * len(ids)]).bool()
    return Side(row, torch.isin(row, torch.tensor(special, dtype=torch.long)), real_row, (tiny.tokens(ids, special),))


def measure(weights: list[list[float]], ids: list[int], *, visible: torch.Tensor | None = None, **kwargs: object):
    return sums_of(weights, ids, visible=visible, **kwargs).means()[0][0]


def sums_of(
    weights: list[list[float]], ids: list[int], *, visible: torch.Tensor | None = None, **kwargs: object
) -> MetricSums:
    one = side(ids, **kwargs)
    sums = MetricSums(QueryKeySides(one, one, same_sequence=True), has_sink=False)
    matrix = torch.as_tensor(weights)[None, None]
    sums.add(0, matrix, torch.ones_like(matrix, dtype=torch.bool) if visible is None else visible)
    return sums


A = [
    [0.5, 0.25, 0.25, 0.0],
    [0.0, 0.0, 1.0, 0.0],
    [0.1, 0.2, 0.3, 0.4],
    [0.25, 0.25, 0.25, 0.25],
]


def test_every_metric_by_hand() -> None:
    # Tokens a b a c: only the second a has an earlier copy, and what followed the first a is b (position 1).
    values = measure(A, [5, 6, 5, 7], special=(7,))
    rows = [[-sum(a * math.log(a) for a in row if a) for row in A]]
    assert values["entropy"] == pytest.approx(sum(rows[0]) / 4)
    by_row = [0.25 + 0.5, 1.0, 0.1 * 2 + 0.2 + 0.4, 0.25 * (3 + 2 + 1)]
    assert values["distance"] == pytest.approx(sum(by_row) / 4)
    assert values["confidence"] == pytest.approx((0.5 + 1 + 0.4 + 0.25) / 4)
    assert values["previous"] == pytest.approx((0.0 + 0.2 + 0.25) / 3)
    assert values["current"] == pytest.approx((0.5 + 0.0 + 0.3 + 0.25) / 4)
    assert values["next"] == pytest.approx((0.25 + 1.0 + 0.4) / 3)
    assert values["first"] == pytest.approx((0.5 + 0.0 + 0.1 + 0.25) / 4)
    assert values["special"] == pytest.approx((0.0 + 0.0 + 0.4 + 0.25) / 4)
    assert values["duplicate"] == pytest.approx(0.1)
    assert values["induction"] == pytest.approx(0.2)
    assert values["virtual_sink"] is None


def test_what_no_query_can_show_is_none() -> None:
    values = measure(A, [5, 6, 7, 8])
    assert values["special"] is None and values["duplicate"] is None and values["induction"] is None
    causal = torch.ones(1, 1, 4, 4, dtype=torch.bool).tril()
    assert measure(A, [5, 6, 7, 8], visible=causal)["next"] is None


def test_padding_takes_no_part() -> None:
    padded = measure([[*row, 0.0] for row in A] + [[0.2] * 5], [5, 6, 5, 7, 0], real=[1, 1, 1, 1, 0])
    assert padded == pytest.approx(measure(A, [5, 6, 5, 7]))


def test_first_is_the_first_real_token() -> None:
    left = measure([[0.2] * 5] + [[0.0, *row] for row in A], [0, 5, 6, 5, 7], real=[0, 1, 1, 1, 1])
    assert left["first"] == pytest.approx((0.5 + 0.0 + 0.1 + 0.25) / 4)


def test_blocks_of_rows_add_up() -> None:
    one = side([5, 6, 5, 7])
    whole, parts = (MetricSums(QueryKeySides(one, one, same_sequence=True), has_sink=False) for _ in range(2))
    matrix, visible = torch.tensor([[A]]), torch.ones(1, 1, 4, 4, dtype=torch.bool)
    whole.add(0, matrix, visible)
    for start, stop in ((0, 1), (1, 3), (3, 4)):
        parts.add(start, matrix[:, :, start:stop], visible[:, :, start:stop])
    assert parts.means() == whole.means()


def test_a_sink_is_what_rows_lack() -> None:
    one = side([5, 6])
    sums = MetricSums(QueryKeySides(one, one, same_sequence=True), has_sink=True)
    sums.add(0, torch.tensor([[[[0.5, 0.25], [0.0, 0.5]]]]), torch.ones(1, 1, 2, 2, dtype=torch.bool))
    assert sums.means()[0][0]["virtual_sink"] == pytest.approx((0.25 + 0.5) / 2)


def test_uniform_spreads_over_what_is_visible() -> None:
    visible = torch.tensor([[[[True, False], [True, True], [False, False]]]])
    assert uniform_weights(visible).tolist() == [[[[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]]]]


@pytest.mark.parametrize("length", [2, 12])
def test_closed_forms_without_weights(length: int) -> None:
    """With W_Q = W_K = 0 every visible key gets the same weight, and the means have closed forms."""
    model = tiny.build(tiny.llama())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "q_proj" in name or "k_proj" in name:
                parameter.zero_()
    loaded = wrap_model(model)
    (stack,) = read_heads(loaded, build_inputs(loaded, [tiny.tokens(list(range(3, 3 + length)))]), HeadsRequest())
    harmonic = sum(1 / n for n in range(1, length + 1))
    expected = {
        "entropy": math.lgamma(length + 1) / length,
        "distance": (length - 1) / 4,
        "first": harmonic / length,
        "previous": (harmonic - 1) / (length - 1),
    }
    for head in stack.metrics:
        assert {name: head.values[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    # Uniform attention is its own baseline.
    assert stack.baselines[0] == pytest.approx(stack.metrics[0].values, abs=1e-6)


def test_special_tokens_that_repeat_show_a_metric_and_earn_no_label() -> None:
    one = side([9, 5, 6, 9, 5, 7, 9], special=(9,))
    whole, parts = (MetricSums(QueryKeySides(one, one, same_sequence=True), has_sink=False) for _ in range(2))
    weights = torch.full((1, 1, 7, 7), 1 / 7)
    visible = torch.ones_like(weights, dtype=torch.bool)
    whole.add(0, weights, visible)
    parts.add(0, weights[:, :, :4], visible[:, :, :4])
    parts.add(4, weights[:, :, 4:], visible[:, :, 4:])
    for sums in (whole, parts):
        # Rows 3, 4 and 6 have earlier copies; of these, 4 alone is no special token.
        assert sums.query_counts(0)["induction"] == sums.query_counts(0)["duplicate"] == 1
        assert sums.query_counts(0)["previous"] == 6
        assert sums.total_queries()[[*METRICS].index("induction")] == 1
        assert sums.means()[0][0]["induction"] == pytest.approx((1 / 7 + 1 / 7 + 2 / 7) / 3)


def test_token_is_the_ordinary_key_that_the_other_queries_read_most() -> None:
    weights = [[0.1, 0.6, 0.2, 0.1], [0.2, 0.5, 0.2, 0.1], [0.3, 0.6, 0.1, 0.0], [0.7, 0.3, 0.0, 0.0]]
    sums = sums_of(weights, [5, 6, 5, 7])
    # Key 1: 0.6, 0.6, 0.3 of the queries 0, 2, 3; its own 0.5 doesn't count. Key 0: 0.2, 0.3, 0.7.
    assert sums.means()[0][0]["token"] == pytest.approx(0.5)
    assert sums.token_indices() == [[1]]
    # Where key 1 is special, key 0 is left.
    special = sums_of(weights, [5, 6, 5, 7], special=(6,))
    assert (special.means()[0][0]["token"], special.token_indices()) == (pytest.approx(0.4), [[0]])


def test_the_last_tokens_of_a_causal_text_are_read_by_too_few() -> None:
    # Each query reads the one before it: the mean over the one query that sees the last but one key would be 1.
    weights = torch.eye(6).roll(1, dims=0).tril()
    weights[0, 0] = 1
    sums = sums_of(weights.tolist(), [1, 2, 3, 4, 5, 6], visible=torch.ones(6, 6).tril().bool()[None, None])
    # Key 0 is read by one of five queries, key 1 by one of four, key 2 by one of three, which is half of all.
    assert sums.means()[0][0]["token"] == pytest.approx(1 / 3)
    assert sums.token_indices() == [[2]]


def test_one_repeated_token_is_counted() -> None:
    assert sums_of(A, [5, 6, 5, 7]).repeats(0) == {"duplicate": 1, "induction": 1}
    assert sums_of(A, [5, 6, 8, 7]).repeats(0) == {"duplicate": 0, "induction": 0}
