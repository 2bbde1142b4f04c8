"""Whole commands on models in a folder or on a hub, with nothing replaced between arguments and output."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import attncli
from attncli.errors import UsageError
from tests import tiny
from tests.cli.conftest import attn
from tests.hub_server import HubServer
from tests.models.conftest import empty_cache, hub

TEXT = "the mole dug the mole"

__all__ = ["empty_cache", "hub"]


def served(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_stacks_are_chosen_by_name(tmp_path: Path) -> None:
    folder = str(tiny.save_with_tokenizer(tmp_path / "t5", "t5"))
    shown = attn("heads", TEXT, "-m", folder, "-H", "cross.1.2", "--patterns", "--format", "csv")
    lines = shown.text.splitlines()
    assert shown.code == 0 and lines[1].startswith("cross,1,2,0,<s>,0,<s>,")
    assert len(lines) == 1 + 1 * len(attn("tokenize", TEXT, "-m", folder, "--ids").text.split())
    wrong = attn("heads", TEXT, "-m", folder, "--stack", "vision")
    assert (wrong.code, wrong.text) == (2, "")
    assert wrong.err.splitlines()[-1] == "hint: its stacks are encoder, decoder, cross"


def test_a_pair_and_ids(tmp_path: Path) -> None:
    folder = str(tiny.save_with_tokenizer(tmp_path / "bert", "bert"))
    pair = json.loads(attn("heads", TEXT, "--pair", "one mole", "-m", folder, "--json").text)
    tokens = json.loads(attn("tokenize", TEXT, "--pair", "one mole", "-m", folder, "--json").text)
    assert pair["stacks"][0]["queries"] == tokens["texts"][0]["tokens"]
    (Path(folder) / "tokenizer.json").unlink()
    bare = json.loads(attn("heads", "--input-ids", "5 6 7", "-m", folder, "--json").text)
    assert [token["text"] for token in bare["stacks"][0]["keys"]] == ["5", "6", "7"]
    beyond = attn("heads", "--input-ids", "5 400", "-m", folder)
    assert beyond.code == 2 and beyond.error == (
        "the token id 400 is not in the model's vocabulary",
        "its token ids are 0 to 399",
    )


def test_long_texts_are_pooled_unless_told_otherwise(tmp_path: Path) -> None:
    config = tiny.llama()
    tiny.save(tmp_path, config)
    given = ["heads", "--input-ids", " ".join(["5", "6", "7"] * 350), "-m", str(tmp_path), "-H", "0.0", "--json"]
    (pooled,) = json.loads(attn(*given).text)["stacks"][0]["patterns"]
    assert len(pooled["weights"]) == len(pooled["bins"]["rows"]) == 64
    assert np.sum(pooled["weights"], axis=1) == pytest.approx(np.ones(64), abs=1e-4)
    (exact,) = attncli.heads(input_ids=[5, 6, 7] * 350, model=tmp_path, head="0.0", bins=2000).stacks[0].patterns
    assert exact.bins is None and exact.weights.shape == (1050, 1050)


def test_the_hub_fresh_cached_refreshed_and_offline(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = hub.add("org/tiny", served(tiny.save_with_tokenizer(tmp_path / "first", "gpt2")))
    fresh = attn("heads", TEXT, "-m", "org/tiny", "--json")
    assert fresh.code == 0 and hub.requests
    hub.requests.clear()
    cached = attn("heads", TEXT, "-m", "org/tiny", "--json")
    assert hub.requests == [] and cached.text == fresh.text
    assert attn("tokenize", TEXT, "-m", "org/tiny", "--ids").code == 0 and hub.requests == []
    newer = model.commit(served(tiny.save_with_tokenizer(tmp_path / "second", "llama")))
    refreshed = json.loads(attn("heads", TEXT, "-m", "org/tiny", "--refresh", "--json").text)
    assert refreshed["made_by"]["revision"] == newer and refreshed["made_by"]["model_class"] == "LlamaModel"
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert json.loads(attn("heads", TEXT, "-m", "org/tiny", "--json").text)["made_by"]["revision"] == newer
    absent = attn("heads", TEXT, "-m", "org/other")
    assert (absent.code, absent.text, hub.requests) == (3, "", [])
    assert absent.err.splitlines()[-1].startswith("hint: ")


def heads_of(folder: Path, *arguments: str) -> dict:
    return json.loads(attn("heads", *arguments, "-m", str(folder), "--json").text)


def reference_patterns(folder: Path, arguments: dict[str, object], stack: str = "only") -> list[np.ndarray]:
    """transformers' own weights, a layer each, (heads, queries, keys)."""
    model = transformers.AutoModel.from_pretrained(folder)
    return [layer[0].numpy() for layer in tiny.reference(model, arguments)[stack]]


def test_segments_go_to_models_that_have_an_embedding_for_them(tmp_path: Path) -> None:
    """GPT-2 takes token_type_ids too, and would look them up in its token table."""
    folder = tiny.save_with_tokenizer(tmp_path / "gpt2", "gpt2")
    (stack,) = heads_of(folder, TEXT, "--pair", "one mole", "--patterns")["stacks"]
    ids = torch.tensor([[token["id"] for token in stack["queries"]]])
    expected = reference_patterns(folder, {"input_ids": ids})
    for pattern in stack["patterns"]:
        np.testing.assert_allclose(pattern["weights"], expected[pattern["layer"]][pattern["head"]], atol=1e-5)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_the_decoder_starts_where_its_configuration_says(tmp_path: Path, family: str) -> None:
    folder = tiny.save_with_tokenizer(tmp_path / family, family)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "decoder_start_token_id": 7}))
    encoder, decoder, cross = heads_of(folder, TEXT, "--patterns")["stacks"]
    assert [token["id"] for token in decoder["queries"]] == [7] and decoder["causal"] and not encoder["causal"]
    ids = torch.tensor([[token["id"] for token in encoder["queries"]]])
    expected = reference_patterns(folder, {"input_ids": ids, "decoder_input_ids": torch.tensor([[7]])}, "cross")
    for pattern in cross["patterns"]:
        np.testing.assert_allclose(pattern["weights"], expected[pattern["layer"]][pattern["head"]], atol=1e-5)


def test_positions_behind_the_padding_are_the_limit(tmp_path: Path) -> None:
    """RoBERTa's table of 64 positions, with a padding token at 1, holds 62 tokens."""
    config = transformers.RobertaConfig(**{**tiny.COMMON, "vocab_size": 99}, max_position_embeddings=64)
    tiny.save(tmp_path, config)
    fits = attn("heads", "--input-ids", " ".join(["5"] * 62), "-m", str(tmp_path), "--json")
    beyond = attn("heads", "--input-ids", " ".join(["5"] * 63), "-m", str(tmp_path))
    assert fits.code == 0
    assert beyond.code == 2 and beyond.error[0] == "the text has 63 tokens, and the model accepts at most 62"


@pytest.mark.parametrize(
    "arguments",
    [
        {"text": 5},
        {"text": b"abc"},
        {"text": ["a", 5]},
        {"text": "a", "pair": 5},
        {"text": "a", "head": 1.2},
        {"input_ids": "1 2"},
        {"input_ids": [1.5]},
        {"input_ids": [[5], [6.5]]},
        {"text": "a", "bins": 2.5},
    ],
)
def test_wrong_arguments_of_the_python_function(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        attncli.heads(**arguments)


def test_what_was_cut_off_does_not_count(tmp_path: Path) -> None:
    folder = str(tiny.save_with_tokenizer(tmp_path / "gpt2", "gpt2"))
    whole, cut = (
        json.loads(attn("tokenize", "the mole " * 80, "-m", folder, *more, "--json").text)
        for more in ((), ("--truncate",))
    )
    stats = cut["texts"][0]["stats"]
    assert stats["tokens"] == 63 and stats["words"] < 80
    assert stats["bytes_per_token"] == pytest.approx(whole["texts"][0]["stats"]["bytes_per_token"], rel=0.1)
    assert cut["warnings"] == [f"the text was truncated to the 64 tokens that {folder} accepts"]


@pytest.mark.parametrize("text", ["   ", "\n\n"])
def test_a_text_of_white_space_alone_is_no_text(text: str) -> None:
    assert attn("heads", text).error[0] == "the text is only white space"


def test_steps_are_no_pattern(tmp_path: Path) -> None:
    outcome = attn("heads", "a mole", "--steps", "-o", str(tmp_path / "x.npz"))
    assert outcome.code == 2 and outcome.error[0].startswith(".npz files contain attention patterns")
    assert list(tmp_path.iterdir()) == []
