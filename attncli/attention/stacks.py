"""Runs a model once and turns what was collected into stacks: layers with their heads' metrics, labels and patterns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attncli.attention.collector import Collector, LayerRecord, LayerSums, StackKey
from attncli.attention.inputs import ModelInputs
from attncli.attention.labels import LABEL_THRESHOLDS, assign_labels
from attncli.attention.pattern_axes import unit_lines
from attncli.attention.row_reading import average_reading, rank_heads
from attncli.attention.selection import HeadsRequest
from attncli.errors import UsageError
from attncli.models.capture.qkv_inputs import output_projections
from attncli.results.heads import HeadMetrics, Layer, Stack
from attncli.results.patterns import Ranking, RowReading
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.attention.metrics import Side
    from attncli.models.loading.loaded_model import LoadedModel


def read_heads(model: LoadedModel, inputs: ModelInputs, request: HeadsRequest, text: int = 0) -> tuple[Stack, ...]:
    """Run the model once and return its stacks with the requested heads, for one text of the batch.

    Raises UsageError for a layer, a head or a stack that isn't there, and what `LoadedModel.run_attention` raises.
    """
    return read_heads_of_each(model, inputs, request)[text]


def read_heads_of_each(model: LoadedModel, inputs: ModelInputs, request: HeadsRequest) -> tuple[tuple[Stack, ...], ...]:
    """`read_heads` for every text of the batch, without padding."""
    return build_stacks(collect(model, inputs, request))


def collect(model: LoadedModel, inputs: ModelInputs, request: HeadsRequest) -> Collector:
    """Run the forward pass, and return what was collected of it."""
    projections = output_projections(model, inputs.arguments) if request.weighting == "norm" else {}
    collector = Collector(model, inputs, request, projections)
    collector.unread = model.run_attention(inputs.arguments, collector)
    return collector


def unread_stacks(collector: Collector) -> Iterator[tuple[str, str]]:
    """The stacks that ran but could not be read: their names, and the class of their attention module."""
    read = {key.path for key in collector.layers}
    sites = {path: collector.model.site_of(path).block_list for path in collector.unread}
    stacks = {site.path: site for site in sites.values() if site is not None and site.path not in read}
    for path, block_list in stacks.items():
        mixers = (block.mixer for block in block_list.describe_layers() if block.mixer)
        yield block_list.word or path, next(mixers, "attention")


def build_stacks(collector: Collector, collected: CollectedStacks | None = None) -> tuple[tuple[Stack, ...], ...]:
    """The stacks of every text of a pass. collected: what `name_stacks` returned, if it was called before."""
    collected = collected or name_stacks(collector)
    return tuple(collected.text_stacks(text) for text in range(collector.inputs.batch))


@dataclass(frozen=True)
class CollectedStacks:
    """What was collected of a batch, with the names of its stacks.

    names: of the chosen stacks.  several: whether the model has more stacks than one, so that heads need a prefix.
    """

    collector: Collector
    names: Mapping[StackKey, str]
    several: bool

    def text_stacks(self, text: int) -> tuple[Stack, ...]:
        """The stacks of one text."""
        return tuple(
            _build_stack(self.collector, key, name, text, several=self.several) for key, name in self.names.items()
        )

    def layer_sums(self) -> Iterator[tuple[StackKey, int, LayerSums]]:
        """The sums of every layer with chosen heads."""
        for key in self.names:
            for number, layer in self.collector.layers[key].items():
                if layer.sums is not None:
                    yield key, number, layer.sums


def name_stacks(collector: Collector) -> CollectedStacks:
    """Name the stacks of a pass. Raises UsageError for a stack, layer or position that isn't there."""
    selection = collector.request.selection
    names = {key: _stack_name(collector, key) for key in collector.layers}
    named = [selection.stack, *(name.stack for name in selection.heads)]
    wrong = next((stack for stack in named if stack is not None and stack not in names.values()), None)
    if wrong is not None:
        raise UsageError(f"the model has no stack {wrong!r}", hint=f"--stack takes one of: {', '.join(names.values())}")
    unique: dict[StackKey, str] = {}
    for key, name in names.items():
        # The second of two towers of one kind gets a number.
        duplicates = sum(1 for other in unique if names[other] == name)
        unique[key] = f"{name}{duplicates + 1}" if duplicates else name
    chosen = {
        key: name for key, name in unique.items() if selection.stack in (None, names[key]) and collector.can_show(key)
    }
    if not chosen:
        raise _no_rollout_error(collector)
    shown = {key: name for key, name in chosen.items() if key not in collector.position_errors}
    if not shown:
        raise next(error for key, error in collector.position_errors.items() if key in chosen)
    _require_readable_layers(collector)
    return CollectedStacks(collector, shown, several=len(names) > 1)


def _no_rollout_error(collector: Collector) -> UsageError:
    if collector.model.virtual_tokens:
        return UsageError(
            "--rollout needs a row for every column, and the adapter's virtual tokens are columns alone",
            hint="leave --rollout out",
        )
    return UsageError(
        "--rollout needs a stack whose tokens look at one another", hint="leave --rollout out, or choose -H"
    )


def _stack_name(collector: Collector, key: StackKey) -> str:
    names = collector.possible_names(key)
    return names[0 if len(names) == 1 else int(_is_causal(collector, key))]


def _is_causal(collector: Collector, key: StackKey) -> bool:
    """Whether no query saw a later key. A single token is causal either way, so then the kind of model decides."""
    records = [layer for layer in collector.layers[key].values() if layer.sides.same_sequence]
    if records and all(layer.sides.queries.length > 1 for layer in records):
        return all(layer.causal for layer in records if layer.causal is not None)
    return collector.possible_names(key) == ("decoder",) or collector.model.generates


def _require_readable_layers(collector: Collector) -> None:
    """Raise UsageError if no layer with attention was chosen: the result would be empty."""
    records = {key: layers for key, layers in collector.layers.items() if layers}
    if not any(layer.sums for layers in records.values() for layer in layers.values()):
        for missing in collector.position_errors.values():
            raise missing
        attending = ", ".join(str(number) for number in sorted(set().union(*records.values())))
        raise UsageError(
            "none of the chosen layers has attention that can be read", hint=f"those that have: {attending}"
        )


def _build_stack(collector: Collector, key: StackKey, name: str, text: int, *, several: bool) -> Stack:
    records = collector.layers[key]
    sides = next(iter(records.values())).sides
    axes = collector.axes(sides, text)
    by_layer = {number: layer.sums for number, layer in sorted(records.items()) if layer.sums is not None}
    metrics = tuple(_head_metrics(collector, key, name, by_layer, text, prefix=f"{name}." if several else ""))
    reading, ranking = _read_position(collector, key, metrics)
    patterns = tuple(
        pattern
        for sums in by_layer.values()
        for text_sums in sums.patterns[text : text + 1]
        for pattern in text_sums.patterns()
    )
    return Stack(
        stack=name,
        layers=tuple(_build_layer(collector, key, records, number) for number in range(collector.layer_count(key))),
        queries=axes.rows.units,
        keys=axes.columns.units,
        metrics=metrics,
        baselines={number: sums.baseline.means()[text][0] for number, sums in by_layer.items()},
        repeats={number: sums.metrics.repeats(text) for number, sums in by_layer.items()},
        causal=not key.cross and name != "encoder" and _is_causal(collector, key),
        full=all(record.full is not False for record in records.values()),
        patterns=patterns if collector.request.patterns else (),
        sketches=() if collector.request.patterns else patterns,
        unit=collector.request.view.by,
        whole=collector.full_size(sides, text),
        reading=reading,
        ranking=ranking,
        even_quadrants={
            number: sums.baseline.pairs.means(text)[0]
            for number, sums in by_layer.items()
            if sums.baseline.pairs is not None
        },
        query_medium=sides.queries.medium,
        key_medium=sides.keys.medium,
        query_lines=_side_lines(collector, sides.queries, axes.rows.units, text),
        key_lines=_side_lines(collector, sides.keys, axes.columns.units, text),
    )


def _side_lines(collector: Collector, side: Side, units: Sequence[Token], text: int) -> tuple[int | None, ...] | None:
    """The lines in which units begin; None on the side of a decoder, whose text is not the one with lines."""
    if tuple(token for token in side.tokens[text] if token.index >= 0) != collector.inputs.main.tokens[text]:
        return None
    return unit_lines(units, collector.request.view)


def _read_position(
    collector: Collector, key: StackKey, heads: Sequence[HeadMetrics]
) -> tuple[RowReading | None, Ranking | None]:
    """The row of one position, or the ranking of heads by one weight, if either was requested."""
    records = sorted(collector.layers[key].items())
    layers = [layer.reading for _, layer in records if layer.reading is not None]
    if not layers:
        return None, None
    names = {(head.layer, head.head): head.name for head in heads}
    sides, request = records[0][1].sides, collector.request
    shares = request.weighting == "attention"
    if request.weighting == "rollout":
        # A rollout goes up to one layer: the mean over several would have no meaning.
        if len(layers) > 1:
            return None, None
        return average_reading(layers, sides, request.view, None, top=request.top, shares=False), None
    if request.view.has_one_key:
        return None, rank_heads(layers, sides, request.view, names, shares=shares)
    return average_reading(layers, sides, request.view, names, top=request.top, shares=shares), None


def _head_metrics(
    collector: Collector, key: StackKey, name: str, by_layer: Mapping[int, LayerSums], text: int, *, prefix: str
) -> Iterator[HeadMetrics]:
    """The chosen heads of every layer in `by_layer`."""
    selection, count = collector.request.selection, collector.layer_count(key)
    for number, sums in by_layer.items():
        values, uniform = sums.metrics.means()[text], sums.baseline.means()[text][0]
        queries, indices = sums.metrics.query_counts(text), sums.metrics.token_indices()[text]
        quadrants = [None] * len(values) if sums.metrics.pairs is None else sums.metrics.pairs.means(text)
        for head in selection.heads_in(name, number, count, len(values)):
            labels = assign_labels(values[head], uniform, queries, {**LABEL_THRESHOLDS, **collector.request.thresholds})
            head_name = f"{prefix}{number}.{head}"
            yield HeadMetrics(
                head_name, number, head, labels, values[head], quadrants=quadrants[head], token_index=indices[head]
            )


def _build_layer(collector: Collector, key: StackKey, records: Mapping[int, LayerRecord], number: int) -> Layer:
    """A layer of the stack; one that wasn't run is assumed to have as many heads as the others."""
    if number in records:
        return Layer(number, records[number].heads)
    blocks = collector.model.blocks.get(key.path, ())
    block = blocks[number] if number < len(blocks) else None
    if block is not None and block.attends and number > max(records):
        return Layer(number, next(iter(records.values())).heads)
    return Layer(number, 0, block.mixer if block is not None else None)
