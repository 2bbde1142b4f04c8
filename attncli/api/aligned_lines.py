"""Pairs of texts for an encoder–decoder (`--lines --columns source,target`): their words aligned, and mean metrics.

Each pair is run by itself, with the target as the decoder's input. What is kept of a pair is its alignment, or nothing
where that is handed on line by line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from attncli.api.decoder_input import add_target
from attncli.api.effects_lines import PAIR_COLUMNS, located, split_fields
from attncli.api.heads_input import HeadsInput
from attncli.api.heads_many import LocatedText
from attncli.api.heads_single import heads_result, metric_notes, unread_warnings
from attncli.api.loading import ModelLoader, model_limits
from attncli.errors import UsageError
from attncli.progress import Texts
from attncli.results.alignment import AlignedPair, WordLink
from attncli.results.heads import HeadsResult

if TYPE_CHECKING:
    from attncli.attention.averages import Averages
    from attncli.attention.selection import HeadsRequest
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer


def is_pairs(columns: Sequence[str]) -> bool:
    """Whether lines are pairs of texts for an encoder and a decoder."""
    return set(columns) == set(PAIR_COLUMNS)


def run_aligned_lines(
    inputs: HeadsInput,
    texts: Iterable[LocatedText],
    loader: ModelLoader,
    request: HeadsRequest,
    columns: Sequence[str],
) -> HeadsResult:
    """The word alignment of every pair, and the metrics of all heads, averaged over the pairs.

    With `each_pair` the result doesn't hold the alignments, and memory doesn't grow with the file.
    Raises UsageError for a model without cross-attention, a choice of heads without any of it, and, with its place, for
    a line that isn't a pair of texts.
    """
    from attncli.attention.averages import Averages

    _require_cross(request)
    files = loader.files()
    model_limits(files).check_selection(request.selection)
    tokenizer = loader.find_tokenizer(files, needed=True)
    assert tokenizer is not None
    loaded = loader.load(files, request.selection.depth)
    if not loaded.is_encoder_decoder:
        raise UsageError(
            f"{loaded.class_name} is not an encoder–decoder, so it has no target",
            hint="name one with -m, such as Helsinki-NLP/opus-mt-en-de, or leave --columns out",
        )
    averages, kept = Averages(replace(request, patterns=False)), list[AlignedPair]()
    for pair in _aligned(averages, loaded, tokenizer, inputs, texts, columns):
        (inputs.each_pair or kept.append)(pair)
        loader.progress("aligning words", Texts(averages.texts), None)
        heads = pair.heads
    if not averages.texts:
        raise UsageError("all lines are empty", hint="give a file with a source, a tab and a target in each line")
    stacks = averages.stacks()
    warnings = tuple(unread_warnings(averages.unread, request.selection))
    notes = tuple(metric_notes(stacks, "no token occurs twice in a text"))
    result = heads_result(loaded, stacks, request, warnings=warnings, notes=notes)
    links: tuple[WordLink, ...] = tuple(link for pair in kept for link in pair.alignment)
    return replace(result, texts=averages.texts, alignment=links, alignment_heads=heads)


def _require_cross(request: HeadsRequest) -> None:
    """Raise UsageError where no head of the cross-attention can be among the chosen ones."""
    named = [head.stack for head in request.selection.heads]
    if request.selection.stack not in (None, "cross") or (named and not {None, "cross"} & set(named)):
        raise UsageError(
            "words are aligned by cross-attention, and no head of it is chosen",
            hint="choose heads such as -H cross.1.2, layers with -l, or leave the choice out",
        )


def _aligned(
    averages: Averages,
    loaded: LoadedModel,
    tokenizer: Tokenizer,
    inputs: HeadsInput,
    texts: Iterable[LocatedText],
    columns: Sequence[str],
) -> Iterator[AlignedPair]:
    """Every pair, aligned; blank lines are left out."""
    from attncli.attention.inputs import build_inputs
    from attncli.attention.word_alignment import CrossReader

    for number, line in enumerate(texts, 1):
        if not (line.text or "").strip():
            continue
        source, target = _both_texts(line, columns)
        with located(line.place):
            given = inputs._replace(text=source, target=target)
            encoded = given.fit_to_model(given.encode(tokenizer), loaded)
            pair = add_target(loaded, tokenizer, encoded, given)
            reader = CrossReader()
            parts = [pair.text.tokens], [pair.text.segments]
            averages.add(loaded, build_inputs(loaded, *parts, target=pair.target), reader)
            links = reader.links(number, source, target)
        yield AlignedPair(loaded.name, number, tuple(reader.heads), links)


def _both_texts(line: LocatedText, columns: Sequence[str]) -> tuple[str, str]:
    """The source and the target of a line. Raises UsageError for another number of fields, and an empty one."""
    named = split_fields(line, columns)
    for name in PAIR_COLUMNS:
        if not named[name].strip():
            raise UsageError(f"{line.place}: the {name} is empty", hint=f"a line reads {'<tab>'.join(columns)}")
    return named["source"], named["target"]
