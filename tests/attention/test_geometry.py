"""Patches of a picture and frames of a sound: distances, neighbours, metrics, and their positions as typed."""

from __future__ import annotations

import math

import pytest
import torch

from attncli.attention.inputs import PicturePositions, SoundPositions
from attncli.attention.metrics import (
    MetricSums,
    QueryKeySides,
    have_coordinates,
    neighbours,
    position_distances,
    uniform_weights,
)
from attncli.attention.positions import Position
from attncli.errors import UsageError
from attncli.results.patterns import TOKENS, Grid, Medium

#: [CLS] and 2 × 3 patches:  1 2 3 / 4 5 6
GRID = Medium("patches", grid=Grid(2, 3, 1))


def test_patches_are_as_far_apart_as_their_centres() -> None:
    found = position_distances(GRID, torch.arange(7), 7)
    assert found[1].tolist() == pytest.approx([0, 0, 1, 2, 1, math.sqrt(2), math.sqrt(5)])
    assert found[6].tolist() == pytest.approx([0, math.sqrt(5), math.sqrt(2), 1, 2, 1, 0])
    assert found[0].tolist() == [0] * 7  # a class token has no coordinates
    assert torch.equal(found, found.T)


def test_tokens_are_as_far_apart_as_their_numbers() -> None:
    assert position_distances(TOKENS, torch.tensor([2]), 4).tolist() == [[2, 1, 0, 1]]


def test_neighbours_stand_in_the_same_row() -> None:
    rows = torch.arange(7)
    assert neighbours(GRID, rows, -1).tolist() == [-1, -1, 1, 2, -1, 4, 5]
    assert neighbours(GRID, rows, 1).tolist() == [-1, 2, 3, -1, 5, 6, -1]
    assert neighbours(GRID, rows, 0).tolist() == rows.tolist()
    assert have_coordinates(GRID, rows).tolist() == [False] + [True] * 6


def metrics_of(weights: torch.Tensor) -> dict[str, float | None]:
    side = PicturePositions(2, 3, ("cls",)).side(7)
    assert side is not None
    sums = MetricSums(QueryKeySides(side, side, same_sequence=True), has_sink=False)
    sums.add(0, weights, torch.ones(1, 1, 7, 7, dtype=torch.bool))
    return sums.means()[0][0]


def test_metrics_of_a_head_that_looks_at_the_patch_to_the_left() -> None:
    weights = torch.zeros(1, 1, 7, 7)
    for row, left in enumerate(neighbours(GRID, torch.arange(7), -1).tolist()):
        weights[0, 0, row, max(left, 0)] = 1
    found = metrics_of(weights)
    # The two leftmost patches attend to the class token, at distance 0.
    assert found["previous"] == 1
    assert found["distance"] == pytest.approx(4 / 6)
    assert found["special"] == found["first"] == pytest.approx(3 / 7)
    assert found["next"] == found["current"] - 1 / 7 == 0
    assert found["duplicate"] is None and found["induction"] is None


def test_uniform_attention_in_a_grid() -> None:
    found = metrics_of(uniform_weights(torch.ones(1, 1, 7, 7)))
    apart = [math.dist(divmod(a, 3), divmod(b, 3)) for a in range(6) for b in range(6)]
    assert found["distance"] == pytest.approx(sum(apart) / 6 / 7)


def test_merged_patches_are_half_as_many_and_others_unknown() -> None:
    positions = PicturePositions(7, 10, ("cls",), window=4)
    sizes = {71: Grid(7, 10, 1), 20: Grid(4, 5, 0), 6: Grid(2, 3, 0)}
    for length, grid in sizes.items():
        side = positions.side(length)
        assert side is not None and side.medium.grid == grid
        assert side.medium.window == min(4, grid.rows)
        assert len(side.tokens[0]) == length
    assert positions.side(33) is None


@pytest.mark.parametrize(
    ("typed", "place"), [("0,0", 1), ("1,2", 6), ("-1,-1", 6), (" 1 , 0 ", 4), ("-2,2", 3), ("cls", 0), ("3", 3)]
)
def test_patches_are_named_by_row_and_column(typed: str, place: int) -> None:
    side = PicturePositions(2, 3, ("cls",)).side(7)
    assert side is not None
    assert Position(typed, "--query").span(side.tokens[0]) == (place, place + 1)


def test_a_patch_that_is_not_there_says_which_are() -> None:
    side = PicturePositions(2, 3, ("cls",)).side(7)
    assert side is not None
    with pytest.raises(UsageError, match="--query: there is no patch 2,0 in 2 rows of 3 patches") as caught:
        Position("2,0", "--query").span(side.tokens[0])
    assert caught.value.hint == "rows are numbered from 0 to 1, columns from 0 to 2"


@pytest.mark.parametrize(
    ("typed", "place"), [("0s", 0), ("0.06s", 3), ("0.58s", 29), ("0.079s", 3), ("29.98s", 1499), (".5 s", 25)]
)
def test_moments_of_a_sound_are_named_in_seconds(typed: str, place: int) -> None:
    side = SoundPositions(30, None).side(1500)
    assert side is not None
    assert Position(typed, "--key").span(side.tokens[0]) == (place, place + 1)


def test_a_moment_after_the_end_says_when_it_is() -> None:
    side = SoundPositions(1, 0.02).side(50)
    assert side is not None
    with pytest.raises(UsageError, match="there is no frame at 2 s") as caught:
        Position("2s", "--key").span(side.tokens[0])
    assert caught.value.hint == "the frames are at 0s to 0.98s, one every 0.02 s"
