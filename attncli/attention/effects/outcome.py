"""The outcome that effects are about: a number of each run of the model, at one position.

With logits ℓ before any softcap: ℓ_a − ℓ_b for an answer a and a contrast b, else ℓ_a − mean_v ℓ_v. Without a
language-model head: the cosine of the model's vector with that of the untouched run.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from attncli.errors import UsageError
from attncli.results.effects import Outcome, OutcomeToken


class RunLogits(NamedTuple):
    """The logits of some runs at one position, float32 (runs, vocabulary).

    own: the model's own.  before_cap: before a softcap, if the model has one; else the same.
    """

    own: Tensor
    before_cap: Tensor

    @property
    def log_probabilities(self) -> Tensor:
        """ln p of every token, (runs, vocabulary)."""
        return self.own.log_softmax(-1)


class LogitOutcome(NamedTuple):
    """The answer's logit less the contrast's, else less the mean over the vocabulary."""

    answer: OutcomeToken
    contrast: OutcomeToken | None = None

    def values(self, logits: Tensor) -> Tensor:
        """The outcome of each run, (runs,). logits: before any softcap, (runs, vocabulary)."""
        other = logits.mean(-1) if self.contrast is None else logits[:, self.contrast.id]
        return logits[:, self.answer.id] - other

    def answer_log_probability(self, logits: RunLogits) -> Tensor:
        """ln p of the answer in each run, (runs,)."""
        return logits.log_probabilities[:, self.answer.id]

    def describe(self, logits: RunLogits) -> Outcome:
        """The outcome of the first run."""
        probability = float(self.answer_log_probability(logits)[0].exp())
        return Outcome(self.answer, self.contrast, float(self.values(logits.before_cap)[0]), probability)


class Pooling(Protocol):
    """How a model's vector is made of its last states."""

    def __call__(self, states: Tensor) -> Tensor:
        """(runs, d_model), of states (runs, tokens, d_model)."""
        ...


class CosineOutcome(NamedTuple):
    """The cosine of a model's vector with that of the untouched run. vector: of that run, (d_model,)."""

    pooling: Pooling
    vector: Tensor

    @classmethod
    def of_run(cls, pooling: Pooling, states: Tensor) -> CosineOutcome:
        """states: the last states of the untouched run, (1, tokens, d_model)."""
        return cls(pooling, pooling(states.float())[0])

    def values(self, states: Tensor) -> Tensor:
        """The outcome of each run, (runs,). states: (runs, tokens, d_model)."""
        return torch.cosine_similarity(self.pooling(states.float()), self.vector[None], dim=-1)

    def describe(self) -> Outcome:
        """The outcome of the untouched run."""
        return Outcome(None, None, 1.0, None)


def pool_states(mode: str, real: Tensor) -> Pooling:
    """The pooling that a model's files name: `mean`, `cls`, `max` or `last`. real: 0 for padding, (1, tokens)."""
    weights = real.float()[..., None]

    def pooled(states: Tensor) -> Tensor:
        if mode == "mean":
            return (states * weights).sum(1) / weights.sum(1)
        if mode == "max":
            return states.masked_fill(weights == 0, -torch.inf).amax(1)
        return states[:, 0 if mode == "cls" else int(real[0].nonzero()[-1])]

    return pooled


def pool_position(position: int) -> Pooling:
    """The state at one position."""
    return lambda states: states[:, position]


def check_token(token: OutcomeToken, vocabulary: int, flag: str) -> None:
    """Raise UsageError for a token that the model has no logit for. vocabulary: how many it has."""
    if token.id >= vocabulary:
        raise UsageError(
            f"{flag}: the id {token.id} is not in the model's vocabulary", hint=f"ids run from 0 to {vocabulary - 1}"
        )
