"""How heads differ between two models or two texts (`--against`): as stacks of heads, as a map, and in words.

A is this side, the first model or text; B the other one. Differences are B less A.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from attncli.render.common.numbers import signed_number
from attncli.render.views.effects import effect_changes
from attncli.render.views.sentences import text_excerpt
from attncli.results.heads import HeadChange, HeadMetrics, HeadsDifference, HeadsResult, Stack, StackDifference
from attncli.results.tokens import Token

#: The `weighting` of a result whose patterns are differences.
DIFFERENCE = "difference"
_VARIATION_MEANING = "share of its weight that a head puts elsewhere, mean of its rows"
_LARGEST_CHANGE_MEANING = "the largest change of a metric that is a share of the row"
# Digits after the point of two values: the fewest that show their difference, or the first where none do.
_DECIMALS = (3, 4, 5, 6)

#: Layer and head.
Head = tuple[int, int]


# --- differences as stacks of heads


def difference_stacks(result: HeadsResult) -> tuple[Stack, ...]:
    """The other side less this one, as stacks: differences of patterns, and changes of metrics as their values."""
    if result.difference is None:
        return ()
    stacks = {stack.stack: stack for stack in result.stacks}
    return tuple(_difference_stack(changed, stacks[changed.stack]) for changed in result.difference.stacks)


def _difference_stack(changed: StackDifference, here: Stack) -> Stack:
    heads = sorted(changed.heads, key=lambda head: (head.layer, head.head))
    metrics = (
        HeadMetrics(
            f"{DIFFERENCE} {head.name}", head.layer, head.head, (),
            {"total_variation": head.total_variation, **head.changes},
        )
        for head in heads
    )  # fmt: skip
    return replace(
        here,
        stack=f"{changed.stack}, {DIFFERENCE}",
        queries=changed.queries,
        keys=changed.keys,
        metrics=tuple(metrics),
        baselines={},
        patterns=changed.patterns,
        whole=None,
        reading=None,
        ranking=None,
        effects=effect_changes(changed, [*here.effects[0].values]) if here.effects else (),
    )


def both_tokens(before: Sequence[Token], after: Sequence[Token], arrow: str, *, strip: bool) -> tuple[Token, ...]:
    """Tokens that show both texts where they differ: `cat→dog`; those of `after` if the numbers differ."""
    if len(before) != len(after):
        return tuple(after)
    merged = []
    for a, b in zip(before, after, strict=True):
        texts = [each.text.strip() if strip else each.text for each in (a, b)]
        merged.append(a if a.text == b.text else a._replace(text=arrow.join(texts)))
    return tuple(merged)


def compared_facts(result: HeadsResult, difference: HeadsDifference) -> list[tuple[str, str]]:
    """What A and B are: names of models, not escaped, or the texts; nothing for pictures without texts."""
    if difference.kind == "models":
        return [("A", result.model), ("B", difference.model)]
    here, there = result.stacks[0].keys, difference.stacks[0].keys
    return [("A", text_excerpt(here)), ("B", text_excerpt(there))] if here and there else []


# --- the map of changes


class ChangeMap(NamedTuple):
    """How much each head changed. title, meaning: what the values are.  values: None where a head can't be compared.

    ranked: the heads that changed, those with the largest change first.
    """

    title: str
    meaning: str
    values: Mapping[Head, float | None]
    ranked: Sequence[HeadChange]


def change_map(difference: HeadsDifference, changed: StackDifference, metric: str | None) -> ChangeMap:
    """The map of the change of a metric, or of the overall change of heads."""
    title, meaning = "change", _VARIATION_MEANING if difference.by_total_variation else _LARGEST_CHANGE_MEANING
    if metric is not None:
        title, meaning = metric, f"its change, {more_note(difference)}"
    values = {(head.layer, head.head): measured_change(head, metric) for head in changed.heads}
    return ChangeMap(title, meaning, values, [head for head in changed.heads if measured_change(head, metric)])


def measured_change(head: HeadChange, metric: str | None) -> float | None:
    """The change of a metric, or the overall change."""
    return head.change if metric is None else head.changes.get(metric)


def more_note(difference: HeadsDifference) -> str:
    return f"+ where the other {difference.kind[:-1]} has more"


class KeyReason(NamedTuple):
    """`more on dog +0.21`: a key on both sides, and the change of its weight, mean over the rows."""

    word: str
    here: Token
    there: Token
    change: str


def key_reasons(here: Stack, changed: StackDifference, head: HeadChange) -> list[KeyReason]:
    """The keys that gained and lost most weight."""
    both = [("more", each) for each in head.gained[:1]] + [("less", each) for each in head.lost[:1]]
    return [
        KeyReason(word, here.keys[each.key], changed.keys[each.key], signed_number(each.change)) for word, each in both
    ]


def changed_decimals(here: float | None, there: float | None) -> int:
    """Digits after the point that tell two values apart."""
    change = 0.0 if here is None or there is None else abs(there - here)
    return next((decimals for decimals in _DECIMALS if change >= 10.0**-decimals), _DECIMALS[0])
