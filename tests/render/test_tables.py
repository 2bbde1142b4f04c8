"""Tidy rows, as they are written."""

from __future__ import annotations

import json

from attncli.render.heads.tables import heads_csv, heads_jsonl
from tests.cli.samples import PATTERN, POOLED, heads_result, stack


def test_a_head_is_a_row_with_its_baselines() -> None:
    assert heads_csv(heads_result()) == (
        "stack,layer,head,name,labels,entropy,first,baseline_entropy,baseline_first\n"
        'decoder,0,0,0.0,"",0.5,0.25,0.75,0.5\n'
        "decoder,0,1,0.1,first special,,0.25,0.75,0.5\n"
        'decoder,2,0,2.0,"",0.1,0.25,,0.5\n'
    )


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
        '"entropy": null, "first": 0.25, "baseline": {"entropy": 0.75, "first": 0.5}}'
    )
    last = json.loads(lines[2])
    assert last["weights"] == [[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.5, 0.25, 0.25]]
    assert last["bins"] is None
    assert json.loads(heads_jsonl(heads_result(stack(POOLED))).splitlines()[2])["bins"] == {
        "rows": [[0, 1], [1, 3]],
        "columns": [[0, 2], [2, 3]],
    }
