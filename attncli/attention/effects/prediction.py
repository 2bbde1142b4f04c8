"""What a model predicts at a position, and what it would predict after each layer (`--predict`).

Logit lens (nostalgebraist 2020): all that stands behind the layers (final norm, scale, a masked language model's
transform, biases, softcap) is applied to each state. States are numbered as transformers numbers `hidden_states`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attncli.attention.effects.outcome import RunLogits
from attncli.errors import ModelError
from attncli.models.capture.block_replay import BlockCall, recording, replaying, single_blocks, state_of, with_state
from attncli.models.capture.softcap import SoftcapWatch
from attncli.models.loading.own_module import OwnModule
from attncli.models.loading.prediction_head import logits_of
from attncli.results.effects import AnswerRank, LensState, OutcomeToken, PredictedToken, Prediction

if TYPE_CHECKING:
    from attncli.models.loading.loaded_model import LoadedModel

#: The argument of a forward pass that names the positions whose logits are needed.
_KEPT = "logits_to_keep"

#: Names a token of the vocabulary by its id.
Namer = Callable[[int], OutcomeToken]


@dataclass(frozen=True)
class RecordedRun:
    """One run on one text: the calls of all blocks, and the logits at one position.

    calls: of the blocks of all stacks in order; the last belongs to the stack that predicts.  logits: (1, vocabulary).
    """

    model: LoadedModel
    arguments: Mapping[str, Tensor | bool]
    position: int
    calls: Sequence[BlockCall]
    logits: RunLogits

    def logits_of_states(self, states: Sequence[Tensor]) -> RunLogits:
        """The logits at the position if the last block had returned other states, (states, vocabulary).

        states: at the position alone, each of one text, with one position on the axis of tokens.
        What stands behind the blocks treats all positions alike, so that each state takes the place of one token.
        """
        last = state_of(self.calls[-1].output)
        texts, tokens = state_axes(last)
        if self.returns_one:
            return self._replayed(torch.cat([*states], dim=texts), range(1))
        length = last.shape[tokens]
        rows = [states[start : start + length] for start in range(0, len(states), length)]
        filled = [
            torch.cat([*(each.to(last.dtype) for each in row), last.narrow(tokens, len(row), length - len(row))],
                      dim=tokens)
            for row in rows
        ]  # fmt: skip
        found = self._replayed(torch.cat(filled, dim=texts), range(min(length, len(states))))
        return RunLogits(*(each[: len(states)] for each in found))

    def _replayed(self, state: Tensor, positions: range) -> RunLogits:
        """The logits at these positions of every text if the last block had returned another state."""
        outputs = [*(call.output for call in self.calls[:-1]), with_state(self.calls[-1].output, state)]
        with self.model.borrowed(), replaying(self.model.lists, outputs):
            found = _read_logits(self.model, self.arguments, positions)
        return RunLogits(*(each.flatten(0, 1) for each in found))

    @property
    def returns_one(self) -> bool:
        """Whether a module of the user's own returns the logits of one position alone. They may be of all states, so
        that these take the place of another run's as a whole."""
        return isinstance(self.model.module, OwnModule) and self.model.module.returns_one

    @property
    def first_call(self) -> int:
        """The first call of a block of the stack that predicts."""
        last = self.calls[-1].block
        stack = next(each for each in self.model.lists if any(last is block for block in single_blocks([each])))
        blocks = {id(block) for block in single_blocks([stack])}
        return next(number for number, call in enumerate(self.calls) if id(call.block) in blocks)

    def at_position(self, state: Tensor) -> Tensor:
        """A state at the position alone. Raises ModelError where its positions can't be found."""
        if self.returns_one:
            return state
        texts, tokens = state_axes(state)
        if state.ndim < max(texts, tokens) + 2 or state.shape[texts] != 1 or state.shape[tokens] <= self.position:
            raise ModelError(
                f"the states of {self.model.class_name} can't be read, layer by layer",
                hint="leave --predict out, or name another model (-m)",
            )
        return state.narrow(tokens, self.position, 1)


def state_axes(state: Tensor) -> tuple[int, int]:
    """The axes of the texts and of the tokens of a state of one text.

    Mostly the first two; some models have several streams before them, and some have the tokens first.
    """
    if state.ndim == 3 and state.shape[0] != 1 and state.shape[1] == 1:
        return 1, 0
    return (0, 1) if state.ndim < 4 or state.shape[0] == 1 else (1, 2)


def record_run(model: LoadedModel, arguments: Mapping[str, Tensor | bool], position: int) -> RecordedRun:
    """Run the model once. Raises ModelError where it returns no logits."""
    with model.borrowed(), recording(model.lists) as calls:
        logits = run_logits(model, arguments, position)
    return RecordedRun(model, arguments, position, calls, logits)


def run_logits(model: LoadedModel, arguments: Mapping[str, Tensor | bool], position: int) -> RunLogits:
    """The logits at one position of every text of a batch. Raises ModelError where the model returns none."""
    return RunLogits(*(each[:, 0] for each in _read_logits(model, arguments, range(position, position + 1))))


def _read_logits(model: LoadedModel, arguments: Mapping[str, Tensor | bool], positions: range) -> tuple[Tensor, Tensor]:
    """The model's own logits and those before a softcap, float32 (texts, positions, vocabulary)."""
    head: Any = model.module.get_output_embeddings()
    watch = SoftcapWatch(head.weight.shape[0])
    with watch.watching():
        output = model.run({**arguments, **kept_logits(model, positions)})
    logits = logits_of(output)
    if logits is None:
        raise ModelError(
            f"{model.class_name} returns no logits of a language-model head", hint="name another model (-m)"
        )
    before_cap = watch.before_cap(logits)
    if logits.shape[1] == len(positions):
        return logits.float(), before_cap
    return logits[:, list(positions)].float(), before_cap[:, list(positions)]


def kept_logits(model: LoadedModel, positions: range) -> dict[str, Tensor]:
    """The argument that has the logits computed at these positions alone, for models that take one."""
    return {_KEPT: torch.tensor(list(positions))} if _KEPT in model.all_arguments else {}


def predict(run: RecordedRun, answer: OutcomeToken | None, name: Namer, *, top: int) -> Prediction:
    """The likeliest tokens at the position, and the same after every state.

    answer: whose rank is followed; None for the likeliest.
    """
    own = run.logits.log_probabilities[0].exp()
    followed = name(int(own.argmax())) if answer is None else answer
    stack = run.calls[run.first_call :]
    states = [run.at_position(state) for state in (stack[0].entering, *(state_of(call.output) for call in stack))]
    probabilities = run.logits_of_states(states).log_probabilities.exp()
    lens = tuple(
        LensState(state, _likeliest(row, name, top), _rank(row, followed)) for state, row in enumerate(probabilities)
    )
    return Prediction(run.position, _likeliest(own, name, top), lens)


def _likeliest(probabilities: Tensor, name: Namer, top: int) -> tuple[PredictedToken, ...]:
    values, ids = probabilities.topk(min(top, len(probabilities)))
    return tuple(
        PredictedToken(*name(number), value) for number, value in zip(ids.tolist(), values.tolist(), strict=True)
    )


def _rank(probabilities: Tensor, token: OutcomeToken) -> AnswerRank:
    probability = probabilities[token.id]
    return AnswerRank(*token, int((probabilities > probability).sum()) + 1, float(probability))
