"""Attention on a few keys of each query, put at their columns, and sections of a larger attention."""

from __future__ import annotations

import pytest
import torch

from attncli.models.capture.attention_types import Attention, AttentionSlice, LocalAttention, WeightsAttention
from attncli.models.capture.local_attention import neighbour_columns, window_columns


def whole(attention: Attention, **chosen: object) -> torch.Tensor:
    return torch.cat([block.weights for block in attention.blocks(**chosen)], dim=2)


def test_windows_around_each_query() -> None:
    columns = window_columns(queries=4, width=3, keys=4, device=torch.device("cpu"))
    assert columns.tolist() == [[-1, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, -1]]
    weights = torch.tensor([[0.0, 0.25, 0.75], [0.5, 0.25, 0.25], [0.0, 0.0, 1.0], [0.5, 0.5, 0.0]])[None, None]
    attention = LocalAttention(weights, columns, 4)
    expected = [[0.25, 0.75, 0, 0], [0.5, 0.25, 0.25, 0], [0, 0, 0, 1], [0, 0, 0.5, 0.5]]
    assert whole(attention)[0, 0].tolist() == expected
    assert not attention.has_sink and attention.fused is None
    (block,) = attention.blocks(rows=(1, 3))
    assert (block.start, block.stop, block.weights[0, 0].tolist()) == (1, 3, expected[1:3])
    assert block.visible[0, 0].tolist() == [[True, True, True, False], [False, False, False, True]]


def test_blocks_that_see_their_neighbours_and_summaries_without_a_column() -> None:
    columns = neighbour_columns(queries=3, block=2, slots=7, keys=3, device=torch.device("cpu"))
    assert columns.tolist() == [[-1, -1, 0, 1, 2, -1, -1], [-1, -1, 0, 1, 2, -1, -1], [0, 1, 2, -1, -1, -1, -1]]
    weights = torch.zeros(1, 1, 3, 7)
    weights[..., 2], weights[..., 6] = 0.75, 0.25
    attention = LocalAttention(weights, columns, 3)
    assert whole(attention)[0, 0].tolist() == [[0.75, 0, 0], [0.75, 0, 0], [0, 0, 0.75]]
    assert attention.has_sink


def test_a_slice_has_some_rows_and_columns_of_the_whole() -> None:
    weights = torch.rand(2, 3, 6, 5).softmax(-1)
    part = AttentionSlice(WeightsAttention(weights), rows=(2, 6), columns=(1, 4))
    assert (part.heads, part.queries, part.keys) == (3, 4, 3)
    torch.testing.assert_close(whole(part), weights[:, :, 2:6, 1:4])
    torch.testing.assert_close(whole(part, heads=[2], rows=(1, 3)), weights[:, 2:, 3:5, 1:4])
    assert [(block.start, block.stop) for block in part.blocks(rows=(1, 3))] == [(1, 3)]


@pytest.mark.parametrize("width", [3, 5])
def test_what_is_placed_keeps_its_sum(width: int) -> None:
    columns = window_columns(queries=7, width=width, keys=7, device=torch.device("cpu"))
    weights = torch.rand(1, 2, 7, width) * (columns >= 0)
    torch.testing.assert_close(whole(LocalAttention(weights, columns, 7)).sum(-1), weights.sum(-1))
