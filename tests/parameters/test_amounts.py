"""Counts and sizes as people write them."""

from __future__ import annotations

import pytest

from attncli.errors import UsageError
from attncli.verbs.amounts import count_of, size_of


@pytest.mark.parametrize(
    ("given", "count"),
    [(None, None), (5, 5), ("8192", 8192), ("131,072", 131_072), ("1_000", 1000), ("128k", 131_072), ("1M", 1 << 20)],
)
def test_counts(given: int | str | None, count: int | None) -> None:
    assert count_of("--context", given) == count


@pytest.mark.parametrize("given", [0, -1, "", "x", "1.5", "128kb", "k", "9" * 40, True])
def test_what_is_no_count(given: int | str) -> None:
    with pytest.raises(UsageError, match="it is a whole number from 1 on"):
        count_of("--context", given)


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (None, None),
        (5, 5),
        ("24GiB", 24 << 30),
        ("24G", 24 << 30),
        ("24 gib", 24 << 30),
        ("80GB", 80 * 10**9),
        ("1.5TiB", 3 << 39),
        ("512MB", 512 * 10**6),
        ("100B", 100),
        ("1,024KiB", 1 << 20),
    ],
)
def test_sizes(given: int | str | None, size: int | None) -> None:
    assert size_of("--fit", given) == size


@pytest.mark.parametrize("given", [0, -5, "24", "GiB", "-1GiB", "0GiB", "1e3GiB", "9" * 40 + "GiB", "24 apples"])
def test_what_is_no_size(given: int | str) -> None:
    with pytest.raises(UsageError, match="it is a size of memory"):
        size_of("--fit", given)
