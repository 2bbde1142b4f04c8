"""`attn compare` from its options to what it writes, on tiny models."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from attncli.api.loading import ModelLoader
from attncli.api.requests import CompareRequest
from attncli.progress import silent
from tests.cli.conftest import Recorder, attn, flat, names
from tests.embeddings import models

LINES = "the mole dug\tanimal\nmore mole and lawn\tanimal\n\nOne mole of carbon\tunit\na mole of dioxide\tunit\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save(tmp_path_factory.mktemp("bert"), "bert")


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTN_CACHE", str(tmp_path_factory.getbasetemp() / "attn-cache"))


def run(folder: Path, *arguments: str, **given: object):  # type: ignore[no-untyped-def]
    return attn("compare", "mole", *arguments, "-m", str(folder), "--reference", "none", **given)


def test_the_forms_agree(folder: Path, tmp_path: Path) -> None:
    files = [str(tmp_path / f"x{ending}") for ending in (".json", ".csv", ".npz", ".txt")]
    outcome = run(folder, *(part for name in files for part in ("-o", name)), stdin=LINES)
    assert outcome.code == 0 and outcome.out == b"" and names(tmp_path) == ["x.csv", "x.json", "x.npz", "x.txt"]
    result = json.loads((tmp_path / "x.json").read_text("utf-8"))
    matrix = np.array(result["states"][-1]["similarity"])
    rows = list(csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text("utf-8"))))
    assert len(rows) == 4 * 6
    last = [float(row["similarity"]) for row in rows if row["state"] == "3"]
    assert last == [matrix[a, b] for a in range(4) for b in range(a + 1, 4)]
    assert (rows[0]["sentence_a"], rows[0]["label_b"], rows[0]["adjusted"]) == ("1", "animal", "")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        units = arrays["state.3"] / np.linalg.norm(arrays["state.3"], axis=1, keepdims=True)
        np.testing.assert_allclose(units @ units.T, matrix, atol=1e-6)
        assert arrays["label"].tolist() == ["animal", "animal", "unit", "unit"]
        assert arrays["sentence"].tolist() == [1, 2, 4, 5]
    assert "nearest to their own label" in (tmp_path / "x.txt").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (
            ("the mole", "Moles dug"),
            "sentence 2 doesn't contain 'mole'",
            "it contains 'Moles': --any-form also finds Moles",
        ),
        (("the mole", "a molecule"), "sentence 2 doesn't contain 'mole'", "it contains 'molecule'; --skip"),
        (("the mole",), "'mole' was found once", "add a sentence"),
        (("the mole", "-f", "x"), "SENTENCE and -f can't be combined", "not both"),
        (("a mole\tx\ty", "mole"), "sentence 1 contains 2 tabs", "one tab"),
        (("the mole", "one mole", "--stack", "decoder"), "no stack 'decoder'", "encoder"),
        (("the mole", "one mole", "--adjust", "abtt"), "needs a reference sample", "--reference"),
        (("the mole", "one mole", "--occurrence", "x"), "--occurrence can't be 'x'", "--occurrence"),
        (("the mole", "one mole", "--seed", "-1"), "--seed can't be '-1'", "--seed 1"),
        (("the mole", "one mole", "-o", "x.jsonl"), "the ending .jsonl is not a known format", ".npz"),
    ],
)
def test_errors_are_two_lines_and_exit_with_2(
    folder: Path, arguments: tuple[str, ...], message: str, hint: str
) -> None:
    outcome = run(folder, *arguments)
    told, mend = outcome.error
    assert outcome.code == 2 and message in told and hint in mend


def test_no_word_and_no_lines(folder: Path) -> None:
    assert "the word is missing" in attn("compare", "-m", str(folder)).error[0]
    assert "there are no sentences" in run(folder, stdin="\n").error[0]


def test_what_makes_numbers_doubtful_is_on_stderr(folder: Path) -> None:
    outcome = run(folder, "the mole", "Moles dug", "nothing", "--any-form", "--skip")
    assert "warning: sentence 3 was skipped: sentence 3 doesn't contain 'mole'" in outcome.err
    assert "warning: sentence 2: 'Moles' was taken as the word" in outcome.err
    assert run(folder, "the mole", "Moles dug", "--any-form", "-q").err == ""


def test_own_sentences_as_a_reference(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("the skin and the lawn\nOne tunnel under more carbon\n" * 5, encoding="utf-8")
    options = ("--reference", str(tmp_path / "own.txt"), "--adjust", "standardize", "--json")
    outcome = attn("compare", "mole", "the mole dug", "One mole", "-m", str(folder), *options)
    result = json.loads(outcome.text)
    assert result["sample"] == {"source": "your sentences", "sentences": 10, "words": 50, "pairs": 1125}
    assert "mostly noise" in outcome.err and result["states"][-1]["adjusted"] is not None


def test_options_become_keywords(compare: Recorder) -> None:
    attn(
        *("compare", "mole", "a", "b", "--versus", "x", "--versus", "y", "--occurrence", "2", "--any-form", "--skip"),
        *("--state", "0-2", "--state", "5", "--stack", "encoder", "--pool", "last", "--adjust", "abtt", "--seed", "7"),
        *("--dimensions", "3", "--device", "cpu", "--dtype", "float16", "-m", "m", "--revision", "r", "--allow-pickle"),
    )
    assert {**compare.call, "sentences": list(compare.call["sentences"]), "progress": silent} == {
        **flat(CompareRequest(), ModelLoader("m")), "word": "mole", "sentences": ["a", "b"], "versus": ("x", "y"),
        "occurrence": 2, "any_form": True, "skip": True, "state": ("0-2", "5"), "stack": "encoder", "pool": "last",
        "adjust": "abtt", "dimensions": 3, "seed": 7, "revision": "r", "allow_pickle": True, "device": "cpu",
        "dtype": "float16",
    }  # fmt: skip
