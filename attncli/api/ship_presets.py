"""Write the shapes of the presets that are shipped with the package.

python -m attncli.api.ship_presets        after a preset, or how shapes are read from modules, has changed
"""

from __future__ import annotations

import json

from attncli.api.configured_shapes import describe_preset
from attncli.api.preset_shapes import FILE, digest, fold, pack
from attncli.models.builtin.presets import Preset, preset_names, read_preset


def to_ship(preset: Preset) -> str:
    """The entry of a preset in the file."""
    entry = describe_preset(preset)
    inventory = entry["inventory"]
    folded = {"tensors": fold(inventory["tensors"]), "settings": fold(list(inventory["settings"].items()))}
    return pack({"of": digest(preset), **entry, "inventory": {**inventory, **folded}})


def main() -> None:
    FILE.write_text(json.dumps({name: to_ship(read_preset(name)) for name in preset_names()}, indent=0) + "\n", "utf-8")


if __name__ == "__main__":
    main()
