"""Which device a model runs on, and in which number format."""

from __future__ import annotations

import torch

from attncli.errors import UsageError

DTYPES = ("auto", "float32", "bfloat16", "float16")


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
