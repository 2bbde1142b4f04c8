"""`attncli.heads`: where the heads of a model look on a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.attention.claims import failures, parse_claims, parse_thresholds
from attncli.attention.positions import Position
from attncli.attention.selection import Selection, Spec, Wanted, Weighting, parse_selection
from attncli.attention.view import UNITS, Unit, View, line_starts
from attncli.errors import UsageError
from attncli.models.files import ModelFiles, open_files
from attncli.models.processors import without_text
from attncli.models.reference import DEFAULT_MODEL, parse_reference
from attncli.models.sharing import ALONE, Sharing
from attncli.models.tokenizers.opening import NoTokenizerError, load_tokenizer, wrap_tokenizer
from attncli.progress import Progress, silent
from attncli.tokens.encode import EncodedText, encode, from_ids, was_cut
from attncli.verbs.difference import comparing
from attncli.verbs.heads_many import many_texts, refuse_beside_many
from attncli.verbs.ids import id_lists
from attncli.verbs.made_by import made_by
from attncli.verbs.reading import UNMEASURED, is_unmeasured, long_metrics
from attncli.verbs.targets import START_ALONE, Sides, both_sides, checked_alone, parse_target, target_notes
from attncli.verbs.walking import to_walk, walked_selection

if TYPE_CHECKING:
    from attncli.models.entry import Sense
    from attncli.models.loaded import LoadedModel
    from attncli.models.tokenizers.encoding import Tokenizer
    from attncli.results.heads import HeadsResult, Stack
    from attncli.verbs.averaging import Average
    from attncli.verbs.many_texts import Given


@comparing
def heads(
    text: str | Iterable[str] | Iterable[Given] | None = None,
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
    last = "-1" if rollout and layer is None else layer
    selection = (walked_selection if steps else parse_selection)(last, head, stack)
    weighting = _weighting(selection, rollout=rollout, norm_weighted=norm_weighted)
    claims = parse_claims([check] if isinstance(check, str) else check)
    thresholds = parse_thresholds([threshold] if isinstance(threshold, str) else threshold)
    view = _view(query, key, by, hide_special=hide_special, text=text)
    metrics = long_metrics(metric, view, checks=bool(claims))
    shown = patterns or selection.chosen or view.query is not None or view.key is not None or rollout
    wanted = Wanted(selection, shown, bins, metrics, view, weighting, thresholds, top)
    wanted = to_walk(replace(wanted, patterns=patterns)) if steps else wanted
    choice = parse_target(target, target_ids, generate)
    named = _Named(revision, refresh, trust_remote_code, allow_pickle, progress)
    files = named.files(model) if not _is_module(model) else None
    many = many_texts(text, input_ids, probe=probe, seed=seed, special=not no_special, truncate=truncate)
    # The text is met before torch is imported: what is wrong with it is said at once.
    if image is not None or audio is not None:
        from attncli.verbs.senses import open_scene

        beside = {"several texts": many is not None, "--pair": pair is not None, "--steps": steps}
        beside["--target or --generate"] = choice.given
        scene = open_scene(image, audio, beside=beside)
        encoded = None
        if text is not None or input_ids is not None:
            words = _tokenizer(files, tokenizer, named, needed=input_ids is None)
            encoded = _encoded(words, text, None, input_ids, special=not no_special, truncate=truncate)
        loaded = _loaded(model, files, named, selection, device, dtype, sense=scene.sense)
        looked = scene.look(loaded, files, processor, encoded, wanted, truncate=truncate)
        result = _result(loaded, looked.stacks, wanted, warnings=(), notes=looked.notes)
        result = replace(result, picture=looked.picture)
    elif many is not None:
        refuse_beside_many(wanted, patterns=patterns, pair=pair, target=choice)
        words = _tokenizer(files, tokenizer, named, needed=many.needs_tokenizer)
        loaded = _loaded(model, files, named, selection, sharing.own_device(device), dtype)
        average = many.average(loaded, words, replace(wanted, patterns=False), sharing=sharing, progress=progress)
        result = _averaged(loaded, average, wanted)
    else:
        words = _tokenizer(files, tokenizer, named, needed=input_ids is None or target is not None)
        encoded = _encoded(words, text, pair, input_ids, special=not no_special, truncate=truncate)
        for position in () if choice.given else (view.query, view.key):
            view.shown(encoded.tokens, position)
        loaded = _loaded(model, files, named, selection, device, dtype, writes=generate is not None)
        fitting = _fitting(encoded, loaded, truncate=truncate)
        cut = truncate and (fitting is not encoded or was_cut(encoded, _texts(text, pair)))
        sides = both_sides(loaded, words, fitting, choice, special=not no_special, truncate=truncate)
        result = _look(loaded, sides, wanted, warnings=_cut_note(fitting) if cut else ())
    failed = tuple(failures(claims, result.stacks)) if claims else None
    return replace(result, metric=metric, by=by, weighting=weighting, failures=failed, top=top)


def _weighting(selection: Selection, *, rollout: bool, norm_weighted: bool) -> Weighting:
    if rollout and norm_weighted:
        raise UsageError("--rollout and --norm-weighted contradict each other", hint="leave one of them out")
    if rollout and selection.heads:
        raise UsageError("--rollout is of all heads of a layer together", hint="choose layers with -l, or nothing")
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


def _texts(*given: object) -> list[str]:
    return [text for text in given if isinstance(text, str)]


def _cut_note(kept: EncodedText) -> tuple[str, ...]:
    return (f"the text was cut to the {len(kept.tokens):,} tokens that the model takes",)


@dataclass(frozen=True)
class _Named:
    """How a model that was named, and not handed over, is to be had."""

    revision: str | None
    refresh: bool
    trust_remote_code: bool
    allow_pickle: bool
    progress: Progress

    def files(self, model: str | Path | None) -> ModelFiles:
        ref = parse_reference(str(model) if model else DEFAULT_MODEL, revision=self.revision)
        return open_files(ref, refresh=self.refresh, progress=self.progress)


def _is_module(model: object) -> bool:
    """Whether the user handed a model over instead of its name."""
    return not (model is None or isinstance(model, str | Path))


def _tokenizer(files: ModelFiles | None, given: Any, named: _Named, *, needed: bool) -> Tokenizer | None:
    """The tokenizer to use; None where ids were given and there is none at hand."""
    if given is not None:
        return wrap_tokenizer(given)
    if files is None:
        if not needed:
            return None
        raise UsageError(
            "a model that was handed over needs a tokenizer for a text", hint="pass tokenizer= beside model="
        )
    try:
        return load_tokenizer(files, trust_remote_code=named.trust_remote_code)
    except NoTokenizerError as error:
        if needed:
            raise without_text(files) or error from None
        return None


def _encoded(
    tokenizer: Tokenizer | None,
    text: Any,
    pair: str | None,
    input_ids: Any,
    *,
    special: bool,
    truncate: bool,
) -> EncodedText:
    if (text is None) == (input_ids is None):
        raise UsageError("one text or one list of ids is needed", hint="give a text, or ids with --input-ids")
    if input_ids is not None:
        if pair is not None:
            raise UsageError("ids can't have a pair", hint="--pair goes with a text; leave it or --input-ids out")
        lists = id_lists(input_ids)
        if len(lists) > 1:
            raise UsageError(f"{len(lists)} lists of ids were given where one is taken", hint="give one list")
        return from_ids(tokenizer, lists[0])
    assert tokenizer is not None
    if not isinstance(text, str) or not isinstance(pair, str | None):
        raise UsageError("a text is a string", hint="give one string, and pair= another")
    if not text.strip() or (pair is not None and not pair.strip()):
        what = "empty" if not text or pair == "" else "white space alone"
        raise UsageError(f"the text is {what}", hint="give some text, or ids with --input-ids")
    encoded = encode(tokenizer, text, pair=pair, special=special, truncate=truncate)
    limit = tokenizer.max_length
    if limit is not None and len(encoded.tokens) > limit:
        raise _too_long(len(encoded.tokens), limit)
    return encoded


def _too_long(tokens: int, limit: int) -> UsageError:
    return UsageError(f"the text has {tokens:,} tokens and the model takes {limit:,}", hint="--truncate cuts it to fit")


def _loaded(
    model: Any,
    files: ModelFiles | None,
    named: _Named,
    selection: Selection,
    device: str,
    dtype: str,
    *,
    writes: bool = False,
    sense: Sense | None = None,
) -> LoadedModel:
    # Some seconds for libraries alone; whoever waits should know for what.
    named.progress("starting torch", 0, None)
    from attncli.models.load import load_model
    from attncli.models.loaded import wrap_model

    if files is None:
        loaded = wrap_model(model)
        if sense is not None:
            loaded.refuse_without(sense)
        selection.depth(loaded.lists)
        return loaded
    return load_model(
        files,
        depth=checked_alone(selection) if writes else selection.depth,
        writes=writes,
        device=device,
        dtype=dtype,
        allow_pickle=named.allow_pickle,
        trust_remote_code=named.trust_remote_code,
        sense=sense,
        progress=named.progress,
    )


def _fitting(encoded: EncodedText, loaded: LoadedModel, *, truncate: bool) -> EncodedText:
    """The tokens, as many as the model takes. The tokenizer has cut a text to what it knows of already."""
    limit = loaded.max_positions
    if limit is None or len(encoded.tokens) <= limit:
        return encoded
    if not truncate:
        raise _too_long(len(encoded.tokens), limit)
    return EncodedText(encoded.tokens[:limit], encoded.segments[:limit], encoded.sequences[:limit])


def _look(loaded: LoadedModel, sides: Sides, wanted: Wanted, *, warnings: tuple[str, ...]) -> HeadsResult:
    from attncli.attention.inputs import build_inputs
    from attncli.attention.stacks import collect, described, named_stacks, unread_stacks
    from attncli.attention.steps import walk

    inputs = build_inputs(
        loaded,
        [sides.text.tokens],
        [sides.text.segments],
        sequences=[sides.text.sequences],
        target=sides.target,
    )
    collector = collect(loaded, inputs, replace(wanted, sketches=not wanted.patterns))
    named = named_stacks(collector)
    (stacks,) = described(collector, named)
    warnings = (*warnings, *_unread(unread_stacks(collector), wanted.selection))
    notes = (*target_notes(sides), *_notes(stacks, "the text repeats nothing"))
    result = _result(loaded, stacks, wanted, warnings=warnings, notes=notes)
    steps = None if wanted.steps is None else walk(named, wanted.steps)
    return replace(result, steps=steps, generated=sides.generated)


def _averaged(loaded: LoadedModel, average: Average, wanted: Wanted) -> HeadsResult:
    warnings = (*average.warnings, *_unread(average.unread, wanted.selection))
    start = (START_ALONE,) if loaded.config.is_encoder_decoder and not average.probe else ()
    notes = () if average.probe else (*start, *_notes(average.stacks, "none of the texts repeats anything"))
    result = _result(loaded, average.stacks, wanted, warnings=warnings, notes=(*average.notes, *notes))
    return replace(result, texts=average.texts, probe=average.probe)


def _result(
    loaded: LoadedModel, stacks: tuple[Stack, ...], wanted: Wanted, *, warnings: tuple[str, ...], notes: tuple[str, ...]
) -> HeadsResult:
    from attncli.results.heads import HeadsResult

    return HeadsResult(
        model=loaded.name,
        device=str(loaded.device),
        dtype=loaded.dtype,
        stacks=stacks,
        made_by=made_by("tokenizers", "transformers", "torch", model_class=loaded.class_name, revision=loaded.revision),
        warnings=(*loaded.warnings, *warnings),
        notes=notes,
        chosen=wanted.shows_patterns,
    )


def _unread(unread: Iterable[tuple[str, str]], selection: Selection) -> Iterator[str]:
    """The stacks that attend in a way that neither the interface nor their modules show."""
    if selection.stack is None:
        for stack, mixer in unread:
            yield f"the attention of the {stack} can't be read and is left out: {mixer}"


def _notes(stacks: tuple[Stack, ...], without_repeats: str) -> Iterator[str]:
    """What a reader should know of the numbers themselves."""
    if is_unmeasured(stacks):
        yield UNMEASURED
        return
    positional = [stack for stack in stacks if stack.stack != "cross"]
    repeated = any(head.values["induction"] is not None for stack in positional for head in stack.metrics)
    if positional and not repeated:
        yield f"{without_repeats}, so that duplicate and induction are null (--probe shows them)"
