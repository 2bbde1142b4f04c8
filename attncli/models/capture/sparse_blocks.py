"""Read attention to blocks of keys, of which some stand in a row more than once (BigBird, Zaheer et al. 2020).

A query sees its neighbours' blocks, global blocks and random ones. Where these overlap, the softmax counts a key as
often as it is there, and the weights that transformers hands out keep one of them: their rows don't sum to 1. The
module's output is linear in its values, z = A V, so its weights are what it makes of values that are 1 for one key and
0 for the others; as many keys at a time as a head is wide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attncli.models.capture.attention_types import Attention, WeightsAttention
from attncli.models.capture.hooks import hooked

#: The attributes of modules that attend to blocks, some of them random.
_BLOCK_ATTRIBUTES = ("block_size", "num_random_blocks", "num_attention_heads", "value")

#: By how much a row's sum, and A V from the output, may be off by rounding.
_ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-4}
_ROUNDING_OF_HALVES = 2e-2


class SparseBlockCapture:
    """Passes the attention of each such module to `emit`, while its hooks are on.

    length: of the text, which the model pads to whole blocks.  mark: called when such a module begins, so that nothing
    inside it is captured another way.
    """

    def __init__(
        self, model: nn.Module, length: int, mark: Callable[[], None], emit: Callable[[nn.Module, Attention], None]
    ) -> None:
        self._modules = [part for part in model.modules() if all(hasattr(part, name) for name in _BLOCK_ATTRIBUTES)]
        self._length, self._mark, self._emit = length, mark, emit
        #: The modules that ran and whose attention can't be read.
        self.unreadable: list[nn.Module] = []

    def hooks(self) -> Iterator[RemovableHandle]:
        for module in self._modules:
            yield module.register_forward_pre_hook(lambda *_: self._mark())
            yield module.register_forward_hook(self._end, with_kwargs=True)

    def _end(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        # Without the modes and hooks that watch the model: these runs are not the model's own.
        with torch._C.DisableTorchFunction():
            weights = read_weights(module, args, kwargs)
            is_right = _gives_output(module, weights, args, kwargs, output[0])
        if is_right:
            self._emit(module, WeightsAttention(weights[:, :, : self._length, : self._length]))
        else:
            self.unreadable.append(module)


def read_weights(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The weights of a module whose output is linear in that of its part `value`: float32 (batch, heads, keys, keys).

    args, kwargs: of its forward pass, whose first argument are the states, (batch, keys, d_model).
    """
    states = _states(args, kwargs)
    (batch, keys), heads = states.shape[:2], module.num_attention_heads
    width = module.value.out_features // heads
    weights = torch.zeros(batch, heads, keys, keys, dtype=torch.float32, device=states.device)
    for start in range(0, keys, width):
        count = min(width, keys - start)
        one_hot = states.new_zeros(batch, keys, heads, width)
        places = torch.arange(count, device=states.device)
        one_hot[:, start + places, :, places] = 1
        values = one_hot.flatten(2)
        with hooked(iter([module.value.register_forward_hook(lambda *_, values=values: values)])):
            output = module.forward(*args, **kwargs)[0].view(batch, keys, heads, width)
        weights[..., start : start + count] = output.transpose(1, 2)[..., :count]
    return weights


def _states(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    states: Tensor = args[0] if args else kwargs["hidden_states"]
    return states


def _gives_output(module: Any, weights: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> bool:
    """Whether rows sum to 1, or to 0 where they are padding, and weights times values are the module's own output."""
    allowed = _ROUNDING.get(output.dtype, _ROUNDING_OF_HALVES)
    sums = weights.sum(-1)
    if bool((((sums - 1).abs() > allowed) & (sums != 0)).any()):
        return False
    batch, heads, keys = weights.shape[:3]
    values = module.value(_states(args, kwargs)).view(batch, keys, heads, -1).transpose(1, 2).float()
    mixed = (weights @ values).transpose(1, 2).flatten(2)
    scale = output.float().abs().amax().clamp(min=1)
    return bool(((mixed - output.float()).abs() <= allowed * scale).all())
