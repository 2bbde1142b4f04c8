"""Statistics of the model's states over a reference sample of sentences, from the cache or from a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from attncli.api.occurrences import tokens_in_span
from attncli.embeddings.reference_sample import MIN_WORDS, sample_spans, shipped_sentences
from attncli.errors import UsageError
from attncli.progress import Progress
from attncli.results.compare import SampleInfo
from attncli.tokens.encode import encode

if TYPE_CHECKING:
    from attncli.api.loading import ModelLoader
    from attncli.embeddings.batches import ModelTraits, SentenceWords, StackRun
    from attncli.embeddings.reference_sample import SampleStatistics
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.files.user_cache import SampleCache
    from attncli.models.tokenizers.types import Tokenizer

#: With fewer words, the standard deviation of each dimension is mostly noise.
_FEW_WORDS = 100


class ReferenceSample(NamedTuple):
    """The sentences of a reference sample. from_user: not those of the package."""

    sentences: tuple[str, ...]
    from_user: bool = False

    @property
    def source(self) -> str:
        return "own sentences" if self.from_user else "sentences of attncli"


class ReferenceStatistics(NamedTuple):
    """The statistics of a model's states over a reference sample, by state."""

    info: SampleInfo
    states: Mapping[int, SampleStatistics]

    def warnings(self, adjust: str) -> list[str]:
        if adjust not in ("standardize", "abtt") or self.info.words >= _FEW_WORDS:
            return []
        return [f"the reference sample has {self.info.words} words only: {adjust} is mostly chance"]


def parse_reference_sample(reference: Iterable[str] | None) -> ReferenceSample | None:
    """The sentences of the package, or the user's; None for an empty list, which means no sample."""
    if reference is None:
        return ReferenceSample(shipped_sentences())
    if isinstance(reference, str | bytes) or not isinstance(reference, Iterable):
        raise UsageError("a reference is a list of sentences", hint="pass a list of strings, or [] for none")
    given = list(reference)
    if not all(isinstance(line, str) for line in given):
        raise UsageError("a reference is a list of sentences", hint="pass a list of strings, or [] for none")
    sentences = tuple(line.split("\t")[0] for line in given if line.split("\t")[0].strip())
    if given and len(sentences) < 2:
        raise UsageError(
            "the reference sample has fewer than 2 sentences", hint="give one sentence a line, many of them"
        )
    return ReferenceSample(sentences, from_user=True) if given else None


def reference_statistics(
    run: StackRun,
    sample: ReferenceSample,
    traits: ModelTraits,
    *,
    files: ModelFiles | None,
    tokenizer: Tokenizer,
    states: int,
    loader: ModelLoader,
) -> ReferenceStatistics:
    """The statistics of the first `states` states, from the cache if all are there, else from a run.

    Nothing is cached for a loaded module, which can't be identified.
    Raises UsageError for a sample of too few words.
    """
    from attncli.models.files.user_cache import SampleCache, sample_key

    cache = SampleCache.default()
    how = {
        "stack": run.stack.path, "pool": run.pool, "dtype": run.model.dtype, "device": str(run.model.device.type),
        "behaviour": tuple(traits),
    }  # fmt: skip
    key = files and sample_key(files, sentences=sample.sentences, allow_pickle=loader.loading.allow_pickle, **how)
    recalled = _read_cache(cache, key, states) if key else None
    found = recalled or _run_sample(run, sample, traits, tokenizer, states, loader.progress)
    if key and recalled is None:
        for state, statistics in found.items():
            cache.write(f"{key}-{state}", statistics.to_arrays())
    first = found[min(found)]
    return ReferenceStatistics(SampleInfo(sample.source, len(sample.sentences), first.words, first.pairs), found)


def _read_cache(cache: SampleCache, key: str, states: int) -> dict[int, SampleStatistics] | None:
    from attncli.embeddings.reference_sample import SampleStatistics

    found = {}
    for state in range(states):
        arrays = cache.read(f"{key}-{state}")
        if arrays is None:
            return None
        found[state] = SampleStatistics.from_arrays(arrays)
    return found


def _run_sample(
    run: StackRun, sample: ReferenceSample, traits: ModelTraits, tokenizer: Tokenizer, states: int, progress: Progress
) -> dict[int, SampleStatistics]:
    from attncli.embeddings.reference_sample import run_sample

    sentences = encode_sample(sample.sentences, tokenizer, run.model.max_positions)
    total = sum(len(sentence.rows) for sentence in sentences)
    if total < MIN_WORDS:
        raise UsageError(
            f"the reference sample has {total} words, which say nothing", hint="give --reference more sentences"
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


def encode_sample(sentences: Sequence[str], tokenizer: Tokenizer, limit: int | None) -> list[SentenceWords]:
    """The ids of every sentence, and the positions of the words that are sampled."""
    from attncli.embeddings.batches import SentenceWords

    found = []
    for text, spans in zip(sentences, sample_spans(sentences), strict=True):
        tokens = encode(tokenizer, text).tokens[:limit]
        covers = [tokens_in_span(tokens, span, text) for span in spans]
        rows = tuple((0, tuple(token.index for token in pieces)) for pieces in covers if pieces)
        if rows:
            found.append(SentenceWords(tuple(token.id for token in tokens), rows))
    return found
