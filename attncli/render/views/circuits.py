"""What `--qk-ov` says: the head that copies most, the one that matches most, the strongest composition, and lists of
each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from attncli.render.views.sentences import Sentence, Words, quiet, strong
from attncli.results.circuits import Circuits, Composition, HeadCircuit
from attncli.results.heads import HeadsResult

#: What of the later head reads what the earlier one wrote.
_KINDS = {"query": "by queries", "key": "by keys", "value": "by values"}


class CircuitList(NamedTuple):
    """A ranking: its title, and a name and a number for each entry."""

    title: str
    entries: tuple[tuple[str, str], ...]


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
            lists.append(CircuitList(title, entries))
    return CircuitsView(_sentence(copying, matching, circuits), tuple(lists), tuple(_notes(circuits)))


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
