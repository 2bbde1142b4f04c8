"""What one position reads of a text: which metrics it is worth waiting for beside that."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.attention.claims import known_metric
from attncli.attention.selection import View
from attncli.choices import METRICS
from attncli.results.heads import Stack

#: Said where a long text was looked at from one position alone.
UNMEASURED = "the metrics of heads are left out for one position of a text this long (--metric NAME has one measured)"


def long_metrics(metric: str | None, view: View, *, checks: bool) -> tuple[str, ...]:
    """The metrics that are measured where a text is so long that each has its price: none beside one position.

    Raises UsageError for a name that is no metric's.
    """
    if metric is not None:
        return (known_metric(metric, "--metric"),)
    return () if view.reads_one and not checks else METRICS


def is_unmeasured(stacks: Sequence[Stack]) -> bool:
    """Whether no metric of any head was measured."""
    return all(value is None for stack in stacks for head in stack.metrics for value in head.values.values())
