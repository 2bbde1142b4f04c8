"""Predictions and effects of heads as parts of a figure: a map for each kind, a ranking, and how the answer rises."""

from __future__ import annotations

from matplotlib.figure import Figure

from attncli.render.common.escape import visible
from attncli.render.figures.metric_map import HeadMap, head_maps
from attncli.render.figures.panels import EDGE, Part, axes_at, axis_ticks, caption
from attncli.render.figures.tables import Column, table_part
from attncli.render.figures.text_layout import DIM_COLOR, LABEL_SIZE, SMALL_SIZE, drawable
from attncli.render.views.effects import (
    changed_effects,
    disagreement_sentence,
    effect_maps,
    effect_number,
    give_number,
    is_compared,
    outcome_sentences,
    part_sentences,
    prediction_view,
    ranked_rows,
)
from attncli.render.views.sentences import Position, raw_text, written
from attncli.results.effects import Prediction
from attncli.results.heads import HeadsResult
from attncli.results.tokens import Token

#: Heads of the ranking, and tokens of a prediction.
_HEADS, _TOKENS = 10, 5
#: Inches: a line of the sentences, at least.
_TEXT_WIDTH = 4.4
#: Inches: the chart of the answer's probability, and its margins.
_CHART_WIDTH, _CHART_HEIGHT, _CHART_LEFT, _CHART_BELOW = 4.6, 1.2, 0.55, 0.45


def effect_parts(result: HeadsResult, form: str) -> list[Part]:
    """The prediction, then the effects."""
    parts: list[Part] = []
    if result.prediction is not None:
        view = prediction_view(result, result.prediction, rows=2, tokens=_TOKENS)
        parts += [
            _line(written(view.sentence, _spell), form),
            _lens_chart(result.prediction, _spell(view.answer), form),
        ]
    if result.effects is not None:
        compared, above = is_compared(result), outcome_sentences(result, result.effects)
        parts += [_line(written(sentence, _spell), form) for sentence in above]
        result = changed_effects(result)
        maps = [
            HeadMap(f"{stack.stack}, {each.title}: {each.meaning}" if len(result.stacks) > 1 else
                    f"{each.title}: {each.meaning}", each.values)
            for stack in result.stacks
            for each in effect_maps(stack, result.effects.kinds if result.effects else (), compared=compared)
        ]  # fmt: skip
        parts += [head_maps(maps)] if maps else []
        parts.append(_ranking(result, form, compared=compared))
    return parts


def _ranking(result: HeadsResult, form: str, *, compared: bool) -> Part:
    """The heads with the largest effects and what each reads, then the other parts and the sum."""
    effects = result.effects
    assert effects is not None
    ranked = ranked_rows(result.stacks, effects.kinds)
    rows = ranked[: min(result.top, _HEADS)]
    largest = max((abs(value) for row in ranked for value in row.values if value is not None), default=0.0)
    columns = [Column("head", [row.name for row in rows], right=True)]
    for place, kind in enumerate(effects.kinds):
        columns.append(Column(kind, [effect_number(row.values[place], largest) for row in rows], right=True))
        if any(row.averaged for row in rows):
            columns.append(Column("95 %", [give_number(row.give[place], largest) for row in rows], right=True))
    if any(row.reads for row in rows):
        reads = ["" if row.reads is None else drawable(_spell(row.reads), form) for row in rows]
        columns += [
            Column("reads", reads),
            Column("", ["" if row.weight is None else f"{row.weight:.2f}" for row in rows], right=True),
        ]
    if any(row.label for row in rows):
        columns.append(Column("label", [row.label or "" for row in rows]))
    apart = () if compared else disagreement_sentence(ranked, effects.kinds)
    sentences = (*part_sentences(result, effects, largest), apart)
    said = [drawable(written(each, _spell), form) for each in sentences if each]
    return table_part("", columns, said, least=_TEXT_WIDTH)


def _lens_chart(prediction: Prediction, answer: str, form: str) -> Part:
    """The answer's probability after every state."""
    shares = [each.answer.probability for each in prediction.lens]

    def draw(figure: Figure, top: float) -> None:
        axes = axes_at(figure, EDGE + _CHART_LEFT, top, _CHART_WIDTH, _CHART_HEIGHT)
        axes.plot(range(len(shares)), shares, marker="o", markersize=2.5, linewidth=1.2, color="#26828e")
        axes.set_ylim(0, max(max(shares) * 1.1, 1e-6))
        ticks = axis_ticks(0, len(shares) - 1, len(shares) - 1)
        axes.set_xticks([*ticks], labels=[*ticks.values()])
        axes.tick_params(labelsize=SMALL_SIZE, length=2)
        axes.set_xlabel("state (0: embeddings)", size=LABEL_SIZE, color=DIM_COLOR)
        axes.set_ylabel("probability", size=LABEL_SIZE, color=DIM_COLOR)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)

    note = drawable(f"curve: the probability of {answer} if the layers above were left out (logit lens)", form)
    return Part(EDGE + _CHART_LEFT + _CHART_WIDTH + 0.1, _CHART_HEIGHT + _CHART_BELOW, draw, [note])


def _line(text: str, form: str) -> Part:
    return caption(drawable(text, form))


def _spell(content: Token | Position) -> str:
    return visible(raw_text(content.token if isinstance(content, Position) else content))
