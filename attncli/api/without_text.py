"""`heads` without a text: a needle in random tokens (`--needle`), and circuits from weights alone (`--qk-ov`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from attncli.api.heads_input import HeadsInput
from attncli.api.heads_many import BATCH_TOKENS
from attncli.api.heads_single import full_depth, heads_result, unread_warnings
from attncli.api.loading import ModelLoader
from attncli.api.requests import HeadsOptions
from attncli.errors import UsageError
from attncli.metrics import NEEDLE_METRICS
from attncli.quantities import check_number
from attncli.results.tokens import Token
from attncli.tokens.encode import from_ids

if TYPE_CHECKING:
    from attncli.attention.inputs import ModelInputs
    from attncli.attention.selection import HeadsRequest
    from attncli.models.loading.distributed import Communicator
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.heads import HeadsResult, Needle


def refuse_options(inputs: HeadsInput, options: HeadsOptions) -> None:
    """Raise UsageError for options that contradict the way in which there is no text."""
    _refuse_needle_metric(inputs, options)
    given = {"--probe": inputs.probe, "--needle": inputs.needle is not None, "--qk-ov": inputs.qk_ov}
    flags = [flag for flag, is_given in given.items() if is_given]
    if len(flags) > 1:
        raise UsageError(f"{flags[0]} and {flags[1]} can't be combined", hint="leave one of them out")
    if not flags or inputs.probe:
        return
    if inputs.has_media:
        raise UsageError(
            f"{flags[0]} can't be combined with a picture or a sound", hint=f"leave {flags[0]} out, or the file"
        )
    if inputs.needle is not None:
        check_number("--needle", inputs.needle, least=1, instance=256)
        return
    metric = options.metric is not None or options.check or options.threshold
    wrong = "--metric, --check and --threshold" if metric else "--against" if options.against is not None else None
    if wrong is not None:
        raise UsageError(
            f"--qk-ov reads only the weights, and {wrong} {'need' if metric else 'needs'} a text",
            hint="leave one of them out; the numbers of --qk-ov are in --json",
        )


def _refuse_needle_metric(inputs: HeadsInput, options: HeadsOptions) -> None:
    """Raise UsageError for the metric of a needle where there is none."""
    checks = [options.check] if isinstance(options.check, str) else options.check
    named = [options.metric or "", *(word for check in checks for word in check.split()[1:2])]
    wanted = next((name for name in named if name in NEEDLE_METRICS), None)
    if wanted is not None and inputs.needle is None:
        raise UsageError(
            f"{wanted} is measured with a needle in random tokens", hint="add --needle 256, and give no text"
        )


# --- A needle in random tokens


def run_needle(inputs: HeadsInput, loader: ModelLoader, request: HeadsRequest, sharing: Communicator) -> HeadsResult:
    """Run the model on several texts with a needle, and average the metrics of its heads."""
    from attncli.attention.effects.retrieval import choose_needle
    from attncli.tokens.vocabulary import first_special

    assert inputs.needle is not None
    if not loader.is_loaded:
        running = loader.running
        loader = loader._replace(running=running._replace(device=sharing.pick_device(running.device)))
    files = loader.files()
    tokenizer = loader.find_tokenizer(files, needed=False)
    loaded = loader.load(files, request.selection.depth)
    first = None if tokenizer is None or inputs.encoding.no_special else first_special(tokenizer)
    ordinary = _ordinary_ids(loaded, tokenizer)
    before = int(first is not None) + loaded.is_encoder_decoder
    needle = choose_needle(inputs.needle, len(ordinary), loaded.max_positions, before=before, seed=inputs.seed)
    return _average_needle(loaded, tokenizer, needle, ordinary, first, request, loader, sharing)


def _ordinary_ids(loaded: LoadedModel, tokenizer: Tokenizer | None) -> Sequence[int]:
    from attncli.attention.effects.retrieval import NEEDLE_TOKENS
    from attncli.tokens.vocabulary import ordinary_ids

    size = loaded.vocabulary_size
    if tokenizer is None:
        return range(size or 0)
    return [number for number in ordinary_ids(tokenizer, 4 * NEEDLE_TOKENS) if size is None or number < size]


def _average_needle(
    loaded: LoadedModel,
    tokenizer: Tokenizer | None,
    needle: Needle,
    ordinary: Sequence[int],
    first: int | None,
    request: HeadsRequest,
    loader: ModelLoader,
    sharing: Communicator,
) -> HeadsResult:
    from attncli.attention.averages import Averages
    from attncli.attention.effects.retrieval import RetrievalSums, needle_texts

    averages, sums = Averages(replace(request, patterns=False)), RetrievalSums(needle.needle_tokens)
    # There are few texts: the first process runs all of them.
    texts = list(needle_texts(needle, ordinary, first)) if sharing.rank == 0 else []
    size = max(1, BATCH_TOKENS // needle.tokens)
    for start in range(0, len(texts), size):
        sums.texts = batch = texts[start : start + size]
        averages.add(loaded, _needle_inputs(loaded, tokenizer, [text.ids for text in batch], first), sums)
        loader.progress("looking for the needle", averages.texts, needle.texts)
    parts = sharing.gather((averages, sums))
    total = Averages.combine(averages.request, [part for part, _ in parts])
    found = RetrievalSums(needle.needle_tokens).merged([part for _, part in parts])
    stacks = tuple(found.stack(key, stack) for key, stack in zip(total.templates, total.stacks(), strict=True))
    notes = list(_decoder_note(loaded))
    result = heads_result(
        loaded, stacks, request, warnings=tuple(unread_warnings(total.unread, request.selection)), notes=tuple(notes)
    )
    return replace(result, texts=total.texts, needle=needle)


def _needle_inputs(
    loaded: LoadedModel, tokenizer: Tokenizer | None, texts: Sequence[Sequence[int]], first: int | None
) -> ModelInputs:
    """An encoder–decoder's decoder gets the same tokens, after its start token."""
    from attncli.attention.inputs import build_inputs, with_decoder_texts

    tokens: list[tuple[Token, ...]] = []
    for ids in texts:
        found = from_ids(tokenizer, ids).tokens
        # Some tokenizers begin texts with a token that they don't list as special.
        tokens.append(found if first is None else (found[0]._replace(special=True), *found[1:]))
    given = build_inputs(loaded, tokens, [(0,) * len(ids) for ids in texts])
    return with_decoder_texts(loaded, given, tokens) if loaded.is_encoder_decoder else given


def _decoder_note(loaded: LoadedModel) -> Iterator[str]:
    if loaded.is_encoder_decoder:
        yield "the decoder's input was its start token, then the same random tokens as the encoder's"


# --- Weights alone


def run_circuits(inputs: HeadsInput, loader: ModelLoader, request: HeadsRequest) -> HeadsResult:
    """What heads do by their weights alone. Raises as `measure_circuits` does."""
    from attncli.attention.effects.circuits import measure_circuits

    if inputs.target_flags:
        raise UsageError(
            f"--qk-ov reads only the weights, and {inputs.target_flags[0]} gives a text", hint="leave one of them out"
        )
    loaded = loader.load(loader.files(), full_depth(request.selection), predicts=True)
    circuits, collected = measure_circuits(loaded, replace(request, patterns=False), loader.progress)
    stacks = tuple(
        replace(stack.build(), queries=(), keys=(), metrics=(), baselines={}, repeats={}, whole=None)
        for stack in collected
    )
    result = heads_result(loaded, stacks, request, warnings=(), notes=())
    return replace(result, qk_ov=circuits, chosen=False)
