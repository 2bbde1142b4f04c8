"""Tiny models with random weights, one for each kind of attention, also as folders; and reference patterns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from attncli.models.loading.loaded_model import LoadedModel, wrap_model
from attncli.results.tokens import Token
from tests.tokens.vocabularies import byte_bpe

COMMON = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 99,
}
ENDS = {"bos_token_id": 1, "eos_token_id": 2}
GROUPED = {**COMMON, **ENDS, "num_key_value_heads": 2, "pad_token_id": 0}
GPT = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "vocab_size": 99}
SIDES = {f"{side}_{name}": value for side in ("encoder", "decoder")
         for name, value in (("layers", 3), ("attention_heads", 4), ("ffn_dim", 48))}  # fmt: skip

Config = Callable[[], transformers.PreTrainedConfig]


def config_of(kind: str, **fields: Any) -> Config:
    """What makes a new configuration of transformers' `<kind>Config`."""
    return lambda: getattr(transformers, f"{kind}Config")(**fields)


bert = config_of("Bert", **COMMON, max_position_embeddings=64)
gpt2 = config_of("GPT2", **GPT, **ENDS)
llama = config_of("Llama", **GROUPED)
mistral = config_of("Mistral", **GROUPED, sliding_window=3)
#: A softcap and a scale at which it bites.
gemma2 = config_of(
    "Gemma2", **GROUPED, head_dim=8, sliding_window=4, attn_logit_softcapping=0.5, query_pre_attn_scalar=1
)
gpt_oss = config_of("GptOss", **GROUPED, head_dim=8, sliding_window=4, num_local_experts=4, num_experts_per_tok=2)
t5 = config_of("T5", d_model=32, num_layers=3, num_heads=4, d_kv=8, d_ff=48, vocab_size=99, decoder_start_token_id=0)
bart = config_of("Bart", d_model=32, vocab_size=99, max_position_embeddings=64, **SIDES)
bloom = config_of("Bloom", hidden_size=32, n_layer=3, n_head=4, vocab_size=99, **ENDS, pad_token_id=0)
openai_gpt = config_of("OpenAIGPT", **GPT)
deberta = config_of("DebertaV2", **COMMON, max_position_embeddings=64, relative_attention=True)
albert = config_of("Albert", **COMMON, embedding_size=16, max_position_embeddings=64)
mamba = config_of("Mamba", hidden_size=32, num_hidden_layers=2, vocab_size=99, state_size=4)
fnet = config_of(
    "FNet", hidden_size=32, num_hidden_layers=2, intermediate_size=48, vocab_size=99, max_position_embeddings=64
)
rwkv = config_of(
    "Rwkv", hidden_size=32, num_hidden_layers=2, vocab_size=99, attention_hidden_size=32, bos_token_id=0, eos_token_id=0
)
xlnet = config_of("XLNet", d_model=32, n_layer=2, n_head=4, d_inner=48, vocab_size=99)

FAMILIES: dict[str, Config] = {
    "bert": bert, "gpt2": gpt2, "llama": llama, "mistral": mistral, "gemma2": gemma2, "gpt_oss": gpt_oss, "t5": t5,
    "bart": bart, "bloom": bloom, "openai_gpt": openai_gpt, "deberta": deberta, "albert": albert,
}  # fmt: skip


def build(config: transformers.PreTrainedConfig, seed: int = 0) -> transformers.PreTrainedModel:
    """The base model of a configuration with weights large enough that its patterns aren't nearly even."""
    torch.manual_seed(seed)
    model = transformers.AutoModel.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name and parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape) * 0.25)
            elif "sinks" in name:
                parameter.copy_(torch.randn(parameter.shape))
    return model


def loaded(family: str) -> LoadedModel:
    """A model of one of the families, as the analysis takes it."""
    return wrap_model(build(FAMILIES[family]()), family)


def save(folder: Path, config: transformers.PreTrainedConfig) -> Path:
    """A model as a folder, without a tokenizer."""
    build(config).save_pretrained(folder)
    return folder


def save_with_tokenizer(folder: Path, family: str) -> Path:
    """A model as a folder with a byte-level tokenizer, all of whose ids the model knows."""
    config = FAMILIES[family]()
    config.vocab_size = 400
    save(folder, config)
    byte_bpe(bos=True).save(str(folder / "tokenizer.json"))
    return folder


class Folders:
    """Models as folders by name; each is saved when it is first asked for."""

    def __init__(self, root: Path, save: Callable[[Path, str], object]) -> None:
        self._root = root
        self._save = save

    @classmethod
    def of(cls, root: Path, configs: Mapping[str, Config] = FAMILIES) -> Folders:
        """Models of these configurations, without tokenizers."""
        return cls(root, lambda folder, name: save(folder, configs[name]()))

    def __getitem__(self, name: str) -> Path:
        if not (self._root / name).exists():
            self._save(self._root / name, name)
        return self._root / name


def tokens(ids: list[int], special: tuple[int, ...] = ()) -> tuple[Token, ...]:
    """Tokens that came without a text."""
    return tuple(Token(i, id_, str(id_), str(id_), special=id_ in special) for i, id_ in enumerate(ids))


def reference(model: transformers.PreTrainedModel, arguments: dict[str, object]) -> dict[str, tuple[Tensor, ...]]:
    """`output_attentions=True` under eager: for each stack, layers of (batch, heads, queries, keys)."""
    eager = transformers.AutoModel.from_config(model.config, attn_implementation="eager").eval()
    eager.load_state_dict(model.state_dict())
    with torch.no_grad():
        output = eager(**arguments, output_attentions=True)
    if not model.config.is_encoder_decoder:
        return {"only": output.attentions}
    return {
        "encoder": output.encoder_attentions,
        "decoder": output.decoder_attentions,
        "cross": output.cross_attentions,
    }
