"""`--set key=value`: changing fields of a model's configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from transformers import PreTrainedConfig

from attncli.errors import UsageError
from attncli.models.loading.config_changes import (
    MODEL_TYPE,
    RENAMED_FIELDS,
    check_model_type,
    parse_value,
    split_change,
    unknown_field_error,
)
from attncli.models.loading.configuration import CONFIGURATION_ERRORS
from attncli.models.loading.library_errors import library_errors

_LAYER_COUNT = "num_hidden_layers"


def override_fields(config: PreTrainedConfig, fields: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A configuration's fields with `changes` applied, each `key=value`; keys of sub-configurations have dots.

    fields: the content of config.json, so that fields that are computed from others follow the new values. If the
    number of layers changes, lists with one entry per layer continue their pattern.
    Raises UsageError for an unknown key and for a value of another type.
    """
    raw = deepcopy(dict(fields))
    for change in changes:
        _apply_change(config, raw, *split_change(change))
    return raw


def rebuild_config(config: PreTrainedConfig, fields: Mapping[str, Any]) -> PreTrainedConfig:
    """A configuration of the same class with other fields. Raises UsageError if the class rejects them."""
    what = f"{type(config).__name__} doesn't accept the values of --set"
    hint = "change the fields that it mentions together, or choose another value"
    with library_errors(what, hint, raised=UsageError, catch=CONFIGURATION_ERRORS):
        return type(config).from_dict(deepcopy(dict(fields)))


def _apply_change(config: PreTrainedConfig, raw: dict[str, Any], key: str, value: str) -> None:
    """Write one value into the fields, under the name that the configuration class uses."""
    owner, fields = config, raw
    *parts, field = key.split(".")
    for part in parts:
        inner = vars(owner).get(part)
        if not isinstance(inner, PreTrainedConfig):
            raise _unknown_field_error(config, key)
        owner, fields = inner, fields.setdefault(part, {})
    name = owner.attribute_map.get(field, RENAMED_FIELDS.get(field, field))
    known = owner.to_dict()
    if name not in known:
        raise _unknown_field_error(config, key)
    if name == MODEL_TYPE:
        check_model_type(key, value, known[name])
    new = parse_value(key, value, known[name])
    if name == owner.attribute_map.get(_LAYER_COUNT, _LAYER_COUNT):
        fields.update(_resize_layer_lists(fields, known[name], new))
    # The other names that it may have in a file.
    for alias, target in (*owner.attribute_map.items(), *RENAMED_FIELDS.items()):
        if target == name:
            fields.pop(alias, None)
    fields[name] = new


def _resize_layer_lists(fields: Mapping[str, Any], old: object, new: int) -> Iterator[tuple[str, Any]]:
    """The lists with one entry per layer, resized to another number of layers."""
    for name, value in fields.items():
        if isinstance(value, list) and value and len(value) == old and 0 <= new <= 10**5:
            # The smallest number of entries after which the list repeats; at most its length.
            period = next(
                n for n in range(1, len(value) + 1) if all(each == value[i % n] for i, each in enumerate(value))
            )
            yield name, [value[index % period] if index >= len(value) else value[index] for index in range(new)]


def _unknown_field_error(config: PreTrainedConfig, key: str) -> UsageError:
    names = sorted(set(_field_paths(config)))
    # A field of a sub-configuration, written without its path.
    nested = [name for name in names if name.endswith(f".{key}")]
    return unknown_field_error(type(config).__name__, key, names, nested)


def _field_paths(config: PreTrainedConfig, path: str = "") -> Iterator[str]:
    """The paths of all fields, including alternative names."""
    own: Iterable[str] = (*config.to_dict(), *config.attribute_map)
    yield from (f"{path}{name}" for name in own)
    for name, part in vars(config).items():
        if isinstance(part, PreTrainedConfig):
            yield from _field_paths(part, f"{path}{name}.")
