"""What a reader of a comparison should know beside its numbers: warnings, and how the input was taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from attncli.verbs.occurrences import Found, form_of, is_other_form

if TYPE_CHECKING:
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.compare import Occurrence, State

_MOST_LISTED = 5


def listed(numbers: Sequence[int]) -> str:
    """Numbers of sentences: `3`, `3, 4 and 7`, or the first few and how many more."""
    distinct = list(dict.fromkeys(numbers))
    if len(distinct) > _MOST_LISTED:
        return f"{', '.join(map(str, distinct[:_MOST_LISTED]))} and {len(distinct) - _MOST_LISTED:,} more"
    *first, last = map(str, distinct)
    return f"{', '.join(first)} and {last}" if first else last


def sentences(numbers: Sequence[int]) -> str:
    return f"sentence{'s' if len(set(numbers)) > 1 else ''} {listed(numbers)}"


def warnings_before(found: Found, tokenizer: Tokenizer) -> Iterator[str]:
    """What can be told of the sentences alone."""
    if found.problems:
        numbers = [problem.number for problem in found.problems]
        yield f"{sentences(numbers)} {'were' if len(numbers) > 1 else 'was'} left out: {found.problems[0].message}"
    cut = [sentence.number for sentence in found.sentences if sentence.cut]
    if cut:
        yield f"{sentences(cut)} {'were' if len(cut) > 1 else 'was'} cut to the tokens that the model takes"
    others = [each for each in found.occurrences if is_other_form(each)]
    if others:
        forms = [repr(form) for form in dict.fromkeys(each.matched for each in others)]
        named = " and ".join(forms) if len(forms) < 4 else f"{', '.join(forms[:3])} and {len(forms) - 3} more"
        were = "were" if len(forms) > 1 else "was"
        yield f"{sentences([each.sentence for each in others])}: {named} {were} taken for the word"
    yield from _differing_pieces(found.occurrences)
    piece = _unknown_piece(tokenizer)
    unknown = [each.sentence for each in found.occurrences if piece is not None and piece in each.pieces]
    if unknown:
        yield f"{sentences(unknown)}: the tokenizer has no piece for the word, and any unknown word has this vector"


def _unknown_piece(tokenizer: Tokenizer) -> str | None:
    if tokenizer.unknown_id is None:
        return None
    (piece,) = tokenizer.describe([tokenizer.unknown_id])
    return None if piece is None else piece.token


def _differing_pieces(occurrences: Sequence[Occurrence]) -> Iterator[str]:
    """Of one form of a word: that others are cut otherwise is no surprise."""
    forms: dict[str, dict[tuple[str, ...], list[int]]] = {}
    for each in occurrences:
        forms.setdefault(form_of(each.matched), {}).setdefault(each.pieces, []).append(each.sentence)
    for form, cuts in forms.items():
        if len(cuts) > 1:
            rarer = sorted(cuts.items(), key=lambda item: -len(item[1]))[1:]
            named = "; ".join(f"{' + '.join(pieces)} in {sentences(numbers)}" for pieces, numbers in rarer[:3])
            yield f"{form!r} is cut in {len(cuts)} ways ({named}), which alone makes a difference"


def warnings_of(occurrences: Sequence[Occurrence], states: Sequence[State], *, causal: bool) -> Iterator[str]:
    """What the run itself has shown."""
    first = [each.sentence for each in occurrences if 0 in each.positions]
    if causal and first:
        yield (
            f"{sentences(first)}: the word is the first token, whose state is unlike any other in a model that reads "
            "from left to right"
        )
    ruled = [text for state in states if state.chosen for text in _ruled(state, occurrences)]
    yield from ruled


def _ruled(state: State, occurrences: Sequence[Occurrence]) -> Iterator[str]:
    from attncli.embeddings.describe import ruling_dimensions

    if state.vectors is None:
        return
    own = [row for row, each in enumerate(occurrences) if each.word == occurrences[0].word]
    ruling = ruling_dimensions(state.vectors[own])
    if ruling:
        share = round(100 * sum(dimension.share for dimension in ruling))
        named = " and ".join(str(dimension.dimension) for dimension in ruling)
        some = "dimension" if len(ruling) == 1 else "dimensions"
        makes = "makes" if len(ruling) == 1 else "make"
        yield (
            f"state {state.state}: {some} {named} alone {makes} {share} % of the mean cosine; "
            "--adjust standardize evens dimensions out"
        )


def notes_before(found: Found, *, causal: bool, padded: bool, decoding: bool) -> Iterator[str]:
    """How the input was taken."""
    if found.several:
        yield (
            f"{sentences(found.several)}: the word stands there more than once, and the first was taken; "
            "--occurrence or [brackets] choose another"
        )
    occurrences = found.occurrences
    labels = [each.label for each in occurrences if each.word == occurrences[0].word]
    if None in labels and any(labels):
        without = sum(label is None for label in labels)
        yield f"{without:,} of {len(labels):,} occurrences have no label, and no part in what is said of labels"
    if causal:
        yield "this model reads from left to right: what follows the word can't change its states"
    if decoding:
        yield "the decoder was given the sentence behind its start token, as when it is to write it"
    if not padded:
        yield "this model mixes sentences of a batch or their padding, so that each runs alone"
