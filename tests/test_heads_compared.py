"""Whole commands of `attn heads`: one position's row, two models and two texts compared, in every form."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from tests.cli.conftest import attn

TEXT = "the mole dug the mole"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A model and another one of its shape, and of its name in lower case."""
    folder = tmp_path_factory.mktemp("models")
    base, tuned = tiny.save_with_tokenizer(folder / "base", "gpt2"), tiny.save_with_tokenizer(folder / "tuned", "gpt2")
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(tuned)
    with torch.no_grad():
        model.h[2].attn.c_attn.weight[:, :8] *= 3
    model.save_pretrained(tuned)
    return str(base), str(tuned)


def test_a_base_and_its_fine_tune(models: tuple[str, str]) -> None:
    both = [part for model in models for part in ("-m", model)]
    shown = attn("heads", TEXT, *both)
    assert (shown.code, shown.err) == (0, "")
    lines = shown.text.splitlines()
    assert lines[1].startswith("against ") and lines[1].endswith("tuned")
    assert next(line for line in lines if "███" in line).split()[0] == "2.0"
    found = json.loads(attn("heads", TEXT, *both, "--json").text)["difference"]
    variation = {head["name"]: head["total_variation"] for head in found["stacks"][0]["heads"]}
    assert variation.pop("2.0") > 0.05 and set(variation.values()) == {0.0}


def test_every_form_holds_the_difference(models: tuple[str, str], tmp_path: Path) -> None:
    both = [part for model in models for part in ("-m", model)]
    rows = list(csv.DictReader(io.StringIO(attn("heads", TEXT, *both, "--format", "csv").text)))
    assert len(rows) == 12
    for row in rows:
        if row["first"]:
            change = float(row["against_first"]) - float(row["first"])
            assert float(row["change_first"]) == pytest.approx(change, abs=1e-6)
    records = [json.loads(line) for line in attn("heads", TEXT, *both, "--format", "jsonl").text.splitlines()]
    assert [record["difference"]["name"] for record in records] == [row["name"] for row in rows]
    cells = attn("heads", TEXT, *both, "-H", "2.0", "--patterns", "--format", "csv")
    changes = [float(row["change"]) for row in csv.DictReader(io.StringIO(cells.text))]
    assert attn("heads", TEXT, *both, "-H", "2.0", "-o", str(tmp_path / "d.npz")).code == 0
    arrays = np.load(tmp_path / "d.npz")
    np.testing.assert_allclose(arrays["difference.decoder.2"].ravel(), changes, atol=1e-7)
    one = np.load(_npz(models[1], tmp_path / "b.npz"))["decoder.2"] - arrays["decoder.2"]
    np.testing.assert_allclose(arrays["difference.decoder.2"], one, atol=1e-6)


def _npz(model: str, path: Path) -> Path:
    assert attn("heads", TEXT, "-m", model, "-H", "2.0", "-o", str(path)).code == 0
    return path


def test_shapes_that_differ_say_how(models: tuple[str, str], tmp_path: Path) -> None:
    other = str(tiny.save_with_tokenizer(tmp_path / "t5", "t5"))
    outcome = attn("heads", TEXT, "-m", models[0], "-m", other)
    assert (outcome.code, outcome.text) == (2, "")
    assert "decoder 3 layers of 4 heads in" in outcome.err and "cross 3 layers of 4 heads in" in outcome.err
    longer = attn("heads", TEXT, "-m", models[0], "--against", f"{TEXT} the mole", "-H", "0.0")
    assert (
        longer.code == 2
        and "by" in longer.err
        and "hint: leave -l, -H, --query, --key and --patterns out" in longer.err
    )
    assert attn("heads", TEXT, *(["-m", models[0]] * 3)).code == 2


def test_lines_of_a_file_that_the_induction_heads_go_back_to(tmp_path: Path) -> None:
    """A letter that stood once before is continued as it was then: the heads read the line that it stood in."""
    letters = np.random.default_rng(0).integers(97, 123, size=(20, 24), dtype=np.uint8)
    letters[4, 11] = ord("Q")
    lines = [row.tobytes().decode("ascii") for row in letters]
    file = tmp_path / "long.txt"
    file.write_text("\n".join([*lines, "Q"]), "utf-8")
    outcome = attn("heads", "-f", str(file), "-m", "builtin:induction", "--query", "-1", "--by", "line", "-l", "1",
                   "--top", "1", "--json")  # fmt: skip
    (stack,) = json.loads(outcome.text)["stacks"]
    reading = stack["reading"]
    assert reading["query_line"] == 21
    assert reading["lines"][reading["top"][0]["place"]] == 5
    assert reading["top"][0]["weight"] > 5 * reading["top"][0]["uniform"]
