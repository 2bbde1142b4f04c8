"""The sentences of the reference sample, and which of their words take part."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np

from attncli.embeddings.folding import Span

#: Words that a sentence gives to the sample, at most.
_WORDS_A_SENTENCE = 4
_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
#: Of fewer words neither a mean cosine nor a deviation says anything.
FEWEST = 10


def shipped_sentences() -> tuple[str, ...]:
    """The sentences that come with the package; they were written for it."""
    text = files("attncli.embeddings").joinpath("sample.txt").read_text("utf-8")
    return tuple(text.splitlines())


def sample_spans(text: str, number: int) -> list[Span]:
    """Which words of a sentence take part: some at random, always the same. Any text without words gives none."""
    spans = [match.span() for match in _WORD.finditer(text)]
    if len(spans) <= _WORDS_A_SENTENCE:
        return spans
    chosen = np.random.default_rng(number).choice(len(spans), _WORDS_A_SENTENCE, replace=False)
    return [spans[index] for index in sorted(chosen.tolist())]
