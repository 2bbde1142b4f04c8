"""What is kept of a forward pass: the observer that the probe hands every attention computation to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.attention.inputs import ModelInputs
from attncli.attention.metrics import MetricSums, PairAttentionSums, QueryKeySides, uniform
from attncli.attention.pattern_axes import Axes, PatternSums, axis
from attncli.attention.readouts import read, value_norms
from attncli.attention.row_reading import LayerReading, Rollout, read_layer, read_rollout
from attncli.attention.selection import EVERYTHING, HeadsRequest
from attncli.attention.uniform_baseline import UniformBaseline, uniform_baseline
from attncli.errors import ModelError, UsageError

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention
    from attncli.models.capture.fused_attention import FusedAttention
    from attncli.models.capture.query_key_attention import RowBlock
    from attncli.models.capture.structure import Site
    from attncli.models.loading.loaded_model import LoadedModel

#: Weights of a layer up to this number are computed outright (64 MiB of float32); beyond, they are read without.
EXPLICIT_ELEMENTS = 1 << 24

#: Small patterns are kept of stacks of at most so many heads, in at most so many bins a side.
SKETCHED_HEADS, SKETCH_BINS = 8, 64

#: One row in so many is sooner computed by itself than read along with all the others.
_FEW_ROWS = 8


@dataclass(frozen=True)
class StackKey:
    """A stack before it has a name: the path of its list of blocks, and whether it reads another stack."""

    path: str
    cross: bool


@dataclass(frozen=True)
class Measured:
    """The running sums of a layer, on its own attention and on attention spread evenly; patterns: one for each text."""

    metrics: MetricSums
    baseline: MetricSums
    patterns: tuple[PatternSums, ...] = ()
    quadrants: PairAttentionSums | None = None
    even_quadrants: PairAttentionSums | None = None

    def take(self, pair: QueryKeySides, block: RowBlock) -> bool:
        """Take in some rows. Answers whether each of their queries sees itself and earlier keys alone."""
        real = pair.queries.real[:, None, block.start : block.stop, None]
        visible = block.visible & pair.keys.real[:, None, None, :] & real
        self.metrics.add(block.start, block.weights, block.visible)
        even = uniform(visible)
        self.baseline.add(block.start, even, block.visible)
        if self.quadrants is not None and self.even_quadrants is not None:
            self.quadrants.add(block.start, block.weights)
            self.even_quadrants.add(block.start, even)
        return not bool(visible.triu(block.start + 1).any())

    def read(
        self, reader: FusedAttention, even: UniformBaseline, layer: int, metrics: Sequence[str], *, pooled: bool
    ) -> bool:
        """Take in the metrics without the matrix; where `pooled`, and a text is alone, its pattern in the same pass.

        Answers whether the patterns came along.
        """
        bins = self._bins() if pooled else None
        readouts = read(reader, self.metrics.pair, even, metrics=metrics, bins=bins)
        _refuse_nan(readouts.finite, layer)
        self.metrics.add_rows({name: (value, even.rows[name][1]) for name, value in readouts.rows.items()})
        self.baseline.add_rows(even.rows)
        if self.quadrants is not None and self.even_quadrants is not None:
            self.quadrants.read(reader)
            self.even_quadrants.spread(reader.visibility)
        if readouts.pooled is not None:
            self.patterns[0].add_pooled(readouts.pooled[0, list(self.patterns[0].heads)])
        return readouts.pooled is not None

    def gather(self, attention: Attention, norms: Tensor | None = None) -> None:
        """The patterns of the chosen heads alone, from the rows that are wanted.

        norms: what every weight is multiplied with, (batch, heads, keys).
        """
        for text, patterns in enumerate(self.patterns):
            chosen = [head for head in patterns.heads if head is not None]
            for block in attention.blocks(chosen, patterns.rows):
                weights = block.weights[text]
                patterns.add(block.start, weights if norms is None else weights * norms[text, chosen, None])

    def _bins(self) -> tuple[Tensor, Tensor] | None:
        """The bins of queries and keys, where a readout can fill them: a weight adds to one cell, as it is."""
        if len(self.patterns) != 1 or self.patterns[0].axes.bins is None or self.patterns[0].axes.renormalised:
            return None
        first, last = self.patterns[0].rows
        if last - first <= self.metrics.pair.queries.length // _FEW_ROWS:
            return None
        axes = self.patterns[0].axes
        return axes.rows.group, axes.columns.group


@dataclass(frozen=True)
class LayerSeen:
    """One attention layer as it went by. measured: None where nothing of it was asked for; causal likewise.

    reading: what one position reads, where that was asked for.
    path: of the module that attended.
    """

    pair: QueryKeySides
    heads: int
    path: str
    measured: Measured | None = None
    causal: bool | None = None
    reading: LayerReading | None = None


@dataclass
class Collector:
    """Reduces every attention computation as it happens, and keeps no weights but those of the chosen heads.

    projections: the output matrix of each attention module by its path, where patterns are weighted by norms.
    """

    model: LoadedModel
    inputs: ModelInputs
    wanted: HeadsRequest
    projections: Mapping[str, Tensor] = field(default_factory=dict)
    layers: dict[StackKey, dict[int, LayerSeen]] = field(default_factory=dict)
    #: Paths of attention modules that ran, and can't be read.
    unread: tuple[str, ...] = ()
    #: Stacks that have no such query or key as is asked for, and what there is to say of it: another stack may have it.
    without_position: dict[StackKey, UsageError] = field(default_factory=dict)
    _rollouts: dict[StackKey, Rollout] = field(default_factory=dict)
    #: Even attention, by what it depends on: mask, causality, queries, keys, device.
    _evens: list[tuple[tuple[Tensor | None, bool, int, int, torch.device], UniformBaseline]] = field(
        default_factory=list
    )

    def __call__(self, path: str, attention: Attention) -> None:
        site = self.model.site_of(path)
        key = StackKey(site.block_list.path if site.block_list else "", site.cross)
        seen = self.layers.setdefault(key, {})
        layer = _layer_number(site, seen)
        seen[layer] = self._look(key, layer, path, attention)

    def possible_names(self, key: StackKey) -> tuple[str, ...]:
        """The names that a stack may get; which of two it is shows only when its mask was seen."""
        word = self._word(key)
        return ("cross",) if key.cross else (word,) if word else ("encoder", "decoder")

    def layer_count(self, key: StackKey) -> int:
        """Layers of a stack, those too that weren't read; a shared block counts once for every time it runs."""
        return max(self.model.layer_count(key.path), *(layer + 1 for layer in self.layers.get(key, ())), 1)

    def can_show(self, key: StackKey) -> bool:
        """Whether a stack has what is asked for: only one whose tokens look at one another can be rolled out."""
        layers = self.layers[key].values()
        return self.wanted.weighting != "rollout" or all(layer.pair.same for layer in layers)

    def _look(self, key: StackKey, layer: int, path: str, attention: Attention) -> LayerSeen:
        pair = self.inputs.pair(self._word(key), key.cross, attention.queries, attention.keys).to(attention.device)
        chosen = self._chosen(key, layer, attention.heads)
        if (missing := self._missing_position(pair)) is not None:
            # What is said of a stack that was asked for goes before what is said of the others.
            known = {key: missing, **self.without_position} if chosen else {**self.without_position, key: missing}
            self.without_position, chosen = known, ()
        rolled = self._rolled_out(key, pair, attention) if self.wanted.weighting == "rollout" else None
        if not chosen or (self.wanted.weighting == "rollout" and rolled is None):
            return LayerSeen(pair, attention.heads, path)
        shown: tuple[int | None, ...] = chosen if self.wanted.weighting != "rollout" else (None,)
        kept = self.wanted.patterns or self._is_sketched(key, attention.heads)
        patterns = self._patterns(layer, shown, pair) if kept else ()
        metrics, baseline = (MetricSums(pair, attention.has_sink, count) for count in (attention.heads, 1))
        measured = Measured(metrics, baseline, patterns, PairAttentionSums.of(pair), PairAttentionSums.of(pair))
        complete, causal = self._measure(measured, pair, layer, attention)
        norms = value_norms(path, attention, self.projections) if self.wanted.weighting == "norm" else None
        if rolled is not None:
            for text, sums in enumerate(patterns):
                sums.add(0, rolled[text][None])
        elif not complete:
            measured.gather(attention, norms)
        reading = None
        if rolled is not None and self.wanted.reads_rollout:
            reading = read_rollout(rolled[0], pair, self.wanted.view, layer, attention.heads)
        elif self.wanted.reads_position:
            reading = read_layer(attention, pair, self.wanted.view, layer, chosen, norms)
        return LayerSeen(pair, attention.heads, path, measured, causal, reading)

    def _is_sketched(self, key: StackKey, heads: int) -> bool:
        wanted = self.wanted
        few = self.layer_count(key) * heads <= SKETCHED_HEADS
        return wanted.sketches and wanted.weighting == "attention" and few

    def _measure(self, measured: Measured, pair: QueryKeySides, layer: int, attention: Attention) -> tuple[bool, bool]:
        """Take the metrics in. Answers whether the patterns came along, and whether no query sees a later key."""
        reader = attention.fused
        if reader is not None and pair.in_line and self._is_large(attention):
            even = self._even(pair, reader)
            pooled = self.wanted.weighting == "attention"
            return measured.read(reader, even, layer, self.wanted.metrics, pooled=pooled), even.causal
        causal = [measured.take(pair, _finite(block, layer)) for block in attention.blocks()]
        return False, all(causal)

    def _rolled_out(self, key: StackKey, pair: QueryKeySides, attention: Attention) -> Tensor | None:
        """The rollout up to this layer; None where queries and keys are not the same tokens."""
        if not pair.same:
            return None
        if key not in self._rollouts:
            self._rollouts[key] = Rollout(self.inputs.batch, attention.queries, attention.device)
        return self._rollouts[key].step(attention)

    def _is_large(self, attention: Attention) -> bool:
        """Whether all weights of a layer are more than are held at once."""
        return self.inputs.batch * attention.heads * attention.queries * attention.keys > EXPLICIT_ELEMENTS

    def _even(self, pair: QueryKeySides, reader: FusedAttention) -> UniformBaseline:
        """Even attention under a mask; layers that share a mask, and who looks at whom, share the answer."""
        attention = reader.attention
        known = (attention.mask, attention.is_causal, attention.queries, attention.keys, attention.device)
        for other, even in self._evens:
            if other[0] is known[0] and other[1:] == known[1:]:
                return even
        self._evens.append((known, uniform_baseline(pair, reader.visibility)))
        return self._evens[-1][1]

    def _chosen(self, key: StackKey, layer: int, heads: int) -> tuple[int, ...]:
        """The heads that were asked for, under any of the names that the stack may get."""
        selection, count = self.wanted.selection, self.layer_count(key)
        names = self.possible_names(key)
        return tuple(sorted({head for name in names for head in selection.heads_in(name, layer, count, heads)}))

    def _patterns(self, layer: int, chosen: tuple[int | None, ...], pair: QueryKeySides) -> tuple[PatternSums, ...]:
        return tuple(PatternSums(layer, chosen, self.axes(pair, text)) for text in range(self.inputs.batch))

    def _missing_position(self, pair: QueryKeySides) -> UsageError | None:
        """What there is to say where these are not the queries or keys that are asked for."""
        if self.wanted.view == EVERYTHING:
            return None
        try:
            for text in range(self.inputs.batch):
                self.axes(pair, text)
        except UsageError as error:
            return error
        return None

    def axes(self, pair: QueryKeySides, text: int) -> Axes:
        """What the rows and columns of a text's patterns stand for. Raises UsageError for a position not in it."""
        view = self.wanted.view
        rows, columns = (
            axis(view, side.tokens[text], side.real[text].cpu(), position)
            for side, position in ((pair.queries, view.query), (pair.keys, view.key))
        )
        bins = self.wanted.bins if self.wanted.patterns else SKETCH_BINS
        return Axes(rows, columns, view.hide_special).fitting(bins)

    def whole(self, pair: QueryKeySides, text: int) -> tuple[int, int]:
        """How many queries and keys there are, whatever part of them is shown."""
        view = replace(self.wanted.view, hide_special=False)
        queries, keys = (len(view.shown(side.tokens[text], None)) for side in (pair.queries, pair.keys))
        return queries, keys

    def _word(self, key: StackKey) -> str | None:
        """What the path says of the stack; a model with a single stack is called by what it does, not by its path."""
        block_list = next((known for known in self.model.lists if known.path == key.path), None)
        stage = "" if block_list is None or block_list.stage < 2 else str(block_list.stage)
        if self.inputs.only_scene is not None:
            return f"{self.inputs.only_scene}{stage}"
        stacks = {path for path, blocks in self.model.blocks.items() if any(block.attends for block in blocks)}
        if block_list is None or len(stacks) == 1 or block_list.word is None:
            return None
        words = {known.word for known in self.model.lists}
        if block_list.word == "encoder" and "decoder" not in words and not stage:
            # What a model of pictures calls so may write their captions (GIT).
            return None
        return f"{block_list.word}{stage}"


def _finite(block: RowBlock, layer: int) -> RowBlock:
    """The block itself. Raises ModelError where its weights are no numbers: nothing could be said of them."""
    _refuse_nan(bool(torch.isfinite(block.weights).all()), layer)
    return block


def _refuse_nan(finite: bool, layer: int) -> None:
    if not finite:
        raise ModelError(
            f"the attention of layer {layer} is not a number (NaN)",
            hint="the model's weights are broken, or too large for this format: try --dtype float32",
        )


def _layer_number(site: Site, seen: Mapping[int, object]) -> int:
    """The layer of a call. A block that runs again in the same pass (ALBERT shares one) is a further layer."""
    step = site.block_list.length if site.block_list else 1
    layer = site.block
    while layer in seen:
        layer += step
    return layer
