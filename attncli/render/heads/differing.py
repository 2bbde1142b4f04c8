"""A difference as stacks of heads, so that what draws heads can draw how they differ."""

from __future__ import annotations

from dataclasses import replace

from attncli.results.heads import HeadChange, HeadMetrics, HeadsDifference, HeadsResult, Stack, StackDifference

#: What the patterns of such a stack hold, in place of attention.
DIFFERENCE = "difference"


def difference_stacks(result: HeadsResult) -> tuple[Stack, ...]:
    """The other side less this one: patterns of differences, and the changes of metrics in place of their values."""
    if result.difference is None:
        return ()
    own = {stack.stack: stack for stack in result.stacks}
    return tuple(_stack(changed, own[changed.stack]) for changed in result.difference.stacks)


def differences_alone(result: HeadsResult) -> HeadsResult:
    """A result whose heads are the differences; itself where nothing was compared."""
    stacks = difference_stacks(result)
    if not stacks or result.difference is None:
        return result
    return replace(result, stacks=stacks, model=compared(result, result.difference), weighting=DIFFERENCE)


def compared(result: HeadsResult, difference: HeadsDifference) -> str:
    """What is held against what."""
    if difference.kind == "models":
        return f"{difference.model} less {result.model}"
    return f"{result.model}: the other text less this one"


def _stack(changed: StackDifference, own: Stack) -> Stack:
    heads = sorted(changed.heads, key=lambda head: (head.layer, head.head))
    return replace(
        own,
        stack=f"{changed.stack}, {DIFFERENCE}",
        queries=changed.queries,
        keys=changed.keys,
        metrics=tuple(map(_changes, heads)),
        baselines={},
        patterns=changed.patterns,
        whole=None,
        reading=None,
        ranking=None,
    )


def _changes(head: HeadChange) -> HeadMetrics:
    values = {"total_variation": head.total_variation, **head.changes}
    return HeadMetrics(f"{DIFFERENCE} {head.name}", head.layer, head.head, (), values)
