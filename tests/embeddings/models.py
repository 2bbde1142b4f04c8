"""Tiny models of every kind with tokenizers that fit them, and what transformers itself makes of a word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer

from tests import tiny
from tests.tokens import vocabularies as made

_SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
_VOCABULARY = 400


@dataclass(frozen=True)
class Kind:
    """A family and the tokenizer that goes with it."""

    config: Callable[[], transformers.PreTrainedConfig]
    tokenizer: Callable[[], Tokenizer]


def _gpt2() -> transformers.PreTrainedConfig:
    return transformers.GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=64, vocab_size=_VOCABULARY)


def _t5() -> transformers.PreTrainedConfig:
    sizes = {"d_model": 32, "num_layers": 3, "num_heads": 4, "d_kv": 8, "d_ff": 48}
    return transformers.T5Config(**sizes, vocab_size=_VOCABULARY, decoder_start_token_id=0)


KINDS = {
    "bert": Kind(
        lambda: transformers.BertConfig(**_SIZES, vocab_size=_VOCABULARY, max_position_embeddings=64), made.word_piece
    ),
    "gpt2": Kind(_gpt2, made.byte_bpe),
    "llama": Kind(
        lambda: transformers.LlamaConfig(**_SIZES, num_key_value_heads=2, vocab_size=_VOCABULARY), made.byte_fallback
    ),
    "llama3": Kind(
        lambda: transformers.LlamaConfig(**_SIZES, num_key_value_heads=2, vocab_size=_VOCABULARY),
        lambda: made.byte_bpe(bos=True, trim=False),
    ),
    "t5": Kind(_t5, made.unigram),
    "convbert": Kind(
        lambda: transformers.ConvBertConfig(
            **_SIZES, embedding_size=32, vocab_size=_VOCABULARY, max_position_embeddings=64
        ),
        made.word_piece,
    ),
    "fnet": Kind(
        lambda: transformers.FNetConfig(
            hidden_size=32,
            num_hidden_layers=2,
            intermediate_size=48,
            vocab_size=_VOCABULARY,
            max_position_embeddings=64,
        ),
        made.word_piece,
    ),
}


def save(folder: Path, name: str) -> Path:
    """A model of a kind as a folder on disk."""
    kind = KINDS[name]
    folder.mkdir(exist_ok=True)
    tiny.build(kind.config()).save_pretrained(folder)
    kind.tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def plain_vectors(folder: Path, text: str, positions: Sequence[int], stack: str | None = None) -> list[np.ndarray]:
    """Every state of a word by transformers alone: one sentence, no padding, the mean over the word's positions."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    ids = torch.tensor([Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids])
    with torch.no_grad():
        if not model.config.is_encoder_decoder:
            states = model(input_ids=ids, output_hidden_states=True).hidden_states
        elif stack == "decoder":
            start = torch.tensor([[model.config.decoder_start_token_id]])
            given = torch.cat([start, ids], dim=1)
            states = model(input_ids=ids, decoder_input_ids=given, output_hidden_states=True).decoder_hidden_states
            positions = [position + 1 for position in positions]
        else:
            states = model.get_encoder()(input_ids=ids, output_hidden_states=True).hidden_states
    return [state[0, list(positions)].mean(dim=0).numpy() for state in states]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
