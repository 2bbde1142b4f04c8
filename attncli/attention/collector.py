"""The observer that receives every attention computation of a forward pass and reduces it to metrics and patterns.

`Collector` decides what to compute for each layer and stores a `LayerRecord` of it; `LayerSums` holds the running sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.attention.inputs import ModelInputs
from attncli.attention.metrics import MetricSums, PairAttentionSums, QueryKeySides, uniform_weights
from attncli.attention.pattern_axes import Axes, PatternSums, build_axis
from attncli.attention.readouts import compute_value_norms, read_metrics
from attncli.attention.row_reading import LayerReading, Rollout, read_layer, read_rollout
from attncli.attention.selection import EVERYTHING, HeadsRequest
from attncli.attention.uniform_baseline import UniformBaseline, compute_uniform_baseline
from attncli.errors import ModelError, UsageError

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention, RowBlock
    from attncli.models.capture.fused_attention import FusedAttention
    from attncli.models.loading.loaded_model import LoadedModel

#: Layers with up to so many weights are computed explicitly (64 MiB of float32); larger ones without the matrix.
MAX_EXPLICIT_WEIGHTS = 1 << 24

#: Small patterns are kept of stacks with at most so many heads, in at most so many bins a side.
MAX_SKETCH_HEADS, SKETCH_BINS = 8, 64

#: Up to one row in so many is faster to compute by itself than to pool along with all other rows.
_FEW_ROWS_SHARE = 8


@dataclass(frozen=True)
class StackKey:
    """What identifies a stack: the path of its list of blocks, and whether it is cross-attention."""

    path: str
    cross: bool


@dataclass(frozen=True)
class LayerSums:
    """The running sums of a layer, of its attention and of uniform attention. patterns: one for each text."""

    metrics: MetricSums
    baseline: MetricSums
    patterns: tuple[PatternSums, ...] = ()

    def add_block(self, sides: QueryKeySides, block: RowBlock) -> tuple[bool, bool]:
        """Add the metrics of some rows. Returns whether each query sees only itself and earlier keys, and whether it
        sees all keys."""
        visible = sides.seen(block.start, block.stop, block.visible)
        self.metrics.add(block.start, block.weights, block.visible)
        self.baseline.add(block.start, uniform_weights(visible), block.visible)
        causal = not bool(visible.triu(block.start + sides.prefix + 1).any())
        return causal, not bool(sides.seen(block.start, block.stop, ~visible).any())

    def add_fused(
        self, fused: FusedAttention, baseline: UniformBaseline, layer: int, metrics: Sequence[str], *, pooled: bool
    ) -> bool:
        """Add the metrics of all rows without the matrix; with `pooled`, a single text's pattern in the same pass.

        Returns whether the pattern was added as well. Raises ModelError for attention that is NaN.
        """
        bins = self._bins() if pooled else None
        readouts = read_metrics(fused, self.metrics.sides, baseline, metrics=metrics, bins=bins)
        _require_finite(readouts.finite, layer)
        self.metrics.add_rows({name: (value, baseline.rows[name][1]) for name, value in readouts.rows.items()})
        self.metrics.add_columns(readouts.columns)
        self.baseline.add_rows(baseline.rows)
        self.baseline.add_columns(None if readouts.columns is None else baseline.columns)
        if self.metrics.pairs is not None and self.baseline.pairs is not None:
            self.metrics.pairs.add_fused(fused)
            self.baseline.pairs.add_uniform(fused.visibility)
        if readouts.pooled is not None:
            self.patterns[0].add_pooled(readouts.pooled[0, list(self.patterns[0].heads)])
        return readouts.pooled is not None

    def add_patterns(self, attention: Attention, norms: Tensor | None = None) -> None:
        """Add the patterns of the chosen heads, from the rows that are shown.

        norms: factors of the weights, (batch, heads, keys).
        """
        for text, patterns in enumerate(self.patterns):
            chosen = [head for head in patterns.heads if head is not None]
            for block in attention.blocks(chosen, patterns.rows):
                weights = block.weights[text]
                patterns.add(block.start, weights if norms is None else weights * norms[text, chosen, None])

    def _bins(self) -> tuple[Tensor, Tensor] | None:
        """The bins of queries and keys, where a readout can fill them: each weight is added unchanged to one cell."""
        if len(self.patterns) != 1:
            return None
        axes, (first, last) = self.patterns[0].axes, self.patterns[0].rows
        few_rows = last - first <= self.metrics.sides.queries.length // _FEW_ROWS_SHARE
        return None if axes.bins is None or axes.renormalised or few_rows else (axes.rows.group, axes.columns.group)


@dataclass(frozen=True)
class LayerRecord:
    """What was collected of one attention layer.

    path: of the attention module.  sums, causal: None where none of its heads was chosen.
    reading: the row of one position, where that was requested.  full: whether each query sees every key, if known.
    """

    sides: QueryKeySides
    heads: int
    path: str
    sums: LayerSums | None = None
    causal: bool | None = None
    reading: LayerReading | None = None
    full: bool | None = None


@dataclass
class Collector:
    """Reduces every attention computation as it happens, and keeps only the weights of the chosen heads.

    projections: the output matrix of each attention module by its path, for norm-weighted patterns.
    """

    model: LoadedModel
    inputs: ModelInputs
    request: HeadsRequest
    projections: Mapping[str, Tensor] = field(default_factory=dict)
    layers: dict[StackKey, dict[int, LayerRecord]] = field(default_factory=dict)
    #: Paths of attention modules that ran but can't be read.
    unread: tuple[str, ...] = ()
    #: Stacks without the requested query or key, with the error to raise if no other stack has it.
    position_errors: dict[StackKey, UsageError] = field(default_factory=dict)
    _rollouts: dict[StackKey, Rollout] = field(default_factory=dict)
    #: Uniform baselines by what they depend on: mask, causality, queries, keys, device.
    _baselines: list[tuple[tuple[Tensor | None, bool, int, int, torch.device], UniformBaseline]] = field(
        default_factory=list
    )

    def __call__(self, path: str, attention: Attention) -> None:
        site = self.model.site_of(path)
        key = StackKey(site.block_list.path if site.block_list else "", site.cross)
        records = self.layers.setdefault(key, {})
        # A block that runs again in the same pass (ALBERT's shared one) is a further layer.
        layers, length = (
            ([site.block], 1)
            if site.block_list is None
            else (site.block_list.layers_of_block(site.block), site.block_list.length)
        )
        numbers = (time * length + layer for time in count() for layer in layers)
        layer = next(number for number in numbers if number not in records)
        records[layer] = self._collect_layer(key, layer, path, attention)

    def possible_names(self, key: StackKey) -> tuple[str, ...]:
        """The names that a stack may get; which of two it gets depends on whether its mask is causal."""
        word = self._word_of_path(key)
        return ("cross",) if key.cross else (word,) if word else ("encoder", "decoder")

    def layer_count(self, key: StackKey) -> int:
        """Layers of a stack, including those without attention; a shared block counts each time it runs."""
        return max(self.model.layer_count(key.path), *(layer + 1 for layer in self.layers.get(key, ())), 1)

    def can_show(self, key: StackKey) -> bool:
        """Whether a stack can be shown: a rollout needs self-attention, and a query for every key."""
        layers = self.layers[key].values()
        return self.request.weighting != "rollout" or all(_is_square(layer.sides) for layer in layers)

    def _collect_layer(self, key: StackKey, layer: int, path: str, attention: Attention) -> LayerRecord:
        word = self._word_of_path(key)
        virtual = self.model.virtual_tokens
        sides = self.inputs.sides(word, key.cross, attention.queries, attention.keys, virtual).to(attention.device)
        # Under any of the names that the stack may get.
        names, selection, layers = self.possible_names(key), self.request.selection, self.layer_count(key)
        found = {head for name in names for head in selection.heads_in(name, layer, layers, attention.heads)}
        chosen = tuple(sorted(found))
        if (missing := self._position_error(sides)) is not None:
            # The errors of chosen stacks go before those of other stacks.
            errors = {key: missing, **self.position_errors} if chosen else {**self.position_errors, key: missing}
            self.position_errors, chosen = errors, ()
        is_rollout = self.request.weighting == "rollout"
        rolled = self._roll_out(key, sides, attention) if is_rollout else None
        if not chosen or (is_rollout and rolled is None):
            return LayerRecord(sides, attention.heads, path)
        few = layers * attention.heads <= MAX_SKETCH_HEADS
        sketched = self.request.sketches and self.request.weighting == "attention" and few
        patterns = tuple(
            PatternSums(layer, (None,) if is_rollout else chosen, self.axes(sides, text))
            for text in (range(self.inputs.batch) if self.request.patterns or sketched else ())
        )
        metrics, baseline = (
            MetricSums(sides, attention.has_sink, heads, PairAttentionSums.for_two_texts(sides))
            for heads in (attention.heads, 1)
        )
        sums = LayerSums(metrics, baseline, patterns)
        has_patterns, causal, full = self._add_metrics(sums, sides, layer, attention)
        norms = compute_value_norms(path, attention, self.projections) if self.request.weighting == "norm" else None
        if rolled is not None:
            for text, pattern in enumerate(patterns):
                pattern.add(0, rolled[text][None])
        elif not has_patterns:
            sums.add_patterns(attention, norms)
        reading = None
        if rolled is not None and self.request.reads_rollout:
            reading = read_rollout(rolled[0], sides, self.request.view, layer, attention.heads)
        elif self.request.reads_position:
            reading = read_layer(attention, sides, self.request.view, layer, chosen, norms)
        return LayerRecord(sides, attention.heads, path, sums, causal, reading, full)

    def _add_metrics(
        self, sums: LayerSums, sides: QueryKeySides, layer: int, attention: Attention
    ) -> tuple[bool, bool, bool | None]:
        """Add the metrics. Returns whether the patterns were added as well, whether no query sees a later key, and
        whether each sees every key, if known.

        Raises ModelError for attention that is NaN.
        """
        fused = attention.fused
        size = self.inputs.batch * attention.heads * attention.queries * attention.keys
        if fused is not None and sides.one_dimensional and not sides.prefix and size > MAX_EXPLICIT_WEIGHTS:
            baseline = self._baseline(sides, fused)
            pooled = self.request.weighting == "attention"
            return sums.add_fused(fused, baseline, layer, self.request.metrics, pooled=pooled), baseline.causal, None
        sights = []
        for block in attention.blocks():
            _require_finite(bool(torch.isfinite(block.weights).all()), layer)
            sights.append(sums.add_block(sides, block))
        return False, all(causal for causal, _ in sights), all(full for _, full in sights)

    def _roll_out(self, key: StackKey, sides: QueryKeySides, attention: Attention) -> Tensor | None:
        """The rollout up to this layer; None for cross-attention, and where keys have no query."""
        if not _is_square(sides):
            return None
        if key not in self._rollouts:
            self._rollouts[key] = Rollout(self.inputs.batch, attention.queries, attention.device)
        return self._rollouts[key].add_layer(attention)

    def _baseline(self, sides: QueryKeySides, fused: FusedAttention) -> UniformBaseline:
        """The uniform baseline under a mask; layers with the same mask and shape share it."""
        attention = fused.attention
        key = (attention.mask, attention.is_causal, attention.queries, attention.keys, attention.device)
        for other, baseline in self._baselines:
            if other[0] is key[0] and other[1:] == key[1:]:
                return baseline
        self._baselines.append((key, compute_uniform_baseline(sides, fused.visibility)))
        return self._baselines[-1][1]

    def _position_error(self, sides: QueryKeySides) -> UsageError | None:
        """The error for a requested query or key that isn't in one of the texts; None if all are."""
        if self.request.view == EVERYTHING:
            return None
        try:
            for text in range(self.inputs.batch):
                self.axes(sides, text)
        except UsageError as error:
            return error
        return None

    def axes(self, sides: QueryKeySides, text: int) -> Axes:
        """The rows and columns of a text's patterns. Raises UsageError for a position that isn't in it."""
        view = self.request.view
        rows, columns = (
            build_axis(view, side.tokens[text], side.real[text].cpu(), position)
            for side, position in ((sides.queries, view.query), (sides.keys, view.key))
        )
        bins = self.request.bins if self.request.patterns else SKETCH_BINS
        return Axes(rows, columns, view.hide_special).pooled_to_fit(bins)

    def full_size(self, sides: QueryKeySides, text: int) -> tuple[int, int]:
        """The number of queries and keys of a text, including those that aren't shown."""
        view = replace(self.request.view, hide_special=False)
        queries, keys = (len(view.unit_spans(side.tokens[text], None)) for side in (sides.queries, sides.keys))
        return queries, keys

    def _word_of_path(self, key: StackKey) -> str | None:
        """A stack's name by its path; None for a single stack, which is named after its mask, and where unclear."""
        block_list = next((each for each in self.model.lists if each.path == key.path), None)
        stage = "" if block_list is None or block_list.stage < 2 else str(block_list.stage)
        if self.inputs.only_medium is not None:
            return f"{self.inputs.only_medium}{stage}"
        stacks = {path for path, blocks in self.model.blocks.items() if any(block.attends for block in blocks)}
        if block_list is None or len(stacks) == 1 or block_list.word is None:
            return None
        words = {each.word for each in self.model.lists}
        if block_list.word == "encoder" and "decoder" not in words and not stage:
            # In a model of pictures, an "encoder" may be what writes the captions (GIT).
            return None
        return f"{block_list.word}{stage}"


def _is_square(sides: QueryKeySides) -> bool:
    return sides.same_sequence and not sides.prefix


def _require_finite(finite: bool, layer: int) -> None:
    if not finite:
        raise ModelError(
            f"the attention of layer {layer} is not a number (NaN)",
            hint="the model's weights are broken, or too large for this format: try --dtype float32",
        )
