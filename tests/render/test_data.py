"""JSON and CSV say exactly what the result holds, whatever the texts are; rows of heads."""

from __future__ import annotations

import csv
import io
import json
import math
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from attncli.render.data import CSV, json_line, json_text
from attncli.render.formats import FORMATS, Look, render
from attncli.render.heads.tables import heads_records, heads_table
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


def test_csv_quotes_what_readers_would_stumble_over() -> None:
    rows = [("a,b", 'say "hi"', "two\nlines"), ("a\rb", "a\tb", "\u2028"), (None, "", math.nan), (True, 0.1, 7)]
    assert CSV.text(("one", "two", "three"), rows) == (
        'one,two,three\n"a,b","say ""hi""","two\nlines"\n"a\rb","a\tb","\u2028"\n,"",\ntrue,0.1,7\n'
    )


FORMULAS = ("=1+1", "+cmd", "-", "--x", "@SUM(A1)", "\tx", "\rx", "\uff1d1", "-1-2")


def test_csv_has_no_formulas() -> None:
    assert CSV.text(["a"], [[text] for text in FORMULAS]) == "a\n" + "".join(
        f'"\'{text}"\n' if text[0] in "\t\r" else f"'{text}\n" for text in FORMULAS
    )
    # Numbers and what only holds such a character stay.
    plain = ["-5", "+1,000.5", "-1e-05", "a=1", "1-2", "##x"]
    assert CSV.text(["a"], [[text] for text in plain]).split("\n")[1:-1] == [
        f'"{text}"' if "," in text else text for text in plain
    ]
    assert CSV.text(["a"], [[-5, -0.5]]) == "a\n-5,-0.5\n"


def test_csv_has_no_invisible_characters() -> None:
    rows = [["\x1b[31m"], ["a\u202eb"], ["\x85\x00"], ["\u2066=1"]]
    assert CSV.text(["a"], rows) == "a\n\\x1b[31m\na\\u{202e}b\n\\u{85}\\x00\n\\u{2066}=1\n"
    assert json.loads(json_line({"a": "=1\u202e"})) == {"a": "=1\u202e"}


@given(st.lists(st.lists(texts, min_size=3, max_size=3), min_size=1))
def test_csv_survives_a_round_trip(rows: list[list[str]]) -> None:
    text = CSV.text(("a", "b", "c"), rows)
    read = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert read == [["a", "b", "c"], *([guarded(cell) for cell in row] for row in rows)]


def guarded(text: str) -> str:
    """What a spreadsheet may see of a text, found character by character."""
    shown = "".join(map(shown_character, text))
    mantissa, power, exponent = shown[1:].lower().partition("e")
    digits = [*mantissa.replace(",", ".").split("."), *([exponent.lstrip("+-")] if power else [])]
    is_number = shown[:1] in "+-" and all(part.isascii() and part.isdigit() for part in digits)
    is_formula = shown[:1] in tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20") and not is_number
    return f"'{shown}" if is_formula else shown


def shown_character(character: str) -> str:
    moves = unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    controls = unicodedata.category(character) == "Cc" and character not in "\t\n\r"
    if not (moves or controls or character in "\u061c\u200e\u200f"):
        return character
    return f"\\x{ord(character):02x}" if ord(character) < 128 else f"\\u{{{ord(character):x}}}"


@given(st.lists(st.tuples(st.integers(), st.floats(allow_nan=False, allow_infinity=False)), min_size=1))
def test_csv_keeps_numbers_to_the_last_bit(rows: list[tuple[int, float]]) -> None:
    read = list(csv.reader(io.StringIO(CSV.text(("n", "x"), rows), newline="")))[1:]
    assert [(int(n), float(x)) for n, x in read] == rows


def test_a_cell_is_a_row_where_there_are_patterns() -> None:
    lines = CSV.text(*heads_table(heads_result(stack(PATTERN)), cells=True)).splitlines()
    assert lines[0] == "stack,layer,head,query_index,query_token,key_index,key_token,weight"
    assert lines[4] == "decoder,2,0,1,em,0,[CLS],0.75"
    assert len(lines) == 1 + 9


def test_pooled_cells_say_what_they_stand_for() -> None:
    assert CSV.text(*heads_table(heads_result(stack(POOLED)), cells=True)) == (
        "stack,layer,head,query_start,query_end,key_start,key_end,weight\n"
        "decoder,2,0,0,1,0,2,0.5\n"
        "decoder,2,0,0,1,2,3,0.5\n"
        "decoder,2,0,1,3,0,2,0.75\n"
        "decoder,2,0,1,3,2,3,0.25\n"
    )


def test_a_pattern_too_small_to_pool_stands_beside_pooled_ones() -> None:
    lines = CSV.text(*heads_table(heads_result(stack(POOLED), stack(PATTERN, name="cross")), cells=True)).splitlines()
    assert lines[4:7] == [
        "decoder,2,0,1,3,2,3,0.25",
        "cross,2,0,0,1,0,1,1.0",
        "cross,2,0,0,1,1,2,0.0",
    ]


def test_a_head_is_a_line() -> None:
    lines = str(render(heads_result(stack(PATTERN)), FORMATS["jsonl"], Look())).splitlines()
    assert lines[1] == (
        '{"model": "tiny", "stack": "decoder", "name": "0.1", "layer": 0, "head": 1, "labels": ["first", "special"], '
        '"entropy": null, "first": 0.25, "token_index": null, "baseline": {"entropy": 0.75, "first": 0.5}}'
    )
    last = json.loads(lines[2])
    assert last["weights"] == [[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.5, 0.25, 0.25]]
    assert last["bins"] is None
    assert list(heads_records(heads_result(stack(POOLED))))[2]["bins"] == {
        "rows": [[0, 1], [1, 3]],
        "columns": [[0, 2], [2, 3]],
    }
