"""The observer that receives every attention computation of a forward pass and reduces it to metrics and patterns.

`Collector` decides what to compute for each layer; a `CollectedLayer` holds the running sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.attention.generation_trace import RowTrace
from attncli.attention.inputs import ModelInputs
from attncli.attention.links import LinkSearch
from attncli.attention.metrics import MetricSums, PairAttentionSums, QueryKeySides, uniform_weights
from attncli.attention.pattern_sums import (
    Axes,
    PatternSums,
    Rollout,
    RowWeights,
    build_axis,
    read_column,
    read_rollout,
    read_row,
)
from attncli.attention.readouts import compute_value_norms, free_memory, read_metrics
from attncli.attention.selection import EVERYTHING, HeadsRequest
from attncli.attention.uniform_baseline import UniformBaseline, compute_uniform_baseline
from attncli.errors import ModelError, UsageError

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention
    from attncli.models.capture.fused_attention import FusedAttention
    from attncli.models.loading.loaded_model import LoadedModel

#: Layers with up to so many weights are computed explicitly (64 MiB of float32); larger ones without the matrix.
MAX_EXPLICIT_WEIGHTS = 1 << 24

#: Small patterns are kept of stacks with at most so many heads, in at most so many bins a side; of a text of at most so
#: many tokens, of so many heads.
MAX_SKETCH_HEADS, SKETCH_BINS = 8, 64
SHORT_TEXT, MAX_SHORT_SKETCHES = 64, 400

#: Up to one row in so many is faster to compute by itself than to pool along with all other rows.
_FEW_ROWS_SHARE = 8


@dataclass(frozen=True)
class StackKey:
    """What identifies a stack: the path of its list of blocks, and whether it is cross-attention."""

    path: str
    cross: bool


@dataclass
class CollectedLayer:
    """What is collected of one attention layer.

    path: of the attention module.  chosen: the heads, none where none is requested: nothing else is collected then.
    metrics, baseline: the running sums of its attention and of uniform attention.  patterns: one for each text.
    row: the weights of one position, where that was requested.  column: those on one key.  links: its strongest links.
    strongest: of each head, the key that one position reads most, and its weight, where that was requested.
    causal, full: whether each query sees only itself and earlier keys, and whether it sees every key, if known.
    """

    number: int
    path: str
    sides: QueryKeySides
    heads: int
    chosen: tuple[int, ...]
    metrics: MetricSums
    baseline: MetricSums
    patterns: tuple[PatternSums, ...] = ()
    row: RowWeights | None = None
    strongest: tuple[tuple[int, float], ...] = ()
    column: RowWeights | None = None
    links: LinkSearch | None = None
    causal: bool | None = None
    full: bool | None = None

    def add_blocks(self, attention: Attention) -> None:
        """Add the metrics of all rows, from blocks of the matrix. Raises ModelError for attention that is NaN."""
        self.causal = self.full = True
        for block in attention.blocks():
            self._require_finite(bool(torch.isfinite(block.weights).all()))
            visible = self.sides.seen(block.start, block.stop, block.visible)
            self.metrics.add(block.start, block.weights, block.visible)
            self.baseline.add(block.start, uniform_weights(visible), block.visible)
            if self.links is not None:
                self.links.add(block.start, block.weights, visible)
            self.causal &= not bool(visible.triu(block.start + self.sides.prefix + 1).any())
            self.full &= not bool(self.sides.seen(block.start, block.stop, ~visible).any())

    def add_fused(
        self, fused: FusedAttention, baseline: UniformBaseline, metrics: Sequence[str], *, pooled: bool
    ) -> bool:
        """Add the metrics of all rows without the matrix; with `pooled`, a single text's pattern in the same pass.

        Returns whether the pattern was added as well. Raises ModelError for attention that is NaN.
        """
        self.causal = baseline.causal
        bins = self._bins() if pooled else None
        readouts = read_metrics(fused, self.sides, baseline, metrics=metrics, bins=bins)
        self._require_finite(readouts.finite)
        self.metrics.add_rows({name: (value, baseline.rows[name][1]) for name, value in readouts.rows.items()})
        self.baseline.add_rows(baseline.rows)
        if readouts.columns is not None:
            self.metrics.add_columns(readouts.columns)
            self.baseline.add_columns(baseline.columns)
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
            for block in attention.blocks(self.chosen, patterns.rows):
                weights = block.weights[text]
                patterns.add(block.start, weights if norms is None else weights * norms[text, list(self.chosen), None])

    def _bins(self) -> tuple[Tensor, Tensor] | None:
        """The bins of queries and keys, where a readout can fill them: each weight is added unchanged to one cell."""
        if len(self.patterns) != 1:
            return None
        axes, (first, last) = self.patterns[0].axes, self.patterns[0].rows
        few_rows = last - first <= self.sides.queries.length // _FEW_ROWS_SHARE
        return None if axes.bins is None or axes.renormalised or few_rows else (axes.rows.group, axes.columns.group)

    def _require_finite(self, finite: bool) -> None:
        if not finite:
            raise ModelError(
                f"the attention of layer {self.number} is not a number (NaN)",
                hint="the weights are damaged, or too large for this number format: try --dtype float32",
            )


@dataclass
class Collector:
    """Reduces every attention computation as it happens, and keeps only the weights of the chosen heads.

    projections: the output matrix of each attention module by its path, for norm-weighted patterns.
    """

    model: LoadedModel
    inputs: ModelInputs
    request: HeadsRequest
    projections: Mapping[str, Tensor] = field(default_factory=dict)
    layers: dict[StackKey, dict[int, CollectedLayer]] = field(default_factory=dict)
    #: Paths of attention modules that ran but can't be read.
    unread: tuple[str, ...] = ()
    #: Stacks without the requested query or key, with the error to raise if no other stack has it.
    position_errors: dict[StackKey, UsageError] = field(default_factory=dict)
    #: The stack and the number of the layer that was collected last.
    latest: tuple[StackKey, int] = (StackKey("", cross=False), 0)
    #: What each stack read as it wrote new tokens, where that was requested.
    traces: dict[StackKey, RowTrace] = field(default_factory=dict)
    _rollouts: dict[StackKey, Rollout] = field(default_factory=dict)
    #: Uniform baselines by what they depend on: mask, causality, queries, keys, device.
    _baselines: list[tuple[tuple[Tensor | None, bool, int, int, torch.device], UniformBaseline]] = field(
        default_factory=list
    )

    def __call__(self, path: str, attention: Attention) -> None:
        site = self.model.site_of(path)
        key = StackKey(site.block_list.path if site.block_list else "", site.cross)
        collected = self.layers.setdefault(key, {})
        # A block that runs again in the same pass (ALBERT's shared one) is a further layer.
        layers, length = (
            ([site.block], 1)
            if site.block_list is None
            else (site.block_list.layers_of_block(site.block), site.block_list.length)
        )
        numbers = (time * length + layer for time in count() for layer in layers)
        number = next(number for number in numbers if number not in collected)
        collected[number] = self._collect_layer(key, number, path, attention)
        self.latest = key, number

    def possible_names(self, key: StackKey) -> tuple[str, ...]:
        """The names that a stack may get; which of two it gets depends on whether its mask is causal."""
        word = self._word_of_path(key)
        return ("cross",) if key.cross else (word,) if word else ("encoder", "decoder")

    def unread_stacks(self) -> Iterator[tuple[str, str]]:
        """The stacks that ran but could not be read: their names, and the class of their attention module."""
        read = {key.path for key in self.layers}
        lists = (self.model.site_of(path).block_list for path in self.unread)
        for path, block_list in {each.path: each for each in lists if each is not None}.items():
            if path not in read:
                mixers = (block.mixer for block in block_list.describe_layers() if block.mixer)
                yield block_list.word or path, next(mixers, "attention")

    def layer_count(self, key: StackKey) -> int:
        """Layers of a stack, including those without attention; a shared block counts each time it runs."""
        return max(self.model.layer_count(key.path), *(layer + 1 for layer in self.layers.get(key, ())), 1)

    def can_show(self, key: StackKey) -> bool:
        """Whether a stack can be shown: a rollout needs self-attention, and a query for every key."""
        layers = self.layers[key].values()
        return self.request.weighting != "rollout" or all(layer.sides.is_square for layer in layers)

    def _predicts(self, word: str | None, sides: QueryKeySides) -> bool:
        """Whether the queries are those of the text whose next token is predicted, and not of a tower of pictures."""
        text = self.inputs.target or self.inputs.main
        own = sides.queries.tokens[0][sides.queries.virtual :] == text.tokens[0]
        return own and not (word == "encoder" and self.inputs.target is not None)

    def _collect_layer(self, key: StackKey, number: int, path: str, attention: Attention) -> CollectedLayer:
        request, virtual = self.request, self.model.virtual_tokens
        word = self._word_of_path(key)
        sides = self.inputs.sides(word, key.cross, attention.queries, attention.keys, virtual).to(attention.device)
        # Under any of the names that the stack may get.
        names, layers, heads = self.possible_names(key), self.layer_count(key), attention.heads
        chosen = {head for name in names for head in request.selection.heads_in(name, number, layers, heads)}
        if (missing := self._position_error(sides)) is not None:
            # The errors of chosen stacks go before those of other stacks.
            errors = {key: missing, **self.position_errors} if chosen else {**self.position_errors, key: missing}
            self.position_errors, chosen = errors, set()
        is_rollout = request.weighting == "rollout"
        rolled = self._roll_out(key, sides, attention) if is_rollout else None
        if is_rollout and rolled is None:
            chosen = set()
        has_sink = bool(chosen) and attention.has_sink
        metrics, baseline = (
            MetricSums(sides, has_sink, each, PairAttentionSums.for_two_texts(sides)) for each in (heads, 1)
        )
        layer = CollectedLayer(number, path, sides, heads, tuple(sorted(chosen)), metrics, baseline)
        if request.read_at is not None and self._predicts(word, sides):
            layer.strongest = _strongest_keys(attention, request.read_at + sides.queries.virtual)
        if request.traced is not None and self._predicts(word, sides):
            trace = self.traces.setdefault(key, RowTrace(request.traced, causal=not key.cross))
            trace.add(number, attention, sides)
        if not chosen:
            return layer
        if request.patterns or (
            request.sketches and request.weighting == "attention" and _has_sketches(layers * heads, attention)
        ):
            shown = (None,) if is_rollout else layer.chosen
            texts = range(self.inputs.batch)
            layer.patterns = tuple(PatternSums(number, shown, self.axes(sides, text)) for text in texts)
        if request.links and self.inputs.batch == 1 and sides.keys.medium.kind == "tokens":
            layer.links = LinkSearch(sides)
        has_patterns = self._add_metrics(layer, attention)
        norms = compute_value_norms(path, attention, self.projections) if request.weighting == "norm" else None
        if rolled is not None:
            for text, pattern in enumerate(layer.patterns):
                pattern.add(0, rolled[text][None])
            if request.reads_rollout:
                layer.row = read_rollout(rolled[0], sides, request.view)
            return layer
        if not has_patterns:
            layer.add_patterns(attention, norms)
        if request.reads_position:
            layer.row = read_row(attention, sides, request.view, layer.chosen, norms)
        if request.reads_column:
            layer.column = read_column(attention, sides, request.view, layer.chosen, norms)
        return layer

    def _add_metrics(self, layer: CollectedLayer, attention: Attention) -> bool:
        """Add the metrics, and return whether the patterns were added as well."""
        fused, sides = attention.fused, layer.sides
        size = self.inputs.batch * attention.heads * attention.queries * attention.keys
        if fused is None or not sides.one_dimensional or sides.prefix or size <= MAX_EXPLICIT_WEIGHTS:
            layer.add_blocks(attention)
            return False
        pooled = self.request.weighting == "attention"
        has_patterns = layer.add_fused(fused, self._baseline(sides, fused), self.request.metrics, pooled=pooled)
        free_memory()
        return has_patterns

    def _roll_out(self, key: StackKey, sides: QueryKeySides, attention: Attention) -> Tensor | None:
        """The rollout up to this layer; None for cross-attention, and where keys have no query."""
        if not sides.is_square:
            return None
        if key not in self._rollouts:
            corrected = self.request.receptive_field
            self._rollouts[key] = Rollout(self.inputs.batch, attention.queries, attention.device, corrected=corrected)
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


def _has_sketches(heads: int, attention: Attention) -> bool:
    """Whether small patterns of so many heads can be kept: of long texts they take time."""
    is_short = max(attention.queries, attention.keys) <= SHORT_TEXT
    return heads <= (MAX_SHORT_SKETCHES if is_short else MAX_SKETCH_HEADS)


def _strongest_keys(attention: Attention, query: int) -> tuple[tuple[int, float], ...]:
    """The key that each head reads most from one position of the first text, and its weight."""
    (block,) = attention.blocks(rows=(query, query + 1))
    weights, keys = block.weights[0, :, 0].max(-1)
    return tuple(zip(keys.tolist(), weights.tolist(), strict=True))
