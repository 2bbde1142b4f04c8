"""Predictions and effects of heads on one text: `add_effects` adds them to a result of `heads`.

The orchestration of one run: the position and the outcome are found, then each kind of effect is measured by its entry
in `_MEASURES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from attncli.attention.effects.request import EffectsPlan, TypedToken
from attncli.attention.effects.tokens import find_token, name_token, outcome_position
from attncli.attention.selection import parse_selection
from attncli.effects import EFFECTS
from attncli.errors import UsageError
from attncli.results.effects import Effects, HeadEffect, KeyReading, Outcome, OutcomeToken, PartEffect
from attncli.results.heads import HeadsResult, Stack
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from torch import Tensor

    from attncli.attention.collector import CollectedLayer
    from attncli.attention.effects.ablation import AblatedRun, AblationEffects, HeadKey, Means
    from attncli.attention.effects.outcome import CosineOutcome, LogitOutcome
    from attncli.attention.effects.prediction import RecordedRun
    from attncli.attention.inputs import ModelInputs
    from attncli.attention.stacks import CollectedStack
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.progress import Progress

#: A head by its stack's name, its layer and its number.
HeadPlace = tuple[str, int, int]


class Opened(NamedTuple):
    """A loaded model with its tokenizer and files, if it has them."""

    loaded: LoadedModel
    tokenizer: Tokenizer | None
    files: ModelFiles | None
    progress: Progress


@dataclass(frozen=True)
class EffectsRun:
    """One text under one model, as every kind of effect gets it.

    collected: the stacks, as their heads are named.  position: of the outcome, in the stack that predicts.
    run: the recorded untouched run, None without a language-model head.  files: None for a loaded module.
    source: the inputs of the text that heads are patched from.  means: what `mean` puts in the place of heads, over
    several texts; None for those of this one.
    """

    model: LoadedModel
    tokenizer: Tokenizer | None
    files: ModelFiles | None
    inputs: ModelInputs
    collected: Sequence[CollectedStack]
    plan: EffectsPlan
    top: int
    position: int
    run: RecordedRun | None
    outcome: LogitOutcome | CosineOutcome
    progress: Progress
    source: ModelInputs | None = None
    means: Means | None = None

    def ablated(self, inputs: ModelInputs) -> AblatedRun:
        """A run on this text, or on another, whose heads can be replaced."""
        from attncli.attention.effects.ablation import AblatedRun

        position = self.position + self.model.virtual_queries if self.run is None else self.run.position
        return AblatedRun.of(self.model, inputs.arguments, self.outcome, position)

    def name_token(self, number: int) -> OutcomeToken:
        """A token of the vocabulary by its id."""
        return name_token(number, self.tokenizer, "--answer")

    @property
    def predicting_stack(self) -> str:
        """The name of the stack that has the position: an encoder–decoder's decoder."""
        names = [stack.name for stack in self.collected]
        own = [name for name in names if name != "cross" and (name != "encoder" or self.inputs.target is None)]
        return next(iter(own), names[0])


@dataclass(frozen=True)
class Measured:
    """What one kind of effect gave.

    heads: None for a head without that effect.  parts: by name.  log_probabilities: by how much ln p of the answer
    falls.  unexplained: the outcome less the sum, of direct effects.  source: the outcome of another text.
    """

    heads: Mapping[HeadPlace, float | None]
    parts: Mapping[str, float | None] = field(default_factory=dict)
    log_probabilities: Mapping[HeadPlace, float] = field(default_factory=dict)
    unexplained: float | None = None
    source: Outcome | None = None
    warnings: tuple[str, ...] = ()


def _measure_direct(run: EffectsRun) -> Measured:
    from attncli.attention.effects.direct import direct_effects
    from attncli.attention.effects.outcome import LogitOutcome

    assert run.run is not None and isinstance(run.outcome, LogitOutcome)
    found = direct_effects(run.run, run.outcome)
    heads: dict[HeadPlace, float | None] = {}
    for stack in run.collected:
        calls: dict[str, int] = {}
        for number, layer in stack.layers.items():
            call = calls[layer.path] = calls.get(layer.path, -1) + 1
            shares = found.heads.get((layer.path, call))
            heads |= {
                (stack.name, number, head): None if shares is None else shares[head] for head in range(layer.heads)
            }
    return Measured(heads, found.parts, unexplained=found.unexplained)


def _measure_zero(run: EffectsRun) -> Measured:
    from attncli.attention.effects.ablation import ablate

    return _measured(run, ablate(run.ablated(run.inputs), None, run.progress, chosen=_chosen(run)))


def _measure_mean(run: EffectsRun) -> Measured:
    from attncli.attention.effects.ablation import ablate, mean_writes

    ablated = run.ablated(run.inputs)
    means = mean_writes(ablated, ordinary_positions(run)) if run.means is None else run.means
    return _measured(run, ablate(ablated, means, run.progress, chosen=_chosen(run)))


def ordinary_positions(run: EffectsRun) -> dict[tuple[str, int], Tensor]:
    """Which positions of each layer's queries aren't special, by its attention module and the number of that module's
    call; all where none is left."""
    ordinary = {}
    for (_, _), (path, call), layer in _layer_calls(run.collected):
        queries = layer.sides.queries
        kept = (queries.real & ~queries.special)[0]
        ordinary[path, call] = kept if bool(kept.any()) else queries.real[0]
    return ordinary


def _measure_patch(run: EffectsRun) -> Measured:
    from attncli.attention.effects.ablation import AblatedRun, patch, patching_way

    assert run.source is not None
    ablated = run.ablated(run.inputs)
    source = AblatedRun.of(run.model, run.source.arguments, run.outcome, ablated.position, ablated.sites)
    warnings = () if patching_way(ablated, source) else (_NO_WAY,)
    described = source.describe()
    found = _measured(run, patch(ablated, source, run.progress, chosen=_chosen(run)))
    return replace(found, source=described, warnings=warnings)


def _measured(run: EffectsRun, found: AblationEffects) -> Measured:
    """What was found, by the names of stacks."""
    heads: dict[HeadPlace, float | None] = {}
    logs: dict[HeadPlace, float] = {}
    for (stack, number), (path, call), layer in _layer_calls(run.collected):
        for head in range(layer.heads):
            heads[stack, number, head] = found.heads.get((path, call, head))
            if (fall := found.log_probabilities.get((path, call, head))) is not None:
                logs[stack, number, head] = fall
    return Measured(heads, found.parts, logs)


def _chosen(run: EffectsRun) -> set[HeadKey]:
    """The heads that are shown; no others are replaced."""
    return {(path, call, head) for _, (path, call), layer in _layer_calls(run.collected) for head in layer.chosen}


def _layer_calls(
    stacks: Sequence[CollectedStack],
) -> Iterator[tuple[tuple[str, int], tuple[str, int], CollectedLayer]]:
    """Every layer by its stack's name and number, and by its attention module and the number of that module's call."""
    for stack in stacks:
        calls: dict[str, int] = {}
        for number, layer in sorted(stack.layers.items()):
            call = calls[layer.path] = calls.get(layer.path, -1) + 1
            yield (stack.name, number), (layer.path, call), layer


#: The warning where there is nothing to patch.
_NO_WAY = "both texts have the same outcome, so patching a head has nothing to change: the effects are null"

#: What measures each kind of effect, by its name in `EFFECTS`.
_MEASURES: Mapping[str, Callable[[EffectsRun], Measured]] = {
    "direct": _measure_direct,
    "zero": _measure_zero,
    "mean": _measure_mean,
    "patch": _measure_patch,
}


def add_effects(result: HeadsResult, run: EffectsRun) -> HeadsResult:
    """The result with a prediction and effects, as the plan asks for them."""
    from attncli.attention.effects.outcome import LogitOutcome
    from attncli.attention.effects.prediction import predict

    answer = run.outcome.answer if isinstance(run.outcome, LogitOutcome) else None
    if run.plan.predict:
        assert run.run is not None
        result = replace(result, prediction=predict(run.run, answer, run.name_token, top=run.top))
    if not run.plan.kinds:
        return result
    measured = {kind: _MEASURES[kind](run) for kind in run.plan.kinds}
    stacks = tuple(replace(stack, effects=_head_effects(stack, run, measured)) for stack in result.stacks)
    warnings = dict.fromkeys(warning for each in measured.values() for warning in each.warnings)
    return replace(
        result,
        stacks=stacks,
        effects=_whole_effects(run, measured),
        warnings=(*result.warnings, *warnings),
    )


def _head_effects(stack: Stack, run: EffectsRun, measured: Mapping[str, Measured]) -> tuple[HeadEffect, ...]:
    """The effects of the chosen heads of a stack."""
    reads = {
        (number, head): (key, weight)
        for collected in run.collected
        if collected.name == stack.stack
        for number, layer in collected.layers.items()
        for head, (key, weight) in enumerate(layer.strongest)
    }
    ablated = next((measured[kind] for kind in measured if measured[kind].log_probabilities), None)

    def effect(name: str, layer: int, head: int) -> HeadEffect:
        place = stack.stack, layer, head
        values = {kind: each.heads.get(place) for kind, each in measured.items()}
        fall = None if ablated is None else ablated.log_probabilities.get(place)
        read = reads.get((layer, head))
        key = None if read is None else KeyReading(read[0], stack.keys[read[0]].text, read[1])
        return HeadEffect(name, layer, head, values, change_log_probability=fall, reads=key)

    return tuple(effect(head.name, head.layer, head.head) for head in stack.metrics)


def _whole_effects(run: EffectsRun, measured: Mapping[str, Measured]) -> Effects:
    """The outcome and the parts beside the heads."""
    from attncli.attention.effects.outcome import LogitOutcome

    if isinstance(run.outcome, LogitOutcome):
        assert run.run is not None
        outcome = run.outcome.describe(run.run.logits)
    else:
        outcome = run.outcome.describe()
    names = list(dict.fromkeys(name for each in measured.values() for name in each.parts))
    parts = tuple(PartEffect(name, {kind: each.parts.get(name) for kind, each in measured.items()}) for name in names)
    unexplained = next((each.unexplained for each in measured.values() if each.unexplained is not None), None)
    source = next((each.source for each in measured.values() if each.source is not None), None)
    stack = run.predicting_stack
    return Effects(stack, run.position, run.plan.kinds, outcome, source, parts, unexplained)


# --- The run


def find_position(model: LoadedModel, tokens: Sequence[Token], plan: EffectsPlan, generated: int) -> int:
    """Where the outcome is measured, among the tokens of the stack that predicts.

    generated: how many tokens at its end the model wrote itself: the outcome is then that of the first of them.
    Raises UsageError for a position that isn't there, and for a text without a mask.
    """
    masked = model.predicts_masks and model.predicts
    before = tokens if plan.query is not None else tokens[: len(tokens) - generated]
    return outcome_position(before, plan.query, masked=masked, flag=plan.flag)


def require_head(model: LoadedModel, plan: EffectsPlan) -> None:
    """Raise UsageError for a model without a language-model head, where one is needed."""
    if model.predicts or not plan.needs_head:
        return
    needing = [kind for kind in plan.kinds if EFFECTS[kind].needs_head]
    what = f"--effect {needing[0]}" if needing else "--predict" if plan.predict else "--answer"
    raise UsageError(
        f"{what} needs a language-model head, and {model.name} ({model.class_name}) has none",
        hint="use --effect zero,mean, which measure how its vector changes, or a model that predicts tokens (-m)",
    )


def prepare_run(
    opened: Opened,
    inputs: ModelInputs,
    collected: Sequence[CollectedStack],
    plan: EffectsPlan,
    *,
    position: int,
    top: int,
    source: ModelInputs | None = None,
) -> EffectsRun:
    """Run the model once, and find the answer and the contrast.

    source: of the text that heads are patched from; what it expects is then the default contrast.
    Raises UsageError for tokens that the vocabulary doesn't have.
    """
    from attncli.attention.effects.prediction import record_run

    model, tokenizer, files, progress = opened
    run = None
    if model.predicts:
        at = position + model.virtual_queries
        run = (
            record_run(model, inputs.arguments, at)
            if plan.without is None
            else _run_without(model, inputs, collected, plan.without, at)
        )
    other = None
    if run is not None and source is not None and plan.contrast is None:
        other = int(record_run(model, source.arguments, run.position).logits.own[0].argmax())
    outcome = (
        _vector_outcome(model, files, inputs, position) if run is None else _logit_outcome(run, tokenizer, plan, other)
    )
    return EffectsRun(model, tokenizer, files, inputs, collected, plan, top, position, run, outcome, progress, source)


def _run_without(
    model: LoadedModel, inputs: ModelInputs, collected: Sequence[CollectedStack], typed: str, position: int
) -> RecordedRun:
    """A run with the output of one head replaced by zeros. Raises UsageError for a head that can't be replaced."""
    from attncli.attention.effects.ablation import run_without

    (head,) = parse_selection(head=typed).heads
    places = {(stack, number): place for (stack, number), place, _ in _layer_calls(collected)}
    path, call = next(
        place for (stack, number), place in places.items() if number == head.layer and head.stack in (None, stack)
    )
    return run_without(model, inputs.arguments, position, (path, call, head.head))


def _logit_outcome(
    run: RecordedRun, tokenizer: Tokenizer | None, plan: EffectsPlan, other: int | None = None
) -> LogitOutcome:
    """other: what the text expects that heads are patched from, which the answer is compared with by default."""
    from attncli.attention.effects.outcome import LogitOutcome, check_token

    def token(typed: TypedToken, flag: str) -> OutcomeToken:
        found = find_token(typed, tokenizer, flag)
        check_token(found, run.logits.own.shape[-1], flag)
        return found

    likeliest = int(run.logits.own[0].argmax())
    answer = name_token(likeliest, tokenizer, "--answer") if plan.answer is None else token(plan.answer, "--answer")
    contrast = None if plan.contrast is None else token(plan.contrast, "--contrast")
    if contrast is None and other is not None and other != answer.id:
        contrast = name_token(other, tokenizer, "--contrast")
    if contrast is not None and contrast.id == answer.id:
        raise UsageError(
            f"the answer and the contrast are the same token, {answer.text!r}",
            hint="name two tokens; without --contrast, the answer is compared with the mean of all",
        )
    return LogitOutcome(answer, contrast)


def _vector_outcome(model: LoadedModel, files: ModelFiles | None, inputs: ModelInputs, position: int) -> CosineOutcome:
    """The vector of a model without a language-model head: pooled as its files say, else the state at the position."""
    from attncli.attention.effects.outcome import CosineOutcome, pool_position, pool_states
    from attncli.models.files.pooling import sentence_pooling

    mode = None if files is None else sentence_pooling(files)
    pooling = pool_position(position) if mode is None else pool_states(mode, inputs.main.real.to(model.device))
    return CosineOutcome.of_run(pooling, last_states(model, inputs))


def last_states(model: LoadedModel, inputs: ModelInputs) -> Tensor:
    """The last states of a model without a language-model head, (texts, tokens, d_model)."""
    with model.borrowed():
        states: Tensor = model.run(inputs.arguments)[0]
    return states
