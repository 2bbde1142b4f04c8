"""A configuration held against its checkpoint: whether they agree, and each difference with its reason."""

from __future__ import annotations

from collections.abc import Iterator

from attncli.render.lines import Line
from attncli.render.params.labelled import labelled
from attncli.render.terminal import Terminal
from attncli.results.reconciliation import Difference, Reconciliation

#: Differences beyond this many are counted, not listed; those that shouldn't be are listed before the others.
_MOST = 6


def checkpoint_lines(found: Reconciliation, terminal: Terminal) -> list[Line]:
    """What the weights beside a configuration hold."""
    lines = labelled("checkpoint", _summary(found), terminal)
    for difference in _worst_first(found)[:_MOST]:
        lines += labelled("", [_sentence(difference), _names(difference)], terminal)
    if len(found.differences) > _MOST:
        lines += labelled("", [f"{len(found.differences) - _MOST} more with --json"], terminal)
    return lines


def _summary(found: Reconciliation) -> Iterator[str]:
    if not found.differences:
        yield f"holds these {found.matched:,} parameters and nothing else"
        return
    yield "holds the same model" if found.agrees else "is of another model than the configuration"
    yield f"{found.checkpoint_total:,} stored elements"
    yield f"{found.matched:,} in common"


def _worst_first(found: Reconciliation) -> list[Difference]:
    return sorted(found.differences, key=lambda difference: not difference.is_fault)


def _sentence(difference: Difference) -> str:
    held, wanted = difference.checkpoint_parameters, difference.module_parameters
    both = held and wanted and held != wanted
    return f"{f'{held:,} for {wanted:,}' if both else f'{held or wanted:,}'} in {difference.why}"


def _names(difference: Difference) -> str:
    names = [name for name in (difference.checkpoint, difference.module) if name]
    tensors = f"{difference.tensors:,} tensor{'' if difference.tensors == 1 else 's'}"
    return f"{tensors}: {' as '.join(dict.fromkeys(names))}"
