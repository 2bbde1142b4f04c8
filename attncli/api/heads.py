"""`attncli.heads`: which tokens each attention head of a model attends to.

The options become one `HeadsRequest`. Then one input is run (`heads_single`) or several are averaged (`heads_many`);
`with_comparison` in `heads_result` runs all this twice for two models or for `against`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.api.heads_many import averaged_input, run_averaged
from attncli.api.heads_result import metrics_to_measure, steps_request, steps_selection, with_comparison
from attncli.api.heads_single import OneText, run_single_text
from attncli.api.loading import ModelLoader
from attncli.api.targets import parse_target
from attncli.attention.labels import claim_failures, claim_successes, parse_claims, parse_thresholds
from attncli.attention.positions import Position
from attncli.attention.selection import (
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
from attncli.models.loading.distributed import SINGLE_PROCESS, Communicator
from attncli.models.loading.plain_torch import plain_torch
from attncli.progress import Progress, silent

if TYPE_CHECKING:
    from attncli.api.text_batches import LocatedText
    from attncli.results.heads import HeadsResult


@plain_torch()
@with_comparison
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
    image: str | Path | None = None,
    audio: str | Path | None = None,
    processor: Any = None,
    probe: bool = False,
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
    norm_weighted: bool = False,
    top: int = 10,
    steps: bool = False,
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
    no_special: add no special tokens.  truncate: cut to the number of tokens that the model takes.
    target, target_ids, generate: the decoder input of an encoder–decoder: a text, ids from its start token on, or the
    number of tokens to generate (greedily; a model of one stack continues the text).
    image, audio: the file of a picture or a sound, with or without a text; `processor` goes with a loaded model.
    model: a hub name, a path, or a loaded `transformers.PreTrainedModel` (then pass `tokenizer` for a text);
    None is all-MiniLM-L6-v2. A list of two compares them.
    against: another text to compare with. The result is then that of `text`, and its `difference` holds how the heads
    differ on the other text, the most changed first.
    layer, head, stack: what to look at, as on the command line (`"0-2,5"`, `"5.5"`, `"decoder"`); None is everything.
    The result holds the pattern of a chosen head; `patterns=True` keeps those of all heads.
    query, key: the rows and columns of the patterns to keep: an index (`-1`), a word (`"it"`, `"it#2"`), a special
    token (`"cls"`) or a slice (`"3:9"`). For one query, a stack's `reading` is its row, as the mean over the heads; for
    one query and one key, its `ranking` lists the heads by that weight.
    metric: the metric to show; on a long text only this one is measured.  threshold: `"induction=0.3"`, the least value
    for a label.  check: claims such as `"1.2 induction > 0.8"`; `failures` lists those that do not hold.
    bins: pool patterns to so many bins a side; by default, exact up to 1,024 tokens and 64 bins beyond.
    by: `"word"` or `"line"` for patterns whose rows are means over the tokens of each, and whose columns are sums.
    hide_special: patterns without special tokens; each row is scaled to sum to 1 again.
    rollout: one pattern a layer instead of one a head: how much of each token reaches each position through all layers
    up to that one; by default the last layer's.  norm_weighted: weights times the norm of the value vectors.
    top: how many keys (or heads) a ranking lists.
    steps: compute one head's attention from one query step by step, with the model's own numbers: see
    `HeadsResult.steps`. By default head 0.0 and the last ordinary token; `head` and `query` choose others, `key` which
    keys are listed.
    sharing: processes that share the texts with this one; all get the whole result.

        >>> result = attncli.heads("The cat sat on the mat", model="gpt2", head="4.11")
        >>> result.stacks[0].patterns[0].weights.shape
        (6, 6)

    Raises UsageError for an invalid text, layer, head or device, ModelError for a model that can't be loaded,
    FailedError where memory runs out.
    """
    # A rollout covers all layers up to one, so the last one shows most.
    layer = "-1" if rollout and layer is None else layer
    selection = (steps_selection if steps else parse_selection)(layer, head, stack)
    weighting = _weighting(selection, rollout=rollout, norm_weighted=norm_weighted)
    claims = parse_claims([check] if isinstance(check, str) else check)
    thresholds = parse_thresholds([threshold] if isinstance(threshold, str) else threshold)
    view = _view(query, key, by, hide_special=hide_special, text=text)
    metrics = metrics_to_measure(metric, view, checks=bool(claims))
    shown = patterns or selection.chosen or view.query is not None or view.key is not None or rollout
    request = HeadsRequest(selection, shown, bins, metrics, view, weighting, thresholds, top)
    request = steps_request(replace(request, patterns=patterns)) if steps else request
    choice = parse_target(target, target_ids, generate)
    loader = ModelLoader(model, tokenizer, revision, refresh, trust_remote_code, allow_pickle, device, dtype, progress)
    one = OneText(text, pair, input_ids, special=not no_special, truncate=truncate)
    many = averaged_input(text, input_ids, probe=probe, seed=seed, special=not no_special, truncate=truncate)
    # The text is checked before torch is imported, so that its errors show at once.
    if image is not None or audio is not None:
        from attncli.api.heads_single import run_media

        incompatible = {"several texts": many is not None, "--pair": pair is not None, "--steps": steps}
        incompatible["--target"] = choice.text is not None or choice.ids is not None
        given = {"processor": processor, "generate": choice.generate, "incompatible": incompatible}
        result = run_media(image, audio, one, loader, request, **given)
    elif many is not None:
        result = run_averaged(many, loader, request, patterns=patterns, pair=pair, target=choice, sharing=sharing)
    else:
        result = run_single_text(one, loader, request, choice)
    failed = tuple(claim_failures(claims, result.stacks)) if claims else None
    notes = (*result.notes, *claim_successes(claims, result.stacks))
    return replace(result, metric=metric, by=by, weighting=weighting, failures=failed, top=top, notes=notes)


def _weighting(selection: Selection, *, rollout: bool, norm_weighted: bool) -> Weighting:
    if rollout and norm_weighted:
        raise UsageError("--rollout and --norm-weighted contradict each other", hint="leave one of them out")
    if rollout and selection.heads:
        raise UsageError("--rollout is of all heads of a layer together", hint="choose layers with -l, or nothing")
    if rollout and selection.stack == "cross":
        raise UsageError(
            "cross-attention has no rollout: its queries are other tokens than its keys",
            hint="--stack encoder and --stack decoder have one; or leave --rollout out",
        )
    return "rollout" if rollout else "norm" if norm_weighted else "attention"


def _view(query: str | int | None, key: str | int | None, by: Unit, *, hide_special: bool, text: object) -> View:
    if by not in UNITS:
        raise UsageError(f"--by: a pattern has no {by!r}", hint=f"--by takes {', '.join(UNITS)}")
    return View(
        _position(query, "--query"),
        _position(key, "--key"),
        by,
        hide_special,
        line_starts(text) if by == "line" and isinstance(text, str) else (),
    )


def _position(given: str | int | None, flag: str) -> Position | None:
    return None if given is None else Position(str(given), flag)
