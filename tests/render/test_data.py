"""JSON and CSV say exactly what the result holds, whatever the texts are; rows of heads."""

from __future__ import annotations

import csv
import io
import json
import math

from hypothesis import given
from hypothesis import strategies as st

from attncli.render.data import csv_text, json_line, json_text, jsonl_text
from attncli.render.heads.tables import heads_csv, heads_jsonl
from tests.cli.samples import PATTERN, POOLED, heads_result, stack, tokenize_result

# Lone surrogates are the broken file names of a shell: they must survive as well.
texts = st.text(st.characters(codec=None))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=8)


def test_json_is_one_line_with_the_keys_in_their_order() -> None:
    line = json_line({"b": [1, None, True], "a": "Ġmole é"})
    assert line == '{"b": [1, null, true], "a": "Ġmole é"}\n'


def test_json_is_exactly_the_dictionary_of_the_result() -> None:
    for result in (tokenize_result(), heads_result(stack(PATTERN))):
        assert json.loads(json_text(result)) == result.to_dict()


def test_json_escapes_everything_beyond_ascii_where_that_is_wished() -> None:
    assert json_line({"token": "é👍"}, ascii_only=True) == '{"token": "\\u00e9\\ud83d\\udc4d"}\n'


def test_json_has_null_for_numbers_that_are_none() -> None:
    line = json_line({"a": [math.nan, (math.inf, 1.5)], "b": {"c": -math.inf}})
    assert json.loads(line) == {"a": [None, [None, 1.5]], "b": {"c": None}}


@given(st.dictionaries(texts, values), st.booleans())
def test_json_survives_a_round_trip(value: dict[str, object], ascii_only: bool) -> None:
    line = json_line(value, ascii_only=ascii_only)
    assert json.loads(line) == value
    # What reaches a file: a lone surrogate becomes its escape, and the line stays one line.
    written = line.encode("utf-8", "backslashreplace")
    assert json.loads(written) == value
    assert written.count(b"\n") == 1
    assert written.isascii() or not ascii_only


def test_jsonl_is_an_object_a_line() -> None:
    assert jsonl_text([{"record": 0}, {"record": 1}]) == '{"record": 0}\n{"record": 1}\n'
    assert jsonl_text([]) == ""


def test_csv_quotes_what_readers_would_stumble_over() -> None:
    rows = [("a,b", 'say "hi"', "two\nlines"), ("\r", "\t", "\x85"), (None, "", math.nan), (True, 0.1, 7)]
    assert csv_text(("one", "two", "three"), rows) == (
        'one,two,three\n"a,b","say ""hi""","two\nlines"\n"\r","\t","\x85"\n,"",\ntrue,0.1,7\n'
    )


@given(st.lists(st.lists(texts, min_size=3, max_size=3), min_size=1))
def test_csv_survives_a_round_trip(rows: list[list[str]]) -> None:
    text = csv_text(("a", "b", "c"), rows)
    assert list(csv.reader(io.StringIO(text, newline=""), strict=True)) == [["a", "b", "c"], *rows]


@given(st.lists(st.tuples(st.integers(), st.floats(allow_nan=False, allow_infinity=False)), min_size=1))
def test_csv_keeps_numbers_to_the_last_bit(rows: list[tuple[int, float]]) -> None:
    read = list(csv.reader(io.StringIO(csv_text(("n", "x"), rows), newline="")))[1:]
    assert [(int(n), float(x)) for n, x in read] == rows


def test_a_cell_is_a_row_where_there_are_patterns() -> None:
    lines = heads_csv(heads_result(stack(PATTERN)), cells=True).splitlines()
    assert lines[0] == "stack,layer,head,query_index,query_token,key_index,key_token,weight"
    assert lines[4] == "decoder,2,0,1,em,0,[CLS],0.75"
    assert len(lines) == 1 + 9


def test_pooled_cells_say_what_they_stand_for() -> None:
    assert heads_csv(heads_result(stack(POOLED)), cells=True) == (
        "stack,layer,head,query_start,query_end,key_start,key_end,weight\n"
        "decoder,2,0,0,1,0,2,0.5\n"
        "decoder,2,0,0,1,2,3,0.5\n"
        "decoder,2,0,1,3,0,2,0.75\n"
        "decoder,2,0,1,3,2,3,0.25\n"
    )


def test_a_pattern_too_small_to_pool_stands_beside_pooled_ones() -> None:
    lines = heads_csv(heads_result(stack(POOLED), stack(PATTERN, name="cross")), cells=True).splitlines()
    assert lines[4:7] == [
        "decoder,2,0,1,3,2,3,0.25",
        "cross,2,0,0,1,0,1,1.0",
        "cross,2,0,0,1,1,2,0.0",
    ]


def test_a_head_is_a_line() -> None:
    lines = heads_jsonl(heads_result(stack(PATTERN))).splitlines()
    assert lines[1] == (
        '{"model": "tiny", "stack": "decoder", "name": "0.1", "layer": 0, "head": 1, "labels": ["first", "special"], '
        '"entropy": null, "first": 0.25, "token_index": null, "baseline": {"entropy": 0.75, "first": 0.5}}'
    )
    last = json.loads(lines[2])
    assert last["weights"] == [[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.5, 0.25, 0.25]]
    assert last["bins"] is None
    assert json.loads(heads_jsonl(heads_result(stack(POOLED))).splitlines()[2])["bins"] == {
        "rows": [[0, 1], [1, 3]],
        "columns": [[0, 2], [2, 3]],
    }
