"""Random tokens that are repeated through a model and into averages: what no text shows for sure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attncli.attention.averages import Averages
from attncli.attention.inputs import TOKENS, ModelInputs, fitting_probe, probe_ids, with_targets
from attncli.progress import Progress
from attncli.tokens.encode import from_ids
from attncli.tokens.vocabulary import ordinary_ids
from attncli.verbs.averaging import Average, inputs_of
from attncli.verbs.many_texts import CutText, batches

if TYPE_CHECKING:
    from attncli.attention.selection import Wanted
    from attncli.models.loading.distributed import Sharing
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer


def average_probe(
    loaded: LoadedModel,
    tokenizer: Tokenizer | None,
    wanted: Wanted,
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
    for batch in batches([_text(each, tokenizer, first) for each in ids]):
        averages.add(loaded, _inputs(loaded, batch))
        progress("probing", averages.texts, probe.sequences)
    whole = Averages.of_all(wanted, sharing.gather(averages))
    return Average(whole.stacks(), whole.texts, notes=tuple(_notes(loaded)), probe=probe, unread=whole.unread)


def _text(ids: Sequence[int], tokenizer: Tokenizer | None, first: int | None) -> CutText:
    tokens = from_ids(tokenizer, ids).tokens
    if first is not None:
        # Some tokenizers put a token first that they don't list as special.
        tokens = (tokens[0]._replace(special=True), *tokens[1:])
    return CutText(tokens, (0,) * len(tokens))


def _inputs(loaded: LoadedModel, batch: Sequence[CutText]) -> ModelInputs:
    inputs = inputs_of(loaded, batch)
    return with_targets(loaded, inputs, [text.tokens for text in batch]) if loaded.config.is_encoder_decoder else inputs


def _notes(loaded: LoadedModel) -> list[str]:
    if not loaded.config.is_encoder_decoder:
        return []
    return ["the decoder was given the same random tokens as the encoder, behind its start token"]
