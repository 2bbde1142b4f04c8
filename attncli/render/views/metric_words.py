"""How metrics and labels of heads are worded, lettered and coloured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from attncli.render.common.lines import Rgb
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


# Colours that colour-blind eyes can tell apart: Okabe & Ito 2008, "Color universal design".
LABELS = {
    "previous": Label("P", "previous token", "looks at the previous token", (86, 180, 233), (0, 170, 170)),
    "next": Label("N", "next token", "looks at the next token", (230, 159, 0), (255, 255, 85)),
    "first": Label("F", "first token", "looks at the first token", (213, 94, 0), (170, 0, 0)),
    "special": Label("S", "special tokens", "looks at special tokens", (204, 121, 167), (170, 0, 170)),
    "induction": Label(
        "I", "what followed earlier copies", "looks at what followed earlier copies", (0, 158, 115), (0, 170, 0)
    ),
    "token": Label("T", "one ordinary token", "most tokens look at one ordinary token", (240, 228, 66), (85, 85, 255)),
}

# What each metric measures, with its unit. The formulas are in the docstrings of the functions that compute them.
MEANINGS = {
    "entropy": "how widely a row spreads its weight (nats)",
    "distance": "how far away it looks (tokens)",
    "confidence": "largest weight of a row",
    "previous": "weight on the previous token",
    "current": "weight on the token itself",
    "next": "weight on the next token",
    "first": "weight on the first token",
    "special": "weight on special tokens",
    "token": "weight on the ordinary token most looked at",
    "virtual_sink": "weight that no token gets",
    "duplicate": "weight on earlier copies of the token",
    "induction": "weight on what followed earlier copies",
}


# The same where the tokens are patches of a picture.
_PATCH_MEANINGS = {
    "distance": "how far away it looks (patches)",
    "previous": "weight on the patch to the left",
    "current": "weight on the patch itself",
    "next": "weight on the patch to the right",
    "first": "weight on the first position",
    "special": "weight on what is no patch, as [CLS]",
    "token": "weight on the patch most looked at",
    "virtual_sink": "weight that no patch gets",
    "duplicate": "weight on earlier copies of the patch",
}

# What labels look at there.
_PATCH_TARGETS = {
    "previous": "the patch to the left",
    "next": "the patch to the right",
    "first": "the first position",
    "special": "what is no patch",
    "token": "one patch",
}


def meaning(name: str, medium: Medium) -> str:
    """What a metric measures, worded for tokens, for patches of a picture or for frames of a sound."""
    words = MEANINGS.get(name, "")
    if medium.kind == "patches":
        return _PATCH_MEANINGS.get(name, words)
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
    label = LABELS.get(name) or Label(name[:1].upper(), name, f"stands out by {name}")
    if medium.kind == "frames":
        target, sentence = (
            words.replace("ordinary token", "frame").replace("token", "frame")
            for words in (label.target, label.sentence)
        )
        return replace(label, target=target, sentence=sentence)
    if medium.kind == "patches" and name in _PATCH_TARGETS:
        target = _PATCH_TARGETS[name]
        sentence = f"most patches look at {target}" if name == "token" else f"looks at {target}"
        return replace(label, target=target.removeprefix("the "), sentence=sentence)
    return label


def read_token(head: HeadMetrics, stack: Stack) -> Token | None:
    """The token of a text that the metric `token` of a head is about; None where it isn't among those shown."""
    if stack.key_medium.kind != "tokens":
        return None
    return next((key for key in stack.keys if key.index == head.token_index), None)


def ordered_labels(names: Iterable[str]) -> list[str]:
    """The label names without repeats: known ones in the order of `LABELS`, then the others as they come."""
    present = dict.fromkeys(names)
    return [*(name for name in LABELS if name in present), *(name for name in present if name not in LABELS)]
