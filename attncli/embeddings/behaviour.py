"""How a model reads, found out by trying it: whether later tokens play a part, and whether padding does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attncli.embeddings.batches import Run, arguments

#: By how much the same state may differ between two batches, as a share of its length: rounding alone.
_ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-4}
_ROUNDING_OF_HALVES = 5e-2


class Behaviour(NamedTuple):
    """causal: a token sees itself and earlier ones alone.  padded: what is padded comes out as it would alone."""

    causal: bool
    padded: bool


def try_out(run: Run, ids: Sequence[int]) -> Behaviour:
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
    return Behaviour(causal, _alike(together[1, :length], alone[0]))


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
