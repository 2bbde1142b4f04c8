"""What a head is called, from its metrics."""

from __future__ import annotations

from collections.abc import Mapping

from attncli.results.metrics import LABELS

#: The least value of a metric that earns a head its label; the first that fits is the one that a map shows.
#: Above one half a head gives the place more than to all others together; the two that a head may rest on when it has
#: nothing to say (special tokens, the first one) ask for more.
THRESHOLDS: Mapping[str, float] = dict(zip(LABELS, (0.4, 0.5, 0.5, 0.6, 0.6), strict=True))


#: How much more than even attention a head must give: on a text of three tokens, nearly everything is above a half.
LEAST_LIFT = 1.5

#: A mean over fewer queries than this is shown but earns no label: one repeated word is a coincidence. Where tokens
#: repeat, special ones don't count.
LEAST_QUERIES = 2


def labels(
    metrics: Mapping[str, float | None],
    uniform: Mapping[str, float | None],
    queries: Mapping[str, int],
    thresholds: Mapping[str, float] = THRESHOLDS,
) -> tuple[str, ...]:
    """The labels that a head's metrics earn, the most telling first.

    uniform: what even attention would have.  queries: how many of them each metric is a mean of.

    >>> labels({"previous": 0.93, "first": 0.7}, {"previous": 0.1, "first": 0.6}, {"previous": 9, "first": 10})
    ('previous',)
    """

    def earned(name: str) -> bool:
        value = metrics.get(name)
        if value is None or queries.get(name, 0) < LEAST_QUERIES:
            return False
        return value > thresholds[name] and value > LEAST_LIFT * (uniform.get(name) or 0.0)

    return tuple(name for name in thresholds if earned(name))
