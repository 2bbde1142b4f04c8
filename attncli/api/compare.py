"""`attncli.compare`: how much the vectors of a word differ from sentence to sentence.

The word is found in the sentences (`occurrences`), a reference sample is run or read from the cache
(`reference_states`), then the sentences are run and their vectors compared state by state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.api.loading import ModelLoader, provenance
from attncli.api.occurrences import (
    ALL_OCCURRENCES,
    EncodedSentence,
    FoundOccurrences,
    WordQuery,
    beyond_limit,
    find_occurrences,
    input_notes,
    input_warnings,
    list_numbers,
    read_sentences,
    run_warnings,
)
from attncli.api.reference_states import (
    ReferenceSample,
    ReferenceStatistics,
    parse_reference_sample,
    reference_statistics,
)
from attncli.choices import ADJUSTMENTS, POOLS
from attncli.embeddings.state_selection import StateSelection, StateSpec, parse_states, text_stack
from attncli.errors import UsageError
from attncli.models.loading.plain_torch import plain_torch
from attncli.progress import Progress, silent
from attncli.quantities import check_number

if TYPE_CHECKING:
    from attncli.embeddings.batches import ModelTraits, SentenceWords, StackRun
    from attncli.embeddings.describe import OccurrenceRows, StateAccumulator, StatesRequest
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.compare import CompareResult, Occurrence, State


@plain_torch()
def compare(
    word: str,
    sentences: Iterable[str | tuple[str, str | None]],
    *,
    model: Any = None,
    tokenizer: Any = None,
    versus: str | Sequence[str] = (),
    occurrence: int | str | None = None,
    any_form: bool = False,
    skip: bool = False,
    state: StateSpec = None,
    stack: str | None = None,
    pool: str = "mean",
    adjust: str = "none",
    reference: Iterable[str] | None = None,
    dimensions: int | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    refresh: bool = False,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    progress: Progress = silent,
) -> CompareResult:
    """Compare the vectors of a word in several sentences with each other, state by state.

    sentences: texts, each perhaps followed by a tab and a sense label, or pairs of text and label. `[Brackets]` around
    the word choose one of several.
    versus: further words.  occurrence: which of several in a sentence (from 1, or `"all"`).
    any_form: also match other case and regular inflections.  skip: leave out sentences without the word, or with the
    word beyond the tokens that the model takes, instead of an error.
    state: `"0-6"`, `[0, 5]`, `-1`, `"all"` (0 is the embedding layer's output); None is the last. The result also
    summarizes the states before it.
    pool: how the vectors of a word's tokens become one: `mean`, `first`, `last`.
    adjust: `none`, `baseline`, `standardize` or `abtt`, with statistics of `reference` (sentences; None: those of the
    package; an empty list: none).  dimensions: list so many that contribute most to the cosine.
    stack: `encoder` or `decoder`.  seed: for random pairs and permuted labels.
    model: a hub name, a path, or a loaded `transformers.PreTrainedModel` (then pass `tokenizer`); None is
    all-MiniLM-L6-v2.

        >>> result = attncli.compare("mole", ["American shrew mole", "One mole of carbon dioxide"], model="gpt2")
        >>> result.states[-1].similarity[0, 1]
        0.98

    Raises UsageError for a word that isn't found and for invalid options, ModelError for a model that can't be loaded,
    FailedError where memory runs out.
    """
    choice = parse_states(state, stack)
    settings = _CompareSettings(choice, pool, adjust, dimensions, seed, skip)
    sample = parse_reference_sample(reference)
    _check_settings(settings, sample, occurrence)
    words = _parse_words(word, versus)
    loader = ModelLoader(model, tokenizer, revision, refresh, trust_remote_code, allow_pickle, device, dtype, progress)
    files = loader.files()
    # The word is looked for before torch is imported, so that its errors show at once.
    loaded_tokenizer = loader.open_tokenizer(files)
    found = _find_in_sentences(sentences, loaded_tokenizer, WordQuery(words, any_form, occurrence), settings, progress)
    loaded = loader.load(files, choice.depth, eager=False)
    return _Comparison(settings, words, sample, loader, files, loaded_tokenizer).compare(loaded, found)


class _CompareSettings(NamedTuple):
    """How the vectors of the words are computed and compared."""

    choice: StateSelection
    pool: str
    adjust: str
    dimensions: int | None
    seed: int
    skip: bool


def _check_settings(settings: _CompareSettings, sample: ReferenceSample | None, occurrence: int | str | None) -> None:
    if settings.pool not in POOLS:
        raise UsageError(f"no pooling {settings.pool!r}", hint=f"--pool takes one of: {', '.join(POOLS)}")
    if settings.adjust not in ADJUSTMENTS:
        raise UsageError(f"no adjustment {settings.adjust!r}", hint=f"--adjust takes one of: {', '.join(ADJUSTMENTS)}")
    if sample is None and settings.adjust != "none":
        raise UsageError(f"--adjust {settings.adjust} needs a reference sample", hint="leave --reference none out")
    if occurrence not in (None, ALL_OCCURRENCES) and not (isinstance(occurrence, int) and occurrence >= 1):
        raise UsageError(f"no occurrence {occurrence!r}", hint="--occurrence takes a number from 1, or all")
    if settings.dimensions is not None:
        check_number("--dimensions", settings.dimensions, instance=3)
    check_number("--seed", settings.seed, least=0, instance=1)


def _parse_words(word: object, versus: object) -> tuple[str, ...]:
    """The word and those to compare it with. Raises UsageError for anything but strings."""
    if not isinstance(word, str):
        raise UsageError(f"{word!r:.40} is no word", hint="give one string; further words go to versus=")
    others = (versus,) if isinstance(versus, str) else versus
    if not isinstance(others, Sequence) or not all(isinstance(other, str) for other in others):
        raise UsageError("versus= takes words", hint="give a string, or a list of them")
    return (word, *others)


def _find_in_sentences(
    sentences: Iterable[str | tuple[str, str | None]],
    tokenizer: Tokenizer,
    query: WordQuery,
    settings: _CompareSettings,
    progress: Progress,
) -> FoundOccurrences:
    """All occurrences. Raises UsageError where a sentence can't be used, or too few are left."""
    if isinstance(sentences, str | bytes) or not isinstance(sentences, Iterable):
        raise UsageError("sentences are a list of texts", hint="pass a list, even of one")
    read = list(read_sentences(sentences))
    if not read:
        raise UsageError("no sentence was given", hint="give sentences after the word, or a file with -f")
    return _check_enough(find_occurrences(read, tokenizer, query, progress), query, skip=settings.skip)


def _check_enough(found: FoundOccurrences, query: WordQuery, *, skip: bool) -> FoundOccurrences:
    if found.problems and (not skip or not found.sentences):
        first, *others = found.problems
        more = f" (and so for {list_numbers([problem.number for problem in others])})" if others else ""
        raise UsageError(f"{first.message}{more}", hint=first.hint)
    if len(found.occurrences) < 2:
        raise UsageError(
            f"{query.words[0]!r} was found once, and a comparison takes two", hint="give one more sentence with it"
        )
    missing = [word for word in query.words if not any(each.word == word for each in found.occurrences)]
    if missing:
        raise UsageError(f"no sentence has {missing[0]!r}", hint="give one that has it; --any-form takes other forms")
    return found


class _Comparison(NamedTuple):
    """A comparison with everything that is known before the model is loaded."""

    settings: _CompareSettings
    words: tuple[str, ...]
    sample: ReferenceSample | None
    loader: ModelLoader
    files: ModelFiles | None
    tokenizer: Tokenizer

    def compare(self, loaded: LoadedModel, found: FoundOccurrences) -> CompareResult:
        from attncli.embeddings.batches import StackRun, detect_traits
        from attncli.embeddings.describe import describe_states

        found = self._truncate_to_model(found, loaded)
        run = StackRun(loaded, text_stack(loaded, self.settings.choice.stack), self.settings.pool)
        count = loaded.layer_count(run.stack.path) + 1
        chosen = self.settings.choice.resolve(count)
        traits = detect_traits(run, max((sentence.ids for sentence in found.sentences), key=len))
        run = run._replace(padded=traits.padded)
        reference = self._reference_statistics(run, traits, max(chosen) + 1)
        rows = _rows(found.occurrences, self.words)
        accumulator = self._accumulator(rows, chosen, reference)
        self._run_sentences(run, found, accumulator)
        states = describe_states(accumulator, rows, self.words, self._states_request())
        return self._result(run, found, states, reference, traits, count)

    def _truncate_to_model(self, found: FoundOccurrences, loaded: LoadedModel) -> FoundOccurrences:
        """Sentences truncated to the model's limit, as its tokenizer may not know it, with a problem for each in which
        the word lies beyond that limit."""
        limit = loaded.max_positions
        largest = loaded.vocabulary_size
        if largest is not None and any(token >= largest for sentence in found.sentences for token in sentence.ids):
            raise UsageError("the tokenizer has ids that the model hasn't", hint="name a tokenizer of this model")
        if limit is None or all(len(sentence.ids) <= limit for sentence in found.sentences):
            return found
        fitting, problems = [], list(found.problems)
        for sentence in found.sentences:
            if max(place for each in sentence.occurrences for place in each.positions) >= limit:
                problems.append(beyond_limit(sentence.number, limit))
            else:
                long = len(sentence.ids) > limit
                fitting.append(sentence._replace(ids=sentence.ids[:limit], cut=sentence.cut or long))
        remaining = found._replace(sentences=tuple(fitting), problems=tuple(problems))
        return _check_enough(remaining, WordQuery(self.words), skip=self.settings.skip)

    def _reference_statistics(self, run: StackRun, traits: ModelTraits, states: int) -> ReferenceStatistics | None:
        if self.sample is None:
            return None
        return reference_statistics(
            run,
            self.sample,
            traits,
            files=self.files,
            tokenizer=self.tokenizer,
            states=states,
            allow_pickle=self.loader.allow_pickle,
            progress=self.loader.progress,
        )

    def _accumulator(
        self, rows: OccurrenceRows, chosen: Sequence[int], reference: ReferenceStatistics | None
    ) -> StateAccumulator:
        from attncli.embeddings.describe import StateAccumulator

        statistics = reference.states if reference else {}
        references = {state: each.reference(self.settings.adjust) for state, each in statistics.items()}
        return StateAccumulator(rows.codes[0], frozenset(chosen), max(chosen), references)

    def _run_sentences(self, run: StackRun, found: FoundOccurrences, accumulator: StateAccumulator) -> None:
        from attncli.embeddings.batches import run_sentences

        total = len(found.occurrences)
        sentences = list(_number_occurrences(found.sentences))
        run_sentences(
            run, sentences, accumulator.add, lambda done: self.loader.progress("reading sentences", done, total)
        )

    def _states_request(self) -> StatesRequest:
        from attncli.embeddings.describe import StatesRequest

        return StatesRequest(self.settings.adjust, self.settings.dimensions, self.settings.seed)

    def _result(
        self,
        run: StackRun,
        found: FoundOccurrences,
        states: tuple[State, ...],
        reference: ReferenceStatistics | None,
        traits: ModelTraits,
        count: int,
    ) -> CompareResult:
        from attncli.results.compare import CompareResult

        loaded = run.model
        several = loaded.is_encoder_decoder
        stack = str(run.stack.word) if several else "decoder" if traits.causal else "encoder"
        if not several:
            self.settings.choice.check_stack(stack)
        versions = provenance(
            "tokenizers", "transformers", "torch", model_class=loaded.class_name, revision=loaded.revision
        )
        return CompareResult(
            model=loaded.name,
            device=str(loaded.device),
            dtype=loaded.dtype,
            stack=stack,
            words=self.words,
            occurrences=found.occurrences,
            states=states,
            state_count=count,
            adjust=self.settings.adjust,
            pool=self.settings.pool,
            sample=reference and reference.info,
            made_by=versions,
            causal=traits.causal,
            best=_best_state(states),
            left_out=tuple(problem.number for problem in found.problems),
            warnings=(
                *loaded.warnings,
                *input_warnings(found, self.tokenizer),
                *run_warnings(found.occurrences, states, causal=traits.causal),
                *(reference.warnings(self.settings.adjust) if reference else ()),
            ),
            notes=tuple(input_notes(found, causal=traits.causal, padded=traits.padded, decoding=run.decoding)),
        )


def _rows(occurrences: Sequence[Occurrence], words: Sequence[str]) -> OccurrenceRows:
    from attncli.embeddings.describe import OccurrenceRows

    return OccurrenceRows(
        tuple(words.index(each.word) for each in occurrences),
        tuple(each.label for each in occurrences),
        tuple((each.text, each.start) for each in occurrences),
    )


def _number_occurrences(sentences: Sequence[EncodedSentence]) -> Iterator[SentenceWords]:
    """The ids of each sentence, with its occurrences numbered through all sentences."""
    from attncli.embeddings.batches import SentenceWords

    row = 0
    for sentence in sentences:
        rows = tuple((row + index, each.positions) for index, each in enumerate(sentence.occurrences))
        yield SentenceWords(sentence.ids, rows)
        row += len(rows)


def _best_state(states: Sequence[State]) -> int | None:
    """The state that separates the labels best; the first of equal ones."""
    separations = [(state.separation, -state.state) for state in states if state.separation is not None]
    return -max(separations)[1] if separations else None
