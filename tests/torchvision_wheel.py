"""torchvision, for the families whose processors need it.

Its wheels on PyPI are built for CUDA: beside a torch for CPUs their operators can't be loaded, and the import fails.
None of them prepares pictures, so that they are declared without being there.
"""

from __future__ import annotations

import importlib.util

import pytest
import torch

#: Kept alive: a library's operators go with it.
_DECLARED: list[torch.library.Library] = []


def require_torchvision() -> None:
    """Skip the calling test or module where torchvision isn't installed."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed", allow_module_level=True)
    try:
        import torchvision
    except RuntimeError:
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(operators)
        import torchvision  # noqa: F401
