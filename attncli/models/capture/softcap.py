"""The softcap of a model's logits, c · tanh(ℓ/c): what the logits were before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from attncli.models.capture.hooks import TorchCalls

_TANH = frozenset({"tanh", "tanh_"})


class SoftcapWatch:
    """While it is `watching`, finds the softcap of logits. width: how many logits a position has."""

    def __init__(self, width: int) -> None:
        self._width = width
        #: The input and the output of the last tanh of that width.
        self._capped: tuple[Tensor, Tensor] | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        with TorchCalls(self._call):
            yield

    def before_cap(self, logits: Tensor) -> Tensor:
        """The logits before the softcap, float32; the same where there is none."""
        if self._capped is None:
            return logits.float()
        scaled, capped = (each.float().reshape(logits.shape) for each in self._capped)
        # c is the same everywhere: it is read where rounding matters least.
        place = capped.abs().argmax()
        return scaled * (logits.float().flatten()[place] / capped.flatten()[place])

    def _call(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        is_cap = getattr(func, "__name__", "") in _TANH and args and isinstance(args[0], Tensor)
        if not is_cap or args[0].shape[-1:] != (self._width,):
            return func(*args, **kwargs)
        scaled = args[0].clone() if func.__name__.endswith("_") else args[0]
        result = func(*args, **kwargs)
        self._capped = scaled, result.clone() if torch.is_tensor(result) else result
        return result
