"""`attncli.heads`: which tokens each attention head of a model attends to.

Options are parsed into what to compute in a forward pass. Then one input is run (`heads_single`, `media_input`), or
several are averaged (`heads_many`); for two models or for `against`, all this is done twice and compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from attncli.api.aligned_lines import is_pairs, run_aligned_lines
from attncli.api.chat_input import is_conversation
from attncli.api.decoder_input import check_target
from attncli.api.effects_lines import parse_columns, refuse_columns, run_effect_lines
from attncli.api.heads_input import HeadsInput
from attncli.api.heads_many import LocatedText, many_texts, run_averaged
from attncli.api.heads_single import run_single_text
from attncli.api.loading import ModelLoader
from attncli.api.requests import EffectsRequest, EncodingRequest, HeadsOptions, LoadingRequest, RunningRequest
from attncli.api.without_text import refuse_options, run_circuits, run_needle
from attncli.attention.effects.request import Asked, EffectsPlan, TypedToken, parse_effects
from attncli.attention.labels import check_metric, claim_failures, claim_successes, parse_claims, parse_thresholds
from attncli.attention.positions import Position
from attncli.attention.selection import (
    EVERYTHING,
    HeadsRequest,
    Selection,
    SelectionSpec,
    Unit,
    View,
    Weighting,
    line_starts,
    parse_selection,
)
from attncli.choices import UNITS
from attncli.errors import UsageError
from attncli.metrics import METRICS, RETRIEVAL
from attncli.models.loading.distributed import SINGLE_PROCESS, Communicator
from attncli.models.loading.plain_torch import plain_torch
from attncli.progress import Progress, silent
from attncli.results.heads import DifferenceKind, HeadsResult

#: Patterns are compared exactly up to so many tokens, and in so many bins beyond, because the patterns of all heads of
#: both runs are in memory at once.
_COMPARED_BINS = 256

#: Options that can't be combined with a comparison, and why.
_SINGLE_RUN_OPTIONS = {
    "check": "tests one model on one text",
    "steps": "shows the numbers of one model on one text",
    "rollout": "averages the heads of a layer, and a comparison is head by head",
    "norm_weighted": "gives rows that don't sum to 1, so their difference has no common scale",
}

#: The note where the patterns of the two runs differ in shape.
_DIFFERENT_LENGTHS = "the two have different numbers of tokens, so the metrics are compared instead of the patterns"


def heads(
    text: str | Iterable[str] | Iterable[LocatedText] | None = None,
    *,
    model: Any = None,
    tokenizer: Any = None,
    pair: str | None = None,
    against: str | None = None,
    input_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
    target: str | None = None,
    target_ids: Sequence[int] | None = None,
    generate: int | None = None,
    image: str | Path | Sequence[str | Path] | None = None,
    video: str | Path | None = None,
    chat: bool | None = None,
    audio: str | Path | None = None,
    processor: Any = None,
    inputs: Any = None,
    tokens: str | Sequence[str] = (),
    probe: bool = False,
    columns: str | Sequence[str] | None = None,
    needle: int | None = None,
    qk_ov: bool = False,
    seed: int = 0,
    no_special: bool = False,
    truncate: bool = False,
    layer: SelectionSpec = None,
    head: SelectionSpec = None,
    stack: str | None = None,
    query: str | int | None = None,
    key: str | int | None = None,
    metric: str | None = None,
    threshold: str | Sequence[str] = (),
    check: str | Sequence[str] = (),
    patterns: bool = False,
    bins: int | None = None,
    by: Unit = "token",
    hide_special: bool = False,
    rollout: bool = False,
    receptive_field: bool = False,
    norm_weighted: bool = False,
    top: int = 10,
    steps: bool = False,
    predict: bool = False,
    effect: str | Sequence[str] = (),
    answer: TypedToken | None = None,
    contrast: TypedToken | None = None,
    patch_from: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    refresh: bool = False,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    sharing: Communicator = SINGLE_PROCESS,
    progress: Progress = silent,
) -> HeadsResult:
    """Run a model on a text and describe which tokens each of its attention heads attends to.

    text: the text, with `pair` as a second segment; or `input_ids`, which need no tokenizer. Several texts, or lists of
    ids, are averaged: each head's metrics are means over the texts in which they are defined, each text weighing the
    same, with 95 % intervals (Student's t over texts). `probe` does the same with repeated sequences of random tokens,
    drawn with `seed`, instead of texts.
    columns: what the tab-separated fields of several texts are: `"text,answer,contrast"` for means of their effects, or
    `"source,target"`, which aligns the words of the two texts of an encoder–decoder: see `HeadsResult.alignment`.
    needle: how many random tokens take the place of a text, a few of which stand in them and again at the end: the
    metric `retrieval` is the share of these that a head finds (Wu et al. 2024), the mean over several texts.
    qk_ov: no text; what heads do by their weights alone, in `HeadsResult.qk_ov` (Elhage et al. 2021).
    no_special: add no special tokens.  truncate: shorten a text to the number of tokens that the model accepts.
    target, target_ids, generate: the decoder input of an encoder–decoder: a text, ids from its start token on, or the
    number of tokens to generate (greedily; a model of one stack continues the text).
    inputs: what an `nn.Module` of your own runs on instead of a text: a tensor, or a tuple or dict of them.
    tokens: names for the positions of `input_ids` or of these inputs, in one string with spaces or a list.
    image, video, audio: the file of a picture (or several), of a video (or a folder of its frames), or of a sound, with
    or without a text; `processor` is for a loaded model.  chat: write the text, or JSON messages, by the model's chat
    template with what is shown before it; by default where there is a template that places it, unless the text says
    itself where it goes.
    model: a hub name, a path, `file.py:function` of your own, or a loaded `nn.Module`, of transformers or your own
    (then pass `tokenizer` for a text); None is all-MiniLM-L6-v2. A list of two compares them.
    against: another text to compare with. The result is then that of `text`, and its `difference` holds how the heads
    differ on the other text, the most changed first.
    layer, head, stack: what to show, as on the command line (`"0-2,5"`, `"5.5"`, `"decoder"`); None is everything.
    The result holds the pattern of a chosen head; `patterns=True` keeps those of all heads.
    query, key: the rows and columns of the patterns to keep: an index (`-1`), a word (`"it"`, `"it#2"`), a special
    token (`"cls"`) or a slice (`"3:9"`). For one query, a stack's `reading` is its row, as the mean over the heads; for
    one query and one key, its `ranking` lists the heads by that weight.
    metric: the metric to show; on a long text only this one is measured.  threshold: `"induction=0.3"`, the least value
    for a label.  check: claims such as `"1.2 induction > 0.8"`; `failures` lists those that are false.
    bins: pool patterns to so many bins a side; by default, exact up to 1,024 tokens and 64 bins beyond.
    by: `"word"` or `"line"` for patterns whose rows are means over the tokens of each, and whose columns are sums.
    hide_special: patterns without special tokens; each row is scaled to sum to 1 again.
    rollout: one pattern per layer instead of one per head: how much of each token reaches each position through all
    layers up to that one; by default the last layer's.  receptive_field: the rollout divided by that of uniform
    attention, because in a causal model early tokens are seen by more positions.
    norm_weighted: weights times the norm of the value vectors.
    top: how many keys (or heads) a ranking lists.
    steps: compute one head's attention from one query step by step, with the model's own numbers: see
    `HeadsResult.steps`. By default the head that stands out most on an ordinary token, from the last ordinary
    token; `head` and `query` choose others, `key` which keys are listed. Its `sources` split the score of the key with
    the largest weight over what each part of the model wrote to the residual streams that q and k are made of.
    predict: what the model expects at a position (the last one; `query` chooses another; in a masked language model the
    first mask): the `top` likeliest tokens, and the same after every layer. See `HeadsResult.prediction`.
    effect: what each head does to the outcome there, `"direct"` or several kinds: see `HeadsResult.effects` and
    `Stack.effects`. The outcome is the logit of `answer` (default: the likeliest token) less that of `contrast`, else
    less the mean over the vocabulary. Both are a word, `"=text"` for a token as it stands, or an id.
    patch_from: the text that `"patch"` takes heads from, of as many tokens.
    sharing: processes that share the texts with this one; all get the whole result.

        >>> result = attncli.heads("The cat sat on the mat", model="gpt2", head="4.11")
        >>> result.stacks[0].patterns[0].weights.shape
        (6, 6)

    Raises UsageError for an invalid text, layer, head or device, ModelError for a model that can't be loaded,
    FailedError where memory runs out.
    """
    given = HeadsInput(
        text, input_ids, probe, seed, target, target_ids, generate, image, video, audio, processor,
        EncodingRequest(pair, no_special, truncate), needle, qk_ov, columns, chat, inputs,
        tuple(tokens.split() if isinstance(tokens, str) else tokens),
    )  # fmt: skip
    options = HeadsOptions(
        against, layer, head, stack, query, key, metric, threshold, check, patterns, bins, by, hide_special, rollout,
        norm_weighted, top, steps, EffectsRequest(predict, effect, answer, contrast, patch_from),
        receptive_field,
    )  # fmt: skip
    loading = LoadingRequest(revision, refresh, trust_remote_code, allow_pickle)
    return run_heads(
        given, options, ModelLoader(model, tokenizer, loading, RunningRequest(device, dtype), progress), sharing
    )


@plain_torch()
def run_heads(
    inputs: HeadsInput, options: HeadsOptions, loader: ModelLoader, sharing: Communicator = SINGLE_PROCESS
) -> HeadsResult:
    """As `heads`, from whole requests. The loader's model may be a list of two."""
    models = loader.model if isinstance(loader.model, list | tuple) else [loader.model]
    loaders = [loader._replace(model=model) for model in models]
    if len(models) == 1 and options.against is None:
        return _run(inputs, options, loaders[0], sharing)
    # Both runs read the texts, so an iterator has to become a list.
    if not (inputs.text is None or isinstance(inputs.text, str) or (inputs.chat and is_conversation(inputs.text))):
        inputs = inputs._replace(text=list(inputs.text))
    _check_comparison(len(models), inputs, options)
    if options.against is None:
        return _compare((inputs, inputs), options, loaders, sharing, "models")
    return _compare((inputs, inputs._replace(text=options.against)), options, loaders * 2, sharing, "texts")


def _run(inputs: HeadsInput, options: HeadsOptions, loader: ModelLoader, sharing: Communicator) -> HeadsResult:
    """One run: of one input, or of several that are averaged."""
    loader, own = loader.with_own_code()
    inputs = inputs._replace(inputs=own if inputs.inputs is None else inputs.inputs)
    if loader.name is not None and not (inputs.has_text or inputs.has_media or inputs.without_text):
        _require_inputs(loader.name, inputs)
    refuse_options(inputs, options)
    _refuse_with_chat(inputs)
    plan = _effects_plan(inputs, options)
    kinds = () if plan is None else plan.kinds
    claims = parse_claims([options.check] if isinstance(options.check, str) else options.check, kinds)
    if plan is not None:
        options = options._replace(query=None)
    request = replace(_forward_request(inputs.text, options), effects=plan)
    check_target(inputs)
    # Texts are checked before torch is imported, so that their errors show at once.
    result = _run_input(inputs, many_texts(inputs), options, request, loader, sharing)
    return replace(
        result,
        metric=options.metric or (RETRIEVAL if inputs.needle is not None else None),
        by=options.by,
        weighting=request.weighting,
        receptive_field=request.receptive_field or None,
        failures=tuple(claim_failures(claims, result.stacks)) if claims else None,
        top=options.top,
        notes=(*result.notes, *_early_tokens_note(result, request), *claim_successes(claims, result.stacks)),
    )


def _early_tokens_note(result: HeadsResult, request: HeadsRequest) -> Iterator[str]:
    """A note on a rollout of a causal model, where nothing corrects it."""
    if request.weighting == "rollout" and not request.receptive_field and any(stack.causal for stack in result.stacks):
        yield "a causal model's rollout favours early tokens, which more positions see; --receptive-field corrects it"


def _require_inputs(name: str, inputs: HeadsInput) -> None:
    if inputs.inputs is None:
        raise UsageError(
            f"there is no text, and {name} returned no inputs",
            hint='return (module, inputs), or give a text with --tokenizer MODEL, or --input-ids "5 6 7"',
        )


def _run_input(
    inputs: HeadsInput,
    texts: Iterator[Any] | None,
    options: HeadsOptions,
    request: HeadsRequest,
    loader: ModelLoader,
    sharing: Communicator,
) -> HeadsResult:
    """What kind of input it is decides what runs; texts: the several texts, if it is of that kind."""
    if inputs.has_media:
        from attncli.api.media_input import run_media

        incompatible = {
            "several texts": inputs.probe or texts is not None,
            "--pair": inputs.encoding.pair is not None,
            "--steps": options.steps,
            "--target": inputs.target is not None,
            "--target-ids": inputs.target_ids is not None,
        }
        return run_media(inputs, loader, request, incompatible)
    columns = parse_columns(inputs.columns)
    if is_pairs(columns):
        if texts is None:
            raise UsageError("--columns names the fields of lines", hint="give several lines, or leave --columns out")
        _refuse_single_text_options(inputs, options)
        return run_aligned_lines(inputs, texts, loader, request, columns)
    if request.effects is not None and texts is not None:
        _refuse_single_text_options(inputs, options)
        return run_effect_lines(inputs, texts, loader, request, columns)
    if inputs.qk_ov:
        _refuse_single_text_options(inputs, options)
        return run_circuits(inputs, loader, request)
    if inputs.needle is not None:
        _refuse_single_text_options(inputs, options)
        return run_needle(inputs, loader, request, sharing)
    if inputs.probe or texts is not None:
        _refuse_single_text_options(inputs, options)
        return run_averaged(inputs, texts, loader, request, sharing)
    if inputs.inputs is not None and not inputs.has_text:
        from attncli.api.own_input import run_own_inputs

        return run_own_inputs(inputs, loader, request)
    return run_single_text(inputs, loader, request)


# --- Options


def _refuse_with_chat(inputs: HeadsInput) -> None:
    """Raise UsageError for what takes the place of the one conversation that `--chat` reads, or is added to it."""
    if not inputs.chat:
        return
    others = {
        inputs.without_text or "": inputs.without_text is not None,
        "--input-ids": inputs.input_ids is not None,
        "--pair": inputs.encoding.pair is not None,
        "--audio": inputs.audio is not None,
        "several texts": inputs.is_batch,
    }
    wrong = next((flag for flag, given in others.items() if given), None)
    if wrong is not None:
        raise UsageError(f"--chat reads one conversation, not {wrong}", hint=f"leave --chat out, or {wrong}")


def _forward_request(text: object, options: HeadsOptions) -> HeadsRequest:
    """What to compute in a forward pass. Raises UsageError for options that are invalid or contradict each other."""
    layer, head = options.layer, options.head
    if options.steps:
        _check_steps(options)
    if options.rollout and layer is None:
        layer = "-1"  # a rollout covers all layers up to one, so the last one shows most
    selection = parse_selection(layer, head, options.stack)
    weighting = _weighting(selection, options)
    thresholds = parse_thresholds([options.threshold] if isinstance(options.threshold, str) else options.threshold)
    if options.by not in UNITS:
        raise UsageError(f"--by can't be {options.by!r}", hint=f"it has to be one of {', '.join(UNITS)}")
    query, key = (
        None if given is None else Position(str(given), flag)
        for given, flag in ((options.query, "--query"), (options.key, "--key"))
    )
    starts = line_starts(text) if options.by == "line" and isinstance(text, str) else ()
    view = View(query, key, options.by, options.hide_special, starts)
    # On a long text each metric takes time: none is measured where a single position is shown.
    metrics: tuple[str, ...] = () if view.has_one_query and not options.check else tuple(METRICS)
    if options.metric is not None:
        check_metric(options.metric, "--metric")
        metrics = (options.metric,) if options.metric in METRICS else ()
    shown = options.patterns or selection.chosen or query is not None or key is not None or options.rollout
    if not shown and not options.steps:
        _refuse_without_patterns(options)
    request = HeadsRequest(
        *(selection, shown, options.bins, metrics, view, weighting, thresholds, options.top),
        receptive_field=options.receptive_field,
    )
    # With `--steps`, query and key choose the steps and crop no pattern.
    return replace(request, patterns=options.patterns, view=EVERYTHING, steps=view) if options.steps else request


def _refuse_without_patterns(options: HeadsOptions) -> None:
    """Raise UsageError for options that change patterns, where none is shown."""
    for flag, given in (("--norm-weighted", options.norm_weighted), ("--hide-special", options.hide_special)):
        if given:
            raise UsageError(
                f"{flag} changes patterns, and the map of all heads shows none",
                hint="choose heads with -l or -H, or a token with --query or --key",
            )


def _effects_plan(inputs: HeadsInput, options: HeadsOptions) -> EffectsPlan | None:
    """What is predicted, and which effects are measured. Raises UsageError for options that go with neither."""
    query = None if options.query is None else Position(str(options.query), "--query")
    others = {
        "--key": options.key is not None,
        f"--by {options.by}": options.by != "token",
        "--hide-special": options.hide_special,
        "--norm-weighted": options.norm_weighted,
        "--rollout": options.rollout,
        inputs.without_text or "": inputs.without_text is not None,
        "--steps": options.steps,
        "--against": options.against is not None,
        "--chat with --patch-from": bool(inputs.chat) and options.effects.patch_from is not None,
        "--audio": inputs.audio is not None,
        "several texts": options.effects.predict and inputs.without_text is None and inputs.is_batch,
        "several lists of ids": inputs.without_text is None and inputs.is_batch and inputs.input_ids is not None,
        "--patterns": options.patterns and inputs.is_batch,
    }
    columns = parse_columns(inputs.columns)
    others[f"--columns {','.join(columns)}"] = is_pairs(columns)
    refuse_columns(columns, options.effects._asdict())
    plan = parse_effects(Asked(*options.effects, columns), query, others)
    if plan is None and inputs.columns is not None and not is_pairs(columns):
        raise UsageError(
            "--columns works only with effects of heads, or with source,target",
            hint="add --effect zero, or leave --columns out; source,target aligns the words of an encoder-decoder",
        )
    return plan


def _weighting(selection: Selection, options: HeadsOptions) -> Weighting:
    if options.receptive_field and not options.rollout:
        raise UsageError(
            "--receptive-field works only with a rollout", hint="add --rollout, or leave --receptive-field out"
        )
    if options.rollout and options.norm_weighted:
        raise UsageError("--rollout and --norm-weighted can't be combined", hint="leave one of them out")
    if options.rollout and selection.heads:
        raise UsageError(
            "--rollout averages the heads of a layer, so -H can't choose one", hint="choose layers with -l instead"
        )
    if options.rollout and selection.stack == "cross":
        raise UsageError(
            "--rollout is not possible for cross-attention: its queries and keys are different tokens",
            hint="use --stack encoder or --stack decoder, or leave --rollout out",
        )
    return "rollout" if options.rollout else "norm" if options.norm_weighted else "attention"


def _check_steps(options: HeadsOptions) -> None:
    """Raise UsageError for options that change the weights or what a row stands for."""
    changed = {
        "--rollout": options.rollout,
        "--norm-weighted": options.norm_weighted,
        "--hide-special": options.hide_special,
        f"--by {options.by}": options.by != "token",
        "--bins": options.bins is not None,
    }
    wrong = next((flag for flag, given in changed.items() if given), None)
    if wrong is not None:
        raise UsageError(
            f"--steps shows the numbers of one query, and {wrong} changes how a pattern is drawn",
            hint=f"leave {wrong} out to see the steps, or --steps to see the pattern",
        )


def _refuse_single_text_options(inputs: HeadsInput, options: HeadsOptions) -> None:
    averaged = inputs.without_text or "several texts"
    of_one_text = {
        "--patterns": options.patterns,
        "--bins": options.bins is not None,
        "--query": options.query is not None,
        "--key": options.key is not None,
        f"--by {options.by}": options.by != "token",
        "--hide-special": options.hide_special,
        "--rollout": options.rollout,
        "--norm-weighted": options.norm_weighted,
        "--steps": options.steps,
        "--pair": inputs.encoding.pair is not None,
        "--chat": bool(inputs.chat),
        **dict.fromkeys(inputs.target_flags, True),
    }
    flag = next((flag for flag, given in of_one_text.items() if given), None)
    if flag is not None:
        raise UsageError(
            f"{flag} works on one text; with {averaged}, only averaged metrics are shown",
            hint=f"leave {flag} out, or give one text",
        )


# --- Comparing two models, or a text with `--against` another


def _compare(
    inputs: tuple[HeadsInput, HeadsInput],
    options: HeadsOptions,
    loaders: Sequence[ModelLoader],
    sharing: Communicator,
    kind: DifferenceKind,
) -> HeadsResult:
    """Run twice and add the difference to the first result.

    The patterns of all heads are compared where a single text has them; the result keeps them only where patterns are
    to be shown.
    """
    from attncli.attention.head_differences import compute_difference

    # With effects, the query is where the outcome is.
    chosen = options._replace(query=None) if options.effects.effect else options
    shows_patterns = options.patterns or chosen.chooses_patterns
    average, run_options = any(given.is_batch for given in inputs), options
    if not average and (shows_patterns or options.metric is None):
        run_options = options._replace(patterns=True, bins=options.bins or _COMPARED_BINS)
    first, second = (_run(given, run_options, loader, sharing) for given, loader in zip(inputs, loaders, strict=True))
    found = compute_difference(first, second, kind, metric=options.metric, patterns=shows_patterns and not average)
    stacks = first.stacks if shows_patterns else tuple(replace(stack, patterns=()) for stack in first.stacks)
    warnings = tuple(dict.fromkeys((*first.warnings, *second.warnings)))
    lengths = () if average or options.metric is not None or found.by_total_variation else (_DIFFERENT_LENGTHS,)
    notes = tuple(dict.fromkeys((*first.notes, *second.notes, *lengths)))
    return replace(first, stacks=stacks, difference=found, warnings=warnings, notes=notes)


def _check_comparison(models: int, inputs: HeadsInput, options: HeadsOptions) -> None:
    text, against = inputs.text, options.against
    if models != 2 and against is None:
        raise UsageError(f"{models} models were given, and two can be compared", hint="give one model or two")
    if against is not None and models > 1:
        raise UsageError(
            "--against can't be combined with two models: either two texts or two models are compared",
            hint="leave --against or one -m out",
        )
    if against is not None and not (isinstance(text, str) and isinstance(against, str)):
        raise UsageError("--against compares one text with another one", hint="give one TEXT, or leave --against out")
    second = "--against" if against is not None else "the second -m"
    if is_pairs(columns := parse_columns(inputs.columns)):
        flag = f"--columns {','.join(columns)}"
        raise UsageError(f"{flag} can't be combined with {second}", hint="run it once for each")
    effects = options.effects
    if inputs.qk_ov or effects.predict or (effects.effect and against is not None):
        flag = "--qk-ov" if inputs.qk_ov else "--predict" if effects.predict else "--effect"
        raise UsageError(f"{flag} can't be combined with {second}", hint="run it once for each")
    if effects.effect and inputs.is_batch:
        raise UsageError(
            f"--effect over several texts can't be combined with {second}",
            hint="give one text, or run it once for each",
        )
    for name, reason in _SINGLE_RUN_OPTIONS.items():
        if getattr(options, name):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{flag} can't be combined with {second}: it {reason}", hint=f"leave {flag} or {second} out"
            )
