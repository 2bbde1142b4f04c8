"""Sums are in float64, which Apple's GPUs don't have: there they are taken on the CPU, and nothing else is.

Tensors that say they are on such a GPU, and hold nothing, stand for it: torch checks their devices all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attncli.attention.float64 import WITHOUT_FLOAT64
from attncli.attention.metrics import MetricSums, PairAttentionSums, QueryKeySides, Side
from attncli.attention.uniform_baseline import uniform_baseline
from attncli.models.capture.lazy_mask import implied_visibility

CPU = torch.device("cpu")
#: What torch can run over without a driver.
GPU = torch.device("meta")


class WithoutFloat64(TorchDispatchMode):
    """Refuses what such a GPU refuses, in torch's words."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, torch.Tensor) and each.dtype == torch.float64 and each.device == GPU:
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return made


def pair() -> QueryKeySides:
    """Two texts of four tokens in one."""
    flags = torch.ones(1, 8, dtype=torch.bool, device=GPU)
    parts = torch.ones(1, 8, dtype=torch.long, device=GPU)
    side = Side(torch.ones(1, 8, dtype=torch.long, device=GPU), flags, flags, ((),), parts)
    return QueryKeySides(side, side, same=True)


@pytest.fixture(autouse=True)
def without_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    assert "mps" in WITHOUT_FLOAT64
    monkeypatch.setattr("attncli.attention.float64.WITHOUT_FLOAT64", {GPU.type})
    with FakeTensorMode(), WithoutFloat64():
        yield


def test_a_gpu_without_float64_takes_no_sums() -> None:
    with pytest.raises(TypeError, match="float64"):
        torch.ones(2, device=GPU).double()
    weights, visible = torch.ones(1, 2, 8, 8, device=GPU), torch.ones(1, 1, 8, 8, dtype=torch.bool, device=GPU)
    sums = MetricSums(pair(), has_sink=True, heads=2)
    sums.add(0, weights, visible)
    assert (sums.by_text().device, sums.by_text().dtype) == (CPU, torch.float64)
    crossing = PairAttentionSums(pair())
    crossing.add(0, weights)
    assert crossing._sums is not None and crossing._sums.device == CPU


def test_even_attention_goes_back_to_where_it_is_needed() -> None:
    rows = uniform_baseline(pair(), implied_visibility(causal=True, queries=8, keys=8, device=GPU)).rows
    devices = {each.device for value_and_shown in rows.values() for each in value_and_shown}
    assert devices == {GPU}
    MetricSums(pair(), has_sink=True).add_rows(rows)
