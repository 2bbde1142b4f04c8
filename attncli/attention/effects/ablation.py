"""Ablation and activation patching of every head and MLP (`--effect zero|mean|patch`).

zero, mean: o(run) − o(run with z_h replaced by 0, or by its mean over the ordinary positions of the text), at every
position of the head. z_h is the head's part of what W_O takes, after any gate or norm of it (Michel et al. 2019; Wang
et al. 2022). patch: with o_T of the text and o_S of another, (o(T with z_h of S) − o_T) / (o_S − o_T) (Meng et al.
2022; Zhang & Nanda 2024).

The heads of one layer are rows of one batch, in which the blocks below return their recorded outputs. Row 0 is the
untouched run: where it doesn't give the outcome again (keys that layers share, streams beside the stream), the batch
starts at the first block.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attncli.attention.effects.outcome import CosineOutcome, LogitOutcome, RunLogits
from attncli.attention.effects.prediction import RecordedRun, run_logits, state_axes
from attncli.errors import ModelError, UsageError
from attncli.models.capture.block_replay import recording, replaying, single_blocks, state_of
from attncli.models.capture.head_sites import HeadSite, find_head_sites
from attncli.models.capture.interventions import (
    RecordedWrites,
    Replacement,
    WriteSite,
    intervening,
    record_writes,
)
from attncli.models.loading.loaded_model import LoadedModel
from attncli.progress import Progress, silent
from attncli.results.effects import Outcome

Arguments = Mapping[str, Tensor | bool]

#: A head's place by its attention module, the number of that module's call, and its own; or the name of an MLP.
HeadKey = tuple[str, int, int]

#: The most tokens in a batch, and the most attention weights of a layer.
_BATCH_TOKENS, _BATCH_WEIGHTS = 16_384, 1 << 26

#: By how much row 0 may differ from the run: by rounding alone.
_ROUNDING, _ROUNDING_OF_HALVES = 1e-4, 3e-2

#: Two texts whose outcomes differ by less, relative to the outcome, have no way between them.
_LEAST_WAY = 1e-5


class Values(NamedTuple):
    """The outcome of some runs, and ln p of the answer where there is one; (runs,) each, on a CPU."""

    outcome: Tensor
    log_probability: Tensor | None


@dataclass(frozen=True)
class AblatedRun:
    """One text under one model, whose heads can be replaced.

    outcome, position: as `EffectsRun` has them; the position is that of the run.  sites: of all heads.
    recorded: what was written in the untouched run, and its outcome, `base`.
    """

    model: LoadedModel
    arguments: Arguments
    outcome: LogitOutcome | CosineOutcome
    position: int
    sites: Sequence[HeadSite]
    recorded: RecordedWrites
    base: Values

    @classmethod
    def of(
        cls,
        model: LoadedModel,
        arguments: Arguments,
        outcome: LogitOutcome | CosineOutcome,
        position: int,
        sites: Sequence[HeadSite] | None = None,
    ) -> AblatedRun:
        """Run the model on a text. sites: those of another text, None to find them first."""
        found = find_head_sites(model, arguments) if sites is None else sites
        with model.borrowed():
            recorded = record_writes(model, found, lambda: _measure(model, arguments, outcome, position))
        return cls(model, arguments, outcome, position, found, recorded, recorded.output)

    @property
    def length(self) -> int:
        """The number of tokens of the longest stack."""
        ids = [value for name, value in self.arguments.items() if name.endswith("input_ids")]
        state = state_of(self.recorded.calls[-1].output)  # of the inputs of a user's own module
        return max(
            (each.shape[1] for each in ids if isinstance(each, Tensor)), default=state.shape[state_axes(state)[1]]
        )

    def mlp_parts(self) -> dict[str, list[WriteSite]]:
        """The writes of MLPs of the stack that predicts, by names as direct effects have: `mlp.3`, or `mixer.3` for
        what takes the place of attention."""
        last = self.recorded.calls[-1].block
        stack = next(each for each in self.model.lists if any(last is block for block in single_blocks([each])))
        blocks = {id(block) for block in single_blocks([stack])}
        first = next(number for number, call in enumerate(self.recorded.calls) if id(call.block) in blocks)
        parts: dict[str, list[WriteSite]] = {}
        for site in self.recorded.writes:
            if site.block_call >= first:
                name = f"{'mixer' if site.mixes else 'mlp'}.{site.block_call - first}"
                parts.setdefault(name, []).append(site)
        return parts

    def patched_everywhere(self, source: AblatedRun) -> float | None:
        """The share of the way to another text's outcome with every head and every MLP of the stack that predicts taken
        from there at once: 1 where both texts have the same token at the position. None without a way."""
        written = zip(self.sites, source.recorded.heads, strict=True)
        change = [_Change(site, head, states[0, :, head]) for site, states in written for head in range(site.heads)]
        sites = [site for each in self.mlp_parts().values() for site in each]
        change += [_Change(site, None, source.recorded.writes[site][0]) for site in sites]
        way = patching_way(self, source)
        (values,) = self.outcomes([change], lambda _: None)
        return None if way is None else float(values.outcome[1] - values.outcome[0]) / way

    def describe(self) -> Outcome:
        """The outcome of the untouched run."""
        if isinstance(self.outcome, CosineOutcome) or self.base.log_probability is None:
            return Outcome(None, None, float(self.base.outcome[0]), None)
        probability = float(self.base.log_probability[0].exp())
        return Outcome(self.outcome.answer, self.outcome.contrast, float(self.base.outcome[0]), probability)

    def keys(self, chosen: Collection[HeadKey] | None = None) -> list[tuple[HeadKey, HeadSite]]:
        """Every head that can be replaced. chosen: these alone."""
        every = (((site.path, site.call, head), site) for site in self.sites for head in range(site.heads))
        return [(key, site) for key, site in every if chosen is None or key in chosen]

    def outcomes(self, changes: Sequence[Sequence[_Change]], progress: Callable[[int], None]) -> list[Values]:
        """The outcome of runs with these changes, one run each, against that of the untouched run in the same batch:
        `Values` of (2,), untouched and changed. Runs that begin to differ in the same block share a batch."""
        found: dict[int, Values] = {}
        starts: dict[int, list[int]] = {}
        for number, change in enumerate(changes):
            starts.setdefault(min(each.site.block_call for each in change), []).append(number)
        room = self._rows_that_fit()
        done = 0
        # Borrowed once for all: that goes through every module.
        with self.model.borrowed():
            for start, numbers in sorted(starts.items()):
                for first in range(0, len(numbers), room):
                    some = numbers[first : first + room]
                    values = self._checked_batch([changes[number] for number in some], start)
                    for row, number in enumerate(some, 1):
                        found[number] = _rows_of(values, (0, row))
                    done += len(some)
                    progress(done)
        return [found[number] for number in range(len(changes))]

    def _rows_that_fit(self) -> int:
        """How many changed runs a batch takes beside the untouched one."""
        heads = max((site.heads for site in self.sites), default=1)
        by_weights = _BATCH_WEIGHTS // (heads * self.length**2)
        return max(1, min(_BATCH_TOKENS // self.length, by_weights) - 1)

    def _checked_batch(self, changes: Sequence[Sequence[_Change]], start: int) -> Values:
        """A batch that replays the blocks before `start`, or one that replays nothing where row 0 is another then."""
        if start:
            try:
                values = self._batch(changes, start)
            except (ModelError, RuntimeError):
                # Later blocks read what earlier ones keep, or a tower puts the pictures of all texts into one sequence
                # (Pixtral); without replay, any other cause is raised.
                values = None
            if values is not None and self._agrees(values):
                return values
        return self._batch(changes, 0)

    def _agrees(self, values: Values) -> bool:
        own = float(self.base.outcome[0])
        exact = next(each.dtype for each in self.model.module.parameters() if each.is_floating_point())
        allowed = _ROUNDING if exact in (torch.float32, torch.float64) else _ROUNDING_OF_HALVES
        return abs(float(values.outcome[0]) - own) <= allowed * max(1.0, abs(own))

    def _batch(self, changes: Sequence[Sequence[_Change]], start: int) -> Values:
        rows = len(changes) + 1
        replacements = [
            Replacement(each.site, each.head, row, each.value)
            for row, change in enumerate(changes, 1)
            for each in change
        ]
        pictures = _has_pictures(self.arguments)
        outputs = [_expanded(call.output, rows, pictures=pictures) for call in self.recorded.calls[:start]]
        arguments = _expanded_arguments(self.arguments, rows)
        with ExitStack() as stack:
            stack.enter_context(replaying(self.model.lists, outputs))
            stack.enter_context(intervening(self.model, replacements, rows))
            return _measure(self.model, arguments, self.outcome, self.position)


class _Change(NamedTuple):
    """One replacement in a run: of a head's output, or of what a sublayer wrote (head None)."""

    site: HeadSite | WriteSite
    head: int | None
    value: Tensor


# --- One run


def _measure(model: LoadedModel, arguments: Arguments, outcome: LogitOutcome | CosineOutcome, position: int) -> Values:
    """The outcome of every text of a batch."""
    if isinstance(outcome, CosineOutcome):
        return Values(outcome.values(model.run(arguments)[0]).double().cpu(), None)
    with _unembedding_at(model, position) as place:
        logits: RunLogits = run_logits(model, arguments, place)
    values = outcome.values(logits.before_cap.double())
    return Values(values.cpu(), outcome.answer_log_probability(logits).double().cpu())


@contextmanager
def _unembedding_at(model: LoadedModel, position: int) -> Iterator[int]:
    """The body with logits computed at one position alone; yields its number among those that are."""
    head: Any = model.module.get_output_embeddings()

    def keep(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        states = inputs[0]
        one = not isinstance(states, Tensor) or states.ndim != 3 or states.shape[1] <= position
        return None if one else (states[:, position : position + 1], *inputs[1:])

    if "logits_to_keep" in model.all_arguments or not isinstance(head, nn.Linear):
        yield position
        return
    handle = head.register_forward_pre_hook(keep)
    try:
        yield position
    finally:
        handle.remove()


def _rows_of(values: Values, rows: tuple[int, ...]) -> Values:
    log_probability = values.log_probability
    return Values(values.outcome[list(rows)], None if log_probability is None else log_probability[list(rows)])


def _expanded_arguments(arguments: Arguments, rows: int) -> dict[str, Tensor | bool]:
    """The arguments for so many copies of the text. Several pictures of one text stand one after another."""
    return {
        name: value.repeat(rows, *[1] * (value.ndim - 1)) if isinstance(value, Tensor) and value.ndim
        and (value.shape[0] == 1 or _has_pictures(arguments)) else value
        for name, value in arguments.items()
    }  # fmt: skip


def _has_pictures(arguments: Arguments) -> bool:
    """Whether there are pictures or sounds beside the text."""
    return any(isinstance(value, Tensor) and value.is_floating_point() for value in arguments.values())


def _expanded(output: Any, rows: int, *, pictures: bool) -> Any:
    """What a block returned, for so many copies of the text. pictures: whether several may stand one after another."""
    axis, _ = state_axes(state_of(output))

    def expanded(value: Any, along: int) -> Any:
        if not isinstance(value, Tensor) or value.ndim <= along:
            return value
        if value.shape[along] == 1:
            return value.expand(*value.shape[:along], rows, *value.shape[along + 1 :])
        return torch.cat([value] * rows, dim=along) if pictures and along == 0 else value

    if isinstance(output, Tensor):
        return expanded(output, axis)
    return type(output)((expanded(output[0], axis), *(expanded(each, 0) for each in output[1:])))


# --- Ablation and patching


def run_without(model: LoadedModel, arguments: Arguments, position: int, head: HeadKey) -> RecordedRun:
    """One run with the output of one head replaced by zeros. Raises UsageError for a head that can't be replaced."""
    path, call, number = head
    site = next((each for each in find_head_sites(model, arguments) if (each.path, each.call) == (path, call)), None)
    if site is None:
        raise UsageError("the output of this head can't be replaced", hint="choose a head of another layer")
    replacement = Replacement(site, number, 0, torch.zeros(1))
    with model.borrowed(), intervening(model, [replacement], 1), recording(model.lists) as calls:
        logits = run_logits(model, arguments, position)
    return RecordedRun(model, arguments, position, calls, logits)


class AblationEffects(NamedTuple):
    """The effects of a text. heads: by `HeadKey`.  parts: of MLPs, by name.  log_probabilities: by how much ln p of
    the answer falls.  None where patching has no way to go."""

    heads: Mapping[HeadKey, float | None]
    parts: Mapping[str, float | None]
    log_probabilities: Mapping[HeadKey, float] = field(default_factory=dict)


#: What takes the place of heads, (heads, d) by their module's path and call, and of MLPs' writes, (width,).
Means = Mapping[tuple[str, int] | WriteSite, Tensor]


def ablate(
    run: AblatedRun, means: Means | None, progress: Progress = silent, *, chosen: Collection[HeadKey] | None = None
) -> AblationEffects:
    """Ablate every head and every MLP, one at a time. means: None for zeros.  chosen: of the heads, these alone."""

    def value(site: HeadSite | WriteSite, head: int | None) -> Tensor:
        if means is None:
            return torch.zeros(1)
        if isinstance(site, WriteSite):
            return means[site]
        return means[site.path, site.call][head]

    keys, parts = run.keys(chosen), run.mlp_parts()
    changes = [[_Change(site, key[2], value(site, key[2]))] for key, site in keys]
    changes += [[_Change(site, None, value(site, None)) for site in sites] for sites in parts.values()]
    what = "ablating heads"
    found = run.outcomes(changes, lambda done: progress(what, done, len(changes)))
    falls = [float(values.outcome[0] - values.outcome[1]) for values in found]
    logs = {
        key: float(values.log_probability[0] - values.log_probability[1])
        for (key, _), values in zip(keys, found, strict=False)
        if values.log_probability is not None
    }
    heads = {key: fall for (key, _), fall in zip(keys, falls, strict=False)}
    return AblationEffects(heads, dict(zip(parts, falls[len(keys) :], strict=True)), logs)


def patch(
    run: AblatedRun, source: AblatedRun, progress: Progress = silent, *, chosen: Collection[HeadKey] | None = None
) -> AblationEffects:
    """Give every head and every MLP what it wrote in the run of another text, one at a time. chosen: as in `ablate`."""
    written = {(site.path, site.call): states[0] for site, states in zip(run.sites, source.recorded.heads, strict=True)}
    keys, parts = run.keys(chosen), run.mlp_parts()
    changes = [[_Change(site, key[2], written[site.path, site.call][:, key[2]])] for key, site in keys]
    other = source.recorded.writes
    changes += [[_Change(site, None, other[site][0]) for site in sites] for sites in parts.values()]
    way = patching_way(run, source)
    if way is None:
        return AblationEffects(dict.fromkeys((key for key, _ in keys), None), dict.fromkeys(parts), {})
    found = run.outcomes(changes, lambda done: progress("patching heads", done, len(changes)))
    shares = [float(values.outcome[1] - values.outcome[0]) / way for values in found]
    heads = {key: share for (key, _), share in zip(keys, shares, strict=False)}
    return AblationEffects(heads, dict(zip(parts, shares[len(keys) :], strict=True)), {})


def patching_way(run: AblatedRun, source: AblatedRun) -> float | None:
    """o_S − o_T; None where the two outcomes are the same."""
    own, other = float(run.base.outcome[0]), float(source.base.outcome[0])
    return None if abs(other - own) <= _LEAST_WAY * max(1.0, abs(own)) else other - own


def mean_writes(run: AblatedRun, ordinary: Mapping[tuple[str, int], Tensor]) -> Means:
    """The mean of every head's output, and of every MLP's write, over the ordinary positions of one text.

    ordinary: as `WriteSums.add` takes it.
    """
    sums = WriteSums()
    sums.add(run, ordinary)
    return sums.means()


@dataclass
class WriteSums:
    """Sums over positions of what heads and MLPs write, of all texts that were added."""

    _sums: dict[tuple[str, int] | WriteSite, tuple[Tensor, int]] = field(default_factory=dict)

    def add(self, run: AblatedRun, ordinary: Mapping[tuple[str, int], Tensor]) -> None:
        """Add a text.

        ordinary: which positions count, (tokens,), by an attention module's path and call; those of the last one are
        also those of MLPs. Where there are other positions (virtual tokens of an adapter), all count.
        """
        for site, states in zip(run.sites, run.recorded.heads, strict=True):
            self._add((site.path, site.call), states[0], ordinary.get((site.path, site.call)))
        found = (ordinary.get((site.path, site.call)) for site in reversed(run.sites))
        last = next((each for each in found if each is not None), None)
        for write, states in run.recorded.writes.items():
            self._add(write, states[0], last)

    def means(self) -> Means:
        return {key: (total / count).float() for key, (total, count) in self._sums.items()}

    def _add(self, key: tuple[str, int] | WriteSite, states: Tensor, chosen: Tensor | None) -> None:
        if chosen is not None and len(chosen) == len(states):
            states = states[chosen.to(states.device)]
        total, count = states.double().sum(0), len(states)
        if key in self._sums:
            before, texts = self._sums[key]
            total, count = total + before, count + texts
        self._sums[key] = total, count
