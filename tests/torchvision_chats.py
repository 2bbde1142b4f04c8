"""Tiny models whose processors need torchvision, as those of `picture_chats`."""

from __future__ import annotations

from typing import Any

import transformers

from tests.picture_chats import EYE, FIXED, IDS, SIZES, TEXT, template, tokenizer


def _pixtral_processor(merged: int) -> Any:
    eyes = transformers.PixtralImageProcessor(size={"longest_edge": 32}, patch_size={"height": 4, "width": 4})
    marks = {"image_token": "<image>", "image_break_token": "<row_1_col_1>", "image_end_token": "<end_of_image>"}
    form = template("<image>")
    return transformers.PixtralProcessor(
        eyes, tokenizer(), patch_size=4, spatial_merge_size=merged, chat_template=form, **marks
    )


_PIXTRAL_EYE = {**EYE, "model_type": "pixtral", "image_size": 32, "head_dim": 8}


def pixtral() -> Any:
    return transformers.LlavaForConditionalGeneration(transformers.LlavaConfig(
        vision_config=_PIXTRAL_EYE, text_config={**TEXT, "model_type": "mistral"}, image_token_index=IDS["<image>"],
        vision_feature_layer=-1, vision_feature_select_strategy="full",
    ))  # fmt: skip


def pixtral_processor() -> Any:
    return _pixtral_processor(1)


def mistral3() -> Any:
    return transformers.Mistral3ForConditionalGeneration(transformers.Mistral3Config(
        vision_config=_PIXTRAL_EYE, text_config={**TEXT, "model_type": "mistral"}, image_token_index=IDS["<image>"],
        spatial_merge_size=2,
    ))  # fmt: skip


def mistral3_processor() -> Any:
    return _pixtral_processor(2)


def cohere2_vision() -> Any:
    return transformers.Cohere2VisionForConditionalGeneration(transformers.Cohere2VisionConfig(
        vision_config={**EYE, "model_type": "siglip_vision_model"},
        text_config={**TEXT, "model_type": "cohere2", "layer_types": ["sliding_attention", "full_attention"]},
        image_token_id=IDS["<|IMG_PATCH|>"], alignment_intermediate_size=2 * SIZES["hidden_size"],
    ))  # fmt: skip


def cohere2_vision_processor() -> Any:
    eyes = transformers.Cohere2VisionImageProcessor(**FIXED, patch_size=2, max_patches=4)
    words = tokenizer(image_token="<|IMG_PATCH|>", boi_token="<|START_OF_IMG|>", eoi_token="<|END_OF_IMG|>",
                      img_line_break_token="<|IMG_LINE_BREAK|>")  # fmt: skip
    return transformers.Cohere2VisionProcessor(eyes, words, chat_template=template("<|IMG_PATCH|>"))


MODELS = {
    "pixtral": (pixtral, pixtral_processor),
    "mistral3": (mistral3, mistral3_processor),
    "cohere2_vision": (cohere2_vision, cohere2_vision_processor),
}
