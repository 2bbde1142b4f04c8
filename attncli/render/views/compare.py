"""What `attn compare` says about a result: names, facts, sentences, and tracks over the states.

The texts are escaped; text, page and figure draw them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np

from attncli.render.common.cells import shorten
from attncli.render.common.colormap import LABEL_COLORS
from attncli.render.common.escape import direction_end, printable
from attncli.render.common.numbers import metric_number, p_value
from attncli.render.common.terminal import Terminal
from attncli.results.compare import (
    CompareResult,
    Groups,
    Indices,
    Matrix,
    Neighbours,
    Reference,
    State,
)

#: The name of the baseline's track.
RANDOM_WORDS = "random words"
_MAX_LABEL = 14
#: Occurrences up to which each pair has a track.
_MAX_PAIRED = 6
#: Pairs that are listed in place of a matrix, misses, and names of a group.
_MAX_NAMED_PAIRS, _MAX_MISSES, _MAX_NAMES = 3, 8, 12
#: Groups of occurrences with the same text before the word, in the first line.
_MAX_PREFIXES = 3
#: Occurrences from which on groups are reported.
MIN_FOR_GROUPS = 4
SMALL_P = 0.05
# A baseline whose interval is wider is shown with it.
_WIDE_INTERVAL = 0.02
_MEASURES = {
    "none": "cosine",
    "baseline": "cosine minus the baseline",
    "standardize": "cosine of standardised vectors",
    "abtt": "cosine of all-but-the-top vectors",
}
_TERMINAL = Terminal()


class Track(NamedTuple):
    """One value at every state."""

    name: str
    values: tuple[float | None, ...]


def group_color(place: int) -> str:
    """The colour of the occurrences of a group, such as `#e69f00`."""
    return "#{:02x}{:02x}{:02x}".format(*LABEL_COLORS[place % len(LABEL_COLORS)])


def cosine_text(value: float | None) -> str:
    """A cosine to two digits; a dash where there is none."""
    return metric_number(value, _TERMINAL)


@dataclass(frozen=True)
class CompareView:
    """What is said about one result.  unicode: False for words and labels in ASCII."""

    result: CompareResult
    unicode: bool = True

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The number of each occurrence's sentence, with a letter if that has several occurrences (`3a`, `3b`)."""
        counts = Counter(each.sentence for each in self.result.occurrences)
        seen: Counter[int] = Counter()
        names = []
        for each in self.result.occurrences:
            seen[each.sentence] += 1
            names.append(f"{each.sentence}{_letters(seen[each.sentence]) if counts[each.sentence] > 1 else ''}")
        return tuple(names)

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """The text beside each occurrence's number: its label, its group, or its word if there are several words.

        Labels are senses of the first word: of several words, only its occurrences show them (`bank: money`).
        """
        words = [each.word if len(self.result.words) > 1 else None for each in self.result.occurrences]
        labels = [each.label if each.word == self.result.word else None for each in self.result.occurrences]
        groups = [each.group for each in self.result.occurrences]
        return tuple(self.label(": ".join(filter(None, parts))) for parts in zip(words, groups, labels, strict=True))

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The different tags, in the order of the words."""
        words = [self.result.words.index(each.word) for each in self.result.occurrences]
        return tuple(dict.fromkeys(self.tags[index] for index in sorted(range(len(words)), key=words.__getitem__)))

    @property
    def has_groups(self) -> bool:
        return len(self.groups) > 1

    def group(self, index: int) -> int:
        """The place of an occurrence's tag among the groups."""
        return self.groups.index(self.tags[index])

    @property
    def facts(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Of the model (its name first) and of the words (these first)."""
        result, count = self.result, len(self.result.occurrences)
        about = [
            " / ".join(map(self.label, result.words)),
            f"{count:,} occurrence{'s' if count != 1 else ''}",
            f"{result.stack}, states 0–{result.state_count - 1}",
        ]
        if any(len(each.pieces) > 1 for each in result.occurrences):
            about.append(f"{result.pool} of the pieces" if result.pool == "mean" else f"{result.pool} piece")
        about += filter(None, [self.reading])
        return (printable(result.model), result.device, result.dtype), tuple(about)

    @property
    def reading(self) -> str:
        """Where the word is read, if not in the sentence itself."""
        return "second copy" if self.result.echo else "after a template" if self.result.template is not None else ""

    @property
    def causal_sentence(self) -> str:
        """That a causal model can't know what follows the word, and which occurrences share everything before it.

        Empty where nothing follows any, and where the whole sentence is read.
        """
        result = self.result
        followed = any(any(map(str.isalnum, each.text[each.end :])) for each in result.occurrences)
        if not result.causal or self.reading or not followed:
            return ""
        alike = [_and_list([self.names[index] for index in group]) for group in result.same_prefix]
        more = f"; and {len(alike) - _MAX_PREFIXES:,} more groups" if len(alike) > _MAX_PREFIXES else ""
        shared = f" ({'; '.join(alike[:_MAX_PREFIXES])}{more} share everything before it)" if alike else ""
        return f"A causal model can't know what follows {self.label(result.word)}{shared}."

    def label(self, text: str) -> str:
        """A label or a word, short enough for a column."""
        short = shorten(printable(text, unicode=self.unicode), _MAX_LABEL, "…" if self.unicode else "~")
        return short + direction_end(short)

    def flat(self, text: str) -> str:
        """A part of a sentence on one line."""
        return printable("".join(" " if c in "\n\r\t" else c for c in text), unicode=self.unicode)

    def with_word(self, sentence: str) -> str:
        """The sentence, with the first word before it if there are several words: `bank: same label 0.86`."""
        if len(self.result.words) == 1:
            return sentence
        return f"{self.label(self.result.word)}: {sentence[0].lower()}{sentence[1:]}"

    @property
    def measure(self) -> str:
        """What similarities are: `cosine`, or with the adjustment."""
        return _MEASURES.get(self.result.adjust, "cosine")

    def tagged_name(self, index: int) -> str:
        """`5 (river)`, or without a label its number alone."""
        return f"{self.names[index]} ({self.tags[index]})" if self.tags[index] else self.names[index]

    def state_title(self, state: int) -> str:
        """`state 3, after layer 2`."""
        where = "before layer 0" if state == 0 else f"after layer {state - 1}"
        last = " (the last)" if state and state == self.result.state_count - 1 else ""
        return f"state {state}, {where}{last}"

    def state_sentences(self, state: State) -> list[str]:
        """Sentences about the labels, the groups and the words of a state, after its answer."""
        return [
            *_label_sentences(state, self),
            *(_group_sentence(state.groups, self.names) if len(self.names) >= MIN_FOR_GROUPS else ()),
            *_spread_sentence(state, self),
            *_word_sentences(state, self),
        ]

    def nearest_sentences(self, state: State) -> list[str]:
        """Nearest neighbours, in place of a matrix of too many occurrences."""
        if state.shown is not None or state.nearest is None or state.nearest_similarity is None:
            return []
        sampled = np.flatnonzero(state.nearest >= 0)
        order = sampled[np.argsort(-state.nearest_similarity[sampled], kind="stable")]
        some = "" if len(sampled) == len(self.names) else f", of {len(sampled):,} drawn at random"
        pairs = np.arange(len(self.names)), state.nearest, state.nearest_similarity
        return [
            f"{len(self.names):,} occurrences are too many for a matrix; -o FILE.npz contains their vectors.",
            f"Most similar to their nearest neighbour{some}: {self._pair_list(order, *pairs)}.",
            f"Least similar to it: {self._pair_list(order[::-1], *pairs)}.",
        ]

    def extreme_sentences(self, state: State, *, fits: bool) -> list[str]:
        """The most and the least similar pairs, in place of a matrix.  fits: whether it fits the terminal's width."""
        assert state.shown is not None
        rows, columns = np.triu_indices(len(self.names), k=1)
        pairs = rows, columns, state.shown[rows, columns]
        order = np.argsort(-pairs[2], kind="stable")
        return [
            f"The matrix of {len(self.names)} occurrences is too large for the screen; "
            f"{'--full shows' if fits else '--json, --format csv and -o FILE.npz contain'} it.",
            f"Most similar: {self._pair_list(order, *pairs)}.",
            f"Least similar: {self._pair_list(order[::-1], *pairs)}.",
        ]

    def _pair_list(self, order: Indices, first: Indices, second: Indices, values: Matrix) -> str:
        listed = order[:_MAX_NAMED_PAIRS].tolist()
        return ", ".join(f"{self.names[first[i]]}–{self.names[second[i]]} {values[i]:.2f}" for i in listed)

    @property
    def best_sentence(self) -> str:
        """The state that separates labels best; empty for a single state."""
        best = next((state for state in self.result.states if state.state == self.result.best), None)
        if best is None or len(self.result.states) < 2:
            return ""
        return (
            f"{self.with_word('The labels are farthest')} apart at state {best.state}: same label "
            f"{cosine_text(best.within)}, other label {cosine_text(best.across)} (chosen from "
            f"{len(self.result.states)} states after seeing them, so no test).{self._held_out_text}"
        )

    @property
    def _held_out_text(self) -> str:
        held = self.result.held_out
        if held is None:
            return ""
        often = "" if held.times == held.halvings else f" in {held.times} of {held.halvings} cases"
        return (
            f" Chosen on a random half of the occurrences of each label (state {held.state}{often}), it separates the "
            f"other half by {cosine_text(held.separation)} (mean over {held.halvings} halvings)."
        )

    @property
    def sample_sentence(self) -> str:
        """The sample that random pairs are from; empty without one."""
        sample = self.result.sample
        if sample is None:
            return ""
        return (
            f"Random pairs: {sample.pairs:,} pairs of {sample.words:,} words in {sample.sentences:,} {sample.source}, "
            "each pair from two sentences."
        )

    @property
    def summary_tracks(self) -> list[Track]:
        """Means over all pairs state by state; with several words, over those of the first."""
        states, word = self.result.states, self.label(self.result.word)
        all_pairs, prefix = ("all pairs", "") if len(self.result.words) == 1 else (f"pairs of {word}", f"{word}: ")
        if self.result.adjust == "none":
            means = tuple(state.self_similarity for state in states)
            random = tuple(None if state.reference is None else state.reference.baseline for state in states)
        else:
            # Adjusted vectors aren't comparable with raw ones, and random words are about 0.
            means, random = tuple(state.adjusted_self_similarity for state in states), ()
        tracks = (
            Track(all_pairs, means),
            Track(f"{prefix}same label", tuple(state.within for state in states)),
            Track(f"{prefix}other label", tuple(state.across for state in states)),
            Track(RANDOM_WORDS, random),
        )
        return [track for track in tracks if any(value is not None for value in track.values)]

    @property
    def pair_tracks(self) -> list[Track]:
        """Each pair state by state; no tracks for a single pair, which is all pairs, or for many occurrences."""
        matrices = [state.shown for state in self.result.states if state.shown is not None]
        if not 2 < len(self.names) <= _MAX_PAIRED or len(matrices) < len(self.result.states):
            return []
        return [
            Track(f"{self.names[a]}–{self.names[b]}", tuple(float(matrix[a, b]) for matrix in matrices))
            for a, b in combinations(range(len(self.names)), 2)
        ]


def _letters(number: int) -> str:
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters


# --- Sentences about a state


def precise_cosine(value: float) -> str:
    """A cosine to two digits, or to four where it is nearly 1."""
    return cosine_text(value) if value < 0.995 or value == 1 else f"{value:.4f}"


def baseline_text(reference: Reference) -> str:
    """The baseline, with its interval where the sample is so small that this is wide."""
    text, ends = cosine_text(reference.baseline), reference.baseline_interval
    if ends is None or not ends[1] - ends[0] > _WIDE_INTERVAL:
        return text
    return f"{text} (95 % interval {cosine_text(ends[0])} to {cosine_text(ends[1])})"


def _label_sentences(state: State, view: CompareView) -> Iterator[str]:
    senses = state.senses
    if senses is None:
        return
    if not view.result.has_groups:
        yield distances_sentence(state, view)
    if senses.silhouette is not None:
        yield f"Silhouette {cosine_text(senses.silhouette)} (1: separate, 0: overlapping)."
    if senses.neighbours is not None:
        yield from _neighbour_sentences(senses.neighbours, view)


def distances_sentence(state: State, view: CompareView) -> str:
    """The average pairwise distance of every two groups or labels."""
    if not state.distances:
        return ""
    if len(state.distances) == 1:
        return f"Average pairwise distance {cosine_text(state.distances[0].distance)} (1 - cosine)."
    listed = ", ".join(
        f"{view.label(each.first)}–{view.label(each.second)} {cosine_text(each.distance)}"
        for each in state.distances[:_MAX_MISSES]
    )
    more = "" if len(state.distances) <= _MAX_MISSES else f" and {len(state.distances) - _MAX_MISSES:,} more"
    return f"Average pairwise distances (1 - cosine): {listed}{more}."


def _neighbour_sentences(neighbours: Neighbours, view: CompareView) -> Iterator[str]:
    yield f"By chance {neighbours.chance * neighbours.of:.2f} of {neighbours.of} would be nearest to their own label."
    for miss in neighbours.wrong[:_MAX_MISSES] if neighbours.right else ():
        mine, theirs = (view.tagged_name(index) for index in (miss.occurrence, miss.nearest))
        how = "just as near to" if miss.tied else "nearest to"
        yield f"{mine} is {how} {theirs}: {cosine_text(miss.similarity)}."
    if neighbours.right and len(neighbours.wrong) > _MAX_MISSES:
        yield f"{len(neighbours.wrong) - _MAX_MISSES:,} more are nearest to another label."


def _group_sentence(groups: Groups | None, names: Sequence[str]) -> Iterator[str]:
    if groups is None:
        return
    figures = ""
    if groups.silhouette is not None and groups.p is not None:
        among = f", computed on {groups.sampled} of them" if groups.sampled else ""
        figures = f" (silhouette {groups.silhouette:.2f}, p = {p_value(groups.p)} against a single group{among})"
    if groups.clear:
        listed = "; ".join(name_list([names[index] for index in group]) for group in groups.members)
        yield f"{len(groups.members)} clear groups: {listed}{figures}."
    else:
        yield f"There are no clear groups: {groups.why_not}{figures}."


def _and_list(names: Sequence[str]) -> str:
    listed = name_list(names)
    return listed if len(names) > _MAX_NAMES else " and ".join(listed.rsplit(", ", 1))


def name_list(names: Sequence[str]) -> str:
    if len(names) <= _MAX_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[: _MAX_NAMES - 2])} and {len(names) - _MAX_NAMES + 2:,} more"


def _spread_sentence(state: State, view: CompareView) -> Iterator[str]:
    """Self-similarity, raw and adjusted, and the explained variance of the raw vectors."""
    if state.self_similarity is None or state.explained_variance is None:
        return
    similarity, raw = cosine_text(state.self_similarity), ""
    if view.result.adjust != "none":
        similarity, raw = f"{cosine_text(state.adjusted_self_similarity)} (raw {similarity})", "raw "
    chance = state.explained_variance_random
    random = "" if chance is None else f"; {cosine_text(chance)} for as many random words"
    yield (
        f"{view.with_word('Self-similarity')} {similarity}, {raw}explained variance "
        f"{cosine_text(state.explained_variance)} (share that one direction explains{random})."
    )


def _word_sentences(state: State, view: CompareView) -> Iterator[str]:
    for word in state.words:
        across = ", ".join(f"{view.label(other)} {cosine_text(value)}" for other, value in word.across.items())
        inner = cosine_text(word.self_similarity)
        yield f"{view.label(word.word)} ({word.occurrences:,}): mean cosine {inner} to itself, {across}."
