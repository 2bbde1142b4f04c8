"""Results as JSON values and back, by one walk over the annotated fields of their classes.

A class is written as an object with a key per field, in their order, or with the fields and properties that its `json`
lists; `attncli.results.marks` has what else may differ. A static method `_unwritten(data)` of a class gives the fields
that aren't written, or not as they are. Imported when a result is first written or read.
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from attncli.results import marks
from attncli.results.marks import FLAT, INFINITE, OPTIONAL, PACKED, Beside, ByKey, Key, Named, Only

#: What turns a value into one for JSON, or back; None for a value that stays as it is.
Change = Callable[[Any], Any] | None

_PLAIN: Mapping[object, tuple[type, ...]] = {str: (str,), int: (int,), float: (float, int), bool: (bool,)}


#: Bytes of an unpacked array; a broken file could claim any number.
_MAX_PACKED = 1 << 24


class Field(NamedTuple):
    """A field or a property of a class.

    path: the key in the JSON, after those of the objects around it.  kind: its type.
    flat: its keys stand in the place of this one.  optional: left out where it is as by default.  beside: the name of
    a field that it is left out with.
    """

    name: str
    path: tuple[str, ...]
    kind: Any
    default: object
    flat: bool = False
    optional: bool = False
    beside: str | None = None


class Lazy:
    """Base of what stands for a class that is imported when a value of it is met."""

    place: tuple[str, str]


@cache
def _lazy_classes(module: str) -> dict[str, type]:
    names: Mapping[str, str] = getattr(sys.modules[module], "LAZY", {})
    return {name: type(name, (Lazy,), {"place": (where, name)}) for name, where in names.items()}


def _hints(owner: Any, module: str) -> dict[str, Any]:
    # What a module imports for type checkers alone.
    names = {"Annotated": Annotated, "Mapping": Mapping, "Sequence": Sequence, **vars(marks), **_lazy_classes(module)}
    return get_type_hints(owner, localns=names, include_extras=True)


def split_marks(kind: Any) -> tuple[Any, tuple[object, ...]]:
    """A type without its annotations, and these."""
    return (kind.__origin__, kind.__metadata__) if get_origin(kind) is Annotated else (kind, ())


@cache
def fields_of(cls: Any) -> tuple[Field, ...]:
    """The fields of a class, as its constructor takes them."""
    hints = _hints(cls, cls.__module__)
    members = getattr(cls, "__dataclass_fields__", None)
    names = cls._fields if members is None else members
    defaults = cls._field_defaults if members is None else {name: _default(each) for name, each in members.items()}
    return tuple(_field(name, hints[name], defaults.get(name, _ABSENT)) for name in names)


#: The default of a field without one, and what an object holds for a key that it lacks.
_ABSENT = object()


def _default(member: Any) -> object:
    """The default of a dataclass's field."""
    from dataclasses import MISSING

    if callable(member.default_factory):
        return member.default_factory()
    return _ABSENT if member.default is MISSING else member.default


@cache
def written_fields(cls: Any) -> tuple[Field, ...]:
    """The fields and properties that are in the JSON, in its order."""
    known = {field.name: field for field in fields_of(cls)}
    return tuple(known.get(name) or _property(cls, name) for name in getattr(cls, "_json", None) or known)


def _property(cls: Any, name: str) -> Field:
    member = getattr(cls, name)
    function = getattr(member, "fget", None) or member.func
    return _field(name, _hints(function, cls.__module__)["return"], None)


def _field(name: str, kind: Any, default: object) -> Field:
    bare, found = split_marks(kind)
    key = next((mark.name for mark in found if isinstance(mark, Key)), name)
    beside = next((mark.name for mark in found if isinstance(mark, Beside)), None)
    inner = tuple(mark for mark in found if mark not in (FLAT, OPTIONAL) and not isinstance(mark, Key | Beside))
    if inner:
        bare = Annotated[(bare, *inner)]
    return Field(name, tuple(key.split(".")), bare, default, FLAT in found, OPTIONAL in found, beside)


def is_struct(kind: Any) -> bool:
    """Whether a type is a class with fields."""
    names = ("_fields", "__dataclass_fields__", "place")
    return isinstance(kind, type) and any(hasattr(kind, name) for name in names)


def alternatives(kind: Any) -> tuple[tuple[Any, ...], bool]:
    """The types that a value may have, without None, and whether it may be None."""
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return tuple(each for each in members if each is not types.NoneType), types.NoneType in members


def resolve(kind: Any) -> Any:
    """A class, imported if that was put off."""
    if isinstance(kind, type) and issubclass(kind, Lazy):
        module, name = kind.place
        return getattr(import_module(f"attncli.results.{module}"), name)
    return kind


# Writing


@cache
def encoder(kind: Any) -> Change:
    """What turns a value of a type into one for JSON."""
    kind, found = split_marks(kind)
    members, nullable = alternatives(kind)
    if len(members) > 1:
        return None if all(each in _PLAIN for each in members) else to_dict
    change = _encoder(members[0], found)
    if change is None or not nullable:
        return change
    return lambda value: None if value is None else change(value)


def _encoder(kind: Any, found: tuple[object, ...]) -> Change:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _PLAIN or kind is object or origin is Literal:
        return None
    for mark in found:
        if mark is PACKED:
            return _pack
        if isinstance(mark, Named):
            return _named_encoder(mark.keys, encoder(arguments[0]) if arguments[-1] is Ellipsis else None)
        if isinstance(mark, ByKey):
            inner = encoder(arguments[1])
            return lambda value: [mark.join(key, inner(each) if inner else each) for key, each in value.items()]
        if isinstance(mark, Only):
            return lambda value: mark.select(to_dict(value))
    if is_struct(kind):
        # A text may have millions of tokens.
        return kind._asdict if _is_plain(kind) else to_dict
    if origin in (tuple, list, Sequence):
        return _for_each(encoder(arguments[0]), list)
    if origin in (dict, Mapping):
        inner = encoder(arguments[1])
        return dict if inner is None else lambda value: {key: inner(each) for key, each in value.items()}
    return _array_to_list


def _for_each(change: Change, kind: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What changes the members of a sequence, and makes a sequence of another kind of them."""
    return kind if change is None else lambda values: kind(map(change, values))


def _named_encoder(keys: Sequence[str], inner: Change) -> Change:
    def encode(values: Sequence[Any]) -> dict[str, Any] | None:
        return dict(zip(keys, values if inner is None else map(inner, values), strict=False)) or None

    return encode


def _array_to_list(array: Any) -> object:
    """An array as nested lists, with None for what JSON has no number for."""
    import numpy as np

    if array.dtype.kind == "f" and not np.isfinite(array).all():
        array = np.where(np.isfinite(array), array.astype(object), np.array(None, dtype=object))
    found: object = array.tolist()
    return found


def _pack(array: Any) -> dict[str, object]:
    import base64
    import zlib

    packed = base64.b64encode(zlib.compress(array.tobytes(), 6)).decode("ascii")
    return {"shape": list(array.shape), "zlib_base64": packed}


def to_dict(value: Any) -> dict[str, Any]:
    """A value with fields as an object for JSON."""
    cls: Any = type(value)
    return _object_encoder(cls)(value)


@cache
def _object_encoder(cls: Any) -> Callable[[Any], dict[str, Any]]:
    fields = [(field, encoder(field.kind)) for field in written_fields(cls)]

    def encode(value: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for field, change in fields:
            content = getattr(value, field.name)
            if field.optional and content is field.default:
                continue
            if field.beside is not None and getattr(value, field.beside) is None:
                continue
            if change is not None:
                content = change(content)
            if field.flat:
                found.update(_flat(field, content))
                continue
            inner = found
            for step in field.path[:-1]:
                inner = inner.setdefault(step, {})
            inner[field.path[-1]] = content
        return found

    return encode


def _is_plain(cls: Any) -> bool:
    """Whether a named tuple is written just as it is."""
    if hasattr(cls, "_json") or not hasattr(cls, "_asdict"):
        return False
    return all(_PLAIN.keys() >= {*alternatives(kind)[0]} for kind in _hints(cls, cls.__module__).values())


def _flat(field: Field, content: dict[str, Any] | None) -> dict[str, Any]:
    """The keys of a flat field; nulls where its value is None."""
    if content is not None:
        return content
    members, _ = alternatives(field.kind)
    return {each.path[0]: None for each in written_fields(members[0])}


# Reading


def from_dict(kind: Any, data: Any) -> Any:
    """The value of a type that JSON was written of. Raises KeyError, TypeError and ValueError where it isn't that."""
    change = decoder(kind)
    return data if change is None else change(data)


@cache
def decoder(kind: Any) -> Change:
    """What turns a JSON value into one of a type."""
    kind, found = split_marks(kind)
    members, nullable = alternatives(kind)
    change = _decoder(members[0], found) if len(members) == 1 else _union_decoder(members)
    if change is None or not nullable:
        return change
    return lambda data: None if data is None else change(data)


def _decoder(kind: Any, found: tuple[object, ...]) -> Change:
    kind = resolve(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is object:
        return None
    if kind in _PLAIN:
        return _checked(_PLAIN[kind], kind)
    if origin is Literal:
        return _checked((str,), str)
    for mark in found:
        if mark is PACKED:
            return lambda data: _unpack(data, array_dtype(kind))
        if isinstance(mark, Named):
            return _values_decoder(decoder(kind))
        if isinstance(mark, ByKey):
            first, second = decoder(arguments[0]), decoder(arguments[1])
            return lambda data: {
                key if first is None else first(key): value if second is None else second(value)
                for key, value in map(mark.split, data)
            }
    if is_struct(kind):
        return lambda data: _read_object(kind, data)
    if origin is tuple and arguments[-1] is not Ellipsis:
        changes = [decoder(each) for each in arguments]
        return lambda data: tuple(
            each if change is None else change(each) for each, change in zip(data, changes, strict=True)
        )
    if origin in (tuple, list, Sequence):
        change = _for_each(decoder(arguments[0]), tuple)
        return lambda data: change(_require(list, data))
    if origin in (dict, Mapping):
        inner = decoder(arguments[1])
        return lambda data: {key: each if inner is None else inner(each) for key, each in _require(dict, data).items()}
    infinite = -math.inf if INFINITE in found else math.nan
    return lambda data: _list_to_array(data, array_dtype(kind), infinite)


def _values_decoder(inner: Change) -> Change:
    assert inner is not None
    return lambda data: inner(list(data.values()))


def _checked(expected: tuple[type, ...], kind: Any) -> Callable[[Any], Any]:
    def check(data: Any) -> Any:
        if data is None and kind is float:
            return math.nan
        if not isinstance(data, expected) or (isinstance(data, bool) and kind is not bool):
            raise TypeError(f"{data!r} is not a {kind.__name__}")
        return data

    return check


def _require(kind: type, data: Any) -> Any:
    if not isinstance(data, kind):
        raise TypeError(f"{type(data).__name__} where a {kind.__name__} is expected")
    return data


def array_dtype(kind: Any) -> Any:
    """The number format of an array by its type, `ndarray[shape, dtype[float32]]`."""
    return get_args(get_args(kind)[1])[0]


def _list_to_array(data: Any, dtype: Any, missing: float) -> Any:
    import numpy as np

    array = np.array(_require(list, data), dtype=object)
    if np.issubdtype(dtype, np.floating):
        array = np.where(array == None, missing, array)  # noqa: E711 - of each element
    return array.astype(dtype)


def _unpack(data: Any, dtype: Any) -> Any:
    import base64
    import zlib

    import numpy as np

    size = math.prod(data["shape"])
    if not 0 <= size <= _MAX_PACKED:
        raise ValueError(f"{size:,} bytes are not a small picture")
    try:
        content = zlib.decompressobj().decompress(base64.b64decode(data["zlib_base64"]), size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return np.frombuffer(content, dtype).reshape(data["shape"])


def _union_decoder(members: tuple[Any, ...]) -> Change:
    """Classes of a union differ in their required keys."""
    if all(each in _PLAIN for each in members):
        return None

    def decode(data: Any) -> Any:
        fitting = [each for each in members if {field.path[0] for field in written_fields(each)} <= data.keys()]
        return _read_object(max(fitting, key=lambda each: len(written_fields(each))), data)

    return decode


def _read_object(cls: Any, data: Any) -> Any:
    _require(dict, data)
    given = cls._unwritten(data) if hasattr(cls, "_unwritten") else {}
    for field in fields_of(cls):
        if field.name in given:
            continue
        found = _content(cls, field, data)
        if found is not _ABSENT:
            given[field.name] = from_dict(field.kind, found)
        elif field.default is _ABSENT:
            raise KeyError(".".join(field.path))
    return cls(**given)


def _content(cls: Any, field: Field, data: dict[str, Any]) -> Any:
    """What stands in an object for a field."""
    if not field.flat:
        found: Any = data
        for step in field.path:
            if found is None or step not in found:
                return _ABSENT
            found = found[step]
        return found
    members, nullable = alternatives(field.kind)
    if not is_struct(members[0]):
        others = {each.path[0] for each in flat_keys(cls, field)}
        return {key: value for key, value in data.items() if key not in others}
    keys = [each.path[0] for each in written_fields(members[0]) if not each.optional and not each.flat]
    if nullable and all(data.get(key) is None for key in keys):
        return _ABSENT if field.optional else None
    return data


def flat_keys(cls: Any, mapping: Field) -> list[Field]:
    """All fields whose keys stand beside those of a flat mapping."""
    found = []
    for field in written_fields(cls):
        members, _ = alternatives(field.kind)
        if not field.flat:
            found.append(field)
        elif field.name != mapping.name:
            found += written_fields(members[0])
    return found
