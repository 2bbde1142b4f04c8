"""Claims about heads: how they are read, and when they hold."""

from __future__ import annotations

import pytest

from attncli.attention.labels import claim_failures, claim_successes, parse_claims, parse_thresholds
from attncli.errors import UsageError
from tests.cli.samples import stack


def failed(*claims: str) -> list[str]:
    return list(claim_failures(parse_claims(claims), [stack()]))


def test_claims_that_hold_say_nothing() -> None:
    assert failed("0.0 entropy == 0.5", "0.0 entropy>=0.5", "2.0 entropy < 0.2", "0.1 first > 0.2") == []


def test_claims_that_hold_can_be_told() -> None:
    claims = parse_claims(["0.0 entropy == 0.5", "0.0 entropy > 0.8", "0.1 entropy > 0.1"])
    assert list(claim_successes(claims, [stack()])) == ["0.0 entropy == 0.5 is true: it is 0.5"]


def test_claims_that_fail_say_what_was_found() -> None:
    assert failed("0.0 entropy > 0.8", "0.1 entropy > 0.1") == [
        "0.0 entropy > 0.8 is false: it is 0.5",
        "0.1 entropy > 0.1 is false: it has no value in this text",
    ]


@pytest.mark.parametrize(
    ("claim", "message", "hint"),
    [
        ("0.0 entropy", "is not a check", "0.8"),
        ("0.0 entropy > x", "'x' isn't a number", "0.8"),
        ("0.0 entrpy > 1", "there is no metric 'entrpy'", "did you mean entropy?"),
        ("9.9 entropy > 1", "there is no head 9.9", "0.0"),
    ],
)
def test_claims_that_can_not_be_checked(claim: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        failed(claim)
    assert message in caught.value.message and hint in caught.value.hint


def test_thresholds() -> None:
    assert parse_thresholds(["induction=0.3", "first=1"]) == {"induction": 0.3, "first": 1.0}
    for wrong in ("entropy=1", "first", "first=x"):
        with pytest.raises(UsageError):
            parse_thresholds([wrong])
