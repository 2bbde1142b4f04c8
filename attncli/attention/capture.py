"""One forward pass -> stacks of layers with their metrics and the patterns that were asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from attncli.attention.inputs import ModelInputs
from attncli.attention.labels import labels
from attncli.attention.metrics import MetricSums, Pair, uniform
from attncli.attention.patterns import PatternSums, bins_for
from attncli.attention.selection import Selection, Wanted
from attncli.errors import UsageError
from attncli.results.heads import HeadMetrics, Layer, Pattern, Stack

if TYPE_CHECKING:
    from attncli.models.call import Attention, RowBlock
    from attncli.models.loaded import LoadedModel
    from attncli.models.structure import Site


@dataclass(frozen=True)
class _StackKey:
    """A stack while it is being seen: the path of its list of blocks, and whether it reads another stack."""

    path: str
    cross: bool


@dataclass
class _LayerSeen:
    """One attention layer as it went by."""

    pair: Pair
    heads: int
    metrics: MetricSums
    baseline: MetricSums
    causal: bool = True
    patterns: list[PatternSums] = field(default_factory=list)


@dataclass
class _Collector:
    """The probe's observer: reduces every attention computation at once and keeps no weights but the chosen ones."""

    model: LoadedModel
    inputs: ModelInputs
    wanted: Wanted
    layers: dict[_StackKey, dict[int, _LayerSeen]] = field(default_factory=dict)

    def __call__(self, path: str, attention: Attention) -> None:
        site = self.model.site_of(path)
        key = _StackKey(site.block_list.path if site.block_list else "", site.cross)
        seen = self.layers.setdefault(key, {})
        layer = _layer_number(site, seen)
        seen[layer] = self._reduce(key, layer, attention)

    def _reduce(self, key: _StackKey, layer: int, attention: Attention) -> _LayerSeen:
        pair = self.inputs.pair(self._word(key), key.cross, attention.queries, attention.keys).to(self.model.device)
        sums = _LayerSeen(
            pair, attention.heads, MetricSums(pair, attention.has_sink), MetricSums(pair, attention.has_sink)
        )
        if self.wanted.patterns:
            sums.patterns = self._pattern_sums(key, layer, attention)
        for block in attention.blocks():
            _take(sums, block)
        return sums

    def _pattern_sums(self, key: _StackKey, layer: int, attention: Attention) -> list[PatternSums]:
        """A collector of patterns for each text of the batch."""
        names = self.possible_names(key)
        chosen = {head for name in names for head in self._heads_in(name, key, layer, attention.heads)}
        bins = bins_for(attention.queries, attention.keys, self.wanted.bins)
        sizes = (layer, tuple(sorted(chosen)), attention.queries, attention.keys, bins)
        return [PatternSums(*sizes) for _ in range(self.inputs.batch)] if chosen else []

    def _heads_in(self, name: str, key: _StackKey, layer: int, heads: int) -> tuple[int, ...]:
        return self.wanted.selection.heads_in(name, layer, self.layer_count(key), heads)

    def possible_names(self, key: _StackKey) -> tuple[str, ...]:
        """The names that a stack may get; which it is shows only when its mask was seen."""
        word = self._word(key)
        return ("cross",) if key.cross else (word,) if word else ("encoder", "decoder")

    def name(self, key: _StackKey, causal: bool) -> str:
        names = self.possible_names(key)
        return names[0] if len(names) == 1 else names[int(causal)]

    def layer_count(self, key: _StackKey) -> int:
        """Layers of a stack, those too that weren't read; a shared block counts once for every time it runs."""
        return max(self.model.layer_count(key.path), *(layer + 1 for layer in self.layers.get(key, ())), 1)

    def _word(self, key: _StackKey) -> str | None:
        """What the path says of the stack; a model with a single stack is called by what it does, not by its path."""
        stacks = {path for path, blocks in self.model.blocks.items() if any(block.attends for block in blocks)}
        block_list = next((known for known in self.model.lists if known.path == key.path), None)
        return None if block_list is None or len(stacks) == 1 else block_list.word


def look(model: LoadedModel, inputs: ModelInputs, wanted: Wanted, text: int = 0) -> tuple[Stack, ...]:
    """Run the model once and describe where its heads look, for one text of the batch.

    Raises UsageError for a layer, a head or a stack that isn't there; what `LoadedModel.attend` raises.
    """
    return look_each(model, inputs, wanted)[text]


def look_each(model: LoadedModel, inputs: ModelInputs, wanted: Wanted) -> tuple[tuple[Stack, ...], ...]:
    """The same for every text of the batch, padding left out of each."""
    collector = _Collector(model, inputs, wanted)
    model.attend(inputs.arguments, collector)
    names = {key: collector.name(key, _is_causal(model, seen)) for key, seen in collector.layers.items()}
    _refuse_unknown_stack(wanted.selection, tuple(names.values()))
    several = len(names) > 1
    return tuple(
        tuple(
            _stack(collector, key, _unique(name, key, names), text, several)
            for key, name in names.items()
            if wanted.selection.stack in (None, name)
        )
        for text in range(inputs.batch)
    )


def _layer_number(site: Site, seen: Mapping[int, object]) -> int:
    """The layer of a call. A block that runs again in the same pass (ALBERT shares one) is a further layer."""
    step = site.block_list.length if site.block_list else 1
    layer = site.block
    while layer in seen:
        layer += step
    return layer


def _take(sums: _LayerSeen, block: RowBlock) -> None:
    real = sums.pair.queries.real[:, None, block.start : block.stop, None]
    visible = block.visible & sums.pair.keys.real[:, None, None, :] & real
    sums.metrics.add(block.start, block.weights, block.visible)
    sums.baseline.add(block.start, uniform(visible), block.visible)
    sums.causal = sums.causal and not bool(visible.triu(block.start + 1).any())
    for text, patterns in enumerate(sums.patterns):
        patterns.add(block.start, block.weights[text])


def _is_causal(model: LoadedModel, seen: Mapping[int, _LayerSeen]) -> bool:
    """No query saw a later key; a single token can't tell, so then the kind of the model does."""
    if all(layer.pair.queries.length > 1 for layer in seen.values()):
        return all(layer.causal for layer in seen.values())
    return model.generates


def _refuse_unknown_stack(selection: Selection, names: Sequence[str]) -> None:
    asked = [selection.stack, *(name.stack for name in selection.heads)]
    wrong = next((stack for stack in asked if stack is not None and stack not in names), None)
    if wrong is not None:
        raise UsageError(f"the model has no stack {wrong!r}", hint=f"--stack takes one of: {', '.join(names)}")


def _unique(name: str, key: _StackKey, names: Mapping[_StackKey, str]) -> str:
    """A name that no other stack has: two towers of one kind are told apart by their number."""
    alike = [other for other, other_name in names.items() if other_name == name]
    place = alike.index(key)
    return name if place == 0 else f"{name}{place + 1}"


def _stack(collector: _Collector, key: _StackKey, name: str, text: int, several: bool) -> Stack:
    seen = collector.layers[key]
    any_layer = next(iter(seen.values()))
    queries, keys = any_layer.pair.queries.tokens[text], any_layer.pair.keys.tokens[text]
    layers = _layers(collector, key)
    chosen = {number: _chosen(collector, name, layers, number) for number in seen}
    prefix = f"{name}." if several else ""
    metrics = [
        HeadMetrics(
            f"{prefix}{number}.{head}", number, head, labels(values, seen[number].metrics.queries(text)), values
        )
        for number in sorted(seen)
        for head, values in enumerate(seen[number].metrics.means()[text])
        if head in chosen[number]
    ]
    return Stack(
        stack=name,
        layers=layers,
        queries=queries,
        keys=keys,
        metrics=tuple(metrics),
        baselines={n: seen[n].baseline.means()[text][0] for n in sorted(seen) if chosen[n]},
        causal=not key.cross and _is_causal(collector.model, seen),
        patterns=tuple(
            _unpadded(pattern, any_layer.pair, text)
            for number in sorted(seen)
            for sums in seen[number].patterns[text : text + 1]
            for pattern in sums.patterns()
        ),
    )


def _chosen(collector: _Collector, name: str, layers: Sequence[Layer], number: int) -> tuple[int, ...]:
    return collector.wanted.selection.heads_in(name, number, len(layers), layers[number].heads)


def _layers(collector: _Collector, key: _StackKey) -> tuple[Layer, ...]:
    """Every layer by its true number; one that wasn't read is taken to have the heads of its neighbours."""
    seen = collector.layers[key]
    blocks = collector.model.blocks.get(key.path, ())
    usual = next(iter(seen.values())).heads
    read = max(seen)
    layers = []
    for number in range(collector.layer_count(key)):
        block = blocks[number] if number < len(blocks) else None
        if number in seen:
            layers.append(Layer(number, seen[number].heads))
        elif block is not None and block.attends and number > read:
            layers.append(Layer(number, usual))
        else:
            layers.append(Layer(number, 0, block.mixer if block is not None else None))
    return tuple(layers)


def _unpadded(pattern: Pattern, pair: Pair, text: int) -> Pattern:
    """Cut the rows and columns of padding away; a pooled pattern is of one text alone and has none."""
    if pattern.bins is not None:
        return pattern
    rows, columns = (_places(side.real[text]) for side in (pair.queries, pair.keys))
    return replace(pattern, weights=pattern.weights[rows][:, columns])


def _places(real: torch.Tensor) -> list[int]:
    return [int(place) for place in real.nonzero().flatten()]
