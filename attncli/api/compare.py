"""`attncli.compare`: does context change the word?"""

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
from attncli.embeddings.state_selection import Spec, StateChoice, parse_states, text_stack
from attncli.errors import UsageError
from attncli.progress import Progress, silent
from attncli.quantities import check_number

if TYPE_CHECKING:
    from attncli.embeddings.accumulator import StateAccumulator
    from attncli.embeddings.batches import ModelTraits, Run
    from attncli.embeddings.describe import Rows
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.compare import CompareResult, Occurrence, State

POOLS = ("mean", "first", "last")
ADJUSTMENTS = ("none", "baseline", "standardize", "abtt")


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
    state: Spec = None,
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
    """Hold the vectors of a word in several sentences against each other, state by state.

    sentences: texts, each maybe with a tab and a sense label behind it, or pairs of text and label. `[Brackets]` around
    the word choose among several of them.
    versus: further words.  occurrence: which of several in a sentence (from 1, or `"all"`).
    any_form: other case and regular inflections, too.  skip: leave out sentences in which the word isn't found or lies
    beyond the model's reach, instead of an error.
    state: `"0-6"`, `[0, 5]`, `-1`, `"all"`; None is the last. The way there is in the result, too.
    pool: how several pieces become one vector: `mean`, `first`, `last`.
    adjust: `none`, `baseline`, `standardize` or `abtt`, from the `reference` (sentences; None: those of the package;
    an empty list: none).  dimensions: name so many that drive the cosine.  stack: `encoder` or `decoder`.
    seed: of random pairs and labels.  model: a hub name, a path, or a loaded `transformers.PreTrainedModel` (then
    `tokenizer` goes with it); None is all-MiniLM-L6-v2.

        >>> result = attncli.compare("mole", ["American shrew mole", "One mole of carbon dioxide"], model="gpt2")
        >>> result.states[-1].similarity[0, 1]
        0.98

    Raises UsageError for a word that isn't found or what else can't be, ModelError for a model that is not to be had,
    FailedError where memory runs out.
    """
    choice = parse_states(state, stack)
    how = _CompareSettings(choice, pool, adjust, dimensions, seed, skip)
    sample = parse_reference_sample(reference)
    _check_settings(how, sample, occurrence)
    words = _parse_words(word, versus)
    opening = ModelLoader(model, tokenizer, revision, refresh, trust_remote_code, allow_pickle, device, dtype, progress)
    files = opening.files()
    # The word is found before torch is imported: what is wrong with it is said at once.
    opened = opening.open_tokenizer(files)
    found = _find_in_sentences(sentences, opened, WordQuery(words, any_form, occurrence), how, progress)
    loaded = opening.load(files, choice.depth, eager=False)
    return _Comparison(how, words, sample, opening, files, opened).compare(loaded, found)


class _CompareSettings(NamedTuple):
    """How words are compared once they are found."""

    choice: StateChoice
    pool: str
    adjust: str
    dimensions: int | None
    seed: int
    skip: bool


def _check_settings(how: _CompareSettings, sample: ReferenceSample | None, occurrence: int | str | None) -> None:
    if how.pool not in POOLS:
        raise UsageError(f"no pooling {how.pool!r}", hint=f"--pool takes one of: {', '.join(POOLS)}")
    if how.adjust not in ADJUSTMENTS:
        raise UsageError(f"no adjustment {how.adjust!r}", hint=f"--adjust takes one of: {', '.join(ADJUSTMENTS)}")
    if sample is None and how.adjust != "none":
        raise UsageError(f"--adjust {how.adjust} needs a reference sample", hint="leave --reference none out")
    if occurrence not in (None, ALL_OCCURRENCES) and not (isinstance(occurrence, int) and occurrence >= 1):
        raise UsageError(f"no occurrence {occurrence!r}", hint="--occurrence takes a number from 1, or all")
    if how.dimensions is not None:
        check_number("--dimensions", how.dimensions, instance=3)
    check_number("--seed", how.seed, least=0, instance=1)


def _parse_words(word: object, versus: object) -> tuple[str, ...]:
    """The word and those to hold beside it. Raises UsageError for what is none."""
    if not isinstance(word, str):
        raise UsageError(f"{word!r:.40} is no word", hint="give one string; further words go to versus=")
    others = (versus,) if isinstance(versus, str) else versus
    if not isinstance(others, Sequence) or not all(isinstance(other, str) for other in others):
        raise UsageError("versus= takes words", hint="give a string, or a list of them")
    return (word, *others)


def _find_in_sentences(
    sentences: Iterable[str | tuple[str, str | None]],
    tokenizer: Tokenizer,
    asked: WordQuery,
    how: _CompareSettings,
    progress: Progress,
) -> FoundOccurrences:
    """All occurrences. Raises UsageError where some sentence can't take part, or too few are left."""
    if isinstance(sentences, str | bytes) or not isinstance(sentences, Iterable):
        raise UsageError("sentences are a list of texts", hint="pass a list, even of one")
    read = list(read_sentences(sentences))
    if not read:
        raise UsageError("no sentence was given", hint="give sentences after the word, or a file with -f")
    return _check_enough(find_occurrences(read, tokenizer, asked, progress), asked, skip=how.skip)


def _check_enough(found: FoundOccurrences, asked: WordQuery, *, skip: bool) -> FoundOccurrences:
    if found.problems and (not skip or not found.sentences):
        first, *others = found.problems
        more = f" (and so for {list_numbers([problem.number for problem in others])})" if others else ""
        raise UsageError(f"{first.message}{more}", hint=first.hint)
    if len(found.occurrences) < 2:
        raise UsageError(
            f"{asked.words[0]!r} was found once, and a comparison takes two", hint="give one more sentence with it"
        )
    missing = [word for word in asked.words if not any(each.word == word for each in found.occurrences)]
    if missing:
        raise UsageError(f"no sentence has {missing[0]!r}", hint="give one that has it; --any-form takes other forms")
    return found


class _Comparison(NamedTuple):
    """Everything that is decided before a model is loaded."""

    how: _CompareSettings
    words: tuple[str, ...]
    sample: ReferenceSample | None
    opening: ModelLoader
    files: ModelFiles | None
    tokenizer: Tokenizer

    def compare(self, loaded: LoadedModel, found: FoundOccurrences) -> CompareResult:
        from attncli.embeddings.batches import Run, detect_traits
        from attncli.embeddings.describe import describe_states

        found = self._within_reach(found, loaded)
        run = Run(loaded, text_stack(loaded, self.how.choice.stack), self.how.pool)
        count = loaded.layer_count(run.stack.path) + 1
        chosen = self.how.choice.within(count)
        behaviour = detect_traits(run, max((sentence.ids for sentence in found.sentences), key=len))
        run = run._replace(padded=behaviour.padded)
        sampled = self._sampled(run, behaviour, max(chosen) + 1)
        rows = _rows(found.occurrences, self.words)
        keeper = self._keeper(rows, chosen, sampled)
        self._run(run, found, keeper)
        states = describe_states(keeper, rows, self.words, self._asked())
        return self._result(run, found, states, sampled, behaviour, count)

    def _within_reach(self, found: FoundOccurrences, loaded: LoadedModel) -> FoundOccurrences:
        """Sentences cut to what the model takes, where its tokenizer doesn't know; never without the word."""
        limit = loaded.max_positions
        largest = loaded.vocabulary_size
        if largest is not None and any(token >= largest for sentence in found.sentences for token in sentence.ids):
            raise UsageError("the tokenizer has ids that the model hasn't", hint="name a tokenizer of this model")
        if limit is None or all(len(sentence.ids) <= limit for sentence in found.sentences):
            return found
        kept, problems = [], list(found.problems)
        for sentence in found.sentences:
            if max(place for each in sentence.occurrences for place in each.positions) >= limit:
                problems.append(beyond_limit(sentence.number, limit))
            else:
                long = len(sentence.ids) > limit
                kept.append(sentence._replace(ids=sentence.ids[:limit], cut=sentence.cut or long))
        left = found._replace(sentences=tuple(kept), problems=tuple(problems))
        return _check_enough(left, WordQuery(self.words), skip=self.how.skip)

    def _sampled(self, run: Run, behaviour: ModelTraits, states: int) -> ReferenceStatistics | None:
        if self.sample is None:
            return None
        return reference_statistics(
            run,
            self.sample,
            behaviour,
            files=self.files,
            tokenizer=self.tokenizer,
            states=states,
            allow_pickle=self.opening.allow_pickle,
            progress=self.opening.progress,
        )

    def _keeper(self, rows: Rows, chosen: Sequence[int], sampled: ReferenceStatistics | None) -> StateAccumulator:
        from attncli.embeddings.accumulator import StateAccumulator

        statistics = sampled.states if sampled else {}
        references = {state: each.reference(self.how.adjust) for state, each in statistics.items()}
        return StateAccumulator(rows.codes[0], frozenset(chosen), max(chosen), references)

    def _run(self, run: Run, found: FoundOccurrences, keeper: StateAccumulator) -> None:
        from attncli.embeddings.batches import take_words

        total = len(found.occurrences)
        sentences = list(_number_occurrences(found.sentences))
        take_words(run, sentences, keeper.take, lambda done: self.opening.progress("reading sentences", done, total))

    def _asked(self) -> Any:
        from attncli.embeddings.describe import StatesRequest as AskedOfStates

        return AskedOfStates(self.how.adjust, self.how.dimensions, self.how.seed)

    def _result(
        self,
        run: Run,
        found: FoundOccurrences,
        states: tuple[State, ...],
        sampled: ReferenceStatistics | None,
        behaviour: ModelTraits,
        count: int,
    ) -> CompareResult:
        from attncli.results.compare import CompareResult

        loaded = run.model
        several = bool(loaded.config.is_encoder_decoder)
        stack = str(run.stack.word) if several else "decoder" if behaviour.causal else "encoder"
        if not several:
            self.how.choice.check_name(stack)
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
            adjust=self.how.adjust,
            pool=self.how.pool,
            sample=sampled and sampled.info,
            made_by=versions,
            causal=behaviour.causal,
            best=_best_state(states),
            left_out=tuple(problem.number for problem in found.problems),
            warnings=(
                *loaded.warnings,
                *input_warnings(found, self.tokenizer),
                *run_warnings(found.occurrences, states, causal=behaviour.causal),
                *(sampled.warnings(self.how.adjust) if sampled else ()),
            ),
            notes=tuple(input_notes(found, causal=behaviour.causal, padded=behaviour.padded, decoding=run.decoding)),
        )


def _rows(occurrences: Sequence[Occurrence], words: Sequence[str]) -> Rows:
    from attncli.embeddings.describe import Rows

    return Rows(
        tuple(words.index(each.word) for each in occurrences),
        tuple(each.label for each in occurrences),
        tuple((each.text, each.start) for each in occurrences),
    )


def _number_occurrences(sentences: Sequence[EncodedSentence]) -> Iterator[Any]:
    """Sentences with their occurrences counted through."""
    from attncli.embeddings.batches import Words

    row = 0
    for sentence in sentences:
        rows = tuple((row + index, each.positions) for index, each in enumerate(sentence.occurrences))
        yield Words(sentence.ids, rows)
        row += len(rows)


def _best_state(states: Sequence[State]) -> int | None:
    """The state at which labels are farthest apart; the first of several that are equal."""
    apart = [(state.separation, -state.state) for state in states if state.separation is not None]
    return -max(apart)[1] if apart else None
