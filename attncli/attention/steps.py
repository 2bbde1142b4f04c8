"""The computation of one head for one query, step by step, with the numbers of a real model (`--steps`).

    score_j = q · k_j / √d (+ bias, masked)    A_j = e^score_j / Σ e^score    z = Σ_j A_j v_j    z W_O^(h) is added

(Vaswani et al. 2017, "Attention is all you need"; the last step head by head: Elhage et al. 2021, "A mathematical
framework for transformer circuits".)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from attncli.attention.collector import CollectedLayer
from attncli.attention.score_sources import score_sources
from attncli.attention.selection import View
from attncli.attention.stacks import CollectedStack
from attncli.errors import UsageError
from attncli.models.capture.residual_trace import trace_attention
from attncli.results.steps import HeadOutput, Origin, Projection, Steps, UnlistedKeys

if TYPE_CHECKING:
    from attncli.models.capture.residual_trace import AttentionTrace, ResidualWrite

#: Up to so many keys are all listed; of more keys, the so many with the largest weights.
_MAX_LISTED_WHOLE, _MAX_LISTED_OF_MORE = 1024, 64

#: Up to which relative difference the model's weighted sum counts as equal to ours, by its precision.
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
_HALF_TOLERANCE = 3e-2


def walk_heads(collected: Sequence[CollectedStack], view: View) -> tuple[Steps, ...]:
    """Compute the steps of each chosen head, from the query of `view` to its keys. Runs the model once per head.

    Raises UsageError for a query or a key that isn't there, and for attention whose queries and keys are unavailable.
    """
    return tuple(_walk_head(*chosen, view) for chosen in _chosen_heads(collected, view))


def same_head_in_other_stacks(
    collected: Sequence[CollectedStack], view: View, walks: Sequence[Steps]
) -> tuple[str, ...]:
    """The first walked head's counterparts in other stacks that have the query; none if the user named a stack."""
    if not walks or _stack_is_chosen(collected):
        return ()
    first, others = walks[0], []
    for stack in collected:
        layer = stack.layers.get(first.layer)
        if stack.name != first.stack and layer is not None and first.head in stack.heads_of(first.layer):
            with suppress(UsageError):
                _query_index(layer, view)
                others.append(f"{stack.name}.{first.layer}.{first.head}")
    return tuple(others)


def sources_notes(walks: Sequence[Steps]) -> Iterator[str]:
    """A note on the walked heads of whose score it is unknown what wrote it."""
    names = [walk.name for walk in walks if walk.sources is None]
    if names:
        heads = f"head{'s' if len(names) > 1 else ''} {', '.join(names)}"
        yield (
            f"what wrote the score of {heads} can't be told: q or k comes from the residual stream by a way that can't "
            "be followed, such as the keys of another layer, or a function that isn't known to be linear"
        )


def _stack_is_chosen(collected: Sequence[CollectedStack]) -> bool:
    selection = collected[0].collector.request.selection
    return selection.stack is not None or any(head.stack for head in selection.heads)


def _chosen_heads(collected: Sequence[CollectedStack], view: View) -> list[tuple[CollectedStack, CollectedLayer, int]]:
    """The chosen heads with their stacks and layers; if no stack was named, in the first that has the query."""
    by_stack = (
        [(stack, layer, head) for number, layer in sorted(stack.layers.items()) for head in stack.heads_of(number)]
        for stack in collected
    )
    if _stack_is_chosen(collected):
        return [head for heads in by_stack for head in heads]
    missing = None
    for heads in filter(None, by_stack):
        try:
            for _, layer, _ in heads:
                _query_index(layer, view)
        except UsageError as error:
            missing = missing or error
        else:
            return heads
    if missing is not None:
        raise missing
    return []


def _walk_head(stack: CollectedStack, layer: CollectedLayer, head: int, view: View) -> Steps:
    collector, number = stack.collector, layer.number
    query, keys = _query_index(layer, view), layer.sides.keys.tokens[0]
    call = sum(other.path == layer.path for earlier, other in stack.layers.items() if earlier < number)
    trace = trace_attention(collector.model, collector.inputs.arguments, layer.path, call=call, query=query)
    whole = _build_steps(stack, layer, head, query, trace)
    shown = range(len(keys)) if view.key is None else range(*view.key.span(keys))
    key = max(shown, key=lambda place: whole.weights[place])
    whole = replace(whole, sources=score_sources(stack, layer, call, whole, query, key))
    if view.key is not None:
        return whole.with_keys(shown)
    return whole if len(keys) <= _MAX_LISTED_WHOLE else whole.with_top_keys(_MAX_LISTED_OF_MORE)


def _query_index(layer: CollectedLayer, view: View) -> int:
    """The index of the query: the last token of the position, or without one the last that isn't special.

    Raises UsageError for a position that isn't there, and for a slice of several tokens.
    """
    tokens, position = layer.sides.queries.tokens[0], view.query
    if position is None:
        ordinary = [index for index, token in enumerate(tokens) if not token.special]
        return ordinary[-1] if ordinary else len(tokens) - 1
    start, stop = position.span(tokens)
    if stop - start > 1 and ":" in position.typed:
        raise UsageError(
            f"--steps shows one query, and {position.flag} {position.typed} is {stop - start} tokens",
            hint=f"choose one of them, for instance --query {tokens[start].index}",
        )
    return stop - 1


def _build_steps(
    stack: CollectedStack, layer: CollectedLayer, head: int, query_index: int, trace: AttentionTrace
) -> Steps:
    """The steps with all keys listed."""
    name, query = f"{stack.prefix}{layer.number}.{head}", layer.sides.queries.tokens[0][query_index]
    attention = None if trace.attention is None else trace.attention.with_values
    if attention is None:
        raise UsageError(
            f"--steps needs queries, keys and values, and of head {name} this model exposes only the attention weights",
            hint=f"-H {name} --query P shows the weights of one query; or use another model (-m)",
        )
    row = attention.single_query(head, query_index)
    vectors = attention.query[0, head], attention.key[0, row.key_head], attention.value[0, row.key_head]
    scores = row.scores
    with_sink = scores if row.sink is None else torch.cat([scores, scores.new_tensor([row.sink])])
    log_sum = torch.logsumexp(with_sink, dim=0)
    if not bool(log_sum.isfinite()):
        raise UsageError(f"all keys of token {query.index} are masked", hint="choose another --query")
    weights = (scores - log_sum).exp()
    weighted_sum = weights @ row.values
    tolerance = _TOLERANCE.get(attention.value.dtype, _HALF_TOLERANCE)
    return Steps(
        name=name,
        stack=stack.name,
        layer=layer.number,
        head=head,
        key_head=row.key_head,
        sharing=attention.heads // attention.key.shape[1],
        query=query,
        query_vector=row.query.numpy(),
        rotated=trace.rotated,
        scale=attention.scaling,
        softcap=attention.softcap,
        keys=layer.sides.keys.tokens[0],
        key_vectors=row.keys.numpy(),
        products=row.products.numpy(),
        scaled=row.scaled.numpy(),
        capped=None if row.capped is None else row.capped.numpy(),
        bias=None if row.bias is None else row.bias.numpy(),
        visible=row.visible.numpy(),
        scores=scores.numpy(),
        sink=row.sink,
        log_sum=float(log_sum),
        weights=weights.numpy(),
        values=row.values.numpy(),
        others=UnlistedKeys(0, 0, 0.0, np.zeros(len(weighted_sum))),
        weighted_sum=weighted_sum.numpy(),
        written=_head_output(trace.residual_write, weighted_sum, head, tolerance),
        origin=_origin(trace, vectors, query_index, _reading_stack(stack, layer)),
        causal=attention.visibility is not None and attention.visibility.shape == "causal",
    )


def _origin(trace: AttentionTrace, vectors: Sequence[Tensor], query: int, reader: str | None) -> Origin:
    """The states and projections that the head's vectors q, k and v were computed from, as far as they are known."""
    entering = trace.inputs
    if entering is None:
        return Origin(reader=reader)
    built = [entering.find_projection(each, position) for each, position in zip(vectors, (query, 0, 0), strict=True)]
    query_from, key_from, value_from = (None if each is None else Projection(*each[:-1]) for each in built)
    return Origin(
        states=entering.states.numpy(),
        normalised=entering.follows_norm(trace.residual),
        query=query_from,
        key=key_from,
        value=value_from,
        before_rotation=built[0].vector.numpy() if built[0] is not None and trace.rotated else None,
        reader=reader,
    )


def _reading_stack(stack: CollectedStack, layer: CollectedLayer) -> str | None:
    """The stack whose queries read another stack; None for self-attention."""
    if not stack.key.cross:
        return None
    blocks = stack.collector.model.site_of(layer.path).block_list
    return "decoder" if blocks is None or blocks.word is None else blocks.word


def _head_output(
    addition: ResidualWrite | None, weighted_sum: Tensor, head: int, tolerance: float
) -> HeadOutput | None:
    """The weighted sum times the head's rows of the output matrix; None where their input isn't the head's alone."""
    if addition is None:
        return None
    width = len(weighted_sum)
    rows = slice(head * width, (head + 1) * width)
    received = addition.heads_output[rows]
    same = bool((received - weighted_sum).norm() <= tolerance * weighted_sum.norm().clamp(min=1e-12))
    if not same and bool((received * weighted_sum < 0).any()):
        # A gate scales the sum. If signs differ, the heads may have been mixed.
        return None
    output = (weighted_sum if same else received) @ addition.matrix[rows]
    return HeadOutput(
        passed_on=None if same else received.numpy(),
        output=output.numpy(),
        bias=None if addition.bias is None else addition.bias.numpy(),
        module=float(addition.output.norm()),
        residual=None if addition.residual is None else float(addition.residual.norm()),
        scale=addition.scale,
    )
