"""The statistics of tokenizers as tidy rows, and as the part of the JSON that they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attncli.render.data import csv_text
from attncli.results.statistics import Parity, ScriptStatistics, TokenizerStatistics, TotalStatistics

_TEXT_COLUMNS = ("texts", "vocabulary_size", "shortest", "median", "longest", "longer", "max_length")


def statistics_columns() -> tuple[str, ...]:
    """What each field of a row of `statistics_rows` is."""
    return ("model", "script", *_figures(), "parity", *_TEXT_COLUMNS)


def statistics_rows(
    statistics: Sequence[TokenizerStatistics], parity: Sequence[Parity] = ()
) -> Iterator[tuple[object, ...]]:
    """A row for each tokenizer with all scripts (whose `script` is None), and one for each of its scripts.

    parity: of each tokenizer but the first, in their order.  Fields that say nothing of a single script are None there.
    """
    for index, each in enumerate(statistics):
        ratio = parity[index - 1] if parity and index else None
        yield (each.model, None, *_values(each.total), ratio and ratio.tokens, *_text_values(each))
        scripts: Mapping[str, float | None] = ratio.scripts if ratio is not None else {}
        for script in each.scripts:
            nothing = (None,) * len(_TEXT_COLUMNS)
            yield (each.model, script.script, *_values(script), scripts.get(script.script), *nothing)


def statistics_csv(statistics: Sequence[TokenizerStatistics], parity: Sequence[Parity] = ()) -> str:
    """The same as CSV."""
    return csv_text(statistics_columns(), statistics_rows(statistics, parity))


def _figures() -> tuple[str, ...]:
    """Every figure of a whole and of a script, those of both first."""
    both = [name for name in ScriptStatistics._fields if name in TotalStatistics._fields]
    return (*both, *(name for name in TotalStatistics._fields if name not in both))


def _values(figures: TotalStatistics | ScriptStatistics) -> list[object]:
    return [getattr(figures, name, None) for name in _figures()]


def _text_values(statistics: TokenizerStatistics) -> tuple[object, ...]:
    return (statistics.texts, statistics.vocabulary_size, *statistics.lengths)
