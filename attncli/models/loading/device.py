"""Which device a model runs on, and in which number format.

What to say when a model doesn't fit into the memory of its device.

Where the weights of a model go: to one device, or, where they don't fit there, over all that there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from attncli.choices import DTYPES
from attncli.errors import AttnError, FailedError, UsageError
from attncli.models.capture.structure import block_lists


def available_devices() -> list[str]:
    """The devices of this machine, the preferred one first: `cuda:0` …, `mps`, `cpu`."""
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def choose_device(wish: str = "auto") -> torch.device:
    """The device for a wish of `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises UsageError where it isn't there, and lists what there is.
    """
    devices = available_devices()
    if wish == "auto":
        return torch.device(devices[0])
    name = "cuda:0" if wish == "cuda" else wish
    if name in devices:
        return torch.device(name)
    raise UsageError(f"no device {wish!r} on this machine", hint=f"--device takes auto or one of: {', '.join(devices)}")


def choose_dtype(wish: str, device: torch.device) -> torch.dtype | str:
    """The number format to load: what was asked for; on its own, float32 on a CPU, else the checkpoint's (`auto`).

    Raises UsageError for a name that isn't one of `DTYPES`.
    """
    if wish not in DTYPES:
        raise UsageError(f"no number format {wish!r}", hint=f"--dtype takes one of: {', '.join(DTYPES)}")
    if wish == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    dtype = getattr(torch, wish)
    assert isinstance(dtype, torch.dtype)
    return dtype


def dtype_name(dtype: torch.dtype) -> str:
    """`float32` for torch.float32."""
    return str(dtype).removeprefix("torch.")


_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@contextmanager
def memory_guard(device: torch.device, module: Callable[[], nn.Module | None]) -> Iterator[None]:
    """Turn running out of memory into what would fit."""
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
        raise out_of_memory(device, dtype, count, blocks) from error


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a CUDA device; None where torch can't tell."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is torch's or the system's way of saying that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
    return isinstance(error, RuntimeError | OSError) and any(word in str(error).lower() for word in words)


def out_of_memory(device: torch.device, dtype: torch.dtype | None, parameters: int, blocks: int) -> FailedError:
    """What to say when a model of `parameters` numbers in `blocks` layers doesn't fit, and what would.

    The hint names a smaller number format where the weights alone fit in it, else how many layers do, else the CPU.
    """
    used = dtype_name(dtype) if dtype is not None else "float32"
    need = parameters * _BYTES.get(used, 4)
    free = free_memory(device)
    room = "" if free is None else f", and {gib(free)} are free"
    message = f"out of memory on {device}: the weights take {gib(need)} in {used}{room}"
    other = "" if device.type == "cpu" else ", and --device cpu has other memory"
    return FailedError(message, hint=f"{_what_fits(used, parameters, blocks, free)}{other}")


def _what_fits(used: str, parameters: int, blocks: int, free: int | None) -> str:
    """Smaller numbers halve the weights; fewer layers cut them in proportion. A fifth is left for what a pass needs."""
    halved = parameters * 2
    if used == "float32" and (free is None or halved < 0.8 * free):
        return f"--dtype bfloat16 takes {gib(halved)}"
    fits = blocks // 2 if free is None else int(blocks * 0.8 * free / max(1, halved))
    last = min(fits, blocks) - 1
    return f"-l 0-{last} reads fewer layers" if last > 0 else "-l 0 reads one layer alone"


def gib(count: int) -> str:
    """Bytes as people read them: `1.5 GiB`, `87 MiB`."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


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
