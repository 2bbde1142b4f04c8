"""`preset:gpt3`: architectures without weights, each with the source of its numbers. Data files, read without torch."""

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

    fields: a configuration, as a config.json has it; for a `module` of our own, what that is built from.
    module: which of `preset_modules.MODULES` it is; None for one of transformers.
    published: the number of parameters that the source prints.  source: the paper.  notes: where ours departs from it.
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
    """The names of all presets, those of a family together, without their aliases."""
    return tuple(_presets())


def read_preset(name: str) -> Preset:
    """The preset of a name or an alias. Raises ModelError, with the nearest name, where there is none."""
    presets = _presets()
    by_alias = {alias: preset for preset in presets.values() for alias in preset.aliases}
    found = presets.get(name) or by_alias.get(name)
    if found is not None:
        return found
    near = closest(name.lower(), [*presets, *by_alias])
    hint = f"did you mean preset:{near}?" if near else "attn params --list-presets names all of them"
    raise ModelError(f"there is no preset {name!r}", hint=hint)


def preset_called(name: str) -> str | None:
    """The preset of a model of the hub, told by its name or an alias of it; None where there is none.

    >>> preset_called("meta-llama/Llama-3.1-8B")
    'llama3.1-8b'
    """
    own = _plain(name.rpartition("/")[2])
    called = (preset.name for preset in _presets().values() if own in map(_plain, (preset.name, *preset.aliases)))
    return next(called, None)


def _plain(name: str) -> str:
    return re.sub("[-_ ]", "", name).lower()


def changed_preset(preset: Preset, changes: Sequence[str]) -> Preset:
    """The preset of a module of our own with other numbers in it, each `key=value`.

    Raises UsageError for a name that it doesn't have and for what is no whole number from 1 on.
    """
    fields = dict(preset.fields)
    for change in changes:
        key, _, value = (part.strip() for part in change.partition("="))
        if key not in fields:
            near = closest(key, list(fields))
            hint = f"did you mean --set {near}=…?" if near else f"it has {', '.join(fields)}"
            raise UsageError(f"preset:{preset.name} has no field {key!r}", hint=hint)
        number = whole_number(value)
        if number is None or number < 1:
            raise UsageError(
                f"--set {key} can't be {value!r}: it is a whole number from 1 on", hint=f"it is {fields[key]} now"
            )
        fields[key] = number
    return preset._replace(fields=fields)


@cache
def _presets() -> dict[str, Preset]:
    files = sorted(_FOLDER.glob("*.json"))
    return {preset.name: preset for path in files for preset in _family(json.loads(path.read_text("utf-8")))}


def _family(family: Mapping[str, Any]) -> Iterator[Preset]:
    """The presets of a file, which share its source, its notes and its configuration."""
    for name, own in family["presets"].items():
        yield Preset(
            name=name,
            title=own["title"],
            published=own["published"],
            fields={**family["config"], **own["config"]},
            source=family["source"],
            notes=(*family.get("notes", ()), *own.get("notes", ())),
            aliases=tuple(own.get("aliases", ())),
            module=family.get("module"),
        )
