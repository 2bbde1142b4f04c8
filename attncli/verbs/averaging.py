"""Texts, group by group, through a model and into averages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from attncli.attention.averages import Averages
from attncli.attention.inputs import ModelInputs, build_inputs
from attncli.errors import UsageError
from attncli.progress import Progress, Texts
from attncli.verbs.many_texts import CutText, Cutting, Given, batches, groups

if TYPE_CHECKING:
    from attncli.attention.selection import Wanted
    from attncli.models.loading.distributed import Sharing
    from attncli.models.loading.loaded_model import LoadedModel
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


class _Found(NamedTuple):
    """What one process found. cut: texts that were cut short.  empty: those that were left out."""

    averages: Averages
    cut: int
    empty: int


def average_texts(
    loaded: LoadedModel,
    texts: Iterable[Given],
    cutting: Cutting,
    wanted: Wanted,
    *,
    sharing: Sharing,
    progress: Progress,
) -> Average:
    """Run the model on every text, in batches, and average what its heads do; each text weighs the same.

    Raises UsageError for a text that is too long and may not be cut, and where no text has a token.
    """
    averages = Averages(wanted)
    for number, group in enumerate(groups(texts)):
        sharing.check()
        if number % sharing.world == sharing.rank:
            for batch in batches([text for text in map(cutting.cut, group) if text is not None]):
                averages.add(loaded, inputs_of(loaded, batch))
                progress("looking at texts", Texts(averages.texts * sharing.world), None)
    found = sharing.gather(_Found(averages, cutting.shortened, cutting.empty))
    whole = Averages.of_all(wanted, [part.averages for part in found])
    if not whole.texts:
        raise UsageError("none of the texts has anything in it", hint="give some text, or ids with --input-ids")
    cut, empty = sum(part.cut for part in found), sum(part.empty for part in found)
    warnings = [f"{_texts_were(cut)} cut to the {cutting.limit:,} tokens that the model takes"] if cut else []
    notes = [f"{_texts_were(empty)} left out, with nothing in {'them' if empty > 1 else 'it'}"] if empty else []
    return Average(whole.stacks(), whole.texts, tuple(warnings), tuple(notes), unread=whole.unread)


def inputs_of(loaded: LoadedModel, batch: Sequence[CutText]) -> ModelInputs:
    """What the model takes of a batch."""
    return build_inputs(loaded, [text.tokens for text in batch], [text.segments for text in batch])


def _texts_were(count: int) -> str:
    return f"{count:,} texts were" if count > 1 else "1 text was"
