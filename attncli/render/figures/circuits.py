"""Parts of a figure beside patterns: weights alone (`--qk-ov`), and what was read as the model wrote (`--generate`)."""

from __future__ import annotations

from attncli.render.common.escape import visible
from attncli.render.figures.metric_map import HeadMap, head_maps
from attncli.render.figures.panels import Part, caption
from attncli.render.figures.tables import Column, table_part
from attncli.render.figures.text_layout import CAPTION_SIZE, drawable, wrap_text
from attncli.render.views.circuits import MEANINGS, CircuitList, circuits_view
from attncli.render.views.sentences import Position, capitalized, raw_text, written
from attncli.render.views.writing import reading_note, written_rows, written_sentence
from attncli.results.circuits import Circuits
from attncli.results.generated import Generated
from attncli.results.heads import HeadsResult
from attncli.results.tokens import Token

#: Inches of a line.
_SENTENCE = 6.0


def circuit_parts(result: HeadsResult, circuits: Circuits) -> list[Part]:
    """What stands out, a map of copying and one of matching for each stack, and the strongest compositions."""
    view = circuits_view(result, circuits)
    maps = []
    for stack in result.stacks:
        heads = [head for head in circuits.heads if head.stack == stack.stack]
        where = f"{stack.stack}, " if len(result.stacks) > 1 else ""
        for name, says in MEANINGS.items():
            values = {(head.layer, head.head): getattr(head, name) for head in heads}
            if any(value is not None for value in values.values()):
                maps.append(HeadMap(f"{where}{name}: {says}", values))
    parts = [caption(line) for line in wrap_text(written(view.sentence, _spell), _SENTENCE, CAPTION_SIZE)]
    parts += [head_maps(maps)] if maps else []
    composed = [each for each in view.lists if each.composes]
    parts += [_compositions(composed)] if composed else []
    return [*parts[:-1], parts[-1]._replace(notes=[*parts[-1].notes, *view.notes])] if parts else []


def _compositions(lists: list[CircuitList]) -> Part:
    """The rankings beside one another."""
    columns = []
    for each in lists:
        names, numbers = zip(*each.entries, strict=True)
        columns += [Column(each.title, names), Column("", numbers, right=True)]
    return table_part("a later head reads what an earlier one wrote", columns)


def trace_parts(generated: Generated, form: str) -> list[Part]:
    """The text that was written, and a row for each of its tokens."""
    rows = written_rows(generated)

    def tokens(heading: str, found: list[Token | None]) -> Column:
        return Column(heading, ["" if each is None else drawable(_spell(each), form) for each in found])

    columns = [
        tokens("token", [row.token for row in rows]),
        Column("", [row.probability for row in rows], right=True),
        tokens("runner-up", [row.runner_up for row in rows]),
        Column("", [row.runner_up_probability for row in rows], right=True),
        tokens("looked at", [row.key for row in rows]),
        Column("", [row.key_weight for row in rows], right=True),
        Column("head", [row.head for row in rows], right=True),
        tokens("reads", [row.head_key for row in rows]),
        Column("", [row.head_weight for row in rows], right=True),
    ]
    sentence = drawable(capitalized(written(written_sentence(generated), _spell)), form)
    return [caption(sentence), table_part("", columns)._replace(notes=[reading_note(generated)])]


def _spell(content: Token | Position) -> str:
    return visible(raw_text(content.token if isinstance(content, Position) else content))
