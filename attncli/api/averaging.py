"""Average head metrics over many texts, or over the probe's sequences of repeated random tokens, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from attncli.api.text_batches import BatchTokenizer, LocatedText, TextTokens, group_by_length, split_batches
from attncli.attention.averages import Averages, BatchCheck
from attncli.attention.inputs import (
    PROBE_TOKENS,
    ModelInputs,
    build_inputs,
    choose_probe,
    probe_ids,
    with_decoder_texts,
)
from attncli.errors import UsageError
from attncli.progress import Progress, Texts
from attncli.tokens.encode import from_ids
from attncli.tokens.vocabulary import ordinary_ids

if TYPE_CHECKING:
    from attncli.attention.selection import HeadsRequest
    from attncli.models.loading.distributed import Communicator
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.heads import Probe, Stack


class Average(NamedTuple):
    """The averages over many texts, with warnings and notes for the user.  probe: what was run instead of texts.

    unread: stacks whose attention could not be read, each with the module that attends there.
    """

    stacks: tuple[Stack, ...]
    texts: int
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    probe: Probe | None = None
    unread: tuple[tuple[str, str], ...] = ()


class _ProcessAverages(NamedTuple):
    """The averages of one process. cut: how many texts were truncated.  empty: how many were left out."""

    averages: Averages
    cut: int
    empty: int


def average_texts(
    loaded: LoadedModel,
    texts: Iterable[LocatedText],
    batch_tokenizer: BatchTokenizer,
    request: HeadsRequest,
    *,
    sharing: Communicator,
    progress: Progress,
) -> Average:
    """Run the model on every text, in batches, and average the metrics of its heads; each text weighs the same.

    Each process takes every n-th group of texts, and all get the averages of all.
    Raises UsageError for a text that is too long and may not be cut, and where no text has a token.
    """
    averages, check = Averages(request), BatchCheck(loaded)
    for number, group in enumerate(group_by_length(texts)):
        sharing.check()
        if number % sharing.world == sharing.rank:
            texts_of_group = [text for text in map(batch_tokenizer.tokenize, group) if text is not None]
            for batch in _model_batches(check, texts_of_group):
                averages.add(loaded, _batch_inputs(loaded, batch))
                progress("looking at texts", Texts(averages.texts * sharing.world), None)
    parts = sharing.gather(_ProcessAverages(averages, batch_tokenizer.shortened, batch_tokenizer.empty))
    total = Averages.combine(request, [part.averages for part in parts])
    if not total.texts:
        raise UsageError("none of the texts has anything in it", hint="give some text, or ids with --input-ids")
    cut, empty = sum(part.cut for part in parts), sum(part.empty for part in parts)
    warnings = [f"{_texts_were(cut)} cut to the {batch_tokenizer.limit:,} tokens that the model takes"] if cut else []
    notes = [f"{_texts_were(empty)} left out, with nothing in {'them' if empty > 1 else 'it'}"] if empty else []
    return Average(total.stacks(), total.texts, tuple(warnings), tuple(notes), unread=total.unread)


def _model_batches(check: BatchCheck, texts: Sequence[TextTokens]) -> Iterator[list[TextTokens]]:
    """The texts in batches that fit into memory and change no number."""
    return (part for batch in split_batches(texts) for part in check.split(batch))


def _batch_inputs(loaded: LoadedModel, batch: Sequence[TextTokens]) -> ModelInputs:
    """The model's inputs for a batch."""
    return build_inputs(loaded, [text.tokens for text in batch], [text.segments for text in batch])


def _texts_were(count: int) -> str:
    return f"{count:,} texts were" if count > 1 else "1 text was"


def average_probe(
    loaded: LoadedModel,
    tokenizer: Tokenizer | None,
    request: HeadsRequest,
    *,
    first: int | None,
    seed: int,
    sharing: Communicator,
    progress: Progress,
) -> Average:
    """Run the model on several sequences of repeated random tokens and average the metrics of its heads.

    tokenizer: tells which tokens are ordinary; without one any id is used.  first: the id that begins each sequence.
    An encoder–decoder's decoder gets the same tokens, after its start token.
    Raises UsageError where the model takes too few tokens.
    """
    size = loaded.vocabulary_size
    if tokenizer is None:
        ordinary: Sequence[int] = range(size or 0)
    else:
        ordinary = [token_id for token_id in ordinary_ids(tokenizer, PROBE_TOKENS) if size is None or token_id < size]
    before = int(first is not None) + loaded.is_encoder_decoder
    probe = choose_probe(loaded.max_positions, len(ordinary), before=before, seed=seed)
    averages = Averages(request)
    # There are few sequences: the first process runs all of them.
    ids = probe_ids(probe, ordinary, first) if sharing.rank == 0 else []
    for batch in _model_batches(BatchCheck(loaded), [_probe_text(sequence, tokenizer, first) for sequence in ids]):
        averages.add(loaded, _probe_inputs(loaded, batch))
        progress("probing", averages.texts, probe.sequences)
    total = Averages.combine(request, sharing.gather(averages))
    return Average(total.stacks(), total.texts, notes=tuple(_probe_notes(loaded)), probe=probe, unread=total.unread)


def _probe_text(ids: Sequence[int], tokenizer: Tokenizer | None, first: int | None) -> TextTokens:
    tokens = from_ids(tokenizer, ids).tokens
    if first is not None:
        # Some tokenizers begin texts with a token that they don't list as special.
        tokens = (tokens[0]._replace(special=True), *tokens[1:])
    return TextTokens(tokens, (0,) * len(tokens))


def _probe_inputs(loaded: LoadedModel, batch: Sequence[TextTokens]) -> ModelInputs:
    inputs = _batch_inputs(loaded, batch)
    return with_decoder_texts(loaded, inputs, [text.tokens for text in batch]) if loaded.is_encoder_decoder else inputs


def _probe_notes(loaded: LoadedModel) -> list[str]:
    if not loaded.is_encoder_decoder:
        return []
    return ["the decoder was given the same random tokens as the encoder, behind its start token"]
