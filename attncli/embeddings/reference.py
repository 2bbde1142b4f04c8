"""The reference sample: words of plain sentences, run through the model as the user's are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from attncli.embeddings.adjust import SampleStatistics, describe_sample
from attncli.embeddings.batches import Run, Words, take_words
from attncli.embeddings.measure import Vectors


def run_sample(
    run: Run, sentences: Sequence[Words], states: int, *, causal: bool, progress: Callable[[int], None]
) -> tuple[int, dict[int, SampleStatistics]]:
    """Run the sample and describe its first `states` states. Answers how many words it had, too.

    causal: words at the first position are left out. There a model of this kind parks what attention has to spare, and
    its state is like no other.
    """
    kept = [_without_first(sentence) if causal else sentence for sentence in sentences]
    owners = np.array([number for number, each in enumerate(kept) for _ in each.rows], dtype=np.int64)
    found: dict[int, Vectors] = {}

    def take(state: int, rows: Sequence[int], vectors: Vectors) -> None:
        if state < states:
            kept_so_far = found.setdefault(state, np.zeros((len(owners), vectors.shape[1]), dtype=np.float32))
            kept_so_far[list(rows)] = vectors

    take_words(run, [each for each in _numbered(kept) if each.rows], take, progress)
    return len(owners), {state: describe_sample(vectors, owners) for state, vectors in found.items()}


def _without_first(sentence: Words) -> Words:
    return sentence._replace(rows=tuple((row, places) for row, places in sentence.rows if 0 not in places))


def _numbered(sentences: Sequence[Words]) -> list[Words]:
    """With rows counted through all sentences."""
    numbered, row = [], 0
    for sentence in sentences:
        places = [places for _, places in sentence.rows]
        numbered.append(sentence._replace(rows=tuple(enumerate(places, row))))
        row += len(places)
    return numbered
