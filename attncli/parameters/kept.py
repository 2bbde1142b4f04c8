"""An inventory as JSON and back, so that the same configuration need not be built again.

A model repeats itself: chains of classes and configurations are written once and numbered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attncli.parameters.inventory import Inventory, Kind, Tensor

_SCALARS = (int, float, str, type(None))  # bool is an int


def to_json(inventory: Inventory) -> dict[str, Any]:
    """What `from_json` makes the same inventory of. Of configurations it keeps numbers, words and lists of them."""
    classes: dict[tuple[str, ...], int] = {}
    sources: list[dict[str, Any]] = []
    numbers: dict[int, int] = {}

    def tensor(each: Tensor) -> list[Any]:
        chain = classes.setdefault(each.classes, len(classes))
        return [each.name, list(each.shape), each.kind.value, chain, [tensor(alias) for alias in each.aliases]]

    def source(each: Any) -> int:
        # By identity: one configuration serves many modules. The inventory keeps it alive meanwhile.
        if id(each) not in numbers:
            fields = _plain(each)
            if fields not in sources:
                sources.append(fields)
            numbers[id(each)] = sources.index(fields)
        return numbers[id(each)]

    tensors = [tensor(each) for each in inventory.tensors]
    settings = {path: [source(each) for each in found] for path, found in inventory.settings.items()}
    return {"classes": list(map(list, classes)), "tensors": tensors, "sources": sources, "settings": settings}


def from_json(kept: Mapping[str, Any]) -> Inventory:
    """The inventory that `to_json` wrote. Raises ValueError for anything else."""
    try:
        classes = [tuple(map(str, chain)) for chain in kept["classes"]]
        sources = kept["sources"]
        tensors = tuple(_tensor(fields, classes) for fields in kept["tensors"])
        settings = {path: tuple(sources[number] for number in found) for path, found in kept["settings"].items()}
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError("no inventory") from error
    return Inventory(tensors, settings)


def _tensor(fields: list[Any], classes: list[tuple[str, ...]]) -> Tensor:
    name, shape, kind, chain, aliases = fields
    return Tensor(
        str(name),
        tuple(map(int, shape)),
        Kind(kind),
        classes[chain],
        tuple(_tensor(alias, classes) for alias in aliases),
    )


def _plain(source: Any) -> dict[str, Any]:
    """The fields that JSON can hold, as numbers are looked up in them."""
    fields = source if isinstance(source, Mapping) else vars(source)
    return {name: value for name, value in fields.items() if _is_plain(value) and not name.startswith("_")}


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(each, _SCALARS) for each in value)
    return isinstance(value, _SCALARS)
