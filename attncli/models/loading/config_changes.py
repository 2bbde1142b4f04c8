"""`--set key=value` as far as it can be checked without transformers: its form, the field's name, the value's type."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attncli.errors import UsageError
from attncli.models.files.reference import closest
from attncli.models.loading.config_source import DeclaredFields, declared_fields
from attncli.quantities import whole_number

#: The field that decides which other fields there are.
MODEL_TYPE = "model_type"
#: Former names of fields, which old config.json files have and transformers still reads.
RENAMED_FIELDS = {"torch_dtype": "dtype"}


def split_change(change: str) -> tuple[str, str]:
    """The key and the value of `key=value`. Raises UsageError for anything else."""
    key, equals, value = change.partition("=")
    if not equals or not key.strip():
        raise UsageError(
            f"--set {change}: there is no KEY=VALUE in it", hint="write for instance --set num_hidden_layers=48"
        )
    return key.strip(), value.strip()


def check_changes(fields: Mapping[str, Any], changes: Sequence[str], name: str) -> None:
    """Raise UsageError for changes that no configuration of this model takes. Imports no torch.

    fields: the content of config.json.  name: the model's, for the message.
    Fields that only transformers knows are checked once it is imported.
    """
    kind = fields.get(MODEL_TYPE)
    declared = declared_fields(kind) if changes and isinstance(kind, str) else None
    for change in changes:
        key, value = split_change(change)
        if declared is not None:
            _check_change(declared, fields, key, value, name)


def _check_change(declared: DeclaredFields, fields: Mapping[str, Any], key: str, value: str, name: str) -> None:
    first, dot, rest = key.partition(".")
    part = fields.get(first)
    if dot and isinstance(part, Mapping) and first in declared.parts:
        check_changes(part, [f"{rest}={value}"], f"the {first} of {name}")
        return
    if not (declared.has(first) or first in fields or first in RENAMED_FIELDS):
        nested = [f"{part}.{key}" for part in declared.parts if key in (fields.get(part) or ())]
        raise unknown_field_error(f"the configuration of {name}", key, (*nested, *declared.names, *fields), nested)
    if dot:
        return
    field = declared.aliases.get(first, first)
    if field == MODEL_TYPE:
        check_model_type(key, value, fields[MODEL_TYPE])
        return
    values = (fields.get(first, fields.get(field)), declared.defaults.get(field, ...))
    known = [each for each in values if each is not ... and each is not None]
    # A file may hold 0 where the class declares 0.1: then any number is right.
    known.sort(key=lambda each: not isinstance(each, float))
    if known and (isinstance(known[0], float) or len({type(each) for each in known}) == 1):
        parse_value(key, value, known[0])


def check_model_type(key: str, value: str, known: str) -> None:
    """Raise UsageError for another type than the configuration's own."""
    if value != known:
        raise UsageError(
            f"--set {key}={value}: the model type can't be changed, because the other fields are those of {known}",
            hint=f"name a model or a preset of the type {value}; attn params --list-presets lists the presets",
        )


def unknown_field_error(whose: str, key: str, names: Iterable[str], nested: Sequence[str] = ()) -> UsageError:
    """The error for a field that a configuration doesn't have, with the nearest name as a hint.

    nested: names of fields within other configurations, which end in the key.
    """
    meant = next(iter(nested), None) or closest(key, sorted(set(names)))
    hint = "its config.json lists the fields; a field within another one is written with a dot: text_config.hidden_size"
    return UsageError(
        f"--set {key}: {whose} has no such field", hint=f"did you mean --set {meant}=…?" if meant else hint
    )


def parse_value(key: str, value: str, old: object) -> Any:
    """A value of the same type as the old one; if that is None, JSON or else a string."""
    if isinstance(old, bool):
        found: Any = {"true": True, "false": False, "1": True, "0": False}.get(value.lower())
        kind = "true or false"
    elif isinstance(old, int):
        found, kind = whole_number(value), "a whole number"
    elif isinstance(old, float):
        found, kind = _parse_json(value, (int, float)), "a number"
    elif isinstance(old, list | dict):
        found, kind = _parse_json(value, type(old)), "a list in JSON" if isinstance(old, list) else "an object in JSON"
    elif isinstance(old, str):
        return value
    else:
        whole = whole_number(value)
        if whole is not None:
            return whole
        try:
            return json.loads(value)
        except ValueError:
            return value
    if found is None:
        raise UsageError(
            f"--set {key} can't be {value!r}: it has to be {kind}", hint=f"its value now is {json.dumps(old)[:60]}"
        )
    return found


def _parse_json(value: str, kinds: type | tuple[type, ...]) -> Any:
    try:
        found = json.loads(value)
    except ValueError:
        return None
    return found if isinstance(found, kinds) and not isinstance(found, bool) else None
