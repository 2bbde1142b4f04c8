"""The labels that metrics earn: thresholds, the uniform baseline and the number of queries."""

from __future__ import annotations

import pytest

from attncli.attention.labels import assign_labels
from attncli.metrics import LABELS

MANY = {"previous": 9, "special": 9, "induction": 9}


@pytest.mark.parametrize(
    ("metrics", "uniform", "queries", "expected"),
    [
        ({"previous": 0.51}, {"previous": 0.1}, MANY, ("previous",)),
        ({"previous": 0.5}, {"previous": 0.1}, MANY, ()),
        ({"induction": 0.9, "special": 0.7}, {"induction": 0.1, "special": 0.2}, MANY, ("induction", "special")),
        # On a text of three tokens, even attention gives two thirds to the special ones.
        ({"special": 0.95}, {"special": 0.667}, MANY, ()),
        ({"special": None}, {"special": None}, {}, ()),
        # One repeated word is a coincidence.
        ({"induction": 0.9}, {"induction": 0.1}, {"induction": 1}, ()),
    ],
)
def test_labels(metrics, uniform, queries, expected) -> None:
    assert assign_labels(metrics, uniform, queries) == expected


def test_labels_can_be_told_apart() -> None:
    rules = LABELS.values()
    shown = ((rule.rank, rule.place, rule.letter, *rule.colors) for rule in rules)
    assert all(len({*values}) == len(LABELS) for values in zip(*shown, strict=True))
    assert {rule.unless for rule in rules} <= {None, *LABELS}
