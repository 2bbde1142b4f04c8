"""The JSON Schema (2020-12) of what each verb writes, by the same fields that the JSON is written by.

`python -m attncli.results.schema` writes the files that the package holds, `schemas/<verb>.json`. In each, `$defs/line`
is the schema of a line of `--format jsonl`.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from attncli.results.compare import CompareResult, OccurrenceLine
from attncli.results.heads import HeadLine, HeadsResult
from attncli.results.marks import FLAT, OPTIONAL, PACKED, ByKey, Named, Only
from attncli.results.params import ListedPreset, ModelParameters, ParamsResult
from attncli.results.statistics import TokenizerStatistics
from attncli.results.tokenize import TokenizedText, TokenizeResult
from attncli.results.vocabulary import VocabularyEntry
from attncli.results.walk import Field, alternatives, array_dtype, is_struct, resolve, split_marks, written_fields

FOLDER = Path(__file__).parent / "schemas"

Schema = dict[str, Any]

_TYPES: Mapping[object, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
#: By the kinds of NumPy's number formats. Null stands for NaN and infinity.
_ARRAY_TYPES: Mapping[str, tuple[str, list[str]]] = {
    "f": ("numbers", ["number", "null"]),
    "i": ("integers", ["integer"]),
    "b": ("booleans", ["boolean"]),
}
_NULL: Schema = {"type": "null"}


class IdsLine(NamedTuple):
    """The ids of a text, with `--ids`. model: where there are several."""

    record: int
    model: Annotated[str | None, OPTIONAL]
    ids: tuple[int, ...]


class CountLine(NamedTuple):
    """The number of tokens of a text, with `--count`. model: where there are several."""

    record: int
    model: Annotated[str | None, OPTIONAL]
    count: int  # type: ignore[assignment]  # shadows the method of tuples


class EntryLine(NamedTuple):
    """An entry of a vocabulary, with `--vocab`.

    search, match: the text that was searched, and how the entry matches it.
    """

    model: str
    search: Annotated[str | None, OPTIONAL]
    match: Annotated[str | None, OPTIONAL]
    entry: Annotated[VocabularyEntry, FLAT]


#: By verb: the class of its result, and those of a line of JSON Lines.
_CLASSES: Mapping[str, tuple[Any, Sequence[Any]]] = {
    "compare": (CompareResult, (OccurrenceLine,)),
    "heads": (HeadsResult, (HeadLine,)),
    "params": (ParamsResult, (ModelParameters, ListedPreset)),
    "tokenize": (TokenizeResult, (TokenizedText, IdsLine, CountLine, EntryLine, TokenizerStatistics)),
}


def json_schema(verb: str) -> Schema:
    """The schema of the JSON of a verb."""
    result, lines = _CLASSES[verb]
    writer = _Writer()
    whole = writer.schema(result)
    line = writer.any_of([writer.schema(each) for each in lines])
    if verb == "tokenize":
        bare = [writer.schema(each) for each in (IdsLine, CountLine)]
        texts = writer.definitions["TokenizeResult"]["properties"]["texts"]
        texts["items"] = writer.any_of([texts["items"], *bare])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"attn {verb} --json",
        **whole,
        "$defs": {"line": line, **dict(sorted(writer.definitions.items()))},
    }


class _Shape(NamedTuple):
    """An object: its properties, those that are always there, and the schema of keys that can't be listed."""

    properties: Schema
    required: frozenset[str]
    others: Schema | bool = False

    def joined(self, other: _Shape) -> _Shape:
        properties = dict(self.properties)
        for key, schema in other.properties.items():
            before = properties.get(key)
            properties[key] = schema if before is None else _joined_objects(before, schema)
        others = [each for each in (self.others, other.others) if isinstance(each, dict)]
        joined: Schema | bool = {"anyOf": others} if len(others) > 1 else next(iter(others), False)
        return _Shape(properties, self.required | other.required, joined)

    def schema(self) -> Schema:
        required = [key for key in self.properties if key in self.required]
        head = {"type": "object", "properties": self.properties, "required": required}
        return {**head, "additionalProperties": self.others}


def _joined_objects(first: Schema, second: Schema) -> Schema:
    """The schema of an object that two fields write into; else the later one's."""
    if "properties" not in first or "properties" not in second:
        return second
    return {
        **first,
        "properties": first["properties"] | second["properties"],
        "required": [*first["required"], *second["required"]],
    }


class _Writer:
    """Writes schemas of types, and collects those of classes."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._names: dict[Any, str] = {}

    def schema(self, kind: Any) -> Schema:
        """The schema of a type."""
        kind, marks = split_marks(kind)
        members, nullable = alternatives(kind)
        found = self.any_of([self._schema(resolve(each), marks) for each in members])
        variable = any(isinstance(mark, Named) for mark in marks) and get_args(members[0])[-1] is Ellipsis
        return _nullable(found) if nullable or variable else found

    def any_of(self, schemas: Sequence[Schema]) -> Schema:
        return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}

    def _schema(self, kind: Any, marks: tuple[object, ...]) -> Schema:
        origin, arguments = get_origin(kind), get_args(kind)
        if kind in _TYPES:
            return {"type": _TYPES[kind]}
        if kind is object:
            return {}
        if origin is Literal:
            return {"const": arguments[0]} if len(arguments) == 1 else {"enum": list(arguments)}
        if PACKED in marks:
            sides = {"type": "array", "items": {"type": "integer"}}
            packed = {"shape": sides, "zlib_base64": {"type": "string"}}
            return _Shape(packed, frozenset(packed)).schema()
        for mark in marks:
            if isinstance(mark, Named):
                return self._named(mark, arguments)
            if isinstance(mark, ByKey):
                return {"type": "array", "items": self._entry(mark, *arguments)}
            if isinstance(mark, Only):
                (shape_,) = self._shapes(kind)
                return _Shape({key: shape_.properties[key] for key in mark.keys}, frozenset(mark.keys)).schema()
        if is_struct(kind):
            return self._reference(kind)
        if origin is tuple and arguments[-1] is not Ellipsis:
            return _fixed_array([self.schema(each) for each in arguments])
        if origin in (tuple, list, Sequence):
            return {"type": "array", "items": self.schema(arguments[0])}
        if origin in (dict, Mapping):
            return {"type": "object", "additionalProperties": self.schema(arguments[1])}
        return self._array(array_dtype(kind))

    def _named(self, mark: Named, arguments: tuple[Any, ...]) -> Schema:
        kinds = arguments[:1] * len(mark.keys) if arguments[-1] is Ellipsis else arguments
        properties = {key: self.schema(kind) for key, kind in zip(mark.keys, kinds, strict=True)}
        return _Shape(properties, frozenset(mark.keys)).schema()

    def _entry(self, mark: ByKey, key: Any, value: Any) -> Schema:
        start = _Shape({mark.key: self.schema(key)}, frozenset((mark.key,)))
        if mark.value is not None:
            return start.joined(_Shape({mark.value: self.schema(value)}, frozenset((mark.value,)))).schema()
        if is_struct(value):
            return self.any_of([start.joined(shape).schema() for shape in self._shapes(value)])
        return start._replace(others=self.schema(get_args(value)[1])).schema()

    def _array(self, dtype: Any) -> Schema:
        """A nested list of numbers, of any depth."""
        import numpy as np

        name, types = _ARRAY_TYPES[np.dtype(dtype).kind]
        reference = {"$ref": f"#/$defs/{name}"}
        member: Schema = {"type": types[0] if len(types) == 1 else types}
        self.definitions[name] = {"type": "array", "items": {"anyOf": [member, reference]}}
        return reference

    def _reference(self, cls: Any) -> Schema:
        if cls not in self._names:
            name = cls.__name__
            if name in self.definitions:
                name = f"{cls.__module__.rpartition('.')[2]}.{name}"
            self._names[cls] = name
            self.definitions[name] = {}
            found = self.any_of([shape.schema() for shape in self._shapes(cls)])
            self.definitions[name].update({"description": _descriptions(cls)[""], **found})
        return {"$ref": f"#/$defs/{self._names[cls]}"}

    def _shapes(self, cls: Any) -> list[_Shape]:
        """The objects that a class may be written as: several where a flat field has one of several classes."""
        found = [_Shape({}, frozenset())]
        texts = _descriptions(cls)
        for field in written_fields(cls):
            added = self._flat(field) if field.flat else [self._property(field, texts.get(field.name))]
            found = [one.joined(other) for one in found for other in added]
        return found

    def _flat(self, field: Field) -> list[_Shape]:
        kind, marks = split_marks(field.kind)
        members, nullable = alternatives(kind)
        if not is_struct(members[0]):
            return [_Shape({}, frozenset(), self.schema(get_args(members[0])[1]))]
        found = [shape for each in members for shape in self._shapes(each)]
        selected = next((mark.keys for mark in marks if isinstance(mark, Only)), None)
        if selected is not None:
            found = [_Shape({key: shape.properties[key] for key in selected}, frozenset(selected)) for shape in found]
        if field.optional:
            return [shape._replace(required=frozenset()) for shape in found]
        if nullable:
            return [
                shape._replace(properties={key: _nullable(each) for key, each in shape.properties.items()})
                for shape in found
            ]
        return found

    def _property(self, field: Field, text: str | None) -> _Shape:
        found = self.schema(field.kind)
        if text is not None:
            found = {"description": text, **found}
        required = not field.optional and field.beside is None
        for step in reversed(field.path):
            shape = _Shape({step: found}, frozenset((step,) if required else ()))
            found = shape.schema()
        return shape


def _nullable(schema: Schema) -> Schema:
    """The schema of a value that may be None."""
    kind = schema.get("type")
    if isinstance(kind, str) and "enum" not in schema:
        return {**schema, "type": [kind, "null"]}
    if isinstance(kind, list) or not schema:
        return schema
    text = {"description": schema["description"]} if "description" in schema else {}
    bare = {key: each for key, each in schema.items() if key != "description"}
    return {**text, "anyOf": [*bare.get("anyOf", [bare]), _NULL]}


def _fixed_array(members: list[Schema]) -> Schema:
    size = {"minItems": len(members), "maxItems": len(members)}
    if all(each == members[0] for each in members):
        return {"type": "array", "items": members[0], **size}
    return {"type": "array", "prefixItems": members, "items": False, **size}


# Descriptions

_NAMES = re.compile(r"(?:^|  |\. )(\w+(?:, \w+)*)(?:\[\w\]\[\w\])?: ", re.MULTILINE)


def _descriptions(cls: Any) -> dict[str, str]:
    """What the docstring of a class says of it, under "", and of its fields: `name: text.  name, name: text.`"""
    text = inspect.cleandoc(cls.__doc__)
    names = {field.name for field in written_fields(cls)}
    starts = [found for found in _NAMES.finditer(text) if names.issuperset(found[1].split(", "))]
    found = {"": text[: starts[0].start(1) if starts else None].partition("\n\n")[0]}
    for one, following in zip_longest(starts, starts[1:]):
        end = None if following is None else following.start(1)
        found |= dict.fromkeys(one[1].split(", "), text[one.end() : end])
    return {name: " ".join(words.split()) for name, words in found.items()}


def schema_text(verb: str) -> str:
    """The schema as it is in its file: a line for each definition."""
    schema = json_schema(verb)
    definitions = ",\n".join(f" {_json({name: each})[1:-1]}" for name, each in schema.pop("$defs").items())
    return f'{_json(schema)[:-1]}, "$defs": {{\n{definitions}\n}}}}\n'


def _json(value: Schema) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for verb in _CLASSES:
        (FOLDER / f"{verb}.json").write_text(schema_text(verb), encoding="utf-8", newline="\n")
