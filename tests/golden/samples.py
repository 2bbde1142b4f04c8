"""The folder that the commands run in: tiny models, texts, pictures and sounds, the same on every machine.

Weights come from NumPy's frozen generator, seeded by the name of the tensor, and vocabularies are written out: neither
depends on a trainer, on the order of modules, or on the version of torch.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tests.gguf_files import Entry, gguf_bytes, text, u32
from tests.weight_files import index_bytes, safetensors_bytes, with_header

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
GROUPED = {**SIZES, "num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
EYE = {**SIZES, "num_hidden_layers": 2, "image_size": 16, "patch_size": 4}

#: What the vocabularies hold as one token; anything else is spelled.
WORDS = [
    "the", "a", "cat", "dog", "sat", "on", "mat", "because", "it", "was", "tired", "mole", "dug", "tunnel", "under",
    "lawn", "one", "of", "carbon", "dioxide", "weighs", "take", "biopsy", "skin", "hello", "world", "and", "more",
    "und",
]  # fmt: skip
PIECES = ["##s", "##ing", "##ed", "##nel", "##bed", "##ding"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'-"


# Vocabularies


def word_piece() -> dict[str, Any]:
    """BERT's kind."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    entries = [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS, "em", *PIECES]
    entries = list(dict.fromkeys(entries))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(special),
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": _template("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", {"[CLS]": 2, "[SEP]": 3}),
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {entry: number for number, entry in enumerate(entries)},
        },
    }


def byte_bpe() -> dict[str, Any]:
    """GPT-2's kind, with a token before each text as Llama 3 has it."""
    special = ["<s>", "</s>", "<|end|>"]
    entries, merges = [*special, *_byte_alphabet()], []
    for word in WORDS:
        left = "Ġ"
        for letter in word:
            if left + letter not in entries:
                merges.append([left, letter])
                entries.append(left + letter)
            left += letter
    for left, right in (("t", "h"), ("th", "e"), ("T", "h"), ("Th", "e"), ("o", "le"), ("l", "e"), ("m", "ole")):
        if left + right not in entries:
            merges.append([left, right])
            entries.append(left + right)
    merges = [merge for merge in merges if merge[0] in entries and merge[1] in entries]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(special),
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": _template("<s> $A", "<s> $A <s>:1 $B:1", {"<s>": 0}),
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {entry: number for number, entry in enumerate(entries)},
            "merges": merges,
        },
    }


def unigram() -> dict[str, Any]:
    """T5's kind."""
    special = ["<pad>", "</s>", "<unk>"]
    words = [(f"▁{word}", -3.0 - index / 16) for index, word in enumerate(WORDS)]
    pieces = [("▁", -4.0), ("s", -5.0), ("ing", -6.0), ("▁mo", -6.5), ("le", -6.25)]
    letters = [(letter, -8.0 - index / 64) for index, letter in enumerate(LETTERS) if letter != "s"]
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(special),
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": metaspace,
        "post_processor": _template("$A </s>", "$A </s> $B </s>", {"</s>": 1}),
        "decoder": metaspace,
        "model": {
            "type": "Unigram",
            "unk_id": 2,
            "byte_fallback": False,
            "vocab": [*((token, 0.0) for token in special), *words, *pieces, *letters],
        },
    }


def _byte_alphabet() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in the order of their code points."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, printable), *map(chr, range(256, 256 + 256 - len(printable)))]


def _added(special: list[str]) -> list[dict[str, Any]]:
    marks = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return [{"id": number, "content": token, **marks} for number, token in enumerate(special)]


def _template(single: str, pair: str, special: dict[str, int]) -> dict[str, Any]:
    def part(written: str) -> dict[str, Any]:
        name, _, segment = written.partition(":")
        if name.startswith("$"):
            return {"Sequence": {"id": name[1:], "type_id": int(segment or 0)}}
        return {"SpecialToken": {"id": name, "type_id": int(segment or 0)}}

    return {
        "type": "TemplateProcessing",
        "single": [part(each) for each in single.split()],
        "pair": [part(each) for each in pair.split()],
        "special_tokens": {name: {"id": name, "ids": [number], "tokens": [name]} for name, number in special.items()},
    }


# Models

#: A conversation's form, as ChatML has it.
CHAT = (
    "{% for message in messages %}{{ '<s>' + message['role'] + ': ' + message['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant: ' }}{% endif %}"
)
BYTES, PARTS, SCORES = byte_bpe(), word_piece(), unigram()
BYTE_COUNT, PART_COUNT = len(BYTES["model"]["vocab"]), len(PARTS["model"]["vocab"])
SCORE_COUNT = len(SCORES["model"]["vocab"])


DECODER = {**GROUPED, "vocab_size": BYTE_COUNT, "max_position_embeddings": 64}
GPT2 = {"n_layer": 3, "n_head": 4, "vocab_size": BYTE_COUNT, "bos_token_id": 0, "eos_token_id": 1}
BERT = {**SIZES, "vocab_size": PART_COUNT, "max_position_embeddings": 64}
EXPERTS = {**DECODER, "head_dim": 8, "sliding_window": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
HYBRID = {"num_experts": 2, "attn_layer_period": 3, "attn_layer_offset": 1, "use_mamba_kernels": False}
T5 = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 48, "decoder_start_token_id": 0}
SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
READER = {**BERT, **SPECIAL, "num_hidden_layers": 2, "max_position_embeddings": 20}
CAPTION = {**READER, "encoder_hidden_size": 32, "is_decoder": True}
SPEECH = {
    **SPECIAL, "decoder_start_token_id": 2, "d_model": 32, "vocab_size": PART_COUNT, "num_mel_bins": 8,
    "max_source_positions": 50, "max_target_positions": 30, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
}  # fmt: skip

#: By the name of their folder: the class of each, its configuration and its vocabulary.
MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any] | None]] = {
    "bert": ("BertModel", BERT, PARTS),
    "gpt2": ("GPT2LMHeadModel", {**GPT2, "n_embd": 32, "n_positions": 64}, BYTES),
    "llama": ("LlamaForCausalLM", DECODER, BYTES),
    "mistral": ("MistralModel", {**DECODER, "sliding_window": 3}, BYTES),
    "gptoss": ("GptOssModel", EXPERTS, BYTES),
    "gemma2": (
        "Gemma2Model", {**DECODER, "head_dim": 8, "attn_logit_softcapping": 0.5, "query_pre_attn_scalar": 1}, BYTES,
    ),
    "bloom": ("BloomModel", {**GPT2, "hidden_size": 32, "pad_token_id": 1}, BYTES),
    "mamba": ("MambaModel", {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": BYTE_COUNT}, BYTES),
    "t5": ("T5ForConditionalGeneration", {**T5, "vocab_size": SCORE_COUNT, "tie_word_embeddings": False}, SCORES),
    "jamba": ("JambaModel", {**DECODER, **HYBRID}, BYTES),
    "deberta": ("DebertaV2Model", {**BERT, "relative_attention": True}, PARTS),
    "vit": ("ViTModel", EYE, None),
    "swin": ("SwinModel", SWIN, None),
    "clip": ("CLIPModel", {"text_config": READER, "vision_config": EYE, "projection_dim": 16}, PARTS),
    "blip": (
        "BlipForConditionalGeneration", {"text_config": CAPTION, "vision_config": EYE, "projection_dim": 16}, PARTS,
    ),
    "whisper": ("WhisperForConditionalGeneration", SPEECH, PARTS),
}  # fmt: skip
SEEING = ("vit", "swin", "clip", "blip", "whisper")


PIXELS = {"do_resize": True, "do_normalize": True, "do_rescale": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
SQUARE = {**PIXELS, "size": {"height": 16, "width": 16}}
PREPARED = {
    "vit": {**SQUARE, "image_processor_type": "ViTImageProcessor"},
    "swin": {**SQUARE, "image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}},
    "blip": {**SQUARE, "image_processor_type": "BlipImageProcessor"},
    "clip": {
        **PIXELS,
        "image_processor_type": "CLIPImageProcessor",
        "do_center_crop": True,
        "size": {"shortest_edge": 16},
        "crop_size": {"height": 16, "width": 16},
    },
    "whisper": {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": 8,
        "sampling_rate": 16000,
        "chunk_length": 1,
        "n_fft": 400,
        "hop_length": 160,
    },
}


def fill(model: Any, spread: float, seed: int = 0) -> None:
    """Give a model weights that attend to something."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name.lower() or "ln_" in name:
                continue
            random = np.random.RandomState(zlib.crc32(name.encode()) ^ seed)
            values = random.standard_normal(tuple(parameter.shape)) * (0.05 if "bias" in name else spread)
            parameter.copy_(torch.from_numpy(np.asarray(values, dtype=np.float32)))


def filled(name: str) -> tuple[Any, float]:
    """One of MODELS, and the spread of its weights."""
    import transformers

    model_class, config = getattr(transformers, MODELS[name][0]), MODELS[name][1]
    model, spread = model_class(model_class.config_class(**config)).eval(), 0.2 if name in SEEING else 0.25
    fill(model, spread)
    return model, spread


def save_models(folder: Path) -> None:
    for name, (_, _, vocabulary) in MODELS.items():
        filled(name)[0].save_pretrained(folder / name)
        if vocabulary is not None:
            write_json(folder / name / "tokenizer.json", vocabulary)
        if name in PREPARED:
            write_json(folder / name / "preprocessor_config.json", PREPARED[name])
    # The same shape with other weights, as a fine-tuned model has.
    model, spread = filled("bert")
    fill(model.encoder.layer[2], spread, seed=1)
    model.save_pretrained(folder / "tuned")
    write_json(folder / "tuned" / "tokenizer.json", PARTS)
    write_json(folder / "gpt2" / "tokenizer_config.json", {"chat_template": CHAT, "bos_token": "<s>"})


#: Configurations without weights, each in a folder of its name.
CONFIGS: dict[str, dict[str, Any]] = {
    "config-llama": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 4,
        "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 176, "vocab_size": 1000,
        "max_position_embeddings": 2048,
    },
    "config-gpt2": {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 64, "n_layer": 4, "n_head": 8,
        "n_positions": 512, "vocab_size": 1000,
    },
    "config-bert": {
        "architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_size": 64,
        "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 256, "vocab_size": 1000,
        "max_position_embeddings": 512,
    },
    "config-t5": {
        "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "d_model": 64, "num_layers": 3,
        "num_decoder_layers": 2, "num_heads": 4, "d_kv": 16, "d_ff": 128, "vocab_size": 1000,
        "decoder_start_token_id": 0,
    },
    "config-mixtral": {
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 1000,
        "num_local_experts": 4, "num_experts_per_tok": 2, "max_position_embeddings": 1024,
    },
    "config-mamba": {
        "architectures": ["MambaForCausalLM"], "model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 3,
        "vocab_size": 1000, "state_size": 8,
    },
    "config-clip": {
        "architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": 16,
        "text_config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
                        "vocab_size": 500, "max_position_embeddings": 20},
        "vision_config": {**EYE},
    },
    "config-gemma2": {
        "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "hidden_size": 64, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 128,
        "vocab_size": 1000, "max_position_embeddings": 4096, "sliding_window": 256,
    },
}  # fmt: skip


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_weights(folder: Path) -> None:
    """Files whose headers are read, and models that are broken."""
    (folder / "vectors.safetensors").write_bytes(safetensors_bytes(embedding=1000, norm=32))
    (folder / "tiny.gguf").write_bytes(
        gguf_bytes(
            {"general.architecture": text("llama"), "llama.block_count": u32(1), "llama.context_length": u32(128)},
            [
                Entry("token_embd.weight", (64, 10), 8, 0),
                Entry("blk.0.attn_q.weight", (64, 64), 8, 704),
                Entry("blk.0.ffn_up.weight", (64, 32), 0, 5056),
            ],
            bytes(5056 + 8192),
        )
    )
    quantized = {
        "model.layers.0.mlp.up_proj.weight": {"dtype": "I8", "shape": [64, 32], "data_offsets": [0, 2048]},
        "model.layers.0.mlp.up_proj.weight_scale": {"dtype": "F32", "shape": [64], "data_offsets": [2048, 2304]},
    }
    (folder / "quantized.safetensors").write_bytes(with_header(quantized, bytes(2304)))
    shards = folder / "shards"
    shards.mkdir()
    for number in (1, 2):
        tensors = {f"model.layers.{number - 1}.mlp.up_proj.weight": 64, f"part{number}.bias": 8}
        (shards / f"model-0000{number}-of-00002.safetensors").write_bytes(safetensors_bytes(**tensors))
    places = {f"model.layers.{number - 1}.mlp.up_proj.weight": f"model-0000{number}-of-00002.safetensors"
              for number in (1, 2)}  # fmt: skip
    places |= {f"part{number}.bias": f"model-0000{number}-of-00002.safetensors" for number in (1, 2)}
    (shards / "model.safetensors.index.json").write_bytes(index_bytes(places))
    (folder / "empty").mkdir()
    write_json(folder / "nameless" / "config.json", {})
    write_json(folder / "unknown" / "config.json", {"model_type": "nosuchmodel"})
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text('{"model_type": ', encoding="utf-8")
    (folder / "broken" / "tokenizer.json").write_text("{}", encoding="utf-8")
    (folder / "cut.safetensors").write_bytes(b"\x10\x00\x00")
    write_json(
        folder / "pickled" / "config.json",
        {**CONFIGS["config-bert"], "hidden_size": 32, "num_attention_heads": 4, "architectures": ["BertModel"]},
    )
    (folder / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (folder / "own.py").write_text(
        "from torch import nn\n\n\ndef make():\n    return nn.TransformerDecoderLayer(32, 4, 64)\n", encoding="utf-8"
    )


TEXTS: dict[str, str | bytes] = {
    "lines.txt": "the cat sat on the mat\na mole dug a tunnel\nthe dog was tired\n",
    "story.txt": "The cat sat on the mat.\nIt was tired, and the mole dug on.\n\nHello world! One mole weighs more.\n",
    "mixed.txt": "naïve café Größe\n👍 the 👩‍👩‍👧 mole 🇩🇪\n日本語 и русский\nx</s>y\u200b  z \n",
    "long.txt": "".join(f"the mole number {number} dug a tunnel under the lawn\n" for number in range(24)),
    "lines.txt.gz": gzip.compress(b"the cat sat\na mole dug\n", mtime=0),
    "latin.txt": b"na\xefve mole\n",
    "bom.txt": b"\xef\xbb\xbfHello world\n",
    "empty.txt": "",
    "many.txt": "the mole dug a tunnel under the lawn " * 12,
    "ids.txt": "0 5 6 7\n8,9",
    "chat.json": json.dumps(
        [
            {"role": "user", "content": "hello world"},
            {"role": "assistant", "content": "the mole dug"},
            {"role": "user", "content": "and more"},
        ]
    ),
    "moles.tsv": "a mole dug a tunnel\tanimal\nthe mole sat on the lawn\tanimal\none mole of carbon dioxide\tunit\n"
    "a mole of dioxide weighs more\tunit\ntake a biopsy of the mole\tskin\n",
    "moles.txt": "a mole dug a tunnel\none mole of carbon dioxide\ntake a biopsy of the mole\n",
    # No word stands twice at one place: before the first layer such two are equal, and which is larger is chance.
    "sample.txt": "the cat sat on a mat\nit was tired and more\none dog dug under the lawn\nhello world because of it\n"
    "a tunnel weighs one dioxide\ntake carbon on skin\n",
}  # fmt: skip


def write_texts(folder: Path) -> None:
    for name, content in TEXTS.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def write_media(folder: Path) -> None:
    """A red disc on a gradient, and a tone that fades in; neither where the library that writes it is absent."""
    if find_spec("PIL"):
        from PIL import Image

        rows, columns = np.mgrid[0:40, 0:60]
        disc = (rows - 16) ** 2 + (columns - 36) ** 2 < 100
        ground = np.stack([rows * 0, 60 + rows * 120 // 40, 80 + columns * 150 // 60], axis=-1)
        pixels = np.where(disc[..., None], (220, 60, 40), ground).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "disc.png")
    if find_spec("soundfile"):
        import soundfile

        time = np.arange(8000) / 16000
        soundfile.write(folder / "tone.wav", 0.5 * np.sin(2 * np.pi * 440 * time) * np.minimum(1, time * 10), 16000)


def write_adapter(folder: Path) -> None:
    """LoRA matrices for the queries of `llama`."""
    from safetensors.numpy import save_file

    target = folder / "adapter"
    write_json(
        target / "adapter_config.json",
        {
            "base_model_name_or_path": "llama", "peft_type": "LORA", "r": 4, "lora_alpha": 8,
            "target_modules": ["q_proj"], "task_type": "CAUSAL_LM",
        },
    )  # fmt: skip
    tensors = {}
    for layer in range(3):
        random = np.random.RandomState(layer)
        stem = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{stem}.lora_A.weight"] = random.standard_normal((4, 32)).astype(np.float32)
        tensors[f"{stem}.lora_B.weight"] = random.standard_normal((32, 4)).astype(np.float32)
    save_file(tensors, target / "adapter_model.safetensors")


def write_gguf(folder: Path) -> None:
    """A GGUF file with weights, where the library that writes it is installed."""
    if find_spec("gguf") is None:
        return
    import gguf

    writer = gguf.GGUFWriter(str(folder / "whole.gguf"), "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(99)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"t{number}" for number in range(99)])
    writer.add_token_scores([0.0] * 99)
    writer.add_token_types([1] * 99)
    shapes = {"token_embd": (99, 32), "output": (99, 32), "output_norm": (32,)}
    sizes = {
        "attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32), "attn_norm": (32,),
        "ffn_gate": (48, 32), "ffn_up": (48, 32), "ffn_down": (32, 48), "ffn_norm": (32,),
    }  # fmt: skip
    shapes |= {f"blk.{layer}.{name}": shape for layer in range(2) for name, shape in sizes.items()}
    for name, shape in shapes.items():
        random = np.random.RandomState(zlib.crc32(name.encode()))
        values = np.ones(shape) if "norm" in name else random.standard_normal(shape) * 0.25
        writer.add_tensor(f"{name}.weight", values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_vocabularies(folder: Path) -> None:
    """Tokenizers in the files that came before tokenizer.json."""
    write_json(folder / "wordpiece" / "config.json", {"model_type": "bert"})
    (folder / "wordpiece" / "vocab.txt").write_text("".join(f"{each}\n" for each in PARTS["model"]["vocab"]), "utf-8")
    ranks = [*(bytes([byte]) for byte in range(256)), b"th", b"the", b" m", b" mo", b" mol", b" mole"]
    lines = (f"{base64.b64encode(word).decode()} {rank}\n" for rank, word in enumerate(ranks))
    (folder / "ranks.tiktoken").write_text("".join(lines), "utf-8")


def write_samples(folder: Path) -> None:
    """Everything that a command of the table may name."""
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        save_models(folder)
    for name, fields in CONFIGS.items():
        write_json(folder / name / "config.json", fields)
    write_weights(folder)
    write_adapter(folder)
    write_gguf(folder)
    write_vocabularies(folder)
    write_texts(folder)
    write_media(folder)


# Surroundings

#: Whatever these say on this machine plays no part.
VARIABLES = (
    "ATTN_MODEL", "HF_ENDPOINT", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN",
    "TRANSFORMERS_OFFLINE", "HF_HUB_ETAG_TIMEOUT", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy",
    "ALL_PROXY", "all_proxy", "COLUMNS", "LINES",
)  # fmt: skip


@contextlib.contextmanager
def variables(**values: str) -> Iterator[None]:
    """With these variables in the process's environment, and none of `VARIABLES` besides."""
    before = dict(os.environ)
    for name in VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
