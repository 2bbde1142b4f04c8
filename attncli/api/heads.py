"""`attncli.heads`: where the heads of a model look on a text."""

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
from attncli.attention.claims import failures, parse_claims, parse_thresholds, successes
from attncli.attention.positions import Position
from attncli.attention.selection import (
    UNITS,
    HeadsRequest,
    Selection,
    Spec,
    Unit,
    View,
    Weighting,
    line_starts,
    parse_selection,
)
from attncli.errors import UsageError
from attncli.models.loading.distributed import ALONE, Sharing
from attncli.progress import Progress, silent

if TYPE_CHECKING:
    from attncli.api.text_batches import LocatedText
    from attncli.results.heads import HeadsResult


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
    layer: Spec = None,
    head: Spec = None,
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
    sharing: Sharing = ALONE,
    progress: Progress = silent,
) -> HeadsResult:
    """Run a model on a text and describe where each of its attention heads looks.

    text: what to read, with `pair` as a second segment; or `input_ids`, for which no tokenizer is needed. Several
    texts, or lists of ids, are averaged: each head's metrics are means over the texts that can show them, each text
    weighing the same, with 95 % intervals (Student's t over texts); so they are with `probe`: random tokens that are
    repeated instead of a text, as `seed` chooses them.
    no_special: leave the special tokens out that the model expects.  truncate: cut to the tokens that it takes.
    target, target_ids, generate: what the decoder of an encoder–decoder is given: a text, ids from its start token on,
    or so many tokens that the model writes itself (greedily; a model of one stack goes on from the text).
    image, audio: the file of a picture or a sound, with or without a text; `processor` goes with a loaded model.
    model: a hub name, a path, or a loaded `transformers.PreTrainedModel` (then `tokenizer` goes with a text);
    None is all-MiniLM-L6-v2. A list of two compares them.
    against: another text to compare with. The result is then that of the first, and its `difference` says how the heads
    of the second differ, the most changed first.
    layer, head, stack: what to look at, as on the command line (`"0-2,5"`, `"5.5"`, `"decoder"`); nothing is
    everything. A chosen head's pattern is in the result; `patterns=True` keeps those of all heads.
    query, key: the rows and columns of the patterns that are wanted: an index (`-1`), a word (`"it"`, `"it#2"`), a
    special token (`"cls"`) or a slice (`"3:9"`). The queries and keys of the result are then those alone. A stack's
    `reading` is what one query reads, as the mean over the heads; its `ranking` the heads by one weight, where a key
    is named as well.
    metric: the one to look at; a long text is measured by it alone.  threshold: `"induction=0.3"`, the least value that
    earns a label.  check: claims such as `"1.2 induction > 0.8"`; `failures` says which do not hold.
    bins: pool patterns to so many bins a side; by itself, exact to 1,024 tokens and 64 bins beyond.
    by: `"word"` or `"line"` for patterns whose rows are means over the tokens of each, and columns sums.
    hide_special: patterns without special tokens; what is left of each row is made to sum to 1 again.
    rollout: one pattern a layer instead of those of heads: how much of each token reaches each position through all
    layers up to that one, the last by itself.  norm_weighted: patterns of weights times the norm of what is read.
    top: how many keys (or heads) are told one by one where they are ranked.
    steps: walk through one head from one query, with the model's own numbers: see `HeadsResult.steps`. By itself, head
    0.0 and the last ordinary token; `head` and `query` choose, `key` says which keys are listed.
    sharing: other processes that share the texts with this one; all get the whole result.

        >>> result = attncli.heads("The cat sat on the mat", model="gpt2", head="4.11")
        >>> result.stacks[0].patterns[0].weights.shape
        (6, 6)

    Raises UsageError for a text, layer, head or device that can't be, ModelError for a model that is not to be had,
    FailedError where memory runs out.
    """
    # A rollout is of all layers up to one: the last tells most.
    layer = "-1" if rollout and layer is None else layer
    selection = (steps_selection if steps else parse_selection)(layer, head, stack)
    weighting = _weighting(selection, rollout=rollout, norm_weighted=norm_weighted)
    claims = parse_claims([check] if isinstance(check, str) else check)
    thresholds = parse_thresholds([threshold] if isinstance(threshold, str) else threshold)
    view = _view(query, key, by, hide_special=hide_special, text=text)
    metrics = metrics_to_measure(metric, view, checks=bool(claims))
    shown = patterns or selection.chosen or view.query is not None or view.key is not None or rollout
    wanted = HeadsRequest(selection, shown, bins, metrics, view, weighting, thresholds, top)
    wanted = steps_request(replace(wanted, patterns=patterns)) if steps else wanted
    choice = parse_target(target, target_ids, generate)
    opening = ModelLoader(model, tokenizer, revision, refresh, trust_remote_code, allow_pickle, device, dtype, progress)
    one = OneText(text, pair, input_ids, special=not no_special, truncate=truncate)
    many = averaged_input(text, input_ids, probe=probe, seed=seed, special=not no_special, truncate=truncate)
    # The text is met before torch is imported: what is wrong with it is said at once.
    if image is not None or audio is not None:
        from attncli.api.heads_single import run_media

        beside = {"several texts": many is not None, "--pair": pair is not None, "--steps": steps}
        beside["--target or --generate"] = choice.given
        result = run_media(image, audio, one, opening, wanted, processor=processor, beside=beside)
    elif many is not None:
        result = run_averaged(many, opening, wanted, patterns=patterns, pair=pair, target=choice, sharing=sharing)
    else:
        result = run_single_text(one, opening, wanted, choice)
    failed = tuple(failures(claims, result.stacks)) if claims else None
    notes = (*result.notes, *successes(claims, result.stacks))
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
