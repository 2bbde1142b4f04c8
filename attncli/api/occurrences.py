"""Find the occurrences of words in sentences, in characters and in tokens; the warnings and notes of a comparison.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from attncli.embeddings.reading import Reading, ReadText
from attncli.embeddings.text_matching import (
    Span,
    WordPattern,
    find_word,
    normalize_text,
    remove_brackets,
    similar_words,
)
from attncli.errors import UsageError
from attncli.progress import Progress, silent
from attncli.results.compare import Occurrence
from attncli.results.tokens import Token
from attncli.tokens.encode import encode

if TYPE_CHECKING:
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.compare import State

#: The value of `occurrence=` for every occurrence.
ALL_OCCURRENCES = "all"
_MOST_LISTED = 5


# --- Finding words in sentences


class Sentence(NamedTuple):
    """A sentence with its number, from 1, its sense label, and its group."""

    number: int
    text: str
    label: str | None = None
    group: str | None = None


class WordQuery(NamedTuple):
    """The words to find, which occurrence of each to take (a number from 1, `all`, or None for the first), and how they
    are read."""

    words: tuple[str, ...]
    any_form: bool = False
    occurrence: int | str | None = None
    reading: Reading = Reading()


class EncodedSentence(NamedTuple):
    """The ids of a sentence, or of the text that it is read in, and the occurrences in it, with their positions.

    cut: whether it was truncated.
    """

    number: int
    ids: tuple[int, ...]
    occurrences: tuple[Occurrence, ...]
    cut: bool = False


class SentenceProblem(NamedTuple):
    """Why a sentence can't be used, with a hint."""

    number: int
    message: str
    hint: str


class FoundOccurrences(NamedTuple):
    """The occurrences in all sentences. ambiguous: numbers of sentences with several, of which the first was taken."""

    sentences: tuple[EncodedSentence, ...]
    problems: tuple[SentenceProblem, ...]
    ambiguous: tuple[int, ...]

    @property
    def occurrences(self) -> tuple[Occurrence, ...]:
        return tuple(occurrence for sentence in self.sentences for occurrence in sentence.occurrences)


class _WordSpan(NamedTuple):
    word: str
    span: Span


def read_sentences(given: Iterable[object] | Mapping[str, Iterable[object]]) -> Iterator[Sentence]:
    """Sentences from texts, texts with a tab and a label, or pairs of text and label; empty ones are left out.

    A mapping has groups of them by name. Numbers count through all groups. Raises UsageError for anything else.
    """
    numbers = count(1)
    for group, sentences in given.items() if isinstance(given, Mapping) else [(None, given)]:
        if isinstance(sentences, str | bytes) or not isinstance(sentences, Iterable):
            raise UsageError("the sentences have to be a list of texts", hint="pass a list, even for one sentence")
        for each, number in zip(sentences, numbers, strict=False):
            text, label = _text_and_label(each, number)
            if text.strip():
                yield Sentence(number, text, label.strip() if label and label.strip() else None, group)


def _text_and_label(given: object, number: int) -> tuple[str, str | None]:
    if not isinstance(given, str):
        match given:
            case [str() as text, (str() | None) as label]:
                return text, label
        raise UsageError(f"sentence {number} is not a text", hint="give strings, or pairs of a string and a label")
    text, *labels = given.split("\t")
    if len(labels) > 1:
        raise UsageError(
            f"sentence {number} contains {len(labels)} tabs", hint="write the sentence, one tab, and the label"
        )
    return text, labels[0] if labels else None


def find_occurrences(
    sentences: Sequence[Sentence], tokenizer: Tokenizer, query: WordQuery, progress: Progress = silent
) -> FoundOccurrences:
    """Find the words in every sentence, and the tokens that cover them.

    Raises UsageError for an empty word and for a text with a lone surrogate.
    """
    if any(not word.strip() for word in query.words):
        raise UsageError("the word is empty", hint="give the word first, then the sentences")
    encoded: list[EncodedSentence] = []
    problems: list[SentenceProblem] = []
    ambiguous: list[int] = []
    # Only the occurrences within a single sentence can be compared with each other, so all are taken.
    if query.occurrence is None and len(sentences) == 1:
        query = query._replace(occurrence=ALL_OCCURRENCES)
    for done, sentence in enumerate(sentences):
        progress("finding the word", done, len(sentences))
        result, more = _search_sentence(sentence, tokenizer, query)
        if more:
            ambiguous.append(sentence.number)
        if isinstance(result, SentenceProblem):
            problems.append(result)
        else:
            encoded += result
    return FoundOccurrences(tuple(encoded), tuple(problems), tuple(ambiguous))


def _search_sentence(
    sentence: Sentence, tokenizer: Tokenizer, query: WordQuery
) -> tuple[list[EncodedSentence] | SentenceProblem, bool]:
    """The occurrences in one sentence, or why it has none; and whether further ones were left out without a choice."""
    marked = remove_brackets(sentence.text, query.words)
    clean = sentence._replace(text=marked.text)
    chosen = [_WordSpan(query.words[number], span) for number, span in marked.marks]
    if chosen:
        return _encode_sentence(clean, chosen, tokenizer, query.reading), False
    found = [
        _WordSpan(word, span)
        for word in query.words
        for span in find_word(clean.text, WordPattern(word, query.any_form))
    ]
    chosen = list(_select_occurrences(found, query))
    if not chosen:
        return _missing_problem(clean, found, query), False
    encoded = _encode_sentence(clean, chosen, tokenizer, query.reading)
    return encoded, query.occurrence is None and len(found) > len(chosen)


def _select_occurrences(found: Sequence[_WordSpan], query: WordQuery) -> Iterator[_WordSpan]:
    for word in query.words:
        places = [place for place in found if place.word == word]
        if query.occurrence == ALL_OCCURRENCES:
            yield from places
        else:
            number = int(query.occurrence or 1)
            yield from places[number - 1 : number]


def _missing_problem(sentence: Sentence, found: Sequence[_WordSpan], query: WordQuery) -> SentenceProblem:
    number, named = sentence.number, " or ".join(repr(word) for word in query.words)
    if found:
        count = len(found)
        return SentenceProblem(
            number,
            f"sentence {number} contains {named} {count} time{'s' if count > 1 else ''}, so there is no "
            f"occurrence {query.occurrence}",
            f"--occurrence can be 1 to {count}, or all" if count > 1 else "--skip skips such sentences",
        )
    near = list(dict.fromkeys(form for word in query.words for form in similar_words(sentence.text, word)))
    return SentenceProblem(number, f"sentence {number} doesn't contain {named}", _near_hint(near, query))


def _near_hint(near: Sequence[str], query: WordQuery) -> str:
    if not near:
        return "write the word exactly as in the sentence; --skip skips such sentences"
    listed = " and ".join(repr(form) for form in near)
    forms = {form for form in near for word in query.words if find_word(form, WordPattern(word, any_form=True))}
    if forms and not query.any_form:
        return f"it contains {listed}: --any-form also finds {'both' if len(forms) == 2 == len(near) else min(forms)}"
    return f"it contains {listed}; --skip skips such sentences"


def _encode_sentence(
    sentence: Sentence, places: Sequence[_WordSpan], tokenizer: Tokenizer, reading: Reading
) -> list[EncodedSentence] | SentenceProblem:
    """The sentence with its occurrences; in a template a text of its own for each of them."""
    encoded, left = [], list(places)
    for read in reading.texts(sentence.text, [place.span for place in places]):
        own, left = left[: len(read.spans)], left[len(read.spans) :]
        result = _encode_text(read, own, sentence, tokenizer, reading)
        if isinstance(result, SentenceProblem):
            return result
        encoded.append(result)
    return encoded


def _encode_text(
    read: ReadText, places: Sequence[_WordSpan], sentence: Sentence, tokenizer: Tokenizer, reading: Reading
) -> EncodedSentence | SentenceProblem:
    tokens = encode(tokenizer, read.text).tokens
    pieces_by_place = read_tokens(tokens, read)
    limit = tokenizer.max_length
    cut = limit is not None and len(tokens) > limit
    if cut:
        truncated = encode(tokenizer, read.text, truncate=True).tokens
        sizes = [len(pieces) for pieces in pieces_by_place]
        pieces_by_place = read_tokens(truncated, read)
        # The last token of a truncated template is not its own.
        if reading.template is not None or [len(pieces) for pieces in pieces_by_place] != sizes:
            assert limit is not None
            return beyond_limit(sentence.number, limit, reading)
        tokens = truncated
    if not all(pieces_by_place):
        hint = "this tokenizer drops the word; use another model (-m)"
        return SentenceProblem(sentence.number, f"sentence {sentence.number}: the word has no token", hint)
    occurrences = tuple(
        Occurrence(
            sentence=sentence.number,
            word=word,
            text=sentence.text,
            start=start,
            end=end,
            matched=sentence.text[start:end],
            pieces=tuple(token.token for token in pieces),
            positions=tuple(token.index for token in pieces),
            label=sentence.label,
            group=sentence.group,
        )
        for (word, (start, end)), pieces in zip(places, pieces_by_place, strict=True)
    )
    return EncodedSentence(sentence.number, tuple(token.id for token in tokens), occurrences, cut)


def beyond_limit(number: int, limit: int, reading: Reading) -> SentenceProblem:
    """The problem of a word that lies beyond the tokens that the model takes."""
    where = "in its template is longer than" if reading.template else "the word lies beyond"
    shorter = "the sentence" if reading.whole else "the text before it"
    colon = "" if reading.template else ":"
    return SentenceProblem(
        number,
        f"sentence {number}{colon} {where} the model's limit of {limit:,} tokens",
        f"shorten {shorter}; --skip skips such sentences",
    )


def read_tokens(tokens: Sequence[Token], read: ReadText) -> list[list[Token]]:
    """The tokens whose vectors are read for each word of a text."""
    last = [token for token in tokens if not token.special][-1:]
    return [last if span is None else tokens_in_span(tokens, span, read.text) for span in read.spans]


def tokens_in_span(tokens: Sequence[Token], span: Span, text: str) -> list[Token]:
    """The tokens that overlap a span of characters, without those of white space only (a lone `▁`)."""
    start, end = span
    inside = [
        token
        for token in tokens
        if not token.special and token.start is not None and token.end is not None
        if token.start < end and token.end > start
    ]
    return [token for token in inside if token.text.strip()] or inside


# --- Warnings and notes


def input_warnings(found: FoundOccurrences, tokenizer: Tokenizer) -> Iterator[str]:
    """Warnings about the sentences and their tokens."""
    if found.problems:
        numbers = [problem.number for problem in found.problems]
        were = "were" if len(numbers) > 1 else "was"
        yield f"{_list_sentences(numbers)} {were} skipped: {found.problems[0].message}"
    cut = [sentence.number for sentence in found.sentences if sentence.cut]
    if cut:
        yield f"{_list_sentences(cut)} {'were' if len(cut) > 1 else 'was'} truncated to the model's limit"
    others = [each for each in found.occurrences if _normalized(each.matched) != _normalized(each.word)]
    if others:
        forms = [repr(form) for form in dict.fromkeys(each.matched for each in others)]
        named = " and ".join(forms) if len(forms) < 4 else f"{', '.join(forms[:3])} and {len(forms) - 3} more"
        were = "were" if len(forms) > 1 else "was"
        yield f"{_list_sentences([each.sentence for each in others])}: {named} {were} taken as the word"
    yield from _split_warnings(found.occurrences)
    unknown_ids = [] if tokenizer.unknown_id is None else [tokenizer.unknown_id]
    pieces = {piece.token for piece in tokenizer.describe(unknown_ids) if piece is not None}
    unknown = [each.sentence for each in found.occurrences if not pieces.isdisjoint(each.pieces)]
    if unknown:
        where = _list_sentences(unknown)
        yield f"{where}: the word became the unknown token, so its vector is that of any unknown word"


def _split_warnings(occurrences: Sequence[Occurrence]) -> Iterator[str]:
    """Warnings where the same form of a word is split into different tokens; different forms may well be."""
    forms: dict[str, dict[tuple[str, ...], list[int]]] = {}
    for each in occurrences:
        forms.setdefault(_normalized(each.matched), {}).setdefault(each.pieces, []).append(each.sentence)
    for form, cuts in forms.items():
        if len(cuts) > 1:
            rarer = sorted(cuts.items(), key=lambda item: -len(item[1]))[1:]
            named = "; ".join(f"{' + '.join(pieces)} in {_list_sentences(numbers)}" for pieces, numbers in rarer[:3])
            yield (
                f"{form!r} is split into tokens in {len(cuts)} different ways ({named}), which by itself changes "
                "the vectors"
            )


def run_warnings(occurrences: Sequence[Occurrence], states: Sequence[State], *, causal: bool) -> Iterator[str]:
    """Warnings about the states that the run computed."""
    first = [each.sentence for each in occurrences if 0 in each.positions]
    if causal and first:
        yield (
            f"{_list_sentences(first)}: the word is the first token, whose state in a causal model is very "
            "different from all others"
        )
    for state in states:
        if state.chosen:
            yield from _dominant_dimension_warnings(state, occurrences)


def _dominant_dimension_warnings(state: State, occurrences: Sequence[Occurrence]) -> Iterator[str]:
    from attncli.embeddings.describe import dominant_dimensions

    if state.vectors is None:
        return
    own = [row for row, each in enumerate(occurrences) if each.word == occurrences[0].word]
    ruling = dominant_dimensions(state.vectors[own])
    if ruling:
        share = round(100 * sum(dimension.share for dimension in ruling))
        named = " and ".join(str(dimension.dimension) for dimension in ruling)
        some = "dimension" if len(ruling) == 1 else "dimensions"
        makes = "accounts for" if len(ruling) == 1 else "account for"
        yield (
            f"state {state.state}: {some} {named} {makes} {share} % of the mean cosine; "
            "--adjust standardize gives all dimensions the same weight"
        )


def shared_prefixes(sentences: Sequence[EncodedSentence]) -> tuple[tuple[int, ...], ...]:
    """Occurrences, by index, whose tokens are the same up to the word's last, in sentences that aren't the same.

    A causal model gives them equal vectors.
    """
    alike: dict[tuple[int, ...], list[int]] = {}
    occurrences = [(each, sentence.ids) for sentence in sentences for each in sentence.occurrences]
    for index, (each, ids) in enumerate(occurrences):
        alike.setdefault((*ids[: each.positions[-1] + 1], -1, *each.positions), []).append(index)
    return tuple(tuple(members) for members in alike.values() if len({occurrences[index][1] for index in members}) > 1)


def input_notes(found: FoundOccurrences, *, causal: bool, padded: bool, decoding: bool) -> Iterator[str]:
    """Notes on how the input was interpreted."""
    if found.ambiguous:
        yield (
            f"{_list_sentences(found.ambiguous)}: the word occurs more than once, and the first occurrence was taken; "
            "choose another with --occurrence or [brackets]"
        )
    occurrences = found.occurrences
    labels = [each.label for each in occurrences if each.word == occurrences[0].word]
    if None in labels and any(labels):
        without = sum(label is None for label in labels)
        yield f"{without:,} of {len(labels):,} occurrences have no label and are left out of the comparison of labels"
    if causal:
        yield (
            "this model is causal: text after the word can't change its states; --echo and --template read the word "
            "after the whole sentence"
        )
    if decoding:
        yield "the decoder's input was the start token and the sentence"
    if not padded:
        yield "this model would mix the sentences of a batch, so they were run one by one"


def _normalized(text: str) -> str:
    """The word with plain apostrophes and single spaces; case and inflection stay (`Mole` differs from `mole`)."""
    return " ".join(normalize_text(text).text.split())


def list_numbers(numbers: Sequence[int]) -> str:
    """Sentence numbers as text: `3`, `3, 4 and 7`, or the first few and how many more."""
    distinct = list(dict.fromkeys(numbers))
    if len(distinct) > _MOST_LISTED:
        return f"{', '.join(map(str, distinct[:_MOST_LISTED]))} and {len(distinct) - _MOST_LISTED:,} more"
    *first, last = map(str, distinct)
    return f"{', '.join(first)} and {last}" if first else last


def _list_sentences(numbers: Sequence[int]) -> str:
    return f"sentence{'s' if len(set(numbers)) > 1 else ''} {list_numbers(numbers)}"
