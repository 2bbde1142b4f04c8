"""How a model reads, found out by trying it: whether later tokens play a part, and whether padding does.

Sentences through a model: in batches of about one length, each state reduced to the words that are asked for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
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


class ModelTraits(NamedTuple):
    """causal: a token sees itself and earlier ones alone.  padded: what is padded comes out as it would alone."""

    causal: bool
    padded: bool


def detect_traits(run: Run, ids: Sequence[int]) -> ModelTraits:
    """Run a sentence beside its first half, and that half alone, and hold the last states against each other.

    Some families mix padding into every state (FNet), or let sentences of a batch compete for experts; no field of a
    configuration says so.
    """
    half = ids[: max(len(ids) // 2, 1)]
    together = _last_state(run, [ids, half])
    alone = _last_state(run, [half])
    length = alone.shape[1]
    # A single token has nothing to be told apart by.
    causal = run.model.generates if len(ids) < 2 else _alike(together[0, :length], alone[0])
    return ModelTraits(causal, _alike(together[1, :length], alone[0]))


def _last_state(run: Run, texts: Sequence[Sequence[int]]) -> Tensor:
    states: list[Tensor] = []

    def keep(_: int, state: Tensor) -> None:
        states[:] = [state]

    run.model.run_states(run.stack, arguments(run, texts), keep)
    return states[0]


def _alike(state: Tensor, other: Tensor) -> bool:
    allowed = _ROUNDING.get(state.dtype, _ROUNDING_OF_HALVES)
    difference = (state.float() - other.float()).norm(dim=-1)
    return bool((difference <= allowed * other.float().norm(dim=-1)).all())


#: Sentences in a batch, and tokens with their padding, at most.
_SENTENCES, _TOKENS = 64, 8192

POOLS = ("mean", "first", "last")

#: Given a state, the rows (numbers of words) and their vectors, (rows, d), in the order of the batches.
Take = Callable[[int, Sequence[int], Vectors], None]


class Words(NamedTuple):
    """A sentence as the model takes it, and the words in it: the row of each, and its places among the tokens."""

    ids: tuple[int, ...]
    rows: tuple[tuple[int, tuple[int, ...]], ...]


class Run(NamedTuple):
    """How a model is run: which stack, how several pieces become one vector, and whether padding is safe.

    decoding: the stack is the decoder of an encoder–decoder. It is given the sentence behind its start token, so that
    the state that has read token i stands at i + 1.
    """

    model: LoadedModel
    stack: BlockList
    pool: str = "mean"
    padded: bool = True

    @property
    def decoding(self) -> bool:
        return bool(self.model.config.is_encoder_decoder) and self.stack.word == "decoder"


def take_words(run: Run, sentences: Sequence[Words], take: Take, progress: Callable[[int], None]) -> None:
    """Run every sentence once and hand the vectors of its words to `take`, state by state.

    Sentences of the same tokens run together as one: what is equal comes out equal, to the last digit.
    progress: told how many sentences are done.
    """
    distinct = _merged(sentences)
    done = 0
    for batch in batches(distinct, padded=run.padded):
        chosen = [distinct[index] for index in batch]
        picks = _Picks.of(chosen, run)
        rows = [row for sentence in chosen for row, _ in sentence.rows]

        def observe(state: int, hidden: Tensor, picks: _Picks = picks, rows: list[int] = rows) -> None:
            take(state, rows, picks.pooled(hidden))

        run.model.run_states(run.stack, arguments(run, [sentence.ids for sentence in chosen]), observe)
        done += sum(len(sentence.rows) for sentence in chosen)
        progress(done)


def batches(sentences: Sequence[Words], *, padded: bool) -> Iterator[list[int]]:
    """Numbers of sentences in batches, the longest first: what doesn't fit into memory shows at once."""
    order = sorted(range(len(sentences)), key=lambda index: (-len(sentences[index].ids), sentences[index].ids))
    start = 0
    while start < len(order):
        length = len(sentences[order[start]].ids)
        size = max(1, min(_SENTENCES, _TOKENS // max(length, 1))) if padded else 1
        yield order[start : start + size]
        start += size


def arguments(run: Run, texts: Sequence[Sequence[int]]) -> dict[str, Tensor | bool]:
    """A padded batch as the model's forward pass takes it. Padding stands on the right, and is masked out."""
    length = max(len(ids) for ids in texts)
    ids = torch.zeros(len(texts), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = 1
    accepted = inspect.signature(run.model.module.forward).parameters
    given: dict[str, Tensor | bool] = {"input_ids": ids}
    if "attention_mask" in accepted:
        given["attention_mask"] = mask
    if run.decoding:
        start = torch.full((len(texts), 1), run.model.decoder_start)
        given["decoder_input_ids"] = torch.cat([start, ids], dim=1)
    if "use_cache" in accepted and (run.decoding or not run.model.config.is_encoder_decoder):
        given["use_cache"] = False
    return given


def _merged(sentences: Sequence[Words]) -> list[Words]:
    """One for all that have the same tokens, with the words of all of them."""
    found: dict[tuple[int, ...], list[tuple[int, tuple[int, ...]]]] = {}
    for sentence in sentences:
        found.setdefault(sentence.ids, []).extend(sentence.rows)
    return [Words(ids, tuple(rows)) for ids, rows in found.items()]


class _Picks(NamedTuple):
    """Which states of a batch make up which word: the sentence and the position of every piece, and its word."""

    sentences: Tensor
    positions: Tensor
    words: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, batch: Sequence[Words], run: Run) -> _Picks:
        words = [(sentence, positions) for sentence, each in enumerate(batch) for _, positions in each.rows]
        pieces = [
            (sentence, position + int(run.decoding), word)
            for word, (sentence, positions) in enumerate(words)
            for position in kept_pieces(positions, run.pool)
        ]
        sentences, positions, owners = torch.tensor(pieces).T.to(run.model.device)
        return cls(sentences, positions, owners, torch.bincount(owners))

    def pooled(self, hidden: Tensor) -> Vectors:
        """The mean over the pieces of each word, (words, d), float32."""
        picked = hidden[self.sentences, self.positions].float()
        sums = picked.new_zeros(len(self.sizes), picked.shape[1]).index_add_(0, self.words, picked)
        return np.asarray((sums / self.sizes[:, None]).cpu().numpy(), dtype=np.float32)


def kept_pieces(positions: Sequence[int], pool: str) -> Sequence[int]:
    """The pieces of a word that its vector is made of."""
    return positions[:1] if pool == "first" else positions[-1:] if pool == "last" else positions
