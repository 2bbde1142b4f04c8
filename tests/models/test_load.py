"""Weights from disk: whole or as deep as asked, from every kind of file, and errors where they make no model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import core_model_loading

import attncli
from attncli.attention.inputs import build_inputs
from attncli.attention.selection import HeadsRequest, parse_selection
from attncli.errors import FailedError, ModelError, UsageError
from attncli.models.files.model_files import open_files
from attncli.models.files.reference import DEFAULT_MODEL, parse_reference
from attncli.models.loading import device
from attncli.models.loading.loaded_model import LoadedModel, wrap_model
from attncli.models.loading.weights import load_model
from tests import tiny
from tests.opening import load
from tests.tiny import read_heads

IDS = [5, 7, 9, 11, 5, 7, 9, 13, 17]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tiny.Folders:
    return tiny.Folders.of(tmp_path_factory.mktemp("saved"))


def patterns(model: LoadedModel, layer: str | None = None) -> dict[tuple[str, int, int], np.ndarray]:
    stacks = read_heads(
        model, build_inputs(model, [tiny.tokens(IDS)]), HeadsRequest(parse_selection(layer), patterns=True)
    )
    return {(s.stack, p.layer, p.head): p.weights for s in stacks for p in s.patterns}


@pytest.fixture
def tensors_read(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one for each tensor that is really read from a file."""
    read: list[object] = []
    original = core_model_loading._materialize_copy

    def counting(tensor: object, *args: object, **kwargs: object) -> torch.Tensor:
        read.append(tensor)
        return original(tensor, *args, **kwargs)

    monkeypatch.setattr(core_model_loading, "_materialize_copy", counting)
    return read


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5", "bart"])
def test_a_folder_loads_with_the_same_patterns(saved: tiny.Folders, family: str) -> None:
    original = patterns(wrap_model(transformers.AutoModel.from_pretrained(saved[family])))
    for key, weights in patterns(load(saved[family])).items():
        np.testing.assert_allclose(weights, original[key], atol=1e-6)


@pytest.mark.parametrize(
    ("family", "layer", "blocks"),
    [
        ("bert", "0", {"encoder.layer": 1}),
        ("gpt2", "1", {"h": 2}),
        ("llama", "1", {"layers": 2}),
        ("t5", "0", {"encoder.block": 3, "decoder.block": 1}),
    ],
)
def test_only_as_deep_as_asked(
    saved: tiny.Folders, tensors_read: list[object], family: str, layer: str, blocks: dict[str, int]
) -> None:
    whole = patterns(load(saved[family]), layer)
    count = len(tensors_read)
    tensors_read.clear()
    cut = load(saved[family], depth=parse_selection(layer).depth)
    assert {known.path: known.length for known in cut.lists} == blocks
    assert len(tensors_read) == len(cut.module.state_dict()) - _tied(cut) < count
    for key, weights in patterns(cut, layer).items():
        np.testing.assert_array_equal(weights, whole[key])


def _tied(model: LoadedModel) -> int:
    """Names in the state that share their tensor with another: stored, and read, once."""
    state = model.module.state_dict()
    return len(state) - len({tensor.data_ptr() for tensor in state.values()})


def test_the_default_model_reads_three_of_its_layers(tensors_read: list[object]) -> None:
    """The acceptance test on the real model: layers 0–2, the embeddings and the pooler, and the pattern is the same."""
    files = open_files(parse_reference(DEFAULT_MODEL))
    whole = load_model(files, device="cpu")
    assert len(tensors_read) == 103
    tensors_read.clear()
    cut = load_model(files, device="cpu", depth=parse_selection("2").depth)
    assert len(tensors_read) == 3 * 16 + 5 + 2
    ids = [101, 1996, 4937, 2938, 2006, 1996, 13523, 102]
    found = []
    for model in (whole, cut):
        inputs = build_inputs(model, [tiny.tokens(ids)])
        (stack,) = read_heads(model, inputs, HeadsRequest(parse_selection("2"), patterns=True))
        found.append([pattern.weights for pattern in stack.patterns])
    np.testing.assert_array_equal(found[0], found[1])


def test_shards(saved: tiny.Folders, tmp_path: Path) -> None:
    transformers.AutoModel.from_pretrained(saved["llama"]).save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    expected = patterns(load(saved["llama"]))
    for key, weights in patterns(load(tmp_path)).items():
        np.testing.assert_array_equal(weights, expected[key])
    index = tmp_path / "model.safetensors.index.json"
    assert set(patterns(load(index))) == set(expected)


def test_a_weight_file_of_another_name(saved: tiny.Folders, tmp_path: Path) -> None:
    shutil.copy(saved["gpt2"] / "config.json", tmp_path)
    shutil.copy(saved["gpt2"] / "model.safetensors", tmp_path / "best.safetensors")
    expected = patterns(load(saved["gpt2"]), "0")
    np.testing.assert_equal(patterns(load(tmp_path / "best.safetensors"), "0"), expected)


def test_a_pickle_where_it_is_allowed(saved: tiny.Folders, tmp_path: Path) -> None:
    shutil.copy(saved["bert"] / "config.json", tmp_path)
    torch.save(transformers.AutoModel.from_pretrained(saved["bert"]).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickle"):
        load(tmp_path)
    assert set(patterns(load(tmp_path, allow_pickle=True))) == set(patterns(load(saved["bert"])))


def test_a_language_model_is_read_without_its_head(saved: tiny.Folders, tmp_path: Path) -> None:
    config = tiny.llama()
    config.tie_word_embeddings = False
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert loaded.class_name == "LlamaModel" and not loaded.warnings


def test_progress_is_told(saved: tiny.Folders) -> None:
    told: list[tuple[str, int, int | None]] = []
    load(saved["bert"], progress=lambda *step: told.append(step))
    assert told[-1][0] == "loading weights" and told[-1][1] == told[-1][2]


def test_weights_of_another_configuration(saved: tiny.Folders, tmp_path: Path) -> None:
    shutil.copy(saved["gpt2"] / "config.json", tmp_path)
    shutil.copy(saved["llama"] / "model.safetensors", tmp_path)
    with pytest.raises(ModelError, match=r"tensors of the model are missing in its weights") as caught:
        load(tmp_path)
    assert "configuration" in caught.value.hint


def test_a_missing_table_of_tokens_is_refused(saved: tiny.Folders, tmp_path: Path) -> None:
    shutil.copytree(saved["llama"], tmp_path / "llama")
    tensors = load_file(tmp_path / "llama" / "model.safetensors")
    del tensors["embed_tokens.weight"]
    save_file(tensors, tmp_path / "llama" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"tensors of the model are missing in its weights \(1, embed_tokens.weight"):
        load(tmp_path / "llama")


def test_weights_of_another_size(saved: tiny.Folders, tmp_path: Path) -> None:
    shutil.copytree(saved["bert"], tmp_path / "bert")
    config = json.loads((tmp_path / "bert" / "config.json").read_text())
    (tmp_path / "bert" / "config.json").write_text(json.dumps({**config, "intermediate_size": 50}))
    with pytest.raises(ModelError, match="can't be loaded"):
        load(tmp_path / "bert")


def test_a_missing_pooler_is_a_note(saved: tiny.Folders, tmp_path: Path) -> None:
    model = transformers.AutoModel.from_pretrained(saved["bert"], add_pooling_layer=False)
    model.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert len(loaded.warnings) == 1 and "pooler" in loaded.warnings[0]


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        ({"model_type": "nothing-known"}, "model_type 'nothing-known'", "pip install -U transformers"),
        ({"hidden_size": 4}, "has no model_type", "add the model_type"),
        (
            {"model_type": "x", "auto_map": {"AutoModel": "code.Model"}},
            "needs Python code that comes with it",
            "--trust-remote-code",
        ),
        ([1], "doesn't contain a JSON object", "download or copy the file again"),
        ({"model_type": "bert", "hidden_size": "wide"}, "not valid", "download or copy"),
    ],
)
def test_configurations_that_make_no_model(
    saved: tiny.Folders, tmp_path: Path, config: object, message: str, hint: str
) -> None:
    shutil.copy(saved["bert"] / "model.safetensors", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError) as caught:
        load(tmp_path)
    assert message in caught.value.message and hint in caught.value.hint


def test_code_of_the_model_runs_only_when_allowed(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from transformers import LlamaConfig, LlamaModel\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own-llama'\n"
        "class OwnModel(LlamaModel):\n    config_class = OwnConfig\n"
    )
    tiny.save(tmp_path, tiny.llama())
    config = json.loads((tmp_path / "config.json").read_text())
    own = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "own-llama", "auto_map": own}))
    with pytest.raises(ModelError, match="needs Python code that comes with it"):
        load(tmp_path)
    loaded = load(tmp_path, trusted=True, depth=parse_selection("0").depth)
    assert loaded.class_name == "OwnModel" and len(patterns(loaded, "0")) == 4


def test_a_device_that_is_absent_lists_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "available_devices", lambda: ["cuda:0", "cpu"])
    assert str(device.choose_device("auto")) == "cuda:0" and str(device.choose_device("cuda")) == "cuda:0"
    with pytest.raises(UsageError) as caught:
        device.choose_device("cuda:3")
    assert caught.value.hint == "--device accepts auto or one of cuda:0, cpu"


def test_number_formats(saved: tiny.Folders) -> None:
    assert load(saved["bert"]).dtype == "float32"
    assert load(saved["bert"], dtype="bfloat16").dtype == "bfloat16"
    assert device.choose_dtype("auto", torch.device("cuda:0")) == "auto"
    with pytest.raises(UsageError, match="no dtype"):
        load(saved["bert"], dtype="float8")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("unable to mmap: Cannot allocate memory"),
    ],
)
def test_running_out_of_memory_says_what_would_fit(
    saved: tiny.Folders, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(model: torch.nn.Module, *_: object) -> None:
        raise error

    monkeypatch.setattr(torch.nn.Module, "to", fail)
    with pytest.raises(FailedError) as caught:
        load(saved["bert"])
    assert "out of memory on cpu" in caught.value.message and "--dtype bfloat16" in caught.value.hint


@pytest.mark.parametrize(
    ("dtype", "free", "hint"),
    [
        # 8 billion numbers take 32 GB, and half of that as bfloat16.
        (torch.float32, 24 << 30, "--dtype bfloat16 needs 14.9 GiB, and --device cpu uses main memory"),
        (torch.bfloat16, 10 << 30, "-l 0-16 loads fewer layers, and --device cpu uses main memory"),
        (torch.bfloat16, 100 << 20, "-l 0 loads only one layer, and --device cpu uses main memory"),
    ],
)
def test_what_would_fit(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, free: int, hint: str) -> None:
    monkeypatch.setattr(device, "free_memory", lambda _: free)
    assert device.out_of_memory_error(torch.device("cuda:0"), dtype, 8_000_000_000, 32).hint == hint


def test_only_modules_can_be_handed_over() -> None:
    with pytest.raises(ModelError, match="a int is not a model"):
        wrap_model(5)  # type: ignore[arg-type]


def test_an_unknown_tensor_argument_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bias that the probe doesn't know of could make a wrong pattern."""
    model = tiny.build(tiny.llama())
    attention = type(model.layers[0].self_attn)
    forward = attention.forward
    monkeypatch.setattr(attention, "forward", lambda self, *a, **k: forward(self, *a, **k, novel_bias=torch.ones(1)))
    with pytest.raises(ModelError, match="'novel_bias'"):
        patterns(wrap_model(model))


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        (tiny.fnet, "FNetModel has no attention", "FNetFourierTransform"),
        (tiny.rwkv, "the attention of RwkvModel can't be read", "use another model"),
    ],
)
def test_what_cannot_be_looked_at_says_why(config: object, message: str, hint: str) -> None:
    """RWKV calls attention what has no weights of queries on keys: better no picture than a wrong one."""
    with pytest.raises(ModelError) as caught:
        patterns(wrap_model(tiny.build(config())))
    assert message in caught.value.message and hint in caught.value.hint


# --- Parts of models, saved under their own classes

_DECODER = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 99, "pad_token_id": 1, "bos_token_id": 0,
    "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
_T5 = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 48, "vocab_size": 99}


def _prophetnet() -> transformers.PreTrainedConfig:
    sizes = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in (("ffn_dim", 48),)}
    layers = {f"num_{side}_{name}": value for side in ("encoder", "decoder")
              for name, value in (("layers", 2), ("attention_heads", 4))}  # fmt: skip
    return transformers.ProphetNetConfig(hidden_size=32, vocab_size=99, ngram=2, num_buckets=8, **sizes, **layers)


def _t5gemma() -> transformers.PreTrainedConfig:
    part = transformers.T5GemmaModuleConfig(**tiny.GROUPED, head_dim=8)
    return transformers.T5GemmaConfig(encoder=part, decoder=part, is_encoder_decoder=False, vocab_size=99)


def _seamless() -> transformers.PreTrainedConfig:
    names = ("encoder_layers", "decoder_layers", "t2u_encoder_layers", "t2u_decoder_layers", "speech_encoder_layers")
    heads = (name.replace("layers", "attention_heads") for name in names)
    widths = ("encoder", "decoder", "t2u_encoder", "t2u_decoder")
    return transformers.SeamlessM4TConfig(
        vocab_size=99, t2u_vocab_size=99, hidden_size=32, speech_encoder_intermediate_size=48,
        feature_projection_input_dim=16, decoder_start_token_id=3,
        **dict.fromkeys(names, 2), **dict.fromkeys(heads, 4), **{f"{width}_ffn_dim": 48 for width in widths},
    )  # fmt: skip


PARTS: dict[str, Callable[[], transformers.PreTrainedConfig]] = {
    "BartForCausalLM": lambda: transformers.BartConfig(**_DECODER, max_position_embeddings=64),
    "WhisperForCausalLM": lambda: transformers.WhisperConfig(**_DECODER, max_target_positions=64),
    "ProphetNetForCausalLM": _prophetnet,
    "T5EncoderModel": lambda: transformers.T5Config(**_T5),
    "T5ForTokenClassification": lambda: transformers.T5Config(**_T5),
    "T5GemmaEncoderModel": _t5gemma,
    "SeamlessM4TForTextToText": _seamless,
}

#: Where transformers returns the attention of each stack.
_FIELDS = {"encoder": ("encoder_attentions", "attentions"), "decoder": ("decoder_attentions", "attentions"),
           "cross": ("cross_attentions",)}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_model_is_loaded_as_the_class_that_was_saved(name: str, tmp_path: Path) -> None:
    """Its base class has an encoder or a decoder too many, whose tensors aren't in the weights."""
    torch.manual_seed(0)
    model = getattr(transformers, name)(PARTS[name]()).eval()
    model.save_pretrained(tmp_path)
    stacks = attncli.heads(input_ids=IDS, model=tmp_path, patterns=True).stacks
    handed = attncli.heads(input_ids=IDS, model=model, patterns=True).stacks
    assert [stack.stack for stack in stacks] == [stack.stack for stack in handed]
    model.set_attn_implementation("eager")
    target = {"decoder_input_ids": torch.tensor([[3]])} if len(stacks) > 1 else {}
    with torch.no_grad():
        output = model(input_ids=torch.tensor([IDS]), **target, use_cache=False, output_attentions=True)
    for stack, other in zip(stacks, handed, strict=True):
        expected = next(output[field] for field in _FIELDS[stack.stack] if output.get(field) is not None)
        assert len(stack.layers) == len(expected) > 0
        for pattern, same in zip(stack.patterns, other.patterns, strict=True):
            weights = expected[pattern.layer][0, pattern.head].numpy()
            assert pattern.weights == pytest.approx(weights, abs=1e-4)
            assert pattern.weights == pytest.approx(same.weights, abs=1e-6)


def test_a_layer_that_only_the_saved_class_has_can_be_chosen(tmp_path: Path) -> None:
    """The encoder of the base class, which has two layers, says nothing about the third of the decoder."""
    transformers.BartForCausalLM(PARTS["BartForCausalLM"]()).save_pretrained(tmp_path)
    (stack,) = attncli.heads(input_ids=IDS, model=tmp_path, layer="2").stacks
    assert {head.layer for head in stack.metrics} == {2}
    with pytest.raises(UsageError, match="3"):
        attncli.heads(input_ids=IDS, model=tmp_path, layer="3")


@pytest.mark.parametrize("name", ["BartForCausalLM", "BertLMHeadModel"])
def test_a_decoder_of_a_family_of_encoders_writes(name: str, tmp_path: Path) -> None:
    bert = transformers.BertConfig(**tiny.COMMON, is_decoder=True)
    config = bert if name.startswith("Bert") else PARTS[name]()
    config.num_hidden_layers = 3  # transformers sizes its cache by it
    torch.manual_seed(0)
    model = getattr(transformers, name)(config).eval()
    model.save_pretrained(tmp_path)
    expected = model.generate(torch.tensor([IDS]), do_sample=False, num_beams=1, max_new_tokens=3)[0, len(IDS) :]
    for given in (model, tmp_path):
        generated = attncli.heads(input_ids=IDS, model=given, generate=3).generated
        assert generated is not None and list(generated.ids) == expected.tolist()


def test_what_fits_neither_class_is_refused_by_its_base(tmp_path: Path) -> None:
    model = transformers.BartForCausalLM(PARTS["BartForCausalLM"]())
    kept = {name: value for name, value in model.state_dict().items() if ".layers.1." not in name}
    model.save_pretrained(tmp_path, state_dict=kept)
    with pytest.raises(ModelError, match="are missing in its weights"):
        attncli.heads(input_ids=IDS, model=tmp_path)
