"""What one position reads of a text: which metrics it is worth waiting for beside that.

What `heads --steps` is to walk through, and what it can't be asked beside.

The result of `heads`, put together: what the model is, what its stacks do, and what a reader should know of it.

Heads compared: two models on one text, or one model on two texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from attncli.api.loading import provenance
from attncli.attention.claims import known_metric
from attncli.attention.selection import EVERYTHING, HeadsRequest, Selection, Spec, View, parse_selection
from attncli.choices import METRICS
from attncli.errors import UsageError
from attncli.results.heads import DifferenceKind, HeadsResult, Stack
from attncli.results.steps import Steps

if TYPE_CHECKING:
    from attncli.models.loading.loaded_model import LoadedModel

#: Said where a long text was looked at from one position alone.
NO_METRICS_NOTE = (
    "the metrics of heads are left out for one position of a text this long (--metric NAME has one measured)"
)


def metrics_to_measure(metric: str | None, view: View, *, checks: bool) -> tuple[str, ...]:
    """The metrics that are measured where a text is so long that each has its price: none beside one position.

    Raises UsageError for a name that is no metric's.
    """
    if metric is not None:
        return (known_metric(metric, "--metric"),)
    return () if view.reads_one and not checks else METRICS


def has_no_metrics(stacks: Sequence[Stack]) -> bool:
    """Whether no metric of any head was measured."""
    return all(value is None for stack in stacks for head in stack.metrics for value in head.values.values())


def steps_selection(layer: Spec, head: Spec, stack: str | None) -> Selection:
    """The heads that were named; else the first of each layer that was, or of the first layer."""
    if head is not None:
        return parse_selection(layer, head, stack)
    return parse_selection(layer, "0" if layer is not None else "0.0", stack)


def steps_notes(steps: Sequence[Steps], others: Sequence[str]) -> tuple[str, ...]:
    """Where no stack was named, and others could be walked through: `others` are heads of theirs."""
    if not others:
        return ()
    heads = " or ".join(f"-H {name}" for name in others)
    return (f"the walk is through the {steps[0].stack}; {heads} walks through another stack",)


def steps_request(wanted: HeadsRequest) -> HeadsRequest:
    """The same, walked through. Its tokens stay whole: query and key say where the walk goes, and cut no pattern.

    Raises UsageError beside what changes the weights that a head computes, or what a row stands for.
    """
    view = wanted.view
    changed = {
        "--rollout": wanted.weighting == "rollout",
        "--norm-weighted": wanted.weighting == "norm",
        "--hide-special": view.hide_special,
        f"--by {view.by}": view.by != "token",
        "--bins": wanted.bins is not None,
    }
    wrong = next((flag for flag, given in changed.items() if given), None)
    if wrong is not None:
        raise UsageError(
            f"--steps walks through the numbers of one head, and {wrong} shapes a pattern",
            hint=f"leave {wrong} out to walk, or --steps out to see the pattern",
        )
    return replace(wanted, view=EVERYTHING, steps=view)


def heads_result(
    loaded: LoadedModel,
    stacks: tuple[Stack, ...],
    wanted: HeadsRequest,
    *,
    warnings: tuple[str, ...],
    notes: tuple[str, ...],
) -> HeadsResult:
    """What every look at heads comes to. warnings: beside those of the model's loading."""
    from attncli.results.heads import HeadsResult

    return HeadsResult(
        model=loaded.name,
        device=str(loaded.device),
        dtype=loaded.dtype,
        stacks=stacks,
        made_by=provenance(
            "tokenizers", "transformers", "torch", model_class=loaded.class_name, revision=loaded.revision
        ),
        warnings=(*loaded.warnings, *warnings),
        notes=(*notes, *_ignored_option_notes(stacks, wanted)),
        chosen=wanted.shows_patterns,
    )


def _ignored_option_notes(stacks: tuple[Stack, ...], wanted: HeadsRequest) -> Iterator[str]:
    """What shapes patterns, where none is shown."""
    if wanted.patterns:
        return
    sketched = any(stack.sketches for stack in stacks)
    shaping = {
        "--norm-weighted": wanted.weighting == "norm",
        "--hide-special": wanted.view.hide_special and not sketched,
        f"--by {wanted.view.by}": wanted.view.by != "token" and not sketched,
    }
    for flag in (flag for flag, given in shaping.items() if given):
        yield f"{flag} shapes patterns, and none is shown here: choose some with -l, -H or --query"


def unread_warnings(unread: Iterable[tuple[str, str]], selection: Selection) -> Iterator[str]:
    """The stacks that attend in a way that neither the interface nor their modules show."""
    if selection.stack is None:
        for stack, mixer in unread:
            yield f"the attention of the {stack} can't be read and is left out: {mixer}"


def metric_notes(stacks: tuple[Stack, ...], without_repeats: str) -> Iterator[str]:
    """What a reader should know of the numbers themselves."""
    if has_no_metrics(stacks):
        yield NO_METRICS_NOTE
        return
    positional = [stack for stack in stacks if stack.stack != "cross"]
    repeated = any(head.values["induction"] is not None for stack in positional for head in stack.metrics)
    if positional and not repeated:
        yield f"{without_repeats}, so that duplicate and induction are null (--probe shows them)"


P = ParamSpec("P")

#: Patterns are compared exactly up to so many tokens, and in so many bins beyond: those of all heads of both sides are
#: held at once.
_COMPARED_BINS = 256

#: What belongs to one side alone, by its keyword.
_SINGLE_RUN_OPTIONS = {
    "check": "--check is of one model on one text",
    "rollout": "--rollout is of all heads of a layer together, and heads are compared here",
    "norm_weighted": "--norm-weighted patterns don't sum to 1, so that their distance has no scale",
}

#: Said where patterns have other shapes.
_DIFFERENT_LENGTHS = "the two have other numbers of tokens, so that their metrics are compared and not their patterns"

#: Keywords by which a user chooses patterns to see.
_PATTERN_OPTIONS = ("layer", "head", "query", "key")


def with_comparison(verb: Callable[P, HeadsResult]) -> Callable[P, HeadsResult]:
    """Let `heads` take two models, or a text `against` another: it then looks at both and compares what it found."""

    @wraps(verb)
    def heads(*args: P.args, **options: P.kwargs) -> HeadsResult:
        given: dict[str, Any] = dict(options)
        against = given.pop("against", None)
        models = given.pop("model", None)
        models = list(models) if isinstance(models, list | tuple) else [models]
        look: Callable[..., HeadsResult] = verb
        if len(models) == 1 and against is None:
            return look(*args, **given, model=models[0])
        text = _as_reusable(args[0] if args else given.pop("text", None))
        _check_comparison(models, text, against, given)
        if against is None:
            return _compare_two(look, (text, text), models, given, "models")
        return _compare_two(look, (text, against), models * 2, given, "texts")

    return heads


def _compare_two(
    look: Callable[..., HeadsResult],
    texts: tuple[Any, Any],
    models: Sequence[Any],
    options: Mapping[str, Any],
    kind: DifferenceKind,
) -> HeadsResult:
    """Look twice, with the patterns of all heads where a text has them, and keep those that were asked for."""
    from attncli.attention.head_differences import difference

    asked = bool(options.get("patterns")) or any(options.get(name) is not None for name in _PATTERN_OPTIONS)
    metric, average = options.get("metric"), _is_average(texts, options)
    wants: dict[str, Any] = {}
    if not average and (asked or metric is None):
        wants = {"patterns": True, "bins": options.get("bins") or _COMPARED_BINS}
    here, there = (look(text, **{**options, **wants}, model=model) for text, model in zip(texts, models, strict=True))
    found = difference(here, there, kind, metric=metric, patterns=asked and not average)
    stacks = here.stacks if asked else tuple(replace(stack, patterns=()) for stack in here.stacks)
    warnings = tuple(dict.fromkeys((*here.warnings, *there.warnings)))
    apart = () if average or metric is not None or found.of_patterns else (_DIFFERENT_LENGTHS,)
    notes = tuple(dict.fromkeys((*here.notes, *there.notes, *apart)))
    return replace(here, stacks=stacks, difference=found, warnings=warnings, notes=notes)


def _is_average(texts: tuple[Any, Any], options: Mapping[str, Any]) -> bool:
    several = any(text is not None and not isinstance(text, str) for text in texts)
    lists = any(not isinstance(one, int) for one in options.get("input_ids") or ())
    return bool(options.get("probe")) or several or lists


def _as_reusable(text: Any) -> Any:
    """The texts to look at twice: those that come one by one are held."""
    return text if text is None or isinstance(text, str) else list(text)


def _check_comparison(models: list[Any], text: Any, against: Any, options: Mapping[str, Any]) -> None:
    if len(models) != 2 and against is None:
        raise UsageError(f"{len(models)} models were named where two are compared", hint="write -m once or twice")
    if against is not None and len(models) > 1:
        raise UsageError("two models and two texts are too much at once", hint="leave --against out, or one -m")
    if against is not None and not (isinstance(text, str) and isinstance(against, str)):
        raise UsageError("--against compares two texts", hint="give both as texts, or leave --against out")
    for name, message in _SINGLE_RUN_OPTIONS.items():
        if options.get(name):
            raise UsageError(message, hint=f"leave --{name.replace('_', '-')} out, or look at one model and text")
