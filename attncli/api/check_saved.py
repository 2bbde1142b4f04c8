"""Checks of a result that was saved and read back: `--check` beside `--result`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from attncli.errors import UsageError

if TYPE_CHECKING:
    from attncli.results.heads import HeadsResult
    from attncli.results.params import ParamsResult
    from attncli.results.tokenize import TokenizeResult


def check_saved(verb: str, result: Any, checks: Sequence[str]) -> Any:
    """The result of a verb with the `failures` that its own function would have found.

    Raises UsageError for an invalid check, and for one of what the result doesn't hold.
    """
    if verb == "heads":
        return _check_heads(result, checks)
    return _check_params(result, checks) if verb == "params" else _check_tokens(result, checks)


def _check_heads(result: HeadsResult, checks: Sequence[str]) -> HeadsResult:
    from attncli.attention.labels import claim_failures, claim_successes, parse_claims

    claims = parse_claims(checks, () if result.effects is None else result.effects.kinds)
    notes = (*result.notes, *claim_successes(claims, result.stacks))
    return replace(result, failures=tuple(claim_failures(claims, result.stacks)), notes=notes)


def _check_params(result: ParamsResult, checks: Sequence[str]) -> ParamsResult:
    from attncli.api.params import check_failures
    from attncli.quantities import total_of

    expected = [total for check in checks if (total := total_of("--check", check)) is not None]
    failed = (sentence for total in expected for sentence in check_failures(result.models, total))
    return result._replace(failures=tuple(failed))


def _check_tokens(result: TokenizeResult, checks: Sequence[str]) -> TokenizeResult:
    from attncli.api.text_details import failed_checks

    if "same" in checks and len({text.model for text in result.texts}) < 2:
        raise UsageError(
            "--check same compares models, and the result has only one", hint="save a result of two models (-m twice)"
        )
    if "lint" in checks and any(text.findings is None for text in result.texts):
        raise UsageError("--check lint needs findings, and the result has none", hint="save the result with --lint")
    failed = (sentence for record in result.records() for sentence in failed_checks(record, checks))
    return result._replace(failures=tuple(failed))
