"""Sentences whose last word is an indirect object (Wang et al. 2022, arXiv 2211.00593), and what heads do to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import attncli
from attncli.results.effects import Interval

#: Their templates: the subject comes again, and what follows is the other name.
TEMPLATES = (
    "Then, {A} and {B} went to the {place}. {S} gave a {thing} to",
    "Then, {A} and {B} had a lot of fun at the {place}. {S} gave a {thing} to",
    "Then, {A} and {B} were working at the {place}. {S} decided to give a {thing} to",
    "Then, {A} and {B} were thinking about going to the {place}. {S} wanted to give a {thing} to",
    "Then, {A} and {B} had a long argument, and afterwards {S} said to",
    "After {A} and {B} went to the {place}, {S} gave a {thing} to",
    "When {A} and {B} got a {thing} at the {place}, {S} decided to give it to",
    "When {A} and {B} got a {thing} at the {place}, {S} decided to give the {thing} to",
    "While {A} and {B} were working at the {place}, {S} gave a {thing} to",
    "While {A} and {B} were commuting to the {place}, {S} gave a {thing} to",
    "After the lunch, {A} and {B} went to the {place}. {S} gave a {thing} to",
    "Afterwards, {A} and {B} went to the {place}. {S} gave a {thing} to",
    "Then, {A} and {B} had a long argument. Afterwards {S} said to",
    "The {place} {A} and {B} went to had a {thing}. {S} gave it to",
    "Friends {A} and {B} found a {thing} at the {place}. {S} gave it to",
    "When {A} and {B} went to the {place}, {S} gave a {thing} to",
)
NAMES = (("Mary", "John"), ("Paul", "Amy"), ("Kate", "Tom"))
PLACES, THINGS = ("store", "garden", "school", "office"), ("drink", "ring", "computer")


def lines() -> list[str]:
    """Each template with each pair of names in both orders: text, answer and contrast, with tabs between."""
    found = []
    for number, template in enumerate(TEMPLATES):
        place, thing = PLACES[number % len(PLACES)], THINGS[number % len(THINGS)]
        for pair in NAMES:
            for subject, other in (pair, pair[::-1]):
                first, second = (subject, other) if number % 2 else (other, subject)
                text = template.format(A=first, B=second, S=subject, place=place, thing=thing)
                found.append(f"{text}\t{other}\t{subject}")
    return found


class Found(NamedTuple):
    """difference: the mean logit difference.  heads: their mean direct effects.  intervals: 95 %."""

    difference: float
    heads: Mapping[str, float]
    intervals: Mapping[str, Interval]


def direct_effects_of(model: str, texts: list[str]) -> Found:
    """The mean direct effects of a model's heads on the logit difference of the two names."""
    result = attncli.heads(texts, model=model, effect="direct", columns="text,answer,contrast")
    assert result.effects is not None and result.texts == len(texts)
    heads = [head for stack in result.stacks for head in stack.effects]
    return Found(
        result.effects.outcome.value,
        {head.name: head.values["direct"] or 0.0 for head in heads},
        {head.name: head.intervals["direct"] for head in heads if head.intervals},
    )
