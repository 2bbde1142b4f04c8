"""Models that need an extra: GGUF files (gguf, accelerate), spread ones (accelerate), else skipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import attncli
from attncli.attention.inputs import build_inputs
from attncli.attention.selection import HeadsRequest, parse_selection
from attncli.errors import FailedError, ModelError
from attncli.models.loading.device import device_map_options
from attncli.models.loading.loaded_model import LoadedModel, wrap_model
from tests import tiny
from tests.opening import load
from tests.tiny import read_heads


def patterns(model: LoadedModel) -> np.ndarray:
    (stack,) = read_heads(model, build_inputs(model, [tiny.tokens([5, 6, 7, 8, 9])]), HeadsRequest(patterns=True))
    return np.stack([pattern.weights for pattern in stack.patterns])


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of the rotary dimensions, pairs side by side, from transformers' halves."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


GGUF_NAMES = {
    "attn_output": "self_attn.o_proj",
    "attn_v": "self_attn.v_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def write_gguf(path: Path, model: transformers.PreTrainedModel) -> None:
    gguf = pytest.importorskip("gguf", reason="the extra gguf isn't installed")
    config, state = model.config, {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"t{number}" for number in range(config.vocab_size)])
    writer.add_token_scores([0.0] * config.vocab_size)
    writer.add_token_types([1] * config.vocab_size)
    writer.add_tensor("token_embd.weight", state["embed_tokens.weight"])
    writer.add_tensor("output.weight", state["embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", state["norm.weight"])
    for layer in range(config.num_hidden_layers):
        part = {name: state[f"layers.{layer}.{ours}.weight"] for name, ours in GGUF_NAMES.items()}
        for name, ours, heads in (("attn_q", "q_proj", 4), ("attn_k", "k_proj", 2)):
            part[name] = interleaved(state[f"layers.{layer}.self_attn.{ours}.weight"], heads)
        for name, tensor in part.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_gives_the_patterns_of_its_model(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="the extra gguf isn't installed")
    model = tiny.build(tiny.llama())
    write_gguf(tmp_path / "tiny.gguf", model)
    expected = patterns(wrap_model(model))
    np.testing.assert_allclose(patterns(load(tmp_path / "tiny.gguf")), expected, atol=1e-5)
    np.testing.assert_allclose(
        patterns(load(tmp_path / "tiny.gguf", depth=parse_selection("0").depth)), expected[:4], atol=1e-5
    )


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the package hidden, as in an installation without the extra."""
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF" + (3).to_bytes(4, "little") + bytes(16))
    monkeypatch.setattr("attncli.models.loading.configuration.find_spec", lambda name: None if name == "gguf" else name)
    with pytest.raises(ModelError) as caught:
        load(tmp_path / "tiny.gguf")
    assert caught.value.hint == "pip install 'attncli[gguf]'" and caught.value.message.endswith("the package gguf")


@pytest.fixture
def too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A saved model, on a device that is said to have less room than its weights take."""
    torch.manual_seed(0)
    tiny.save(tmp_path, tiny.llama())
    monkeypatch.setattr("attncli.models.loading.device.free_memory", lambda _: 1000)
    return tmp_path


def test_what_is_too_large_for_a_device_is_spread(too_large: Path) -> None:
    pytest.importorskip("accelerate", reason="the extra large isn't installed")
    config, cpu = tiny.llama(), torch.device("cpu")
    assert device_map_options(transformers.LlamaModel, config, "auto", cpu, "tiny") == {"device_map": "auto"}
    # With the processor alone, all of it goes there.
    plain = wrap_model(transformers.AutoModel.from_pretrained(too_large))
    np.testing.assert_array_equal(patterns(load(too_large)), patterns(plain))


def test_weights_may_be_away_until_they_are_needed(tmp_path: Path) -> None:
    """As on a GPU that holds some layers while the machine's memory, or here a file, holds the others."""
    pytest.importorskip("accelerate", reason="the extra large isn't installed")
    torch.manual_seed(0)
    tiny.save(tmp_path / "model", tiny.llama())
    places = {"embed_tokens": "cpu", "layers.0": "cpu", "layers.1": "disk", "layers.2": "disk", "norm": "disk",
              "rotary_emb": "cpu"}  # fmt: skip
    kept, spread = (
        transformers.AutoModel.from_pretrained(tmp_path / "model", **options)
        for options in ({}, {"device_map": places, "offload_folder": str(tmp_path / "away")})
    )
    assert next(spread.layers[1].parameters()).is_meta
    for weighting in ("attention", "norm"):
        one, other = (
            attncli.heads(input_ids=[5, 6, 7, 8, 9], model=model, layer=0, norm_weighted=weighting == "norm").to_dict()
            for model in (kept, spread)
        )
        assert other["stacks"] == one["stacks"] and other["device"] == "cpu"


def test_without_accelerate_it_is_said_what_is_missing(too_large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attncli.models.loading.device.find_spec", lambda _: None)
    with pytest.raises(FailedError) as caught:
        load(too_large)
    assert "are free on cpu" in caught.value.message and "attncli[large]" in caught.value.hint
