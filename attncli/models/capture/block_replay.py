"""Run a model again with the recorded outputs of its first blocks, or of all: what stands behind them is then alone.

The blocks of all stacks count in the order in which they are called; a block that runs several times counts each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from attncli.models.capture.hooks import hooked
from attncli.models.capture.structure import BlockList


def single_blocks(lists: Sequence[BlockList]) -> list[nn.Module]:
    """The blocks of all stacks, each once; the layers of a block that is a list of them."""
    blocks = (block for block_list in lists for block in block_list.blocks)
    layers = (layer for block in blocks for layer in (block if isinstance(block, nn.ModuleList) else (block,)))
    return list({id(layer): layer for layer in layers}.values())


def state_of(output: Any) -> Tensor:
    """The states in what a block returned: (batch, tokens, …), or with other axes before these."""
    state: Tensor = output if isinstance(output, Tensor) else output[0]
    return state


def with_state(output: Any, state: Tensor) -> Any:
    """What a block returned, with other states."""
    return state if isinstance(output, Tensor) else type(output)((state, *output[1:]))


@dataclass(frozen=True)
class BlockCall:
    """A call of a block. entering: the states that it was given.  output: what it returned."""

    block: nn.Module
    entering: Tensor
    output: Any


@contextmanager
def recording(
    lists: Sequence[BlockList], keep: Callable[[Any], Any] = lambda value: value
) -> Iterator[list[BlockCall]]:
    """The calls of blocks in the body, in order. keep: what is kept of states, and of an output."""
    calls: list[BlockCall] = []

    def after(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        # The states are the first argument in every family; masks and positions follow.
        entering = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        calls.append(BlockCall(block, keep(entering), keep(output)))

    with hooked(block.register_forward_hook(after, with_kwargs=True) for block in single_blocks(lists)):
        yield calls


@contextmanager
def wrapped(modules: Sequence[nn.Module], wrap: Callable[[nn.Module], Callable[..., Any]]) -> Iterator[None]:
    """In the body each module has the `forward` that `wrap` makes of it; afterwards its own again."""
    before = [vars(module).get("forward") for module in modules]
    try:
        for module in modules:
            vars(module)["forward"] = wrap(module)
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            if own is None:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = own


@contextmanager
def replaying(lists: Sequence[BlockList], outputs: Sequence[Any]) -> Iterator[None]:
    """In the body the first calls of blocks return `outputs` and compute nothing; later calls run.

    It changes the modules: use it while the model is borrowed (`borrow`).
    """
    blocks, count = single_blocks(lists), 0

    def replayed(original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            return outputs[count - 1] if count <= len(outputs) else original(*args, **kwargs)

        return forward

    with wrapped(blocks, lambda block: replayed(block.forward)):
        yield
