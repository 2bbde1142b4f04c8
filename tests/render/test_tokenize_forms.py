"""Forms that are written text by text."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from attncli.render.common.terminal import Terminal
from attncli.render.data import CSV
from attncli.render.npz import IdsForm
from attncli.render.tokenize.forms import (
    CountText,
    Detail,
    Form,
    IdsText,
    JsonForm,
    JsonLinesForm,
    PartsForm,
    TableForm,
)
from attncli.render.tokenize.picture import text_picture
from attncli.render.tokenize.text import RecordText
from attncli.results.tokenize import IdsPart, Record, TokenizeResult
from tests.cli.samples import tokenize_result, tokenized


def written(form: Form, result: TokenizeResult) -> str:
    """Everything that a form writes for a result, texts of one record together."""
    records: dict[int, Record] = {}
    for text in result.texts:
        record = records.get(text.record, Record(text.record, ()))
        records[text.record] = record._replace(texts=(*record.texts, text))
    parts = [form.start(), *map(form.record, records.values()), *form.end(result._replace(texts=()))]
    return "".join(part for part in parts if isinstance(part, str))


def tokenize_csv(result: TokenizeResult, view: Detail = "tokens") -> str:
    return written(TableForm(CSV, view, several=result is TWO_MODELS), result)


def tokenize_jsonl(result: TokenizeResult, view: Detail = "tokens") -> str:
    return written(JsonLinesForm(view, several=result is TWO_MODELS, ascii_only=False), result)


def tokenize_json(result: TokenizeResult, view: Detail = "tokens", *, ascii_only: bool = False) -> str:
    return written(JsonForm(view, several=result is TWO_MODELS, ascii_only=ascii_only), result)


TWO_TEXTS = tokenize_result(tokenized(0), tokenized(1))
TWO_MODELS = tokenize_result(tokenized(0, "bert"), tokenized(0, "gpt2"))


def test_ids_and_counts_alone_as_rows() -> None:
    assert tokenize_csv(tokenize_result(), "ids") == "record,index,id\n0,0,101\n0,1,7861\n0,2,8270\n"
    assert tokenize_csv(TWO_TEXTS, "count") == "record,count\n0,3\n1,3\n"
    assert tokenize_csv(TWO_MODELS, "count") == "record,model,count\n0,bert,3\n0,gpt2,3\n"


def test_a_text_is_a_line() -> None:
    lines = tokenize_jsonl(TWO_TEXTS).splitlines()
    assert [json.loads(line) for line in lines] == [text.to_dict() for text in TWO_TEXTS.texts]


def test_ids_and_counts_alone_as_lines() -> None:
    assert tokenize_jsonl(TWO_TEXTS, "ids") == (
        '{"record": 0, "ids": [101, 7861, 8270]}\n{"record": 1, "ids": [101, 7861, 8270]}\n'
    )
    assert tokenize_jsonl(tokenize_result(), "count") == '{"record": 0, "count": 3}\n'
    assert tokenize_jsonl(TWO_MODELS, "ids").splitlines()[1] == (
        '{"record": 0, "model": "gpt2", "ids": [101, 7861, 8270]}'
    )


def test_ids_alone_keep_the_frame_of_the_json() -> None:
    content = json.loads(tokenize_json(tokenize_result(warnings=("careful",)), "ids"))
    assert content["schema"] == "attncli.tokenize/1"
    assert content["warnings"] == ["careful"]
    assert content["texts"] == [{"record": 0, "ids": [101, 7861, 8270]}]


def test_everything_is_the_json_of_the_result() -> None:
    assert json.loads(tokenize_json(TWO_MODELS)) == TWO_MODELS.to_dict()
    assert tokenize_json(TWO_MODELS, ascii_only=True).isascii()


PARTS = [
    IdsPart(0, "bert", [5, 6], last=False),
    IdsPart(0, "bert", [], first=False, last=False),
    IdsPart(0, "bert", [7], first=False),
    IdsPart(1, "bert", [8]),
]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (IdsText(), "5 6 7\n8\n"),
        (CountText(), "3\n1\n"),
        (
            JsonLinesForm("ids", several=False, ascii_only=False),
            '{"record": 0, "ids": [5, 6, 7]}\n{"record": 1, "ids": [8]}\n',
        ),
        (
            JsonLinesForm("count", several=True, ascii_only=False),
            '{"record": 0, "model": "bert", "count": 3}\n{"record": 1, "model": "bert", "count": 1}\n',
        ),
        (TableForm(CSV, "ids", several=False), "record,index,id\n0,0,5\n0,1,6\n0,2,7\n1,0,8\n"),
        (TableForm(CSV, "count", several=False), "record,count\n0,3\n1,1\n"),
    ],
)
def test_a_text_may_come_in_parts(form: Form, expected: str) -> None:
    assert form.bare
    assert form.start() + "".join(map(form.part, PARTS)) == expected


def test_parts_in_json_make_the_same_object() -> None:
    form = JsonForm("ids", several=False, ascii_only=False)
    content = (
        form.start()
        + "".join(map(form.part, PARTS))
        + "".join(map(str, form.end(tokenize_result()._replace(texts=()))))
    )
    assert json.loads(content)["texts"] == [{"record": 0, "ids": [5, 6, 7]}, {"record": 1, "ids": [8]}]


def test_parts_in_an_npz() -> None:
    form = IdsForm()
    assert "".join(map(form.part, PARTS)) == ""
    content = b"".join(part for part in form.end(tokenize_result()) if isinstance(part, bytes))
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        assert {name: archive[name].tolist() for name in archive.files} == {
            "ids": [5, 6, 7, 8],
            "lengths": [3, 1],
            "offsets": [0, 3],
        }
        assert {archive[name].dtype for name in archive.files} == {np.dtype("int64")}


def test_a_part_that_no_text_came_in_leaves_a_line() -> None:
    assert IdsText().part(IdsPart(0, "bert", ())) == "\n"


def test_bare_numbers_of_several_models_are_named() -> None:
    ids, count = IdsText(several=True), CountText(several=True)
    for form, expected in ((ids, "5 6\tbert\n8\ta\\x1bb\n"), (count, "2\tbert\n1\ta\\x1bb\n")):
        assert form.part(IdsPart(0, "bert", (5, 6))) + form.part(IdsPart(0, "a\x1bb", (8,))) == expected


def test_a_blank_line_stands_between_two_pictures() -> None:
    terminal = Terminal()
    picture = text_picture(tokenized(0), terminal, count=2)
    assert (
        written(RecordText(terminal, count=2), TWO_TEXTS)
        == f"{picture}\n{text_picture(tokenized(1), terminal, count=2)}"
    )
    assert not isinstance(RecordText(terminal), PartsForm)
