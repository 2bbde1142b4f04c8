"""Tiny models of pictures and sounds in folders as the hub has them, and pictures and sounds to show them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from tests.tokens.vocabularies import word_piece

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
#: 6 × 4 patches of 4 × 4 pixels would be no square, which most of these models can't take: 4 × 4 it is.
EYE = {**SIZES, "image_size": 16, "patch_size": 4}
WORDS = word_piece()
VOCABULARY = WORDS.get_vocab_size()
TEXT = {**SIZES, "vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
PIXELS = {"do_resize": True, "do_normalize": True, "do_rescale": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
SQUARE = {**PIXELS, "image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}}
CROPPED = {
    **PIXELS,
    "image_processor_type": "CLIPImageProcessor",
    "do_center_crop": True,
    "size": {"shortest_edge": 16},
    "crop_size": {"height": 16, "width": 16},
}
EARS = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 8,
    "sampling_rate": 16000,
    "chunk_length": 1,
    "n_fft": 400,
    "hop_length": 160,
}
RAW = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "sampling_rate": 16000}


def model_of(name: str, **fields: Any) -> Callable[[], Any]:
    """What builds a model of transformers by its class and the fields of its configuration."""

    def build() -> Any:
        cls = getattr(transformers, name)
        return cls(cls.config_class(**fields))

    return build


def captioner() -> Any:
    """A vision encoder and GPT-2 as a decoder."""
    decoder = transformers.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, n_positions=32, vocab_size=VOCABULARY, bos_token_id=2, eos_token_id=3
    )
    both = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(transformers.ViTConfig(**EYE), decoder)
    both.decoder_start_token_id, both.pad_token_id = 2, 0
    return transformers.VisionEncoderDecoderModel(both)


SHORT = {**TEXT, "max_position_embeddings": 20}
SPEECH = {
    "d_model": 32, "vocab_size": VOCABULARY, "num_mel_bins": 8, "max_source_positions": 50, "max_target_positions": 30,
    "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2,
    **{f"{side}_{name}": value for side in ("encoder", "decoder")
       for name, value in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))},
}  # fmt: skip
WAVES = {
    **SIZES, "conv_dim": (8, 8), "conv_kernel": (10, 3), "conv_stride": (20, 16), "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "vocab_size": 10,
}  # fmt: skip
STAGES = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
CAPTION = {**SHORT, "encoder_hidden_size": 32, "is_decoder": True}

#: With the settings of what makes a picture or a sound ready for each.
MODELS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "vit": (model_of("ViTModel", **EYE), SQUARE),
    "deit": (model_of("DeiTModel", **EYE), SQUARE),
    "dinov2": (model_of("Dinov2Model", **EYE), CROPPED),
    "registers": (model_of("Dinov2WithRegistersModel", **EYE, num_register_tokens=3), CROPPED),
    "clip_tower": (model_of("CLIPVisionModel", **EYE), CROPPED),
    "siglip": (model_of("SiglipVisionModel", **EYE), SQUARE),
    "clip": (model_of("CLIPModel", text_config=SHORT, vision_config=EYE, projection_dim=16), CROPPED),
    "swin": (model_of("SwinModel", **STAGES), {**SQUARE, "size": {"height": 32, "width": 32}}),
    "blip": (
        model_of("BlipForConditionalGeneration", text_config=CAPTION, vision_config=EYE, projection_dim=16),
        {**SQUARE, "image_processor_type": "BlipImageProcessor"},
    ),
    "git": (model_of("GitForCausalLM", vision_config=EYE, **TEXT, max_position_embeddings=40), CROPPED),
    "captioner": (captioner, SQUARE),
    "whisper": (model_of("WhisperForConditionalGeneration", **SPEECH), EARS),
    "wav2vec2": (model_of("Wav2Vec2Model", **WAVES), RAW),
}
READS_TEXT = ("clip", "blip", "git", "captioner", "whisper")


def save(name: str, folder: Path) -> Path:
    """The model with random weights that attend to something, and what belongs to it, in a folder of its name."""
    build, settings = MODELS[name]
    torch.manual_seed(0)
    model = build().eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if "norm" not in path and parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape) * (1.2 / parameter[0].numel() ** 0.5))
    target = folder / name
    model.save_pretrained(target)
    (target / "preprocessor_config.json").write_text(json.dumps(settings))
    if name in READS_TEXT:
        WORDS.save(str(target / "tokenizer.json"))
    return target


def pixels(height: int = 40, width: int = 60) -> np.ndarray:
    """A red disc on a gradient of blue and green."""
    rows, columns = np.mgrid[0:height, 0:width]
    disc = (rows - height * 0.4) ** 2 + (columns - width * 0.6) ** 2 < (height * 0.25) ** 2
    ground = np.stack([rows * 0, 60 + rows * 120 // height, 80 + columns * 150 // width], axis=-1)
    return np.where(disc[..., None], (220, 60, 40), ground).astype(np.uint8)


def save_picture(path: Path, height: int = 40, width: int = 60) -> Path:
    from PIL import Image

    Image.fromarray(pixels(height, width)).save(path)
    return path


def save_sound(path: Path, seconds: float = 0.5, rate: int = 8000, channels: int = 2) -> Path:
    import soundfile

    time = np.arange(int(seconds * rate)) / rate
    wave = 0.5 * np.sin(2 * np.pi * 440 * time) * np.minimum(1, time * 10)
    soundfile.write(path, np.repeat(wave[:, None], channels, axis=1), rate)
    return path
