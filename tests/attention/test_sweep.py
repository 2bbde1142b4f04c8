"""Every model type of transformers that reads text, against transformers' own attentions."""

from __future__ import annotations

import collections

import pytest

from tests.attention.sweep import DEFECTS, NO_TEXT, model_types, sweep

#: As of transformers 5.23; older ones have fewer types.
LEAST = 300


@pytest.mark.sweep
def test_nothing_differs_and_nothing_that_attends_is_refused() -> None:
    outcomes = [outcome for outcome in sweep(model_types()) if outcome.kind != NO_TEXT]
    assert [outcome for outcome in outcomes if outcome.kind in DEFECTS] == []
    counts = collections.Counter(outcome.kind for outcome in outcomes)
    assert counts["agrees"] >= LEAST, counts
