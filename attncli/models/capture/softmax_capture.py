"""Capture attention where values are mixed, for code that doesn't use transformers' attention interface.

Own code calls torch's attention functions, or takes a softmax and multiplies values with its result. `SoftmaxCapture`
follows that result through masks, dropout, reshapes and casts to the product with the values, and takes the weights as
they are there. A softmax whose result mixes no values along the text counts for nothing: routers, gates, fixed tables.

It takes the weights when the module is done, so that only one layer's weights are held at a time and the model needs no
`output_attentions`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import PreTrainedModel

from attncli.errors import ModelError
from attncli.models.capture.attention_types import Attention, AttentionSlice, QueryKeyAttention, WeightsAttention
from attncli.models.capture.local_attention import ShiftedWindows, block_attention, patch_attention, window_attention
from attncli.models.capture.mixing_watch import (
    BatchAxis,
    FusedCall,
    Growth,
    MixingWatch,
    ModuleCall,
    Product,
    Steps,
    is_own_code,
    rows_sum_to_one,
    weights_index,
)
from attncli.models.capture.sequence_parts import PartPlaces, SequenceParts
from attncli.models.capture.structure import block_lists, is_attention

#: The attribute of modules that attend within windows: the keys on one side of a query (Longformer, LED).
_WINDOW_ATTRIBUTE = "one_sided_attn_window_size"

#: Names for the number of heads in modules that fold them into the batch.
_HEAD_COUNT_ATTRIBUTES = ("num_heads", "n_heads", "num_attention_heads")

#: Rounding in half precision changes a sum by less than this.
_ROUNDING = 0.01

#: Functions whose result holds a part of their operand, or repeats it, and may still be weights.
_CUTS = frozenset({"__getitem__", "narrow", "split", "chunk", "unbind", "cat", "pad", "expand", "repeat_interleave"})


@dataclass
class _OwnCall(ModuleCall):
    """A call of a module that has not returned yet.

    softmaxes: results of the softmaxes in it.  mixed: its attention.  captured: whether that was passed on already.
    attends: whether it is an attention module.  holds_layers: whether it is a model or holds lists of layers.
    part: which part of a sequence it is given, if it is given a part.  passed_on: attention of its own was passed on.
    operands: the weights that mixed values.
    """

    softmaxes: list[Tensor] = field(default_factory=list)
    mixed: list[Attention] = field(default_factory=list)
    captured: bool = False
    attends: bool = False
    holds_layers: bool = False
    part: PartPlaces | None = None
    passed_on: bool = False
    operands: list[Tensor] = field(default_factory=list)


class SoftmaxCapture(MixingWatch):
    """While it is `watching`, passes the attention of each module that wasn't captured otherwise to `emit`.

    batch: the number of texts.  lengths: of the text and, in an encoder–decoder, of the decoder's input; some modules
    pad their windows to more.  windows: of pictures.  second: the steps on a text of another length, if it was run.
    change: makes something else of the weighted values of a module, with the axes of these that count heads.
    fixed_length: own code that runs on one length alone, as a picture's: weights are then as long as they are wide.
    """

    calls: list[_OwnCall]

    def __init__(
        self,
        model: nn.Module,
        batch: int,
        lengths: tuple[int, ...],
        emit: Callable[[nn.Module, Attention], None],
        windows: ShiftedWindows,
        second: Steps | None = None,
        change: Callable[[nn.Module, Tensor, tuple[int, ...]], Tensor] | None = None,
        *,
        fixed_length: bool = False,
    ) -> None:
        super().__init__(model)
        self._change, self._fixed_length = change, fixed_length
        self._windows, self._second = windows, second
        self._batch, self._lengths, self._length, self._emit = batch, lengths, lengths[0], emit
        lists = tuple(each.path for each in block_lists(model))
        self._holders = {
            id(part)
            for path, part in model.named_modules()
            if isinstance(part, PreTrainedModel)
            or any(f"{each}.".startswith(f"{path}." if path else "") for each in lists)
        }
        #: What came from a softmax: for each tensor the rows of its queries that see nothing, or None.
        self._weights: Any = WeakTensorKeyDictionary()
        self._parts = SequenceParts()
        #: Whether a step of a module is one of attention, by the module's id and the step's place.
        self._verdicts: dict[tuple[int, int], bool] = {}
        #: The modules that ran and whose attention can't be read.
        self.unreadable: list[nn.Module] = []

    def new_call(self, module: nn.Module, number: int, inputs: Sequence[Any]) -> _OwnCall:
        holds_layers = id(module) in self._holders
        attends = is_attention(module) and not holds_layers
        # A plain layer mixes nothing, whatever it is given.
        part = self._parts.of_inputs(inputs) if is_own_code(module) or any(True for _ in module.children()) else None
        return _OwnCall(module, number, attends=attends, holds_layers=holds_layers, part=part)

    def mark_captured(self) -> None:
        """Note that the attention of the modules that are being called was captured another way."""
        for call in self.calls:
            call.captured = call.captured or call.attends or call is self.calls[-1]

    def on_softmax(self, call: _OwnCall, weights: Tensor, scores: object) -> None:
        owner = self._owner()
        if not self._is_open(owner):
            return
        growth = self._growth(call)
        # Weights have queries and keys; gates, routers and features have one axis at most that counts tokens.
        counts = self._second is None or (growth is not None and sum(growth[0]) > 1)
        is_local = self._is_local(owner.module, weights, growth)
        rows = _hidden_rows(weights, scores)
        if is_local or self._second is None:
            # In rows that see nothing 0 instead of NaN.
            owner.softmaxes.append(weights if rows is None else weights.masked_fill(rows, 0))
        if not is_local and self._same_in_all_calls(call, counts):
            self._weights[weights] = rows

    def on_result(
        self, call: _OwnCall, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> None:
        self._parts.follow(call, func, args, kwargs, result)
        flat = (each for arg in args for each in (arg if isinstance(arg, tuple | list) else (arg,)))
        tensors = (each for each in flat if isinstance(each, Tensor) and each in self._weights)
        if not self._weights or (operand := next(tensors, None)) is None:
            return
        is_cut = getattr(func, "__name__", "") in _CUTS
        for each in result if isinstance(result, tuple | list) else (result,):
            if isinstance(each, Tensor) and each.is_floating_point() and (is_cut or each.numel() == operand.numel()):
                self._weights[each] = self._weights[operand]

    def on_product(self, call: _OwnCall, product: Product, result: Tensor) -> Tensor | None:
        self._parts.follow(call, torch.matmul, product.operands, {}, result)
        sides = [side for side in (0, 1) if product.operands[side] in self._weights]
        growth = self._growth(call) if sides else None
        if not sides or (self._second is not None and growth is None):
            return None
        for side in sides:
            axes = product.find_weights(side, None if growth is None else (growth[0], growth[1]))
            if axes is not None:
                return self._mix(call, product, side, *axes, result)
        if growth is not None and sum(growth[2]) > 1:
            # Heads are mixed with one another (talking heads, Shazeer et al. 2020): the result is weights as well.
            self._weights[result] = self._weights[product.operands[sides[0]]]
        return None

    def on_fused(self, call: _OwnCall, fused: FusedCall, result: Tensor) -> Tensor | None:
        owner = self._owner()
        counts = self._counts(call, fused.query.shape, fused.key.shape)
        if not self._is_open_to_fused(owner) or not self._same_in_all_calls(call, counts):
            return None
        parts = (fused.query, fused.key, fused.value)
        query, key, value = (self._split_batch(part, side, call) for side, part in enumerate(parts))
        if query is None or key is None or value is None:
            return None
        mask = self._fused_mask(call, fused)
        scaling = query.shape[-1] ** -0.5 if fused.scale is None else float(fused.scale)
        self._take(owner, call, QueryKeyAttention(query, key, value, mask, mask is None and fused.is_causal, scaling))
        return self._changed(owner, result, tuple(range(result.ndim - 2)))

    def on_weights(self, call: _OwnCall, weights: Callable[[], Tensor], extra_keys: int) -> None:
        owner, shapes = self._owner(), call.steps[-1].shapes
        # Either the weights themselves, or queries and keys.
        query, key = (shapes[0], (*shapes[0][:-2], shapes[0][-1], 0)) if len(shapes) == 1 else shapes[:2]
        counts = self._counts(call, query, key) and query[0] == self._batch
        if not self._is_open_to_fused(owner) or not self._same_in_all_calls(call, counts):
            return
        attention: Attention = WeightsAttention(weights())
        if extra_keys:
            attention = AttentionSlice(attention, columns=(0, attention.keys - extra_keys))
        self._take(owner, call, attention)

    def on_module(self, call: _OwnCall, output: Any) -> Any:
        index = None
        # Without a second run, several softmaxes in one module are taken for parts of an approximation.
        several = self._second is None and sum(_is_softmax_output(each, self._batch) for each in call.softmaxes) > 1
        if len(call.mixed) == 1 and not several and not call.captured:
            self._pass_on(call, call.mixed[0])
        elif call.attends and not call.captured:
            index = self._pass_on_fallback(call, output)
        for module, attention in self._parts.finished(call):
            self._emit(module, attention)
        if index is None:
            return None
        # An empty four-dimensional tensor in place of the weights, so that they can be freed.
        parts = [*output[:index], output[index].new_empty(0, 0, 0, 0), *output[index + 1 :]]
        return parts if isinstance(output, list) else tuple(parts)

    # --- Attention that was found

    def _mix(self, call: _OwnCall, product: Product, side: int, query: int, key: int, result: Tensor) -> Tensor | None:
        """Take the weights, as they are when they mix values. Returns what takes the place of the weighted values."""
        owner, operand = self._owner(), product.operands[side]
        rest = [axis for axis in range(operand.ndim) if axis not in (query, key)]
        places = product.kept_axes(side, rest, result.ndim)
        if any(operand is other for other in owner.operands):
            return self._changed(owner, result, places)
        if not self._is_open(owner) or not self._is_one_query_each(call, side, query):
            return None
        if self._fixed_length and not owner.attends and operand.shape[query] != operand.shape[key]:
            return None
        weights = self._split_batch(operand.permute(*rest, query, key), side, call, rest)
        if weights is None:
            return None
        rows = self._weights[operand]
        if rows is not None and rows.numel() == weights[..., 0].numel():
            weights = weights.masked_fill(weights.isnan() & rows.reshape(*weights.shape[:-1], 1), 0)
        if self._second is not None:
            _check_weights(weights, owner.module)
        elif not rows_sum_to_one(weights):
            return None
        if not owner.holds_layers:
            owner.operands.append(operand)
        self._take(owner, call, WeightsAttention(weights))
        return self._changed(owner, result, places)

    def _changed(self, owner: _OwnCall, result: Tensor, axes: tuple[int, ...]) -> Tensor | None:
        """What takes the place of weighted values. axes: of the texts and heads."""
        return None if self._change is None else self._change(owner.module, result, axes)

    def _take(self, owner: _OwnCall, call: _OwnCall, attention: Attention) -> None:
        """Pass attention on at once where it is known to be its module's only one, or keep it until the module ends."""
        is_only = self._second is not None and self._second.count(call, "attention") == 1 and not owner.passed_on
        is_whole = not owner.mixed and self._part(owner, attention) is None
        if owner.holds_layers or (is_only and is_whole and attention.with_values is not None):
            self._pass_on(owner, attention)
        elif self._second is not None and (owner.mixed or owner.passed_on):
            raise _refusal(
                owner.module,
                "it multiplies weights with values more than once per call",
                "it is unknown which of them is its attention",
            )
        else:
            owner.mixed.append(attention)

    def _pass_on(self, call: _OwnCall, attention: Attention) -> None:
        if not call.holds_layers:
            call.captured = call.passed_on = True
            self.mark_captured()
        part = self._part(call, attention)
        pass_to = self._emit if part is None else part.add
        pass_to(call.module, attention)

    def _pass_on_fallback(self, call: _OwnCall, output: Any) -> int | None:
        """Attention to a few keys of each query, or what the module hands out. Returns the index in the output of
        weights that can be freed."""
        if (attention := self._local_attention(call)) is not None:
            self._pass_on(call, attention)
            return self._freed(weights_index(output, self._batch))
        index = weights_index(output, self._batch)
        if index is not None:
            self.add_step(call, "output", output[index])
            growth = self._growth(call)
            if self._second is None or (growth is not None and growth[0][-2:] == (True, True)):
                self._pass_on(call, WeightsAttention(output[index]))
                return self._freed(index)
        self.unreadable.append(call.module)
        return None

    def _freed(self, index: int | None) -> int | None:
        # A user's own code may still need what its module hands out.
        return None if self._second is not None else index

    # --- What is known of it

    def _owner(self) -> _OwnCall:
        """The attention module that is being called, or one that is given a part of a sequence; else the innermost."""
        return next((call for call in reversed(self.calls) if call.attends or call.part is not None), self.calls[-1])

    def _is_open(self, owner: _OwnCall) -> bool:
        """Whether attention of a module counts: not that of one whose attention came another way."""
        if self._second is None and not owner.attends and owner.part is None and not self._fixed_length:
            return False
        return owner.passed_on or not owner.captured

    def _is_open_to_fused(self, owner: _OwnCall) -> bool:
        return self._is_open(owner) or (is_own_code(owner.module) and not owner.captured)

    def _part(self, call: _OwnCall, attention: Attention) -> PartPlaces | None:
        """Which part of a sequence is attended to, as the innermost module that was given it says."""
        calls = reversed([*self.calls, call])
        return next((each.part for each in calls if each.part and each.part.fits(attention)), None)

    def _growth(self, call: _OwnCall) -> tuple[Growth, ...] | None:
        """Which axes of the last step's tensors count tokens; None where unknown."""
        if self._second is None:
            return None
        growth = self._second.growth(call)
        part = next((each.part for each in reversed(self.calls) if each.part is not None), None)
        if growth is None or part is None:
            return growth
        step = self._second.same_step(call)
        assert step is not None
        # A part may be as long as the whole of the other text.
        pairs = {(own, other) for own in (part.queries.length, part.keys.length) for other in self._second.lengths}
        tensors = zip(growth, call.steps[-1].shapes, step.shapes, strict=True)
        return tuple(
            tuple(grows or (now, then) in pairs for grows, now, then in zip(*tensor, strict=True)) for tensor in tensors
        )

    def _same_in_all_calls(self, call: _OwnCall, counts: bool) -> bool:
        """`counts`, whether a step is one of attention. Raises ModelError if it was not in another call of its module:
        then its sizes differ from part to part of the text."""
        if self._verdicts.setdefault((id(call.module), len(call.steps)), counts) != counts:
            raise _refusal(call.module, "it runs on one part of the text after another", "it is unknown on which parts")
        return counts

    def _counts(self, call: _OwnCall, query: Sequence[int], key: Sequence[int]) -> bool:
        """Whether queries and keys (…, n, d) of a fused call are along the text."""
        if self._second is None:
            # A single query to many keys pools a picture.
            return query[-2] > 1 or key[-2] == 1
        growth = self._growth(call)
        if growth is None:
            return False
        if len(growth) == 1:
            return growth[0][-2:] == (True, True) and not any(growth[0][:-2])
        return all(each[-2] and not any(each[:-2]) for each in growth[:2])

    def _is_one_query_each(self, call: _OwnCall, side: int, axis: int) -> bool:
        """Whether an axis counts queries alone, and not those of all heads one after another."""
        if self._second is None:
            return True
        other = self._second.same_step(call)
        size, second = call.steps[-1].shapes[side][axis], other.shapes[side][axis] if other else 0
        pairs = zip(self._lengths, self._second.lengths, strict=True)
        factors = [size // now for now, then in pairs if now and size % now == 0 and second * now == size * then]
        return not factors or 1 in factors

    def _split_batch(
        self, tensor: Tensor, side: int, call: _OwnCall, axes: Sequence[int] | None = None
    ) -> Tensor | None:
        """(…, n, m) as (batch, heads, n, m); None where the texts of the batch can't be found.

        side: which of the step's tensors it is.  axes: its leading axes in that tensor.
        """
        lead = list(range(tensor.ndim - 2)) if axes is None else list(axes)
        if not self._are_batch_and_heads(tensor.shape[:-2]):
            return None
        if self._batch == 1:
            return tensor.reshape(1, -1, *tensor.shape[-2:])
        found: BatchAxis | None = BatchAxis(0, True)
        if self._second is not None:
            step = self._second.same_step(call)
            found = None if step is None else step.batch_axes[side]
            found = found._replace(axis=lead.index(found.axis)) if found is not None and found.axis in lead else None
        return None if found is None else found.split(tensor, self._batch).flatten(1, -3)

    def _are_batch_and_heads(self, lead: Sequence[int]) -> bool:
        """Whether leading axes are of a batch and heads, and not of windows, as far as their sizes tell."""
        if self._second is not None:
            return len(lead) < 2 or self._batch in lead
        if len(lead) != 1:
            return not lead or lead[0] == self._batch
        module = self._owner().module
        heads = next((getattr(module, name) for name in _HEAD_COUNT_ATTRIBUTES if hasattr(module, name)), None)
        return heads is not None and lead[0] == self._batch * heads

    def _fused_mask(self, call: _OwnCall, fused: FusedCall) -> Tensor | None:
        """The mask, four-dimensional. The corner of a causal one is at the first key, whatever the lengths."""
        queries, keys = fused.query.shape[-2], fused.key.shape[-2]
        mask = fused.mask
        if fused.is_causal and (mask is not None or queries != keys):
            causal = torch.ones(queries, keys, dtype=torch.bool, device=fused.query.device).tril()
            if mask is not None and mask.dtype != torch.bool:
                mask = mask.masked_fill(~causal, -torch.inf)
            else:
                mask = causal if mask is None else mask & causal
        if mask is None or mask.ndim == 2:
            return mask if mask is None else mask[None, None]
        whole = mask.expand(*fused.query.shape[:-2], queries, keys)
        return self._split_batch(whole, 0, call)

    # --- Attention to a few keys of each query

    def _is_local(self, module: nn.Module, weights: Tensor, growth: tuple[Growth, ...] | None) -> bool:
        is_window = hasattr(module, _WINDOW_ATTRIBUTE) or self._windows.window_patches(module) is not None
        has_blocks = weights.ndim == 5 and weights.shape[4] >= 3 * weights.shape[3]
        return is_window or (has_blocks and (growth is None or sum(growth[0]) < 2))

    def _local_attention(self, call: _OwnCall) -> Attention | None:
        """The attention of a module with exactly one softmax; several belong to approximations."""
        if (patches := self._windows.window_patches(call.module)) is not None:
            inside = [WeightsAttention(each) for each in call.softmaxes if _is_softmax_output(each, len(patches))]
            return patch_attention(inside[0], patches) if len(inside) == 1 else None
        weights = [each for each in call.softmaxes if _is_softmax_output(each, self._batch)]
        if len(weights) != 1:
            return None
        if weights[0].ndim == 5:
            return block_attention(weights[0], self._length)
        width = getattr(call.module, _WINDOW_ATTRIBUTE, None)
        return None if width is None else window_attention(weights[0], 2 * width + 1, self._length)


def _is_softmax_output(weights: Tensor, batch: int) -> bool:
    """Whether a softmax ran over the last of four or five dimensions, the first of them the batch."""
    if weights.ndim not in (4, 5) or weights.shape[0] != batch or not weights.numel():
        return False
    return rows_sum_to_one(weights)


def _hidden_rows(weights: Tensor, scores: object) -> Tensor | None:
    """The rows whose scores are all −∞, which see nothing (padding), where that made NaN of them: (…, 1)."""
    if not isinstance(scores, Tensor) or scores.shape != weights.shape or not bool(weights.isnan().any()):
        return None
    return (scores == -torch.inf).all(-1, keepdim=True)


def _check_weights(weights: Tensor, module: nn.Module) -> None:
    """Raise ModelError for weights that no row of attention has: the weights were changed after the softmax."""
    if bool((weights < 0).any()):
        raise _refusal(module, "its attention weights are partly negative")
    if bool((weights.float().sum(-1) > 1 + _ROUNDING).any()):
        raise _refusal(module, "its attention weights sum to more than 1")


def _refusal(module: nn.Module, why: str, reason: str = "the weights were changed after the softmax") -> ModelError:
    return ModelError(
        f"the attention of {type(module).__name__} can't be read: {why}",
        hint=f"{reason}; use another model (-m)",
    )
