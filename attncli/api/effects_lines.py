"""Effects over many texts (`--lines --columns text,answer,contrast`): each is run by itself, then all are averaged.

A field of a line stands for an option of that text alone. Means have 95 % intervals (Student's t over texts).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from attncli.api.effects import EffectsRun, Opened, add_effects, ordinary_positions, require_head
from attncli.api.heads_input import HeadsInput
from attncli.api.heads_many import LocatedText
from attncli.api.heads_single import full_depth, prepare_text
from attncli.api.loading import ModelLoader
from attncli.errors import AttnError, UsageError
from attncli.results.effects import Effects, HeadEffect, Outcome, PartEffect
from attncli.results.heads import HeadMetrics, HeadsResult, Interval, Spread, Stack

if TYPE_CHECKING:
    from attncli.attention.effects.ablation import Means
    from attncli.attention.selection import HeadsRequest

#: What a field of a line may be: the text, and the options that stand for it.
COLUMNS = ("text", "answer", "contrast", "patch_from")

#: The fields of a line for an encoder–decoder: what its encoder and its decoder read.
PAIR_COLUMNS = ("source", "target")


def parse_columns(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """The columns of a file; the text alone by default. Raises UsageError for unknown ones, and without a text."""
    if given is None:
        return ("text",)
    names = tuple(name.strip() for name in (given.split(",") if isinstance(given, str) else given))
    known = PAIR_COLUMNS if names[0] in PAIR_COLUMNS else COLUMNS
    wrong = next((name for name in names if name not in known or names.count(name) > 1), None)
    missing = next((name for name in (PAIR_COLUMNS if known is PAIR_COLUMNS else ("text",)) if name not in names), None)
    if wrong is not None or missing is not None:
        what = f"there is no column of the {missing}" if wrong is None else f"there is no column {wrong!r}"
        if wrong in known:
            what = f"{wrong} is named twice"
        elif wrong in (*COLUMNS, *PAIR_COLUMNS):
            what = f"{wrong} doesn't go with {names[0]}"
        raise UsageError(
            f"--columns: {what}",
            hint=f"--columns takes {','.join(PAIR_COLUMNS)}, or some of {','.join(COLUMNS)}, as the fields stand",
        )
    return names


class EffectLine(NamedTuple):
    """One text with its own answer, contrast and source; place is how messages refer to it."""

    place: str
    text: str
    answer: str | None = None
    contrast: str | None = None
    patch_from: str | None = None


def split_fields(given: LocatedText, columns: Sequence[str]) -> dict[str, str]:
    """The fields of a line by their names. Raises UsageError for another number of them."""
    text = given.text or ""
    fields = text.split("\t") if len(columns) > 1 else [text]
    if len(fields) != len(columns):
        count = f"{len(fields)} field{'s' if len(fields) > 1 else ''}"
        raise UsageError(
            f"{given.place} has {count}, and --columns names {len(columns)}",
            hint=f"a line reads {'<tab>'.join(columns)}",
        )
    return dict(zip(columns, fields, strict=True))


def split_line(given: LocatedText, columns: Sequence[str]) -> EffectLine:
    """The fields of a line. Raises UsageError for another number of them."""
    named = {name: field or None for name, field in split_fields(given, columns).items()}
    return EffectLine(given.place, named.pop("text") or "", **named)


def run_effect_lines(
    inputs: HeadsInput, texts: Iterable[LocatedText], loader: ModelLoader, request: HeadsRequest, columns: Sequence[str]
) -> HeadsResult:
    """The effects of every text, averaged. Raises UsageError, with the place, for a text that can't be run."""
    assert request.effects is not None
    lines = [split_line(text, columns) for text in texts if (text.text or "").strip()]
    if not lines:
        raise UsageError("all texts are empty", hint="give a file with lines in it")
    files = loader.files()
    tokenizer = loader.find_tokenizer(files, needed=True)
    loaded = loader.load(files, full_depth(request.selection), predicts=True)
    require_head(loaded, request.effects)
    # The progress of one text would hide that of all.
    model = Opened(loaded, tokenizer, files, lambda *_: None)

    def prepared(line: EffectLine) -> tuple[HeadsResult, EffectsRun]:
        assert request.effects is not None
        plan = request.effects
        own = replace(
            plan,
            answer=line.answer or plan.answer,
            contrast=line.contrast or plan.contrast,
            patch_from=line.patch_from or plan.patch_from,
        )
        given = inputs._replace(text=line.text)
        result, run = prepare_text(model, given, given.encode(tokenizer), replace(request, effects=own))
        assert run is not None
        return result, run

    means = _means_of_all(lines, prepared, loader) if "mean" in request.effects.kinds else None
    results = []
    for number, line in enumerate(lines):
        loader.progress("measuring effects", number, len(lines))
        with located(line.place):
            result, run = prepared(line)
            results.append(_slim(add_effects(result, replace(run, means=means))))
    return average_results(results, request.thresholds)


@contextmanager
def located(place: str) -> Iterator[None]:
    """Around the run of a line: its errors name the line."""
    try:
        yield
    except AttnError as error:
        error.message = f"{place}: {error.message}"
        raise


def _means_of_all(
    lines: Sequence[EffectLine],
    prepared: Callable[[EffectLine], tuple[HeadsResult, EffectsRun]],
    loader: ModelLoader,
) -> Means:
    """What `mean` puts in the place of heads and MLPs: the mean over the ordinary positions of all texts."""
    from attncli.attention.effects.ablation import WriteSums

    sums = WriteSums()
    for number, line in enumerate(lines):
        loader.progress("taking means", number, len(lines))
        with located(line.place):
            _, run = prepared(line)
            sums.add(run.ablated(run.inputs), ordinary_positions(run))
    return sums.means()


def _slim(result: HeadsResult) -> HeadsResult:
    """Without what means don't have."""
    return replace(result, stacks=tuple(replace(stack, patterns=(), sketches=()) for stack in result.stacks))


# --- Means


def average_results(results: Sequence[HeadsResult], thresholds: Mapping[str, float]) -> HeadsResult:
    """One result whose metrics and effects are the means of several, of the same heads.

    thresholds: of labels, where they aren't the default ones.
    """
    first = results[0]
    places = range(len(first.stacks))
    stacks = tuple(_average_stack([result.stacks[place] for result in results], thresholds) for place in places)
    warnings = tuple(dict.fromkeys(warning for result in results for warning in result.warnings))
    effects = [result.effects for result in results if result.effects is not None]
    return replace(
        first, stacks=stacks, effects=_average_effects(effects), warnings=warnings, notes=(), texts=len(results),
        generated=None, prediction=None,
    )  # fmt: skip


def _average_stack(stacks: Sequence[Stack], thresholds: Mapping[str, float]) -> Stack:
    from attncli.attention.labels import LABEL_THRESHOLDS, assign_labels

    first = stacks[0]
    baselines = {
        layer: {name: _mean(stack.baselines[layer][name] for stack in stacks)[0] for name in values}
        for layer, values in first.baselines.items()
    }

    def head(place: int) -> HeadMetrics:
        entries = [stack.metrics[place] for stack in stacks]
        means = {name: _mean(entry.values[name] for entry in entries) for name in entries[0].values}
        values = {name: mean for name, (mean, _, _) in means.items()}
        counts = {name: count for name, (_, _, count) in means.items()}
        spread = Spread({name: interval for name, (_, interval, _) in means.items()}, counts)
        labels = assign_labels(values, baselines[entries[0].layer], counts, {**LABEL_THRESHOLDS, **thresholds})
        return replace(entries[0], labels=labels, values=values, spread=spread, token_index=None, quadrants=None)

    return replace(
        first,
        queries=(),
        keys=(),
        metrics=tuple(map(head, range(len(first.metrics)))),
        baselines=baselines,
        repeats={},
        effects=tuple(_average_head([stack.effects[place] for stack in stacks]) for place in range(len(first.effects))),
    )


def _average_head(entries: Sequence[HeadEffect]) -> HeadEffect:
    means = {kind: _mean(entry.values[kind] for entry in entries) for kind in entries[0].values}
    fall, _, _ = _mean(entry.change_log_probability for entry in entries)
    return replace(
        entries[0],
        values={kind: mean for kind, (mean, _, _) in means.items()},
        intervals={kind: interval for kind, (_, interval, _) in means.items() if interval is not None},
        change_log_probability=fall,
        reads=None,
    )


def _average_effects(effects: Sequence[Effects]) -> Effects:
    first = effects[0]
    names = dict.fromkeys(part.name for each in effects for part in each.parts)
    by_name = [{part.name: part.values for part in each.parts} for each in effects]
    parts = tuple(
        PartEffect(name, {kind: _mean(values.get(name, {}).get(kind) for values in by_name)[0] for kind in first.kinds})
        for name in names
    )
    sources = [each.source for each in effects if each.source is not None]
    unexplained = [each.unexplained for each in effects if each.unexplained is not None]
    return replace(
        first,
        outcome=_average_outcome([each.outcome for each in effects]),
        source=_average_outcome(sources) if sources else None,
        parts=parts,
        unexplained=max(unexplained, key=abs) if unexplained else None,
    )


def _average_outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """The means; a token that all texts share."""
    answers, contrasts = ({getattr(each, name) for each in outcomes} for name in ("answer", "contrast"))
    value, _, _ = _mean(each.value for each in outcomes)
    probability, _, _ = _mean(each.probability for each in outcomes)
    return Outcome(
        answers.pop() if len(answers) == 1 else None,
        contrasts.pop() if len(contrasts) == 1 else None,
        0.0 if value is None else value,
        probability,
    )


def _mean(values: Iterable[float | None]) -> tuple[float | None, Interval | None, int]:
    """The mean of those that are known, its interval, and how many they are."""
    from attncli.attention.averages import confidence_interval

    known = list(_known(values))
    if not known:
        return None, None, 0
    mean = sum(known) / len(known)
    squares = sum((value - mean) ** 2 for value in known)
    return mean, confidence_interval(mean, squares, len(known)), len(known)


def _known(values: Iterable[float | None]) -> Iterator[float]:
    yield from (value for value in values if value is not None)


def refuse_columns(columns: Sequence[str], options: Mapping[str, object]) -> None:
    """Raise UsageError for a token or a text that is given twice. options: those of the command line, by column."""
    for name, value in options.items():
        if value is not None and name in columns:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} is a column of the file, too", hint=f"leave {flag} out, or {name} in --columns")
