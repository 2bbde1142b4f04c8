"""What `--qk-ov` says: the head that copies most, the one that matches most, the strongest composition, and lists of
each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from attncli.render.views.sentences import Sentence, Words, quiet, strong
from attncli.results.circuits import Circuits, Composition, HeadCircuit
from attncli.results.heads import HeadMetrics, HeadsResult, Stack

#: What of the later head reads what the earlier one wrote.
_KINDS = {"query": "by queries", "key": "by keys", "value": "by values"}


#: What the numbers of heads say, by their names.
MEANINGS = {
    "copying": "from −1 to 1: 1 where reading a token makes this token likelier (eigenvalues of OV)",
    "matching": "from −1 to 1: 1 where a token looks for itself (eigenvalues of QK)",
}


class CircuitList(NamedTuple):
    """A ranking: its title, and a name and a number for each entry. composes: its entries are pairs of heads."""

    title: str
    entries: tuple[tuple[str, str], ...]
    composes: bool = False


class CircuitsView(NamedTuple):
    """sentence: what stands out.  lists: the rankings.  notes: on what is missing, and on chance."""

    sentence: Sentence
    lists: tuple[CircuitList, ...]
    notes: tuple[str, ...]


def circuits_view(result: HeadsResult, circuits: Circuits) -> CircuitsView:
    """The view of the circuits of a result."""
    copying = _ranked(circuits.heads, "copying")
    matching = _ranked(circuits.heads, "matching")
    lists = [
        CircuitList(title, tuple((head.name, _share(getattr(head, field))) for head in heads[: result.top]))
        for title, field, heads in (("copy (OV)", "copying", copying), ("match (QK)", "matching", matching))
        if heads
    ]
    for kind, title in _KINDS.items():
        found = [each for each in circuits.compositions if each.kind == kind][: result.top]
        if found:
            entries = tuple((f"{each.earlier}→{each.later}", _share(each.score)) for each in found)
            lists.append(CircuitList(title, entries, composes=True))
    return CircuitsView(_sentence(copying, matching, circuits), tuple(lists), tuple(_notes(circuits)))


def with_circuits(result: HeadsResult, circuits: Circuits) -> HeadsResult:
    """The result with copying and matching as the metrics of its heads, as far as there are any."""
    known = [name for name in MEANINGS if any(getattr(head, name) is not None for head in circuits.heads)]

    def metrics(stack: Stack) -> tuple[HeadMetrics, ...]:
        heads = (head for head in circuits.heads if head.stack == stack.stack)
        return tuple(
            HeadMetrics(head.name, head.layer, head.head, (), {name: getattr(head, name) for name in known})
            for head in heads
        )

    return replace(result, stacks=tuple(replace(stack, metrics=metrics(stack)) for stack in result.stacks))


def _ranked(heads: Sequence[HeadCircuit], field: str) -> list[HeadCircuit]:
    """The heads that have a number, the largest first."""
    return sorted((head for head in heads if getattr(head, field) is not None), key=lambda head: -getattr(head, field))


def _share(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _sentence(copying: Sequence[HeadCircuit], matching: Sequence[HeadCircuit], circuits: Circuits) -> Sentence:
    words: list[Words] = []
    for heads, field, does in ((copying, "copying", "copies most"), (matching, "matching", "matches most")):
        if heads:
            value = _share(getattr(heads[0], field))
            words += [quiet(", ") if words else quiet("By weights alone "), strong(heads[0].name)]
            words.append(Words(f" {does} ({value})"))
    strongest = max(circuits.compositions, key=_excess, default=None)
    if strongest is not None:
        words += [
            Words(", and " if words else "By weights alone "),
            strong(strongest.later),
            Words(f" reads most of what an earlier head wrote: {strongest.earlier}, {_KINDS[strongest.kind]}"),
        ]
    return tuple(words)


def _excess(composition: Composition) -> float:
    return composition.score - composition.chance


def _notes(circuits: Circuits) -> list[str]:
    notes = []
    chances = sorted({_share(each.chance) for each in circuits.compositions})
    if chances:
        by_chance = chances[0] if len(chances) == 1 else f"{chances[0]} to {chances[-1]}"
        notes.append(
            f"copy, match: −1 to 1, by eigenvalues of OV and QK; a later head reads an earlier one: chance {by_chance}"
        )
    if circuits.heads and all(head.copying is None for head in circuits.heads):
        notes.append("no copying: the model has no language-model head that is one matrix")
    if circuits.heads and all(head.matching is None for head in circuits.heads):
        notes.append("no matching: the queries and keys of these heads are no matrix of the stream")
    return notes
