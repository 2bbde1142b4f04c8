"""The shapes of the presets, shipped with the package, so that `attn params preset:…` never needs torch.

`python -m attncli.api.ship_presets` writes them. Layers that repeat themselves are written once (`fold`), and the JSON
of each preset is compressed.
"""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attncli.models.builtin.presets import Preset

FILE = Path(__file__).parents[1] / "models" / "builtin" / "preset_shapes.json"
#: The number of a layer: the first part of a name that is a number.
_LAYER = re.compile(r"(?:^|(?<=\.))\d+(?=\.|$)")


def shipped_shapes(preset: Preset) -> dict[str, Any] | None:
    """The entry of a preset, as `ConfiguredShapes` keeps it in the cache; None where its configuration is another."""
    with FILE.open(encoding="utf-8") as file:
        packed = json.load(file).get(preset.name)
    entry = {} if packed is None else json.loads(zlib.decompress(b64decode(packed)))
    if entry.pop("of", None) != digest(preset):
        return None
    inventory = entry["inventory"]
    settings = dict(unfold(inventory["settings"]))
    return {**entry, "inventory": {**inventory, "tensors": unfold(inventory["tensors"]), "settings": settings}}


def pack(entry: Mapping[str, Any]) -> str:
    return b64encode(zlib.compress(json.dumps(entry, separators=(",", ":")).encode(), 9)).decode("ascii")


def digest(preset: Preset) -> str:
    """What identifies the configuration of a preset."""
    content = json.dumps([preset.fields, preset.module], sort_keys=True)
    return sha256(content.encode()).hexdigest()[:16]


def fold(rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Rows, each with a dotted name first, in which the layers of a stack are one entry: its different layers, and
    which of them each is.

    >>> fold([["h.0.a", 1], ["h.1.a", 1], ["h.2.a", 2], ["norm", 3]])
    [{'stack': 'h.', 'first': 0, 'layers': [[['a', 1]], [['a', 2]]], 'order': [0, 0, 1]}, ['norm', 3]]
    """
    return [entry for stack, members in groupby(rows, _stack_of) for entry in _fold_stack(stack, list(members))]


def _stack_of(row: Sequence[Any]) -> str | None:
    number = _LAYER.search(row[0])
    return None if number is None else row[0][: number.start()]


def _fold_stack(stack: str | None, rows: list[Sequence[Any]]) -> Iterator[Any]:
    if stack is None:
        yield from rows
        return
    layers: list[list[Any]] = []
    order: list[int] = []
    first = None
    for number, members in groupby(rows, lambda row: int(_LAYER.search(row[0])[0])):  # type: ignore[index]
        layer = [[row[0][len(f"{stack}{number}") :].removeprefix("."), *row[1:]] for row in members]
        if first is None:
            first = number
        elif number != first + len(order):
            raise ValueError(f"the layers of {stack} aren't in order")
        if layer not in layers:
            layers.append(layer)
        order.append(layers.index(layer))
    yield {"stack": stack, "first": first, "layers": layers, "order": order}


def unfold(entries: Sequence[Any]) -> list[list[Any]]:
    """The rows that `fold` was given."""
    return [row for entry in entries for row in (_unfold_stack(entry) if isinstance(entry, dict) else [entry])]


def _unfold_stack(entry: Mapping[str, Any]) -> Iterator[list[Any]]:
    for number, layer in enumerate(entry["order"], entry["first"]):
        for name, *rest in entry["layers"][layer]:
            yield [f"{entry['stack']}{number}.{name}".removesuffix("."), *rest]
