"""What was compared, as something to draw: A is what was looked at first, B what it was held against."""

from __future__ import annotations

from dataclasses import replace

from attncli.render.figures.fonts import drawable
from attncli.render.figures.naming import stack_facts, visible_line
from attncli.render.figures.sheet import Words
from attncli.render.heads.differing import differences_alone
from attncli.render.heads.running import running
from attncli.render.html.words import printed
from attncli.results.heads import HeadsDifference, HeadsResult, Stack
from attncli.results.tokenize import Token

LEGEND = "weight in B minus weight in A"
COLORS = "orange: B has more, purple: A has more, white: the same"


def differing(result: HeadsResult) -> HeadsResult:
    """The differences as heads, their tokens named as in both texts: `cat→dog`. Itself where nothing was compared."""
    if result.difference is None:
        return result
    own = {stack.stack: stack for stack in result.stacks}
    changed = differences_alone(result)
    stacks = [
        _in_both(stack, own[other.stack]) if result.difference.kind == "texts" else stack
        for stack, other in zip(changed.stacks, result.difference.stacks, strict=True)
    ]
    return replace(changed, stacks=tuple(stacks))


def _in_both(stack: Stack, own: Stack) -> Stack:
    if (len(stack.queries), len(stack.keys)) != (len(own.queries), len(own.keys)):
        return stack
    queries, keys = (
        tuple(map(_named, before, after)) for before, after in ((own.queries, stack.queries), (own.keys, stack.keys))
    )
    return replace(stack, queries=queries, keys=keys)


def _named(before: Token, after: Token) -> Token:
    return before if before.text == after.text else before._replace(text=f"{before.text.strip()}→{after.text.strip()}")


def compared_words(result: HeadsResult, difference: HeadsDifference, form: str, title: str | None) -> Words:
    """What is held against what, and what both sides are."""
    texts = difference.kind == "texts"
    given = title or (f"{result.model}: B minus A" if texts else "B minus A")
    shape = stack_facts(result.stacks[0])[:1] if len(result.stacks) == 1 else []
    facts = [*shape, *(_two_texts(result, difference) if texts else _two_models(result, difference))]
    return Words(drawable(visible_line(given), form), [drawable(fact, form) for fact in facts], [COLORS])


def _two_models(result: HeadsResult, difference: HeadsDifference) -> list[str]:
    models = [f"A: {printed(result.model)}", f"B: {printed(difference.model)}"]
    return [*models, *stack_facts(result.stacks[0])[1:]]


def _two_texts(result: HeadsResult, difference: HeadsDifference) -> list[str]:
    here, there = result.stacks[0].keys, difference.stacks[0].keys
    return [f"A: {running(here)}", f"B: {running(there)}"] if here and there else []
