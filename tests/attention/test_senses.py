"""Pictures and sounds: the patterns of tiny models against transformers' own, and what positions are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from attncli.api.heads import heads
from attncli.errors import UsageError
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import Grid
from tests import senses

TEXT = "the mole dug"
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("senses")


@pytest.fixture(scope="module")
def models(place: Path) -> dict[str, Path]:
    return {name: senses.save(name, place) for name in senses.MODELS}


@pytest.fixture(scope="module")
def picture(place: Path) -> Path:
    """As large as the models see it, so that what they are given can be worked out by hand."""
    pytest.importorskip("PIL")
    return senses.save_picture(place / "small.png", 16, 16)


@pytest.fixture(scope="module")
def sound(place: Path) -> Path:
    pytest.importorskip("soundfile")
    pytest.importorskip("soxr")
    return senses.save_sound(place / "tone.wav", seconds=0.5, rate=16000, channels=1)


def pixel_values(side: int = 16) -> torch.Tensor:
    """(value / 255 − 0.5) / 0.5, as the processors' settings say."""
    return torch.tensor(senses.pixels(side, side)).permute(2, 0, 1)[None].float() / 127.5 - 1


def eager(path: Path, cls: Any) -> Any:
    return cls.from_pretrained(path, attn_implementation="eager").eval()


def token_ids(result: HeadsResult, name: str) -> torch.Tensor:
    return torch.tensor([[token.id for token in stack_of(result, name).queries]])


def stack_of(result: HeadsResult, name: str) -> Stack:
    return next(stack for stack in result.stacks if stack.stack == name)


def assert_agree(stack: Stack, expected: Sequence[torch.Tensor]) -> None:
    """Every head of every layer; expected: per layer (1, heads, queries, keys)."""
    assert len(stack.patterns) == sum(weights.shape[1] for weights in expected) > 0
    for pattern in stack.patterns:
        reference = expected[pattern.layer][0, pattern.head].detach().numpy()
        np.testing.assert_allclose(pattern.weights, reference, atol=TOLERANCE)


TOWERS = {
    "vit": ("ViTModel", ["[CLS]"]),
    "deit": ("DeiTModel", ["[CLS]", "[DIST]"]),
    "dinov2": ("Dinov2Model", ["[CLS]"]),
    "registers": ("Dinov2WithRegistersModel", ["[CLS]", "[REG0]", "[REG1]", "[REG2]"]),
    "clip_tower": ("CLIPVisionModel", ["[CLS]"]),
    "siglip": ("SiglipVisionModel", []),
}


@pytest.mark.parametrize("name", TOWERS)
def test_vision_towers_and_the_names_of_their_positions(name: str, models: dict[str, Path], picture: Path) -> None:
    cls, special = TOWERS[name]
    result = heads(image=picture, model=models[name], patterns=True)
    (stack,) = result.stacks
    assert stack.stack == "vision"
    assert [token.text for token in stack.keys] == special + [
        f"{row},{column}" for row in range(4) for column in range(4)
    ]
    assert [token.special for token in stack.keys] == [True] * len(special) + [False] * 16
    assert stack.query_medium.grid == stack.key_medium.grid == Grid(4, 4, len(special))
    reference = eager(models[name], getattr(transformers, cls))
    assert_agree(stack, reference(pixel_values=pixel_values(), output_attentions=True).attentions)


def test_both_towers_of_clip_beside_a_text_and_one_without(models: dict[str, Path], picture: Path) -> None:
    both = heads(TEXT, image=picture, model=models["clip"], patterns=True)
    assert [stack.stack for stack in both.stacks] == ["vision", "text"]
    reference = eager(models["clip"], transformers.CLIPModel)
    output = reference(pixel_values=pixel_values(), input_ids=token_ids(both, "text"), output_attentions=True)
    assert_agree(stack_of(both, "vision"), output.vision_model_output.attentions)
    assert_agree(stack_of(both, "text"), output.text_model_output.attentions)
    assert stack_of(both, "text").key_medium.kind == "tokens"
    (alone,) = heads(image=picture, model=models["clip"], patterns=True).stacks
    assert_agree(alone, output.vision_model_output.attentions)


def test_captions_of_blip_look_at_patches(models: dict[str, Path], picture: Path) -> None:
    result = heads(TEXT, image=picture, model=models["blip"], patterns=True)
    assert [stack.stack for stack in result.stacks] == ["vision", "decoder", "cross"]
    reference = eager(models["blip"], transformers.BlipForConditionalGeneration)
    ids = token_ids(result, "decoder")
    seen = reference.vision_model(pixel_values=pixel_values(), output_attentions=True)
    output = reference.text_decoder(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        encoder_hidden_states=seen.last_hidden_state,
        output_attentions=True,
        use_cache=False,
    )
    assert_agree(stack_of(result, "vision"), seen.attentions)
    assert_agree(stack_of(result, "decoder"), output.attentions)
    cross = stack_of(result, "cross")
    assert_agree(cross, output.cross_attentions)
    assert (cross.query_medium.kind, cross.key_medium.grid) == ("tokens", Grid(4, 4, 1))


def test_captions_of_git_stand_in_the_same_rows_as_the_picture(models: dict[str, Path], picture: Path) -> None:
    result = heads(TEXT, image=picture, model=models["git"], patterns=True)
    assert [stack.stack for stack in result.stacks] == ["vision", "decoder", "cross"]
    reference = eager(models["git"], transformers.GitForCausalLM)
    ids = token_ids(result, "decoder")
    output = reference(pixel_values=pixel_values(), input_ids=ids, output_attentions=True, use_cache=False)
    seen = 17
    assert output.attentions[0].shape[-1] == seen + ids.shape[1]
    assert_agree(stack_of(result, "cross"), [weights[:, :, seen:, :seen] for weights in output.attentions])
    assert_agree(stack_of(result, "decoder"), [weights[:, :, seen:, seen:] for weights in output.attentions])
    assert stack_of(result, "decoder").causal


def test_a_text_before_a_picture_is_not_taken_for_one_behind_it(picture: Path) -> None:
    """ViLT's tokens of both see one another; which is which is unknown, and so not shown."""
    config = transformers.ViltConfig(**senses.EYE, vocab_size=senses.VOCABULARY, max_position_embeddings=40)
    torch.manual_seed(0)
    module = transformers.ViltModel._from_config(config, attn_implementation="eager").eval()
    processor = transformers.ViTImageProcessorPil.from_dict(senses.SQUARE)
    result = heads(TEXT, image=picture, model=module, processor=processor, tokenizer=senses.WORDS, patterns=True)
    (stack,) = result.stacks
    assert (len(stack.queries), stack.key_medium.grid) == (5 + 17, None)
    ids = torch.tensor([senses.WORDS.encode(TEXT).ids])
    expected = module(input_ids=ids, pixel_values=pixel_values(), output_attentions=True).attentions
    for pattern in stack.patterns:  # it takes the patches in an order of chance, behind the text
        theirs = expected[pattern.layer][0, pattern.head, :5, :5].detach().numpy()
        np.testing.assert_allclose(pattern.weights[:5, :5], theirs, atol=TOLERANCE)


def test_an_encoder_of_pictures_and_its_decoder(models: dict[str, Path], picture: Path) -> None:
    result = heads(TEXT, image=picture, model=models["captioner"], patterns=True)
    reference = eager(models["captioner"], transformers.VisionEncoderDecoderModel)
    ids = token_ids(result, "decoder")
    output = reference(pixel_values=pixel_values(), decoder_input_ids=ids, output_attentions=True, use_cache=False)
    assert_agree(stack_of(result, "encoder"), output.encoder_attentions)
    assert_agree(stack_of(result, "decoder"), output.decoder_attentions)
    assert_agree(stack_of(result, "cross"), output.cross_attentions)
    assert stack_of(result, "cross").key_medium.grid == Grid(4, 4, 1)


def test_a_decoder_gets_its_start_token_before_a_text_that_lacks_it(models: dict[str, Path], picture: Path) -> None:
    start = 2  # [CLS], with which the tokenizer begins as well
    with_start = heads(TEXT, image=picture, model=models["captioner"])
    bare = heads(TEXT, image=picture, model=models["captioner"], no_special=True)
    for result, count in ((with_start, 5), (bare, 4)):
        tokens = stack_of(result, "decoder").queries
        assert tokens[0].id == start and tokens[1].text == "the"
        assert [token.index for token in tokens] == list(range(count))


def test_a_caption_is_cut_to_what_the_model_takes_only_when_asked(models: dict[str, Path], picture: Path) -> None:
    long = "mole " * 40
    with pytest.raises(UsageError, match="the model accepts at most 32") as caught:
        heads(long, image=picture, model=models["captioner"], no_special=True)
    assert caught.value.hint == "add --truncate to shorten it"
    cut = heads(long, image=picture, model=models["captioner"], no_special=True, truncate=True)
    assert len(stack_of(cut, "decoder").queries) == 32
    assert "the text was truncated to the 32 tokens that the model accepts" in cut.notes


def dense(windows: torch.Tensor, rows: int, columns: int, side: int, shift: int) -> torch.Tensor:
    """Weights within windows, (windows, heads, side², side²), at their places: (heads, patches, patches)."""
    whole = torch.zeros(windows.shape[1], rows * columns, rows * columns)
    for window, weights in enumerate(windows):
        top, left = divmod(window, columns // side)
        places = [
            (top * side + y + shift) % rows * columns + (left * side + x + shift) % columns
            for y in range(side)
            for x in range(side)
        ]
        for slot, place in enumerate(places):
            whole[:, place, places] = weights[:, slot]
    return whole


def test_windows_of_swin_stand_at_their_places(models: dict[str, Path], place: Path) -> None:
    pytest.importorskip("PIL")
    path = senses.save_picture(place / "larger.png", 32, 32)
    result = heads(image=path, model=models["swin"], patterns=True)
    assert [(stack.stack, stack.key_medium.grid) for stack in result.stacks] == [
        ("vision", Grid(16, 16, 0)), ("vision2", Grid(8, 8, 0))
    ]  # fmt: skip
    assert [stack.key_medium.window for stack in result.stacks] == [4, 4]
    reference = eager(models["swin"], transformers.SwinModel)
    caught: list[torch.Tensor] = []
    for name, module in reference.named_modules():
        if name.endswith("attention.dropout") or type(module).__name__ in ("SwinSelfAttention", "SwinAttention"):
            module.register_forward_hook(lambda _module, _inputs, output: caught.append(output[1]))
    reference(pixel_values=pixel_values(32), output_attentions=True)
    caught = [weights for weights in caught if isinstance(weights, torch.Tensor)][:4]
    for stack, grid, layers in zip(result.stacks, (16, 8), (caught[:2], caught[2:]), strict=True):
        assert_agree(stack, [dense(layers[0], grid, grid, 4, 0)[None], dense(layers[1], grid, grid, 4, 2)[None]])


def test_the_stages_of_swin_can_be_chosen(models: dict[str, Path], picture: Path) -> None:
    result = heads(image=picture, model=models["swin"], head="vision2.1.3", query="7,7")
    chosen = [(stack.stack, pattern.layer, pattern.head) for stack in result.stacks for pattern in stack.patterns]
    assert chosen == [("vision2", 1, 3)]


def test_whisper_hears_in_seconds(models: dict[str, Path], sound: Path) -> None:
    result = heads(TEXT, audio=sound, model=models["whisper"], patterns=True)
    assert [stack.stack for stack in result.stacks] == ["encoder", "decoder", "cross"]
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(models["whisper"])
    import soundfile

    samples, rate = soundfile.read(sound, dtype="float32")
    heard = extractor(samples, sampling_rate=rate, return_tensors="pt").input_features
    reference = eager(models["whisper"], transformers.WhisperModel)
    output = reference(heard, decoder_input_ids=token_ids(result, "decoder"), output_attentions=True, use_cache=False)
    assert_agree(stack_of(result, "encoder"), output.encoder_attentions)
    assert_agree(stack_of(result, "decoder"), output.decoder_attentions)
    assert_agree(stack_of(result, "cross"), output.cross_attentions)
    frames = stack_of(result, "cross").keys
    assert (len(frames), frames[0].text, frames[1].text, frames[-1].text) == (50, "0.00s", "0.02s", "0.98s")
    assert stack_of(result, "encoder").key_medium.seconds == pytest.approx(0.02)


def test_raw_waves_are_heard_in_seconds(models: dict[str, Path], sound: Path) -> None:
    (stack,) = heads(audio=sound, model=models["wav2vec2"], patterns=True).stacks
    assert stack.stack == "audio"
    assert stack.key_medium.seconds == 320 / 16000
    import soundfile

    samples, _ = soundfile.read(sound, dtype="float32")
    wave = torch.tensor((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7))[None]
    reference = eager(models["wav2vec2"], transformers.Wav2Vec2Model)
    assert_agree(stack, reference(wave, output_attentions=True).attentions)


def test_any_rate_and_several_channels_are_brought_to_the_models_own(models: dict[str, Path], place: Path) -> None:
    pytest.importorskip("soundfile")
    pytest.importorskip("soxr")
    own = senses.save_sound(place / "own.wav", rate=16000, channels=1)
    other = senses.save_sound(place / "other.flac", rate=44100, channels=2)
    first, second = (heads(audio=path, model=models["whisper"], patterns=True) for path in (own, other))
    assert [note for note in second.notes if "other" in note] == [
        f"the 2 channels of {other} were mixed down to one",
        f"{other} was resampled from 44,100 to 16,000 Hz",
    ]
    assert "the model reads 1 s: 0.50 s of sound, then 0.50 s of silence" in first.notes
    for ours, theirs in zip(first.stacks[0].patterns, second.stacks[0].patterns, strict=True):
        np.testing.assert_allclose(ours.weights, theirs.weights, atol=0.02)


def test_a_model_that_was_handed_over_takes_its_processor_along(models: dict[str, Path], picture: Path) -> None:
    module = eager(models["vit"], transformers.ViTModel)
    processor = transformers.ViTImageProcessorPil.from_dict(senses.SQUARE)
    (stack,) = heads(image=picture, model=module, processor=processor, patterns=True).stacks
    assert_agree(stack, module(pixel_values=pixel_values(), output_attentions=True).attentions)


def test_the_picture_that_was_seen_is_in_the_result(models: dict[str, Path], picture: Path) -> None:
    result = heads(image=picture, model=models["vit"])
    assert result.picture is not None
    np.testing.assert_array_equal(result.picture.pixels, senses.pixels(16, 16))
    assert result.to_dict()["picture"]["pixels"]["shape"] == [16, 16, 3]


def test_a_crop_shows_the_part_that_the_model_saw(models: dict[str, Path], place: Path) -> None:
    pytest.importorskip("PIL")
    result = heads(image=senses.save_picture(place / "wide.png", 16, 48), model=models["dinov2"])
    assert result.picture is not None
    np.testing.assert_array_equal(result.picture.pixels, senses.pixels(16, 48)[:, 16:32])


def test_masks_and_sizes_of_patches_reach_a_tower(picture: Path) -> None:
    """SigLIP 2 is given flattened patches with padding behind them."""
    config = transformers.Siglip2VisionConfig(**senses.SIZES, patch_size=4, num_patches=16)
    torch.manual_seed(0)
    module = transformers.Siglip2VisionModel._from_config(config, attn_implementation="eager").eval()
    processor = transformers.Siglip2ImageProcessorPil(patch_size=4, max_num_patches=20)
    (stack,) = heads(image=picture, model=module, processor=processor, patterns=True).stacks
    inputs = processor(senses.pixels(16, 16), return_tensors="pt")
    assert inputs["pixel_attention_mask"].sum() < 20
    assert_agree(stack, module(**inputs, output_attentions=True).attentions)


def test_a_model_of_flattened_patches_is_given_their_mask(picture: Path) -> None:
    sizes = {"hidden_size": 32, "d_kv": 8, "d_ff": 48}
    config = transformers.Pix2StructConfig(
        text_config={**sizes, "vocab_size": senses.VOCABULARY, "num_layers": 2, "num_heads": 4},
        vision_config={**sizes, "patch_embed_hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    )
    torch.manual_seed(0)
    module = transformers.Pix2StructForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
    processor = transformers.Pix2StructImageProcessorPil(patch_size={"height": 4, "width": 4}, max_patches=30)
    given = {"model": module, "processor": processor, "tokenizer": senses.WORDS, "patterns": True}
    result = heads(TEXT, image=picture, **given)
    inputs = processor(senses.pixels(16, 16), return_tensors="pt")
    ids = token_ids(result, "decoder")
    output = module(**inputs, decoder_input_ids=ids, output_attentions=True, use_cache=False)
    assert_agree(stack_of(result, "encoder"), output.encoder_attentions)
    assert_agree(stack_of(result, "decoder"), output.decoder_attentions)
    assert_agree(stack_of(result, "cross"), output.cross_attentions)
