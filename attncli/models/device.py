"""Which device a model runs on, in which number format, and what to say when it doesn't fit."""

from __future__ import annotations

import torch

from attncli.errors import FailedError, UsageError

DTYPES = ("auto", "float32", "bfloat16", "float16")

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


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
