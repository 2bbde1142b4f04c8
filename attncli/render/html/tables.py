"""Tables on the page of heads: what weights alone say (`--qk-ov`), and what was read as the model wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from attncli.render.views.circuits import CircuitsView, circuits_view
from attncli.render.views.writing import has_trace, written_rows
from attncli.results.heads import HeadsResult
from attncli.results.tokens import Token

Table = dict[str, object]
Spell = Callable[[Token], str]


def page_tables(result: HeadsResult, spell: Spell) -> list[Table]:
    """The tables of a result, as `assets/heads_tables.js` reads them; mostly there are none."""
    tables: list[Table] = []
    if result.qk_ov is not None:
        tables += _circuit_tables(circuits_view(result, result.qk_ov))
    if has_trace(result):
        tables.append(_trace_table(result, spell))
    return tables


def _circuit_tables(view: CircuitsView) -> Iterator[Table]:
    for each in view.lists:
        rows = [[name, number] for name, number in each.entries]
        yield _table(each.title, ("", ""), rows, numbers=(1,), head=0)


def _trace_table(result: HeadsResult, spell: Spell) -> Table:
    """A row for each new token."""
    assert result.generated is not None
    header = ("token", "", "runner-up", "", "looked at", "", "head", "reads", "")
    rows = [
        [spell(row.token), row.probability, _spelled(row.runner_up, spell), row.runner_up_probability,
         _spelled(row.key, spell), row.key_weight, row.head, _spelled(row.head_key, spell), row.head_weight]
        for row in written_rows(result.generated)
    ]  # fmt: skip
    return _table("What the model wrote", header, rows, numbers=(1, 3, 5, 8), head=6)


def _spelled(token: Token | None, spell: Spell) -> str:
    return "" if token is None else spell(token)


def _table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int], head: int
) -> Table:
    """numbers: the columns of numbers.  head: the column with the names of heads."""
    return {"title": title, "header": header, "rows": rows, "numbers": numbers, "head": head}
