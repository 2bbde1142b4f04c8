"""`--set key=value`: the configuration of a model as it would be with other numbers in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from attncli.errors import UsageError, reason_of
from attncli.models.files.reference import closest
from attncli.quantities import whole_number

_LAYERS = "num_hidden_layers"
#: What fields were called before, as files still have them, and transformers still reads them.
_FORMER = {"torch_dtype": "dtype"}
#: What a configuration is; all its other fields follow from that.
_KIND = "model_type"


def override_fields(config: PreTrainedConfig, fields: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A configuration's fields with `changes` in them, each `key=value`; keys of parts are written with dots.

    fields: the configuration as its file has it, so that what follows from a field follows from its new value. Lists
    that name something for each layer go on as they begin where the number of layers changes.
    Raises UsageError for a key that isn't there and a value of another type.
    """
    raw = deepcopy(dict(fields))
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {change}: that sets nothing", hint="write it as in --set num_hidden_layers=48")
        _change(config, raw, key.strip(), value.strip())
    return raw


def rebuild_config(config: PreTrainedConfig, fields: Mapping[str, Any]) -> PreTrainedConfig:
    """A configuration of the same class with other fields. Raises UsageError where the class refuses them."""
    try:
        found: PreTrainedConfig = type(config).from_dict(deepcopy(dict(fields)))
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, StrictDataclassError) as error:
        raise UsageError(
            f"{type(config).__name__} can't be as --set makes it: {reason_of(error)}",
            hint="set the fields that it names together, or choose another value",
        ) from error
    return found


def _change(config: PreTrainedConfig, raw: dict[str, Any], key: str, value: str) -> None:
    """Write one value into the fields, under the name that the configuration itself gives it."""
    owner, fields = config, raw
    *parts, field = key.split(".")
    for part in parts:
        inner = vars(owner).get(part)
        if not isinstance(inner, PreTrainedConfig):
            raise _no_field(config, key)
        owner, fields = inner, fields.setdefault(part, {})
    name = owner.attribute_map.get(field, _FORMER.get(field, field))
    known = owner.to_dict()
    if name not in known:
        raise _no_field(config, key)
    if name == _KIND and value != known[name]:
        raise _other_kind(key, str(known[name]), value)
    new = _parsed(key, value, known[name])
    if name == owner.attribute_map.get(_LAYERS, _LAYERS):
        fields.update(_resized(fields, known[name], new))
    for other in _spellings(owner, name):
        fields.pop(other, None)
    fields[name] = new


def _spellings(owner: PreTrainedConfig, name: str) -> list[str]:
    """The other names under which a file may have the same field."""
    return [alias for alias, target in (*owner.attribute_map.items(), *_FORMER.items()) if target == name]


def _parsed(key: str, value: str, old: object) -> Any:
    """A value of the same type as the old one; where there was none, what JSON reads, else a text."""
    if isinstance(old, bool):
        found: Any = {"true": True, "false": False, "1": True, "0": False}.get(value.lower())
        kind = "true or false"
    elif isinstance(old, int):
        found, kind = whole_number(value), "a whole number"
    elif isinstance(old, float):
        found, kind = _json(value, (int, float)), "a number"
    elif isinstance(old, list | dict):
        found, kind = _json(value, type(old)), "a list in JSON" if isinstance(old, list) else "an object in JSON"
    elif isinstance(old, str):
        return value
    else:
        whole = whole_number(value)
        return whole if whole is not None else _loose(value)
    if found is None:
        raise UsageError(f"--set {key} can't be {value!r}: it is {kind}", hint=f"it is {json.dumps(old)[:60]} now")
    return found


def _json(value: str, kinds: type | tuple[type, ...]) -> Any:
    try:
        found = json.loads(value)
    except ValueError:
        return None
    return found if isinstance(found, kinds) and not isinstance(found, bool) else None


def _loose(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _resized(fields: Mapping[str, Any], old: object, new: int) -> Iterator[tuple[str, Any]]:
    """Every list that has an entry for each layer, for another number of them."""
    for name, value in fields.items():
        if isinstance(value, list) and value and len(value) == old and 0 <= new <= 10**5:
            period = _period(value)
            yield name, [value[index % period] if index >= len(value) else value[index] for index in range(new)]


def _period(entries: Sequence[Any]) -> int:
    """After how many entries a list begins anew; of one that doesn't, its length."""
    return next(
        length
        for length in range(1, len(entries) + 1)
        if all(entry == entries[index % length] for index, entry in enumerate(entries))
    )


def _other_kind(key: str, old: str, new: str) -> UsageError:
    return UsageError(
        f"--set {key} can't make {new} of a configuration of {old}: its other fields are those of {old}",
        hint="name a configuration or a preset of that kind; attn params --list-presets lists them",
    )


def _no_field(config: PreTrainedConfig, key: str) -> UsageError:
    names = sorted(set(_names(config)))
    near = closest(key, names)
    # A field that belongs to a part, written without it.
    inside = next((name for name in names if name.endswith(f".{key}")), None)
    meant = inside or near
    hint = f"did you mean --set {meant}=…?" if meant else "name a field of its config.json; those of parts take dots"
    return UsageError(f"{type(config).__name__} has no field {key!r}", hint=hint)


def _names(config: PreTrainedConfig, path: str = "") -> Iterator[str]:
    """Every field by its path, under all names that it has."""
    own: Iterable[str] = (*config.to_dict(), *config.attribute_map)
    yield from (f"{path}{name}" for name in own)
    for name, part in vars(config).items():
        if isinstance(part, PreTrainedConfig):
            yield from _names(part, f"{path}{name}.")
