"""One head and one query step by step: the walk that textbooks make with toy numbers, with those of a real model.

    score_j = q · k_j / √d (+ bias, masked)    A_j = e^score_j / Σ e^score    z = Σ_j A_j v_j    z W_O^(h) is added

(Vaswani et al. 2017, "Attention is all you need"; the last step head by head: Elhage et al. 2021, "A mathematical
framework for transformer circuits".)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from attncli.attention.collector import Collector, LayerSeen, StackKey
from attncli.attention.positions import Position
from attncli.attention.selection import View
from attncli.attention.stacks import NamedStacks
from attncli.errors import UsageError
from attncli.models.capture.residual_trace import trace_attention
from attncli.results.steps import Origin, Others, Projection, Steps, Written
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.models.capture.qkv_inputs import HeadProjection
    from attncli.models.capture.query_key_attention import QueryKeyAttention, SingleQuery
    from attncli.models.capture.residual_trace import AttentionTrace, ResidualWrite

#: Keys that are listed one by one up to this number, and how many of more.
_ALL, _LISTED = 1024, 64

#: How far the model's own sum may be from ours, in its own precision, and still be the same.
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
_HALF_TOLERANCE = 3e-2


def walk(named: NamedStacks, view: View) -> tuple[Steps, ...]:
    """Walk through each of the heads that were chosen, from the query of `view` to its keys; a pass of the model each.

    Raises UsageError for a query or a key that isn't there, and where a model's attention shows no queries and keys.
    """
    return tuple(_steps(named, view, *place) for place in _places(named, view))


def elsewhere(named: NamedStacks, view: View, walks: Sequence[Steps]) -> tuple[str, ...]:
    """The first head that was walked through, in the other stacks that have the query; none where one was named."""
    if not walks or _names_stack(named):
        return ()
    first = walks[0]
    return tuple(
        f"{name}.{first.layer}.{first.head}"
        for key, name in named.names.items()
        if name != first.stack
        and (key, first.layer, first.head) in _heads_of(named, key)
        and _has_query(named, view, key, first.layer)
    )


def _has_query(named: NamedStacks, view: View, key: StackKey, number: int) -> bool:
    try:
        _query_place(named.collector.layers[key][number], view)
    except UsageError:
        return False
    return True


def _names_stack(named: NamedStacks) -> bool:
    selection = named.collector.wanted.selection
    return selection.stack is not None or any(head.stack for head in selection.heads)


def _places(named: NamedStacks, view: View) -> list[tuple[StackKey, int, int]]:
    """The chosen heads. Where no stack was named, those of the first that has the query."""
    missing = None
    if _names_stack(named):
        return [place for key in named.names for place in _heads_of(named, key)]
    for key in named.names:
        found = _heads_of(named, key)
        try:
            for _, number, _ in found:
                _query_place(named.collector.layers[key][number], view)
        except UsageError as error:
            missing = missing or error
        else:
            if found:
                return found
    if missing is not None:
        raise missing
    return []


def _heads_of(named: NamedStacks, key: StackKey) -> list[tuple[StackKey, int, int]]:
    collector = named.collector
    count = collector.layer_count(key)
    return [
        (key, number, head)
        for number, layer in sorted(collector.layers[key].items())
        for head in collector.wanted.selection.heads_in(named.names[key], number, count, layer.heads)
    ]


def _steps(named: NamedStacks, view: View, key: StackKey, number: int, head: int) -> Steps:
    collector, name = named.collector, named.names[key]
    layer = collector.layers[key][number]
    query, keys = _query_place(layer, view), layer.pair.keys.tokens[0]
    call = sum(other.path == layer.path for place, other in collector.layers[key].items() if place < number)
    watched = trace_attention(collector.model, collector.inputs.arguments, layer.path, call=call, query=query)
    called = f"{name}.{number}.{head}" if named.several else f"{number}.{head}"
    place = Place(called, name, number, head, _reader(collector, key, layer))
    whole = _walked(watched, place, layer.pair.queries.tokens[0][query], keys)
    if view.key is not None:
        return whole.only(range(*view.key.span(keys)))
    return whole if len(keys) <= _ALL else whole.listing(_LISTED)


def _query_place(layer: LayerSeen, view: View) -> int:
    return _chosen_query(layer.pair.queries.tokens[0], view.query)


def _chosen_query(tokens: Sequence[Token], position: Position | None) -> int:
    """The last token that is no special one; or the one that was named, of a word of several its last.

    Raises UsageError for a position that isn't there, and for a slice of several.
    """
    if position is None:
        ordinary = [place for place, token in enumerate(tokens) if not token.special]
        return ordinary[-1] if ordinary else len(tokens) - 1
    start, stop = position.span(tokens)
    if stop - start > 1 and ":" in position.typed:
        raise UsageError(
            f"--steps walks from one query, and {position.typed} are {stop - start}",
            hint=f"name one of them: --query {start}",
        )
    return stop - 1


class Place(NamedTuple):
    """A head, and what it is called. reader: see `Origin`."""

    name: str
    stack: str
    layer: int
    head: int
    reader: str | None


def _walked(watched: AttentionTrace, place: Place, query: Token, keys: tuple[Token, ...]) -> Steps:
    """The walk with all keys listed."""
    attention = None if watched.attention is None else watched.attention.with_values
    if attention is None:
        raise _no_vectors(place.name)
    row = attention.single_query(place.head, query.index)
    scores = row.scores
    every = scores if row.sink is None else torch.cat([scores, scores.new_tensor([row.sink])])
    log_sum = torch.logsumexp(every, dim=0)
    if not bool(log_sum.isfinite()):
        raise UsageError(f"token {query.index} sees no key at all: the mask hides them", hint="name another --query")
    weights = (scores - log_sum).exp()
    weighted_sum = weights @ row.values
    tolerance = _TOLERANCE.get(attention.value.dtype, _HALF_TOLERANCE)
    return Steps(
        name=place.name,
        stack=place.stack,
        layer=place.layer,
        head=place.head,
        key_head=row.key_head,
        sharing=attention.heads // attention.key.shape[1],
        query=query,
        query_vector=row.query.numpy(),
        rotated=watched.rotated,
        scale=attention.scaling,
        softcap=attention.softcap,
        keys=keys,
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
        others=Others(0, 0, 0.0, np.zeros(len(weighted_sum))),
        weighted_sum=weighted_sum.numpy(),
        written=None
        if watched.residual_write is None
        else _written(watched.residual_write, weighted_sum, place.head, tolerance),
        origin=_origin(watched, attention, row, place, query.index),
        causal=attention.visibility is not None and attention.visibility.shape == "causal",
    )


def _origin(
    watched: AttentionTrace, attention: QueryKeyAttention, row: SingleQuery, place: Place, query: int
) -> Origin:
    """What q, k and v were made of, as far as it can be told."""
    entering = watched.inputs
    if entering is None:
        return Origin(reader=place.reader)
    made_query = entering.find_projection(attention.query[0, place.head], query)
    made_key, made_value = (
        entering.find_projection(states[0, row.key_head]) for states in (attention.key, attention.value)
    )
    return Origin(
        states=entering.states.numpy(),
        normalised=entering.follows_norm(watched.residual),
        query=_projection(made_query),
        key=_projection(made_key),
        value=_projection(made_value),
        before_rotation=made_query.vector.numpy() if made_query is not None and watched.rotated else None,
        reader=place.reader,
    )


def _projection(made: HeadProjection | None) -> Projection | None:
    return None if made is None else Projection(*made[:-1])


def _reader(collector: Collector, key: StackKey, layer: LayerSeen) -> str | None:
    """The stack that asks, where another one answers."""
    if not key.cross:
        return None
    blocks = collector.model.site_of(layer.path).block_list
    return "decoder" if blocks is None or blocks.word is None else blocks.word


def _written(addition: ResidualWrite, weighted_sum: Tensor, head: int, tolerance: float) -> Written | None:
    """What the head's rows of the output matrix make of it; None where what they are handed isn't the head's own."""
    width = len(weighted_sum)
    own = slice(head * width, (head + 1) * width)
    handed = addition.heads_output[own]
    same = bool((handed - weighted_sum).norm() <= tolerance * weighted_sum.norm().clamp(min=1e-12))
    if not same and bool((handed * weighted_sum < 0).any()):
        # A gate makes numbers smaller or larger. Whatever turns their signs may have mixed the heads.
        return None
    output = (weighted_sum if same else handed) @ addition.matrix[own]
    return Written(
        passed_on=None if same else handed.numpy(),
        output=output.numpy(),
        bias=None if addition.bias is None else addition.bias.numpy(),
        module=float(addition.output.norm()),
        residual=None if addition.residual is None else float(addition.residual.norm()),
        scale=addition.scale,
    )


def _no_vectors(name: str) -> UsageError:
    return UsageError(
        f"--steps needs queries, keys and values, and this model hands out the weights of head {name} alone",
        hint=f"-H {name} --query P shows the weights of one query; or name another model (-m)",
    )
