"""The known answers: six mole sentences on the default model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import attncli
from attncli.results.compare import CompareResult

#: The README shows this file too.
MOLES = Path(__file__).with_name("moles.tsv").read_text("utf-8").splitlines()


@pytest.fixture(scope="module")
def moles() -> CompareResult:
    return attncli.compare("mole", MOLES, state="0,5", reference=[])


def test_at_state_0_there_is_position_alone(moles: CompareResult) -> None:
    matrix = moles.states[0].similarity
    assert matrix.min() >= 0.95 and matrix[1, 2] == matrix[2, 3] == 1.0


def test_at_state_5_senses_are_apart(moles: CompareResult) -> None:
    matrix = moles.states[5].similarity
    known: Mapping[tuple[int, int], float] = {(3, 4): 0.97, (5, 6): 0.97, (3, 6): 0.78, (1, 2): 0.93, (1, 5): 0.94}
    for (a, b), value in known.items():
        assert matrix[a - 1, b - 1] == pytest.approx(value, abs=0.0051)


def test_five_of_six_have_a_neighbour_of_their_own_sense(moles: CompareResult) -> None:
    neighbours = moles.states[5].senses.neighbours
    assert (neighbours.right, neighbours.of) == (5, 6)
    (miss,) = neighbours.wrong
    assert (miss.occurrence, miss.nearest) == (0, 4)
