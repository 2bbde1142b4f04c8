"""The sentence with which `attn compare` answers, for a state, and the figures that it rests on."""

from __future__ import annotations

import numpy as np

from attncli.render.common.numbers import metric_number, p_value, percent_text
from attncli.render.common.terminal import Terminal
from attncli.render.views.compare import (
    SMALL_P,
    CompareView,
    baseline_text,
    cosine_text,
    distances_sentence,
    name_list,
    precise_cosine,
)
from attncli.results.compare import Groups, Miss, Neighbours, Permutation, Senses, State, WordFigures

#: The share of all similarities' range by which an occurrence has to be farther from its nearest neighbour than any
#: other is, for it to stand apart; and the least such distance.
_APART_SHARE, _LEAST_APART = 0.25, 0.01
#: Similarities that differ by less are rounding errors.
_EQUAL = 1e-6
#: A share of random pairs that says something of all pairs.
_MOST = 0.5
#: Digits of two means, so many as tell them apart.
_DIGITS = (2, 3, 4)
#: Occurrences that an answer names.
_NAMED_MISSES = 2


def answer(state: State, view: CompareView) -> str:
    """Do the senses come apart, or the words; or which occurrences are alike, and which one is not?

    Empty where there are too many occurrences for a matrix, and no labels.
    """
    if state.change is not None and state.change.within is not None:
        return view.with_word(_change_answer(state.change, view))
    senses = state.senses
    if senses is not None and senses.neighbours is not None:
        return view.with_word(_senses_answer(senses, senses.neighbours, view))
    if len(state.words) > 1:
        return _words_answer(state.words, view)
    if senses is not None and senses.why_no_p:
        return f"The labels can't be compared: {senses.why_no_p}."
    if state.groups is not None and state.groups.clear:
        return _groups_answer(state.groups, view)
    return _pairs_answer(state, view) if state.shown is not None else ""


def evidence(state: State, view: CompareView) -> list[str]:
    """The means within and across groups or labels with their test, or what the cosines are compared with."""
    compared = [
        _contrast_sentence("group", state.change),
        distances_sentence(state, view) if state.change is not None else "",
        _contrast_sentence("label", state.senses),
    ]
    return [each for each in compared if each] or [_random_sentence(state, view)]


def said(state: State, view: CompareView) -> list[str]:
    """The answer, after what a causal model can't know, its evidence, and the dimensions that were asked for."""
    first = " ".join(filter(None, [view.causal_sentence, answer(state, view)]))
    return [sentence for sentence in (first, *evidence(state, view), _dimension_sentence(state)) if sentence]


def _contrast_sentence(kind: str, senses: Senses | None) -> str:
    if senses is None or senses.within is None or senses.across is None:
        return ""
    within, across, apart = difference_texts(senses.within, senses.across)
    return f"Same {kind} {within}, other {kind} {across}: difference {apart}{_test_text(senses)}."


def _dimension_sentence(state: State) -> str:
    if not state.dimensions:
        return ""
    listed = ", ".join(f"{each.dimension} ({100 * each.share:.1f} %)" for each in state.dimensions)
    return f"Dimensions that contribute most to the mean cosine: {listed}."


def difference_texts(first: float, second: float) -> tuple[str, str, str]:
    """Two values and their difference, rounded so that they add up, with as many digits as tell them apart.

    >>> difference_texts(0.8531, 0.7462), difference_texts(0.8531, 0.8514)
    (('0.85', '0.75', '0.10'), ('0.853', '0.851', '0.002'))
    """
    if round(first, _DIGITS[-1]) == round(second, _DIGITS[-1]):
        return metric_number(first, Terminal()), metric_number(second, Terminal()), "0.00"
    digits = next(digits for digits in _DIGITS if round(first, digits) != round(second, digits))
    one, other = round(first, digits), round(second, digits)
    return f"{one:z.{digits}f}", f"{other:z.{digits}f}", f"{one - other:z.{digits}f}"


def _change_answer(change: Senses, view: CompareView) -> str:
    """Does the word differ between groups, by the permutation test?"""
    test, names = change.permutation, " and ".join(map(view.flat, change.labels))
    word = view.label(view.result.word)
    if test is None:
        return f"{word} can't be tested for a difference between {names}: {change.why_no_p}."
    return f"{word} {'differs' if test.p <= SMALL_P else 'does not differ clearly'} between {names}."


def _senses_answer(senses: Senses, neighbours: Neighbours, view: CompareView) -> str:
    right, of = neighbours.right, neighbours.of
    nearest = "is nearest to its own label" if of == 1 else "are nearest to their own label"
    count = f"{right} of {of} {nearest}"
    if right == of:
        return f"The senses come apart: {count}."
    test, chance = senses.permutation, f"{neighbours.chance * of:.2g} by chance"
    if 2 * right > of and test is not None and (test.p <= SMALL_P or _is_smallest(test)):
        misses = neighbours.wrong[:_NAMED_MISSES]
        but = " and ".join(_miss_text(miss, view) for miss in misses)
        more = "" if len(neighbours.wrong) <= _NAMED_MISSES else ", among others"
        if test.p <= SMALL_P:
            return f"The senses mostly come apart: {count}, but {but}{more}."
        return f"The senses partly come apart: {count} ({chance}), but {but}{more}. They are too few for a sure answer."
    return f"The senses don't come apart: {count} ({chance})."


def _is_smallest(test: Permutation) -> bool:
    """Whether no labels of so few occurrences could give a smaller p, and that is not a small one."""
    return test.exact and test.smallest > SMALL_P and test.p <= test.smallest


def _miss_text(miss: Miss, view: CompareView) -> str:
    names = (view.tagged_name(index) for index in (miss.occurrence, miss.nearest))
    return f" is {'as near' if miss.tied else 'nearer'} to ".join(names)


def _words_answer(words: tuple[WordFigures, ...], view: CompareView) -> str:
    """Is the first word more similar to itself than to the others?"""
    first = words[0]
    name, inner = view.label(first.word), first.self_similarity
    others = " and ".join(f"{view.label(other)} ({cosine_text(value)})" for other, value in first.across.items())
    if inner is None:
        return f"{name} occurs once; its mean cosine is that to {others}."
    apart = all(inner > value for value in first.across.values())
    return f"{name} is {'' if apart else 'not '}more similar to itself ({cosine_text(inner)}) than to {others}."


def _groups_answer(groups: Groups, view: CompareView) -> str:
    listed = "; ".join(name_list([view.names[index] for index in group]) for group in groups.members)
    return f"The occurrences form {len(groups.members)} groups: {listed}."


def _pairs_answer(state: State, view: CompareView) -> str:
    """Which pair is the most alike, and does an occurrence stand apart from all others?"""
    assert state.shown is not None
    matrix, names = state.shown, view.names
    rows, columns = np.triu_indices(len(names), k=1)
    values = matrix[rows, columns]
    if len(values) == 1:
        value = precise_cosine(float(values[0]))
        return f"The {view.measure} of {view.label(view.result.word)} in {names[0]} and in {names[1]} is {value}."
    if values.max() - values.min() < _EQUAL:
        return f"All pairs are equally similar ({precise_cosine(float(values[0]))})."
    most, least = (
        f"{names[rows[i]]} and {names[columns[i]]} {'are the most' if i == values.argmax() else 'the least'} similar "
        f"({cosine_text(float(values[i]))})"
        for i in (int(values.argmax()), int(values.argmin()))
    )
    odd = _odd_one(matrix, float(values.max() - values.min()))
    if odd is None:
        return f"No occurrence stands apart: {most}, {least}."
    others = np.delete(matrix[odd], odd)
    return f"{names[odd]} stands apart (at most {cosine_text(float(others.max()))}); {most}."


def _odd_one(matrix: np.ndarray[tuple[int, int], np.dtype[np.float64]], spread: float) -> int | None:
    """The occurrence whose nearest neighbour is clearly farther than that of any other; None without one."""
    nearest = np.where(np.eye(len(matrix), dtype=bool), -np.inf, matrix).max(axis=1)
    last, second = np.argsort(nearest, kind="stable")[:2]
    apart = float(nearest[second] - nearest[last])
    return int(last) if apart >= max(_LEAST_APART, _APART_SHARE * spread) else None


def _test_text(senses: Senses) -> str:
    test = senses.permutation
    if test is None:
        return f" (no test: {senses.why_no_p})" if senses.why_no_p else ""
    how = f"all {test.labelings:,}" if test.exact else f"{test.labelings:,} random"
    few = ", the smallest possible" if _is_smallest(test) else ""
    return f" (permutation test over {how} labelings: p = {p_value(test.p)}{few})"


def _random_sentence(state: State, view: CompareView) -> str:
    """How similar random words are, and what share of random pairs is less similar than any pair here."""
    if state.percentile is None or state.reference is None or view.result.sample is None or len(view.names) < 2:
        return ""
    rows, columns = np.triu_indices(len(view.names), k=1)
    share = float(state.percentile[rows, columns].min())
    pairs = "This pair is" if len(rows) == 1 else "All pairs are" if share >= _MOST else "The least similar pair is"
    among = "all random pairs" if share == 1 else f"{percent_text(share)} of random pairs"
    random = f", whose mean is {baseline_text(state.reference)}" if view.result.adjust == "none" else ""
    only = "" if share >= _MOST else "only "
    return f"{pairs} {only}more similar than {among}{random}."
