"""Attention within and between two texts, with and without the matrix, against sums over the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest

import attncli
from attncli.attention import collector
from attncli.attention.inputs import build_inputs
from attncli.attention.selection import HeadsRequest
from attncli.attention.stacks import read_heads, read_heads_of_each
from attncli.results.heads import Quadrants
from tests import tiny

IDS = [1, 5, 6, 7, 2, 8, 9, 2]
#: [CLS] a a a [SEP] b b [SEP]
SEQUENCES = [None, 0, 0, 0, None, 1, 1, None]
A, B, APART = [1, 2, 3], [5, 6], [0, 4, 7]


def by_hand(weights: np.ndarray) -> list[float]:
    """Means of rows, sums of columns."""
    return [float(weights[rows][:, columns].sum(1).mean()) for rows in (A, B) for columns in (A, B, APART)]


@pytest.mark.parametrize(
    ("family", "explicit"),
    [
        *((family, True) for family in ("gpt2", "gemma2", "bloom", "t5")),
        *((family, False) for family in ("bert", "mistral", "gpt_oss", "t5")),
    ],
)
def test_quadrants_are_means_of_rows_and_sums_of_columns(
    family: str, explicit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not explicit:
        monkeypatch.setattr(collector, "MAX_EXPLICIT_WEIGHTS", 1)
    model = tiny.loaded(family)
    inputs = build_inputs(model, [tiny.tokens(IDS, special=(1, 2))], sequences=[SEQUENCES])
    stack, *others = read_heads(model, inputs, HeadsRequest(patterns=True))
    for pattern, head in zip(stack.patterns, stack.metrics, strict=True):
        np.testing.assert_allclose(head.quadrants, by_hand(pattern.weights), atol=1e-5)
    for layer, uniform in stack.even_quadrants.items():
        visible = stack.patterns[4 * layer].weights > 0
        np.testing.assert_allclose(uniform, by_hand(visible / visible.sum(1, keepdims=True)), atol=1e-6)
    # The decoder's tokens are in neither text.
    assert all(head.quadrants is None for other in others for head in other.metrics)
    assert all(not other.even_quadrants for other in others)


@pytest.mark.parametrize("left", [False, True])
def test_padding_is_of_neither_text(left: bool) -> None:
    # Its positions are relative: padding before a text moves nothing.
    model = tiny.loaded("t5")
    texts = [tiny.tokens(IDS, special=(1, 2)), tiny.tokens([1, 5, 2, 9, 2], special=(1, 2))]
    sequences = [SEQUENCES, [None, 0, None, 1, None]]
    both = read_heads_of_each(model, build_inputs(model, texts, sequences=sequences, pad_left=left), HeadsRequest())
    for text, owners, (stack, *_) in zip(texts, sequences, both, strict=True):
        alone, *_ = read_heads(model, build_inputs(model, [text], sequences=[owners]), HeadsRequest())
        for mine, theirs in zip(stack.metrics, alone.metrics, strict=True):
            np.testing.assert_allclose(mine.quadrants, theirs.quadrants, atol=1e-5)
        assert stack.even_quadrants == alone.even_quadrants


def test_a_pair_has_quadrants_and_a_text_has_none() -> None:
    pair = attncli.heads("The cat sat", pair="It was tired", layer=0).to_dict()["stacks"][0]
    assert set(pair["metrics"][0]["quadrants"]) == set(Quadrants._fields)
    shares = pair["metrics"][0]["quadrants"]
    assert shares["a_to_a"] + shares["a_to_b"] + shares["a_to_special"] == pytest.approx(1, abs=1e-5)
    assert pair["baselines"][0]["quadrants"]["a_to_b"] == pytest.approx(3 / 9)
    alone = attncli.heads("The cat sat", layer=0).to_dict()["stacks"][0]
    assert "quadrants" not in alone["metrics"][0] and "quadrants" not in alone["baselines"][0]


def test_crossing_is_what_goes_either_way() -> None:
    assert Quadrants(0.1, 0.4, 0.5, 0.2, 0.3, 0.5).crossing == pytest.approx(0.3)
