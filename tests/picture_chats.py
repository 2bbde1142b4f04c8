"""Tiny models that chat about pictures, with their processors, in folders as the hub has them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests import senses

WORDS = ("a", "cat", "on", "the", "mat", "and", "mole", "dug")
#: Every name that one of these families gives to a token of a picture or of its surroundings.
MARKS = (
    "<pad>", "<bos>", "<eos>", "<image>", "<start_of_image>", "<end_of_image>", "<soft>", "<|image_pad|>",
    "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<fake_token_around_image>", "<global-img>",
    "<end_of_utterance>", "<row_1_col_1>", "<row_1_col_2>", "<row_2_col_1>", "<row_2_col_2>", "<|image|>",
    "<|python_tag|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>", "<|START_OF_IMG|>", "<|END_OF_IMG|>",
    "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE_1", "TILE_2", "TILE_3", "TILE_4", "TILE_GLOBAL",
)  # fmt: skip
IDS = {word: number for number, word in enumerate((*MARKS, "<unk>", "\n", "\n\n", *WORDS))}

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
TEXT = {
    **SIZES, "vocab_size": len(IDS) + 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
#: 4 × 4 patches of 4 × 4 pixels.
EYE = {**SIZES, "image_size": 16, "patch_size": 4}
FIXED = {"size": {"height": 16, "width": 16}}


def tokenizer(**named: str) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words that begins with <bos>. named: the special tokens that a family's processor asks for,
    such as `image_token`."""
    backend = Tokenizer(models.WordLevel(IDS, unk_token="<unk>"))
    split = [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split(Regex("\n+"), "isolated")]
    backend.pre_tokenizer = pre_tokenizers.Sequence(split)
    backend.decoder = decoders.WordPiece(prefix="##")
    backend.add_special_tokens([AddedToken(mark, normalized=False, special=True) for mark in MARKS])
    backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", IDS["<bos>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>", extra_special_tokens=named,
    )  # fmt: skip


def gemma3() -> Any:
    text = {**TEXT, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
    return transformers.Gemma3ForConditionalGeneration(transformers.Gemma3Config(
        text_config=text, vision_config=EYE, mm_tokens_per_image=4, image_token_id=IDS["<soft>"],
        boi_token_index=IDS["<start_of_image>"], eoi_token_index=IDS["<end_of_image>"],
    ))  # fmt: skip


def gemma3_processor() -> Any:
    words = tokenizer(boi_token="<start_of_image>", eoi_token="<end_of_image>", image_token="<soft>")
    return transformers.Gemma3Processor(transformers.Gemma3ImageProcessorPil(**FIXED), words, image_seq_length=4)


def llava() -> Any:
    return transformers.LlavaForConditionalGeneration(transformers.LlavaConfig(
        vision_config={**EYE, "model_type": "clip_vision_model"}, text_config={**TEXT, "model_type": "llama"},
        image_token_index=IDS["<image>"],
    ))  # fmt: skip


def llava_processor() -> Any:
    eyes = transformers.CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    return transformers.LlavaProcessor(
        eyes, tokenizer(image_token="<image>"), patch_size=4, vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )  # fmt: skip


_QWEN_IDS = {
    "image_token_id": IDS["<|image_pad|>"], "video_token_id": IDS["<|video_pad|>"],
    "vision_start_token_id": IDS["<|vision_start|>"], "vision_end_token_id": IDS["<|vision_end|>"],
}  # fmt: skip


def qwen2_vl() -> Any:
    eye = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "patch_size": 4, "mlp_ratio": 2}
    text = {**TEXT, "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}}
    return transformers.Qwen2VLForConditionalGeneration(
        transformers.Qwen2VLConfig(text_config=text, vision_config=eye, **_QWEN_IDS)
    )


def qwen2_5_vl() -> Any:
    eye = {"depth": 2, "hidden_size": 32, "out_hidden_size": 32, "num_heads": 4, "patch_size": 4,
           "intermediate_size": 48, "window_size": 16, "fullatt_block_indexes": [1]}  # fmt: skip
    text = {**TEXT, "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}}
    return transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(text_config=text, vision_config=eye, **_QWEN_IDS)
    )


def template(picture: str, video: str | None = None) -> str:
    """A chat template that writes a picture and a video like this."""
    return (
        "{% for message in messages %}<bos>{{ message['role'] }}\n{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}"
        + picture
        + "{% elif part['type'] == 'video' %}"
        + (video or "")
        + "{% else %}{{ part['text'] }}"
        "{% endif %}{% endfor %}<eos>\n{% endfor %}{% if add_generation_prompt %}<bos>the mole\n{% endif %}"
    )


def _without_videos(cls: Any, eyes: Any, words: Any, **options: Any) -> Any:
    """A processor without its part for videos, which needs torchvision."""
    with mock.patch.object(cls, "check_argument_for_proper_class", lambda *_: None):
        return cls(image_processor=eyes, tokenizer=words, video_processor=None, **options)


def qwen_processor(name: str = "Qwen2VLProcessor") -> Any:
    eyes = transformers.Qwen2VLImageProcessorPil(
        patch_size=4, merge_size=2, size={"shortest_edge": 64, "longest_edge": 24 * 16}
    )
    words = tokenizer(image_token="<|image_pad|>", video_token="<|video_pad|>")
    return _without_videos(
        getattr(transformers, name),
        eyes,
        words,
        chat_template=template(
            "<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>"
        ),
    )


def qwen2_5_processor() -> Any:
    return qwen_processor("Qwen2_5_VLProcessor")


def qwen3_vl() -> Any:
    eye = {"depth": 2, "hidden_size": 32, "out_hidden_size": 32, "num_heads": 4, "patch_size": 4,
           "intermediate_size": 48, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}  # fmt: skip
    text = {**TEXT, "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}}
    return transformers.Qwen3VLForConditionalGeneration(
        transformers.Qwen3VLConfig(text_config=text, vision_config=eye, **_QWEN_IDS)
    )


def qwen3_processor() -> Any:
    return qwen_processor("Qwen3VLProcessor")


def internvl() -> Any:
    return transformers.InternVLForConditionalGeneration(transformers.InternVLConfig(
        vision_config=EYE, text_config={**TEXT, "model_type": "qwen2"}, image_token_id=IDS["<IMG_CONTEXT>"],
        image_seq_length=4,
    ))  # fmt: skip


def internvl_processor() -> Any:
    eyes = transformers.GotOcr2ImageProcessorPil(**FIXED, crop_to_patches=True, max_patches=4)
    words = tokenizer(
        start_image_token="<img>", end_image_token="</img>", context_image_token="<IMG_CONTEXT>", video_token="<video>"
    )
    form = template("<IMG_CONTEXT>\n", "<video>\n")
    return _without_videos(transformers.InternVLProcessor, eyes, words, image_seq_length=4, chat_template=form)


def aya_vision() -> Any:
    return transformers.AyaVisionForConditionalGeneration(transformers.AyaVisionConfig(
        vision_config={**EYE, "model_type": "siglip_vision_model"},
        text_config={**TEXT, "model_type": "cohere2", "layer_types": ["sliding_attention", "full_attention"]},
        image_token_index=IDS["<|IMG_PATCH|>"],
    ))  # fmt: skip


def aya_vision_processor() -> Any:
    eyes = transformers.GotOcr2ImageProcessorPil(**FIXED, crop_to_patches=True, max_patches=4)
    return transformers.AyaVisionProcessor(eyes, tokenizer(), patch_size=4, img_size=16, downsample_factor=2)


def llava_onevision() -> Any:
    return transformers.LlavaOnevisionForConditionalGeneration(transformers.LlavaOnevisionConfig(
        vision_config={**EYE, "model_type": "siglip_vision_model"}, text_config={**TEXT, "model_type": "qwen2"},
        image_token_index=IDS["<image>"], video_token_index=IDS["<video>"],
        image_grid_pinpoints=[[16, 32], [32, 16], [32, 32]],
    ))  # fmt: skip


def llava_onevision_processor() -> Any:
    eyes = transformers.LlavaOnevisionImageProcessorPil(**FIXED, image_grid_pinpoints=[[16, 32], [32, 16], [32, 32]])
    return _without_videos(
        transformers.LlavaOnevisionProcessor, eyes, tokenizer(image_token="<image>"), num_image_tokens=16,
        vision_feature_select_strategy="full", chat_template=template("<image>", "<video>"),
    )  # fmt: skip


def llava_next() -> Any:
    return transformers.LlavaNextForConditionalGeneration(transformers.LlavaNextConfig(
        vision_config={**EYE, "model_type": "clip_vision_model"}, text_config={**TEXT, "model_type": "llama"},
        image_token_index=IDS["<image>"], image_grid_pinpoints=[[16, 32], [32, 16], [32, 32]],
    ))  # fmt: skip


def llava_next_processor() -> Any:
    eyes = transformers.LlavaNextImageProcessorPil(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16},
        image_grid_pinpoints=[[16, 32], [32, 16], [32, 32]],
    )  # fmt: skip
    return transformers.LlavaNextProcessor(
        eyes, tokenizer(image_token="<image>"), patch_size=4, vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )  # fmt: skip


def _idefics_config(cls: Any) -> Any:
    return cls(
        vision_config=EYE, text_config={**TEXT, "model_type": "llama"}, image_token_id=IDS["<image>"], scale_factor=2,
        pad_token_id=0,
    )  # fmt: skip


def idefics3() -> Any:
    return transformers.Idefics3ForConditionalGeneration(_idefics_config(transformers.Idefics3Config))


def smolvlm() -> Any:
    return transformers.SmolVLMForConditionalGeneration(_idefics_config(transformers.SmolVLMConfig))


_IDEFICS_SIZES = {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 16}}
_IDEFICS_TOKENS = {
    "image_token": "<image>", "fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>",
    "image_boundary_token": "<fake_token_around_image>", "end_of_utterance_token": "<end_of_utterance>",
}  # fmt: skip


def idefics3_processor() -> Any:
    eyes = transformers.Idefics3ImageProcessorPil(**_IDEFICS_SIZES)
    return transformers.Idefics3Processor(
        eyes, tokenizer(**_IDEFICS_TOKENS), image_seq_len=4, chat_template=template("<image>")
    )


def smolvlm_processor() -> Any:
    """Pictures in one piece."""
    eyes = transformers.SmolVLMImageProcessorPil(**_IDEFICS_SIZES, do_image_splitting=False)
    return _without_videos(transformers.SmolVLMProcessor, eyes, tokenizer(**_IDEFICS_TOKENS), image_seq_len=4)


def paligemma() -> Any:
    return transformers.PaliGemmaForConditionalGeneration(transformers.PaliGemmaConfig(
        vision_config={**EYE, "model_type": "siglip_vision_model", "projection_dim": 32},
        text_config={**TEXT, "model_type": "gemma"}, image_token_index=IDS["<image>"], projection_dim=32,
    ))  # fmt: skip


def paligemma_processor() -> Any:
    eyes = transformers.SiglipImageProcessorPil(**FIXED)
    eyes.image_seq_length = 16
    return transformers.PaliGemmaProcessor(eyes, tokenizer(image_token="<image>"))


def mllama() -> Any:
    eye = {
        **SIZES, "image_size": 16, "patch_size": 4, "num_global_layers": 1, "attention_heads": 4,
        "intermediate_layers_indices": [0], "vision_output_dim": 64, "max_num_tiles": 2,
        "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
    }  # fmt: skip
    text = {**TEXT, "cross_attention_layers": [1], "num_hidden_layers": 3}
    return transformers.MllamaForConditionalGeneration(
        transformers.MllamaConfig(vision_config=eye, text_config=text, image_token_index=IDS["<|image|>"])
    )


def mllama_processor() -> Any:
    eyes = transformers.MllamaImageProcessorPil(**FIXED, max_image_tiles=2)
    return transformers.MllamaProcessor(eyes, tokenizer(image_token="<|image|>"))


Models = dict[str, tuple[Callable[[], Any], Callable[[], Any]]]

MODELS: Models = {
    "gemma3": (gemma3, gemma3_processor),
    "llava": (llava, llava_processor),
    "qwen2_vl": (qwen2_vl, qwen_processor),
    "qwen2_5_vl": (qwen2_5_vl, qwen2_5_processor),
    "llava_next": (llava_next, llava_next_processor),
    "idefics3": (idefics3, idefics3_processor),
    "smolvlm": (smolvlm, smolvlm_processor),
    "qwen3_vl": (qwen3_vl, qwen3_processor),
    "internvl": (internvl, internvl_processor),
    "aya_vision": (aya_vision, aya_vision_processor),
    "llava_onevision": (llava_onevision, llava_onevision_processor),
    "paligemma": (paligemma, paligemma_processor),
    "mllama": (mllama, mllama_processor),
}


def save(name: str, folder: Path, models: Models = MODELS) -> tuple[Path, Any]:
    """The model with random weights that attend to something, with its processor's files, in a folder of its name.
    Returns the folder and the processor."""
    build_model, build_processor = models[name]
    torch.manual_seed(0)
    model, processor = build_model().eval(), build_processor()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if "norm" not in path and parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape) * (1.2 / parameter[0].numel() ** 0.5))
            elif "gate" in path:
                parameter.fill_(0.7)  # Mllama's are 0, so that its cross-attention would do nothing
    target = folder / name
    model.generation_config.eos_token_id = None  # so that it writes as much as it is asked to
    model.generation_config.suppress_tokens = list(range(len(MARKS)))  # and no tokens of pictures
    model.save_pretrained(target)
    processor.tokenizer.save_pretrained(target)
    eyes = {**processor.image_processor.to_dict(), "processor_class": type(processor).__name__}
    (target / "preprocessor_config.json").write_text(json.dumps(eyes))
    own = {key: value for key, value in processor.to_dict().items() if not key.endswith("_processor")}
    (target / "processor_config.json").write_text(json.dumps(own))
    if processor.chat_template is not None:
        (target / "chat_template.jinja").write_text(processor.chat_template)
    return target, processor


def save_picture(path: Path, height: int = 16, width: int = 24) -> Path:
    return senses.save_picture(path, height, width)


#: How the processor writes a picture before a text, for families whose tests have no chat template.
WRITTEN = {
    "gemma3": "<start_of_image>",
    "llava": "<image>",
    "llava_next": "<image>",
    "aya_vision": "<image>",
    "paligemma": "<image>",
    "mllama": "<|image|>",
}
#: Families whose chat template writes the question.
CHATTING = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl", "idefics3", "llava_onevision")
FAMILIES = (*WRITTEN, *CHATTING)


class Chat(NamedTuple):
    """A saved model, transformers' own of it under eager attention, and its processor."""

    name: str
    folder: Path
    reference: Any
    processor: Any

    @property
    def mark(self) -> str:
        return str(self.processor.image_token)

    def inputs(self, text: str, sizes: Sequence[tuple[int, int]] = ((16, 24),)) -> dict[str, torch.Tensor]:
        from PIL import Image

        images = [Image.fromarray(senses.pixels(*size)) for size in sizes]
        special = {} if self.processor.chat_template is None else {"add_special_tokens": False}
        found = self.processor(images=[images], text=[text], return_tensors="pt", **special)
        return {name: value for name, value in found.items() if name != "labels"}

    def prompt(self, text: str, pictures: int = 1) -> str:
        """As the processor of transformers writes a question, or with the pictures' tokens before it."""
        if self.processor.chat_template is None:
            return WRITTEN[self.name] * pictures + text
        content = [*({"type": "image"} for _ in range(pictures)), {"type": "text", "text": text}]
        written: str = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        return written

    def attentions(self, **inputs: torch.Tensor) -> Sequence[torch.Tensor]:
        with torch.no_grad():
            found: Sequence[torch.Tensor] = self.reference(**inputs, output_attentions=True, use_cache=False).attentions
        return found


def opener(folder: Path, models: Models = MODELS) -> Callable[[str], Chat]:
    """Opens models by their names, each saved once in a folder."""
    chats: dict[str, Chat] = {}

    def find(name: str) -> Chat:
        if name not in chats:
            path, processor = save(name, folder, models)
            cls = getattr(transformers, transformers.AutoConfig.from_pretrained(path).architectures[0])
            chats[name] = Chat(name, path, cls.from_pretrained(path, attn_implementation="eager").eval(), processor)
        return chats[name]

    return find
