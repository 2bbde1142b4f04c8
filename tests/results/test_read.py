"""Reading a saved result: what comes back, and what a file that is none says. `tests/golden` compares what it shows."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

import attncli
from attncli.render.data import json_text
from attncli.results.base import from_dict, struct
from attncli.results.marks import FLAT, INFINITE, OPTIONAL, PACKED, Beside, ByKey, Key, Named, Only
from attncli.results.struct import Struct
from tests.results.test_schemas import RESULTS


@pytest.mark.parametrize("verb", RESULTS)
def test_a_saved_result_is_saved_again_as_it_was(verb: str, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    saved.write_text(json_text(RESULTS[verb]), encoding="utf-8")
    again = attncli.read(saved)
    assert type(again) is type(RESULTS[verb])
    assert json_text(again) == json_text(RESULTS[verb])


# What is no result


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "isn't JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[" * 100_000, "isn't JSON: "),
        ("[1]", "is not a result of attn: it has no known schema"),
        ('{"schema": "attncli.lens/1"}', "is not a result of attn: it has no known schema"),
        (
            '{"schema": "attncli.heads/9"}',
            "has the format 9 of attn heads, and this version of attn reads attncli.heads/1",
        ),
        ('{"schema": "attncli.heads/1", "texts": 1, "stacks": []}', "is not a complete result: 'model' is missing"),
        (
            '{"schema": "attncli.tokenize/1", "texts": [{"record": 0, "ids": [5]}]}',
            "contains only ids or counts, which can't be shown as a result",
        ),
    ],
)
def test_a_file_that_is_no_result(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(attncli.FailedError) as raised:
        attncli.read(path)
    assert raised.value.message.startswith(f"{path} {message}")
    assert raised.value.exit_code == 1
    assert raised.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(attncli.FailedError, match="No such file"):
        attncli.read(str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(made_by=5),
        lambda data: data.update(model=5),
        lambda data: data.update(chosen=1),
        lambda data: data.update(warnings="one"),
        lambda data: data["stacks"][0].update(
            patterns=[{"layer": 0, "head": 0, "weights": [[1], [1, 2]], "bins": None}]
        ),
        lambda data: data["stacks"][0]["patterns"][0].update(weights=[[1.0]]),
        lambda data: data.update(picture={"pixels": {"shape": [1, 1, 3], "zlib_base64": "AAAA"}}),
        lambda data: data.update(picture={"pixels": {"shape": [1 << 20, 1 << 20, 3], "zlib_base64": ""}}),
        lambda data: data["stacks"][0]["queries"][0].update(index="first"),
    ],
)
def test_values_of_another_type(change: Callable[[Any], object], tmp_path: Path) -> None:
    data = json.loads(json_text(RESULTS["heads"]))
    change(data)
    path = tmp_path / "saved.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(attncli.FailedError, match="is not a valid result: "):
        attncli.read(path)


# The ways to write a field


class Part(NamedTuple):
    left: int
    right: str = "x"


@struct("first even")
class Number(NamedTuple):
    first: int

    @property
    def even(self) -> Annotated[bool, Key("is.even")]:
        return self.first % 2 == 0


class Whole(Struct):
    renamed: Annotated[int, Key("deep.inside")]
    beside: Annotated[int, Key("deep.too")]
    part: Annotated[Part | None, FLAT]
    values: Annotated[Mapping[str, float | None], FLAT]
    by_layer: Annotated[Mapping[int, Mapping[str, int]], ByKey("layer")]
    ratios: Annotated[Mapping[str, float | None], ByKey("name", "ratio")]
    change: Annotated[tuple[int, str], Named(("step", "text"))]
    short: Annotated[Part, Only(("left",))]
    number: Number
    scores: Annotated[npt.NDArray[np.float64], INFINITE]
    packed: Annotated[npt.NDArray[np.uint8], PACKED]
    lines: Annotated[tuple[int | None, ...] | None, OPTIONAL] = None
    line: Annotated[int | None, Beside("lines")] = None


def whole(**changes: Any) -> Whole:
    fields: dict[str, Any] = {
        "renamed": 1,
        "beside": 2,
        "part": Part(3, "r"),
        "values": {"a": None, "b": 0.5},
        "by_layer": {4: {"n": 1}},
        "ratios": {"Latin": 1.5},
        "change": (0, "t"),
        "short": Part(5),
        "number": Number(6),
        "scores": np.array([0.5, -np.inf]),
        "packed": np.arange(6, dtype=np.uint8).reshape(1, 2, 3),
    }
    return Whole(**{**fields, **changes})


WRITTEN = {
    "deep": {"inside": 1, "too": 2},
    "left": 3,
    "right": "r",
    "a": None,
    "b": 0.5,
    "by_layer": [{"layer": 4, "n": 1}],
    "ratios": [{"name": "Latin", "ratio": 1.5}],
    "change": {"step": 0, "text": "t"},
    "short": {"left": 5},
    "number": {"first": 6, "is": {"even": True}},
    "scores": [0.5, None],
    "packed": {"shape": [1, 2, 3], "zlib_base64": base64.b64encode(zlib.compress(bytes(range(6)))).decode()},
}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (whole(), WRITTEN),
        (whole(part=None), {**WRITTEN, "left": None, "right": None}),
        (whole(lines=()), {**WRITTEN, "lines": [], "line": None}),
        (whole(lines=(None, 2), line=2), {**WRITTEN, "lines": [None, 2], "line": 2}),
    ],
)
def test_marks(value: Whole, written: dict[str, Any]) -> None:
    assert value.to_dict() == written
    assert list(value.to_dict()) == list(written)
    again = from_dict(Whole, json.loads(json.dumps(written)))
    assert again.to_dict() == written
    assert again.scores.tolist() == [0.5, -np.inf]
    assert again.packed.dtype == np.uint8
    assert (again.part, again.by_layer, again.line) == (value.part, value.by_layer, value.line)


def test_what_an_older_version_did_not_save_is_as_by_default() -> None:
    assert from_dict(Part, {"left": 1, "new": 2}) == Part(1)
