"""Tiny models with language-model heads, and where each family keeps its parts."""

from __future__ import annotations

from functools import cache

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from attncli.attention.effects.outcome import LogitOutcome
from attncli.attention.effects.prediction import RecordedRun, record_run
from attncli.attention.inputs import build_inputs
from attncli.models.loading.loaded_model import wrap_model
from attncli.models.loading.prediction_head import prediction_class
from attncli.results.effects import OutcomeToken
from tests.attention.effects.replay import Family
from tests.tiny import COMMON, ENDS, FAMILIES, GPT, GROUPED, Config, config_of, tokens

IDS, TARGET, POSITION = [5, 17, 33, 8, 33, 8, 60], [0, 4, 9, 22], 3
DIFFERENCE = LogitOutcome(OutcomeToken(7, "a"), OutcomeToken(11, "b"))
ABOVE_MEAN = LogitOutcome(OutcomeToken(7, "a"))

_LLAMA = Family(r"self_attn\.o_proj", r"mlp")
_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_LINEAR = {"linear_num_value_heads": 4, "linear_num_key_heads": 2,
           "linear_key_head_dim": 8, "linear_value_head_dim": 8}  # fmt: skip

#: Each kind of architecture, with its configuration and where it keeps what.
PREDICTING: dict[str, tuple[Config, Family]] = {
    "gpt2": (FAMILIES["gpt2"], Family(r"attn\.c_proj", r"mlp")),
    "llama": (FAMILIES["llama"], _LLAMA),
    "gemma2": (FAMILIES["gemma2"], _LLAMA._replace(cap=30.0)),
    "gemma3": (config_of("Gemma3Text", **GROUPED, head_dim=8, sliding_window=4), _LLAMA),
    "olmo2": (config_of("Olmo2", **GROUPED), _LLAMA),
    "cohere": (config_of("Cohere", **GROUPED), _LLAMA),
    "gptj": (config_of("GPTJ", **GPT, rotary_dim=4), Family(r"attn\.out_proj", r"mlp")),
    "granite": (
        config_of("Granite", **GROUPED, residual_multiplier=0.5, logits_scaling=2.0, embedding_multiplier=3.0),
        _LLAMA,
    ),
    "mixtral": (config_of("Mixtral", **GROUPED, num_local_experts=4, num_experts_per_tok=2), _LLAMA),
    "gpt_oss": (FAMILIES["gpt_oss"], _LLAMA),
    "bert": (FAMILIES["bert"], Family(r"attention\.output\.dense", r"\d\.output\.dense", r"transform_act_fn")),
    "modernbert": (
        config_of("ModernBert", **COMMON, **ENDS, global_attn_every_n_layers=2, local_attention=4, pad_token_id=0,
                  cls_token_id=1, sep_token_id=2),
        Family(r"attn\.Wo", r"mlp", r"head\.act"),
    ),
    "t5": (FAMILIES["t5"], Family(r"SelfAttention\.o", r"DenseReluDense", cross=r"EncDecAttention\.o")),
    "bart": (FAMILIES["bart"], Family(r"self_attn\.out_proj", r"fc2", cross=r"encoder_attn\.out_proj")),
    "hybrid": (
        config_of("Qwen3Next", **GROUPED, **_MOE, **_LINEAR, head_dim=8, shared_expert_intermediate_size=16,
                  layer_types=["linear_attention", "full_attention", "linear_attention"]),
        Family(r"self_attn\.o_proj", r"mlp", mixer=r"linear_attn"),
    ),
    "bloom": (FAMILIES["bloom"], Family(r"self_attention\.dense", r"mlp\.dense_4h_to_h")),
    "falcon": (config_of("Falcon", **COMMON, **ENDS), Family(r"self_attention\.dense", r"mlp")),
    "mpt": (
        config_of("Mpt", d_model=32, n_heads=4, n_layers=3, vocab_size=99, max_seq_len=64, expansion_ratio=2),
        Family(r"attn\.out_proj", r"ffn\.down_proj"),
    ),
    "opt_post_norm": (
        config_of("OPT", hidden_size=32, num_hidden_layers=3, num_attention_heads=4, ffn_dim=48, vocab_size=99,
                  max_position_embeddings=64, word_embed_proj_dim=32, do_layer_norm_before=False),
        Family(r"self_attn\.out_proj", r"fc2"),
    ),
    "latent": (
        config_of("DeepseekV3", **{**GROUPED, "num_key_value_heads": 4}, q_lora_rank=16, kv_lora_rank=8, n_group=1,
                  qk_rope_head_dim=4, qk_nope_head_dim=8, v_head_dim=8, n_routed_experts=4, num_experts_per_tok=2,
                  topk_group=1, moe_intermediate_size=16, first_k_dense_replace=1),
        _LLAMA,
    ),
}  # fmt: skip


def build(config: PreTrainedConfig, seed: int = 0) -> PreTrainedModel:
    """The model of a configuration with its language-model head; biases and the weights of norms differ, too."""
    torch.manual_seed(seed)
    cls = prediction_class(config)
    assert cls is not None
    model = cls(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name and parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape) * 0.25)
            else:
                parameter.add_(torch.randn(parameter.shape) * 0.1)
        for name, buffer in model.named_buffers():
            if name == "final_logits_bias":
                buffer.copy_(torch.randn(buffer.shape))
    return model


def recorded(model: PreTrainedModel, position: int = POSITION) -> RecordedRun:
    """A run on `IDS`, of an encoder–decoder's decoder on `TARGET`."""
    loaded = wrap_model(model, "tiny")
    target = tokens(TARGET) if loaded.is_encoder_decoder else None
    return record_run(loaded, build_inputs(loaded, [tokens(IDS)], target=target).arguments, position)


@cache
def run_of(family: str) -> RecordedRun:
    """A run of one of the families, the same for all tests."""
    return recorded(build(PREDICTING[family][0]()))
