"""Many texts, or the probe of repeated random tokens, group by group through a model and into averages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from attncli.api.text_batches import BatchTokenizer, LocatedText, TextTokens, group_by_length, split_batches
from attncli.attention.averages import Averages
from attncli.attention.inputs import TOKENS, ModelInputs, build_inputs, fitting_probe, probe_ids, with_targets
from attncli.errors import UsageError
from attncli.progress import Progress, Texts
from attncli.tokens.encode import from_ids
from attncli.tokens.vocabulary import ordinary_ids

if TYPE_CHECKING:
    from attncli.attention.selection import HeadsRequest
    from attncli.models.loading.distributed import Sharing
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.heads import Probe, Stack


class Average(NamedTuple):
    """What came of many texts.  warnings, notes: what a user should know of them.  probe: what stood for them.

    unread: stacks that ran and of which nothing could be read, with what attends there.
    """

    stacks: tuple[Stack, ...]
    texts: int
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    probe: Probe | None = None
    unread: tuple[tuple[str, str], ...] = ()


class _ProcessAverages(NamedTuple):
    """What one process found. cut: texts that were cut short.  empty: those that were left out."""

    averages: Averages
    cut: int
    empty: int


def average_texts(
    loaded: LoadedModel,
    texts: Iterable[LocatedText],
    cutting: BatchTokenizer,
    wanted: HeadsRequest,
    *,
    sharing: Sharing,
    progress: Progress,
) -> Average:
    """Run the model on every text, in batches, and average what its heads do; each text weighs the same.

    Raises UsageError for a text that is too long and may not be cut, and where no text has a token.
    """
    averages = Averages(wanted)
    for number, group in enumerate(group_by_length(texts)):
        sharing.check()
        if number % sharing.world == sharing.rank:
            for batch in split_batches([text for text in map(cutting.cut, group) if text is not None]):
                averages.add(loaded, _batch_inputs(loaded, batch))
                progress("looking at texts", Texts(averages.texts * sharing.world), None)
    found = sharing.gather(_ProcessAverages(averages, cutting.shortened, cutting.empty))
    whole = Averages.of_all(wanted, [part.averages for part in found])
    if not whole.texts:
        raise UsageError("none of the texts has anything in it", hint="give some text, or ids with --input-ids")
    cut, empty = sum(part.cut for part in found), sum(part.empty for part in found)
    warnings = [f"{_texts_were(cut)} cut to the {cutting.limit:,} tokens that the model takes"] if cut else []
    notes = [f"{_texts_were(empty)} left out, with nothing in {'them' if empty > 1 else 'it'}"] if empty else []
    return Average(whole.stacks(), whole.texts, tuple(warnings), tuple(notes), unread=whole.unread)


def _batch_inputs(loaded: LoadedModel, batch: Sequence[TextTokens]) -> ModelInputs:
    """What the model takes of a batch."""
    return build_inputs(loaded, [text.tokens for text in batch], [text.segments for text in batch])


def _texts_were(count: int) -> str:
    return f"{count:,} texts were" if count > 1 else "1 text was"


def average_probe(
    loaded: LoadedModel,
    tokenizer: Tokenizer | None,
    wanted: HeadsRequest,
    *,
    first: int | None,
    seed: int,
    sharing: Sharing,
    progress: Progress,
) -> Average:
    """Run the model on several such sequences and average what its heads do.

    tokenizer: tells ordinary tokens from others; without one any id is as good.  first: the id that comes first.
    An encoder–decoder's decoder is given the same tokens, behind its start token.
    Raises UsageError where the model takes too few tokens.
    """
    size = loaded.vocabulary_size
    if tokenizer is None:
        ordinary: Sequence[int] = range(size or 0)
    else:
        ordinary = [one for one in ordinary_ids(tokenizer, TOKENS) if size is None or one < size]
    before = int(first is not None) + int(loaded.config.is_encoder_decoder)
    probe = fitting_probe(loaded.max_positions, len(ordinary), before=before, seed=seed)
    averages = Averages(wanted)
    # They are few: the first process looks at all of them.
    ids = probe_ids(probe, ordinary, first) if sharing.rank == 0 else []
    for batch in split_batches([_probe_text(each, tokenizer, first) for each in ids]):
        averages.add(loaded, _probe_inputs(loaded, batch))
        progress("probing", averages.texts, probe.sequences)
    whole = Averages.of_all(wanted, sharing.gather(averages))
    return Average(whole.stacks(), whole.texts, notes=tuple(_probe_notes(loaded)), probe=probe, unread=whole.unread)


def _probe_text(ids: Sequence[int], tokenizer: Tokenizer | None, first: int | None) -> TextTokens:
    tokens = from_ids(tokenizer, ids).tokens
    if first is not None:
        # Some tokenizers put a token first that they don't list as special.
        tokens = (tokens[0]._replace(special=True), *tokens[1:])
    return TextTokens(tokens, (0,) * len(tokens))


def _probe_inputs(loaded: LoadedModel, batch: Sequence[TextTokens]) -> ModelInputs:
    inputs = _batch_inputs(loaded, batch)
    return with_targets(loaded, inputs, [text.tokens for text in batch]) if loaded.config.is_encoder_decoder else inputs


def _probe_notes(loaded: LoadedModel) -> list[str]:
    if not loaded.config.is_encoder_decoder:
        return []
    return ["the decoder was given the same random tokens as the encoder, behind its start token"]
