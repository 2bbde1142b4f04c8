"""Whole runs of `attn params` on models in folders, on a hub and in the user's code: output and errors."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import attncli
from attncli.errors import ModelError, UsageError
from tests import tiny
from tests.cli.conftest import attn
from tests.gguf_files import decoder_tensors, gguf_model
from tests.hub_server import HubServer
from tests.models.conftest import empty_cache, hub
from tests.weight_files import with_header

__all__ = ["empty_cache", "hub"]

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 99,
    "max_position_embeddings": 128,
}
#: Queries and outputs, keys and values of half as many heads, the MLP, and two norms.
BLOCK = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32
#: Two tables, three blocks and a norm.
TOTAL = 2 * 99 * 32 + 3 * BLOCK + 32


def config_folder(path: Path, fields: Mapping[str, Any] = LLAMA, **changes: Any) -> str:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({**fields, **changes}))
    return str(path)


def save_model(path: Path, **changes: Any) -> Path:
    """A model of that configuration with its weights."""
    config = transformers.LlamaConfig(**{**LLAMA, **changes})
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    return path


def rewrite_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> str:
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors")
    return str(path)


def single_model(*arguments: str) -> dict[str, Any]:
    """The only model in the JSON of a run."""
    outcome = attn("params", *arguments, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    (model,) = json.loads(outcome.text)["models"]
    return dict(model)


# Sources


def test_a_configuration(tmp_path: Path) -> None:
    found = single_model(config_folder(tmp_path / "llama"))
    assert (found["total"], found["source"], found["model_class"]) == (TOTAL, "config", "LlamaForCausalLM")
    assert found["reconciliation"] is found["stored_bytes"] is None
    assert single_model(str(tmp_path / "llama" / "config.json"))["total"] == TOTAL


def test_presets_with_other_numbers() -> None:
    assert single_model("preset:gpt2", "--set", "n_layer=24")["total"] == 124_439_808 + 12 * 7_087_872
    base = single_model("preset:transformer-base", "--set", "vocab_size=1000")
    assert base["total"] == 63_082_496 - 36_000 * 512
    # What the source says is not said of another architecture.
    assert base["notes"] == ["its context length is unknown: 4,096 tokens are assumed (--context changes this)"]
    outcome = attn("params", "preset:transformer-base", "--set", "n_layer=2")
    assert (outcome.code, outcome.err) == (
        2,
        "error: --set n_layer: preset:transformer-base has no such field\nhint: did you mean --set num_layers=…?\n",
    )


def test_a_model_of_the_hub_by_ranges(tmp_path: Path, hub: HubServer) -> None:
    entries = {
        f"model.layers.0.mlp.{name}_proj.weight": {"dtype": "BF16", "shape": [1024, 1024], "data_offsets": offsets}
        for name, offsets in (("up", [0, 2 << 20]), ("down", [2 << 20, 4 << 20]))
    }
    content = with_header(entries, bytes(2 << 21))
    hub.add("org/big", {"config.json": json.dumps(LLAMA).encode(), "model.safetensors": content})
    found = single_model("org/big", "--source", "header")
    assert (found["total"], found["stored_bytes"]) == (2 << 20, 2 << 21)
    assert hub.bytes_sent < len(content) / 10
    # The configuration alone is enough where it is what is asked for.
    sent = hub.bytes_sent
    assert single_model("org/big")["total"] == TOTAL
    assert hub.bytes_sent == sent


def test_headers_of_many_shards_share_connections(hub: HubServer) -> None:
    names = [f"model-{number:05}-of-00040.safetensors" for number in range(1, 41)]
    places = {f"layers.{number}.weight": name for number, name in enumerate(names)}
    shards = {
        name: with_header({tensor: {"dtype": "I8", "shape": [1 << 18], "data_offsets": [0, 1 << 18]}}, bytes(1 << 18))
        for tensor, name in places.items()
    }
    index = json.dumps({"weight_map": places}).encode()
    hub.add("org/sharded", {**shards, "model.safetensors.index.json": index})
    assert single_model("org/sharded", "--source", "header")["total"] == 40 << 18
    # One for each thread, and those of the listing and the index.
    assert len([request for request in hub.requests if "-of-" in request]) == 40
    assert hub.connections <= 12


def test_files_that_the_hub_lists(hub: HubServer) -> None:
    shards = {f"model-0000{number}-of-00002.safetensors": bytes(1000 * number) for number in (1, 2)}
    fields = {**LLAMA, "dtype": "bfloat16", "quantization_config": {"quant_method": "unheard_of"}}
    files = {"config.json": json.dumps(fields).encode(), "model.safetensors.index.json": b"{}", "x.bin": b"", **shards}
    hub.add("org/listed", files)
    for _ in range(2):  # by the listing of the first run, which is kept
        found = single_model("org/listed")
        assert found["files"] == [{"name": name, "bytes": len(content)} for name, content in shards.items()]
        assert found["published"]["format"] == "unheard_of"
        assert (found["published"]["bytes"], found["stored_bytes"]) == (3000, None)
        assert found["published"]["bits_per_weight"] == 8 * 3000 / TOTAL
        asked = list(hub.requests)
        assert not any("safetensors" in request for request in asked)
    assert "together 3,000 bytes to download" in attn("params", "org/listed", "--full", "--width", "200").text
    assert hub.requests == asked


def test_an_adapter_beside_its_base(tmp_path: Path) -> None:
    base, adapter = save_model(tmp_path / "base"), tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base), "r": 4}))
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    save_file(
        {f"{stem}.lora_A.weight": torch.zeros(4, 32), f"{stem}.lora_B.weight": torch.zeros(32, 4)},
        adapter / "adapter_model.safetensors",
    )
    found = single_model(str(adapter))
    assert found["total"] == TOTAL + 256
    assert {row["component"]: row["parameters"] for row in found["components"]}["adapter"] == 256
    assert found["notes"] == [f"the adapter adds 256 to {base}"]
    # As many as --lora says beforehand, for one layer.
    assert single_model(str(base), "--lora", "4:attention.query")["lora"]["parameters"] == 3 * 256


def test_a_configuration_that_says_nothing(tmp_path: Path) -> None:
    model = config_folder(tmp_path / "empty", {})
    for typed in ((model,), (f"{model}/config.json",), (model, "--source", "config")):
        outcome = attn("params", *typed)
        assert outcome.code == 3
        assert outcome.err.startswith(f"error: the config.json of {typed[0]} has no model_type\n")
    (tmp_path / "nothing").mkdir()
    assert attn("params", str(tmp_path / "nothing")).err == (
        f"error: {tmp_path / 'nothing'} has neither a config.json nor weights with a readable header\n"
        "hint: give a folder or a file with a config.json, or with weights as .safetensors or .gguf\n"
    )
    # Weights say enough by themselves.
    save_file({"lm_head.weight": torch.zeros(2, 3)}, tmp_path / "empty" / "model.safetensors")
    assert (single_model(model)["source"], single_model(model)["total"]) == ("header", 6)


# A configuration and its checkpoint


def test_a_checkpoint_that_agrees(tmp_path: Path) -> None:
    found = single_model(str(save_model(tmp_path / "llama")))
    assert (found["source"], found["stored_bytes"]) == ("config", 4 * TOTAL)
    assert found["reconciliation"] == {
        "module_total": TOTAL,
        "checkpoint_total": TOTAL,
        "matched": TOTAL,
        "agrees": True,
        "is_same_model": True,
        "differences": [],
    }
    assert f"\ncheckpoint  holds these {TOTAL:,} parameters and nothing else\n" in (
        attn("params", str(tmp_path / "llama")).text
    )
    (file,) = found["files"]
    assert file["name"] == "model.safetensors"
    assert file["bytes"] == (tmp_path / "llama" / "model.safetensors").stat().st_size > found["stored_bytes"]
    assert single_model(str(tmp_path / "llama"), "--set", "num_hidden_layers=2")["reconciliation"] is None


def test_what_a_checkpoint_holds_besides(tmp_path: Path) -> None:
    def add(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(4)
        tensors["model.layers.3.eh_proj.weight"] = torch.zeros(32, 64)

    model = rewrite_weights(save_model(tmp_path / "llama", tie_word_embeddings=True), add)
    found = single_model(model)
    tied = TOTAL - 99 * 32
    assert (found["total"], found["reconciliation"]["matched"]) == (tied, tied)
    assert found["reconciliation"]["agrees"] is True
    assert [(row["reason"], row["checkpoint"]) for row in found["reconciliation"]["differences"]] == [
        ("tied_copy", "lm_head.weight"),
        ("buffer", "model.layers.*.self_attn.rotary_emb.inv_freq"),
        ("prediction_layer", "model.layers.*.eh_proj.weight"),
    ]
    shown = attn("params", model, "--full")
    assert (shown.code, shown.err) == (0, "")
    assert shown.text.endswith(f"\n{CHECKPOINT}")
    short = attn("params", model).text
    assert CHECKPOINT.splitlines()[0] in short and "1 as" not in short
    assert "differences" in short.splitlines()[-1] or "more" in short.splitlines()[-1]


CHECKPOINT = """\
checkpoint  holds the same model · 31,652 stored elements · 26,432 in common
            3,168 in second copies of tied tensors:
            – lm_head.weight
            4 in buffers (masks, indices, statistics), which are no parameters:
            – model.layers.*.self_attn.rotary_emb.inv_freq
            2,048 in layers for multi-token prediction, which the module leaves
            out:
            – model.layers.*.eh_proj.weight
"""


def test_weights_of_another_model(tmp_path: Path) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["model.layers.1.mlp.up_proj.weight"]
        tensors["model.norm.weight"] = torch.zeros(16)

    model = rewrite_weights(save_model(tmp_path / "llama"), spoil)
    outcome = attn("params", model, "--by", "layer")
    assert outcome.code == 0
    assert outcome.err == f"warning: the weights of {model} don't match its configuration\n"
    assert "1,536 in tensors of the module that the checkpoint doesn't hold:" in outcome.text
    assert "16 for 32 in tensors of another size than the configuration gives:" in outcome.text
    assert json.loads(attn("params", model, "--json").text)["warnings"] == [outcome.err[9:-1]]


def test_a_check_holds_for_the_weights_too(tmp_path: Path) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"] = torch.zeros(16)

    model = rewrite_weights(save_model(tmp_path / "llama"), spoil)
    outcome = attn("params", model, "--check", str(TOTAL), "-q")
    assert outcome.code == 4
    warning, failure, *_ = outcome.err.splitlines()
    assert warning == f"warning: the weights of {model} don't match its configuration"
    assert failure == (
        f"failed: the configuration of {model} has {TOTAL:,} parameters, as expected, but its weights don't match it: "
        f"{TOTAL - 32:,} of these parameters are among their {TOTAL - 16:,} elements "
        "(--source header counts the weights)"
    )
    assert attn("params", model, "--source", "header", "--check", str(TOTAL - 16), "-q").code == 0


def test_a_check_holds_where_the_weights_are_more(tmp_path: Path) -> None:
    def add(tensors: dict[str, torch.Tensor]) -> None:
        tensors["score.weight"] = torch.zeros(2, 32)

    model = rewrite_weights(save_model(tmp_path / "llama"), add)
    outcome = attn("params", model, "--check", str(TOTAL), "-q")
    assert (outcome.code, outcome.err) == (
        0,
        f"warning: the weights of {model} contain 64 elements that the model doesn't have\n",
    )
    assert "\ncheckpoint  holds the same model and more · " in outcome.text
    # Only who checks is told in spite of --quiet.
    assert attn("params", model, "-q").err == ""


def test_a_broken_checkpoint_is_a_note(tmp_path: Path) -> None:
    model = save_model(tmp_path / "llama")
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    found = single_model(str(model))
    assert found["total"] == TOTAL
    (note,) = found["notes"]
    assert note.startswith("its weights can't be compared: ") and "it is incomplete: 8 of its 118,400 bytes" in note


# Kept shapes


def run_process(*arguments: str) -> tuple[str, set[str]]:
    """What a run prints, errors included, and which of the large libraries it imported."""
    command = [sys.executable, "-X", "importtime", "-m", "attncli", "params", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    told = [line for line in lines if not line.startswith("import time:")]
    return "\n".join([done.stdout, *told]), imported & {"torch", "transformers", "numpy", "huggingface_hub"}


def test_the_same_configuration_again_needs_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = str(save_model(tmp_path / "llama"))
    monkeypatch.setenv("ATTN_CACHE", str(tmp_path / "cache"))
    given = (model, "--json", "--by", "tensor", "--fit", "1GiB")
    built = attn("params", *given).text
    assert run_process(*given) == (built, set())
    # Neither headers nor what can't be need it.
    assert run_process(model, "--source", "header")[1] == set()
    told, imported = run_process(model, "--set", "num_attention_heads=0")
    assert "num_attention_heads is 0 (attention heads)" in told and imported == set()


def test_another_configuration_is_another_entry(tmp_path: Path) -> None:
    assert single_model(config_folder(tmp_path / "m"))["total"] == TOTAL
    assert single_model(config_folder(tmp_path / "m", num_hidden_layers=2))["total"] == TOTAL - BLOCK
    assert single_model(str(tmp_path / "m"), "--set", "num_hidden_layers=3")["total"] == TOTAL
    # Names are those of the model that was asked for, not of the one that was kept.
    assert single_model(config_folder(tmp_path / "other", num_hidden_layers=2))["model"] == str(tmp_path / "other")


# Models in several folders


DENSE = {"linear.weight": torch.zeros(32, 64), "linear.bias": torch.zeros(32)}


def sentence_model(path: Path, inner: str = "") -> str:
    """A model of sentence-transformers whose transformers' model is in the folder `inner`, with a dense layer."""
    config = transformers.BertConfig(
        hidden_size=64, num_attention_heads=4, intermediate_size=96, num_hidden_layers=1, vocab_size=99
    )
    transformers.BertModel(config).save_pretrained(path / inner)
    kinds = {inner: "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    listed = [{"path": name, "type": f"sentence_transformers.models.{kind}"} for name, kind in kinds.items()]
    (path / "modules.json").write_text(json.dumps(listed))
    (path / "2_Dense").mkdir()
    (path / "2_Dense" / "config.json").write_text(json.dumps({"in_features": 64, "out_features": 32, "bias": True}))
    return str(path)


def test_the_modules_of_sentence_transformers(tmp_path: Path) -> None:
    whole, old = sentence_model(tmp_path / "whole"), sentence_model(tmp_path / "old", "0_Transformer")
    alone = single_model(f"{tmp_path}/old/0_Transformer")["total"]
    for _ in range(2):
        for model in (whole, old):
            found = single_model(model)
            assert found["total"] == alone + 64 * 32 + 32
            assert "2_Dense of sentence-transformers adds 2,080" in found["notes"]
            by_part = {row["part"]: row["parameters"] for row in found["components"]}
            assert by_part["dense"] == 2_080 and "text" in by_part
        # With weights, their header says the same.
        save_file(DENSE, tmp_path / "whole" / "2_Dense" / "model.safetensors")
    assert single_model(f"{whole}/model.safetensors")["total"] == alone


@pytest.mark.parametrize("listed", ["{", "{}", '[{"path": "../x", "type": "Dense"}]', "[5]"])
def test_modules_that_cant_be_read(tmp_path: Path, listed: str) -> None:
    model = sentence_model(tmp_path / "m")
    (tmp_path / "m" / "modules.json").write_text(listed)
    outcome = attn("params", model)
    assert outcome.code == 3
    assert outcome.err.startswith(f"error: {model}/modules.json can't be used: it ")


def test_the_modules_of_sentence_transformers_on_the_hub(tmp_path: Path, hub: HubServer) -> None:
    sentence_model(tmp_path, "0_Transformer")
    save_file(DENSE, tmp_path / "2_Dense" / "model.safetensors")
    files = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    hub.add("some/sentences", {name: path.read_bytes() for name, path in files.items()})
    local, found = single_model(str(tmp_path)), single_model("some/sentences")
    assert (found["total"], found["files"], found["stored_bytes"]) == (local["total"], local["files"], None)
    # Nothing but configurations is read, and these are kept.
    asked = list(hub.requests)
    assert not any("safetensors" in request for request in asked)
    assert single_model("some/sentences")["files"] == local["files"]
    assert hub.requests == asked


def test_a_module_whose_folder_is_missing(tmp_path: Path) -> None:
    model = sentence_model(tmp_path / "m")
    listed = json.loads((tmp_path / "m" / "modules.json").read_text())
    (tmp_path / "m" / "modules.json").write_text(json.dumps([*listed, {"path": "3_LSTM", "type": "x.LSTM"}]))
    outcome = attn("params", model)
    assert outcome.code == 3
    assert outcome.err == (
        f"error: {model} has no folder 3_LSTM, which its modules.json lists\n"
        "hint: download the whole model, or give one of its folders\n"
    )


#: Parts of a pipeline: a convolution, two attentions of a block of which the second reads the text, and a decoder.
UNET = {"conv_in.weight": torch.zeros(8, 4, 3, 3)} | {
    f"mid_block.attentions.0.transformer_blocks.0.attn{number}.to_{kind}.weight": torch.zeros(8, 8)
    for number in (1, 2)
    for kind in ("q", "k", "v")
}
VAE = {"decoder.conv_norm_out.weight": torch.zeros(8), "encoder.conv_in.weight": torch.zeros(8, 3, 3, 3)}
UNET_TOTAL, VAE_TOTAL = 8 * 4 * 9 + 6 * 64, 8 + 8 * 3 * 9


def pipeline(path: Path) -> str:
    """A pipeline of diffusers: a text encoder of transformers, and two parts that transformers can't build."""
    parts = {"scheduler": "DDIM", "tokenizer": "Tok", "unet": "UNet", "vae": "VAE", "text_encoder": "BertModel"}
    fields = {name: ["some_library", kind] for name, kind in parts.items()}
    config = transformers.BertConfig(
        hidden_size=64, num_attention_heads=4, intermediate_size=96, num_hidden_layers=1, vocab_size=99
    )
    transformers.BertModel(config).save_pretrained(path / "text_encoder")
    (path / "model_index.json").write_text(json.dumps({"_class_name": "Pipe", **fields, "checker": [None, None]}))
    for name, tensors in (("unet", UNET), ("vae", VAE)):
        (path / name).mkdir()
        (path / name / "config.json").write_text(json.dumps({"_class_name": "Model", "attention_head_dim": 8}))
        save_file(tensors, path / name / "diffusion_pytorch_model.safetensors")
    return str(path)


def test_the_parts_of_a_pipeline(tmp_path: Path) -> None:
    model = pipeline(tmp_path)
    encoder = single_model(f"{model}/text_encoder")["total"]
    total = UNET_TOTAL + VAE_TOTAL + encoder
    outcome = attn("params", model, "--source", "config")
    assert (outcome.code, outcome.err) == (
        2,
        f"error: --source config needs configurations of transformers, and that of {model}/unet is another's\n"
        "hint: leave --source config out to count that part by the header of its weights\n",
    )
    for option in ([], ["--source", "header"]):
        found = single_model(model, *option, "--check", str(total))
        assert found["source"] == ("header" if option else "config and header")
        sums = dict.fromkeys(("unet", "vae", "text_encoder"), 0)
        for row in found["components"]:
            sums[row["part"]] += row["parameters"]
        assert sums == {"unet": UNET_TOTAL, "vae": VAE_TOTAL, "text_encoder": encoder}
        assert {"cross_attention.query", "attention.query"} <= {row["component"] for row in found["components"]}
        # No token passes through all of it.
        assert (found["active"], found["flops_per_token"], found["cache"]) == (None, None, [])
    assert found["notes"][0] == (
        "a pipeline of several models, each counted by itself: unet, vae, text_encoder by the headers of weights"
    )
    assert [file["name"] for file in found["files"]] == [
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    ]
    assert attn("params", model, "--check", str(total + 1)).code == 4
    rows = list(csv.DictReader(io.StringIO(attn("params", model, "--by", "layer", "--format", "csv").text)))
    assert {row["part"] for row in rows} == {"text_encoder", "unet"}
    assert sum(int(row["parameters"]) for row in rows if row["part"] == "unet") == 6 * 64
    assert "a token" not in attn("params", model, model).text
    # What is read of a part of transformers is compared with its weights.
    rewrite_weights(tmp_path / "text_encoder", lambda tensors: tensors.pop("pooler.dense.bias"))
    assert attn("params", model, "--check", str(total)).code == 4
    (found,) = json.loads(attn("params", model, "--json").text)["models"]
    assert found["reconciliation"]["differences"][0]["module"] == "text_encoder.pooler.dense.bias"


def test_parts_of_a_pipeline_that_cannot_be_read_or_are_shared(tmp_path: Path) -> None:
    model = pipeline(tmp_path)
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").rename(tmp_path / "vae" / "diffusion_pytorch_model.bin")
    index = json.loads((tmp_path / "model_index.json").read_text()) | {"text_encoder_2": ["x", "BertModel"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    outcome = attn("params", model)
    assert (outcome.code, outcome.err) == (
        3,
        f"error: {model} has no folder text_encoder_2, which its model_index.json lists\n"
        "hint: download the whole model, or give one of its folders\n",
    )
    (tmp_path / "text_encoder_2").mkdir()
    assert "neither a configuration nor weights are in text_encoder_2" in single_model(model)["notes"]
    (tmp_path / "text_encoder_2").rmdir()
    (tmp_path / "text_encoder_2").symlink_to(tmp_path / "text_encoder")
    found = single_model(model)
    assert found["total"] == UNET_TOTAL + single_model(f"{model}/text_encoder")["total"]
    assert found["notes"][2:4] == [
        "text_encoder_2 has the same files as text_encoder, which are counted once",
        "the weights of vae are stored as pickle and are not counted",
    ]
    for name in ("unet/diffusion_pytorch_model.safetensors", "unet/config.json", "text_encoder/model.safetensors"):
        (tmp_path / name).unlink()
    outcome = attn("params", model, "--source", "header")
    assert outcome.code == 3
    assert outcome.err.startswith(f"error: {model}/text_encoder has no weights with a readable header\n")


def test_a_pipeline_on_the_hub(tmp_path: Path, hub: HubServer) -> None:
    pipeline(tmp_path)
    files = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    hub.add("some/pipeline", {name: path.read_bytes() for name, path in files.items()})
    found = single_model("some/pipeline")
    local = single_model(str(tmp_path))
    assert (found["total"], found["source"]) == (local["total"], "config and header")
    # Of the text encoder nothing but its size is read.
    assert (found["files"], found["stored_bytes"]) == (local["files"], None)


def test_a_configuration_of_another_library(tmp_path: Path) -> None:
    model = config_folder(tmp_path / "timm", {"architecture": "resnet18", "num_classes": 10})
    assert attn("params", model).err.startswith(f"error: the config.json of {model} has no model_type\n")
    save_file({"fc.weight": torch.zeros(10, 8), "bn.running_mean": torch.zeros(8)}, tmp_path / "timm/model.safetensors")
    found = single_model(model)
    assert found["total"] == 80
    assert found["notes"] == [
        "its config.json has no model_type, so the parameters are counted by the header of the weights"
    ]


def test_a_gguf_file_with_its_projector(tmp_path: Path) -> None:
    sizes = {"block_count": 2, "embedding_length": 64, "attention.head_count": 4}
    text_only = gguf_model(tmp_path / "model.gguf", "llama", sizes, decoder_tensors(2, 64, 64))
    tower = {"v.blk.0.attn_q.weight": (32, 32), "v.blk.0.attn_k.weight": (32, 32), "mm.0.weight": (64, 32)}
    gguf_model(tmp_path / "mmproj-f16.gguf", "clip", {}, tower)
    found = single_model(str(tmp_path))
    assert found["total"] == single_model(text_only)["total"] + 2 * 32 * 32 + 64 * 32
    assert {row["part"] for row in found["components"]} == {"text", "vision", "projector"}
    assert "with the tensors of mmproj-f16.gguf" in found["notes"]


# Views


def test_several_models_are_measured_at_one_context(tmp_path: Path) -> None:
    short, long = config_folder(tmp_path / "short"), config_folder(tmp_path / "long", max_position_embeddings=4096)
    contexts = [
        model["flops_per_token"]["context"]
        for model in json.loads(attn("params", short, long, "--json").text)["models"]
    ]
    assert contexts == [128, 128]
    assert single_model(long)["flops_per_token"]["context"] == 4096
    given = json.loads(attn("params", short, long, "--json", "--context", "64").text)["models"]
    assert [model["flops_per_token"]["context"] for model in given] == [64, 64]
    unlimited = json.loads(attn("params", "preset:t5-small", long, "--json").text)["models"]
    assert [model["flops_per_token"]["context"] for model in unlimited] == [4096, 4096]


def test_heads_that_a_class_rounds(tmp_path: Path) -> None:
    fields = {"model_type": "glm4_moe", "architectures": ["Glm4MoeForCausalLM"]}
    found = single_model(config_folder(tmp_path / "m", fields))
    assert (found["total"], found["per_head"]["shapes"]["query"]) == (103_481_200_640, [4096, 42])


def test_total_and_check(tmp_path: Path) -> None:
    model = config_folder(tmp_path / "llama")
    assert attn("params", model, "--check", f"{TOTAL:,}").code == 0
    outcome = attn("params", model, "--check", "25k")
    assert outcome.code == 4
    told = f"{model} has 29,600 parameters, 4,000 more than the 25,600 expected"
    assert outcome.err.startswith(f"failed: {told}\nerror: 1 check failed\nhint: ")
    # The result comes all the same, and is the one of Python, which has no exit code to fail with.
    assert f"{TOTAL:,} parameters" in outcome.text
    assert attncli.params(model, check="25k").failures == (told,)
    assert json.loads(attn("params", model, "--check", "25k", "--json").text)["failures"] == [told]
    assert attncli.params(model, check=TOTAL).failures == ()
    assert attncli.params(model).failures is None


def test_a_total_of_another_way_of_counting_is_told() -> None:
    readings = attncli.params("preset:gpt2").models[0].counted.readings
    (total,) = (reading.total for reading in readings if reading.name == "matrices")
    (told,) = attncli.params("preset:gpt2", check=total).failures or ()
    assert "; matrices gives this number: " in told


@pytest.mark.parametrize("by", ["component", "layer", "part", "module", "tensor"])
def test_every_listing_adds_up(tmp_path: Path, by: str) -> None:
    model = config_folder(tmp_path / "llama")
    outcome = attn("params", model, "--by", by, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(outcome.text)))
    outside = 2 * 99 * 32 + 32 if by == "layer" else 0
    assert sum(int(row["parameters"]) for row in rows) == TOTAL - outside
    assert f"{TOTAL:,} parameters" in attn("params", model, "--by", by).text


def test_a_table_of_costs_has_what_the_json_has() -> None:
    options = ("--fit", "8GiB", "--lora", "8", "--training", "--context", "1k")
    found = single_model("preset:gemma2-2b", *options)
    outcome = attn("params", "preset:gemma2-2b", "preset:gpt2", *options, "--by", "cost", "--format", "csv")
    assert (outcome.code, outcome.err) == (0, "")
    listed = [row for row in csv.DictReader(io.StringIO(outcome.text)) if row["model"] == "preset:gemma2-2b"]

    def values(cost: str, key: str) -> dict[str, int]:
        return {row[key]: int(row["value"]) for row in listed if row["cost"] == cost}

    assert values("parameters", "name") == {"total": found["total"]}
    assert values("active", "name") == found["active"]
    assert values("memory", "dtype") == {**found["memory"], **found["gguf_mixes"]}
    # Nothing says how the files of this preset are stored.
    assert (values("published", "dtype"), found["published"]) == ({}, None)
    assert values("cache", "name") == {part["kind"]: part["bytes"] for part in found["cache"]}
    assert values("cache_per_token", "name") == {part["kind"]: part["bytes_per_token"] for part in found["cache"]}
    assert sum(values("flops_per_token", "name").values()) == found["flops_per_token"]["total"]
    assert sum(values("lora", "name").values()) == found["lora"]["parameters"]
    for dtype, need in found["training"].items():
        parts = [int(row["value"]) for row in listed if (row["cost"], row["dtype"]) == ("training", dtype)]
        assert sum(parts) == need["total"]
    fits = [int(row["value"]) for row in listed if row["cost"] == "fit" and row["name"] == "missing"]
    assert fits == [choice["missing"] for choice in found["fit"]["choices"]]
    assert values("fit_training", "dtype") == {each["weights"]: each["missing"] for each in found["fit"]["training"]}


def test_a_table_of_costs_has_the_published_format() -> None:
    published = single_model("preset:gpt-oss-20b")["published"]
    outcome = attn("params", "preset:gpt-oss-20b", "--by", "cost", "--format", "csv")
    rows = [row for row in csv.DictReader(io.StringIO(outcome.text)) if row["cost"] == "published"]
    assert [(row["dtype"], int(row["value"])) for row in rows] == [("MXFP4", published["bytes"])]
    assert published["format"] == "MXFP4"


def test_a_list_of_presets_beside_a_model() -> None:
    outcome = attn("params", "preset:gpt2", "--list-presets")
    assert (outcome.code, outcome.text) == (2, "")
    assert outcome.err.startswith("error: --list-presets counts no model, and preset:gpt2 is one\nhint: ")
    assert attn("params", "--list-presets", variables={"ATTN_MODEL": "gpt2"}).code == 0


def test_a_table_without_costs_says_so() -> None:
    outcome = attn("params", "preset:gpt2", "--fit", "8GiB", "--format", "csv")
    assert outcome.err == "note: a table by component doesn't contain what --fit computes: --by cost lists it\n"
    shown = attn("params", "preset:gpt2", "preset:gemma2-2b", "--by", "cost").text
    assert "arithmetic a token" in shown
    assert "mlp.up" not in shown


def test_adapters_where_only_one_model_has_what_they_stand_beside() -> None:
    outcome = attn("params", "preset:gpt2", "preset:mamba-130m", "--lora", "8", "--context", "2k")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.text.splitlines()
    assert next(line.split() for line in lines if line.startswith("LoRA")) == ["LoRA", "294,912", "·"]
    told = " ".join(line.strip() for line in lines if line.startswith(("note", " " * 12)))
    assert "gpt2: it is made for 1,024 tokens: the figures for 2,048 tokens are beyond its limit" in told
    assert "mamba-130m: it has no attention.query or attention.value matrix for LoRA" in told
    outcome = attn("params", "preset:gpt2", "preset:mamba-130m", "--lora", "8:moe")
    assert outcome.code == 2
    assert outcome.err.startswith("error: none of preset:gpt2, preset:mamba-130m has a moe matrix for LoRA\nhint: ")
    assert attn("params", "preset:mamba-130m", "--lora", "8").err.startswith(
        "error: preset:mamba-130m has no attention.query or attention.value matrix for LoRA\nhint: "
    )


def test_columns_of_models_in_equal_files(tmp_path: Path) -> None:
    for name in ("bert", "roberta"):
        config_folder(tmp_path / name)
    files = [f"{tmp_path}/{name}/config.json" for name in ("bert", "roberta")]
    heading = next(line for line in attn("params", *files).text.splitlines() if line.endswith("difference"))
    assert heading.split() == ["bert", "roberta", "difference"]


def test_a_class_of_another_kind() -> None:
    outcome = attn("params", "preset:gpt2", "--set", 'architectures=["LlamaForCausalLM"]')
    assert (outcome.code, outcome.err) == (
        2,
        "error: --set architectures: LlamaForCausalLM doesn't accept a GPT2Config\n"
        "hint: use a class that does, such as GPT2LMHeadModel\n",
    )
    assert single_model("preset:gpt2", "--set", 'architectures=["GPT2Model"]')["model_class"] == "GPT2Model"


def test_a_module_that_was_handed_over() -> None:
    model = transformers.AutoModel.from_config(tiny.gpt2())
    assert attncli.params(model).models[0].counted.total == sum(each.numel() for each in model.parameters())
    for beside in ({"source": "header"}, {"revision": "v1"}, {"refresh": True}, {"trust_remote_code": True}):
        with pytest.raises(UsageError, match=f"{next(iter(beside))}= needs the name of a model"):
            attncli.params(model, **beside)  # type: ignore[arg-type]


def test_a_what_if_is_told_from_the_real_one(tmp_path: Path) -> None:
    arguments = ("params", "preset:gpt2", "--set", "n_layer=2", "--set", "n_head = 6")
    label = "preset:gpt2 with n_layer=2, n_head=6"
    assert attn(*arguments).text.startswith(f"{label} · ")
    assert next(csv.DictReader(io.StringIO(attn(*arguments, "--format", "csv").text)))["model"] == label
    attn(*arguments, "-o", str(tmp_path / "x.html"))
    assert f'"name":"{label}"' in (tmp_path / "x.html").read_text(encoding="utf-8").replace('": "', '":"')
    found = json.loads(attn(*arguments, "--json").text)["models"][0]
    assert (found["model"], found["changes"]) == ("preset:gpt2", ["n_layer=2", "n_head=6"])
    assert single_model("preset:gpt2")["changes"] == []
    # In Python a mapping says the same.
    assert attncli.params("preset:gpt2", set={"n_layer": 2, "n_head": 6}).models[0].to_dict() == found
    assert attncli.params("preset:gpt2", set={"tie_word_embeddings": False}).models[0].changes == (
        "tie_word_embeddings=false",
    )


def test_several_models_are_listed_one_by_one() -> None:
    two = ("preset:gpt2", "preset:bert-base")
    for by in ("layer", "part"):
        told = attn("params", *two, "--by", by).text
        assert told == "\n".join(attn("params", name, "--by", by).text for name in two)


def test_depth_goes_with_trees() -> None:
    for by in ("component", "layer", "part"):
        with pytest.raises(UsageError, match="--depth needs a list of modules or tensors"):
            attncli.params("preset:gpt2", by=by, depth=2)
    with pytest.raises(UsageError, match="--depth can't be '2': it has to be a whole number of at least 1"):
        attncli.params("preset:gpt2", by="module", depth="2")  # type: ignore[arg-type]
    assert "attn" not in attn("params", "preset:gpt2", "--by", "module", "--depth", "2").text


@pytest.mark.parametrize("given", [5, [5], {"n_layer": {1}}])
def test_what_changes_nothing(given: Any) -> None:
    with pytest.raises(UsageError, match="set"):
        attncli.params("preset:gpt2", set=given)


@pytest.mark.parametrize(
    ("name", "preset"), [("gpt3", "gpt3"), ("meta-llama/Llama-3.1-8B", "llama3.1-8b"), ("x", None)]
)
def test_a_preset_is_named_where_the_hub_fails(name: str, preset: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError) as caught:
        attncli.params(name)
    assert caught.value.hint.startswith(f"use preset:{preset} to count this architecture without the hub; ") == bool(
        preset
    )


# What can't be


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--source", "header"), "preset:gpt2 is an architecture without weights"),
        (("--lora", "0"), "--lora can't be '0'"),
        (("--lora", "8:query"), "preset:gpt2 has no component or module 'query'"),
        (("--context", "-4"), "--context can't be '-4'"),
        (("--batch", "0"), "--batch can't be '0'"),
        (("--check", "many"), "--check can't be 'many'"),
        (("--by", "row"), "--by can't be 'row'"),
        (("--set", "n_layer"), "--set n_layer: there is no KEY=VALUE in it"),
        (("--set", "model_type=llama"), "--set model_type=llama: the model type can't be changed"),
        (("--set", "n_head=7"), "n_embd, 768, can't be divided into 7 heads"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], told: str) -> None:
    outcome = attn("params", "preset:gpt2", *arguments)
    assert (outcome.code, outcome.text) == (2, "")
    assert told in outcome.err and "\nhint: " in outcome.err


# --- Caches, what fits, and training


def cached(*arguments: str) -> dict[str, Any]:
    return {part["kind"]: part for part in single_model(*arguments)["cache"]}


def test_a_cache_in_another_format() -> None:
    half, packed = (cached("preset:gpt-oss-20b", *more) for more in ((), ("--kv-dtype", "q8_0,q4_0")))
    for kind in ("growing", "window"):
        assert half[kind]["dtype"] == "bfloat16"
        # 32 numbers take 34 and 18 bytes in the place of 64.
        assert packed[kind]["dtype"] == "q8_0,q4_0"
        assert packed[kind]["bytes"] * 2 * 64 == half[kind]["bytes"] * (34 + 18)
    full = cached("preset:gpt-oss-20b", "--kv-allocation", "full")
    assert list(full) == ["growing"]
    assert full["growing"]["bytes"] == 2 * half["growing"]["bytes"]
    text = attn("params", "preset:gpt-oss-20b", "--kv-allocation", "full", "--full").text
    assert "every layer is given room for all tokens" in text


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("--kv-dtype", "fp9"), "there is no --kv-dtype 'fp9'", "float32, float16, bfloat16, fp8, int8, q8_0, q4_0"),
        (("--kv-dtype", "fp8,int8,fp8"), "--kv-dtype takes one dtype, or those of keys and values, not 3", "it takes"),
        (("--kv-dtype", ""), "there is no --kv-dtype ''", "it takes"),
        (("--optimizer", "sgd"), "--optimizer is an option of training", "add --training"),
        (("--recompute", "full"), "--recompute is an option of training", "add --training"),
        (("--optimizer", "lion", "--training"), "lion", "adamw, adamw8bit, adafactor, muon, sgd"),
        (("--kv-allocation", "half"), "half", "window"),
    ],
)
def test_options_that_are_wrong(arguments: tuple[str, ...], message: str, hint: str) -> None:
    outcome = attn("params", "preset:gpt2", *arguments)
    assert outcome.code == 2
    assert message in outcome.err and hint in outcome.err
    assert len(outcome.err.splitlines()) == 2


def test_a_model_without_a_cache_has_no_dtype_of_one() -> None:
    for option, value in (("--kv-dtype", "fp8"), ("--kv-allocation", "full")):
        outcome = attn("params", "preset:bert-base", option, value)
        assert (outcome.code, outcome.err) == (
            2,
            "error: preset:bert-base caches nothing, as it doesn't generate token by token\n"
            f"hint: leave {option} out\n",
        )


def test_a_budget_below_the_weights() -> None:
    found = single_model("preset:gpt2", "--fit", "100MiB")
    (choice,) = [each for each in found["fit"]["choices"] if (each["weights"], each["cache"]) == ("bfloat16", "fp8")]
    assert choice["context"] == 0
    assert choice["missing"] == choice["needed"] - (100 << 20) == 2 * found["total"] + 12 * 2 * 768 - (100 << 20)
    assert (
        "too little for float32 by 375 MiB · bfloat16 by 137 MiB"
        in attn("params", "preset:gpt2", "--fit", "100MiB").text
    )


def test_whether_a_context_fits() -> None:
    found = single_model("preset:llama3.1-8b", "--fit", "24GiB", "--context", "100k")["fit"]
    assert found["context"] == 102_400
    choices = {(each["weights"], each["cache"]): each for each in found["choices"]}
    half = choices["bfloat16", "bfloat16"]
    assert half["needed"] == 2 * 8_030_261_248 + 102_400 * 131_072
    assert half["missing"] == half["needed"] - (24 << 30)
    assert choices["Q4_K_M", "q4_0"]["missing"] == 0
    text = attn("params", "preset:llama3.1-8b", "--fit", "24GiB", "--context", "100k").text
    assert "\nfit         in 24.0 GiB, 102,400 tokens · made for 131,072 tokens\n" in text


def test_training_with_adapters_on_packed_weights() -> None:
    wanted = ("preset:llama3.1-8b", "--training", "--lora", "16", "--context", "1k", "--fit", "24GiB")
    found = single_model(*wanted)
    assert list(found["training"]) == ["float32", "bfloat16", "nf4"]
    for need in found["training"].values():
        assert need["total"] == sum(size for name, size in need.items() if name != "total")
    setup = found["training_setup"]
    assert (setup["optimizer"], setup["recompute"], setup["context"], setup["batch"]) == ("adamw", "selective", 1024, 1)
    batches = {each["weights"]: each["batch"] for each in found["fit"]["training"]}
    assert batches["float32"] == 0 < batches["bfloat16"] < batches["nf4"]
    more = single_model(*wanted, "--batch", str(batches["nf4"]))["training"]["nf4"]["total"]
    assert more <= 24 << 30 < more + found["training"]["nf4"]["activations"]
    less = single_model(*wanted, "--recompute", "full", "--optimizer", "adafactor")["training"]["nf4"]
    assert less["activations"] < found["training"]["nf4"]["activations"]
    assert less["optimizer"] < found["training"]["nf4"]["optimizer"]


def test_a_cache_that_the_quantization_prescribes(tmp_path: Path) -> None:
    scheme = {"num_bits": 8, "type": "float", "strategy": "tensor"}
    quantization = {"quant_method": "compressed-tensors", "config_groups": {}, "kv_cache_scheme": scheme}
    folder = config_folder(tmp_path / "llama", quantization_config=quantization, torch_dtype="bfloat16")
    found = single_model(folder)
    assert found["kv_cache"]["dtypes"] == {"keys": "fp8", "values": "fp8", "states": "bfloat16"}
    assert "its quantization prescribes a cache in fp8" in found["notes"]
    assert single_model(folder, "--kv-dtype", "q4_0")["kv_cache"]["dtypes"]["keys"] == "q4_0"


def test_states_of_a_gguf_file_are_numbers_of_32_bits(tmp_path: Path) -> None:
    tensors: dict[str, tuple[int, ...]] = {"token_embd.weight": (99, 64), "output_norm.weight": (64,)}
    for layer in range(2):
        shapes = {
            "attn_norm.weight": (64,), "ssm_in.weight": (256, 64), "ssm_conv1d.weight": (128, 4),
            "ssm_x.weight": (36, 128), "ssm_dt.weight": (128, 4), "ssm_dt.bias": (128,), "ssm_a": (128, 16),
            "ssm_d": (128,), "ssm_out.weight": (64, 128),
        }  # fmt: skip
        tensors |= {f"blk.{layer}.{name}": shape for name, shape in shapes.items()}
    sizes = {"ssm.conv_kernel": 4, "ssm.state_size": 16, "ssm.inner_size": 128, "block_count": 2}
    file = gguf_model(tmp_path / "x.gguf", "mamba", {**sizes, "embedding_length": 64, "context_length": 100}, tensors)
    assert cached(str(file)) == {
        "constant": {
            "kind": "constant", "layers": 2, "dtype": "float32", "bytes_per_token": 0, "bytes": 4 * 2 * 128 * (16 + 3),
        }
    }  # fmt: skip


def test_layers_for_multi_token_prediction_stand_apart(tmp_path: Path) -> None:
    def add(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            if name.startswith("model.layers.0."):
                tensors[name.replace("model.layers.0.", "mtp.layers.0.")] = tensors[name].clone()
        tensors["mtp.fc.weight"] = torch.zeros(32, 64)

    model = rewrite_weights(save_model(tmp_path / "llama"), add)
    found = single_model(model, "--source", "header")
    assert found["total"] == TOTAL + BLOCK + 32 * 64
    readings = {reading["name"]: reading["total"] for reading in found["readings"]}
    assert readings["without_prediction"] == TOTAL == found["active"]["total"]
    plain = single_model(str(save_model(tmp_path / "plain")), "--source", "header")
    assert found["cache"] == plain["cache"]
    assert found["flops_per_token"] == plain["flops_per_token"]
    assert "without_prediction" not in {reading["name"] for reading in plain["readings"]}


def test_tables_of_sequences_of_tokens(tmp_path: Path) -> None:
    def add(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.layers.1.engram.multi_head_embedding.embedding.weight"] = torch.zeros(500, 8)
        tensors["model.layers.1.engram.value_proj.weight"] = torch.zeros(32, 16)
        tensors["model.layers.1.engram.key_projs.0.weight"] = torch.zeros(32, 16)

    model = rewrite_weights(save_model(tmp_path / "llama"), add)
    found = single_model(model, "--source", "header")
    components = {each["component"]: each["parameters"] for each in found["components"]}
    assert components["embedding.ngram"] == 500 * 8
    assert components["memory"] == 2 * 32 * 16
    # A token looks up rows of the tables, and passes through the projections.
    assert found["active"]["without_embedding_lookup"] == TOTAL - 99 * 32 + 2 * 32 * 16


def test_components_of_sparse_compressed_and_per_layer_models() -> None:
    from tests.parameters.counting import counted, sums

    if not hasattr(transformers, "DeepseekV4Config"):
        pytest.skip("a newer transformers has it")
    found = sums(counted("DeepseekV4"))
    assert found["attention.indexer"] > 0 < found["attention.compressor"]
    assert "attention.other" not in found
    gemma = sums(counted("Gemma3nText"))
    # 262,144 tokens, 35 layers, 256 numbers.
    assert gemma["embedding.per_layer"] == 262_144 * 35 * 256
