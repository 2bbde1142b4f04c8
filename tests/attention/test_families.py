"""Families with their own way to compute or return attention, and the errors of those without attention."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
import transformers

from attncli.api.heads import heads
from attncli.attention.selection import HeadsRequest, parse_selection
from attncli.errors import ModelError, UsageError
from attncli.models.loading.loaded_model import LoadedModel, wrap_model
from tests import tiny
from tests.attention import transformers_reference as theirs
from tests.attention.shrink import FORMS, default_config, shrunk, spread_weights
from tests.attention.sweep import TARGETS, TEXTS, base_class, examine
from tests.tiny import read_heads, read_heads_of_each

#: One of a mechanism each; the sweep does all.
KINDS = {
    "xlnet": "positions come before batch and heads",
    "squeezebert": "scores are handed out instead of weights",
    "ibert": "weights stand in a tuple in a tuple",
    "cpmant": "learned positions stand before the text",
    "longt5": "blocks that see their neighbours",
    "t5gemma2": "a decoder reads its own tokens and the encoder's at once",
    "diffllama": "one attention, to values in two parts",
    "longcat_flash": "two attentions a layer",
    "deepseek_v32": "a search chooses keys for each query",
    "granite_swa": "a sink that transformers applies after the weights",
    "inkling2_text": "a sink of each query's own, and a bias",
    "funnel": "lists of lists of layers, and fewer tokens in each",
}


def tiny_model(model_type: str, form: int = 0) -> LoadedModel:
    config = shrunk(default_config(model_type), FORMS[form])
    model = base_class(model_type)._from_config(config, attn_implementation="eager").eval()
    spread_weights(model)
    return wrap_model(model, model_type)


@pytest.mark.parametrize("model_type", KINDS)
def test_every_mechanism_agrees_with_transformers_alone_and_padded(model_type: str) -> None:
    if model_type not in transformers.CONFIG_MAPPING:
        pytest.skip(f"transformers {transformers.__version__} has no {model_type}")
    outcome = examine(model_type)
    assert outcome.kind == "agrees", outcome


def test_the_comparison_can_fail() -> None:
    loaded = tiny_model("bert")
    inputs = theirs.inputs_for(loaded, TEXTS, TARGETS)
    reference = theirs.reference(loaded.module, inputs)
    assert theirs.compare(loaded, inputs, reference).deviation < 1e-5
    layers = dict(reference.fields["attentions"])
    swapped = dataclasses.replace(reference, fields={"attentions": {**layers, 1: layers[2], 2: layers[1]}})
    assert theirs.compare(loaded, inputs, swapped).deviation > 0.1


def windowed_reference(
    query: torch.Tensor, key: torch.Tensor, heads: int, side: int, real: torch.Tensor
) -> torch.Tensor:
    """softmax(Q Kᵀ/√d) where |i − j| ≤ side and j is no padding: (batch, heads, n, n), from (batch, n, heads · d)."""
    split = [states.unflatten(-1, (heads, -1)).transpose(1, 2) for states in (query, key)]
    scores = split[0] @ split[1].transpose(2, 3) / split[0].shape[-1] ** 0.5
    place = torch.arange(scores.shape[-1])
    near = (place[:, None] - place[None, :]).abs() <= side
    return scores.masked_fill(~(near & real[:, None, None, :]), -torch.inf).softmax(-1)


@pytest.mark.parametrize("model_type", ["longformer", "led"])
def test_windows_stand_at_their_true_columns(model_type: str) -> None:
    """Against a dense computation from the same queries and keys; the text is no multiple of the window."""
    loaded = tiny_model(model_type)
    inputs = theirs.inputs_for(loaded, TEXTS, TARGETS)
    modules = [part for part in loaded.module.modules() if hasattr(part, "one_sided_attn_window_size")]
    states: dict[tuple[int, str], torch.Tensor] = {}
    for layer, module in enumerate(modules):
        for name in ("query", "key"):
            hook = lambda _m, _i, output, layer=layer, name=name: states.update({(layer, name): output.clone()})  # noqa: E731
            getattr(module, name).register_forward_hook(hook)
    found = read_heads_of_each(loaded, inputs, HeadsRequest(patterns=True))
    length, real = inputs.main.length, inputs.main.real
    assert length % (2 * modules[0].one_sided_attn_window_size)
    for layer, module in enumerate(modules):
        query, key = (states[layer, name].transpose(0, 1)[:, :length] for name in ("query", "key"))
        dense = windowed_reference(query, key, module.num_heads, module.one_sided_attn_window_size, real)
        for text, (stack, *_) in enumerate(found):
            rows = real[text].nonzero().flatten()
            for pattern in (each for each in stack.patterns if each.layer == layer):
                expected = dense[text, pattern.head][rows][:, rows].detach().numpy()
                np.testing.assert_allclose(pattern.weights, expected, atol=1e-5)


@pytest.mark.parametrize("model_type", ["jamba", "bamba", "granitemoehybrid", "qwen3_next", "falcon_h1"])
def test_hybrids_keep_their_layer_numbers_and_name_the_others(model_type: str) -> None:
    loaded = tiny_model(model_type, form=1)
    (stack,) = read_heads(loaded, theirs.inputs_for(loaded, TEXTS[:1], TARGETS), HeadsRequest(patterns=True))
    attending = {
        int(path.split(".")[1]) for path, part in loaded.module.named_modules() if path.endswith("self_attn.q_proj")
    }
    assert {pattern.layer for pattern in stack.patterns} == attending
    assert len(stack.layers) == len(loaded.module.layers)
    for layer in stack.layers:
        assert (layer.heads > 0) == (layer.layer in attending)
        assert (layer.mixer is None) == (layer.layer in attending)
        assert layer.mixer is None or re.search("Mamba|Mixer|Delta", layer.mixer)


def test_a_layer_without_attention_names_those_that_have_it() -> None:
    loaded = tiny_model("jamba", form=1)
    inputs = theirs.inputs_for(loaded, TEXTS[:1], TARGETS)
    with pytest.raises(UsageError, match="none of the chosen layers has attention") as caught:
        read_heads(loaded, inputs, HeadsRequest(parse_selection("0"), patterns=True))
    assert "these layers have: 1, 3" in caught.value.hint


@pytest.mark.parametrize(
    "config", [tiny.llama, tiny.bloom, tiny.openai_gpt], ids=["interface", "softmax", "own softmax"]
)
def test_broken_weights_name_the_layer(config) -> None:
    model = tiny.build(config())
    layers = next(part for part in model.modules() if isinstance(part, torch.nn.ModuleList))
    with torch.no_grad():
        next(parameter for name, parameter in layers[1].named_parameters() if "att" in name).fill_(torch.nan)
    loaded = wrap_model(model)
    with pytest.raises(ModelError, match="the attention of layer 1 is not a number"):
        read_heads(loaded, theirs.inputs_for(loaded, TEXTS[:1], TARGETS), HeadsRequest())


def test_a_model_that_needs_a_picture_says_so() -> None:
    loaded = tiny_model("vilt")
    with pytest.raises(ModelError, match=r"ViltModel can't run on only a text: it also needs .*pixel_values"):
        read_heads(loaded, theirs.inputs_for(loaded, TEXTS[:1], TARGETS), HeadsRequest())


def test_a_stack_that_cannot_be_read_is_named_and_one_that_did_not_run_is_not() -> None:
    """Pegasus-X reads its text in blocks beside global tokens; LLaVA's tower saw no picture."""
    ids = TEXTS[0]
    left_out = heads(model=tiny_model("pegasus_x").module, input_ids=ids).warnings
    assert left_out == ("the attention of the encoder can't be read and is not shown: PegasusXGlobalLocalAttention",)
    assert heads(model=tiny_model("llava").module, input_ids=ids).warnings == ()


def test_an_encoder_decoder_within_a_larger_model_is_called_so() -> None:
    loaded = tiny_model("florence2")
    assert [known.word for known in loaded.lists if known.path.startswith("language_model")] == ["encoder", "decoder"]


def pictures_and_sounds() -> dict[str, tuple[transformers.PreTrainedConfig, dict[str, torch.Tensor]]]:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    picture = {"pixel_values": torch.randn(2, 3, 16, 16)}
    vit = transformers.ViTConfig(**sizes, image_size=16, patch_size=4)
    clip = transformers.CLIPConfig(
        text_config={**sizes, "vocab_size": 99}, vision_config={**sizes, "image_size": 16, "patch_size": 4}
    )
    sides = {f"{side}_{name}": value for side in ("encoder", "decoder")
             for name, value in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))}  # fmt: skip
    whisper = transformers.WhisperConfig(
        d_model=32, vocab_size=99, pad_token_id=0, num_mel_bins=8, max_source_positions=20, **sides
    )
    ids = torch.tensor([[5, 6, 7, 8], [8, 7, 6, 5]])
    sound = {"input_features": torch.randn(2, 8, 40), "decoder_input_ids": ids}
    return {"vit": (vit, picture), "clip": (clip, {**picture, "input_ids": ids}), "whisper": (whisper, sound)}


@pytest.mark.parametrize("name", ["vit", "clip", "whisper"])
def test_towers_for_pictures_and_sounds(name: str) -> None:
    """At the probe: what every layer hands on is what transformers hands out, in the order in which it happens."""
    config, arguments = pictures_and_sounds()[name]
    model = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
    spread_weights(model)
    with torch.no_grad():
        output = model(**arguments, output_attentions=True)
    fields = {"vit": ["attentions"], "whisper": ["encoder_attentions", "decoder_attentions", "cross_attentions"]}
    tuples = [output[field] for field in fields.get(name, ())] or [
        output.vision_model_output.attentions, output.text_model_output.attentions
    ]  # fmt: skip
    found: list[tuple[str, torch.Tensor]] = []
    observe = lambda path, attention: found.append((path, torch.cat([b.weights for b in attention.blocks()], 2)))  # noqa: E731
    wrap_model(model).run_attention(arguments, observe)
    if name == "whisper":
        found = sorted(found, key=lambda each: ("decoder" in each[0], "encoder_attn" in each[0]))
    if name == "clip":
        found = sorted(found, key=lambda each: "text" in each[0])
    expected = [weights for layers in tuples for weights in layers]
    assert len(found) == len(expected) > 0
    for (_, ours), weights in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, weights, atol=1e-5, rtol=0)
