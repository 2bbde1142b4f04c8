"""What makes `--check lint` fail."""

from __future__ import annotations

from collections.abc import Sequence

from attncli.results.findings import Finding


def failures(findings: Sequence[Finding], file: str | None = None) -> list[str]:
    """A sentence for each warning, with its place; notes are no failure.

    file: where the text was read.
    """
    warnings = (finding for finding in findings if finding.severity == "warning")
    return [f"{finding.place(file)} ({finding.kind}): {finding.message}" for finding in warnings]
