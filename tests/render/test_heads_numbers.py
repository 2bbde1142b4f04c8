"""Numbers of views: small ones are told apart, and a column's are written alike."""

from __future__ import annotations

import pytest

from attncli.render.common.numbers import (
    cell_number,
    decimals_for,
    signed_cell_number,
    signed_number,
    two_digits,
    weight_number,
)


@pytest.mark.parametrize(
    ("weight", "decimals", "text"),
    [
        (0.6834, 3, "0.683"),
        (1.0, 3, "1.000"),
        (0.0012, 3, "0.001"),
        (0.0004, 3, "4.0e-4"),
        (4.3e-12, 3, "4.3e-12"),
        (0.0004, 4, "0.0004"),
        (0.0, 4, "0"),
        (-0.25, 3, "-0.250"),
        (12.345, 3, "12.3"),
    ],
)
def test_a_weight(weight: float, decimals: int, text: str) -> None:
    assert weight_number(weight, decimals) == text


def test_a_column_has_digits_by_its_largest() -> None:
    assert [decimals_for(largest) for largest in (3.0, 0.1, 0.05, 0.001, 0.0005)] == [3, 3, 4, 5, 3]


def test_changes_have_signs() -> None:
    assert [signed_number(change) for change in (0.5, -0.5, 0.0, 2e-7)] == ["+0.500", "-0.500", "0", "+2.0e-7"]
    places = (0.4104, -0.0312, 3e-5, -1e-12, 1.5, -40.25)
    assert [signed_cell_number(change) for change in places] == ["+.410", "-.031", "+3e-5", "0", "+1.50", "-40.2"]


def test_small_places() -> None:
    assert [cell_number(value, 2) for value in (0.404, 0.0004, 0.0, 123.4)] == ["0.40", "4e-4", "0.00", "123.4"]
    assert cell_number(0.0004, 2, small=False) == "0.00"


def test_the_end_of_a_scale() -> None:
    assert [two_digits(value) for value in (1.0, 0.683, 0.0061, 0.0, 4.2e-5)] == [
        "1.00",
        "0.68",
        "0.0061",
        "0",
        "4.2e-5",
    ]
