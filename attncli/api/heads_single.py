"""Run `heads` on one text or one list of ids, and build the result of any run with its warnings and notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from attncli.api.chat_input import write_chat
from attncli.api.decoder_input import TextAndTarget, add_target, target_notes, written_from
from attncli.api.effects import EffectsRun, Opened, add_effects, find_position, prepare_run, require_head
from attncli.api.heads_input import HeadsInput
from attncli.api.loading import ModelLoader, model_limits, provenance
from attncli.attention.effects.patch_texts import check_same_length
from attncli.attention.positions import Position
from attncli.attention.selection import EVERYTHING, HeadName, line_starts, parse_selection
from attncli.errors import UsageError
from attncli.metrics import PROBED, REPEAT_METRICS
from attncli.results.heads import HeadsResult, Stack
from attncli.results.tokens import Token
from attncli.tokens.encode import EncodedText, encode

if TYPE_CHECKING:
    from attncli.attention.effects.request import EffectsPlan
    from attncli.attention.inputs import ModelInputs
    from attncli.attention.selection import HeadsRequest, Selection
    from attncli.models.capture.structure import BlockList
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.loading.weights import Depth
    from attncli.results.steps import Steps

#: Up to so many tokens, special ones included, nearly every head gives most of its weight to a neighbour or the first.
_FEW_TOKENS = 3

#: The note where one position of a long text is shown without metrics.
_NO_METRICS = "the metrics of heads are not computed for one position of a long text (--metric NAME computes one)"


def run_single_text(inputs: HeadsInput, loader: ModelLoader, request: HeadsRequest) -> HeadsResult:
    """Run the model on one text, and its decoder on the target."""
    files = loader.files()
    model_limits(files).check_selection(request.selection)
    tokenizer = loader.find_tokenizer(files, needed=inputs.input_ids is None or inputs.target is not None)
    chat_warnings: tuple[str, ...] = ()
    if inputs.chat:
        written, chat_warnings = write_chat(inputs.text, loader, files)
        inputs = inputs._replace(text=written, encoding=inputs.encoding._replace(no_special=True))
    if inputs.chat and request.view.by == "line":
        request = replace(request, view=replace(request.view, line_starts=line_starts(inputs.text)))
    encoded = inputs.encode(tokenizer)
    # Report a missing position before the model is loaded. With a target, or an adapter, which may add virtual tokens,
    # positions are only known later.
    view = request.steps or request.view
    later = bool(inputs.target_flags) or files is None or files.base is not None
    plan = request.effects
    for position in () if later else (view.query, view.key, None if plan is None else plan.query):
        view.unit_spans(encoded.tokens, position)
    if view.hide_special and not later and not any(token.special for token in encoded.tokens):
        raise UsageError("--hide-special: the text has no special tokens", hint="leave --hide-special out")
    generates = inputs.generate is not None
    depth = full_depth(request.selection) if generates or plan is not None else request.selection.depth
    loaded = loader.load(files, depth, writes=generates, predicts=plan is not None)
    if any(token.id == loaded.picture_token for token in encoded.tokens):
        raise UsageError("the text has a placeholder for a picture, and no picture was given", hint="add --image FILE")
    if plan is not None:
        _find_own_head(loaded, encoded, plan)
        require_head(loaded, plan)
    opened = Opened(loaded, tokenizer, files, loader.progress)
    result, run = prepare_text(opened, inputs, encoded, request)
    result = replace(result, warnings=(*result.warnings, *chat_warnings))
    return result if run is None else add_effects(result, run)


def _find_own_head(loaded: LoadedModel, text: EncodedText, plan: EffectsPlan) -> None:
    """Find what makes the logits of a module of the user's own, which nothing names. Raises as `find_own_head` does."""
    from attncli.attention.effects.own_head import find_own_head
    from attncli.attention.inputs import build_inputs

    find_own_head(loaded, build_inputs(loaded, [text.tokens], [text.segments]).arguments, plan)


def prepare_text(
    model: Opened, inputs: HeadsInput, encoded: EncodedText, request: HeadsRequest
) -> tuple[HeadsResult, EffectsRun | None]:
    """The result of one text, and what its effects are measured in, if some are asked for."""
    fitting = inputs.fit_to_model(encoded, model.loaded)
    pair = add_target(model.loaded, model.tokenizer, fitting, inputs)
    cut = f"the text was truncated to the {len(fitting.tokens):,} tokens that the model accepts"
    warnings = (cut,) if inputs.was_cut(encoded, fitting) else ()
    return _run(model, pair, request, warnings=warnings)


def _run(
    model: Opened, given: TextAndTarget, request: HeadsRequest, *, warnings: tuple[str, ...]
) -> tuple[HeadsResult, EffectsRun | None]:
    from attncli.api.generated import add_readings
    from attncli.attention.inputs import build_inputs
    from attncli.attention.stacks import collect, own_names
    from attncli.attention.steps import same_head_in_other_stacks, sources_notes, walk_heads

    loaded, plan = model.loaded, request.effects
    if plan is not None:
        request = replace(request, read_at=_outcome_position(loaded, given, plan))
    inputs = build_inputs(
        loaded,
        [given.text.tokens],
        [given.text.segments],
        sequences=[given.text.sequences],
        target=given.target,
    )
    head_note: list[str] = []
    if request.steps is not None and not request.selection.heads:
        request, head_note = _choose_head(loaded, inputs, request)
    whole = request.view == EVERYTHING and request.weighting == "attention"
    looked = replace(request, sketches=not request.patterns, links=whole, traced=written_from(given))
    collected = collect(loaded, inputs, looked)
    stacks = tuple(stack.build() for stack in collected)
    warnings = (*warnings, *unread_warnings(collected[0].collector.unread_stacks(), request.selection))
    notes = (
        *own_names(collected),
        *target_notes(given),
        *_few_tokens_note(given, request),
        *metric_notes(stacks, "no token occurs twice in the text"),
    )
    result = heads_result(loaded, stacks, request, warnings=warnings, notes=notes)
    result = replace(result, generated=None if given.generated is None else add_readings(given.generated, collected))
    if plan is not None and request.read_at is not None:
        source = _source_inputs(model, given, plan)
        run = prepare_run(model, inputs, collected, plan, position=request.read_at, top=request.top, source=source)
        return result, run
    if request.steps is None:
        return result, None
    steps = walk_heads(collected, request.steps)
    others = same_head_in_other_stacks(collected, request.steps, steps)
    notes = (*result.notes, *head_note, *_steps_note(steps[0], others), *sources_notes(steps))
    return replace(result, steps=steps, notes=notes), None


def _choose_head(loaded: LoadedModel, inputs: ModelInputs, request: HeadsRequest) -> tuple[HeadsRequest, list[str]]:
    """The request with the head that reads an ordinary token most from the query of `--steps`, and a note on it.

    Without a query, from the last ordinary token.  Where no head reads an ordinary token, head 0 of the first layer.
    """
    from attncli.attention.stacks import collect

    assert request.steps is not None
    of_decoder = inputs.target is not None and request.selection.stack in ("decoder", "cross")
    side = inputs.target if of_decoder and inputs.target is not None else inputs.main
    query = request.steps.query or _last_ordinary(side.tokens[0])
    reading = replace(request, steps=None, patterns=False, metrics=(), view=replace(EVERYTHING, query=query))
    stacks = [stack.build() for stack in collect(loaded, inputs, reading)]
    stack = next((stack for stack in stacks if stack.reading and stack.reading.strongest), None)
    if stack is None or stack.reading is None:
        first = next(head for stack in stacks for head in stack.metrics)
        return replace(request, selection=replace(request.selection, heads=(_named(first.name),))), []
    best = stack.reading.strongest[0]
    # Without its name, the first stack is the one that is walked, and a note tells of the others.
    head = _named(best.name) if stack is not stacks[0] else replace(_named(best.name), stack=None)
    selection = replace(request.selection, heads=(head,))
    place = best.place or 0
    note = (
        f"from {_quoted(stack.reading.query)}, head {best.name} stands out most: weight {best.weight:.2f} on "
        f"{_quoted(stack.keys[place])}, uniform attention {best.uniform or 0.0:.2f}; choose another head with -H"
    )
    return replace(request, selection=selection), [note]


def _last_ordinary(tokens: Sequence[Token]) -> Position:
    ordinary = [index for index, token in enumerate(tokens) if not token.special and token.index >= 0]
    first = sum(token.index < 0 for token in tokens)
    return Position(str((ordinary[-1] if ordinary else len(tokens) - 1) - first), "--query")


def _named(name: str) -> HeadName:
    (head,) = parse_selection(head=name).heads
    return head


def _quoted(token: Token) -> str:
    return f"{token.text.strip() or token.token} (token {token.index})"


def _source_inputs(model: Opened, given: TextAndTarget, plan: EffectsPlan) -> ModelInputs | None:
    """The inputs of the text that heads are patched from, which goes on as the text does; None without one.

    Raises UsageError where it has another number of tokens.
    """
    if plan.patch_from is None:
        return None
    from attncli.attention.inputs import build_inputs

    if model.tokenizer is None:
        raise UsageError("--patch-from is a text, and the model has no tokenizer", hint="name a model with one (-m)")
    text = given.text
    special = any(token.special for token in text.tokens)
    encoded = encode(model.tokenizer, plan.patch_from, special=special)
    written = 0 if given.target is not None or given.generated is None else len(given.generated.ids)
    own = len(text.tokens) - written
    check_same_length(text.tokens[:own], encoded.tokens)
    segments = (*encoded.segments, *text.segments[own:])
    return build_inputs(model.loaded, [(*encoded.tokens, *text.tokens[own:])], [segments], target=given.target)


def _outcome_position(loaded: LoadedModel, given: TextAndTarget, plan: EffectsPlan) -> int:
    tokens = given.text.tokens if given.target is None else given.target
    return find_position(loaded, tokens, plan, 0 if given.generated is None else len(given.generated.ids))


def _few_tokens_note(given: TextAndTarget, request: HeadsRequest) -> Iterator[str]:
    """A note where heads are labelled by what they do, and the text is so short that nearly all do the same."""
    count = len(given.text.tokens)
    if (
        count <= _FEW_TOKENS
        and request.effects is None
        and request.view == EVERYTHING
        and not request.selection.chosen
        and request.steps is None
    ):
        several = f"{count} token{'s are' if count > 1 else ' is'}"
        yield f"{several} too few to tell heads apart; give a longer text, or use --probe"


def _steps_note(steps: Steps, others: Sequence[str]) -> Iterator[str]:
    """A note on other stacks that `--steps` can show. others: a head of each."""
    if others:
        heads = " or ".join(f"-H {name}" for name in others)
        yield f"the steps are in the {steps.stack}; {heads} shows another stack"


def full_depth(selection: Selection) -> Depth:
    """All layers, as generating needs them; the selection is checked against the model."""

    def depth(lists: Sequence[BlockList]) -> Mapping[str, int]:
        selection.depth(lists)
        return {}

    return depth


# --- The result of any run


def heads_result(
    loaded: LoadedModel,
    stacks: tuple[Stack, ...],
    request: HeadsRequest,
    *,
    warnings: tuple[str, ...],
    notes: tuple[str, ...],
) -> HeadsResult:
    """The result of any run of `heads`. warnings: added to those of loading the model."""
    return HeadsResult(
        model=loaded.name,
        device=str(loaded.device),
        dtype=loaded.dtype,
        stacks=stacks,
        made_by=provenance(
            "tokenizers", "transformers", "torch", model_class=loaded.class_name, revision=loaded.revision
        ),
        warnings=(*loaded.warnings, *warnings),
        notes=(*notes, *_virtual_token_note(loaded), *_ignored_option_notes(stacks, request)),
        chosen=request.shows_patterns,
    )


def _virtual_token_note(loaded: LoadedModel) -> Iterator[str]:
    if count := loaded.virtual_tokens:
        names = "[P0] is a virtual token" if count == 1 else f"[P0] to [P{count - 1}] are virtual tokens"
        yield f"{names} of the adapter, before the text; --query and --key count from the text's first token"


def _ignored_option_notes(stacks: tuple[Stack, ...], request: HeadsRequest) -> Iterator[str]:
    """Notes on options that change patterns, where no pattern is shown."""
    if request.view.by != "token" and not request.patterns and not any(stack.sketches for stack in stacks):
        flag = f"--by {request.view.by}"
        yield f"{flag} has no effect here, because no pattern is shown: choose one with -l, -H or --query"


def unread_warnings(unread: Iterable[tuple[str, str]], selection: Selection) -> Iterator[str]:
    """Warnings for stacks whose attention can't be read from the attention interface or the modules."""
    if selection.stack is None:
        for stack, mixer in unread:
            yield f"the attention of the {stack} can't be read and is not shown: {mixer}"


def metric_notes(stacks: tuple[Stack, ...], without_repeats: str) -> Iterator[str]:
    """Notes on metrics that are null. without_repeats: how the note on texts without repeated tokens begins."""
    if all(value is None for stack in stacks for head in stack.metrics for value in head.values.values()):
        yield _NO_METRICS
        return
    positional = [stack for stack in stacks if stack.stack != "cross"]
    repeated = any(head.values[PROBED] is not None for stack in positional for head in stack.metrics)
    if positional and not repeated:
        yield f"{without_repeats}, so {' and '.join(REPEAT_METRICS)} have no value (use --probe to measure them)"
