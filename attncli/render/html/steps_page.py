"""The steps of one head at one query (`--steps`) as an HTML page.

A table of the keys, the sentences, and what wrote the score.
"""

from __future__ import annotations

from attncli.render.common.escape import printable, visible
from attncli.render.common.numbers import cell_number
from attncli.render.html.page import page, rounded
from attncli.render.views.header import SEPARATOR, model_facts, stack_facts
from attncli.render.views.score_sources import SOURCES_DRAWN, SourceTable, source_tables, sources_step
from attncli.render.views.sentences import raw_text
from attncli.render.views.steps_words import all_steps, key_numbers
from attncli.results.heads import HeadsResult
from attncli.results.steps import Steps


def steps_html(result: HeadsResult, *, title: str | None = None) -> str:
    """The walks of a result, which has some, as one HTML document that needs nothing else."""
    stacks = {stack.stack: stack for stack in result.stacks}
    walks = result.steps or ()
    shapes = dict.fromkeys(SEPARATOR.join(stack_facts(stacks[steps.stack])) for steps in walks)
    model = [] if title is None else [printable(result.model)]
    data = {
        "facts": [fact for fact in (SEPARATOR.join([*model, *model_facts(result)]), *shapes) if fact],
        "notes": [printable(text) for text in (*result.warnings, *result.notes)],
        "walks": [_walk_data(steps) for steps in walks],
    }
    return page("steps", data, title=title or result.model, made_by=result.made_by)


def _walk_data(steps: Steps) -> dict[str, object]:
    """What the page's script reads of one walk: see `assets/steps.js`."""
    query = visible(raw_text(steps.query))
    others = steps.with_top_keys(len(key_numbers(steps))).others
    said = all_steps(steps, query)
    tables: list[SourceTable] = []
    if (sources := steps.sources) is not None:
        key = visible(raw_text(sources.key))
        said.append(sources_step(steps, sources, query, key))
        tables = source_tables(sources, query, key, listed=SOURCES_DRAWN)
    return {
        "title": f"head {steps.name} from {query} (token {steps.query.index}), step by step",
        "steps": [[name, words] for name, words in said],
        "keys": [
            [row.token.index, visible(raw_text(row.token)), row.token.special]
            + [_number(value) for value in (row.product, row.score, row.weight, row.value, row.contribution)]
            for row in key_numbers(steps)
        ],
        "others": [others.visible, cell_number(others.weight, 2)] if others.visible else None,
        "sources": [
            [table.title, [[row.name, _number(row.contribution), row.quiet] for row in table.rows]] for table in tables
        ],
    }


def _number(value: float | None) -> list[object] | None:
    """The length of a bar, and the number as the terminal writes it; None for a hidden key."""
    return None if value is None else [rounded(value), cell_number(value, 2)]
