"""Comparisons written by hand, for the tests of what is made of them."""

from __future__ import annotations

import numpy as np

from attncli.results.base import MadeBy
from attncli.results.compare import (
    CompareResult,
    Groups,
    Matrix,
    Miss,
    Neighbours,
    Occurrence,
    Permutation,
    Reference,
    SampleInfo,
    Senses,
    State,
)

MADE_BY = MadeBy("0.1.0", transformers="5.16.0", torch="2.6.0", model_class="BertModel")
SAMPLE = SampleInfo("sentences that come with attncli", 300, 1200, 10_000)
REFERENCE = Reference(0.25, np.linspace(0, 1, 5))


def occurrence(sentence: int, text: str, word: str = "mole", label: str | None = None, **options: object) -> Occurrence:
    start = text.index(word)
    given = {"pieces": (word,), "positions": (1,), **options}
    return Occurrence(sentence, word, text, start, start + len(word), word, label=label, **given)


FOUR = (
    occurrence(1, "A mole dug", label="animal"),
    occurrence(2, "American shrew mole", label="animal"),
    occurrence(3, "One mole of gas", label="unit"),
    occurrence(4, "a mole weighs 18 grams", label="unit"),
)
MATRIX = np.array([[1, 0.9, 0.5, 0.6], [0.9, 1, 0.4, 0.95], [0.5, 0.4, 1, 0.8], [0.6, 0.95, 0.8, 1]])
SENSES = Senses(
    occurrences=4,
    labels=("animal", "unit"),
    within=0.85,
    across=0.6125,
    silhouette=0.4,
    neighbours=Neighbours(2, 4, 1 / 3, (Miss(1, 3, 0.95, False), Miss(3, 1, 0.95, True))),
    permutation=Permutation(1 / 3, 6, True, 1 / 3),
)


def first_state() -> State:
    return State(
        0,
        False,
        1.0,
        similarity=np.ones((4, 4)),
        within=1.0,
        across=1.0,
        reference=Reference(0.1, np.linspace(0, 1, 5)),
    )


def last_state(similarity: Matrix = MATRIX, **options: object) -> State:
    given = {
        "explained_variance": 0.8,
        "similarity": similarity,
        "percentile": similarity,
        "reference": REFERENCE,
        "within": 0.85,
        "across": 0.6125,
        "senses": SENSES,
        "nearest": np.array([1, 3, 3, 1]),
        "nearest_similarity": np.array([0.9, 0.95, 0.8, 0.95]),
        "vectors": np.eye(4, dtype=np.float32),
        "positions": np.array([[-1.0, 0.5], [-0.5, -0.5], [1, 0.25], [0.5, -0.25]]),
        "explained": (0.6, 0.2),
        **options,
    }
    return State(1, True, 0.69, **given)


def compare_result(*states: State, occurrences: tuple[Occurrence, ...] = FOUR, **options: object) -> CompareResult:
    given = {
        "words": tuple(dict.fromkeys(each.word for each in occurrences)), "adjust": "none", "pool": "mean",
        "sample": SAMPLE, "best": 1, **options,
    }  # fmt: skip
    return CompareResult(
        model="tiny",
        device="cpu",
        dtype="float32",
        stack="encoder",
        occurrences=occurrences,
        states=states or (first_state(), last_state()),
        state_count=2,
        made_by=MADE_BY,
        **given,
    )


UNLABELLED = tuple(each._replace(label=None) for each in FOUR)
GROUPS = Groups(((0, 1), (2, 3)), 0.7, 0.005)
