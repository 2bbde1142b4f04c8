"""Devices without float64: where sums in float64 are computed instead."""

from __future__ import annotations

import torch
from torch import Tensor

#: Apple's GPUs have no float64.
DEVICE_TYPES_WITHOUT_FLOAT64 = frozenset(("mps",))


def float64_device(device: torch.device) -> torch.device:
    """The device itself, or the CPU for a device without float64."""
    return torch.device("cpu") if device.type in DEVICE_TYPES_WITHOUT_FLOAT64 else device


def to_float64_device(values: Tensor) -> Tensor:
    """The tensor on a device where it can be converted to float64."""
    return values.to(float64_device(values.device))
