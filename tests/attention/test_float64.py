"""Sums in float64 are computed on the CPU for Apple's GPUs, which don't have float64; nothing else is.

The GPU is simulated by fake tensors without data, whose devices torch checks all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attncli.attention.metrics import (
    DEVICE_TYPES_WITHOUT_FLOAT64,
    MetricSums,
    PairAttentionSums,
    QueryKeySides,
    Side,
)
from attncli.attention.uniform_baseline import compute_uniform_baseline
from attncli.models.capture.lazy_mask import implied_visibility

CPU = torch.device("cpu")
#: A device that torch supports without a driver.
GPU = torch.device("meta")


class WithoutFloat64(TorchDispatchMode):
    """Raises for float64 on the GPU, with torch's message."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor) and each.dtype == torch.float64 and each.device == GPU:
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return result


def sides() -> QueryKeySides:
    """Two texts of four tokens in one."""
    flags = torch.ones(1, 8, dtype=torch.bool, device=GPU)
    parts = torch.ones(1, 8, dtype=torch.long, device=GPU)
    side = Side(torch.ones(1, 8, dtype=torch.long, device=GPU), flags, flags, ((),), parts)
    return QueryKeySides(side, side, same_sequence=True)


@pytest.fixture(autouse=True)
def without_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    assert "mps" in DEVICE_TYPES_WITHOUT_FLOAT64
    monkeypatch.setattr("attncli.attention.metrics.DEVICE_TYPES_WITHOUT_FLOAT64", {GPU.type})
    with FakeTensorMode(), WithoutFloat64():
        yield


def test_sums_are_on_the_cpu_for_a_gpu_without_float64() -> None:
    with pytest.raises(TypeError, match="float64"):
        torch.ones(2, device=GPU).double()
    weights, visible = torch.ones(1, 2, 8, 8, device=GPU), torch.ones(1, 1, 8, 8, dtype=torch.bool, device=GPU)
    sums = MetricSums(sides(), has_sink=True, heads=2)
    sums.add(0, weights, visible)
    assert (sums.means_by_text().device, sums.means_by_text().dtype) == (CPU, torch.float64)
    crossing = PairAttentionSums(sides())
    crossing.add(0, weights)
    assert crossing._sums is not None and crossing._sums.device == CPU


def test_the_uniform_baseline_is_moved_back_to_the_device() -> None:
    rows = compute_uniform_baseline(sides(), implied_visibility(causal=True, queries=8, keys=8, device=GPU)).rows
    devices = {each.device for value_and_shown in rows.values() for each in value_and_shown}
    assert devices == {GPU}
    MetricSums(sides(), has_sink=True).add_rows(rows)
