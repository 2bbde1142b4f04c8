"""The selection of states and of a stack: `--state 0-6`, `--stack decoder`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attncli.errors import UsageError

if TYPE_CHECKING:
    from attncli.models.capture.structure import BlockList
    from attncli.models.loading.loaded_model import LoadedModel

#: Values of `--state` and of the Python keyword `state=`.
StateSpec = str | int | Sequence[str | int] | None

_SPAN = re.compile(r"(-?\d+)(?:-(-?\d+))?")
_HINT = "--state accepts numbers from 0 and ranges of them (0-6), -1 for the last one, or all"

#: Stacks that don't read text.
_TOWERS = ("vision", "audio")
_TEXT_STACKS = ("encoder", "decoder")


@dataclass(frozen=True)
class StateSelection:
    """Spans of states, both ends inclusive, negative ones from the end; empty: all. stack: its name, or None."""

    spans: tuple[tuple[int, int], ...] = ((-1, -1),)
    stack: str | None = None

    def resolve(self, count: int) -> tuple[int, ...]:
        """The selected states of a stack that has `count`. Raises UsageError for a state that it doesn't have."""
        if not self.spans:
            return tuple(range(count))
        return tuple(sorted({state for span in self.spans for state in _resolve_span(span, count)}))

    def depth(self, lists: Sequence[BlockList]) -> Mapping[str, int]:
        """How many blocks of each stack must be loaded, by its path: state k is the output of block k − 1.

        State 0 needs a block too, as it is the input of one. Of an encoder–decoder, states of the encoder need no block
        of the decoder, and those of the decoder the whole encoder. Stacks that are needed whole are left out.
        Raises UsageError for an unknown stack or state.
        """
        target = choose_stack(lists, self.stack)
        limits = {}
        if self.spans and all(number >= 0 for span in self.spans for number in span):
            last = max(end for _, end in self.spans)
            # A single block may be shared, and run many times.
            if target.length > 1:
                self.resolve(target.length + 1)
                limits[target.path] = max(last, 1)
        if target.word == "encoder":
            limits |= {other.path: 0 for other in lists if other.word == "decoder"}
        return limits

    def check_stack(self, name: str) -> None:
        """Raise UsageError where the only stack of a model isn't the requested one."""
        if self.stack is not None and self.stack != name:
            raise UsageError(f"the model has no stack {self.stack!r}", hint=f"its only stack is {name}")


def parse_states(state: StateSpec, stack: str | None = None) -> StateSelection:
    """Parse `--state` and `--stack`; None is the last state, "all" all of them.

    >>> parse_states("0-2,5").spans
    ((0, 2), (5, 5))

    Raises UsageError for invalid values.
    """
    if state is None:
        return StateSelection(stack=stack)
    items = list(state) if isinstance(state, Sequence) and not isinstance(state, str) else [state]
    parts = [part for item in items for part in str(item).replace(",", " ").split()]
    if parts == ["all"]:
        return StateSelection((), stack)
    if not parts:
        raise UsageError("--state is empty", hint=_HINT)
    spans = []
    for part in parts:
        match = _SPAN.fullmatch(part)
        if match is None:
            raise UsageError(f"--state: {part!r} is not a state", hint=_HINT)
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first and (last < 0) == (first < 0):
            raise _backwards(first, last)
        spans.append((first, last))
    return StateSelection(tuple(spans), stack)


def choose_stack(lists: Sequence[BlockList], name: str | None) -> BlockList:
    """The stack with this name; without one, the encoder where there are both, else the last stack that reads text.

    Raises UsageError for an unknown name.
    """
    text_stacks = [known for known in lists if known.word not in _TOWERS]
    words = [known.word for known in text_stacks if known.word in _TEXT_STACKS]
    if len(set(words)) > 1:
        if name is not None and name not in words:
            raise UsageError(f"the model has no stack {name!r}", hint=f"its stacks are {' and '.join(words)}")
        return next(known for known in text_stacks if known.word == (name or "encoder"))
    if not text_stacks:
        raise UsageError("the model has no layers that read text", hint="use another model (-m)")
    attending = [known for known in text_stacks if any(block.attends for block in known.describe_layers())]
    return (attending or text_stacks)[-1]


def text_stack(model: LoadedModel, name: str | None) -> BlockList:
    """As `choose_stack`, for a loaded model, which may lack the stack that wasn't chosen."""
    return choose_stack(model.lists, name if len({known.word for known in model.lists}) > 1 else None)


def _resolve_span(span: tuple[int, int], count: int) -> range:
    first, last = (number + count if number < 0 else number for number in span)
    for given, number in zip(span, (first, last), strict=True):
        if not 0 <= number < count:
            raise UsageError(f"there is no state {given} in the model", hint=f"--state accepts states 0-{count - 1}")
    if last < first:
        raise _backwards(*span)
    return range(first, last + 1)


def _backwards(first: int, last: int) -> UsageError:
    return UsageError(f"--state {first}-{last}: the first state comes after the last one", hint=_HINT)
