"""The states of a forward pass: what enters each block of a stack, and what leaves its last.

State k is what transformers calls `hidden_states[k]`: 0 enters the first block, k leaves block k−1, and the last one
has passed the final norm. They are taken by hooks on the blocks, one at a time, so that no more than two are alive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attncli.errors import ModelError

#: Called with the number of a state and the state itself, (batch, tokens, d_model), in order.
StateObserver = Callable[[int, Tensor], None]


def run_with_states(
    module: nn.Module,
    blocks: nn.ModuleList,
    arguments: Mapping[str, Any],
    tokens: int,
    observe: StateObserver,
    *,
    whole: bool,
) -> int:
    """Run a module once and hand the states of its `blocks` to `observe`. Answers how many there were.

    arguments: keyword arguments of the forward pass.  tokens: how many of them the stack sees of each text.
    whole: all blocks are there, so that the last state is what the module returns, behind its final norm. Otherwise
    it is what leaves the last block, as in the whole model.

    Raises ModelError where the states aren't one for each token.
    """
    taker = _StateTaker(observe, len(arguments["input_ids"]), tokens)
    with torch.no_grad(), _hooked(blocks, taker):
        output = module(**arguments)
    taker.finish(output[0] if whole else None)
    return taker.count


@contextmanager
def _hooked(blocks: nn.ModuleList, taker: _StateTaker) -> Iterator[None]:
    """Hooks on every block of a stack while a pass runs."""
    with ExitStack() as hooks:
        for block in blocks:
            hooks.callback(block.register_forward_pre_hook(taker.enter, with_kwargs=True).remove)
            hooks.callback(block.register_forward_hook(taker.leave).remove)
        yield


@dataclass
class _StateTaker:
    """Takes the states as the blocks run. The newest waits: only the end of the pass tells whether it is the last."""

    observe: StateObserver
    rows: int
    tokens: int
    count: int = 0
    newest: Tensor | None = None

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if self.newest is None:
            # The states go first: masks and positions follow, whatever a family calls them.
            self.newest = self._checked(module, next(v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)))

    def leave(self, module: nn.Module, _: Any, output: Any) -> None:
        self._release()
        self.newest = self._checked(module, output if isinstance(output, Tensor) else output[0])

    def finish(self, last: Tensor | None) -> None:
        """last: what the whole stack returned, its final norm behind it."""
        if last is not None and self.newest is not None:
            self.newest = last[:, : self.tokens]
        self._release()

    def _release(self) -> None:
        if self.newest is not None:
            self.observe(self.count, self.newest)
            self.count += 1
            self.newest = None

    def _checked(self, module: nn.Module, state: Tensor) -> Tensor:
        """The states of the tokens, without what a family pads at the end to fill its windows."""
        if state.ndim != 3 or state.shape[0] != self.rows or state.shape[1] < self.tokens:
            raise ModelError(
                f"the states of {type(module).__name__} can't be read: {self.rows} × {self.tokens} tokens went in "
                f"and {' × '.join(map(str, state.shape))} numbers came out",
                hint="name another model (-m)",
            )
        return state[:, : self.tokens]
