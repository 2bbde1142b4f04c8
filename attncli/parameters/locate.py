"""Where a tensor is in a model: its part (text, vision, …), its layer by the true index, and its unit.

A unit is a module of one kind: an attention, a feed-forward network, a norm. The tensors of one unit are classified
together.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from attncli.parameters.inventory import Inventory, Kind, Tensor
from attncli.parameters.name_rules import (
    EXPERTS_RULE,
    INDIVISIBLE_UNITS,
    PROJECTION_RULES,
    RULES,
    UNITS,
    Rule,
    first_match,
)

# --- Parts and layers

#: A projection from one part to another belongs to neither, wherever it is.
_PROJECTORS = (
    Rule("head", "vocab_projector"),
    Rule("projector", "*projector* merger *merger_list aligner"),
    Rule("projector", "connector modality_projection mm_projector vision_embed_tokens"),
)
#: Towers, by the outermost module whose name or class matches.
TOWERS = (
    # Attention to a tower is no part of it.
    Rule("", "*cross_att* *_attn *_layer_norm"),
    Rule("audio", "audio* *_audio speech* *audio_tower* *audio_encoder* vocoder hifigan talker code2wav token2wav"),
    Rule("vision", "vision* visual* image_encoder *vision_tower* *image_tower* vit pixel_level_module :*VisionModel"),
    Rule("text", "text* *language_model* *text_model text_encoder :*TextModel"),
)
_SIDES = ("encoder", "decoder")

#: The part of a model that has only one, by the components that embed its input.
_PART_EVIDENCE = (
    ("text", ("embedding.token", "unembedding")),
    ("vision", ("embedding.patch",)),
    ("audio", ("embedding.audio",)),
)


class Location(NamedTuple):
    """The part and the block of a tensor.

    stack: the path of the list of blocks, and layer: the index in it; None outside of blocks.
    """

    part: str
    stack: str | None
    layer: int | None


def find_locations(inventory: Inventory, components: Mapping[str, Iterable[str]]) -> dict[str, Location]:
    """The location of every tensor by name. components: the components of each tensor, by name."""
    two_sided = _two_sided(inventory.tensors)
    parts = {tensor.name: _part(tensor, two_sided) for tensor in inventory.tensors}
    default = _default_part(
        [component for name, part in parts.items() if part is None for component in components[name]], parts
    )
    stacks = _stacks(inventory.tensors)
    return {name: Location(part or default, *_block_index(name, stacks)) for name, part in parts.items()}


def _part(tensor: Tensor, two_sided: frozenset[str]) -> str | None:
    steps = tensor.name.split(".")
    # A tensor of the model itself is in no other module: only its own name is left.
    inner = steps[:-1] or steps
    classes = tensor.classes[1:] or ("",) * len(inner)
    # The outermost step that matches a rule decides whether it is a projector.
    if next(filter(None, map(_projector_label, inner)), None) == "projector":
        return "projector"
    for depth, (step, cls) in enumerate(zip(inner, classes, strict=False)):
        if tower := _tower_label(step, cls):
            return tower
        if step in _SIDES and ".".join(inner[:depth]) in two_sided:
            return step
    return None


@lru_cache(maxsize=8192)
def _projector_label(step: str) -> str | None:
    return first_match(_PROJECTORS, (step,))


@lru_cache(maxsize=8192)
def _tower_label(step: str, cls: str) -> str | None:
    return first_match(TOWERS, (step, f":{cls}") if cls else (step,))


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


def _default_part(components: Iterable[str], parts: Mapping[str, str | None]) -> str:
    """The part of tensors whose names give none: by their components, else the model's only tower."""
    found = set(components)
    part = next((name for name, evidence in _PART_EVIDENCE if found.intersection(evidence)), None)
    towers = {part for part in parts.values() if part not in (None, "projector", *_SIDES)}
    return part or (towers.pop() if len(towers) == 1 else None) or "model"


def _block_index(name: str, stacks: frozenset[str]) -> tuple[str | None, int | None]:
    steps = name.split(".")
    for depth, step in enumerate(steps):
        path = ".".join(steps[:depth])
        if step.isdigit() and path in stacks:
            return path, int(step)
    return None, None


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
    units = _units_by_content(inventory.tensors)
    return [_unit_tensor(tensor, units) for tensor in inventory.tensors]


def _units_by_content(tensors: Iterable[Tensor]) -> dict[str, str]:
    """Units that are recognised by what they contain, whatever their names are: attention and experts, by path."""
    held: dict[str, set[str]] = defaultdict(set)
    for tensor in tensors:
        steps = tensor.name.split(".")
        for depth, step in enumerate(steps):
            held[".".join(steps[:depth])].update(_content_hints(step))
    found = {path: "attention" for path, hints in held.items() if hints >= {"query", "key", "value"}}
    return {**found, **{path: "moe" for path, hints in held.items() if "experts" in hints}}


@lru_cache(maxsize=8192)
def _content_hints(step: str) -> frozenset[str]:
    return frozenset(rule.meaning for rule in (EXPERTS_RULE, *PROJECTION_RULES) if rule.matches([step]))


def _unit_tensor(tensor: Tensor, units: Mapping[str, str]) -> UnitTensor:
    *steps, leaf = tensor.name.split(".")
    classes = tensor.classes[1:] or ("",) * len(steps)

    def outers(depth: int) -> Iterator[str | None]:
        return (_unit_name(steps[outer], classes[outer], Kind.OTHER) for outer in range(depth))

    for depth in reversed(range(len(steps))):
        owner = depth == len(steps) - 1
        unit = _unit_name(steps[depth], classes[depth], tensor.kind if owner else Kind.OTHER)
        path = ".".join(steps[: depth + 1])
        if unit in (None, "mlp", "head"):
            unit = units.get(path, unit)
        if unit is None:
            continue
        if unit != "norm":
            unit = next((outer for outer in outers(depth) if outer in INDIVISIBLE_UNITS), unit)
        # A layer that is a unit by itself (`fc1`) belongs together with its siblings (`fc2`).
        is_layer = owner and leaf in ("weight", "bias")
        return UnitTensor(
            tensor, unit, ".".join(steps[:depth]) if is_layer else path, _names_in_unit([*steps[depth:], leaf])
        )
    root = _unit_name("", tensor.classes[0], Kind.OTHER) if tensor.classes else None
    return UnitTensor(tensor, root or "", ".".join(steps[:-1]), _names_in_unit([*steps, leaf]))


# Cached, as layers repeat: without indices there are few different names.
@lru_cache(maxsize=8192)
def _meaning(unit: str, names: tuple[str, ...], kind: Kind) -> str:
    _, default, rules = RULES[unit]
    return first_match(rules, names, kind) or default


@lru_cache(maxsize=8192)
def _unit_name(name: str, cls: str, kind: Kind) -> str | None:
    return first_match(UNITS, (name, f":{cls}") if cls else (name,), kind)


def _names_in_unit(steps: list[str]) -> tuple[str, ...]:
    steps[-1] = _LEAF.sub("", steps[-1])
    return tuple(step for step in steps if not _WRAPPERS.fullmatch(step))
