"""The results of a state in sentences: pairs, labels, groups, words and dimensions, with tests and chance levels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from attncli.render.common.lines import DIM, Line, StyledSpan
from attncli.render.common.terminal import Terminal
from attncli.render.compare.paths import ascii_safe, cosine_text, label_text, paragraph, percent_text
from attncli.results.compare import (
    CompareResult,
    Groups,
    Indices,
    Miss,
    Neighbours,
    Permutation,
    Reference,
    Senses,
    State,
)

_MAX_MISSES = 8
_SMALL_P = 0.05
# A baseline whose interval is wider is shown with it.
_WIDE_INTERVAL = 0.02
#: Occurrences from which on groups are reported.
_MIN_FOR_GROUPS = 4


def verdict_lines(state: State, result: CompareResult, names: Sequence[str], terminal: Terminal) -> list[Line]:
    """Sentences about the pairs, the labels, the groups, the words and the dimensions."""
    sentences = [
        *_pair_sentences(state, result, names, terminal),
        *_label_sentences(state, names, result, terminal),
        *(_group_sentences(state.groups, names) if len(names) >= _MIN_FOR_GROUPS else ()),
        *_spread_sentence(state, result, terminal),
        *_word_sentences(state, terminal),
        *_dimension_sentence(state, terminal),
    ]
    return [line for text in sentences for line in paragraph(ascii_safe(text, terminal), terminal, indent=2)]


def _pair_sentences(state: State, result: CompareResult, names: Sequence[str], terminal: Terminal) -> Iterator[str]:
    shown = state.shown
    if shown is None:
        return
    rows, columns = np.triu_indices(len(shown), k=1)
    values = shown[rows, columns]
    least, most = int(values.argmin()), int(values.argmax())
    if len(values) == 1:
        text = f"{_measure_name(result)} of {names[0]} and {names[1]}: {_precise_cosine(float(values[0]), terminal)}"
    else:
        text = (
            f"{_measure_name(result)} from {cosine_text(float(values[least]), terminal)} "
            f"({names[rows[least]]}–{names[columns[least]]}) to {cosine_text(float(values[most]), terminal)} "
            f"({names[rows[most]]}–{names[columns[most]]})"
        )
    yield f"{text}{_random_comparison(state, rows, columns, least, result, terminal)}."


def _measure_name(result: CompareResult) -> str:
    kinds = {"baseline": "Cosine less the baseline", "standardize": "Cosine, standardised",
             "abtt": "Cosine, without the top directions"}  # fmt: skip
    return kinds.get(result.adjust, "Cosine")


def _precise_cosine(value: float, terminal: Terminal) -> str:
    return cosine_text(value, terminal) if value < 0.995 or value == 1 else f"{value:.4f}"


def _random_comparison(
    state: State, rows: Indices, columns: Indices, least: int, result: CompareResult, terminal: Terminal
) -> str:
    if state.percentile is None or state.reference is None or result.sample is None:
        return ""
    share = float(state.percentile[rows[least], columns[least]])
    pair = "it" if len(rows) == 1 else "even the least"
    random = f"random words have {_baseline_text(state.reference, terminal)}, and " if result.adjust == "none" else ""
    return f"; {random}{pair} is higher than {_random_share(share)}"


def _baseline_text(reference: Reference, terminal: Terminal) -> str:
    """The baseline, with its interval where the sample is so small that this is wide."""
    text, ends = cosine_text(reference.baseline, terminal), reference.baseline_interval
    if ends is None or not ends[1] - ends[0] > _WIDE_INTERVAL:
        return text
    low, high = (cosine_text(end, terminal) for end in ends)
    return f"{text} (95 % interval {low} to {high})"


def _random_share(share: float) -> str:
    return "every random pair" if share == 1 else f"{percent_text(share)} of random pairs"


def _label_sentences(state: State, names: Sequence[str], result: CompareResult, terminal: Terminal) -> Iterator[str]:
    senses = state.senses
    if senses is None:
        return
    if senses.within is not None and senses.across is not None:
        within, across = cosine_text(senses.within, terminal), cosine_text(senses.across, terminal)
        yield (
            f"{_with_word('Same label', result, terminal)} {within}, other label {across}: "
            f"{cosine_text(senses.separation, terminal)} apart{_test_text(senses)}."
        )
    elif senses.why_no_p:
        yield f"Labels say nothing here: {senses.why_no_p}."
    if senses.silhouette is not None:
        yield f"Silhouette {cosine_text(senses.silhouette, terminal)} (1: apart, 0: overlapping)."
    if senses.neighbours is not None:
        yield from _neighbour_sentences(senses.neighbours, names, result, terminal)


def _with_word(sentence: str, result: CompareResult, terminal: Terminal) -> str:
    """The sentence, with the first word before it if there are several words: `bank: same label 0.86`."""
    if len(result.words) == 1:
        return sentence
    return f"{label_text(result.word, terminal)}: {sentence[0].lower()}{sentence[1:]}"


def _test_text(senses: Senses) -> str:
    test = senses.permutation
    if test is None:
        return f" (no test: {senses.why_no_p})" if senses.why_no_p else ""
    return f" ({_permutation_text(test)})"


def _permutation_text(test: Permutation) -> str:
    how = f"all {test.labelings:,}" if test.exact else f"{test.labelings:,} random"
    text = f"permutation test over {how} labelings: p = {_p_value(test.p)}"
    if test.exact and test.smallest > _SMALL_P:
        return f"{text}, and with so few none below {_p_value(test.smallest)} is possible"
    return text


def _p_value(value: float) -> str:
    return f"{value:.2f}" if value >= 0.095 else f"{value:.3f}" if value >= 0.001 else f"{value:.1g}"


def _neighbour_sentences(
    neighbours: Neighbours, names: Sequence[str], result: CompareResult, terminal: Terminal
) -> Iterator[str]:
    chance = cosine_text(neighbours.chance * neighbours.of, terminal)
    right = (
        "have their nearest neighbour among their own label" if neighbours.of > 1 else "has its nearest neighbour there"
    )
    of = f" of {label_text(result.word, terminal)}" if len(result.words) > 1 else ""
    yield f"{neighbours.right} of {neighbours.of}{of} {right} (chance: {chance})."
    if not neighbours.right:
        return
    yield from (_miss_sentence(miss, names, result, terminal) for miss in neighbours.wrong[:_MAX_MISSES])
    if len(neighbours.wrong) > _MAX_MISSES:
        yield f"And {len(neighbours.wrong) - _MAX_MISSES:,} more have not."


def _miss_sentence(miss: Miss, names: Sequence[str], result: CompareResult, terminal: Terminal) -> str:
    """An occurrence whose nearest neighbour has another label."""
    mine, theirs = (
        f"{names[index]} ({label_text(str(result.occurrences[index].label), terminal)})"
        for index in (miss.occurrence, miss.nearest)
    )
    how = f"{theirs} is just as near" if miss.tied else f"it is nearest to {theirs}"
    return f"Not {mine}: {how}, {cosine_text(miss.similarity, terminal)}."


def _group_sentences(groups: Groups | None, names: Sequence[str]) -> Iterator[str]:
    if groups is None:
        return
    if not groups.clear:
        figures = "" if groups.silhouette is None or groups.p is None else _group_figures(groups)
        yield f"No clear groups: {groups.why_not}{figures}."
        return
    listed = "; ".join(_name_list([names[index] for index in group]) for group in groups.members)
    yield f"{len(groups.members)} clear groups{_group_figures(groups)}: {listed}."


def _group_figures(groups: Groups) -> str:
    assert groups.silhouette is not None
    assert groups.p is not None
    text = f" (silhouette {groups.silhouette:.2f}, p = {_p_value(groups.p)} against one group"
    return f"{text}, looked for among {groups.sampled})" if groups.sampled else f"{text})"


def _name_list(names: Sequence[str]) -> str:
    if len(names) <= 12:
        return ", ".join(names)
    return f"{', '.join(names[:10])} and {len(names) - 10:,} more"


def _spread_sentence(state: State, result: CompareResult, terminal: Terminal) -> Iterator[str]:
    """Self-similarity, raw and adjusted, and the explained variance of the raw vectors."""
    if state.self_similarity is None or state.explained_variance is None:
        return
    similarity, raw = cosine_text(state.self_similarity, terminal), ""
    if result.adjust != "none":
        similarity, raw = f"{cosine_text(state.adjusted_self_similarity, terminal)} (raw {similarity})", "raw "
    chance = state.explained_variance_random
    random = "" if chance is None else f"; of as many random words {cosine_text(chance, terminal)}"
    yield (
        f"{_with_word('Self-similarity', result, terminal)} {similarity}, {raw}explained variance "
        f"{cosine_text(state.explained_variance, terminal)} (the share that one vector explains{random})."
    )


def _word_sentences(state: State, terminal: Terminal) -> Iterator[str]:
    for word in state.words:
        name = label_text(word.word, terminal)
        across = ", ".join(
            f"{label_text(other, terminal)} {cosine_text(value, terminal)}" for other, value in word.across.items()
        )
        inner = cosine_text(word.self_similarity, terminal)
        yield f"{name} ({word.occurrences:,}): {inner} to itself, {across}."


def _dimension_sentence(state: State, terminal: Terminal) -> Iterator[str]:
    if state.dimensions:
        listed = ", ".join(f"{each.dimension} ({100 * each.share:.1f} %)" for each in state.dimensions)
        yield f"Dimensions that make up the mean cosine: {listed}."


def best_lines(result: CompareResult, terminal: Terminal) -> list[Line]:
    """The state that separates labels best; no lines for a single state."""
    best = next((state for state in result.states if state.state == result.best), None)
    if best is None or len(result.states) < 2:
        return []
    text = (
        f"{_with_word('Labels are farthest', result, terminal)} apart at state {best.state}: "
        f"{cosine_text(best.within, terminal)} and {cosine_text(best.across, terminal)} "
        f"(the largest of {len(result.states)}, chosen afterwards)."
    )
    return paragraph(ascii_safe(text, terminal), terminal, indent=2)


def sample_line(result: CompareResult, terminal: Terminal) -> list[Line]:
    """The sample that random pairs are from."""
    sample = result.sample
    if sample is None:
        return []
    text = (
        f"Random pairs: {sample.pairs:,} of {sample.words:,} words in {sample.sentences:,} {sample.source}, no two of "
        "one sentence."
    )
    return [Line.of(*(StyledSpan(span.text, DIM) for span in line.spans)) for line in paragraph(text, terminal)]
