"""Direct effects: what each head and each other part writes into the outcome itself (direct logit attribution).

Elhage et al. 2021; Wang et al. 2022. The stream at the position is a sum of what embeddings, heads, MLPs and biases
wrote. With norms, gates and all sublayers as they were in this run, the outcome is linear in each of them: a share is
what a part wrote times the gradient of the outcome there, and all shares sum to the outcome.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from attncli.attention.effects.prediction import kept_logits
from attncli.errors import ModelError
from attncli.models.capture.linear_path import LinearPath
from attncli.models.loading.prediction_head import logits_of

if TYPE_CHECKING:
    from attncli.attention.effects.outcome import LogitOutcome
    from attncli.attention.effects.prediction import RecordedRun


@dataclass(frozen=True)
class DirectEffects:
    """The shares of the outcome.

    heads: of each head of an attention module, by the module's path and the number of its call.  parts: by name.
    unexplained: the outcome less all shares.
    """

    heads: Mapping[tuple[str, int], tuple[float, ...]]
    parts: Mapping[str, float]
    unexplained: float


def direct_effects(run: RecordedRun, outcome: LogitOutcome) -> DirectEffects:
    """The direct effects at the position of a recorded run: one more forward pass, and one backward.

    Raises ModelError where no path leads to the logits.
    """
    model = run.model
    path = LinearPath(
        model.module,
        model.lists,
        run.first_call,
        len(run.calls),
        run.logits.own.shape[-1],
        None if model.is_own else model.module.get_input_embeddings(),
    )
    paths = {id(module): name for name, module in model.module.named_modules()}

    def change(module: nn.Module, output: Tensor, axes: tuple[int, ...]) -> Tensor:
        return path.add_heads(module, output, axes, cross=model.site_of(paths[id(module)]).cross)

    kept = kept_logits(model, range(run.position, run.position + 1))
    with model.borrowed(), path.watching():
        logits = logits_of(model.run_changed({**run.arguments, **kept}, change))
    if logits is None or not path.is_on_path(logits):
        raise ModelError(
            f"the way from the layers of {model.class_name} to its logits can't be followed",
            hint="use --effect zero instead: it runs the model without each head",
        )
    with torch.enable_grad():
        value = outcome.values(logits[:1, 0 if kept or run.returns_one else run.position].float())[0]
    return _shares(path, value, paths)


def _shares(path: LinearPath, value: Tensor, paths: Mapping[int, str]) -> DirectEffects:
    """The shares of every source of the path, by the gradient of the outcome there."""
    tensors = [*(source.tensor for source in path.sources), *(written.tensor for written in path.heads)]
    gradients = torch.autograd.grad(value, tensors, allow_unused=True)
    parts: dict[str, float] = defaultdict(float)
    for source, gradient in zip(path.sources, gradients, strict=False):
        if gradient is not None:
            parts[source.name] += float((source.tensor.detach().double() * gradient.double()).sum())
    heads: dict[tuple[str, int], tuple[float, ...]] = {}
    calls: dict[str, list[int]] = defaultdict(list)
    for written, gradient in zip(path.heads, gradients[len(path.sources) :], strict=True):
        name = paths[id(written.module)]
        if written.block_call not in calls[name]:
            calls[name].append(written.block_call)
        if gradient is not None:
            key = name, calls[name].index(written.block_call)
            shares = written.per_head(gradient).tolist()
            before = heads.get(key, (0.0,) * len(shares))
            heads[key] = tuple(one + other for one, other in zip(before, shares, strict=True))
    total = sum(parts.values()) + sum(map(sum, heads.values()))
    return DirectEffects(heads, dict(parts), float(value.detach()) - total)
