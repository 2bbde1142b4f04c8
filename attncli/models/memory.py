"""What to say when a model doesn't fit into the memory of its device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from attncli.errors import AttnError, FailedError
from attncli.models.device import dtype_name
from attncli.models.structure import block_lists

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
