"""The JSON of every command against the schema of its verb."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from tests.golden.attn import package_files

#: A list of numbers is checked so far.
_MOST_NUMBERS = 12


def validate(verb: str, form: str, content: str) -> None:
    """Raise ValidationError for JSON, or a line of JSON Lines, that its schema doesn't allow."""
    if form == "json":
        _validator(verb).validate(_shortened(json.loads(content)))
    elif form == "jsonl":
        for line in content.splitlines():
            _validator(verb, "line").validate(_shortened(json.loads(line)))


@cache
def _validator(verb: str, definition: str | None = None) -> Draft202012Validator:
    (path,) = [path for path in package_files(".json") if path.parts[-2:] == ("schemas", f"{verb}.json")]
    schema = json.loads(path.read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    if definition is not None:
        schema["$ref"] = f"#/$defs/{definition}"
    return Draft202012Validator(schema)


def _shortened(value: Any) -> Any:
    """Without most of the numbers, which take long to check."""
    if isinstance(value, dict):
        return {key: _shortened(each) for key, each in value.items()}
    if isinstance(value, list):
        if len(value) > _MOST_NUMBERS and all(isinstance(each, int | float | None) for each in value):
            return value[:_MOST_NUMBERS]
        return [_shortened(each) for each in value]
    return value
