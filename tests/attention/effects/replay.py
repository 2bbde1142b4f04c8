"""Naive direct effects: the model runs again without one part, and all else writes what it wrote before.

Hooks on transformers' own eager modules, found by the names that a family gives them. Every norm keeps its 1/σ and
every output projection and MLP returns what it returned in the plain run, so that the outcome changes by the part
alone. All parts of a model are one batch: row 0 is the untouched run, and each further row lacks one part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

#: A part that a row lacks: a module, and what is to be taken from the output that it had in the plain run.
Removal = tuple[str, Callable[[nn.Module, Tensor, Tensor], Tensor]]


class Family(NamedTuple):
    """Where a family keeps what: patterns of the paths of modules.

    output: the matrices behind the heads.  mlp, mixer: what else writes to the stream.  activation: behind the last
    block.  cross: the output matrices of a cross-attention.  cap: the softcap of its logits.
    """

    output: str
    mlp: str
    activation: str = "$^"
    cross: str = "$^"
    mixer: str = "$^"
    cap: float | None = None


@dataclass
class _Recorded:
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)


def naive_shares(
    model: nn.Module,
    family: Family,
    arguments: dict[str, Tensor],
    outcome: Callable[[Tensor], Tensor],
    *,
    heads: int,
    stack: str,
) -> tuple[float, dict[str, float]]:
    """The outcome, and the share of every head (`layer.head`, `cross.layer.head`), MLP (`mlp.layer`), embedding table,
    bias of an output matrix and bias of a norm, by name.

    outcome: of logits (rows, positions, vocabulary), before any softcap.  stack: the path of the blocks that predict.
    """
    recorded, modules = _record(model, arguments), dict(model.named_modules())
    removals = dict(_removals(modules, family, recorded, heads, stack))
    rows = 1 + len(removals)
    replayed = re.compile(f"({family.output}|{family.mlp}|{family.mixer}|{family.cross})$")
    handles = []
    for path, module in modules.items():
        if path not in recorded.outputs:
            continue
        hook = None
        if replayed.search(path):
            hook = _replay
        elif _is_norm(module):
            hook = _frozen_norm
        elif re.search(f"({family.activation})$", path):
            hook = _frozen_ratio
        elif _is_table(path, module):
            hook = _replay
        if hook is not None:
            handles.append(module.register_forward_hook(hook(path, recorded, list(removals.values()), rows)))
    try:
        with torch.no_grad():
            logits = model(**{name: value.expand(rows, -1) if isinstance(value, Tensor) else value
                              for name, value in arguments.items()}).logits  # fmt: skip
    finally:
        for handle in handles:
            handle.remove()
    if family.cap is not None:
        logits = torch.atanh(logits / family.cap) * family.cap
    values = outcome(logits)
    shares: dict[str, float] = {}
    for name, value in zip(removals, values[1:], strict=True):
        bare = name.partition("@")[0]
        shares[bare] = shares.get(bare, 0.0) + float(values[0] - value)
    return float(values[0]), shares


def _record(model: nn.Module, arguments: dict[str, Tensor]) -> _Recorded:
    found = _Recorded()

    def keep(path: str) -> Any:
        def hook(_: nn.Module, args: Any, output: Any) -> None:
            if args and isinstance(args[0], Tensor):
                found.inputs[path] = args[0].detach().clone()
            first = output if isinstance(output, Tensor) else output[0] if isinstance(output, tuple) else None
            if isinstance(first, Tensor):
                found.outputs[path] = first.detach().clone()

        return hook

    handles = [module.register_forward_hook(keep(path)) for path, module in model.named_modules()]
    with torch.no_grad():
        model(**arguments)
    for handle in handles:
        handle.remove()
    return found


def _removals(
    modules: dict[str, nn.Module], family: Family, recorded: _Recorded, heads: int, stack: str
) -> Iterator[tuple[str, Removal]]:
    for path, module in modules.items():
        layer = re.search(rf"{re.escape(stack)}\.(\d+)\.", f"{path}.")
        if path not in recorded.outputs:
            continue
        is_cross = bool(re.search(f"({family.cross})$", path))
        if layer and (is_cross or re.search(f"({family.output})$", path)):
            name = f"cross.{layer[1]}" if is_cross else layer[1]
            for head in range(heads):
                yield f"{name}.{head}", (path, _without_head(head, heads))
            if getattr(module, "bias", None) is not None:
                yield f"{name if is_cross else f'attention.{name}'}.bias", (path, lambda m, _, y: y - m.bias)
        elif layer and re.search(f"({family.mlp}|{family.mixer})$", path):
            kind = "mlp" if re.search(f"({family.mlp})$", path) else "mixer"
            yield f"{kind}.{layer[1]}", (path, lambda _, __, y: torch.zeros_like(y))
        elif _is_table(path, module):
            word = next((word for word in ("pos", "wpe", "type") if word in path), "token")
            name = {"pos": "position", "wpe": "position", "type": "segment"}.get(word, word)
            yield f"embedding.{name}@{path}", (path, lambda _, __, y: torch.zeros_like(y))
        elif _is_norm(module) and bool(_offset(module, recorded.inputs[path]).any()):
            place = layer[1] if layer else "embedding" if "embed" in path else "final"
            yield f"norm.{place}.bias@{path}", (path, lambda m, x, y: y - _offset(m, x))


def _is_norm(module: nn.Module) -> bool:
    """Whether it is a norm of the stream; one with a gate is in a sublayer."""
    name = type(module).__name__.lower()
    return "norm" in name and "gated" not in name


def _is_table(path: str, module: nn.Module) -> bool:
    """Whether it is an embedding before the blocks; tables of relative positions are in them."""
    return isinstance(module, nn.Embedding) and not re.search(r"\.\d+\.", path)


def _without_head(head: int, heads: int) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    def without(module: nn.Module, states: Tensor, output: Tensor) -> Tensor:
        alone = torch.zeros_like(states)
        width = states.shape[-1] // heads
        alone[..., head * width : (head + 1) * width] = states[..., head * width : (head + 1) * width]
        with torch.no_grad():
            return output - (module.forward(alone) - module.forward(torch.zeros_like(states))).view_as(output)

    return without


def _rows(path: str, whole: Tensor, removals: list[Removal], rows: int, lacking: Callable[[Removal], Tensor]) -> Tensor:
    """The output of the plain run in every row, and without the part in its row."""
    result = whole.expand(rows, *whole.shape[1:]).clone()
    for row, removal in enumerate(removals, 1):
        if removal[0] == path:
            result[row] = lacking(removal)[0]
    return result


def _replay(path: str, recorded: _Recorded, removals: list[Removal], rows: int) -> Any:
    states, whole = recorded.inputs.get(path), recorded.outputs[path]
    batch = whole if whole.ndim == 3 else whole[None]

    def hook(module: nn.Module, _: Any, output: Any) -> Any:
        replayed = _rows(path, batch, removals, rows,
                         lambda removal: removal[1](module, states, whole).view_as(batch))  # fmt: skip
        replayed = replayed if whole.ndim == 3 else replayed.flatten(0, 1)
        return (replayed, *output[1:]) if isinstance(output, tuple) else replayed

    return hook


def _centre(module: nn.Module, states: Tensor) -> Tensor:
    """The states, less their mean if the norm takes it off: then a constant added to them changes nothing."""
    moved = torch.allclose(module.forward(states + 3), module.forward(states), atol=1e-4)
    return states - states.mean(-1, keepdim=True) if moved else states


def _offset(module: nn.Module, states: Tensor) -> Tensor:
    """The bias of a norm: what it makes of nothing."""
    with torch.no_grad():
        result: Tensor = module.forward(torch.zeros_like(states))
    return result


def _frozen_norm(path: str, recorded: _Recorded, removals: list[Removal], rows: int) -> Any:
    states, whole = recorded.inputs[path], recorded.outputs[path]

    def hook(module: nn.Module, args: Any, _: Any) -> Tensor:
        offset, centred = _offset(module, states), _centre(module, states)
        now = args[0] - args[0].mean(-1, keepdim=True) if centred is not states else args[0]
        biases = torch.zeros_like(now) + offset[:1]
        for row, removal in enumerate(removals, 1):
            if removal[0] == path:
                biases[row] = 0
        if now.shape[0] != rows:  # heads or texts folded: a norm within a sublayer, which is replayed anyway
            return module.forward(args[0])
        return now * ((whole - offset) / centred) + biases

    return hook


def _frozen_ratio(path: str, recorded: _Recorded, _: list[Removal], __: int) -> Any:
    ratio = recorded.outputs[path] / recorded.inputs[path]
    return lambda module, args, output: args[0] * ratio
