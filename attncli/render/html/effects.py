"""Predictions and effects on the page of heads: effects are among the metrics of a head, and sentences stand above."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from attncli.effects import EFFECTS
from attncli.render.html.page import rounded_metric
from attncli.render.views.circuits import MEANINGS, circuits_view
from attncli.render.views.effects import (
    changed_effects,
    disagreement_sentence,
    effect_number,
    give_number,
    is_compared,
    outcome_sentences,
    part_sentences,
    prediction_view,
    ranked_rows,
)
from attncli.render.views.sentences import Position, Sentence, Words, capitalized, written
from attncli.render.views.writing import has_trace, reading_note, written_sentence
from attncli.results.effects import Effects
from attncli.results.heads import HeadsResult, Stack
from attncli.results.tokens import Token

#: States and tokens of the logit lens that a sentence lists.
_STATES, _TOKENS = 6, 5

Spell = Callable[[Token | Position], str]


def with_effects(stack: Stack) -> Stack:
    """The stack with the effects of its heads among their metrics."""
    effects = {head.name: head.values for head in stack.effects}
    heads = (replace(head, values={**head.values, **effects.get(head.name, {})}) for head in stack.metrics)
    return replace(stack, metrics=tuple(heads)) if effects else stack


def first_effect(result: HeadsResult) -> str | None:
    """The kind that the page opens with; of weights alone, copying or matching."""
    if result.qk_ov is not None:
        return next((name for stack in result.stacks for head in stack.metrics for name in head.values), None)
    return None if result.effects is None else result.effects.kinds[0]


def effect_sentences(result: HeadsResult, spell: Spell) -> Iterator[str]:
    """What is predicted, what the outcome is, and what it consists of; what weights alone say; what was written."""
    if result.qk_ov is not None:
        alone = circuits_view(result, result.qk_ov)
        yield from (written(alone.sentence, spell), *alone.notes)
    if result.generated is not None and has_trace(result):
        yield capitalized(written(written_sentence(result.generated), spell))
        yield reading_note(result.generated)
    if result.prediction is not None:
        view = prediction_view(result, result.prediction, rows=_STATES, tokens=_TOKENS)
        yield written(view.sentence, spell)
        steps = ", ".join(f"{row.place} {row.rank:,}" for row in view.rows)
        yield f"rank of {spell(view.answer)} after each layer (logit lens): {steps}"
    effects = result.effects
    if effects is None:
        return
    sentences: list[Sentence] = outcome_sentences(result, effects)
    shown = changed_effects(result)
    effects = shown.effects or effects
    largest = max((abs(part.values.get(effects.kinds[0]) or 0.0) for part in effects.parts), default=0.0)
    parts = part_sentences(shown, effects, largest)
    if is_compared(result):
        sentences += [(Words("B minus A: "), *part) for part in parts]
    else:
        sentences += [*parts, disagreement_sentence(ranked_rows(result.stacks, effects.kinds), effects.kinds)]
    yield from (written(sentence, spell) for sentence in sentences if sentence)


def effect_standouts(stack: Stack, kinds: Sequence[str], spell: Spell, most: int) -> list[dict[str, object]]:
    """The heads with the largest effects, and what each reads from the position, as the page lists heads."""
    rows: list[dict[str, object]] = []
    for row in ranked_rows([stack], kinds)[:most]:
        largest = max(map(abs, filter(None, row.values)), default=0.0)
        given = zip(kinds, row.values, row.give, strict=True)
        said = [f"{kind} {effect_number(value, largest)} {give_number(half, largest)}".rstrip()
                for kind, value, half in given if value is not None]  # fmt: skip
        said = said if row.averaged else said[1:]
        said += [] if row.reads is None else [f"reads {spell(row.reads)} {row.weight or 0.0:.2f}"]
        rows.append({"head": row.name, "sentence": ", ".join(said), "label": row.label, "metric": kinds[0],
                     "value": rounded_metric(row.values[0]), "uniform": None})  # fmt: skip
    return rows


def effect_meaning(name: str) -> str | None:
    """What a number of a kind of effect or of weights alone says; None for a metric."""
    return EFFECTS[name].meaning if name in EFFECTS else MEANINGS.get(name)


def shown_effects(effects: Effects) -> dict[str, str]:
    """What the squares of the map show, by the kind of effect."""
    return {kind: f"its {EFFECTS[kind].title}" for kind in effects.kinds}
