"""Counts and sizes as people write them."""

from __future__ import annotations

import pytest

from attncli.errors import UsageError
from attncli.quantities import count_of, size_of, total_of


@pytest.mark.parametrize(
    ("given", "count"),
    [(None, None), (5, 5), ("8192", 8192), ("131,072", 131_072), ("1_000", 1000), ("128k", 131_072), ("1M", 1 << 20)],
)
def test_counts(given: int | str | None, count: int | None) -> None:
    assert count_of("--context", given) == count


@pytest.mark.parametrize("given", [0, -1, "", "x", "1.5", "1,2", "12,34,567", "1234,567", "128kb", "k", "9" * 40, True])
def test_what_is_no_count(given: int | str) -> None:
    with pytest.raises(UsageError, match="it has to be a whole number of at least 1"):
        count_of("--context", given)


@pytest.mark.parametrize(
    ("given", "size", "written"),
    [
        (5, 5, None),
        ("24GiB", 24 << 30, "24 GiB"),
        ("24G", 24 << 30, "24 G"),
        ("24 gib", 24 << 30, "24 gib"),
        ("80GB", 80 * 10**9, "80 GB"),
        ("1.5TiB", 3 << 39, "1.5 TiB"),
        ("512MB", 512 * 10**6, "512 MB"),
        ("100B", 100, "100 B"),
        ("1,024KiB", 1 << 20, "1,024 KiB"),
        ("2x80GB", 160 * 10**9, "2 × 80 GB"),
        ("2×80GB", 160 * 10**9, "2 × 80 GB"),
        ("8 X 1.5 GiB", 12 << 30, "8 × 1.5 GiB"),
        ("4*24GiB", 96 << 30, "4 × 24 GiB"),
    ],
)
def test_sizes(given: int | str, size: int, written: str | None) -> None:
    assert size_of("--fit", given) == (size, written)


def test_no_size() -> None:
    assert size_of("--fit", None) is None


@pytest.mark.parametrize(
    "given",
    [
        0,
        -5,
        "24",
        "GiB",
        "0x80GB",
        "x80GB",
        "2x",
        "2x80",
        "-2x80GB",
        "2x3x80GB",
        "-1GiB",
        "0GiB",
        "1e3GiB",
        "9" * 40 + "GiB",
        "24 eggs",
        "1,5GiB",
    ],
)
def test_what_is_no_size(given: int | str) -> None:
    with pytest.raises(UsageError, match="it has to be a memory size"):
        size_of("--fit", given)


@pytest.mark.parametrize(
    ("given", "holds", "fails"),
    [
        (5, [5], [4, 6]),
        ("124,439,808", [124_439_808], [124_439_807]),
        ("25k", [25 * 1024], [25_000]),
        ("124M", [124_439_808, 123_500_000], [124_600_000, 123_499_999]),
        ("175B", [174_604_259_328], [174_499_999_999]),
        ("7.24b", [7_241_732_096], [7_246_000_000]),
        ("1.5 T", [1_549_999_999_999], [1_560_000_000_000]),
    ],
)
def test_totals_hold_as_precisely_as_they_are_written(given: int | str, holds: list[int], fails: list[int]) -> None:
    expected = total_of("--check", given)
    assert expected is not None
    assert all(map(expected.holds, holds)) and not any(map(expected.holds, fails))


def test_no_total_is_expected_where_none_is_given() -> None:
    assert total_of("--check", None) is None


@pytest.mark.parametrize("given", [0, "", "B", "1e9", "-7B", "7.B", "7,2B"])
def test_what_is_no_total(given: int | str) -> None:
    with pytest.raises(UsageError, match="it has to be a whole number of at least 1"):
        total_of("--check", given)
