"""The difference between the effects of two results: of the same outcome under two models. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attncli.errors import UsageError
from attncli.results.effects import Effects, EffectsDifference, OutcomeToken, PartChange
from attncli.results.heads import HeadsResult, Stack
from attncli.results.tokens import Token


def effects_difference(here: HeadsResult, there: HeadsResult) -> EffectsDifference | None:
    """The other side's outcome and what its other parts do; None without effects.

    Raises UsageError where the two have different tokens, or are asked about different outcomes.
    """
    ours, theirs = here.effects, there.effects
    if ours is None or theirs is None:
        return None
    _require_same_tokens(here, there)
    _require_same_outcome(here, there, ours, theirs)
    before, after = ({part.name: part.values for part in each.parts} for each in (ours, theirs))
    none = dict.fromkeys(ours.kinds)
    parts = tuple(
        PartChange(name, values := after.get(name, none), value_changes(before.get(name, none), values))
        for name in dict.fromkeys((*before, *after))
    )
    return EffectsDifference(theirs.outcome, theirs.source, parts, theirs.unexplained)


def value_changes(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> dict[str, float | None]:
    """`after` less `before`, by name; None where one is missing."""
    both = ((name, old, after.get(name)) for name, old in before.items())
    return {name: None if old is None or new is None else new - old for name, old, new in both}


def _require_same_tokens(here: HeadsResult, there: HeadsResult) -> None:
    """Raise UsageError where a stack has other tokens under the other model, virtual ones of adapters aside."""
    for ours, theirs in zip(here.stacks, there.stacks, strict=True):
        for side in ("queries", "keys"):
            a, b = _own_tokens(ours, side), _own_tokens(theirs, side)
            if [token.id for token in a] != [token.id for token in b]:
                raise UsageError(
                    f"--effect compares two models on the same tokens: {here.model} cuts the text into "
                    f"{_cut(a)}, and {there.model} into {_cut(b)}",
                    hint="compare models with one tokenizer, or run --effect once for each",
                )


def _own_tokens(stack: Stack, side: str) -> Sequence[Token]:
    return [token for token in getattr(stack, side) if token.index >= 0]


def _cut(tokens: Sequence[Token], most: int = 6) -> str:
    """The first tokens and how many there are."""
    shown = "|".join(token.token for token in tokens[:most])
    return f"{len(tokens):,} tokens ({shown}{'|…' if len(tokens) > most else ''})"


def _require_same_outcome(here: HeadsResult, there: HeadsResult, ours: Effects, theirs: Effects) -> None:
    for flag, a, b in (
        ("--answer", ours.outcome.answer, theirs.outcome.answer),
        ("--contrast", ours.outcome.contrast, theirs.outcome.contrast),
    ):
        if (None if a is None else a.id) != (None if b is None else b.id):
            raise UsageError(
                f"--effect compares two models on the same outcome, and {flag[2:]} is {_named(a)} in {here.model} "
                f"and {_named(b)} in {there.model}",
                hint=f"name one token for both with {flag}"
                if a is not None and b is not None
                else "compare two models that predict tokens, or two that don't",
            )


def _named(token: OutcomeToken | None) -> str:
    return "none" if token is None else repr(token.text)
