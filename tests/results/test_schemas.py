"""The JSON Schemas that the package holds; `tests/golden` checks what every command writes against them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from attncli.render.data import json_text
from attncli.results.schema import FOLDER, schema_text
from tests.cli.samples import PATTERN, heads_result, stack, tokenize_result
from tests.render.compare_samples import compare_result
from tests.render.params_samples import result as params_result

RESULTS = {
    "compare": compare_result(),
    "heads": heads_result(stack(PATTERN)),
    "params": params_result(),
    "tokenize": tokenize_result(),
}


@pytest.mark.parametrize("verb", RESULTS)
def test_the_files_are_current(verb: str) -> None:
    mended_by = "python -m attncli.results.schema"
    assert (FOLDER / f"{verb}.json").read_text("utf-8") == schema_text(verb), mended_by
    Draft202012Validator.check_schema(json.loads(schema_text(verb)))


def errors(verb: str, data: Any) -> list[str]:
    found = Draft202012Validator(json.loads((FOLDER / f"{verb}.json").read_text("utf-8"))).iter_errors(data)
    return [error.json_path for error in found]


@pytest.mark.parametrize("verb", RESULTS)
def test_a_result_is_as_its_schema_says(verb: str) -> None:
    assert errors(verb, json.loads(json_text(RESULTS[verb]))) == []


@pytest.mark.parametrize(
    ("verb", "change", "place"),
    [
        ("heads", lambda data: data.update(schema="attncli.heads/2"), "$.schema"),
        ("heads", lambda data: data.update(moddel="bert"), "$"),
        ("heads", lambda data: data["made_by"].pop("torch"), "$.made_by"),
        (
            "heads",
            lambda data: data["stacks"][0]["metrics"][0].update(entropy="high"),
            "$.stacks[0].metrics[0].entropy",
        ),
        ("heads", lambda data: data["stacks"][0]["patterns"][0].update(weights=[["0.5"]]), "$.stacks[0].patterns[0]"),
        ("heads", lambda data: data["stacks"][0]["axes"].pop("keys"), "$.stacks[0].axes"),
        ("compare", lambda data: data["states"][0].update(chosen=None), "$.states[0].chosen"),
        ("compare", lambda data: data["occurrences"][0].update(start=0.5), "$.occurrences[0].start"),
        ("params", lambda data: data["models"][0]["components"][0].pop("share"), "$.models[0]"),
        ("params", lambda data: data["models"][0].update(notes=None), "$.models[0]"),
        ("tokenize", lambda data: data["texts"][0]["tokens"][0].update(id="7"), "$.texts[0]"),
        ("tokenize", lambda data: data.pop("texts"), "$"),
    ],
)
def test_what_is_wrong_is_found(verb: str, change: Callable[[Any], object], place: str) -> None:
    data = json.loads(json_text(RESULTS[verb]))
    change(data)
    (found,) = errors(verb, data)
    assert found.startswith(place)


def test_descriptions_are_those_of_the_docstrings() -> None:
    schema = json.loads(schema_text("heads"))["$defs"]
    assert (
        schema["HeadsResult"]["description"] == "The attention of a model's heads on one text, or its mean over many."
    )
    assert schema["Generated"]["properties"]["text"]["description"] == "None without a tokenizer."
