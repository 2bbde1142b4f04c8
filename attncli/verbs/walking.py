"""What `heads --steps` is to walk through, and what it can't be asked beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attncli.attention.selection import EVERYTHING, Selection, Spec, Wanted, parse_selection
from attncli.errors import UsageError
from attncli.results.steps import Steps


def walked_selection(layer: Spec, head: Spec, stack: str | None) -> Selection:
    """The heads that were named; else the first of each layer that was, or of the first layer."""
    if head is not None:
        return parse_selection(layer, head, stack)
    return parse_selection(layer, "0" if layer is not None else "0.0", stack)


def walk_notes(steps: Sequence[Steps], others: Sequence[str]) -> tuple[str, ...]:
    """Where no stack was named, and others could be walked through: `others` are heads of theirs."""
    if not others:
        return ()
    heads = " or ".join(f"-H {name}" for name in others)
    return (f"the walk is through the {steps[0].stack}; {heads} walks through another stack",)


def to_walk(wanted: Wanted) -> Wanted:
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
