"""What the model predicts and what its heads do to the outcome: sentences, maps, rankings, parts and sums as values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from attncli.effects import EFFECTS
from attncli.render.views.sentences import Sentence, Words, quiet, strong
from attncli.results.effects import (
    Effects,
    HeadEffect,
    LensState,
    Outcome,
    OutcomeToken,
    PartEffect,
    PredictedToken,
    Prediction,
)
from attncli.results.heads import HeadsResult, Stack, StackDifference
from attncli.results.tokens import Token

#: Layer and head.
Head = tuple[int, int]

#: Digits after the point, by how large the largest effect is at least.
_DECIMALS = ((0.095, 2), (0.0095, 3))
_MOST_DECIMALS = 4
#: Two kinds disagree on a head where they differ by more than this share of the larger one.
_DISAGREEMENT = 0.5
#: Heads on which two kinds disagree, and parts of one kind, that a sentence lists.
_LISTED_HEADS, _LISTED_PARTS = 3, 5
#: The groups of other parts by the first word of their names, and all groups in order.
_TITLES = {"mlp": "MLPs", "mixer": "mixers", "attention": "attention", "embedding": "embeddings"}
_GROUPS = (*_TITLES.values(), "biases", "others")
#: The kind whose effects sum to the outcome: what several ablations do at once isn't the sum of what each does.
_ADDS_UP = "direct"
#: A remainder is rounding up to this share of the outcome, which is at least 1.
_ROUNDING = 1e-4


def vocabulary_token(token: OutcomeToken | PredictedToken) -> Token:
    """A token of the vocabulary, as sentences show tokens."""
    return Token(0, token.id, token.text, token.text)


def effect_number(value: float | None, largest: float) -> str:
    """An effect with its sign; empty where there is none. largest: the largest of those beside it."""
    decimals = next((digits for least, digits in _DECIMALS if abs(largest) >= least), _MOST_DECIMALS)
    return "" if value is None else f"{value:+z.{decimals}f}"


def share_number(probability: float) -> str:
    """A probability: `77 %`, `1.2 %`, `<0.1 %`."""
    percent = probability * 100
    if percent < 0.1:
        return "<0.1 %"
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %"


# --- The prediction


class LensRow(NamedTuple):
    """A state of the logit lens. place: which it is.  rank, probability: of the answer."""

    state: int
    place: str
    tokens: Sequence[PredictedToken]
    rank: int
    probability: float


class PredictionView(NamedTuple):
    """What the model expects. answer: the token whose way up is followed.  left_out: states that are not shown."""

    sentence: Sentence
    answer: Token
    rows: Sequence[LensRow]
    left_out: int


def prediction_view(result: HeadsResult, prediction: Prediction, *, rows: int, tokens: int) -> PredictionView:
    """rows: the most states that are shown.  tokens: how many of each."""
    at = position_token(result, prediction.position)
    words = [Words("at " if at.special else "after "), strong(at), Words(" the model expects ")]
    for place, token in enumerate(prediction.tokens[:tokens]):
        words += [Words(", " if place else ""), strong(vocabulary_token(token)),
                  Words(f" {share_number(token.probability)}")]  # fmt: skip
    shown = _shown_states(prediction.lens, rows)
    last = len(prediction.lens) - 1
    lens = [
        LensRow(each.state, _state_place(each.state, last), each.tokens[:tokens], each.answer.rank,
                each.answer.probability)
        for each in shown
    ]  # fmt: skip
    followed = prediction.lens[-1].answer if prediction.lens else prediction.tokens[0]
    return PredictionView(
        tuple(words), Token(0, followed.id, followed.text, followed.text), lens, len(prediction.lens) - len(lens)
    )


def left_out_states(view: PredictionView) -> str:
    """What a short logit lens leaves out; empty for nothing."""
    if not view.left_out:
        return ""
    if not view.rows:
        return "--full adds the prediction after each layer"
    return f"--full shows the {view.left_out:,} states in between"


def position_token(result: HeadsResult, position: int) -> Token:
    """The token at a position of the stack that predicts."""
    own = [stack for stack in result.stacks if stack.stack not in ("cross", "encoder")] or list(result.stacks)
    tokens = own[0].queries
    return next((token for token in tokens if token.index == position), Token(position, -1, "…", "…"))


def _state_place(state: int, last: int) -> str:
    return "embeddings" if state == 0 else f"layer {state - 1}" if state < last else f"layer {state - 1}, norm"


def _shown_states(lens: Sequence[LensState], rows: int) -> list[LensState]:
    """The states that fit: the first, the last ones, where the answer becomes the likeliest, and others evenly."""
    if len(lens) <= rows:
        return list(lens)
    last = len(lens) - 1
    first_right = next((place for place, each in enumerate(lens) if each.answer.rank == 1), last)
    # Predictions form in the last layers.
    chosen = {0, first_right, *range(last - rows // 2 + 1, last + 1)}
    before, free = last - rows // 2, max(rows - len(chosen), 0)
    chosen |= {round(before * step / (free + 1)) for step in range(1, free + 1)}
    return [lens[place] for place in sorted(chosen)[-max(rows, 1) :]] if rows else []


# --- Effects


class EffectMap(NamedTuple):
    """The effects of one kind on a map. title, meaning: what the numbers are.  values: None where there is none."""

    kind: str
    title: str
    meaning: str
    values: Mapping[Head, float | None]

    @property
    def largest(self) -> float:
        """The largest absolute value; 0 where there is none."""
        return max((abs(value) for value in self.values.values() if value is not None), default=0.0)


class EffectRow(NamedTuple):
    """A head of the ranking. label: what it does by its metrics.  reads, weight: what it reads from the position.

    give: half the width of the interval of each value that is a mean over texts.
    """

    name: str
    values: Sequence[float | None]
    label: str | None
    reads: Token | None
    weight: float | None
    give: Sequence[float | None] = ()

    @property
    def averaged(self) -> bool:
        """Whether the values are means with intervals."""
        return any(half is not None for half in self.give)


class PartGroup(NamedTuple):
    """Other parts of one kind. parts: names within the group and their effects, the largest first.  total: of all."""

    title: str
    total: float
    parts: Sequence[tuple[str, float]]


def is_compared(result: HeadsResult) -> bool:
    """Whether the effects of two models are compared."""
    return result.difference is not None and result.difference.effects is not None


def changed_effects(result: HeadsResult) -> HeadsResult:
    """Where two models are compared, the result with B's effects less A's in the place of A's."""
    effects, difference = result.effects, result.difference
    if effects is None or difference is None or difference.effects is None:
        return result
    found = difference.effects
    changes = {stack.stack: effect_changes(stack, effects.kinds) for stack in difference.stacks}
    known = effects.unexplained is not None and found.unexplained is not None
    changed = replace(
        effects,
        outcome=effects.outcome._replace(value=found.outcome.value - effects.outcome.value),
        parts=tuple(PartEffect(part.name, part.changes) for part in found.parts),
        unexplained=(found.unexplained or 0.0) - (effects.unexplained or 0.0) if known else None,
    )
    stacks = tuple(replace(stack, effects=changes[stack.stack]) for stack in result.stacks)
    return replace(result, stacks=stacks, effects=changed)


def effect_changes(changed: StackDifference, kinds: Sequence[str]) -> tuple[HeadEffect, ...]:
    """The effects of a stack's heads in B less those in A, in the order of the heads."""
    heads = sorted(changed.heads, key=lambda head: (head.layer, head.head))
    return tuple(
        HeadEffect(head.name, head.layer, head.head, {kind: head.changes.get(kind) for kind in kinds})
        for head in heads
        if any(kind in head.changes for kind in kinds)
    )


def outcome_sentences(result: HeadsResult, effects: Effects) -> list[Sentence]:
    """What the effects are about; of two models that are compared, A and B. effects: of this side."""
    found = None if result.difference is None else result.difference.effects
    own = outcome_sentence(result, effects)
    if found is None or effects.outcome.answer is None:
        return [own]
    other = outcome_sentence(result, replace(effects, outcome=found.outcome, source=found.source))
    return [(strong("A: "), *own), (strong("B: "), *other)]


def outcome_sentence(result: HeadsResult, effects: Effects) -> Sentence:
    """What the effects are about."""
    outcome, at = effects.outcome, position_token(result, effects.position)
    if result.texts is not None and outcome.probability is not None:
        own = Words("each with its own answer") if outcome.answer is None else strong(vocabulary_token(outcome.answer))
        return (strong("outcome:"), Words(" the mean of all texts, "), own, *_outcome_words(outcome))
    if outcome.answer is None:
        return (
            strong("outcome:"),
            Words(" the cosine of the model's vector with that of the untouched run, 1 for no change"),
        )
    start = [Words("after " if not at.special else "at "), strong(at), Words(": ")]
    return (*start, strong(vocabulary_token(outcome.answer)), *_outcome_words(outcome), *_source_words(effects))


def _outcome_words(outcome: Outcome) -> list[Words]:
    sides = "above" if outcome.value >= 0 else "below"
    probability = "" if outcome.probability is None else f" ({share_number(outcome.probability)})"
    words = [Words(f"{probability}, logit {abs(outcome.value):.2f} {sides} ")]
    if outcome.contrast is None:
        one = outcome.answer is not None
        return [*words, Words("the mean of all tokens" if one else "its contrast or the mean of all tokens")]
    return [*words, strong(vocabulary_token(outcome.contrast))]


def _source_words(effects: Effects) -> list[Words]:
    if effects.source is None:
        return []
    return [quiet(f"; in the text patched from {effects.source.value:+.2f}")]


def effect_maps(stack: Stack, kinds: Sequence[str], *, compared: bool = False) -> list[EffectMap]:
    """A map for each kind that a head of the stack has. compared: the values are B's less A's."""
    minus = ", B minus A" if compared else ""
    maps = [
        EffectMap(kind, f"{EFFECTS[kind].title}{minus}", EFFECTS[kind].meaning,
                  {(head.layer, head.head): head.values.get(kind) for head in stack.effects})
        for kind in kinds
    ]  # fmt: skip
    return [each for each in maps if any(value is not None for value in each.values.values())]


def ranked_rows(stacks: Sequence[Stack], kinds: Sequence[str]) -> list[EffectRow]:
    """The heads of all stacks, those with the largest effect first: of any kind, as a share of that kind's largest."""
    labels = {head.name: next(iter(head.labels), None) for stack in stacks for head in stack.metrics}
    heads = [head for stack in stacks for head in stack.effects if any(v is not None for v in head.values.values())]
    largest = {kind: max((abs(head.values.get(kind) or 0.0) for head in heads), default=0.0) or 1.0 for kind in kinds}
    heads.sort(key=lambda head: -max(abs(head.values.get(kind) or 0.0) / largest[kind] for kind in kinds))
    return [_row(head, kinds, labels.get(head.name)) for head in heads]


def _row(head: HeadEffect, kinds: Sequence[str], label: str | None) -> EffectRow:
    read = head.reads
    token = None if read is None else Token(read.index, read.index, read.text, read.text)
    ends = (head.intervals.get(kind) for kind in kinds)
    give = [None if each is None else (each[1] - each[0]) / 2 for each in ends]
    values = [head.values.get(kind) for kind in kinds]
    return EffectRow(head.name, values, label, token, None if read is None else read.weight, give)


def give_number(half: float | None, largest: float) -> str:
    """Half the width of an interval, with the digits of the effects beside it: `± 0.31`."""
    return "" if half is None else f"± {effect_number(half, largest).lstrip('+')}"


def part_groups(effects: Effects, kind: str) -> list[PartGroup]:
    """MLPs, other mixers, embeddings and biases, by the effects of one kind."""
    groups: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for part in effects.parts:
        value = part.values.get(kind)
        if value is not None:
            title, name = _group_of(part.name)
            groups[title].append((name, value))
    return [
        PartGroup(title, sum(value for _, value in parts), sorted(parts, key=lambda each: -abs(each[1])))
        for title, parts in sorted(groups.items(), key=lambda each: _GROUPS.index(each[0]))
    ]


def _group_of(name: str) -> tuple[str, str]:
    """The group of a part, and its name there: `MLPs` and `3`."""
    first, _, rest = name.partition(".")
    if name.endswith("bias"):
        return "biases", name.removesuffix(".bias")
    return _TITLES.get(first, "others"), rest or name


def part_sentences(result: HeadsResult, effects: Effects, largest: float) -> list[Sentence]:
    """What the other parts do, a sentence for each group of each kind, and the sum of direct effects.

    largest: the effect that sets the digits.
    """
    sentences: list[Sentence] = []
    for kind in effects.kinds:
        groups = part_groups(effects, kind)
        sentences += [_part_sentence(group, kind, largest, named=len(effects.kinds) > 1) for group in groups]
        sentences += [sum_sentence(result, effects)] if kind == _ADDS_UP else []
    return [sentence for sentence in sentences if sentence]


def _part_sentence(group: PartGroup, kind: str, largest: float, *, named: bool) -> Sentence:
    """`MLPs +4.10: 28 +2.31, 25 +1.02, and 28 more`; of effects that don't add up, without their total."""
    adds_up = kind == _ADDS_UP
    words = [strong(group.title + (f", {kind}" if named and not adds_up else ""))]
    words += [Words(f" {effect_number(group.total, largest)}")] if adds_up else []
    if len(group.parts) > 1 or not adds_up:
        listed = ", ".join(f"{name} {effect_number(value, largest)}" for name, value in group.parts[:_LISTED_PARTS])
        more = len(group.parts) - _LISTED_PARTS
        words.append(quiet(f": {listed}" + (f", and {more:,} more" if more > 0 else "")))
    return tuple(words)


def sum_sentence(result: HeadsResult, effects: Effects) -> Sentence:
    """That direct effects add up to the outcome, and what is left. Heads that aren't shown count as well."""
    if effects.unexplained is None:
        return ()
    outcome, left = effects.outcome.value, effects.unexplained
    parts = sum(part.values.get("direct") or 0.0 for part in effects.parts)
    heads = outcome - left - parts
    whole = f"{outcome:.2f} = heads {heads:+.2f}"
    for group in part_groups(effects, "direct"):
        whole += f" {group.title} {group.total:+.2f}"
    if abs(left) <= _ROUNDING * max(1.0, abs(outcome)):
        return (strong("sum: "), Words(whole))
    return (strong("sum: "), Words(whole), strong(f" unexplained {left:+.2g}"))


def disagreement_sentence(rows: Sequence[EffectRow], kinds: Sequence[str]) -> Sentence:
    """The heads on which the first two kinds disagree most; empty where they agree or are of other units."""
    if len(kinds) < 2 or EFFECTS[kinds[0]].unit != EFFECTS[kinds[1]].unit:
        return ()
    if kinds[1] == _ADDS_UP:
        rows = [row._replace(values=[row.values[1], row.values[0]]) for row in rows]
        kinds = (kinds[1], kinds[0])
    pairs = [(row.name, row.values[0], row.values[1]) for row in rows]
    known = [(name, one, other) for name, one, other in pairs if one is not None and other is not None]
    largest = max((max(abs(one), abs(other)) for _, one, other in known), default=0.0)
    apart = [
        each for each in known
        if abs(each[1] - each[2]) > _DISAGREEMENT * max(abs(each[1]), abs(each[2]), largest / 4)
    ]  # fmt: skip
    if not apart:
        return ()
    apart.sort(key=lambda each: -abs(each[1] - each[2]))
    start = strong(f"{kinds[0]} and {kinds[1]} disagree")
    if kinds[0] != _ADDS_UP:
        return (start, Words(f" most on {_listed_pairs(apart, largest)}"))
    made_up = _listed_pairs([each for each in apart if abs(each[1]) > abs(each[2])], largest)
    through = _listed_pairs([each for each in apart if abs(each[1]) <= abs(each[2])], largest)
    # What follows may be the final norm alone: without a head, it scales up what the others wrote.
    reasons = [f"what follows makes up for {made_up}" if made_up else "",
               f"through what follows act {through}" if through else ""]  # fmt: skip
    return (start, Words(": " + "; ".join(filter(None, reasons))))


def _listed_pairs(pairs: Sequence[tuple[str, float, float]], largest: float) -> str:
    """`23.0 (+0.82, +0.02), 23.1 (+0.78, -0.15)`."""
    return ", ".join(
        f"{name} ({effect_number(one, largest)}, {effect_number(other, largest)})"
        for name, one, other in pairs[:_LISTED_HEADS]
    )


def shown_layers(maps: Sequence[EffectMap], layers: Sequence[int], most: int) -> list[int]:
    """The layers that a short map shows: those with the largest effects, in order."""
    if len(layers) <= most:
        return list(layers)
    strength: dict[int, float] = defaultdict(float)
    for each in maps:
        for (layer, _), value in each.values.items():
            strength[layer] = max(strength[layer], abs(value or 0.0) / (each.largest or 1.0))
    return sorted(sorted(layers, key=lambda layer: (-strength[layer], layer))[:most])


def left_out_note(count: int) -> str:
    """What a short map leaves out; empty for nothing."""
    return f"--full shows {count:,} more layers" if count else ""
