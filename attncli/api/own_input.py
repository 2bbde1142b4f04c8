"""Run `heads` on inputs of the user's own module, which need no tokens: tensors of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from attncli.api.effects import Opened, add_effects, prepare_run
from attncli.api.heads_input import HeadsInput, name_tokens
from attncli.api.heads_single import full_depth, heads_result, metric_notes, unread_warnings
from attncli.api.loading import ModelLoader
from attncli.attention.effects.tokens import outcome_position
from attncli.errors import UsageError
from attncli.results.heads import HeadsResult
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.attention.effects.request import EffectsPlan
    from attncli.attention.inputs import ModelInputs
    from attncli.attention.selection import HeadsRequest
    from attncli.attention.stacks import CollectedStack
    from attncli.models.loading.loaded_model import LoadedModel


def run_own_inputs(inputs: HeadsInput, loader: ModelLoader, request: HeadsRequest) -> HeadsResult:
    """Run a module on the inputs that its function gave, or the caller.

    Whole numbers among them are shown as token ids: the first tensor of these is the text, the second the decoder's.
    Raises UsageError for options that need a text, ModelError for inputs that hold no tensor.
    """
    from attncli.attention.effects.own_head import find_own_head
    from attncli.attention.stacks import collect, own_names
    from attncli.attention.steps import sources_notes, walk_heads

    _refuse_options(inputs, request)
    plan = request.effects
    loaded = loader.load(loader.files(), request.selection.depth if plan is None else full_depth(request.selection))
    given = _model_inputs(inputs, loaded, loader)
    if plan is not None:
        find_own_head(loaded, given.arguments, plan)
        request = _with_outcome(request, plan, given)
    collected = collect(loaded, given, request)
    _check_names(inputs.tokens, collected)
    stacks = tuple(stack.build() for stack in collected)
    result = heads_result(
        loaded,
        stacks,
        request,
        warnings=tuple(unread_warnings(collected[0].collector.unread_stacks(), request.selection)),
        notes=(*own_names(collected), *(metric_notes(stacks, "no token occurs twice") if given.main.length else ())),
    )
    if plan is not None:
        return _with_effects(
            result,
            plan,
            Opened(loaded, loader.find_tokenizer(None, needed=False), None, loader.progress),
            given,
            collected,
            request,
        )
    if request.steps is None:
        return result
    steps = walk_heads(collected, request.steps)
    return replace(result, steps=steps, notes=(*result.notes, *sources_notes(steps)))


def _with_outcome(request: HeadsRequest, plan: EffectsPlan, given: ModelInputs) -> HeadsRequest:
    """The request with the position of the outcome, where the inputs are ids."""
    tokens = (given.target or given.main).tokens[0]
    return (
        replace(request, read_at=outcome_position(tokens, plan.query, masked=False, flag=plan.flag))
        if tokens
        else request
    )


def _with_effects(
    result: HeadsResult,
    plan: EffectsPlan,
    opened: Opened,
    given: ModelInputs,
    collected: Sequence[CollectedStack],
    request: HeadsRequest,
) -> HeadsResult:
    """The result with what the module predicts, and what its heads do to it."""
    position = request.read_at
    if position is None:
        # Inputs that are no tokens: the positions of the last stack.
        queries = next(iter(collected[-1].layers.values())).sides.queries
        position = outcome_position(queries.tokens[0], plan.query, masked=False, flag=plan.flag)
    run = prepare_run(opened, given, collected, plan, position=position, top=request.top)
    return add_effects(result, run)


def _check_names(names: Sequence[str], collected: Sequence[CollectedStack]) -> None:
    """Raise UsageError where there are names, and no stack has as many positions."""
    layers = [layer for stack in collected for layer in stack.layers.values()]
    lengths = {side.length for layer in layers for side in (layer.sides.queries, layer.sides.keys)}
    if names and len(names) not in lengths:
        raise UsageError(
            f"--tokens names {len(names):,} positions, and the module has {' or '.join(map(str, sorted(lengths)))}",
            hint="give a name for each position, with spaces between",
        )


def _refuse_options(inputs: HeadsInput, request: HeadsRequest) -> None:
    flag = next(iter(inputs.target_flags), None)
    plan = request.effects
    if plan is not None and plan.patch_from is not None:
        flag = "--patch-from"
    if flag is not None:
        raise UsageError(
            f"{flag} needs a text or token ids, and the module runs on its own inputs",
            hint="give a text or --input-ids, or leave it out",
        )
    if request.steps is not None and not request.selection.heads:
        raise UsageError("--steps needs a head for a module's own inputs", hint="choose one with -H, such as -H 0.0")


def _model_inputs(inputs: HeadsInput, loaded: LoadedModel, loader: ModelLoader) -> ModelInputs:
    from attncli.attention.inputs import build_own_inputs, id_rows
    from attncli.models.loading.own_module import own_inputs
    from attncli.tokens.encode import from_ids

    arguments = own_inputs(loaded.module, inputs.inputs)
    ids = id_rows(arguments)
    tokenizer = loader.find_tokenizer(None, needed=False)
    texts = [from_ids(tokenizer, row).tokens for row in ids[:2]]
    if inputs.tokens:
        unnamed = tuple(Token(index, index, name, name) for index, name in enumerate(inputs.tokens))
        texts[:1] = [name_tokens(texts[0], inputs.tokens) if texts else unnamed]
    return build_own_inputs(arguments, texts)
