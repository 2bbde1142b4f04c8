"""What transformers itself says of a model's attention, and how far our patterns are from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from attncli.attention.inputs import ModelInputs, build_inputs
from attncli.attention.metrics import Side
from attncli.attention.selection import Wanted
from attncli.attention.stacks import look_each
from attncli.models.loaded import LoadedModel
from attncli.results.heads import Stack
from tests import tiny

TOLERANCE = 1e-4

#: The stack that a field of transformers' output speaks of.
_FIELDS = {"encoder_attentions": "encoder", "decoder_attentions": "decoder", "cross_attentions": "cross"}


class NoAttentionError(Exception):
    """What transformers calls attentions are not weights of queries on keys; says why."""


@dataclass(frozen=True)
class Agreement:
    """How our patterns compare: the largest difference, how many patterns, and what is worth saying beside."""

    deviation: float
    patterns: int
    remarks: tuple[str, ...] = ()


def inputs_for(loaded: LoadedModel, texts: list[list[int]], targets: list[list[int]]) -> ModelInputs:
    """What the package gives a model for these ids; a decoder gets `targets` instead of its start token alone."""
    inputs = build_inputs(loaded, [tiny.tokens(ids) for ids in texts])
    if inputs.target is None:
        return inputs
    ids = torch.tensor(targets[: len(texts)])
    real = torch.ones_like(ids, dtype=torch.bool)
    target = Side(ids, ~real, real, tuple(tiny.tokens(row) for row in targets[: len(texts)]))
    return replace(inputs, arguments={**inputs.arguments, "decoder_input_ids": ids}, target=target)


def reference(model: PreTrainedModel, inputs: ModelInputs) -> dict[str, tuple[Tensor, ...]]:
    """`output_attentions=True`, which needs eager attention: for every stack the weights of the layers that attend."""
    with torch.no_grad():
        output = model(**inputs.arguments, output_attentions=True, return_dict=True)
    found = dict(_attentions("", output))
    return {name: layers for name, layers in found.items() if layers}


def _attentions(prefix: str, output: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Tensor, ...]]]:
    for name, value in output.items():
        if isinstance(value, Mapping):
            yield from _attentions(f"{prefix}{name}.", value)
        elif name.endswith("attentions") and isinstance(value, tuple | list):
            yield prefix + name, tuple(layer for layer in value if layer is not None)


def check_attention(layers: tuple[Tensor, ...], inputs: ModelInputs) -> None:
    """Raises NoAttentionError where these are no weights of (batch, heads, queries, keys)."""
    for weights in layers:
        if not isinstance(weights, Tensor):
            raise NoAttentionError(f"a {type(weights).__name__}, no tensor")
        if weights.ndim != 4:
            raise NoAttentionError(f"{weights.ndim} dimensions: {tuple(weights.shape)}")
        if len(weights) != inputs.batch:
            raise NoAttentionError(f"{len(weights)} for a batch of {inputs.batch}: {tuple(weights.shape)}")
        if not bool(torch.isfinite(weights).all()):
            raise NoAttentionError("not finite")
        if bool((weights < 0).any()):
            raise NoAttentionError("negative weights")
        if bool((weights.sum(-1) > 1.001).any()):
            raise NoAttentionError(f"rows sum to {float(weights.sum(-1).max()):.3g}")


def compare(loaded: LoadedModel, inputs: ModelInputs, found: Mapping[str, tuple[Tensor, ...]]) -> Agreement:
    """Our patterns of every text against transformers', each stack on its own."""
    looks = look_each(loaded, inputs, Wanted(patterns=True))
    deviation, patterns, remarks = 0.0, 0, []
    for field, layers in found.items():
        for text, stacks in enumerate(looks):
            deviations = {stack.stack: _deviation(stack, layers, inputs, text) for stack in _named(stacks, field)}
            if not deviations:
                return Agreement(float("inf"), 0, (f"no stack for {field}: {[s.stack for s in stacks]}",))
            best = min(deviations, key=lambda name: deviations[name])
            deviation, patterns = max(deviation, deviations[best]), patterns + len(layers) * layers[0].shape[1]
            if text == 0:
                remarks.append(f"{field.removesuffix('_attentions')}→{best}")
    return Agreement(deviation, patterns, tuple(remarks))


def _named(stacks: tuple[Stack, ...], field: str) -> list[Stack]:
    name = _FIELDS.get(field)
    return [stack for stack in stacks if (stack.stack == name if name else not stack.stack.startswith("cross"))]


def _deviation(stack: Stack, layers: tuple[Tensor, ...], inputs: ModelInputs, text: int) -> float:
    """The largest difference between a stack's patterns and these layers; infinite where they don't pair off."""
    numbers = sorted({pattern.layer for pattern in stack.patterns})
    if len(numbers) != len(layers):
        return float("inf")
    worst = 0.0
    for pattern in stack.patterns:
        weights = layers[numbers.index(pattern.layer)][text, pattern.head].float().numpy()
        weights = _unpadded(weights, inputs, text, pattern.weights.shape)
        if weights.shape != pattern.weights.shape:
            return float("inf")
        worst = max(worst, float(np.abs(weights - pattern.weights).max()))
    return worst


def _unpadded(weights: np.ndarray, inputs: ModelInputs, text: int, shape: tuple[int, ...]) -> np.ndarray:
    real = inputs.main.real[text].numpy()
    for axis in (0, 1):
        if weights.shape[axis] == len(real) and shape[axis] == real.sum():
            weights = np.compress(real, weights, axis=axis)
    return weights


def spread(layers: tuple[Tensor, ...]) -> float:
    """How far the weights are from even ones: the mean over rows of the largest over the even weight."""
    return max(float((weights.amax(-1) * (weights > 0).sum(-1)).mean()) for weights in layers)
