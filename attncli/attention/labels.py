"""The labels that a head earns by its metrics, and claims about heads that `--check` tests (`1.2 induction > 0.8`).

`LABEL_THRESHOLDS` holds the default thresholds of labels; `--threshold` replaces them.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from attncli.effects import EFFECTS
from attncli.errors import UsageError
from attncli.metrics import LABELS, METRICS, NEEDLE_METRICS, PROBED
from attncli.results.heads import FEW_REPEATS, Stack

# --- Labels

#: The value of a metric above which a head earns its label; a map shows the first label that a head earns.
LABEL_THRESHOLDS: Mapping[str, float] = {name: label.threshold for name, label in LABELS.items()}

#: How many times the uniform baseline a metric must exceed: in a text of three tokens nearly all weights are large.
MIN_LIFT = 1.5

#: A mean over fewer queries is shown but earns no label: one repeated word is a coincidence. For repeated tokens,
#: special tokens don't count.
MIN_QUERIES = FEW_REPEATS + 1


def assign_labels(
    metrics: Mapping[str, float | None],
    uniform: Mapping[str, float | None],
    queries: Mapping[str, int],
    thresholds: Mapping[str, float] = LABEL_THRESHOLDS,
) -> tuple[str, ...]:
    """The labels that a head's metrics earn, the most informative first.

    uniform: the metrics of uniform attention.  queries: how many queries each metric is a mean of.

    >>> assign_labels({"previous": 0.93, "first": 0.7}, {"previous": 0.1, "first": 0.6}, {"previous": 9, "first": 10})
    ('previous',)
    """

    def earned(name: str) -> bool:
        value = metrics.get(name)
        if value is None or queries.get(name, 0) < MIN_QUERIES:
            return False
        return value > thresholds[name] and value > MIN_LIFT * (uniform.get(name) or 0.0)

    labels = [name for name in thresholds if earned(name)]
    return tuple(name for name in labels if LABELS[name].unless not in labels)


def parse_thresholds(texts: Sequence[str]) -> dict[str, float]:
    """Parse `METRIC=X`. Raises UsageError for one that can't be parsed, or whose metric gives no label."""
    thresholds = {}
    for text in texts:
        name, equals, number = text.partition("=")
        if name not in LABEL_THRESHOLDS:
            raise UsageError(
                f"--threshold: {name!r} has no label", hint=f"the labels are {', '.join(LABEL_THRESHOLDS)}"
            )
        try:
            thresholds[name] = float(number)
        except ValueError as error:
            what = f"{number!r} isn't a number" if equals else f"the number is missing in {text!r}"
            raise UsageError(f"--threshold: {what}", hint=f"write for instance --threshold {name}=0.5") from error
    return thresholds


# --- Claims

_CLAIM = re.compile(r"\s*(?P<head>[\w.-]+)\s+(?P<metric>\w+)\s*(?P<sign><=|>=|==|<|>)\s*(?P<number>\S+)\s*")
_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}
_CLAIM_HINT = f'write a head, a metric, one of < <= > >= ==, and a number: "1.2 {PROBED} > 0.8"'


@dataclass(frozen=True)
class Claim:
    """A comparison of a head's metric, or of what it does to the outcome, with a number."""

    head: str
    metric: str
    sign: str
    number: float

    def test(self, stacks: Sequence[Stack]) -> tuple[bool, str]:
        """Whether it holds, and a sentence with the value. Raises UsageError for a head that isn't there."""
        heads = {head.name: head for stack in stacks for head in stack.metrics}
        if self.head not in heads:
            near = sorted(get_close_matches(self.head, heads, n=3, cutoff=0.3) or [*heads][:3])
            raise UsageError(f"--check: there is no head {self.head} here", hint=f"heads are named {', '.join(near)} …")
        value = heads[self.head].values.get(self.metric)
        if self.metric in EFFECTS:
            effects = {head.name: head.values for stack in stacks for head in stack.effects}
            value = effects.get(self.head, {}).get(self.metric)
        holds = value is not None and _SIGNS[self.sign](value, self.number)
        nothing = "it has none" if self.metric in EFFECTS else "it has no value in this text"
        found = nothing if value is None else f"it is {value:.4g}"
        claim = f"{self.head} {self.metric} {self.sign} {self.number:g}"
        return holds, f"{claim} {'is true' if holds else 'is false'}: {found}"


def parse_claims(texts: Sequence[str], effects: Sequence[str] = ()) -> tuple[Claim, ...]:
    """Parse claims. effects: those that are measured. Raises UsageError for one that can't be parsed."""
    claims = []
    for text in texts:
        match = _CLAIM.fullmatch(text)
        if match is None:
            raise UsageError(f"--check: {text!r} is not a check", hint=_CLAIM_HINT)
        try:
            number = float(match["number"])
        except ValueError as error:
            raise UsageError(f"--check: {match['number']!r} isn't a number", hint=_CLAIM_HINT) from error
        claims.append(Claim(match["head"], _claimed(match["metric"], effects), match["sign"], number))
    return tuple(claims)


def _claimed(name: str, effects: Sequence[str]) -> str:
    """What a claim is about: a metric, or a measured effect. Raises UsageError for another name."""
    if name in EFFECTS and name not in effects:
        raise UsageError(f"--check: {name} is measured with --effect {name}", hint=f"add --effect {name}")
    return name if name in EFFECTS else check_metric(name, "--check")


def claim_failures(claims: Sequence[Claim], stacks: Sequence[Stack]) -> Iterator[str]:
    """A sentence for each claim that does not hold."""
    yield from (sentence for holds, sentence in (claim.test(stacks) for claim in claims) if not holds)


def claim_successes(claims: Sequence[Claim], stacks: Sequence[Stack]) -> Iterator[str]:
    """A sentence for each claim that holds."""
    yield from (sentence for holds, sentence in (claim.test(stacks) for claim in claims) if holds)


def check_metric(name: str, flag: str) -> str:
    """The name itself. Raises UsageError if it is no metric, with the nearest as a hint."""
    if name in METRICS or name in NEEDLE_METRICS:
        return name
    near = get_close_matches(name, [*METRICS, *NEEDLE_METRICS], n=1)
    listed = "attn heads --metric list says what each metric measures"
    hint = f"did you mean {near[0]}? {listed}" if near else f"the metrics are {', '.join(METRICS)}"
    raise UsageError(f"{flag}: there is no metric {name!r}", hint=hint)
