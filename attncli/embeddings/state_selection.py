"""Which states of which stack the user chose: `--state 0-6`, `--stack decoder`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attncli.errors import UsageError

if TYPE_CHECKING:
    from attncli.models.capture.structure import BlockList
    from attncli.models.loading.loaded_model import LoadedModel

#: What `--state` and the Python keyword `state=` take.
Spec = str | int | Sequence[str | int] | None

_STATES = re.compile(r"(-?\d+)(?:-(-?\d+))?")
_HINT = "--state takes numbers from 0 and ranges of them (0-6), -1 for the last, or all"

#: Stacks that see no text.
_TOWERS = ("vision", "audio")
_TEXT_STACKS = ("encoder", "decoder")


@dataclass(frozen=True)
class StateChoice:
    """Spans of states, both ends inclusive, negative ones from the end; empty: all. stack: as named, or None."""

    spans: tuple[tuple[int, int], ...] = ((-1, -1),)
    stack: str | None = None

    def within(self, count: int) -> tuple[int, ...]:
        """The chosen states among `count`. Raises UsageError where one isn't there."""
        if not self.spans:
            return tuple(range(count))
        return tuple(sorted({state for span in self.spans for state in _resolved(span, count)}))

    def depth(self, lists: Sequence[BlockList]) -> Mapping[str, int]:
        """How many blocks of each stack must be read, by its path: state k leaves block k − 1.

        State 0 needs a block, too: it is what enters it. Of an encoder–decoder, states of the encoder need no block of
        the decoder, and those of the decoder the whole encoder. Raises UsageError for a stack or a state that isn't
        there.
        """
        target = choose_stack(lists, self.stack)
        limits = {}
        if self.spans and all(number >= 0 for span in self.spans for number in span):
            last = max(end for _, end in self.spans)
            # One block may stand for many: a shared one runs again and again.
            if target.length > 1:
                self.within(target.length + 1)
                limits[target.path] = max(last, 1)
        if target.word == "encoder":
            limits |= {other.path: 0 for other in lists if other.word == "decoder"}
        return limits

    def check_name(self, name: str) -> None:
        """Raise UsageError where the only stack of a model isn't the one that was named."""
        if self.stack is not None and self.stack != name:
            raise UsageError(f"the model has no stack {self.stack!r}", hint=f"its only one is the {name}")


def parse_states(state: Spec, stack: str | None = None) -> StateChoice:
    """Read `--state` and `--stack`; None is the last state, "all" all of them.

    >>> parse_states("0-2,5").spans
    ((0, 2), (5, 5))

    Raises UsageError for what can't be read.
    """
    if state is None:
        return StateChoice(stack=stack)
    items = list(state) if isinstance(state, Sequence) and not isinstance(state, str) else [state]
    parts = [part for item in items for part in str(item).replace(",", " ").split()]
    if parts == ["all"]:
        return StateChoice((), stack)
    if not parts:
        raise UsageError("--state names no state", hint=_HINT)
    return StateChoice(tuple(_span(part) for part in parts), stack)


def choose_stack(lists: Sequence[BlockList], name: str | None) -> BlockList:
    """The stack that was named; else the encoder where there are both, else the last that sees text.

    Raises UsageError for one that isn't there.
    """
    reading = [known for known in lists if known.word not in _TOWERS]
    words = [known.word for known in reading if known.word in _TEXT_STACKS]
    if len(set(words)) > 1:
        if name is not None and name not in words:
            raise UsageError(f"the model has no stack {name!r}", hint=f"--stack takes {' or '.join(words)}")
        return next(known for known in reading if known.word == (name or "encoder"))
    if not reading:
        raise UsageError("the model has no blocks that read text", hint="name another model (-m)")
    attending = [known for known in reading if any(block.attends for block in known.describe_layers())]
    return (attending or reading)[-1]


def text_stack(model: LoadedModel, name: str | None) -> BlockList:
    """The same of a model that is loaded, maybe without the stack that wasn't chosen."""
    return choose_stack(model.lists, name if len({known.word for known in model.lists}) > 1 else None)


def _span(part: str) -> tuple[int, int]:
    match = _STATES.fullmatch(part)
    if match is None:
        raise UsageError(f"{part!r} names no state", hint=_HINT)
    first = int(match[1])
    return first, first if match[2] is None else int(match[2])


def _resolved(span: tuple[int, int], count: int) -> range:
    first, last = (number + count if number < 0 else number for number in span)
    for asked, number in zip(span, (first, last), strict=True):
        if not 0 <= number < count:
            raise UsageError(f"no state {asked} in the model", hint=f"it has the states 0-{count - 1}")
    if last < first:
        raise UsageError(f"the states {span[0]}-{span[1]} run backwards", hint=_HINT)
    return range(first, last + 1)
