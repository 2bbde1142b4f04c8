"""What a head is called, from its metrics.

Claims about heads that can be checked: `1.2 induction > 0.8`, `cross.1.2 first > 0.5`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from attncli.choices import LABELS, METRICS
from attncli.errors import UsageError
from attncli.results.heads import HeadMetrics, Stack

#: The least value of a metric that earns a head its label; the first that fits is the one that a map shows.
#: Above one half a head gives the place more than to all others together; the two that a head may rest on when it has
#: nothing to say (special tokens, the first one) ask for more.
LABEL_THRESHOLDS: Mapping[str, float] = dict(zip(LABELS, (0.4, 0.5, 0.5, 0.6, 0.6), strict=True))


#: How much more than even attention a head must give: on a text of three tokens, nearly everything is above a half.
MIN_LIFT = 1.5

#: A mean over fewer queries than this is shown but earns no label: one repeated word is a coincidence. Where tokens
#: repeat, special ones don't count.
MIN_QUERIES = 2


def assign_labels(
    metrics: Mapping[str, float | None],
    uniform: Mapping[str, float | None],
    queries: Mapping[str, int],
    thresholds: Mapping[str, float] = LABEL_THRESHOLDS,
) -> tuple[str, ...]:
    """The labels that a head's metrics earn, the most telling first.

    uniform: what even attention would have.  queries: how many of them each metric is a mean of.

    >>> labels({"previous": 0.93, "first": 0.7}, {"previous": 0.1, "first": 0.6}, {"previous": 9, "first": 10})
    ('previous',)
    """

    def earned(name: str) -> bool:
        value = metrics.get(name)
        if value is None or queries.get(name, 0) < MIN_QUERIES:
            return False
        return value > thresholds[name] and value > MIN_LIFT * (uniform.get(name) or 0.0)

    return tuple(name for name in thresholds if earned(name))


_CLAIM = re.compile(r"\s*(?P<head>[\w.-]+)\s+(?P<metric>\w+)\s*(?P<sign><=|>=|==|<|>)\s*(?P<number>\S+)\s*")

_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}

_CLAIM_HINT = 'a check reads "1.2 induction > 0.8": a head, a metric, < <= > >= or ==, and a number'


@dataclass(frozen=True)
class Claim:
    """That a metric of a head lies on one side of a number."""

    head: str
    metric: str
    sign: str
    number: float

    def failure(self, stacks: Sequence[Stack]) -> str | None:
        """Why it does not hold; None where it does. Raises UsageError for a head that isn't there."""
        value = self._measured(stacks).values[self.metric]
        if self._allows(value):
            return None
        found = "nothing shows it in this text" if value is None else f"it is {value:.4g}"
        return f"{self} does not hold: {found}"

    def success(self, stacks: Sequence[Stack]) -> str | None:
        """That it holds, and by what value; None where it does not. Raises UsageError for a head that isn't there."""
        value = self._measured(stacks).values[self.metric]
        return f"{self} holds: it is {value:.4g}" if self._allows(value) else None

    def __str__(self) -> str:
        return f"{self.head} {self.metric} {self.sign} {self.number:g}"

    def _allows(self, value: float | None) -> bool:
        return value is not None and _SIGNS[self.sign](value, self.number)

    def _measured(self, stacks: Sequence[Stack]) -> HeadMetrics:
        known = {head.name: head for stack in stacks for head in stack.metrics}
        if self.head in known:
            return known[self.head]
        near = sorted(get_close_matches(self.head, known, n=3, cutoff=0.3) or [*known][:3])
        raise UsageError(f"--check: there is no head {self.head} here", hint=f"heads are named {', '.join(near)} …")


def parse_claims(texts: Sequence[str]) -> tuple[Claim, ...]:
    """Read claims. Raises UsageError for one that can't be read."""
    return tuple(_parse_claim(text) for text in texts)


def claim_failures(claims: Sequence[Claim], stacks: Sequence[Stack]) -> Iterator[str]:
    """A sentence for each claim that does not hold."""
    yield from (failure for claim in claims if (failure := claim.failure(stacks)) is not None)


def claim_successes(claims: Sequence[Claim], stacks: Sequence[Stack]) -> Iterator[str]:
    """A sentence for each claim that holds."""
    yield from (success for claim in claims if (success := claim.success(stacks)) is not None)


def check_metric(name: str, flag: str) -> str:
    """The name itself. Raises UsageError for one that is no metric's, with the nearest."""
    if name in METRICS:
        return name
    near = get_close_matches(name, METRICS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"the metrics are {', '.join(METRICS)}"
    raise UsageError(f"{flag}: there is no metric {name!r}", hint=hint)


def parse_thresholds(texts: Sequence[str]) -> dict[str, float]:
    """Read `METRIC=X`. Raises UsageError for one that can't be read, or whose metric gives no label."""
    found = {}
    for text in texts:
        name, equals, number = text.partition("=")
        if name not in LABEL_THRESHOLDS:
            raise UsageError(f"--threshold: {name!r} gives no label", hint=f"labels: {', '.join(LABEL_THRESHOLDS)}")
        try:
            found[name] = float(number)
        except ValueError as error:
            what = f"{number!r} is no number" if equals else f"{text!r} has no number"
            raise UsageError(f"--threshold: {what}", hint=f"write it as {name}=0.5") from error
    return found


def _parse_claim(text: str) -> Claim:
    match = _CLAIM.fullmatch(text)
    if match is None:
        raise UsageError(f"--check: {text!r} is no claim", hint=_CLAIM_HINT)
    try:
        number = float(match["number"])
    except ValueError as error:
        raise UsageError(f"--check: {match['number']!r} is no number", hint=_CLAIM_HINT) from error
    return Claim(match["head"], check_metric(match["metric"], "--check"), match["sign"], number)
