"""Whole commands on models in a folder or on a hub: nothing between the arguments and the output is replaced."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from tests.cli.conftest import attn
from tests.hub_server import HubServer
from tests.models.conftest import empty_cache, hub
from tests.tokens.vocabularies import byte_bpe

TEXT = "the mole dug the mole"

__all__ = ["empty_cache", "hub"]


def saved(folder: Path, family: str) -> Path:
    """A tiny model with a byte-level tokenizer whose ids it knows."""
    config = tiny.FAMILIES[family]()
    config.vocab_size = 400
    tiny.build(config).save_pretrained(folder)
    byte_bpe(bos=True).save(str(folder / "tokenizer.json"))
    return folder


def served(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_oss", "bloom", "t5"])
def test_heads_of_a_folder(tmp_path: Path, family: str) -> None:
    outcome = attn("heads", TEXT, "-m", str(saved(tmp_path / family, family)), "--json")
    assert outcome.code == 0
    result = json.loads(outcome.text)
    names = [stack["stack"] for stack in result["stacks"]]
    assert names == (["encoder", "decoder", "cross"] if family == "t5" else ["decoder"])
    (first, *_) = result["stacks"]
    assert first["queries"][0]["text"] == "<s>"
    assert len(first["metrics"]) == 12 and first["metrics"][0]["entropy"] is not None
    assert result["made_by"]["model_class"] == type(tiny.build(tiny.FAMILIES[family]())).__name__
    assert ("note: the decoder was given its start token alone" in outcome.err) == (family == "t5")


def test_stacks_are_chosen_by_name(tmp_path: Path) -> None:
    folder = str(saved(tmp_path / "t5", "t5"))
    shown = attn("heads", TEXT, "-m", folder, "-H", "cross.1.2", "--format", "csv")
    lines = shown.text.splitlines()
    assert shown.code == 0 and lines[1].startswith("cross,1,2,0,<0>,0,<s>,")
    assert len(lines) == 1 + 1 * len(attn("tokenize", TEXT, "-m", folder, "--ids").text.split())
    wrong = attn("heads", TEXT, "-m", folder, "--stack", "vision")
    assert (wrong.code, wrong.text) == (2, "")
    assert wrong.err.splitlines()[-1] == "hint: --stack takes one of: encoder, decoder, cross"


def test_a_pair_and_ids(tmp_path: Path) -> None:
    folder = str(saved(tmp_path / "bert", "bert"))
    pair = json.loads(attn("heads", TEXT, "--pair", "one mole", "-m", folder, "--json").text)
    tokens = json.loads(attn("tokenize", TEXT, "--pair", "one mole", "-m", folder, "--json").text)
    assert pair["stacks"][0]["queries"] == tokens["texts"][0]["tokens"]
    (Path(folder) / "tokenizer.json").unlink()
    bare = json.loads(attn("heads", "--input-ids", "5 6 7", "-m", folder, "--json").text)
    assert [token["text"] for token in bare["stacks"][0]["keys"]] == ["5", "6", "7"]
    beyond = attn("heads", "--input-ids", "5 400", "-m", folder)
    assert beyond.code == 2 and beyond.error == (
        "the id 400 is not in the model's vocabulary",
        "ids run from 0 to 399",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input-ids", "5 400"], "the vocabulary has no token 400"),
        (["--input-ids", " ".join(["5"] * 65)], "has 65 tokens and the model takes 64"),
        (["the " * 80], "and the model takes 64"),
        ([TEXT, "-H", "0.4"], "no head 4 in layer 0"),
        ([TEXT, "-l", "3"], "no layer 3 in the model"),
    ],
)
def test_wrong_use_is_said_in_two_lines(tmp_path: Path, arguments: list[str], message: str) -> None:
    outcome = attn("heads", *arguments, "-m", str(saved(tmp_path / "gpt2", "gpt2")))
    assert (outcome.code, outcome.text) == (2, "")
    error, hint = [line for line in outcome.err.splitlines() if not line.startswith("note")]
    assert message in error and hint.startswith("hint: ")


def test_truncation(tmp_path: Path) -> None:
    folder = str(saved(tmp_path / "gpt2", "gpt2"))
    for given in (["the " * 80], ["--input-ids", " ".join(["5"] * 65)]):
        result = json.loads(attn("heads", *given, "--truncate", "-m", folder, "--json").text)
        assert len(result["stacks"][0]["queries"]) == 64


def test_patterns_in_every_form_are_the_same(tmp_path: Path) -> None:
    folder = str(saved(tmp_path / "llama", "llama"))
    given = ["heads", TEXT, "-m", folder, "-H", "1.0,1.3"]
    whole = json.loads(attn(*given, "--json").text)["stacks"][0]
    attn(*given, "-o", str(tmp_path / "x.npz"), "-o", str(tmp_path / "x.csv"))
    with np.load(tmp_path / "x.npz") as arrays:
        assert arrays["decoder.1.heads"].tolist() == [0, 3]
        np.testing.assert_array_equal(arrays["decoder.1"], [pattern["weights"] for pattern in whole["patterns"]])
    rows = (tmp_path / "x.csv").read_text().splitlines()[1:]
    assert len(rows) == 2 * len(whole["queries"]) * len(whole["keys"])


def test_long_texts_are_pooled_unless_told_otherwise(tmp_path: Path) -> None:
    config = tiny.llama()
    tiny.build(config).save_pretrained(tmp_path)
    given = ["heads", "--input-ids", " ".join(["5", "6", "7"] * 400), "-m", str(tmp_path), "-H", "0.0", "--json"]
    (pooled,) = json.loads(attn(*given).text)["stacks"][0]["patterns"]
    assert len(pooled["weights"]) == len(pooled["bins"]["rows"]) == 64
    assert np.sum(pooled["weights"], axis=1) == pytest.approx(np.ones(64), abs=1e-4)
    (exact,) = json.loads(attn(*given, "--bins", "2000").text)["stacks"][0]["patterns"]
    assert exact["bins"] is None and len(exact["weights"]) == 1200


def test_the_hub_fresh_cached_refreshed_and_offline(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = hub.add("org/tiny", served(saved(tmp_path / "first", "gpt2")))
    fresh = attn("heads", TEXT, "-m", "org/tiny", "--json")
    assert fresh.code == 0 and hub.requests
    hub.requests.clear()
    cached = attn("heads", TEXT, "-m", "org/tiny", "--json")
    assert hub.requests == [] and cached.text == fresh.text
    assert attn("tokenize", TEXT, "-m", "org/tiny", "--ids").code == 0 and hub.requests == []
    newer = model.commit(served(saved(tmp_path / "second", "llama")))
    refreshed = json.loads(attn("heads", TEXT, "-m", "org/tiny", "--refresh", "--json").text)
    assert refreshed["made_by"]["revision"] == newer and refreshed["made_by"]["model_class"] == "LlamaModel"
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert json.loads(attn("heads", TEXT, "-m", "org/tiny", "--json").text)["made_by"]["revision"] == newer
    absent = attn("heads", TEXT, "-m", "org/other")
    assert (absent.code, absent.text, hub.requests) == (3, "", [])
    assert absent.err.splitlines()[-1].startswith("hint: ")
