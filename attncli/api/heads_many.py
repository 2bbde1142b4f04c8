"""Run `heads` on several inputs and average: many texts or lists of ids, or the probe of repeated random tokens."""

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
    from attncli.models.loading.distributed import Communicator
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.heads import HeadsResult


class AveragedInput(Protocol):
    """Several inputs whose metrics are averaged."""

    @property
    def needs_tokenizer(self) -> bool: ...

    def average(
        self,
        loaded: LoadedModel,
        tokenizer: Tokenizer | None,
        request: HeadsRequest,
        *,
        sharing: Communicator,
        progress: Progress,
    ) -> Average:
        """Run the model on all inputs and average the metrics of its heads."""
        ...


def averaged_input(
    text: Any, input_ids: Any, *, probe: bool, seed: int, special: bool, truncate: bool
) -> AveragedInput | None:
    """The input, where it is the probe or more than one text or list of ids; None where it is a single one.

    Raises UsageError for a text together with `probe`, texts together with ids, no texts at all, and an invalid text or
    seed.
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
    loader: ModelLoader,
    request: HeadsRequest,
    *,
    patterns: bool,
    pair: str | None,
    target: TargetChoice,
    sharing: Communicator,
) -> HeadsResult:
    """Run the model on all inputs. patterns, pair, target: options of a single text, which raise UsageError here."""
    _refuse_single_text_options(request, patterns=patterns, pair=pair, target=target)
    if not loader.is_loaded:
        loader = loader._replace(device=sharing.pick_device(loader.device))
    files = loader.files()
    tokenizer = loader.find_tokenizer(files, needed=many.needs_tokenizer)
    loaded = loader.load(files, request.selection.depth)
    metrics_alone = replace(request, patterns=False)
    average = many.average(loaded, tokenizer, metrics_alone, sharing=sharing, progress=loader.progress)
    return _averaged_result(loaded, average, request)


def _averaged_result(loaded: LoadedModel, average: Average, request: HeadsRequest) -> HeadsResult:
    warnings = (*average.warnings, *unread_warnings(average.unread, request.selection))
    start = (START_ALONE,) if loaded.is_encoder_decoder and not average.probe else ()
    notes = () if average.probe else (*start, *metric_notes(average.stacks, "none of the texts repeats anything"))
    result = heads_result(loaded, average.stacks, request, warnings=warnings, notes=(*average.notes, *notes))
    return replace(result, texts=average.texts, probe=average.probe)


def _refuse_single_text_options(
    request: HeadsRequest, *, patterns: bool, pair: str | None, target: TargetChoice
) -> None:
    shaped = request.view != EVERYTHING or request.weighting != "attention" or request.steps is not None
    if patterns or request.bins is not None or shaped:
        raise UsageError(
            "a pattern belongs to one text, and metrics are averaged here",
            hint="leave out what shapes a pattern, as --patterns, --bins, --query and --steps do, or give one text",
        )
    flag = "--pair" if pair is not None else target.flag if target.is_given else None
    if flag is not None:
        raise UsageError(f"{flag} goes with one text", hint="leave it out, or give one text")


class ManyTexts:
    """Texts, or lists of ids, read one after another."""

    def __init__(self, texts: Iterator[LocatedText], *, special: bool, truncate: bool) -> None:
        self._special = special
        self._truncate = truncate
        # Report a missing or empty file before anything slow begins.
        first = next(texts, None)
        if first is None:
            raise UsageError("there are no texts", hint="give some texts, or a file with lines in it")
        self._texts = chain([first], texts)
        self.needs_tokenizer = first.ids is None

    def average(
        self,
        loaded: LoadedModel,
        tokenizer: Tokenizer | None,
        request: HeadsRequest,
        *,
        sharing: Communicator,
        progress: Progress,
    ) -> Average:
        from attncli.api.averaging import average_texts  # imports torch

        limit = loaded.max_positions
        batch_tokenizer = BatchTokenizer(tokenizer, special=self._special, truncate=self._truncate, limit=limit)
        return average_texts(loaded, self._texts, batch_tokenizer, request, sharing=sharing, progress=progress)


class RandomTokens:
    """The probe: repeated random tokens.  special: after the special token that begins the model's texts."""

    needs_tokenizer = False

    def __init__(self, seed: int, *, special: bool) -> None:
        self._seed = seed
        self._special = special

    def average(
        self,
        loaded: LoadedModel,
        tokenizer: Tokenizer | None,
        request: HeadsRequest,
        *,
        sharing: Communicator,
        progress: Progress,
    ) -> Average:
        from attncli.api.averaging import average_probe  # imports torch
        from attncli.tokens.vocabulary import first_special

        first = first_special(tokenizer) if tokenizer is not None and self._special else None
        return average_probe(
            loaded, tokenizer, request, first=first, seed=self._seed, sharing=sharing, progress=progress
        )


def _located_texts(texts: Iterable[object]) -> Iterator[LocatedText]:
    for number, text in enumerate(texts, 1):
        if isinstance(text, LocatedText):
            yield text
        elif isinstance(text, str):
            yield LocatedText(f"text {number}", text)
        else:
            raise UsageError(f"text {number} is a {type(text).__name__}", hint="give strings, or input_ids= of ids")
