"""Runs a model once and turns what was collected into stacks: layers with their heads' metrics, labels and patterns.

For one position the rows of all heads of all layers are averaged, and for each key the head with the largest weight on
it is recorded (`RowReading`); where one key is chosen as well, the heads are ranked by their weight on it (`Ranking`).
A key of several tokens has the sum of their columns (Clark et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attncli.attention.collector import CollectedLayer, Collector, StackKey
from attncli.attention.inputs import ModelInputs
from attncli.attention.labels import LABEL_THRESHOLDS, assign_labels
from attncli.attention.pattern_sums import RowWeights, merge_tokens, unit_lines
from attncli.attention.positions import Position, Span
from attncli.attention.selection import HeadsRequest
from attncli.errors import UsageError
from attncli.models.capture.attention_types import CROSS_SUFFIX
from attncli.models.capture.qkv_inputs import output_projections
from attncli.models.loading.own_module import OWN_PREFIX
from attncli.results.heads import HeadMetrics, Layer, Stack, resting_places
from attncli.results.patterns import ColumnReading, HeadRead, HeadWeight, KeyRead, Ranking, RowReading
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.attention.metrics import Side
    from attncli.models.capture.attention_types import Attention
    from attncli.models.loading.loaded_model import LoadedModel


#: Called after each attention computation was collected.
Watch = Callable[[Collector, "Attention"], None]


def collect(
    model: LoadedModel, inputs: ModelInputs, request: HeadsRequest, watch: Watch | None = None
) -> tuple[CollectedStack, ...]:
    """Run the forward pass, and return what was collected of each requested stack.

    watch: is called with the collector and every attention that it has collected.
    Raises UsageError for a stack, layer, head or position that isn't there, and what `LoadedModel.run_attention`
    raises.
    """
    projections = output_projections(model, inputs.arguments) if request.weighting == "norm" else {}
    collector = Collector(model, inputs, request, projections)

    def observe(path: str, attention: Attention) -> None:
        collector(path, attention)
        if watch is not None:
            watch(collector, attention)

    collector.unread = model.run_attention(inputs.arguments, observe)
    return name_stacks(collector)


@dataclass(frozen=True)
class CollectedStack:
    """What was collected of one stack of a batch. prefix: before the names of its heads, if there are other stacks."""

    collector: Collector
    key: StackKey
    name: str
    prefix: str

    @property
    def layers(self) -> dict[int, CollectedLayer]:
        return self.collector.layers[self.key]

    def heads_of(self, number: int) -> tuple[int, ...]:
        """The chosen heads of a layer."""
        count = self.collector.layer_count(self.key)
        return self.collector.request.selection.heads_in(self.name, number, count, self.layers[number].heads)

    def build(self, text: int = 0) -> Stack:
        """The stack of one text of the batch, without padding."""
        collector, view = self.collector, self.collector.request.view
        collected = {number: layer for number, layer in sorted(self.layers.items()) if layer.chosen}
        sides = next(iter(self.layers.values())).sides
        axes = collector.axes(sides, text)
        metrics = tuple(head for layer in collected.values() for head in self._head_metrics(layer, text))
        patterns = tuple(
            pattern
            for layer in collected.values()
            for sums in layer.patterns[text : text + 1]
            for pattern in sums.patterns()
        )
        return Stack(
            stack=self.name,
            layers=tuple(self._build_layer(number) for number in range(collector.layer_count(self.key))),
            queries=axes.rows.units,
            keys=axes.columns.units,
            metrics=metrics,
            baselines={number: layer.baseline.means()[text][0] for number, layer in collected.items()},
            repeats={number: layer.metrics.repeats(text) for number, layer in collected.items()},
            causal=self.is_causal,
            full=all(layer.full is not False for layer in self.layers.values()),
            patterns=patterns if collector.request.patterns else (),
            sketches=() if collector.request.patterns else patterns,
            unit=view.by,
            whole=collector.full_size(sides, text),
            even_quadrants={
                number: layer.baseline.pairs.means(text)[0]
                for number, layer in collected.items()
                if layer.baseline.pairs is not None
            },
            query_medium=sides.queries.medium,
            key_medium=sides.keys.medium,
            query_lines=self._side_lines(sides.queries, axes.rows.units, text),
            key_lines=self._side_lines(sides.keys, axes.columns.units, text),
            **self._read_position(metrics),
        )

    def _head_metrics(self, layer: CollectedLayer, text: int) -> Iterator[HeadMetrics]:
        """The chosen heads of a layer."""
        values, uniform = layer.metrics.means()[text], layer.baseline.means()[text][0]
        queries, indices = layer.metrics.query_counts(text), layer.metrics.token_indices()[text]
        quadrants = [None] * len(values) if layer.metrics.pairs is None else layer.metrics.pairs.means(text)
        thresholds = {**LABEL_THRESHOLDS, **self.collector.request.thresholds}
        causal = self.is_causal
        links = [] if layer.links is None else layer.links.links(causal=causal)
        for head in self.heads_of(layer.number):
            yield HeadMetrics(
                f"{self.prefix}{layer.number}.{head}",
                layer.number,
                head,
                assign_labels(values[head], uniform, queries, thresholds),
                values[head],
                quadrants=quadrants[head],
                token_index=indices[head],
                link=links[head] if links else None,
            )

    @property
    def is_causal(self) -> bool:
        """Whether no query sees a later key."""
        return not self.key.cross and self.name != "encoder" and _is_causal(self.collector, self.key)

    def _build_layer(self, number: int) -> Layer:
        """A layer of the stack; one that wasn't run is assumed to have as many heads as the others."""
        if number in self.layers:
            return Layer(number, self.layers[number].heads)
        blocks = self.collector.model.blocks.get(self.key.path, ())
        block = blocks[number] if number < len(blocks) else None
        if block is not None and block.attends and number > max(self.layers):
            return Layer(number, next(iter(self.layers.values())).heads)
        return Layer(number, 0, block.mixer if block is not None else None)

    def _side_lines(self, side: Side, units: Sequence[Token], text: int) -> tuple[int | None, ...] | None:
        """The lines in which units begin; None on the side of a decoder, whose text is not the one with lines."""
        if tuple(token for token in side.tokens[text] if token.index >= 0) != self.collector.inputs.main.tokens[text]:
            return None
        return unit_lines(units, self.collector.request.view)

    def _read_position(self, heads: Sequence[HeadMetrics]) -> dict[str, Any]:
        """The row of one position, the ranking of heads by one weight, or the column of one key, if requested."""
        request = self.collector.request
        columns = [(layer, layer.column) for _, layer in sorted(self.layers.items()) if layer.column is not None]
        if columns:
            return {
                "readers": _average_columns(columns, request, {(head.layer, head.head): head.name for head in heads})
            }
        layers = [(layer, layer.row) for _, layer in sorted(self.layers.items()) if layer.row is not None]
        # A rollout goes up to one layer: the mean over several would have no meaning.
        if not layers or (request.weighting == "rollout" and len(layers) > 1):
            return {}
        names = {(head.layer, head.head): head.name for head in heads}
        if request.view.has_one_key:
            return {"ranking": _rank_heads(layers, request, names)}
        return {"reading": _average_rows(layers, request, names, causal=self.is_causal)}


# --- Names


def own_names(stacks: Sequence[CollectedStack]) -> Iterator[str]:
    """A note on which modules the stacks and layers of the user's own code are."""
    if not stacks[0].collector.model.is_own:
        return
    named = []
    for stack in stacks:
        if stack.key.path:
            named.append(f"{stack.name} is {stack.key.path.removeprefix(OWN_PREFIX)}")
        else:
            paths = ((number, layer.path.removesuffix(CROSS_SUFFIX)) for number, layer in sorted(stack.layers.items()))
            listed = [f"{stack.prefix}{number} is {path.removeprefix(OWN_PREFIX)}" for number, path in paths
                      if path.startswith(OWN_PREFIX)]  # fmt: skip
            named += [f"layer {', '.join(listed)}"] if listed else []
    if named:
        yield f"by the names of the modules: {'; '.join(named)}"


def name_stacks(collector: Collector) -> tuple[CollectedStack, ...]:
    """The requested stacks with their names. Raises UsageError for a stack, layer or position that isn't there."""
    selection = collector.request.selection
    names = {}
    for key in collector.layers:
        possible = collector.possible_names(key)
        names[key] = possible[0 if len(possible) == 1 else int(_is_causal(collector, key))]
    requested = [selection.stack, *(name.stack for name in selection.heads)]
    wrong = next((stack for stack in requested if stack is not None and stack not in names.values()), None)
    if wrong is not None:
        raise UsageError(f"the model has no stack {wrong!r}", hint=f"its stacks are {', '.join(names.values())}")
    chosen: dict[StackKey, str] = {}
    for index, (key, name) in enumerate(names.items()):
        if selection.stack in (None, name) and collector.can_show(key):
            # The second of two towers of one kind gets a number.
            duplicates = [*names.values()][:index].count(name)
            chosen[key] = f"{name}{duplicates + 1}" if duplicates else name
    if not chosen:
        if collector.model.virtual_tokens:
            why = "needs a query for every key, and the adapter's virtual tokens are only keys"
            raise UsageError(f"--rollout {why}", hint="leave --rollout out")
        why = "needs self-attention"
        raise UsageError(f"--rollout {why}", hint="leave --rollout out")
    shown = {key: name for key, name in chosen.items() if key not in collector.position_errors}
    if not shown:
        raise next(error for key, error in collector.position_errors.items() if key in chosen)
    _require_readable_layers(collector)
    return tuple(
        CollectedStack(collector, key, name, f"{name}." if len(names) > 1 else "") for key, name in shown.items()
    )


def _is_causal(collector: Collector, key: StackKey) -> bool:
    """Whether no query saw a later key. A single token is causal either way, so then the kind of model decides."""
    layers = [layer for layer in collector.layers[key].values() if layer.sides.same_sequence]
    if layers and all(layer.sides.queries.length > 1 for layer in layers):
        return all(layer.causal for layer in layers if layer.causal is not None)
    return collector.possible_names(key) == ("decoder",) or collector.model.generates


def _require_readable_layers(collector: Collector) -> None:
    """Raise UsageError if no layer with attention was chosen: the result would be empty."""
    if not any(layer.chosen for layers in collector.layers.values() for layer in layers.values()):
        for missing in collector.position_errors.values():
            raise missing
        attending = ", ".join(str(number) for number in sorted(set().union(*collector.layers.values())))
        raise UsageError(
            "none of the chosen layers has attention that can be read", hint=f"these layers have: {attending}"
        )


# --- The row of one position

#: Layers with their rows, and the name of each head by its layer and number.
_LayerRows = Sequence[tuple[CollectedLayer, RowWeights]]
_HeadNames = Mapping[tuple[int, int], str]


def _average_rows(layers: _LayerRows, request: HeadsRequest, names: _HeadNames, *, causal: bool) -> RowReading:
    """The mean row over all heads of all layers, and its largest keys.

    Rows of attention are shares of 1, so that uniform attention is their baseline. A rollout belongs to no head.
    """
    sides, view = layers[0][0].sides, request.view
    counts = np.array([len(rows) for _, (rows, _) in layers], dtype=np.float64)
    total, uniform = (np.stack(each) for each in zip(*((rows.sum(0), even) for _, (rows, even) in layers), strict=True))
    weights = np.asarray(total.sum(axis=0) / int(counts.sum()), dtype=np.float32)
    uniform = np.asarray(counts @ uniform / int(counts.sum()), dtype=np.float32)
    largest = np.stack([rows.max(axis=0) for _, (rows, _) in layers])
    top = []
    for key in [key for key in np.argsort(-weights, kind="stable").tolist() if uniform[key] > 0][: request.top]:
        layer, (rows, _) = layers[int(largest[:, key].argmax())]
        even = float(uniform[key]) if request.weighting == "attention" else None
        name = None if request.weighting == "rollout" else names[layer.number, layer.chosen[rows[:, key].argmax()]]
        top.append(KeyRead(key, float(weights[key]), even, name, float(rows[:, key].max())))
    tokens = sides.keys.tokens[0]
    units = view.unit_spans(tokens, view.key)
    query, start, stop = _position_token(view.query, sides.queries)
    (query_line,) = unit_lines([query], view) or (None,)
    # The shown units that contain the position itself.
    own = tuple(_overlapping(units, _span(view.query, tokens))) if sides.same_sequence else ()
    resting = resting_places([merge_tokens(tokens[start:stop]) for start, stop in units], causal=causal)
    return RowReading(
        query,
        sum(layer.heads if request.weighting == "rollout" else len(layer.chosen) for layer, _ in layers),
        weights,
        uniform if request.weighting == "attention" else None,
        uniform > 0,
        tuple(top),
        own=own,
        query_tokens=stop - start,
        strongest=() if request.weighting == "rollout" else _strongest(layers, request, names, {*own, *resting}),
        lines=unit_lines([tokens[first] for first, _ in units], view),
        query_line=query_line,
    )


def _strongest(
    layers: _LayerRows, request: HeadsRequest, names: _HeadNames, left_out: set[int]
) -> tuple[HeadRead, ...]:
    """Each head by the key that it reads most, without those left out; the furthest above uniform attention first."""
    found = []
    for layer, (rows, even) in layers:
        seen = even > 0
        seen[[*left_out]] = False
        if not seen.any():
            continue
        base = even if request.weighting == "attention" else np.zeros_like(even)
        excess = np.where(seen, rows - base, -np.inf)
        for head, place in enumerate(excess.argmax(axis=1).tolist()):
            uniform = float(even[place]) if request.weighting == "attention" else None
            number, name = layer.chosen[head], names[layer.number, layer.chosen[head]]
            read = HeadRead(name, layer.number, number, place, float(rows[head, place]), uniform)
            found.append((-float(excess[head, place]), read))
    found.sort(key=lambda pair: pair[0])
    return tuple(read for _, read in found[: request.top])


def _average_columns(layers: _LayerRows, request: HeadsRequest, names: _HeadNames) -> ColumnReading:
    """The mean column over all heads of all layers, its largest weights, and the heads by their own means."""
    sides, view = layers[0][0].sides, request.view
    is_share = request.weighting == "attention"
    heads = sum(len(layer.chosen) for layer, _ in layers)
    weights = np.sum([rows.sum(axis=0, dtype=np.float64) for _, (rows, _) in layers], axis=0) / heads
    uniform = np.sum([len(layer.chosen) * even.astype(np.float64) for layer, (_, even) in layers], axis=0) / heads
    tokens, positions = sides.keys.tokens[0], sides.queries.tokens[0]
    start, stop = _span(view.key, tokens)
    own = _overlapping(view.unit_spans(positions, None), (start, stop)) if sides.same_sequence else []
    largest = np.stack([rows.max(axis=0) for _, (rows, _) in layers])
    others = uniform > 0
    others[own] = False
    top = []
    for place in [place for place in np.argsort(-weights, kind="stable").tolist() if others[place]][: request.top]:
        layer, (rows, _) = layers[int(largest[:, place].argmax())]
        name = names[layer.number, layer.chosen[rows[:, place].argmax()]]
        even = float(uniform[place]) if is_share else None
        top.append(KeyRead(place, float(weights[place]), even, name, float(rows[:, place].max())))
    ranked = [
        HeadRead(
            names[layer.number, head],
            layer.number,
            head,
            None,
            float(mean),
            float(even[others].mean()) if is_share else None,
        )
        for layer, (rows, even) in layers
        if others.any()
        for head, mean in zip(layer.chosen, rows[:, others].mean(axis=1).tolist(), strict=True)
    ]
    return ColumnReading(
        merge_tokens(tokens[start:stop]),
        heads,
        np.asarray(weights, dtype=np.float32),
        np.asarray(uniform, dtype=np.float32) if is_share else None,
        uniform > 0,
        tuple(top),
        tuple(sorted(ranked, key=lambda read: -read.weight)),
        own=tuple(own),
        key_tokens=stop - start,
    )


def _rank_heads(layers: _LayerRows, request: HeadsRequest, names: _HeadNames) -> Ranking:
    """The heads by their weight on the key, the largest first; ties in the order of layers and heads."""
    sides, view = layers[0][0].sides, request.view
    tokens = sides.keys.tokens[0]
    spans = view.unit_spans(tokens, None)
    # The units of the whole axis that the key consists of.
    units = _overlapping(spans, _span(view.key, tokens))
    heads = []
    for layer, (rows, uniform) in layers:
        others = uniform > 0
        others[units] = False
        weights = rows[:, units].sum(axis=1)
        above = (rows[:, others] > weights[:, None]).sum(axis=1)
        # A hidden key has no rank among the visible keys.
        is_visible = bool((uniform[units] > 0).any())
        even = float(uniform[units].sum()) if request.weighting == "attention" else None
        for head, weight, more in zip(layer.chosen, weights.tolist(), above.tolist(), strict=True):
            rank, keys = more + 1 if is_visible else None, int(others.sum()) + is_visible
            heads.append(HeadWeight(names[layer.number, head], layer.number, head, weight, even, rank, keys))
    start, stop = spans[units[0]][0], spans[units[-1]][1]
    key, (query, query_start, query_stop) = merge_tokens(tokens[start:stop]), _position_token(view.query, sides.queries)
    ordered = tuple(sorted(heads, key=lambda head: -head.weight))
    query_line, key_line = unit_lines([query, key], view) or (None, None)
    return Ranking(query, key, ordered, query_line, key_line, query_stop - query_start, stop - start)


def _position_token(position: Position | None, side: Side) -> tuple[Token, int, int]:
    """All tokens of a position as one, the first of them, and the one after the last."""
    start, stop = _span(position, side.tokens[0])
    return merge_tokens(side.tokens[0][start:stop]), start, stop


def _span(position: Position | None, tokens: Sequence[Token]) -> Span:
    assert position is not None
    return position.span(tokens)


def _overlapping(units: Sequence[Span], span: Span) -> list[int]:
    return [unit for unit, (start, stop) in enumerate(units) if start < span[1] and stop > span[0]]
