"""Choosing the device and the number format (dtype) of a model, and what happens if it doesn't fit into memory.

`choose_device` and `choose_dtype` implement --device and --dtype. A model that is larger than the free memory of a GPU
is spread over all devices by accelerate (`device_map_options`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from attncli.choices import DTYPES
from attncli.errors import AttnError, FailedError, UsageError
from attncli.models.capture.structure import block_lists
from attncli.models.loading.library_errors import is_out_of_memory

_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

#: The share of the free memory that weights may take; the rest is for a forward pass.
_WEIGHTS_SHARE = 0.8


def available_devices() -> list[str]:
    """The devices of this machine, the preferred first: `cuda:0` …, `mps`, `cpu`."""
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def choose_device(requested: str = "auto") -> torch.device:
    """The device for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises UsageError, which lists the available devices, for an unavailable one.
    """
    devices = available_devices()
    if requested == "auto":
        return torch.device(devices[0])
    name = "cuda:0" if requested == "cuda" else requested
    if name in devices:
        return torch.device(name)
    raise UsageError(
        f"there is no device {requested!r} on this machine",
        hint=f"--device accepts auto or one of {', '.join(devices)}",
    )


def choose_dtype(requested: str, device: torch.device) -> torch.dtype | str:
    """The number format to load; for `auto`, float32 on a CPU and else the checkpoint's (transformers' `auto`).

    Raises UsageError for a name that isn't in `DTYPES`.
    """
    if requested not in DTYPES:
        raise UsageError(f"there is no dtype {requested!r}", hint=f"--dtype accepts {', '.join(DTYPES)}")
    if requested == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    dtype = getattr(torch, requested)
    assert isinstance(dtype, torch.dtype)
    return dtype


def place_module(module: nn.Module, device: str, dtype: str) -> nn.Module:
    """The user's own module on a device and in a number format; `auto` leaves it as its function made it.

    Raises UsageError for an unavailable device.
    """
    if device != "auto":
        module = module.to(choose_device(device))
    return module if dtype == "auto" else module.to(getattr(torch, dtype))


def dtype_name(dtype: torch.dtype) -> str:
    """`float32` for torch.float32."""
    return str(dtype).removeprefix("torch.")


# --- Running out of memory


@contextmanager
def memory_guard(device: torch.device, module: Callable[[], nn.Module | None]) -> Iterator[None]:
    """Turn out-of-memory errors in the body into a FailedError with a hint about what would fit."""
    try:
        yield
    except AttnError:
        raise
    except (RuntimeError, OSError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        built = module()
        parameters = list(built.parameters()) if built is not None else []
        count = sum(parameter.numel() for parameter in parameters)
        blocks = max((block_list.length for block_list in block_lists(built)), default=1) if built is not None else 1
        dtype = next((parameter.dtype for parameter in parameters if parameter.is_floating_point()), None)
        raise out_of_memory_error(device, dtype, count, blocks) from error


def free_memory(device: torch.device) -> int | None:
    """Free bytes of a CUDA device; None for other devices."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def out_of_memory_error(device: torch.device, dtype: torch.dtype | None, parameters: int, blocks: int) -> FailedError:
    """The error for a model that doesn't fit. parameters: their number.  blocks: the number of layers.

    The hint names a smaller number format if the weights fit in it, or else the number of layers that fit; and the CPU.
    """
    used = dtype_name(dtype) if dtype is not None else "float32"
    need, halved, free = parameters * _DTYPE_BYTES.get(used, 4), parameters * 2, free_memory(device)
    if used == "float32" and (free is None or halved < _WEIGHTS_SHARE * free):
        hint = f"--dtype bfloat16 needs {gib(halved)}"
    else:
        fits = blocks // 2 if free is None else int(blocks * _WEIGHTS_SHARE * free / max(1, halved))
        last = min(fits, blocks) - 1
        hint = f"-l 0-{last} loads fewer layers" if last > 0 else "-l 0 loads only one layer"
    room = "" if free is None else f", and {gib(free)} are free"
    other = "" if device.type == "cpu" else ", and --device cpu uses main memory"
    return FailedError(f"out of memory on {device}: the weights need {gib(need)} in {used}{room}", hint=hint + other)


def gib(count: int) -> str:
    """A number of bytes as `1.5 GiB` or `87 MiB`."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


# --- Models that are larger than the memory of a GPU


def device_map_options(
    cls: type[PreTrainedModel], config: PreTrainedConfig, dtype: torch.dtype | str, target: torch.device, name: str
) -> dict[str, Any]:
    """Arguments of `from_pretrained` that spread a model which is too large for `target`; empty if it fits.

    accelerate gives each device as many layers as fit: the first ones to the GPUs, the last ones to the main memory,
    from where they are moved to a GPU one by one. If the free memory of `target` is unknown, the model isn't spread.

    Raises FailedError if accelerate isn't installed.
    """
    free = free_memory(target)
    if free is None:
        return {}
    with torch.device("meta"):
        module = cls(config)
    loaded: torch.dtype = dtype if isinstance(dtype, torch.dtype) else config.dtype or torch.get_default_dtype()
    need = int(sum(tensor.numel() for tensor in module.parameters())) * loaded.itemsize
    if need <= _WEIGHTS_SHARE * free:
        return {}
    if find_spec("accelerate") is None:
        raise FailedError(
            f"{name} needs {gib(need)}, and {gib(free)} are free on {target}",
            hint="pip install 'attncli[large]' to spread the model over all devices, or use fewer layers (-l)",
        )
    return {"device_map": "auto"}


def input_device(module: nn.Module) -> torch.device:
    """The device for a model's inputs: that of its first weights, or the one that accelerate moves them to."""
    weights = next(module.parameters(), None)
    if weights is None:
        return torch.device("cpu")
    first: torch.device = weights.device
    if first.type != "meta":
        return first
    hook = getattr(module, "_hf_hook", None)
    return torch.device(getattr(hook, "execution_device", None) or "cpu")
