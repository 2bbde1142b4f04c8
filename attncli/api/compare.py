"""`attncli.compare`: how much the vectors of a word differ from sentence to sentence.

The word is found in the sentences (`occurrences`), a reference sample is run or read from the cache, then the
sentences are run and their vectors compared state by state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.api.loading import ModelLoader, model_limits, provenance
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
    read_tokens,
    run_warnings,
    shared_prefixes,
)
from attncli.api.requests import CompareRequest, LoadingRequest, RunningRequest
from attncli.choices import ADJUSTMENTS, POOLS
from attncli.embeddings.reading import Reading, parse_reading
from attncli.embeddings.reference_sample import MIN_WORDS, sample_spans, shipped_sentences
from attncli.embeddings.state_selection import StateSelection, StateSpec, parse_states, text_stack
from attncli.errors import UsageError
from attncli.models.loading.plain_torch import plain_torch
from attncli.progress import Progress, silent
from attncli.quantities import check_number
from attncli.results.compare import CompareResult, SampleInfo, State
from attncli.tokens.encode import encode

if TYPE_CHECKING:
    from attncli.embeddings.batches import ModelTraits, SentenceWords, StackRun
    from attncli.embeddings.reference_sample import SampleStatistics
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer

#: With fewer words, the standard deviation of each dimension is mostly noise.
_FEW_WORDS = 100


def compare(
    word: str,
    sentences: Iterable[str | tuple[str, str | None]] | Mapping[str, Iterable[str | tuple[str, str | None]]],
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
    echo: bool = False,
    template: str | None = None,
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

    sentences: texts, each optionally followed by a tab and a label, or pairs of text and label. `[Brackets]` around the
    word choose an occurrence where a sentence has several. A mapping of names to such lists compares these groups.
    versus: other words to compare with.  occurrence: which one, where a sentence has several (from 1, or `"all"`).
    any_form: also match other case and regular inflections.  skip: skip sentences without the word, or with the word
    beyond the model's limit, instead of an error.
    state: `"0-6"`, `[0, 5]`, `-1`, `"all"` (0 is the embedding layer's output); None is the last. The result also
    summarizes the states before it.
    pool: how the vectors of a word's tokens become one: `mean`, `first`, `last`.
    echo: give each sentence twice, and read the word in the second copy.  template: a text with `{sentence}` and
    `{word}` that is read at its last token. Both are for causal models, in which a word can't know what follows it.
    adjust: `none`, `baseline`, `standardize` or `abtt`, with statistics of `reference` (sentences; None: those of the
    package; an empty list: none).  dimensions: list so many that contribute most to the cosine.
    stack: `encoder` or `decoder`.  seed: for random pairs and permuted labels.
    model: a hub name, a path, `file.py:function` of your own, or a loaded `nn.Module`, of transformers or your own
    (then pass `tokenizer`, or the name of a model that has one); None is all-MiniLM-L6-v2.

        >>> result = attncli.compare("mole", ["American shrew mole", "One mole of carbon dioxide"], model="gpt2")
        >>> result.states[-1].similarity[0, 1]
        0.98

    Raises UsageError for a word that isn't found and for invalid options, ModelError for a model that can't be loaded,
    FailedError where memory runs out.
    """
    request = CompareRequest(
        versus, occurrence, any_form, skip, state, stack, pool, echo, template, adjust, reference, dimensions, seed,
        word, sentences,
    )  # fmt: skip
    loading = LoadingRequest(revision, refresh, trust_remote_code, allow_pickle)
    return run_compare(request, ModelLoader(model, tokenizer, loading, RunningRequest(device, dtype), progress))


@plain_torch()
def run_compare(request: CompareRequest, loader: ModelLoader) -> CompareResult:
    """As `compare`, from whole requests."""
    choice = parse_states(request.state, request.stack)
    sample = parse_reference_sample(request.reference)
    _check_request(request, sample)
    reading = parse_reading(echo=request.echo, template=request.template, pool=request.pool)
    words = _parse_words(request.word, request.versus)
    loader, _ = loader.with_own_code()
    files = loader.files()
    model_limits(files).check_states(choice)
    # The word is looked for before torch is imported, so that its errors show at once.
    tokenizer = loader.open_tokenizer(files)
    query = WordQuery(words, request.any_form, request.occurrence, reading)
    found = _find_in_sentences(request.sentences, tokenizer, query, loader.progress, skip=request.skip)
    loaded = loader.load(files, choice.depth, eager=False)
    return _Comparison(request, choice, query, sample, loader, files, tokenizer).compare(loaded, found)


def _check_request(request: CompareRequest, sample: ReferenceSample | None) -> None:
    pool, adjust, occurrence = request.pool, request.adjust, request.occurrence
    if pool not in POOLS:
        raise UsageError(f"--pool can't be {pool!r}", hint=f"it has to be one of {', '.join(POOLS)}")
    if adjust not in ADJUSTMENTS:
        raise UsageError(f"--adjust can't be {adjust!r}", hint=f"it has to be one of {', '.join(ADJUSTMENTS)}")
    if sample is None and adjust != "none":
        raise UsageError(f"--adjust {adjust} needs a reference sample", hint="leave --reference none or --adjust out")
    if occurrence not in (None, ALL_OCCURRENCES) and not (isinstance(occurrence, int) and occurrence >= 1):
        raise UsageError(f"--occurrence can't be {occurrence!r}", hint="it has to be a number of at least 1, or all")
    if request.dimensions is not None:
        check_number("--dimensions", request.dimensions, instance=3)
    check_number("--seed", request.seed, least=0, instance=1)


def _parse_words(word: object, versus: object) -> tuple[str, ...]:
    """The word and those to compare it with. Raises UsageError for anything but strings."""
    if not isinstance(word, str):
        raise UsageError(f"{word!r:.40} is not a word", hint="give one string; pass other words as versus=")
    others = (versus,) if isinstance(versus, str) else versus
    if not isinstance(others, Sequence) or not all(isinstance(other, str) for other in others):
        raise UsageError("versus= has to be a word or a list of words", hint="give a string, or a list of strings")
    return (word, *others)


def _find_in_sentences(
    sentences: Any, tokenizer: Tokenizer, query: WordQuery, progress: Progress, *, skip: bool
) -> FoundOccurrences:
    """All occurrences. Raises UsageError where a sentence can't be used, or too few are left."""
    read = list(read_sentences(sentences))
    if not read:
        raise UsageError("there are no sentences", hint="write them after the word, or give a file with -f FILE")
    found = _check_enough(find_occurrences(read, tokenizer, query, progress), query, skip=skip)
    _check_groups(sentences, found, query.words[0])
    return found


def _check_groups(sentences: object, found: FoundOccurrences, word: str) -> None:
    """Raise UsageError for a group without the word."""
    groups = {each.group for each in found.occurrences if each.word == word}
    for name in sentences if isinstance(sentences, Mapping) else ():
        if name not in groups:
            raise UsageError(f"{word!r} isn't in {name}", hint="each group needs an occurrence of the first word")


def _check_enough(found: FoundOccurrences, query: WordQuery, *, skip: bool) -> FoundOccurrences:
    if found.problems and (not skip or not found.sentences):
        first, *others = found.problems
        more = f" (the same in {list_numbers([problem.number for problem in others])})" if others else ""
        raise UsageError(f"{first.message}{more}", hint=first.hint)
    if len(found.occurrences) < 2:
        raise UsageError(
            f"{query.words[0]!r} was found once, and a comparison needs two occurrences",
            hint="add a sentence that contains it",
        )
    missing = [word for word in query.words if not any(each.word == word for each in found.occurrences)]
    if missing:
        raise UsageError(
            f"no sentence contains {missing[0]!r}", hint="add one that does; --any-form also finds other forms"
        )
    return found


# --- The reference sample


class ReferenceSample(NamedTuple):
    """The sentences of a reference sample. from_user: not those of the package."""

    sentences: tuple[str, ...]
    from_user: bool = False

    @property
    def source(self) -> str:
        return "your sentences" if self.from_user else "sentences that come with attncli"


class ReferenceStatistics(NamedTuple):
    """The statistics of a model's states over a reference sample, by state."""

    info: SampleInfo
    states: Mapping[int, SampleStatistics]

    def warnings(self, adjust: str) -> list[str]:
        if adjust not in ("standardize", "abtt") or self.info.words >= _FEW_WORDS:
            return []
        return [
            f"the reference sample has only {self.info.words} words: the result of --adjust {adjust} is mostly noise"
        ]


def parse_reference_sample(reference: Iterable[str] | None) -> ReferenceSample | None:
    """The sentences of the package, or the user's; None for an empty list, which means no sample."""
    if reference is None:
        return ReferenceSample(shipped_sentences())
    if isinstance(reference, str | bytes) or not isinstance(reference, Iterable):
        raise UsageError("the reference has to be a list of sentences", hint="pass a list of strings, or [] for none")
    given = list(reference)
    if not all(isinstance(line, str) for line in given):
        raise UsageError("the reference has to be a list of sentences", hint="pass a list of strings, or [] for none")
    sentences = tuple(line.split("\t")[0] for line in given if line.split("\t")[0].strip())
    if given and len(sentences) < 2:
        raise UsageError("the reference sample has fewer than 2 sentences", hint="give many sentences, one per line")
    return ReferenceSample(sentences, from_user=True) if given else None


def _run_sample(
    run: StackRun,
    sample: ReferenceSample,
    traits: ModelTraits,
    tokenizer: Tokenizer,
    reading: Reading,
    states: int,
    progress: Progress,
) -> dict[int, SampleStatistics]:
    from attncli.embeddings.reference_sample import run_sample

    sentences = encode_sample(sample.sentences, tokenizer, run.model.max_positions, reading)
    total = sum(len(sentence.rows) for sentence in sentences)
    if total < MIN_WORDS:
        raise UsageError(
            f"the reference sample has only {total} words, which is too few",
            hint="add sentences to the file of --reference",
        )
    words, found = run_sample(
        run,
        sentences,
        states,
        causal=traits.causal,
        progress=lambda done: progress("reading the reference sample", done, total),
    )
    assert words
    return found


def encode_sample(
    sentences: Sequence[str], tokenizer: Tokenizer, limit: int | None, reading: Reading
) -> list[SentenceWords]:
    """The ids of every text that the sentences are read in, with the positions of the words that are sampled, each
    with the number of its sentence."""
    from attncli.embeddings.batches import SentenceWords

    found = []
    for number, (sentence, spans) in enumerate(zip(sentences, sample_spans(sentences), strict=True)):
        for read in reading.texts(sentence, spans):
            tokens = encode(tokenizer, read.text).tokens[:limit]
            covers = read_tokens(tokens, read)
            rows = tuple((number, tuple(token.index for token in pieces)) for pieces in covers if pieces)
            if rows:
                found.append(SentenceWords(tuple(token.id for token in tokens), rows))
    return found


# --- The comparison


class _Comparison(NamedTuple):
    """A comparison with everything that is known before the model is loaded."""

    request: CompareRequest
    choice: StateSelection
    query: WordQuery
    sample: ReferenceSample | None
    loader: ModelLoader
    files: ModelFiles | None
    tokenizer: Tokenizer

    def compare(self, loaded: LoadedModel, found: FoundOccurrences) -> CompareResult:
        from attncli.embeddings.batches import StackRun, detect_traits, run_sentences
        from attncli.embeddings.describe import OccurrenceRows, StateAccumulator, StatesRequest, describe_states
        from attncli.embeddings.halvings import Halvings

        found, request, progress = self._truncate_to_model(found, loaded), self.request, self.loader.progress
        run = StackRun(loaded, text_stack(loaded, self.choice.stack), request.pool)
        count = loaded.layer_count(run.stack.path) + 1
        chosen = self.choice.resolve(count)
        traits = detect_traits(run, max((sentence.ids for sentence in found.sentences), key=len))
        run = run._replace(padded=traits.padded)
        reference = self._reference_statistics(run, traits, max(chosen) + 1)
        statistics = reference.states if reference else {}
        references = {state: each.reference(request.adjust) for state, each in statistics.items()}
        occurrences = found.occurrences
        rows = OccurrenceRows(
            tuple(self.query.words.index(each.word) for each in occurrences),
            tuple(each.label for each in occurrences),
            tuple((each.text, each.start) for each in occurrences),
            tuple(each.group for each in occurrences) if any(each.group for each in occurrences) else (),
        )
        halvings = Halvings.draw(rows.labels, rows.word_rows(0, labelled=True), request.seed)
        accumulator = StateAccumulator(rows.codes[0], frozenset(chosen), max(chosen), references, halvings)
        run_sentences(
            run,
            list(_number_occurrences(found.sentences)),
            accumulator.add,
            lambda done: progress("reading sentences", done, len(occurrences)),
        )
        how = StatesRequest(request.adjust, request.dimensions, request.seed)
        states = describe_states(accumulator, rows, self.query.words, how)
        result = self._result(run, found, states, reference, traits, count)
        return result if halvings is None else replace(result, held_out=halvings.held_out())

    def _truncate_to_model(self, found: FoundOccurrences, loaded: LoadedModel) -> FoundOccurrences:
        """Sentences truncated to the model's limit, as its tokenizer may not know it, with a problem for each in which
        the word lies beyond that limit."""
        limit = loaded.max_positions
        largest = loaded.vocabulary_size
        if largest is not None and any(token >= largest for sentence in found.sentences for token in sentence.ids):
            raise UsageError(
                "the tokenizer gives token ids that the model doesn't have", hint="use the tokenizer of this model"
            )
        if limit is None or all(len(sentence.ids) <= limit for sentence in found.sentences):
            return found
        fitting, problems = [], list(found.problems)
        for sentence in found.sentences:
            if max(place for each in sentence.occurrences for place in each.positions) >= limit:
                problems.append(beyond_limit(sentence.number, limit, self.query.reading))
            else:
                long = len(sentence.ids) > limit
                fitting.append(sentence._replace(ids=sentence.ids[:limit], cut=sentence.cut or long))
        remaining = found._replace(sentences=tuple(fitting), problems=tuple(problems))
        return _check_enough(remaining, self.query, skip=self.request.skip)

    def _reference_statistics(self, run: StackRun, traits: ModelTraits, states: int) -> ReferenceStatistics | None:
        """The statistics of the first `states` states, from the cache if all are there, else from a run.

        Nothing is cached for a loaded module, which can't be identified.
        Raises UsageError for a sample of too few words.
        """
        from attncli.embeddings.reference_sample import SampleStatistics
        from attncli.models.files.user_cache import SampleCache, sample_key

        sample = self.sample
        if sample is None:
            return None
        cache = SampleCache.default()
        how = {
            "stack": run.stack.path, "pool": run.pool, "dtype": run.model.dtype, "device": str(run.model.device.type),
            "behaviour": tuple(traits), "reading": tuple(self.query.reading),
        }  # fmt: skip
        key = self.files and sample_key(
            self.files, sentences=sample.sentences, allow_pickle=self.loader.loading.allow_pickle, **how
        )
        arrays = [cache.read(f"{key}-{state}") for state in range(states)] if key else [None]
        found = {state: SampleStatistics.from_arrays(each) for state, each in enumerate(arrays) if each is not None}
        if len(found) < len(arrays):
            found = _run_sample(run, sample, traits, self.tokenizer, self.query.reading, states, self.loader.progress)
            for state, statistics in found.items() if key else ():
                cache.write(f"{key}-{state}", statistics.to_arrays())
        first = found[min(found)]
        info = SampleInfo(sample.source, len(sample.sentences), first.words, first.pairs)
        return ReferenceStatistics(info, found)

    def _result(
        self,
        run: StackRun,
        found: FoundOccurrences,
        states: tuple[State, ...],
        reference: ReferenceStatistics | None,
        traits: ModelTraits,
        count: int,
    ) -> CompareResult:
        loaded = run.model
        several = loaded.is_encoder_decoder
        stack = str(run.stack.word) if several else "decoder" if traits.causal else "encoder"
        if not several:
            self.choice.check_stack(stack)
        separations = [(state.separation, -state.state) for state in states if state.separation is not None]
        versions = provenance(
            "tokenizers", "transformers", "torch", model_class=loaded.class_name, revision=loaded.revision
        )
        return CompareResult(
            model=loaded.name,
            device=str(loaded.device),
            dtype=loaded.dtype,
            stack=stack,
            words=self.query.words,
            occurrences=found.occurrences,
            states=states,
            state_count=count,
            adjust=self.request.adjust,
            pool=self.request.pool,
            sample=reference and reference.info,
            made_by=versions,
            causal=traits.causal,
            echo=self.request.echo,
            template=self.request.template,
            same_prefix=shared_prefixes(found.sentences) if traits.causal else (),
            # The state that separates the labels best; the first of equal ones.
            best=-max(separations)[1] if separations else None,
            left_out=tuple(problem.number for problem in found.problems),
            warnings=(
                *loaded.warnings,
                *input_warnings(found, self.tokenizer),
                *run_warnings(found.occurrences, states, causal=traits.causal),
                *(reference.warnings(self.request.adjust) if reference else ()),
            ),
            notes=tuple(
                input_notes(
                    found,
                    causal=traits.causal and not self.query.reading.whole,
                    padded=traits.padded,
                    decoding=run.decoding,
                )
            ),
        )


def _number_occurrences(sentences: Sequence[EncodedSentence]) -> Iterator[SentenceWords]:
    """The ids of each sentence, with its occurrences numbered through all sentences."""
    from attncli.embeddings.batches import SentenceWords

    row = 0
    for sentence in sentences:
        rows = tuple((row + index, each.positions) for index, each in enumerate(sentence.occurrences))
        yield SentenceWords(sentence.ids, rows)
        row += len(rows)
