"""Translation of GGUF's names into those of transformers: tensor names, and metadata as fields of a config.json.

The tables hold for all architectures, as GGUF's names mean the same in each. Source of the names:
`gguf.constants.TENSOR_NAMES` and `Keys` of the gguf package. Which layers see a window only: layer_windows.py.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache

from attncli.models.files.layer_windows import gguf_layer_types

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
    (r"indexer\.(k_norm)", r"self_attn.indexer.\1"),
    (r"attn_(q|k|q_a|kv_a)_norm", r"self_attn.\1_layernorm"),
    (r"cross_attn_norm|attn_norm|attn_norm_2", None),
    (r"ssm_(norm|dt_norm|b_norm|c_norm)", r"mamba.\1"),
    (r".*_norm(_\w+)?|norm|ln\d|.*_ln|layer_output_norm", None),
    # Attention.
    (r"indexer\.attn_k", "self_attn.indexer.wk"),
    (r"indexer\.attn_q_b", "self_attn.indexer.wq_b"),
    (r"indexer\.proj", "self_attn.indexer.weights_proj"),
    (r"indexer\.(\w+)", r"self_attn.indexer.\1"),
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

#: The same for blocks whose only mixer is linear attention (`_linear_attention_blocks`), before those above.
_LINEAR_ATTENTION_NAMES = (
    (r"attn_qkv", "linear_attn.in_proj_qkv"),
    (r"attn_gate", "linear_attn.in_proj_z"),
    (r"attn_(q|k|v)", r"linear_attn.\1_proj"),
    (r"attn_output", "linear_attn.o_proj"),
    (r"ssm_ba", "linear_attn.in_proj_ba"),
    (r"ssm_alpha", "linear_attn.in_proj_a"),
    (r"ssm_beta", "linear_attn.in_proj_b"),
    (r"ssm_out", "linear_attn.out_proj"),
    (r"ssm_a", "linear_attn.A_log"),
    (r"ssm_(\w+)", r"linear_attn.\1"),
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
    "attention.shared_kv_layers": "num_kv_shared_layers",
    "attention.indexer.head_count": "index_n_heads",
    "attention.indexer.key_length": "index_head_dim",
    "attention.indexer.top_k": "index_topk",
    "rope.dimension_count": "qk_rope_head_dim",
    "ssm.conv_kernel": "conv_kernel",
    "ssm.inner_size": "ssm_inner_size",
    "ssm.state_size": "state_size",
    "ssm.time_step_rank": "time_step_rank",
    "ssm.group_count": "n_groups",
}
_VOCABULARY = "tokenizer.ggml.tokens"
#: The keys with the kernel of a convolution. Of its inputs, llama.cpp keeps one column less; transformers keeps all.
_KERNELS = ("ssm.conv_kernel", "shortconv.l_cache")
#: The tensors from which a state space or an attention leaves its block.
_OUTPUTS = {"ssm_out", "attn_output"}
_QUERIES = {"attn_qkv", "attn_q"}


def module_names(names: Iterable[str]) -> dict[str, str]:
    """The names in transformers of all tensors of a GGUF file."""
    listed = list(names)
    linear = _linear_attention_blocks(listed)
    return {name: module_name(name, linear_attention=_block(name) in linear) for name in listed}


def _linear_attention_blocks(names: Iterable[str]) -> set[str]:
    """The blocks whose queries, keys and values are those of linear attention.

    They have tensors of a state space and of an attention, but one output: what has both is a hybrid (Falcon-H1).
    """
    blocks: dict[str, set[str]] = defaultdict(set)
    for name in names:
        block = _block(name)
        if block is not None:
            blocks[block].add(name.split(".")[2])
    return {
        block
        for block, inner in blocks.items()
        if len(inner & _OUTPUTS) == 1 and inner & _QUERIES and any(name.startswith("ssm_") for name in inner)
    }


def _block(name: str) -> str | None:
    return name.split(".")[1] if name.startswith("blk.") and name.count(".") > 1 else None


@cache
def module_name(name: str, *, linear_attention: bool = False) -> str:
    """The name in transformers of a tensor in a GGUF file. linear_attention: whether that is what mixes its block.

    >>> module_name("blk.3.attn_q.weight")
    'model.layers.3.self_attn.q_proj.weight'
    """
    match = _TENSOR_NAME.fullmatch(name)
    if match is None:
        return name
    tower, block, inner, leaf = match.groups()
    if block is None:
        name = _OUTER_NAMES.get(inner, inner)
        if tower is not None:
            name = f"{_TOWERS[tower]}.{name.removeprefix('model.')}"
        # A buffer is recognized by the last part of its name.
        return name if leaf is None or name.endswith("inv_freq") else f"{name}.{leaf}"
    stack = _STACKS.get(f"{tower}.blk" if tower else "blk", "model.layers")
    return ".".join(part for part in (stack, block, _block_path(inner, linear_attention), leaf) if part)


def config_fields(metadata: Mapping[str, object]) -> tuple[dict[str, object], str | None]:
    """The fields of config.json that follow from a file's metadata, and a note on what it doesn't say.

    Values that differ between layers stay lists. model_type is GGUF's name of the architecture, which may differ from
    that in transformers.
    """
    architecture = metadata.get("general.architecture")
    found: dict[str, object] = {"model_type": architecture}
    for setting, field in _CONFIG_FIELDS.items():
        value = _common_value(metadata.get(f"{architecture}.{setting}"))
        # A model without attention has 0 heads.
        if value is not None and not (value == 0 and field.endswith("_heads")):
            found[field] = value
    vocabulary = metadata.get(_VOCABULARY)
    length = getattr(vocabulary, "length", None) or (len(vocabulary) if isinstance(vocabulary, list) else None)
    layers, note = _layer_fields(metadata, f"{architecture}.")
    return {**({} if length is None else {"vocab_size": length}), **found, **layers}, note


def _layer_fields(metadata: Mapping[str, object], prefix: str) -> tuple[dict[str, object], str | None]:
    """The number of layers that run, the kind of each, and the columns that a convolution keeps."""
    found: dict[str, object] = {}
    blocks, predicting = metadata.get(f"{prefix}block_count"), metadata.get(f"{prefix}nextn_predict_layers")
    if type(blocks) is not int:
        return found, None
    # The last blocks are for multi-token prediction, and don't run.
    layers = blocks - predicting if type(predicting) is int and 0 < predicting < blocks else blocks
    found["num_hidden_layers"] = layers
    kernel = next((value for key in _KERNELS if type(value := metadata.get(prefix + key)) is int), 0)
    if kernel > 1:
        found["conv_state_columns"] = kernel - 1
    window, pattern = (metadata.get(f"{prefix}attention.sliding_window{end}") for end in ("", "_pattern"))
    types, note = gguf_layer_types(prefix.removesuffix("."), layers, _common_value(window), pattern)
    return {**found, **types}, note


def _common_value(value: object) -> object:
    """The common value of a list with one value per layer, 0 aside; other values and lists as they are."""
    if not isinstance(value, list) or not value:
        return value
    distinct = [each for each in dict.fromkeys(value) if each != 0]
    return value if len(distinct) > 1 else (distinct or value)[0]


def _block_path(inner: str, linear_attention: bool) -> str:
    for pattern, path in (*(_LINEAR_ATTENTION_NAMES if linear_attention else ()), *_BLOCK_NAMES):
        match = re.fullmatch(pattern, inner)
        if match is not None:
            return inner if path is None else match.expand(path)
    return inner
