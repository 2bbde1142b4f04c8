"""Heads compared: two models on one text, or one model on two texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec

from attncli.errors import UsageError
from attncli.results.heads import DifferenceKind, HeadsResult

P = ParamSpec("P")

#: Patterns are compared exactly up to so many tokens, and in so many bins beyond: those of all heads of both sides are
#: held at once.
_BINS = 256

#: What belongs to one side alone, by its keyword.
_OF_ONE = {
    "check": "--check is of one model on one text",
    "rollout": "--rollout is of all heads of a layer together, and heads are compared here",
    "norm_weighted": "--norm-weighted patterns don't sum to 1, so that their distance has no scale",
}

#: Said where patterns have other shapes.
_APART = "the two have other numbers of tokens, so that their metrics are compared and not their patterns"

#: Keywords by which a user chooses patterns to see.
_CHOICES = ("layer", "head", "query", "key")


def comparing(verb: Callable[P, HeadsResult]) -> Callable[P, HeadsResult]:
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
        text = _kept(args[0] if args else given.pop("text", None))
        _refuse(models, text, against, given)
        if against is None:
            return _compared(look, (text, text), models, given, "models")
        return _compared(look, (text, against), models * 2, given, "texts")

    return heads


def _compared(
    look: Callable[..., HeadsResult],
    texts: tuple[Any, Any],
    models: Sequence[Any],
    options: Mapping[str, Any],
    kind: DifferenceKind,
) -> HeadsResult:
    """Look twice, with the patterns of all heads where a text has them, and keep those that were asked for."""
    from attncli.attention.head_differences import difference

    asked = bool(options.get("patterns")) or any(options.get(name) is not None for name in _CHOICES)
    metric, average = options.get("metric"), _is_average(texts, options)
    wants: dict[str, Any] = {}
    if not average and (asked or metric is None):
        wants = {"patterns": True, "bins": options.get("bins") or _BINS}
    here, there = (look(text, **{**options, **wants}, model=model) for text, model in zip(texts, models, strict=True))
    found = difference(here, there, kind, metric=metric, patterns=asked and not average)
    stacks = here.stacks if asked else tuple(replace(stack, patterns=()) for stack in here.stacks)
    warnings = tuple(dict.fromkeys((*here.warnings, *there.warnings)))
    apart = () if average or metric is not None or found.of_patterns else (_APART,)
    notes = tuple(dict.fromkeys((*here.notes, *there.notes, *apart)))
    return replace(here, stacks=stacks, difference=found, warnings=warnings, notes=notes)


def _is_average(texts: tuple[Any, Any], options: Mapping[str, Any]) -> bool:
    several = any(text is not None and not isinstance(text, str) for text in texts)
    lists = any(not isinstance(one, int) for one in options.get("input_ids") or ())
    return bool(options.get("probe")) or several or lists


def _kept(text: Any) -> Any:
    """The texts to look at twice: those that come one by one are held."""
    return text if text is None or isinstance(text, str) else list(text)


def _refuse(models: list[Any], text: Any, against: Any, options: Mapping[str, Any]) -> None:
    if len(models) != 2 and against is None:
        raise UsageError(f"{len(models)} models were named where two are compared", hint="write -m once or twice")
    if against is not None and len(models) > 1:
        raise UsageError("two models and two texts are too much at once", hint="leave --against out, or one -m")
    if against is not None and not (isinstance(text, str) and isinstance(against, str)):
        raise UsageError("--against compares two texts", hint="give both as texts, or leave --against out")
    for name, message in _OF_ONE.items():
        if options.get(name):
            raise UsageError(message, hint=f"leave --{name.replace('_', '-')} out, or look at one model and text")
