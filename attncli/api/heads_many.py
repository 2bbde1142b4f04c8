"""Texts, group by group, through a model and into averages.

Random tokens that are repeated through a model and into averages: what no text shows for sure.

What `heads` averages over: many texts, or random tokens instead of any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from attncli.api.cutting import id_lists
from attncli.api.heads_result import heads_result, metric_notes, unread_warnings
from attncli.api.loading import ModelLoader
from attncli.api.targets import START_ALONE, TargetChoice
from attncli.api.text_batches import BatchTokenizer, LocatedText
from attncli.attention.selection import EVERYTHING
from attncli.errors import UsageError
from attncli.progress import Progress
from attncli.quantities import check_number

if TYPE_CHECKING:
    from attncli.api.averaging import Average
    from attncli.attention.selection import HeadsRequest
    from attncli.models.loading.distributed import Sharing
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.heads import HeadsResult


class AveragedInput(Protocol):
    """Something that takes the place of one text."""

    @property
    def needs_tokenizer(self) -> bool: ...

    def average(
        self,
        loaded: LoadedModel,
        tokenizer: Tokenizer | None,
        wanted: HeadsRequest,
        *,
        sharing: Sharing,
        progress: Progress,
    ) -> Average:
        """Run the model on all of it and average what its heads do."""
        ...


def averaged_input(
    text: Any, input_ids: Any, *, probe: bool, seed: int, special: bool, truncate: bool
) -> AveragedInput | None:
    """What was given, where it is more than one text or list of ids; None where it is one.

    Raises UsageError for a text beside `probe`, two kinds of input, no texts at all, and what is no text or no seed.
    """
    check_number("--seed", seed, least=0, instance=1)
    if probe:
        if text is not None or input_ids is not None:
            raise UsageError("--probe takes the place of a text", hint="leave out --probe, or the text or ids")
        return RandomTokens(seed, special=special)
    if text is not None and not isinstance(text, str | bytes) and isinstance(text, Iterable):
        if input_ids is not None:
            raise UsageError("texts and ids can't be combined", hint="give texts, or ids with --input-ids")
        return ManyTexts(_located_texts(text), special=special, truncate=truncate)
    lists = id_lists(input_ids) if input_ids is not None and text is None else ()
    if len(lists) < 2:
        return None
    ids = (LocatedText(f"text {number}", ids=ids) for number, ids in enumerate(lists, 1))
    return ManyTexts(ids, special=special, truncate=truncate)


def run_averaged(
    many: AveragedInput,
    opening: ModelLoader,
    wanted: HeadsRequest,
    *,
    patterns: bool,
    pair: str | None,
    target: TargetChoice,
    sharing: Sharing,
) -> HeadsResult:
    """Run the model on all of it. patterns, pair, target: what belongs to one text, and is refused here."""
    _refuse_single_text_options(wanted, patterns=patterns, pair=pair, target=target)
    if not opening.is_loaded:
        opening = replace(opening, device=sharing.own_device(opening.device))
    files = opening.files()
    tokenizer = opening.find_tokenizer(files, needed=many.needs_tokenizer)
    loaded = opening.load(files, wanted.selection.depth)
    metrics_alone = replace(wanted, patterns=False)
    average = many.average(loaded, tokenizer, metrics_alone, sharing=sharing, progress=opening.progress)
    return _averaged_result(loaded, average, wanted)


def _averaged_result(loaded: LoadedModel, average: Average, wanted: HeadsRequest) -> HeadsResult:
    warnings = (*average.warnings, *unread_warnings(average.unread, wanted.selection))
    start = (START_ALONE,) if loaded.config.is_encoder_decoder and not average.probe else ()
    notes = () if average.probe else (*start, *metric_notes(average.stacks, "none of the texts repeats anything"))
    result = heads_result(loaded, average.stacks, wanted, warnings=warnings, notes=(*average.notes, *notes))
    return replace(result, texts=average.texts, probe=average.probe)


def _refuse_single_text_options(
    wanted: HeadsRequest, *, patterns: bool, pair: str | None, target: TargetChoice
) -> None:
    shaped = wanted.view != EVERYTHING or wanted.weighting != "attention" or wanted.steps is not None
    if patterns or wanted.bins is not None or shaped:
        raise UsageError(
            "a pattern belongs to one text, and metrics are averaged here",
            hint="leave out what shapes a pattern, as --patterns, --bins, --query and --steps do, or give one text",
        )
    given = "--pair" if pair is not None else target.flag if target.given else None
    if given is not None:
        raise UsageError(f"{given} goes with one text", hint="leave it out, or give one text")


class ManyTexts:
    """Texts, or lists of ids, as they come."""

    def __init__(self, texts: Iterator[LocatedText], *, special: bool, truncate: bool) -> None:
        self._special = special
        self._truncate = truncate
        # A file that isn't there, or is empty, shows before anything slow begins.
        first = next(texts, None)
        if first is None:
            raise UsageError("there are no texts", hint="give some texts, or a file with lines in it")
        self._texts = chain([first], texts)
        self.needs_tokenizer = first.ids is None

    def average(
        self,
        loaded: LoadedModel,
        tokenizer: Tokenizer | None,
        wanted: HeadsRequest,
        *,
        sharing: Sharing,
        progress: Progress,
    ) -> Average:

        cutting = BatchTokenizer(tokenizer, special=self._special, truncate=self._truncate, limit=loaded.max_positions)
        from attncli.api.averaging import average_texts  # imports torch

        return average_texts(loaded, self._texts, cutting, wanted, sharing=sharing, progress=progress)


class RandomTokens:
    """Random tokens that are repeated; `special`: behind the token with which the model's texts begin."""

    needs_tokenizer = False

    def __init__(self, seed: int, *, special: bool) -> None:
        self._seed = seed
        self._special = special

    def average(
        self,
        loaded: LoadedModel,
        tokenizer: Tokenizer | None,
        wanted: HeadsRequest,
        *,
        sharing: Sharing,
        progress: Progress,
    ) -> Average:
        from attncli.tokens.vocabulary import first_special

        first = first_special(tokenizer) if tokenizer is not None and self._special else None
        from attncli.api.averaging import average_probe  # imports torch

        return average_probe(
            loaded, tokenizer, wanted, first=first, seed=self._seed, sharing=sharing, progress=progress
        )


def _located_texts(texts: Iterable[object]) -> Iterator[LocatedText]:
    for number, text in enumerate(texts, 1):
        if isinstance(text, LocatedText):
            yield text
        elif isinstance(text, str):
            yield LocatedText(f"text {number}", text)
        else:
            raise UsageError(f"text {number} is a {type(text).__name__}", hint="give strings, or input_ids= of ids")
