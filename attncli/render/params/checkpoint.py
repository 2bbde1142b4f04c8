"""A configuration held against its checkpoint: whether they agree, and each difference with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from attncli.render.glyphs import glyphs
from attncli.render.lines import Line
from attncli.render.params.labelled import labelled
from attncli.render.terminal import Terminal
from attncli.results.reconciliation import Reconciliation, TensorDifference

#: Kinds of names beyond this many, of one reason, are counted, not listed.
_MOST = 3


def checkpoint_lines(found: Reconciliation, terminal: Terminal) -> list[Line]:
    """What the weights beside a configuration hold; what shouldn't be comes first."""
    lines = labelled("checkpoint", _summary(found), terminal)
    ordered = sorted(found.differences, key=lambda difference: not difference.is_fault)
    for _, alike in groupby(ordered, key=lambda difference: difference.reason):
        differences = list(alike)
        lines += labelled("", [_sentence(differences)], terminal)
        for difference in differences[:_MOST]:
            lines += labelled("", [_names(difference, terminal)], terminal)
        if len(differences) > _MOST:
            lines += labelled("", [f"{_bullet(terminal)}{len(differences) - _MOST} more with --json"], terminal)
    return lines


def _summary(found: Reconciliation) -> Iterator[str]:
    if not found.differences:
        yield f"holds these {found.matched:,} parameters and nothing else"
        return
    if found.is_same_model:
        yield "holds the same model" if found.agrees else "holds the same model and more"
    else:
        yield "is of another model than the configuration"
    yield f"{found.checkpoint_total:,} stored elements"
    yield f"{found.matched:,} in common"


def _sentence(differences: Sequence[TensorDifference]) -> str:
    held = sum(difference.checkpoint_parameters for difference in differences)
    wanted = sum(difference.module_parameters for difference in differences)
    both = held and wanted and held != wanted
    return f"{f'{held:,} for {wanted:,}' if both else f'{held or wanted:,}'} in {differences[0].why}:"


def _names(difference: TensorDifference, terminal: Terminal) -> str:
    names = [name for name in (difference.checkpoint, difference.module) if name]
    times = f" ({difference.tensors:,} tensors)" if difference.tensors > 1 else ""
    return f"{_bullet(terminal)}{' as '.join(dict.fromkeys(names))}{times}"


def _bullet(terminal: Terminal) -> str:
    return f"{glyphs(terminal).dash} "
