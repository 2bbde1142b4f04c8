"""Pages and figures from the command line: which patterns they want, their titles, and what is missing for them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Recorder, attn
from tests.cli.samples import PATTERN, heads_result, stack

PICTURES = ("html", "npz", "svg", "pdf", "png")


@pytest.mark.parametrize("ending", PICTURES)
def test_a_picture_wants_all_patterns_where_no_heads_are_chosen(ending: str, heads: Recorder, tmp_path: Path) -> None:
    if ending not in ("html", "npz"):
        pytest.importorskip("matplotlib")
    name = str(tmp_path / f"x.{ending}")
    for options in ((), ("-l", "3"), ("-H", "3.1")):
        outcome = attn("heads", "hi", "-o", name, *options)
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (0, b"", 1)
        assert outcome.err.startswith(f"wrote {name}, ")
    assert [call["patterns"] for call in heads.calls] == [True, False, False]


def test_patterns_for_a_page_stay_out_of_the_data_beside_it(heads: Recorder, tmp_path: Path) -> None:
    heads.result = heads_result(stack(PATTERN))
    page, data = tmp_path / "x.html", tmp_path / "x.json"
    attn("heads", "hi", "-o", str(page), "-o", str(data))
    assert json.loads(data.read_text("utf-8"))["stacks"][0]["patterns"] == []
    attn("heads", "hi", "-o", str(page), "-o", str(data), "--patterns")
    assert json.loads(data.read_text("utf-8"))["stacks"][0]["patterns"] != []


def test_a_picture_of_many_texts_wants_none(heads: Recorder, tmp_path: Path) -> None:
    attn("heads", "--lines", "-o", str(tmp_path / "x.html"), stdin="one\ntwo\n")
    attn("heads", "--probe", "-o", str(tmp_path / "x.html"))
    assert [call["patterns"] for call in heads.calls] == [False, False]


def test_what_is_compared_has_patterns_where_they_are_asked_for(heads: Recorder, tmp_path: Path) -> None:
    path = str(tmp_path / "x.html")
    attn("heads", "hi", "--against", "ho", "-o", path)
    attn("heads", "hi", "-m", "a", "-m", "b", "-o", path)
    attn("heads", "hi", "--against", "ho", "-o", path, "--patterns")
    assert [call["patterns"] for call in heads.calls] == [False, False, True]


def test_the_map_of_a_metric_needs_no_patterns(heads: Recorder, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    attn("heads", "hi", "--metric", "first", "-o", str(tmp_path / "x.svg"))
    assert heads.call["patterns"] is False
    assert "first: weight on the first token" in (tmp_path / "x.svg").read_text("utf-8")


@pytest.mark.parametrize("verb", ["heads", "params", "compare", "tokenize"])
def test_a_title_stands_above_the_page(
    verb: str, heads: Recorder, params: Recorder, compare: Recorder, tokenize: Recorder, tmp_path: Path
) -> None:
    given = {"params": ("gpt2",), "compare": ("mole", "A mole dug")}.get(verb, ("hi",))
    path = tmp_path / "x.html"
    assert attn(verb, *given, "-o", str(path), "--title", "A <b>title</b>").code == 0
    assert "<title>A &lt;b&gt;title&lt;/b&gt;</title>" in path.read_text("utf-8")


def test_a_title_stands_above_the_figure(compare: Recorder, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "x.svg"
    assert attn("compare", "mole", "A mole dug", "-o", str(path), "--title", "Moles").code == 0
    assert ">Moles</text>" in path.read_text("utf-8")


@pytest.mark.parametrize(("verb", "ending"), [("heads", "svg"), ("heads", "pdf"), ("compare", "png")])
def test_what_is_missing_for_a_figure_is_said_before_any_work(
    verb: str, ending: str, heads: Recorder, compare: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))
    outcome = attn(verb, "hi", "A hi", "-o", str(tmp_path / f"x.{ending}"))
    assert outcome.code == 1
    assert outcome.error == (
        f".{ending} is drawn by matplotlib, which is not installed",
        "pip install 'attncli[figures]'",
    )
    assert heads.calls == compare.calls == []


def test_params_has_no_figures(params: Recorder, tmp_path: Path) -> None:
    assert attn("params", "gpt2", "-o", str(tmp_path / "x.svg")).code == 2
