"""What makes `--check lint` fail."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.results.findings import Finding


def failures(findings: Sequence[Finding]) -> list[str]:
    """A sentence for each warning, with its place; notes are no failure."""
    return [f"{_place(finding)}: {finding.message}" for finding in findings if finding.severity == "warning"]


def _place(finding: Finding) -> str:
    pair = "pair, " if finding.segment else ""
    if finding.start is not None:
        return f"{pair}character {finding.start} ({finding.kind})"
    return f"{pair}token {finding.tokens[0] if finding.tokens else 0} ({finding.kind})"
