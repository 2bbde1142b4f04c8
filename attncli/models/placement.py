"""Where the weights of a model go: to one device, or, where they don't fit there, over all that there is."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from attncli.errors import FailedError
from attncli.models.memory import free_memory, gib

#: Of the memory that is free, what weights may take; the rest is for what a pass needs.
_SHARE = 0.8


def placement(
    cls: type[PreTrainedModel], config: PreTrainedConfig, dtype: torch.dtype | str, target: torch.device, name: str
) -> dict[str, Any]:
    """Arguments of `from_pretrained` that spread a model which is too large for `target`: none where it fits.

    accelerate gives each device as many layers as fit, the first ones to the GPUs, the last ones to the machine's
    memory, from where they come to a GPU one by one. Nothing is spread off a device whose free memory isn't known.

    Raises FailedError where the extra `large`, which brings accelerate, isn't installed.
    """
    free = free_memory(target)
    if free is None:
        return {}
    need = _weight_bytes(cls, config, dtype)
    if need <= _SHARE * free:
        return {}
    if find_spec("accelerate") is None:
        raise FailedError(
            f"{name} takes {gib(need)}, and {gib(free)} are free on {target}",
            hint="pip install 'attncli[large]' to spread it over all devices, or take fewer layers with -l",
        )
    return {"device_map": "auto"}


def _weight_bytes(cls: type[PreTrainedModel], config: PreTrainedConfig, dtype: torch.dtype | str) -> int:
    with torch.device("meta"):
        module = cls(config)
    own: torch.dtype = dtype if isinstance(dtype, torch.dtype) else config.dtype or torch.get_default_dtype()
    return int(sum(tensor.numel() for tensor in module.parameters())) * own.itemsize


def is_spread(module: nn.Module) -> bool:
    """Whether accelerate spread a model; it stays where it is then."""
    return getattr(module, "hf_device_map", None) is not None


def input_device(module: nn.Module) -> torch.device:
    """Where a model wants its inputs: where its first weights are, or are brought to when they are needed."""
    first: torch.device = next(module.parameters()).device
    if first.type != "meta":
        return first
    hook = getattr(module, "_hf_hook", None)
    return torch.device(getattr(hook, "execution_device", None) or "cpu")


def weights_at_hand(module: nn.Module) -> AbstractContextManager[None]:
    """A module's own weights for a while, wherever accelerate keeps them."""
    from accelerate.utils import align_module_device

    return align_module_device(module)  # type: ignore[no-any-return]
