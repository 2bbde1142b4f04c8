"""How metrics and labels of heads are worded, lettered and coloured; their entries are in `attncli.metrics`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from attncli.metrics import LABELS, METRICS, NEEDLE_METRICS
from attncli.render.common.terminal import Rgb
from attncli.results.heads import HeadMetrics, Stack
from attncli.results.patterns import TOKENS, Medium
from attncli.results.tokens import Token


@dataclass(frozen=True, slots=True)
class Label:
    """How a label of heads is shown: its letter on maps, its target for legends, a sentence, and its colours.

    basic_color: for terminals of sixteen colours.
    """

    letter: str
    target: str
    sentence: str
    color: Rgb | None = None
    basic_color: Rgb | None = None


def meaning(name: str, medium: Medium = TOKENS) -> str:
    """What a metric measures, with its unit, worded for tokens, patches of a picture or frames of a sound."""
    metric = METRICS.get(name) or NEEDLE_METRICS.get(name)
    if metric is None:
        return ""
    words = f"{metric.meaning} ({metric.unit})" if metric.unit else metric.meaning
    return _worded(words, metric.patch_meaning, medium)


def _worded(words: str, patch_words: str | None, medium: Medium) -> str:
    """Words on tokens for another medium. patch_words: those for patches, where they aren't the same with patches."""
    if medium.kind == "patches":
        return patch_words or words.replace("tokens", "patches").replace("token", "patch")
    return words.replace("token", "frame") if medium.kind == "frames" else words


def evidence_words(metric: str, stack: Stack) -> str:
    """On how many repeated tokens a metric of repeats rests, the most of any layer; empty for other metrics."""
    counts = [layer[metric] for layer in stack.repeats.values() if metric in layer]
    if not counts or not max(counts):
        return ""
    count = f"{max(counts):,} repeated token{'' if max(counts) == 1 else 's'}"
    few = "" if stack.has_evidence(metric) else ", too few to rank heads by (--probe measures it on repeated text)"
    return f"rests on {count}{few}"


def label_of(name: str, medium: Medium = TOKENS) -> Label:
    """The label called `name`, worded for tokens, patches or frames; an unknown one gets its first letter and no
    colour."""
    if name not in LABELS:
        return Label(name[:1].upper(), name, f"stands out by {name}")
    rule = LABELS[name]
    target = rule.target if medium.kind == "tokens" else rule.target.replace("ordinary ", "")
    target = _worded(target, rule.patch_target, medium)
    sentence = _worded(rule.sentence, None, medium).format(target)
    return Label(rule.letter, target.removeprefix("the "), sentence, *rule.colors)


def read_token(head: HeadMetrics, stack: Stack) -> Token | None:
    """The token of a text that a head's metric of one key is about; None where it isn't among those shown."""
    if stack.key_medium.kind != "tokens":
        return None
    return next((key for key in stack.keys if key.index == head.token_index), None)


def ordered_labels(names: Iterable[str]) -> list[str]:
    """The label names without repeats: known ones in the order of legends, then the others as they come."""
    return sorted(dict.fromkeys(names), key=lambda name: LABELS[name].place if name in LABELS else len(LABELS))
