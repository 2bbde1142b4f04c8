"""Where in a model a tensor stands: its part (text, vision, …), and its layer by the true index."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from attncli.parameters.inventory import Inventory, Kind, Tensor
from attncli.parameters.words import Rule, first

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
