"""Presets such as `preset:gpt3`: published architectures without weights, read from JSON files without torch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from attncli.errors import ModelError, UsageError
from attncli.models.files.reference import closest
from attncli.quantities import whole_number

_FOLDER = Path(__file__).parent / "presets"


class Preset(NamedTuple):
    """An architecture.

    fields: the fields of a config.json; for a `module`, its arguments.
    module: the key in `preset_modules.MODULES`; None for an architecture of transformers.
    published: the number of parameters according to the source.  source: the paper.  notes: differences from it.
    """

    name: str
    title: str
    published: str
    fields: Mapping[str, Any]
    source: str
    notes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    module: str | None = None


def preset_names() -> tuple[str, ...]:
    """The names of all presets, grouped by family, without aliases."""
    return tuple(_read_presets())


def read_preset(name: str) -> Preset:
    """The preset with a name or alias. Raises ModelError, with the closest name, if there is none."""
    presets = _read_presets()
    by_alias = {alias: preset for preset in presets.values() for alias in preset.aliases}
    found = presets.get(name) or by_alias.get(name)
    if found is not None:
        return found
    near = closest(name.lower(), [*presets, *by_alias])
    hint = f"did you mean preset:{near}?" if near else "attn params --list-presets lists them"
    raise ModelError(f"there is no preset {name!r}", hint=hint)


def preset_for_model(name: str) -> str | None:
    """The name of the preset for a hub model, by name or alias; None if there is none.

    >>> preset_for_model("meta-llama/Llama-3.1-8B")
    'llama3.1-8b'
    """

    def plain(name: str) -> str:
        return re.sub("[-_ ]", "", name).lower()

    wanted = plain(name.rpartition("/")[2])
    presets = _read_presets().values()
    return next((each.name for each in presets if wanted in map(plain, (each.name, *each.aliases))), None)


def override_preset(preset: Preset, changes: Sequence[str]) -> Preset:
    """A preset with a `module` and other arguments, each change `key=value`.

    Raises UsageError for an unknown key and for a value that is no positive whole number.
    """
    fields = dict(preset.fields)
    for change in changes:
        key, _, value = (part.strip() for part in change.partition("="))
        if key not in fields:
            near = closest(key, list(fields))
            hint = f"did you mean --set {near}=…?" if near else f"its fields are {', '.join(fields)}"
            raise UsageError(f"--set {key}: preset:{preset.name} has no such field", hint=hint)
        number = whole_number(value)
        if number is None or number < 1:
            raise UsageError(
                f"--set {key} can't be {value!r}: it has to be a whole number of at least 1",
                hint=f"its value now is {fields[key]}",
            )
        fields[key] = number
    return preset._replace(fields=fields)


@cache
def _read_presets() -> dict[str, Preset]:
    files = sorted(_FOLDER.glob("*.json"))
    return {preset.name: preset for path in files for preset in _read_family(json.loads(path.read_text("utf-8")))}


def _read_family(family: Mapping[str, Any]) -> Iterator[Preset]:
    """The presets in a file, which share its notes and configuration, and its source unless one has its own."""
    for name, own in family["presets"].items():
        yield Preset(
            name=name,
            title=own["title"],
            published=own["published"],
            fields={**family["config"], **own["config"]},
            source=own.get("source", family["source"]),
            notes=(*family.get("notes", ()), *own.get("notes", ())),
            aliases=tuple(own.get("aliases", ())),
            module=family.get("module"),
        )
