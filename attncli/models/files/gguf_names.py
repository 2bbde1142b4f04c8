"""Translation of GGUF's names into those of transformers: tensor names, and metadata as fields of a config.json.

The tables hold for all architectures, as GGUF's names mean the same in each. Source of the names:
`gguf.constants.TENSOR_NAMES` and `Keys` of the gguf package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

#: Stacks and towers by the first part of a tensor's name.
_STACKS = {
    "blk": "model.layers",
    "enc.blk": "encoder.layers",
    "dec.blk": "decoder.layers",
    "v.blk": "vision_tower.layers",
    "a.blk": "audio_tower.layers",
}
_TOWERS = {"enc": "encoder", "dec": "decoder", "v": "vision_tower", "a": "audio_tower", "mm": "multi_modal_projector"}

#: Tensors outside the blocks.
_OUTER_NAMES = {
    "token_embd": "model.embed_tokens",
    "token_types": "model.token_type_embeddings",
    "position_embd": "position_embeddings",
    "patch_embd": "patch_embedding",
    "class_embd": "class_embedding",
    "output": "lm_head",
    # Computed from the configuration: a buffer, no parameters.
    "rope_freqs": "model.rotary_emb.inv_freq",
    "rope_factors_long": "model.rotary_emb.inv_freq",
    "rope_factors_short": "model.rotary_emb.inv_freq",
}

#: Tensors within a block: a pattern for GGUF's name, and transformers' path (None: the same). The first match counts.
_BLOCK_NAMES = (
    # Norms come first, as their names begin like those of other tensors.
    (r"attn_(q|k|q_a|kv_a)_norm", r"self_attn.\1_layernorm"),
    (r"cross_attn_norm|attn_norm|attn_norm_2", None),
    (r"ssm_(norm|dt_norm|b_norm|c_norm)", r"mamba.\1"),
    (r".*_norm(_\w+)?|norm|ln\d|.*_ln|layer_output_norm", None),
    # Attention.
    (r"cross_attn_rel_b", "cross_attn.relative_attention_bias"),
    (r"cross_attn_(?:output|out|o)", "cross_attn.o_proj"),
    (r"cross_attn_(q|k|v)", r"cross_attn.\1_proj"),
    (r"attn_rel_b", "self_attn.relative_attention_bias"),
    (r"attn_(?:output|out|o)", "self_attn.o_proj"),
    (r"attn_(q|k|v|qkv|q_a|q_b|kv_b|k_b|v_b|gate)", r"self_attn.\1_proj"),
    (r"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"),
    (r"attn_(sinks|k_rel)", r"self_attn.\1"),
    # Mixture of experts; `gate_inp` is the router, `shexp` the shared expert.
    (r"ffn_gate_inp", "mlp.router"),
    (r"exp_probs_b", "mlp.router.score_correction"),
    (r"ffn_gate_inp_shexp", "mlp.shared_expert_gate"),
    (r"ffn_(gate|up|down)_shexp", r"mlp.shared_expert.\1_proj"),
    (r"ffn_(gate|up|down|gate_up)_(?:ch)?exps", r"mlp.experts.\1_proj"),
    (r"ffn_(gate|up|down)(_1)?", r"mlp\2.\1_proj"),
    # State spaces and linear attention.
    (r"ssm_in", "mamba.in_proj"),
    (r"ssm_out", "mamba.out_proj"),
    (r"ssm_a", "mamba.A_log"),
    (r"ssm_(d)", "mamba.D"),
    (r"ssm_(x|dt)", r"mamba.\1_proj"),
    (r"ssm_(ba)", r"linear_attn.in_proj_\1"),
    (r"ssm_(\w+)", r"mamba.\1"),
    (r"shortconv\.(\w+)", r"short_conv.\1"),
    # Layers for multi-token prediction.
    (r"nextn\.(\w+)", r"\1"),
)

_TENSOR_NAME = re.compile(r"(?:(enc|dec|v|a|mm)\.)?(?:blk\.(\d+)\.)?(.+?)(?:\.(weight|bias))?")

#: Metadata keys, without `<architecture>.` in front, and the fields of config.json that mean the same.
_CONFIG_FIELDS = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_count": "num_local_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_shared_count": "n_shared_experts",
    "leading_dense_block_count": "first_k_dense_replace",
    "nextn_predict_layers": "num_nextn_predict_layers",
    "full_attention_interval": "full_attention_interval",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.value_length": "v_head_dim",
    # Latent attention (MLA): the sizes per head; the lengths above are then those of the latents.
    "attention.key_length_mla": "head_dim",
    "attention.value_length_mla": "v_head_dim",
    "attention.q_lora_rank": "q_lora_rank",
    "attention.kv_lora_rank": "kv_lora_rank",
    "attention.sliding_window": "sliding_window",
    "rope.dimension_count": "qk_rope_head_dim",
    "ssm.conv_kernel": "conv_kernel",
    "ssm.inner_size": "ssm_inner_size",
    "ssm.state_size": "state_size",
    "ssm.time_step_rank": "time_step_rank",
    "ssm.group_count": "n_groups",
}
_VOCABULARY = "tokenizer.ggml.tokens"


@cache
def module_name(name: str) -> str:
    """The name in transformers of a tensor in a GGUF file.

    >>> module_name("blk.3.attn_q.weight")
    'model.layers.3.self_attn.q_proj.weight'
    """
    match = _TENSOR_NAME.fullmatch(name)
    if match is None:
        return name
    tower, block, inner, leaf = match.groups()
    if block is None:
        return _outer_path(tower, inner, leaf)
    stack = _STACKS.get(f"{tower}.blk" if tower else "blk", "model.layers")
    return ".".join(part for part in (stack, block, _block_path(inner), leaf) if part)


def config_fields(metadata: Mapping[str, object]) -> dict[str, object]:
    """The fields of config.json that follow from a file's metadata; values that differ between layers stay lists.

    model_type is GGUF's name of the architecture, which may differ from that in transformers.
    """
    architecture = metadata.get("general.architecture")
    found: dict[str, object] = {"model_type": architecture}
    for setting, field in _CONFIG_FIELDS.items():
        value = metadata.get(f"{architecture}.{setting}")
        if value is not None:
            found[field] = _collapse_equal(value)
    vocabulary = metadata.get(_VOCABULARY)
    length = getattr(vocabulary, "length", None) or (len(vocabulary) if isinstance(vocabulary, list) else None)
    return found if length is None else {"vocab_size": length, **found}


def _collapse_equal(value: object) -> object:
    """The common value of a list with one value per layer; other values and lists as they are."""
    return value[0] if isinstance(value, list) and value and all(each == value[0] for each in value) else value


def _outer_path(tower: str | None, inner: str, leaf: str | None) -> str:
    name = _OUTER_NAMES.get(inner, inner)
    if tower is not None:
        name = f"{_TOWERS[tower]}.{name.removeprefix('model.')}"
    # A buffer is recognized by the last part of its name.
    return name if leaf is None or name.endswith("inv_freq") else f"{name}.{leaf}"


def _block_path(inner: str) -> str:
    for pattern, path in _BLOCK_NAMES:
        match = re.fullmatch(pattern, inner)
        if match is not None:
            return inner if path is None else match.expand(path)
    return inner
