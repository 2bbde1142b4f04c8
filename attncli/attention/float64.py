"""Where sums in float64 can be taken: not every device has it."""

from __future__ import annotations

import torch
from torch import Tensor

#: Apple's GPUs know float32 and less.
DEVICE_TYPES_WITHOUT_FLOAT64 = frozenset(("mps",))


def float64_device(device: torch.device) -> torch.device:
    """The device itself, or the CPU in place of one without float64."""
    return torch.device("cpu") if device.type in DEVICE_TYPES_WITHOUT_FLOAT64 else device


def to_float64_device(values: Tensor) -> Tensor:
    """The tensor where it can be turned into float64."""
    return values.to(float64_device(values.device))
