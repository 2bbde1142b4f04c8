"""Runs sentences through a model in batches of similar length, and reduces each state to the words of interest.

Also here: tests of whether a model is causal, and of whether padding changes its states.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from attncli.results.compare import Vectors

if TYPE_CHECKING:
    from attncli.models.capture.structure import BlockList
    from attncli.models.loading.loaded_model import LoadedModel

#: By how much the same state may differ between two batches, as a share of its length: rounding alone.
_ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-4}
_ROUNDING_OF_HALVES = 5e-2


#: Traits are detected on so many tokens or more: the sentences of the reference sample are shorter.
_LEAST_TOKENS = 64


class ModelTraits(NamedTuple):
    """causal: a token attends to itself and earlier ones only.  padded: padding doesn't change a sentence's states."""

    causal: bool
    padded: bool


def detect_traits(run: StackRun, ids: Sequence[int]) -> ModelTraits:
    """Detect traits by comparing last states: of a sentence, of its first half padded beside it, and of that alone.

    Some models mix padding into every state (FNet), or let the sentences of a batch compete for experts; no field of a
    configuration says so. A short sentence is repeated, as other sentences may be longer.
    """
    # A decoder has one more token, its start.
    room = min(run.model.max_positions or _LEAST_TOKENS, _LEAST_TOKENS) - int(run.decoding)
    ids = tuple(islice(cycle(ids), max(room, len(ids)))) if len(ids) > 1 else ids
    half = ids[: max(len(ids) // 2, 1)]
    batched = _last_state(run, [ids, half])
    alone = _last_state(run, [half])
    length = alone.shape[1]
    # A single token shows nothing.
    causal = run.model.generates if len(ids) < 2 else _are_equal_states(batched[0, :length], alone[0])
    return ModelTraits(causal, _are_equal_states(batched[1, :length], alone[0]))


def _last_state(run: StackRun, texts: Sequence[Sequence[int]]) -> Tensor:
    states: list[Tensor] = []

    def observe(_: int, state: Tensor) -> None:
        states[:] = [state]

    run.model.run_states(run.stack, forward_arguments(run, texts), observe)
    return states[0]


def _are_equal_states(state: Tensor, other: Tensor) -> bool:
    allowed = _ROUNDING.get(state.dtype, _ROUNDING_OF_HALVES)
    difference = (state.float() - other.float()).norm(dim=-1)
    return bool((difference <= allowed * other.float().norm(dim=-1)).all())


#: The most sentences in a batch, and the most tokens with padding.
_MAX_SENTENCES, _MAX_TOKENS = 64, 8192

#: A function of a state, rows (indices of words) and their vectors, (rows, d); called once per state and batch.
VectorReceiver = Callable[[int, Sequence[int], Vectors], None]


class SentenceWords(NamedTuple):
    """The token ids of a sentence, and its words of interest: the row of each, and the positions of its tokens."""

    ids: tuple[int, ...]
    rows: tuple[tuple[int, tuple[int, ...]], ...]


class StackRun(NamedTuple):
    """A stack of a model, and how to run it.

    pool: how the vectors of a word's tokens become one.  padded: sentences may be padded.
    decoding: the stack is the decoder of an encoder–decoder. Its input is the sentence after a start token, so the
    state of token i is at position i + 1.
    """

    model: LoadedModel
    stack: BlockList
    pool: str = "mean"
    padded: bool = True

    @property
    def decoding(self) -> bool:
        return self.model.is_encoder_decoder and self.stack.word == "decoder"


def run_sentences(
    run: StackRun, sentences: Sequence[SentenceWords], receive: VectorReceiver, progress: Callable[[int], None]
) -> None:
    """Run every sentence once and call `receive` with the vectors of its words, state by state.

    Sentences with the same tokens are run once, so that their vectors are exactly equal.
    progress: called with the number of words that are done.
    """
    rows_of: dict[tuple[int, ...], list[tuple[int, tuple[int, ...]]]] = {}
    for sentence in sentences:
        rows_of.setdefault(sentence.ids, []).extend(sentence.rows)
    distinct = [SentenceWords(ids, tuple(rows)) for ids, rows in rows_of.items()]
    done = 0
    for batch in batches(distinct, padded=run.padded):
        chosen = [distinct[index] for index in batch]
        pieces = _BatchPieces.from_batch(chosen, run)
        numbers = [row for sentence in chosen for row, _ in sentence.rows]

        def observe(state: int, hidden: Tensor, pieces: _BatchPieces = pieces, rows: list[int] = numbers) -> None:
            receive(state, rows, pieces.pooled(hidden))

        run.model.run_states(run.stack, forward_arguments(run, [sentence.ids for sentence in chosen]), observe)
        done += len(numbers)
        progress(done)


def batches(sentences: Sequence[SentenceWords], *, padded: bool) -> Iterator[list[int]]:
    """Indices of sentences in batches, the longest first, so that a lack of memory shows at once."""
    order = sorted(range(len(sentences)), key=lambda index: (-len(sentences[index].ids), sentences[index].ids))
    start = 0
    while start < len(order):
        length = len(sentences[order[start]].ids)
        size = max(1, min(_MAX_SENTENCES, _MAX_TOKENS // max(length, 1))) if padded else 1
        yield order[start : start + size]
        start += size


def forward_arguments(run: StackRun, texts: Sequence[Sequence[int]]) -> dict[str, Tensor | bool]:
    """The keyword arguments of the forward pass for a batch, padded on the right and masked."""
    length = max(len(ids) for ids in texts)
    ids = torch.zeros(len(texts), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = 1
    accepted = inspect.signature(run.model.module.forward).parameters
    keywords: dict[str, Tensor | bool] = {"input_ids": ids}
    if "attention_mask" in accepted:
        keywords["attention_mask"] = mask
    if run.decoding:
        start = torch.full((len(texts), 1), run.model.decoder_start)
        keywords["decoder_input_ids"] = torch.cat([start, ids], dim=1)
    if "use_cache" in accepted and (run.decoding or not run.model.is_encoder_decoder):
        keywords["use_cache"] = False
    return keywords


class _BatchPieces(NamedTuple):
    """The tokens that words are pooled from: sentence, position and word of each, and the number for each word."""

    sentences: Tensor
    positions: Tensor
    words: Tensor
    sizes: Tensor

    @classmethod
    def from_batch(cls, batch: Sequence[SentenceWords], run: StackRun) -> _BatchPieces:
        words = [(sentence, positions) for sentence, each in enumerate(batch) for _, positions in each.rows]
        pieces = [
            (sentence, position + int(run.decoding), word)
            for word, (sentence, positions) in enumerate(words)
            for position in pooled_positions(positions, run.pool)
        ]
        sentences, positions, owners = torch.tensor(pieces).T.to(run.model.device)
        return cls(sentences, positions, owners, torch.bincount(owners))

    def pooled(self, hidden: Tensor) -> Vectors:
        """The mean over the pieces of each word, (words, d), float32."""
        picked = hidden[self.sentences, self.positions].float()
        sums = picked.new_zeros(len(self.sizes), picked.shape[1]).index_add_(0, self.words, picked)
        return np.asarray((sums / self.sizes[:, None]).cpu().numpy(), dtype=np.float32)


def pooled_positions(positions: Sequence[int], pool: str) -> Sequence[int]:
    """The positions of a word's tokens that its vector is pooled from."""
    return positions[:1] if pool == "first" else positions[-1:] if pool == "last" else positions
