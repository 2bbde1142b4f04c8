"""Build the result of `heads` with its warnings and notes, and compare two runs: two models, or `--against`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from attncli.api.loading import provenance
from attncli.attention.labels import check_metric
from attncli.attention.selection import EVERYTHING, HeadsRequest, Selection, SelectionSpec, View, parse_selection
from attncli.errors import UsageError
from attncli.metrics import METRICS, PROBED, REPEAT_METRICS
from attncli.results.heads import DifferenceKind, HeadsResult, Stack
from attncli.results.steps import Steps

if TYPE_CHECKING:
    from attncli.models.loading.loaded_model import LoadedModel

#: The note where one position of a long text is shown without metrics.
_NO_METRICS = "the metrics of heads are left out for one position of a text this long (--metric NAME has one measured)"

#: Patterns are compared exactly up to so many tokens, and in so many bins beyond, because the patterns of all heads of
#: both runs are in memory at once.
_COMPARED_BINS = 256

#: Options that can't be combined with a comparison, and why.
_SINGLE_RUN_OPTIONS = {
    "check": "--check is of one model on one text",
    "rollout": "--rollout is of all heads of a layer together, and heads are compared here",
    "norm_weighted": "--norm-weighted patterns don't sum to 1, so that their distance has no scale",
}

#: The note where the patterns of the two runs differ in shape.
_DIFFERENT_LENGTHS = "the two have other numbers of tokens, so that their metrics are compared and not their patterns"

#: Options that choose patterns to show.
_PATTERN_OPTIONS = ("layer", "head", "query", "key")

P = ParamSpec("P")


# --- Building a result


def metrics_to_measure(metric: str | None, view: View, *, checks: bool) -> tuple[str, ...]:
    """The metrics to measure on a long text, where each takes time: none where a single position is shown.

    Raises UsageError for an unknown metric.
    """
    if metric is not None:
        return (check_metric(metric, "--metric"),)
    return () if view.has_one_query and not checks else tuple(METRICS)


def heads_result(
    loaded: LoadedModel,
    stacks: tuple[Stack, ...],
    request: HeadsRequest,
    *,
    warnings: tuple[str, ...],
    notes: tuple[str, ...],
) -> HeadsResult:
    """The result of any run of `heads`. warnings: added to those of loading the model."""
    return HeadsResult(
        model=loaded.name,
        device=str(loaded.device),
        dtype=loaded.dtype,
        stacks=stacks,
        made_by=provenance(
            "tokenizers", "transformers", "torch", model_class=loaded.class_name, revision=loaded.revision
        ),
        warnings=(*loaded.warnings, *warnings),
        notes=(*notes, *_virtual_token_note(loaded), *_ignored_option_notes(stacks, request)),
        chosen=request.shows_patterns,
    )


def _virtual_token_note(loaded: LoadedModel) -> Iterator[str]:
    if count := loaded.virtual_tokens:
        names = "[P0] is a virtual token" if count == 1 else f"[P0] to [P{count - 1}] are virtual tokens"
        yield f"{names} of the adapter, before the text; --query and --key count from the text's first token"


def _ignored_option_notes(stacks: tuple[Stack, ...], request: HeadsRequest) -> Iterator[str]:
    """Notes on options that change patterns, where no pattern is shown."""
    if request.patterns:
        return
    sketched = any(stack.sketches for stack in stacks)
    shaping = {
        "--norm-weighted": request.weighting == "norm",
        "--hide-special": request.view.hide_special and not sketched,
        f"--by {request.view.by}": request.view.by != "token" and not sketched,
    }
    for flag in (flag for flag, given in shaping.items() if given):
        yield f"{flag} shapes patterns, and none is shown here: choose some with -l, -H or --query"


def unread_warnings(unread: Iterable[tuple[str, str]], selection: Selection) -> Iterator[str]:
    """Warnings for stacks whose attention can't be read from the attention interface or the modules."""
    if selection.stack is None:
        for stack, mixer in unread:
            yield f"the attention of the {stack} can't be read and is left out: {mixer}"


def metric_notes(stacks: tuple[Stack, ...], without_repeats: str) -> Iterator[str]:
    """Notes on metrics that are null. without_repeats: how the note on texts without repeated tokens begins."""
    if has_no_metrics(stacks):
        yield _NO_METRICS
        return
    positional = [stack for stack in stacks if stack.stack != "cross"]
    repeated = any(head.values[PROBED] is not None for stack in positional for head in stack.metrics)
    if positional and not repeated:
        yield f"{without_repeats}, so that {' and '.join(REPEAT_METRICS)} are null (--probe shows them)"


def has_no_metrics(stacks: Sequence[Stack]) -> bool:
    """Whether all metrics of all heads are None."""
    return all(value is None for stack in stacks for head in stack.metrics for value in head.values.values())


# --- `--steps`


def steps_selection(layer: SelectionSpec, head: SelectionSpec, stack: str | None) -> Selection:
    """The heads for `--steps`: those chosen, or the first head of each chosen layer, or head 0.0."""
    if head is not None:
        return parse_selection(layer, head, stack)
    return parse_selection(layer, "0" if layer is not None else "0.0", stack)


def steps_request(request: HeadsRequest) -> HeadsRequest:
    """The request with `--steps`: query and key then choose the steps and crop no pattern.

    Raises UsageError for options that change the weights or what a row stands for.
    """
    view = request.view
    changed = {
        "--rollout": request.weighting == "rollout",
        "--norm-weighted": request.weighting == "norm",
        "--hide-special": view.hide_special,
        f"--by {view.by}": view.by != "token",
        "--bins": request.bins is not None,
    }
    wrong = next((flag for flag, given in changed.items() if given), None)
    if wrong is not None:
        raise UsageError(
            f"--steps walks through the numbers of one head, and {wrong} shapes a pattern",
            hint=f"leave {wrong} out to walk, or --steps out to see the pattern",
        )
    return replace(request, view=EVERYTHING, steps=view)


def steps_notes(steps: Sequence[Steps], others: Sequence[str]) -> tuple[str, ...]:
    """A note on other stacks that `--steps` can show. others: a head of each."""
    if not others:
        return ()
    heads = " or ".join(f"-H {name}" for name in others)
    return (f"the walk is through the {steps[0].stack}; {heads} walks through another stack",)


# --- Comparing two models, or a text with `--against` another


def with_comparison(verb: Callable[P, HeadsResult]) -> Callable[P, HeadsResult]:
    """Let `heads` take a list of two models, or `against=` another text: run it on both and compare the results."""

    @wraps(verb)
    def heads(*args: P.args, **options: P.kwargs) -> HeadsResult:
        others: dict[str, Any] = dict(options)
        against = others.pop("against", None)
        models = others.pop("model", None)
        models = list(models) if isinstance(models, list | tuple) else [models]
        run: Callable[..., HeadsResult] = verb
        if len(models) == 1 and against is None:
            return run(*args, **others, model=models[0])
        text: Any = args[0] if args else others.pop("text", None)
        # Both runs read the texts, so an iterator has to become a list.
        text = text if text is None or isinstance(text, str) else list(text)
        _check_comparison(models, text, against, others)
        if against is None:
            return _compare_two(run, (text, text), models, others, "models")
        return _compare_two(run, (text, against), models * 2, others, "texts")

    return heads


def _compare_two(
    run: Callable[..., HeadsResult],
    texts: tuple[Any, Any],
    models: Sequence[Any],
    options: Mapping[str, Any],
    kind: DifferenceKind,
) -> HeadsResult:
    """Run `heads` twice and add the difference to the first result.

    The patterns of all heads are compared where a single text has them; the result keeps them only where patterns are
    to be shown.
    """
    from attncli.attention.head_differences import compute_difference

    shows_patterns = bool(options.get("patterns")) or any(options.get(name) is not None for name in _PATTERN_OPTIONS)
    metric, average = options.get("metric"), _is_average(texts, options)
    changes: dict[str, Any] = {}
    if not average and (shows_patterns or metric is None):
        changes = {"patterns": True, "bins": options.get("bins") or _COMPARED_BINS}
    first, second = (
        run(text, **{**options, **changes}, model=model) for text, model in zip(texts, models, strict=True)
    )
    found = compute_difference(first, second, kind, metric=metric, patterns=shows_patterns and not average)
    stacks = first.stacks if shows_patterns else tuple(replace(stack, patterns=()) for stack in first.stacks)
    warnings = tuple(dict.fromkeys((*first.warnings, *second.warnings)))
    lengths = () if average or metric is not None or found.by_total_variation else (_DIFFERENT_LENGTHS,)
    notes = tuple(dict.fromkeys((*first.notes, *second.notes, *lengths)))
    return replace(first, stacks=stacks, difference=found, warnings=warnings, notes=notes)


def _is_average(texts: tuple[Any, Any], options: Mapping[str, Any]) -> bool:
    """Whether each run averages over several inputs."""
    several_texts = any(text is not None and not isinstance(text, str) for text in texts)
    several_lists = any(not isinstance(item, int) for item in options.get("input_ids") or ())
    return bool(options.get("probe")) or several_texts or several_lists


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
