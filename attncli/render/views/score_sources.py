"""What wrote one score of `--steps`: a sentence, and the strongest parts of each side and pairs of both as rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from attncli.render.views.steps_words import Step
from attncli.results.steps import PartShare, ScoreSources, Steps

#: Rows of each ranking before the last ones; and in pages, figures and `--full`. The JSON has all.
SOURCES_LISTED, SOURCES_DRAWN = 5, 10
#: Parts of each side in the sentence.
_SUMMARISED = 2
_HEAD = re.compile(r"(?:[a-z]\w*\.)?\d+\.\d+")
# A remainder that two digits after the point don't show.
_NOT_SHOWN = 0.005


class SourceRow(NamedTuple):
    """A part, or a pair of parts, and what it gives to the score. quiet: whether it is a sum of several."""

    name: str
    contribution: float
    quiet: bool = False


class SourceTable(NamedTuple):
    """A ranking that sums to the score. title: what it ranks."""

    title: str
    rows: Sequence[SourceRow]

    @property
    def largest(self) -> float:
        """The size of the largest contribution of a single part or pair."""
        return max((abs(row.contribution) for row in self.rows if not row.quiet), default=0.0)


def sources_step(steps: Steps, sources: ScoreSources, query: str, key: str) -> Step:
    """What is split. query, key: the texts of the two tokens."""
    later = [name for name, given in (("softcap", steps.softcap), ("bias", steps.bias)) if given is not None]
    before = f" before the {' and the '.join(later)}" if later else ""
    return "what wrote the score", (
        f"{query} → {key}, {sources.score:z.2f}{before}, is a sum over what each part of the model wrote to the "
        f"residual stream of {query} (for q) and of {key} (for k), with norms as they were"
    )


def sources_summary(sources: ScoreSources, query: str, key: str) -> Step:
    """The two strongest parts of each side in a sentence. query, key: the texts of the two tokens."""
    sides = (
        ", ".join(
            f"{_words(part.name)} {part.contribution:+z.2f}"
            for part in sorted(parts, key=lambda part: -abs(part.contribution))[:_SUMMARISED]
        )
        for parts in (sources.query_parts, sources.key_parts)
    )
    wrote_query, wrote_key = sides
    return "what wrote the score", (
        f"{query} → {key}, {sources.score:z.2f}: most of q by {wrote_query}; most of k by {wrote_key}"
    )


def source_tables(sources: ScoreSources, query: str, key: str, *, listed: int = SOURCES_LISTED) -> list[SourceTable]:
    """The strongest parts that wrote q, those that wrote k, and the strongest pairs.

    query, key: the texts of the tokens.  listed: how many of each.
    """
    sides = ((f"wrote q, of {query}", sources.query_parts), (f"wrote k, of {key}", sources.key_parts))
    tables = [SourceTable(title, _part_rows(sources, parts, listed)) for title, parts in sides]
    return [*tables, SourceTable("pair, q × k", _pair_rows(sources, listed))]


def _part_rows(sources: ScoreSources, parts: Sequence[PartShare], listed: int) -> list[SourceRow]:
    ranked = sorted(parts, key=lambda part: -abs(part.contribution))
    listed += len(ranked) == listed + 1  # a single other part takes no more room under its name
    rows = [SourceRow(_words(part.name), part.contribution) for part in ranked[:listed]]
    return [*rows, *_last_rows(sources, rows, len(ranked) - len(rows), "part")]


def _pair_rows(sources: ScoreSources, listed: int) -> list[SourceRow]:
    sizes, rows = np.abs(sources.terms).ravel(), []
    for place in np.argsort(-sizes, kind="stable")[:listed].tolist():
        query, key = divmod(place, len(sources.key_parts))
        names = _words(sources.query_parts[query].name), _words(sources.key_parts[key].name)
        rows.append(SourceRow(" × ".join(names), float(sources.terms[query, key])))
    return [*rows, *_last_rows(sources, rows, sizes.size - len(rows), "pair")]


def _last_rows(sources: ScoreSources, listed: Sequence[SourceRow], others: int, noun: str) -> list[SourceRow]:
    """What isn't listed, the remainder where there is one, and the score."""
    rest = sources.score - sources.unexplained - sum(row.contribution for row in listed)
    rows = [SourceRow(f"{others:,} other {noun}{'s' if others > 1 else ''}", rest, quiet=True)] if others else []
    if abs(sources.unexplained) >= _NOT_SHOWN:
        rows.append(SourceRow("unexplained", sources.unexplained, quiet=True))
    return [*rows, SourceRow("sum, the score", sources.score, quiet=True)]


def _words(name: str) -> str:
    """`head 3.4`; other parts as they are."""
    return f"head {name}" if _HEAD.fullmatch(name) else name
