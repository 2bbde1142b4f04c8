"""What a head is called, from its metrics."""

from __future__ import annotations

from collections.abc import Mapping

#: The least value of a metric that earns a head its label; the first that fits is the one that a map shows.
#: Above one half a head gives the place more than to all others together; the two that a head may rest on when it has
#: nothing to say (special tokens, the first one) ask for more.
THRESHOLDS: Mapping[str, float] = {"induction": 0.4, "previous": 0.5, "next": 0.5, "special": 0.6, "first": 0.6}


#: A mean over fewer queries than this is shown but earns no label: one repeated word is a coincidence.
LEAST_QUERIES = 2


def labels(
    metrics: Mapping[str, float | None], queries: Mapping[str, int], thresholds: Mapping[str, float] = THRESHOLDS
) -> tuple[str, ...]:
    """The labels that a head's metrics earn, the most telling first; `queries` counts what each is a mean of.

    >>> labels({"previous": 0.93, "induction": 0.8, "first": 0.02}, {"previous": 9, "induction": 1, "first": 10})
    ('previous',)
    """
    values = {name: metrics.get(name) for name in thresholds if queries.get(name, 0) >= LEAST_QUERIES}
    return tuple(name for name, value in values.items() if value is not None and value > thresholds[name])
