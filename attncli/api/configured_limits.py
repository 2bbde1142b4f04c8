"""What a model's configuration alone refuses: layers, heads and states beyond any that it can have.

Read before torch is imported, so that a mistyped number is an error at once. The configuration gives upper limits;
what is within them is checked again once the model is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.errors import UsageError
from attncli.parameters.inventory import FIELDS

if TYPE_CHECKING:
    from attncli.attention.selection import Selection
    from attncli.embeddings.state_selection import StateSelection

#: Names of fields that count layers or blocks, and of those that count heads.
_LAYER_COUNT = re.compile(r"(^|_)(layers?|blocks?|stages?|groups|depths?|repeats?|block_sizes)$")
_HEAD_COUNT = re.compile(r"(^|_)n?heads?(_|$)")
#: Widths and other numbers of heads that count none.
_NO_COUNT = re.compile(r"dim|size|scale|rank|width|bias|channels")
#: What every configuration with layers and heads calls their numbers, or has as another name of them.
_USUAL_NAMES = ("num_hidden_layers", "num_attention_heads")
#: The usual names: a configuration with one such number and no others has exactly so many.
_USUAL = {"layer": FIELDS["layers"], "head": FIELDS["heads"]}


class Limit(NamedTuple):
    """At most so many layers in a stack, or heads in a layer.  exact: whether there are exactly so many."""

    most: int
    exact: bool

    def check(self, number: int, kind: str, where: str, flag: str) -> None:
        """Raise UsageError for a number that is beyond the limit, from the start or from the end."""
        if -self.most <= number < self.most:
            return
        numbers = f"{kind} 0" if self.most == 1 else f"{kind}s 0-{self.most - 1}"
        hint = f"{flag} accepts {numbers}" if self.exact else f"{where} has at most the {numbers}"
        raise UsageError(f"there is no {kind} {number} in {where}", hint=hint)


class ConfiguredLimits(NamedTuple):
    """The limits of a configuration; None where it doesn't tell."""

    layers: Limit | None = None
    heads: Limit | None = None

    def check_selection(self, selection: Selection) -> None:
        """Raise UsageError for a layer or a head that no stack of the model can have."""
        layers = [number for span in selection.layers for number in (span.first, span.last)]
        if self.layers is not None:
            for number in layers:
                self.layers.check(number, "layer", "the model", "-l")
        for name in selection.heads:
            if self.layers is not None and name.layer is not None:
                self.layers.check(name.layer, "layer", "the model", "-H")
            if self.heads is not None:
                where = "a layer" if name.layer is None else f"layer {name.layer}"
                self.heads.check(name.head, "head", where, "-H")

    def check_states(self, chosen: StateSelection) -> None:
        """Raise UsageError for a state that no stack of the model can have: one more than it has layers."""
        if self.layers is None:
            return
        states = self.layers._replace(most=self.layers.most + 1)
        for number in chain.from_iterable(chosen.spans):
            states.check(number, "state", "the model", "--state")


def configured_limits(fields: Mapping[str, Any] | None) -> ConfiguredLimits:
    """The limits of a configuration, given the content of its config.json (or GGUF metadata in its form)."""
    parts = [] if fields is None else list(_parts(fields))
    if not parts or any(part is None for part in parts):
        return ConfiguredLimits()
    known = [part for part in parts if part is not None]
    return ConfiguredLimits(_limit(known, "layer"), _limit(known, "head"))


def _parts(fields: Mapping[str, Any]) -> Iterator[Mapping[str, Any] | None]:
    """The fields of a configuration with its defaults, and of each configuration within it; None for an unknown one."""
    from attncli.models.loading.config_source import declared_fields

    kind = fields.get("model_type")
    declared = declared_fields(kind) if isinstance(kind, str) else None
    if declared is None:
        yield None
        return
    # A class that doesn't have these under their usual names may compute them from others.
    named = {name: ... for name in _USUAL_NAMES if not declared.has(name)}
    yield {**named, **declared.defaults, **fields}
    for name in declared.parts:
        part = fields.get(name)
        yield from _parts(part) if isinstance(part, Mapping) else (None,)


def _limit(parts: Sequence[Mapping[str, Any]], kind: str) -> Limit | None:
    counts = [_counts(part, kind) for part in parts]
    # A configuration around others need not have counts of its own.
    if len(parts) > 1 and not counts[0]:
        counts = counts[1:]
    if any(not part for part in counts):
        return None
    found = {(name, number) for part in counts for name, number in (part or {}).items()}
    numbers = {number for _, number in found}
    return Limit(max(numbers), len(numbers) == 1 and all(name in _USUAL[kind] for name, _ in found))


def _counts(fields: Mapping[str, Any], kind: str) -> dict[str, int] | None:
    """The positive numbers that may count layers or heads; None where one of them is computed by the class.

    Stages follow one another, so their layers add up.
    """
    pattern = _LAYER_COUNT if kind == "layer" else _HEAD_COUNT
    found = {}
    for name, value in fields.items():
        if not pattern.search(name) or _NO_COUNT.search(name.removesuffix("_sizes")) or name in FIELDS["kv_heads"]:
            continue
        if value is ...:
            return None
        numbers = [number for number in _flat(value) if type(number) is int and number > 0]
        if numbers:
            found[name] = sum(numbers) if kind == "layer" else max(numbers)
    return found


def _flat(value: object) -> Iterator[object]:
    if isinstance(value, list | tuple):
        yield from chain.from_iterable(map(_flat, value))
    else:
        yield value
