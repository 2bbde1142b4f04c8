"""Where in a model a tensor stands: its part (text, vision, …), and its layer by the true index.

Which unit of a model each tensor belongs to, and under which names it stands there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from attncli.parameters.inventory import Inventory, Kind, Tensor
from attncli.parameters.name_rules import EXPERTS, HEAD_OF_ATTENTION, RULES, UNITS, WHOLE, Rule, first

#: What leads from one part to another belongs to neither, wherever it stands.
_PROJECTORS = (
    Rule("head", "vocab_projector"),
    Rule("projector", "*projector* merger *merger_list aligner"),
    Rule("projector", "connector modality_projection mm_projector vision_embed_tokens"),
)
#: Towers, told by the outermost module that says so.
TOWERS = (
    # What attends to a tower stands elsewhere.
    Rule("", "*cross_att* *_attn *_layer_norm"),
    Rule("audio", "audio* *_audio speech* *audio_tower* *audio_encoder* vocoder hifigan talker code2wav token2wav"),
    Rule("vision", "vision* visual* image_encoder *vision_tower* *image_tower* vit pixel_level_module :*VisionModel"),
    Rule("text", "text* *language_model* *text_model text_encoder :*TextModel"),
)
_SIDES = ("encoder", "decoder")

#: What a model is about that has one part only, by what it turns into vectors.
_EVIDENCE = (
    ("text", ("embedding.token", "unembedding")),
    ("vision", ("embedding.patch",)),
    ("audio", ("embedding.audio",)),
)


class Place(NamedTuple):
    """stack: the path of the list of blocks, and layer: the index in it; None for what stands in no block."""

    part: str
    stack: str | None
    layer: int | None


def place(inventory: Inventory, components: Mapping[str, Iterable[str]]) -> dict[str, Place]:
    """The place of every tensor by name. components: what each tensor's parameters are, by name."""
    two_sided = _two_sided(inventory.tensors)
    parts = {tensor.name: _part(tensor, two_sided) for tensor in inventory.tensors}
    rest = _rest([component for name, part in parts.items() if part is None for component in components[name]], parts)
    stacks = _stacks(inventory.tensors)
    return {name: Place(part or rest, *_block(name, stacks)) for name, part in parts.items()}


def _part(tensor: Tensor, two_sided: frozenset[str]) -> str | None:
    steps = tensor.name.split(".")
    # A bare tensor of the model itself has no module to tell its part but its own name.
    inner = steps[:-1] or steps
    classes = tensor.classes[1:] or ("",) * len(inner)
    # The outermost step that the table of projectors knows decides whether it is one.
    if next(filter(None, map(_bridge, inner)), None) == "projector":
        return "projector"
    for depth, (step, cls) in enumerate(zip(inner, classes, strict=False)):
        if tower := _tower(step, cls):
            return tower
        if step in _SIDES and ".".join(inner[:depth]) in two_sided:
            return step
    return None


@lru_cache(maxsize=8192)
def _bridge(step: str) -> str | None:
    return first(_PROJECTORS, (step,))


@lru_cache(maxsize=8192)
def _tower(step: str, cls: str) -> str | None:
    return first(TOWERS, (step, f":{cls}") if cls else (step,))


def _two_sided(tensors: Iterable[Tensor]) -> frozenset[str]:
    """The paths of modules that hold both an encoder and a decoder."""
    sides: dict[str, set[str]] = defaultdict(set)
    for tensor in tensors:
        steps = tensor.name.split(".")
        # A recurrent network is a side by itself; else a side is made of modules.
        for depth, step in enumerate(steps[: -1 if tensor.kind is Kind.RECURRENT else -2]):
            if step in _SIDES:
                sides[".".join(steps[:depth])].add(step)
    return frozenset(path for path, found in sides.items() if len(found) == len(_SIDES))


def _rest(components: Iterable[str], parts: Mapping[str, str | None]) -> str:
    """The part of what no name places: told by what it does, else by the model's only tower."""
    found = set(components)
    told = next((part for part, evidence in _EVIDENCE if found.intersection(evidence)), None)
    towers = {part for part in parts.values() if part not in (None, "projector", *_SIDES)}
    return told or (towers.pop() if len(towers) == 1 else None) or "model"


def _block(name: str, stacks: frozenset[str]) -> tuple[str | None, int | None]:
    steps = name.split(".")
    for depth, step in enumerate(steps):
        path = ".".join(steps[:depth])
        if step.isdigit() and path in stacks:
            return path, int(step)
    return None, None


def _stacks(tensors: Iterable[Tensor]) -> frozenset[str]:
    """The paths of lists of blocks: a block is made of several modules, unlike a numbered layer of a head."""
    owners: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for tensor in tensors:
        steps = tensor.name.split(".")
        index = next((depth for depth, step in enumerate(steps[:-1]) if step.isdigit()), None)
        if index is not None:
            owners[".".join(steps[:index])][steps[index]].add(".".join(steps[:-1]))
    return frozenset(path for path, blocks in owners.items() if all(len(found) > 1 for found in blocks.values()))


#: Steps that say how a tensor is kept, not what it is: torch's parametrizations, wrappers of quantisation and adapters.
_WRAPPERS = re.compile(r"\d+|weight|bias|parametrizations|original\d|base_layer|weight_[gv]|module|_orig_mod|default")
_LEAF = re.compile(r"(?<=\w)_(weight|bias)$")


class Located(NamedTuple):
    """A tensor in its unit.

    unit: a key of RULES ("" for none).  path: the unit's own path; tensors of one path belong together.
    names: the names from the unit on, the unit's own first, without indices and wrappers.
    """

    tensor: Tensor
    unit: str
    path: str
    names: tuple[str, ...]

    @property
    def meaning(self) -> str:
        """What the table of its unit says that it is; what the unit's rest is where no line fits."""
        # What an attention is called (`rel_attn`) says nothing of its tensors; what other units are called may.
        is_own = self.names[:1] == (self.path.rpartition(".")[2],)
        names = self.names[1:] if is_own and self.unit in ("attention", "cross") else self.names
        return _meaning(self.unit, names, self.tensor.kind)

    @property
    def in_block(self) -> bool:
        """Whether it stands in a numbered list of modules, as blocks do."""
        return any(step.isdigit() for step in self.tensor.name.split("."))

    @property
    def is_bias(self) -> bool:
        """Whether it is added to something; what multiplies, or is looked up, is a weight."""
        leaf = self.tensor.name.rpartition(".")[2].lower()
        return leaf == "bias" or bool(_BIAS.search(leaf))


_BIAS = re.compile(r"(^|_)bias(_\w+)?$|^b_[a-z]+$|^pos_bias_[uv]$|^r_(w|r|s)_bias$")


def locate(inventory: Inventory) -> list[Located]:
    """Every tensor of an inventory in its unit, in the inventory's order."""
    holders = _holders(inventory.tensors)
    return [_located(tensor, holders) for tensor in inventory.tensors]


def _holders(tensors: Iterable[Tensor]) -> dict[str, str]:
    """Modules that are told by what they hold, whatever they are called: the unit that each is, by its path."""
    held: dict[str, set[str]] = defaultdict(set)
    for tensor in tensors:
        steps = tensor.name.split(".")
        for depth, step in enumerate(steps):
            held[".".join(steps[:depth])].update(_hints(step))
    found = {path: "attention" for path, hints in held.items() if hints >= {"query", "key", "value"}}
    return {**found, **{path: "moe" for path, hints in held.items() if "experts" in hints}}


@lru_cache(maxsize=8192)
def _hints(step: str) -> frozenset[str]:
    return frozenset(rule.meaning for rule in (EXPERTS, *HEAD_OF_ATTENTION) if rule.fits([step]))


def _located(tensor: Tensor, holders: Mapping[str, str]) -> Located:
    *steps, leaf = tensor.name.split(".")
    classes = tensor.classes[1:] or ("",) * len(steps)

    def outers(depth: int) -> Iterator[str | None]:
        return (_unit(steps[outer], classes[outer], Kind.OTHER) for outer in range(depth))

    for depth in reversed(range(len(steps))):
        owner = depth == len(steps) - 1
        unit = _unit(steps[depth], classes[depth], tensor.kind if owner else Kind.OTHER)
        path = ".".join(steps[: depth + 1])
        if unit in (None, "mlp", "head"):
            unit = holders.get(path, unit)
        if unit is None:
            continue
        if unit != "norm":
            unit = next((outer for outer in outers(depth) if outer in WHOLE), unit)
        # A layer that is a unit by itself (`fc1`) belongs with the ones beside it (`fc2`).
        alone = owner and leaf in ("weight", "bias")
        return Located(tensor, unit, ".".join(steps[:depth]) if alone else path, _names([*steps[depth:], leaf]))
    root = _unit("", tensor.classes[0], Kind.OTHER) if tensor.classes else None
    return Located(tensor, root or "", ".".join(steps[:-1]), _names([*steps, leaf]))


# Layers repeat: their names, without indices, are few however many tensors a checkpoint has.
@lru_cache(maxsize=8192)
def _meaning(unit: str, names: tuple[str, ...], kind: Kind) -> str:
    _, rest, rules = RULES[unit]
    return first(rules, names, kind) or rest


@lru_cache(maxsize=8192)
def _unit(name: str, cls: str, kind: Kind) -> str | None:
    return first(UNITS, (name, f":{cls}") if cls else (name,), kind)


def _names(steps: list[str]) -> tuple[str, ...]:
    steps[-1] = _LEAF.sub("", steps[-1])
    return tuple(step for step in steps if not _WRAPPERS.fullmatch(step))
