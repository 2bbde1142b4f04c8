"""Where a tensor is in a model: its part (text, vision, …), its layer by the true index, and its unit.

A unit is a module of one kind: an attention, a feed-forward network, a norm. The tensors of one unit are classified
together.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from attncli.components import COMPONENTS
from attncli.parameters.inventory import Inventory, Tensor
from attncli.parameters.name_rules import (
    EXPERTS_RULE,
    PAIR_RULES,
    PROJECTION_RULES,
    PROJECTORS,
    RULES,
    TOWERS,
    UNITS,
    Kind,
    first_match,
)

#: The halves of a model that has both.
_SIDES = ("encoder", "decoder")
#: Parts that a component may show, the most telling first.
_INPUTS = ("text", "vision", "audio")


_TABLES = {"projector": PROJECTORS, "tower": TOWERS, "unit": UNITS}


class Location(NamedTuple):
    """The part and the block of a tensor.

    stack: the path of the list of blocks, and layer: the index in it; None outside of blocks.
    """

    part: str
    stack: str | None
    layer: int | None


def find_locations(inventory: Inventory, components: Mapping[str, Iterable[str]]) -> dict[str, Location]:
    """The location of every tensor by name. components: the components of each tensor, by name."""
    two_sided, stacks = _two_sided(inventory.tensors), _stacks(inventory.tensors)
    folders = inventory.folders
    parts = {
        tensor.name: folders.get(tensor.name.partition(".")[0]) or _part(tensor, two_sided)
        for tensor in inventory.tensors
    }
    # Tensors whose names give no part: by their components, else in the model's only tower.
    found = {component for name, part in parts.items() if part is None for component in components[name]}
    by_component = {COMPONENTS[component].part for component in found}
    towers = {part for part in parts.values() if part not in (None, "projector", *_SIDES, *folders.values())}
    fitting = [part for part in _INPUTS if part in by_component]
    default = (fitting[0] if fitting else towers.pop() if len(towers) == 1 else None) or "model"
    return {name: Location(part or default, *_block_index(name, stacks)) for name, part in parts.items()}


def _part(tensor: Tensor, two_sided: frozenset[str]) -> str | None:
    steps = tensor.name.split(".")
    # A tensor of the model itself is in no other module: only its own name is left.
    inner = steps[:-1] or steps
    classes = tensor.classes[1:] or ("",) * len(inner)
    # The outermost step that matches a rule decides whether it is a projector.
    if next(filter(None, (_label("projector", step) for step in inner)), None) == "projector":
        return "projector"
    for depth, (step, cls) in enumerate(zip(inner, classes, strict=False)):
        if tower := _label("tower", step, cls):
            return tower
        if step in _SIDES and ".".join(inner[:depth]) in two_sided:
            return step
    return None


# Cached, as layers repeat: without indices there are few different names.
@lru_cache(maxsize=16_384)
def _label(table: str, name: str, cls: str = "", kind: Kind = Kind.OTHER) -> str | None:
    """The meaning of the first rule of a table that fits a module by its name or class."""
    return first_match(_TABLES[table], (name, f":{cls}") if cls else (name,), kind)


def _two_sided(tensors: Iterable[Tensor]) -> frozenset[str]:
    """The paths of modules that hold both an encoder and a decoder."""
    sides: dict[str, set[str]] = defaultdict(set)
    for tensor in tensors:
        steps = tensor.name.split(".")
        # A recurrent network may be a side by itself; any other side contains modules.
        for depth, step in enumerate(steps[: -1 if tensor.kind is Kind.RECURRENT else -2]):
            if step in _SIDES:
                sides[".".join(steps[:depth])].add(step)
    return frozenset(path for path, found in sides.items() if len(found) == len(_SIDES))


def _block_index(name: str, stacks: frozenset[str]) -> tuple[str | None, int | None]:
    steps = name.split(".")
    places = ((".".join(steps[:depth]), int(step)) for depth, step in enumerate(steps) if step.isdigit())
    return next(((path, index) for path, index in places if path in stacks), (None, None))


def _stacks(tensors: Iterable[Tensor]) -> frozenset[str]:
    """The paths of lists of blocks: a block contains several modules, unlike a numbered layer of a head."""
    owners: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for tensor in tensors:
        steps = tensor.name.split(".")
        index = next((depth for depth, step in enumerate(steps[:-1]) if step.isdigit()), None)
        if index is not None:
            owners[".".join(steps[:index])][steps[index]].add(".".join(steps[:-1]))
    return frozenset(path for path, blocks in owners.items() if all(len(found) > 1 for found in blocks.values()))


# --- Units

#: Steps of a path that don't say what a tensor is: torch's parametrizations, wrappers of quantisation and adapters.
_WRAPPERS = re.compile(r"\d+|weight|bias|parametrizations|original\d|base_layer|weight_[gv]|module|_orig_mod|default")
_LEAF = re.compile(r"(?<=\w)_(weight|bias)$")


class UnitTensor(NamedTuple):
    """A tensor in its unit.

    unit_name: a key of RULES ("" for none).  path: the path of the unit; tensors with one path belong together.
    names: the names from the unit on, that of the unit first, without indices and wrappers.
    """

    tensor: Tensor
    unit_name: str
    path: str
    names: tuple[str, ...]

    @property
    def meaning(self) -> str:
        """What the tensor is by the rules of its unit; the unit's default where no rule matches."""
        # The name of an attention (`rel_attn`) says nothing of its tensors; those of other units may.
        begins_with_unit = self.names[:1] == (self.path.rpartition(".")[2],)
        names = self.names[1:] if begins_with_unit and self.unit_name in ("attention", "cross") else self.names
        return _meaning(self.unit_name, names, self.tensor.kind)

    @property
    def in_block(self) -> bool:
        """Whether the tensor is in a numbered list of modules, as blocks are."""
        return any(step.isdigit() for step in self.tensor.name.split("."))

    @property
    def is_bias(self) -> bool:
        """Whether the tensor is added; one that multiplies, or is looked up, is a weight."""
        leaf = self.tensor.name.rpartition(".")[2].lower()
        return leaf == "bias" or bool(_BIAS.search(leaf))


_BIAS = re.compile(r"(^|_)bias(_\w+)?$|^b_[a-z]+$|^pos_bias_[uv]$|^r_(w|r|s)_bias$")


def assign_units(inventory: Inventory) -> list[UnitTensor]:
    """Assign every tensor of an inventory to its unit, in the inventory's order."""
    # Units that are recognised by what they contain, whatever their names are: attention and experts, by path.
    held: dict[str, set[str]] = defaultdict(set)
    for tensor in inventory.tensors:
        steps = tensor.name.split(".")
        for depth, step in enumerate(steps):
            held[".".join(steps[:depth])].update(_content_hints(step))
    units = {path: "attention" for path, hints in held.items() if hints >= {"query", "key", "value"}}
    units |= {path: "moe" for path, hints in held.items() if "experts" in hints}
    units |= {f"{path}.attn2": "cross" for path, hints in held.items() if hints >= {"first", "second"}}
    return [_unit_tensor(tensor, units) for tensor in inventory.tensors]


@lru_cache(maxsize=8192)
def _content_hints(step: str) -> frozenset[str]:
    return frozenset(rule.meaning for rule in (EXPERTS_RULE, *PAIR_RULES, *PROJECTION_RULES) if rule.matches([step]))


def _unit_tensor(tensor: Tensor, units: Mapping[str, str]) -> UnitTensor:
    *steps, leaf = tensor.name.split(".")
    classes = tensor.classes[1:] or ("",) * len(steps)
    for depth in reversed(range(len(steps))):
        owner = depth == len(steps) - 1
        unit = _label("unit", steps[depth], classes[depth], tensor.kind if owner else Kind.OTHER)
        path = ".".join(steps[: depth + 1])
        # What is an attention by its name stays one, but for the second of a pair.
        if unit in (None, "mlp", "head") or units.get(path) == "cross":
            unit = units.get(path, unit)
        if unit is None:
            continue
        if unit != "norm":
            outers = (_label("unit", steps[outer], classes[outer]) or "" for outer in range(depth))
            unit = next((outer for outer in outers if outer in COMPONENTS and COMPONENTS[outer].whole), unit)
        # A layer that is a unit by itself (`fc1`) belongs together with its siblings (`fc2`).
        is_layer = owner and leaf in ("weight", "bias")
        names = _names_in_unit([*steps[depth:], leaf])
        return UnitTensor(tensor, unit, ".".join(steps[:depth]) if is_layer else path, names)
    root = _label("unit", "", tensor.classes[0]) if tensor.classes else None
    return UnitTensor(tensor, root or "", ".".join(steps[:-1]), _names_in_unit([*steps, leaf]))


@lru_cache(maxsize=8192)
def _meaning(unit: str, names: tuple[str, ...], kind: Kind) -> str:
    _, default, rules = RULES[unit]
    return first_match(rules, names, kind) or default


def _names_in_unit(steps: list[str]) -> tuple[str, ...]:
    steps[-1] = _LEAF.sub("", steps[-1])
    return tuple(step for step in steps if not _WRAPPERS.fullmatch(step))
