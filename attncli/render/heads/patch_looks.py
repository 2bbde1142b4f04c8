"""What there is to draw over a picture: where one query of several heads looks, or the words of a caption of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from attncli.results.heads import Stack
from attncli.results.patterns import Pattern
from attncli.results.tokenize import Token

#: More maps than these are told to be asked for.
MOST_MAPS = 24


class Look(NamedTuple):
    """One row of weights over the keys of a stack. name: of the head or the word that looks; query: what looks."""

    name: str
    weights: Sequence[float]
    query: Token | None = None


def looks_of(stack: Stack, named: Callable[[Token], str]) -> list[Look]:
    """The maps of a stack; none where its keys are no patches, or where there are more rows than one of each head.

    named: how a word of a caption is written.
    """
    if stack.key_medium.grid is None or any(pattern.bins is not None for pattern in stack.patterns):
        return []
    same = stack.query_medium.grid is not None
    if len(stack.queries) == 1 or has_class_token(stack):
        query = stack.queries[0] if same else None
        return [Look(head_name(stack, pattern), pattern.weights[0].tolist(), query) for pattern in stack.patterns]
    if len(stack.patterns) == 1 and not same:
        rows = stack.patterns[0].weights.tolist()
        return [Look(named(token), row) for token, row in zip(stack.queries, rows, strict=True)]
    return []


def has_class_token(stack: Stack) -> bool:
    """Whether all queries were asked for, and the first of them stands for the whole picture."""
    grid = stack.query_medium.grid
    return grid is not None and len(stack.queries) > grid.rows * grid.columns and stack.queries[0].special


def are_words(stack: Stack) -> bool:
    """Whether the maps of a stack are of the words of a caption."""
    return len(stack.queries) > 1 and stack.query_medium.grid is None


def head_name(stack: Stack, pattern: Pattern) -> str:
    names = {(head.layer, head.head): head.name for head in stack.metrics}
    return names.get((pattern.layer, pattern.head or 0), f"up to layer {pattern.layer}")


def who_looks(stack: Stack, named: Callable[[Token], str]) -> str:
    """The query of all maps: `patch 2,1`, `[CLS]`, or a word."""
    query = stack.queries[0]
    if stack.query_medium.grid is None:
        return named(query).strip() or "the token"
    return named(query) if query.special else f"patch {named(query)}"


def shown_maps(looks: Sequence[Look]) -> tuple[Sequence[Look], str]:
    """As many as can be drawn, the last of them, and what there is to say of the others."""
    shown = looks[-MOST_MAPS:]
    if len(shown) == len(looks):
        return shown, ""
    return shown, f"the last {len(shown)} of {len(looks)} maps; -l or -H chooses others"


def share_text(weight: float) -> str:
    """Two digits that count: `0.43`, `0.0061`."""
    return f"{weight:.2f}" if weight >= 0.1 or not weight else f"{weight:.2g}"
