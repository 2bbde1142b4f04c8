"""Metrics and labels of heads by name, apart from their values: a shell completes them without importing numpy."""

from __future__ import annotations

#: In the order in which they are shown; the names are what `--metric` takes and what the JSON holds.
METRICS = (
    "entropy",
    "distance",
    "confidence",
    "previous",
    "current",
    "next",
    "first",
    "special",
    "virtual_sink",
    "duplicate",
    "induction",
)

#: The metrics that give a head its label where they are high, the most telling first.
LABELS = ("induction", "previous", "next", "special", "first")


#: Set by a shell that asks for completions instead of a run.
COMPLETION = "_ATTN_COMPLETE"


#: What stands for stdin wherever a text, a file or ids are named.
STDIN = "-"
