"""One forward pass -> stacks of layers with their metrics, labels and the patterns that were asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attncli.attention.claims import THRESHOLDS, labels
from attncli.attention.collector import Collector, LayerSeen, Measured, StackKey
from attncli.attention.inputs import ModelInputs
from attncli.attention.pattern_axes import lines_of
from attncli.attention.row_reading import mean_reading, ranking
from attncli.attention.selection import HeadsRequest, Selection
from attncli.errors import UsageError
from attncli.models.capture.qkv_inputs import output_projections
from attncli.results.heads import HeadMetrics, Layer, Stack
from attncli.results.patterns import Ranking, RowReading
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.attention.metrics import Side
    from attncli.models.loading.loaded_model import LoadedModel


def look(model: LoadedModel, inputs: ModelInputs, wanted: HeadsRequest, text: int = 0) -> tuple[Stack, ...]:
    """Run the model once and describe where its heads look, for one text of the batch.

    Raises UsageError for a layer, a head or a stack that isn't there; what `LoadedModel.attend` raises.
    """
    return look_each(model, inputs, wanted)[text]


def look_each(model: LoadedModel, inputs: ModelInputs, wanted: HeadsRequest) -> tuple[tuple[Stack, ...], ...]:
    """The same for every text of the batch, padding left out of each."""
    return described(collect(model, inputs, wanted))


def collect(model: LoadedModel, inputs: ModelInputs, wanted: HeadsRequest) -> Collector:
    """The one forward pass, and what was kept of it."""
    projections = output_projections(model, inputs.arguments) if wanted.weighting == "norm" else {}
    collector = Collector(model, inputs, wanted, projections)
    collector.unread = model.attend(inputs.arguments, collector)
    return collector


def unread_stacks(collector: Collector) -> Iterator[tuple[str, str]]:
    """The stacks of which nothing could be read although they ran: their names, and the class of what attends."""
    seen = {key.path for key in collector.layers}
    sites = {path: collector.model.site_of(path).block_list for path in collector.unread}
    stacks = {known.path: known for known in sites.values() if known is not None and known.path not in seen}
    for path, known in stacks.items():
        yield known.word or path, next((block.mixer for block in known.describe_layers() if block.mixer), "attention")


def described(collector: Collector, named: NamedStacks | None = None) -> tuple[tuple[Stack, ...], ...]:
    """The stacks of every text of a pass, layer by layer. named: what they are called, if that is known."""
    named = named or named_stacks(collector)
    return tuple(named.of_text(text) for text in range(collector.inputs.batch))


@dataclass(frozen=True)
class NamedStacks:
    """What was seen of a batch. names: the stacks that were asked for, by what each is called."""

    collector: Collector
    names: Mapping[StackKey, str]
    several: bool

    def of_text(self, text: int) -> tuple[Stack, ...]:
        """What is to be said of one text."""
        return tuple(_stack(self.collector, key, name, text, several=self.several) for key, name in self.names.items())

    def measured(self) -> Iterator[tuple[StackKey, int, Measured]]:
        """The sums of every layer that was asked for."""
        for key in self.names:
            for number, layer in self.collector.layers[key].items():
                if layer.measured is not None:
                    yield key, number, layer.measured


def named_stacks(collector: Collector) -> NamedStacks:
    """What the stacks of a pass are called. Raises UsageError for a stack or a layer that isn't there."""
    wanted = collector.wanted
    names = {key: _name(collector, key) for key in collector.layers}
    _refuse_unknown_stack(wanted.selection, tuple(names.values()))
    asked = {key: name for key, name in _told_apart(names).items() if wanted.selection.stack in (None, names[key])}
    asked = {key: name for key, name in asked.items() if collector.can_show(key)}
    if not asked:
        raise UsageError(
            "--rollout needs a stack whose tokens look at one another", hint="leave --rollout out, or choose -H"
        )
    chosen = {key: name for key, name in asked.items() if key not in collector.without_position}
    if not chosen:
        raise next(error for key, error in collector.without_position.items() if key in asked)
    _refuse_nothing(collector)
    return NamedStacks(collector, chosen, several=len(names) > 1)


def _name(collector: Collector, key: StackKey) -> str:
    names = collector.possible_names(key)
    return names[0] if len(names) == 1 else names[int(_is_causal(collector, key))]


def _is_causal(collector: Collector, key: StackKey) -> bool:
    """No query saw a later key; a single token can't tell, so then the kind of the model does."""
    # Positions can be compared where queries and keys are the same tokens.
    seen = [layer for layer in collector.layers[key].values() if layer.pair.same]
    if seen and all(layer.pair.queries.length > 1 for layer in seen):
        return all(layer.causal for layer in seen if layer.causal is not None)
    return collector.possible_names(key) == ("decoder",) or collector.model.generates


def _refuse_unknown_stack(selection: Selection, names: Sequence[str]) -> None:
    asked = [selection.stack, *(name.stack for name in selection.heads)]
    wrong = next((stack for stack in asked if stack is not None and stack not in names), None)
    if wrong is not None:
        raise UsageError(f"the model has no stack {wrong!r}", hint=f"--stack takes one of: {', '.join(names)}")


def _refuse_nothing(collector: Collector) -> None:
    """A choice that none of the layers with attention fits would leave an empty result."""
    seen = {key: layers for key, layers in collector.layers.items() if layers}
    if not any(layer.measured for layers in seen.values() for layer in layers.values()):
        for missing in collector.without_position.values():
            raise missing
        attending = ", ".join(str(number) for number in sorted(set().union(*seen.values())))
        raise UsageError(
            "none of the chosen layers has attention that can be read", hint=f"those that have: {attending}"
        )


def _told_apart(names: Mapping[StackKey, str]) -> dict[StackKey, str]:
    """Names of which no two are the same: the second of two towers of one kind gets a number."""
    told: dict[StackKey, str] = {}
    for key, name in names.items():
        alike = sum(1 for other in told if names[other] == name)
        told[key] = f"{name}{alike + 1}" if alike else name
    return told


def _stack(collector: Collector, key: StackKey, name: str, text: int, *, several: bool) -> Stack:
    seen = collector.layers[key]
    pair = next(iter(seen.values())).pair
    axes = collector.axes(pair, text)
    measured = {number: layer.measured for number, layer in sorted(seen.items()) if layer.measured is not None}
    metrics = tuple(_heads(collector, key, name, measured, text, prefix=f"{name}." if several else ""))
    reading, ranked = _read(collector, key, metrics)
    patterns = tuple(
        pattern
        for sums in measured.values()
        for of_text in sums.patterns[text : text + 1]
        for pattern in of_text.patterns()
    )
    return Stack(
        stack=name,
        layers=_layers(collector, key),
        queries=axes.rows.units,
        keys=axes.columns.units,
        metrics=metrics,
        baselines={number: sums.baseline.means()[text][0] for number, sums in measured.items()},
        causal=not key.cross and name != "encoder" and _is_causal(collector, key),
        patterns=patterns if collector.wanted.patterns else (),
        sketches=() if collector.wanted.patterns else patterns,
        unit=collector.wanted.view.by,
        whole=collector.whole(pair, text),
        reading=reading,
        ranking=ranked,
        even_quadrants={
            number: sums.even_quadrants.means(text)[0]
            for number, sums in measured.items()
            if sums.even_quadrants is not None
        },
        query_medium=pair.queries.medium,
        key_medium=pair.keys.medium,
        query_lines=_lines(collector, pair.queries, axes.rows.units, text),
        key_lines=_lines(collector, pair.keys, axes.columns.units, text),
    )


def _lines(collector: Collector, side: Side, units: Sequence[Token], text: int) -> tuple[int | None, ...] | None:
    """The lines in which units begin, where these are lines of the text: what a decoder was given has none of it."""
    if side.tokens[text] != collector.inputs.main.tokens[text]:
        return None
    return lines_of(units, collector.wanted.view)


def _read(
    collector: Collector, key: StackKey, heads: Sequence[HeadMetrics]
) -> tuple[RowReading | None, Ranking | None]:
    """What one position reads, or how the heads rank by one weight, if that was asked for."""
    seen = sorted(collector.layers[key].items())
    layers = [layer.reading for _, layer in seen if layer.reading is not None]
    if not layers:
        return None, None
    names = {(head.layer, head.head): head.name for head in heads}
    pair, wanted = seen[0][1].pair, collector.wanted
    shares = wanted.weighting == "attention"
    if wanted.weighting == "rollout":
        # What reaches a position is told of one layer alone: the mean over several would be of nothing.
        if len(layers) > 1:
            return None, None
        return mean_reading(layers, pair, wanted.view, None, top=wanted.top, shares=False), None
    if wanted.view.reads_one_key:
        return None, ranking(layers, pair, wanted.view, names, shares=shares)
    return mean_reading(layers, pair, wanted.view, names, top=wanted.top, shares=shares), None


def _heads(
    collector: Collector, key: StackKey, name: str, measured: Mapping[int, Measured], text: int, *, prefix: str
) -> Iterator[HeadMetrics]:
    """The chosen heads of every layer that was measured."""
    selection, count = collector.wanted.selection, collector.layer_count(key)
    for number, sums in measured.items():
        values, uniform, queries = (
            sums.metrics.means()[text],
            sums.baseline.means()[text][0],
            sums.metrics.queries(text),
        )
        quadrants = [None] * len(values) if sums.quadrants is None else sums.quadrants.means(text)
        for head in selection.heads_in(name, number, count, len(values)):
            earned = labels(values[head], uniform, queries, {**THRESHOLDS, **collector.wanted.thresholds})
            yield HeadMetrics(f"{prefix}{number}.{head}", number, head, earned, values[head], quadrants=quadrants[head])


def _layers(collector: Collector, key: StackKey) -> tuple[Layer, ...]:
    """Every layer by its true number; one that wasn't read is taken to have the heads of its neighbours."""
    seen = collector.layers[key]
    return tuple(_layer(collector, key, seen, number) for number in range(collector.layer_count(key)))


def _layer(collector: Collector, key: StackKey, seen: Mapping[int, LayerSeen], number: int) -> Layer:
    if number in seen:
        return Layer(number, seen[number].heads)
    blocks = collector.model.blocks.get(key.path, ())
    block = blocks[number] if number < len(blocks) else None
    if block is not None and block.attends and number > max(seen):
        return Layer(number, next(iter(seen.values())).heads)
    return Layer(number, 0, block.mixer if block is not None else None)
