"""What transformers itself says of a model's attention, and how far our patterns are from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from attncli.attention.inputs import ModelInputs, build_inputs
from attncli.attention.metrics import Side
from attncli.attention.selection import HeadsRequest
from attncli.models.loading.loaded_model import LoadedModel
from attncli.results.heads import Stack
from tests import tiny
from tests.tiny import read_heads_of_each

TOLERANCE = 1e-4

#: The stack that a field of transformers' output speaks of.
_FIELDS = {"encoder_attentions": "encoder", "decoder_attentions": "decoder", "cross_attentions": "cross"}


class NoAttentionError(Exception):
    """What transformers calls attentions are not weights of queries on keys; says why."""


@dataclass(frozen=True)
class Reference:
    """What transformers hands out: for every field of its output, layers of (batch, heads, queries, keys) by number.

    count: how many layers a field has, those too that are no attention.  states: the model's last hidden states.
    """

    fields: Mapping[str, Mapping[int, Tensor]]
    counts: Mapping[str, int]
    states: Tensor | None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Agreement:
    """How our patterns compare: the largest difference, that of the model's last states, and what is worth saying."""

    deviation: float
    states: float
    remarks: tuple[str, ...] = ()


def inputs_for(loaded: LoadedModel, texts: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> ModelInputs:
    """What the package gives a model for these ids; a decoder gets `targets` instead of its start token alone."""
    size = loaded.vocabulary_size or 1000
    texts, targets = ([[id_ if id_ < size else id_ % (size - 8) + 4 for id_ in row] for row in rows]
                      for rows in (texts, targets))  # fmt: skip
    inputs = build_inputs(loaded, [tiny.tokens(ids) for ids in texts])
    if inputs.target is None:
        return inputs
    ids = torch.tensor(targets[: len(texts)])
    real = torch.ones_like(ids, dtype=torch.bool)
    target = Side(ids, ~real, real, tuple(tiny.tokens(row) for row in targets[: len(texts)]))
    return replace(inputs, arguments={**inputs.arguments, "decoder_input_ids": ids}, target=target)


def reference(model: PreTrainedModel, inputs: ModelInputs) -> Reference:
    """`output_attentions=True` under eager. Raises NoAttentionError where it hands out something else."""
    softmaxes = _Softmaxes(inputs.batch)
    # A dual encoder's forward pass wants a picture as well.
    entry = getattr(model, "get_text_features", model)
    with torch.no_grad(), softmaxes:
        output = entry(**inputs.arguments, output_attentions=True, return_dict=True)
    found = {name: layers for name, layers in _attentions("", output) if layers}
    remarks: tuple[str, ...] = ()
    if not found and softmaxes.found:
        found, remarks = {"attentions": tuple(softmaxes.found)}, ("by its softmax",)
    fields, reasons = {}, {}
    for name, layers in found.items():
        placed = [_placed(model, layer, inputs.main.length) for layer in layers]
        if all(_are_scores(layer) for layer in placed):
            placed, remarks = [layer.softmax(-1) for layer in placed], (*remarks, f"{name}: softmax of scores")
        verdicts = [_why_no_attention(layer, inputs) for layer in placed]
        fields[name] = {number: layer for number, layer in enumerate(placed) if verdicts[number] is None}
        reasons[name] = next((verdict for verdict in verdicts if verdict is not None), "")
    readable = {name: layers for name, layers in fields.items() if layers}
    if found and not readable:
        raise NoAttentionError("; ".join(f"{name}: {why}" for name, why in reasons.items()))
    remarks += tuple(f"{name}: {why}" for name, why in reasons.items() if why)
    return Reference(readable, {name: len(found[name]) for name in readable}, _states(output), remarks)


def _attentions(prefix: str, output: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Tensor, ...]]]:
    for name, value in output.items():
        if isinstance(value, Mapping):
            yield from _attentions(f"{prefix}{name}.", value)
        elif name.endswith("attentions") and isinstance(value, tuple | list):
            yield prefix + name, tuple(layer for layer in value if layer is not None)


def _states(output: Any) -> Tensor | None:
    states = output.get("last_hidden_state") if isinstance(output, Mapping) else None
    return states if isinstance(states, Tensor) else None


class _Softmaxes(TorchFunctionMode):
    """Every softmax over the last of four dimensions, for models that compute attention and hand nothing out."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self._batch = batch
        self.found: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        softmax = func in (torch.softmax, nn.functional.softmax, Tensor.softmax)
        if softmax and result.ndim == 4 and result.shape[0] == self._batch and _whole_rows(result):
            self.found.append(result)
        return result


def _whole_rows(weights: Tensor) -> bool:
    return torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-3)


def _placed(model: PreTrainedModel, layer: Any, length: int) -> Any:
    """Weights on windows, put at their true columns one by one; others as they are."""
    if not isinstance(layer, Tensor):
        return layer
    sides = [m.one_sided_attn_window_size for m in model.modules() if hasattr(m, "one_sided_attn_window_size")]
    if sides and layer.ndim == 4 and layer.shape[3] == 2 * sides[0] + 1 != length:
        return _dense(layer[:, :, :length], lambda query, slot: query + slot - sides[0])
    if layer.ndim == 5 and layer.shape[4] >= 3 * layer.shape[3]:
        # LongT5: (batch, blocks, heads, block, 3 · block), the block before, itself, and the one behind.
        size = layer.shape[3]
        rows = layer[..., : 3 * size].transpose(1, 2).flatten(2, 3)[:, :, :length]
        return _dense(rows, lambda query, slot: (query // size - 1) * size + slot)
    return layer


def _dense(rows: Tensor, column: Any) -> Tensor:
    length = rows.shape[2]
    dense = rows.new_zeros(*rows.shape[:2], length, length)
    for query in range(length):
        for slot in range(rows.shape[3]):
            if 0 <= column(query, slot) < length:
                dense[:, :, query, column(query, slot)] = rows[:, :, query, slot]
    return dense


def _are_scores(weights: Any) -> bool:
    """Whether these are what the softmax is taken of: some families hand that out."""
    if not isinstance(weights, Tensor) or weights.ndim != 4 or weights.shape[2] != weights.shape[3]:
        return False
    return bool((weights < 0).any()) and bool(torch.isfinite(weights).all())


def _why_no_attention(weights: Any, inputs: ModelInputs) -> str | None:
    """Why these are no weights of (batch, heads, queries, keys); None where they are."""
    if not isinstance(weights, Tensor):
        return f"a {type(weights).__name__}"
    if weights.ndim != 4 or len(weights) != inputs.batch:
        return f"a tensor of {tuple(weights.shape)}"
    if not bool(torch.isfinite(weights).all()):
        return "not finite"
    if bool((weights < 0).any()):
        return "negative"
    if bool((weights.sum(-1) > 1.001).any()):
        return f"rows sum to {float(weights.sum(-1).max()):.3g}"
    return None


def compare(loaded: LoadedModel, inputs: ModelInputs, theirs: Reference) -> Agreement:
    """Our patterns of every text against transformers', each stack on its own."""
    with _watched(loaded.module) as outputs:
        by_text = read_heads_of_each(loaded, inputs, HeadsRequest(patterns=True))
    deviation, remarks = 0.0, list(theirs.remarks)
    for field, layers in theirs.fields.items():
        for text, stacks in enumerate(by_text):
            best, stack = _best(stacks, field, layers, theirs.counts[field], inputs, text)
            deviation = max(deviation, best)
            if text == 0:
                remarks.append(f"{field.removesuffix('_attentions')}→{stack}")
    return Agreement(deviation, _between(theirs.states, outputs, inputs), tuple(remarks))


@contextmanager
def _watched(model: PreTrainedModel) -> Iterator[list[Any]]:
    outputs: list[Any] = []
    hook = model.register_forward_hook(lambda _module, _arguments, output: outputs.append(output))
    try:
        yield outputs
    finally:
        hook.remove()


def _between(states: Tensor | None, outputs: list[Any], inputs: ModelInputs) -> float:
    """How far the probed pass's last states are from the plain one's, relative to their size, padding left out."""
    ours = _states(outputs[-1]) if outputs else None
    if states is None or ours is None or ours.shape != states.shape:
        return 0.0
    difference = (ours - states).abs().flatten(2).amax(-1)
    if difference.shape == inputs.main.real.shape:
        difference = difference[inputs.main.real]
    return float(difference.max() / states.abs().max().clamp(min=1))


def _best(
    stacks: Sequence[Stack], field: str, layers: Mapping[int, Tensor], count: int, inputs: ModelInputs, text: int
) -> tuple[float, str]:
    """The deviation of the stack that a field is about, and its name."""
    name = _FIELDS.get(field)
    own = [stack for stack in stacks if (stack.stack == name if name else not stack.stack.startswith("cross"))]
    found = [(_deviation(stack, layers, count, inputs, text), stack.stack) for stack in own]
    best = min(found, default=(float("inf"), "nothing"))
    return best if best[0] < float("inf") else (_scattered(own, layers, inputs, text), "several")


def _deviation(stack: Stack, layers: Mapping[int, Tensor], count: int, inputs: ModelInputs, text: int) -> float:
    """The largest difference between a stack's patterns and these layers; infinite where they don't pair off.

    Numbers are compared as well, unless transformers left out the layers without attention and lost them.
    """
    numbers = sorted({pattern.layer for pattern in stack.patterns})
    if len(numbers) != len(layers) or (count == len(stack.layers) and numbers != sorted(layers)):
        return float("inf")
    paired = dict(zip(numbers, (layers[number] for number in sorted(layers)), strict=True))
    return max(_difference(p.weights, paired[p.layer][text, p.head], inputs, text) for p in stack.patterns)


def _scattered(stacks: Sequence[Stack], layers: Mapping[int, Tensor], inputs: ModelInputs, text: int) -> float:
    """The same where a field is about several stacks: each layer is held against the nearest of those left."""
    left = {(stack.stack, p.layer): [] for stack in stacks for p in stack.patterns}
    for stack in stacks:
        for pattern in stack.patterns:
            left[stack.stack, pattern.layer].append(pattern.weights)
    worst = 0.0
    for layer in layers.values():
        distances = {key: _layer_difference(heads, layer[text], inputs, text) for key, heads in left.items()}
        key = min(distances, key=lambda each: distances[each], default=None)
        worst = max(worst, float("inf") if key is None else distances[key])
        left.pop(key, None)
    return worst


def _layer_difference(heads: list[np.ndarray], layer: Tensor, inputs: ModelInputs, text: int) -> float:
    if len(heads) != len(layer):
        return float("inf")
    return max(_difference(ours, theirs, inputs, text) for ours, theirs in zip(heads, layer, strict=True))


def _difference(ours: np.ndarray, theirs: Tensor, inputs: ModelInputs, text: int) -> float:
    weights = _unpadded(theirs.float().numpy(), inputs, text, ours.shape)
    if weights.shape != ours.shape:
        return float("inf")
    if sinks_apart(ours, weights):
        ours = ours / ours.sum(-1, keepdims=True)
    return float(np.abs(weights - ours).max(initial=0))


def sinks_apart(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether a sink takes its share of what heads read after transformers took their weights (Granite SWA)."""
    sums, whole = ours.sum(-1), bool(np.allclose(theirs.sum(-1), 1, atol=1e-3))
    return whole and bool(((sums > 0) & (sums < 1.001)).all()) and bool((sums < 0.999).any())


def _unpadded(weights: np.ndarray, inputs: ModelInputs, text: int, shape: tuple[int, ...]) -> np.ndarray:
    real = inputs.main.real[text].numpy()
    for axis in (0, 1):
        if weights.shape[axis] == len(real) and shape[axis] == real.sum():
            weights = np.compress(real, weights, axis=axis)
    return weights


def peak(theirs: Reference) -> float:
    """How far the weights are from even ones: the mean over rows of the largest weight over the mean visible one."""
    layers = [layer for layers in theirs.fields.values() for layer in layers.values()]
    ratios = [(w.amax(-1) * (w > 0).sum(-1) / w.sum(-1).clamp(min=1e-9))[w.sum(-1) > 0] for w in layers]
    return max(float(ratio.mean()) for ratio in ratios)
