"""Any model type of transformers as a tiny model: its default configuration, with every size cut down.

Fields are told by the kind of their name (heads, widths, layers, token ids, …), never by the model's, and a field is
only ever made smaller. Widths stay heads × head width, ratios of key heads to heads stay, lists with an entry a layer
are cut with the layers, and of every kind of layer two are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, PreTrainedConfig

HEADS, LAYERS, VOCABULARY = 4, 5, 160


@dataclass(frozen=True)
class Form:
    """A way to shrink. filled: also say the sizes that a default configuration leaves open.  towers: shrink, too, the
    parts that read no text."""

    head_width: int = 16
    filled: bool = False
    inner: int = 48
    towers: bool = True

    @property
    def width(self) -> int:
        return HEADS * self.head_width


#: Tried in this order until one can be built and run: some types divide their width by 6, or need a size said.
FORMS = (
    Form(),
    Form(filled=True),
    Form(head_width=24),
    Form(head_width=24, filled=True),
    Form(head_width=32, filled=True, inner=64),
    Form(filled=True, towers=False),
)

#: What a name is the name of, the first that fits; each number is cut to the one beside it.
KINDS: tuple[tuple[str, int | str], ...] = (
    (r"vocab|num_embeddings$", VOCABULARY),
    (r"attention_hidden_size|mamba_d_ssm", "twice the width"),
    (r"attention_head_dim", "twice the head width"),
    (r"coordinate_size", 8),
    (r"shape_size", 16),
    (r"mamba_(n|num)_heads|n_mamba_heads", 8),
    (r"mamba_d_head|mamba_head_?dim", 16),
    (r"(head|key|value|kv|qk|nope|rope|query)\w*_(head_)?dim|head_dim|^d_kv$|dim_head|head_size|kv_channels|d_head"
     r"|query_pre_attn_scalar", "head width"),
    (r"rotary_dim|rotary_ndims|partial_rotary_dim", 8),
    (r"(head|heads|n_head|heads_per_ngram)$|_heads_", HEADS),
    (r"window|attention_chunk_size|local_attention$|local_radius", 4),
    (r"n_groups$|ngroups", 1),
    (r"n_group$|expert_groups?$|topk_group", 1),
    (r"kpool|index_topk", 4),
    (r"per_tok(en)?$|top_?k$|moe_k$|num_selected|experts_topk", 2),
    (r"expert.*(size|dim|width)", 32),
    (r"experts?$|num_expert|zero_expert", 4),
    (r"intermediate|ffn|mlp_dim|d_ff|d_inner|feed_forward|mlp_hidden|n_inner|dff", "inner"),
    (r"position|seq_length|seq_len|context_length|n_ctx|max_source|max_target|max_seq|max_length", 128),
    (r"kv_shared_layers|cycles$", 1),
    (r"lora_rank|q_rank|kv_rank|latent|lowrank|adapter_rank", 8),
    (r"layers?$|depths?$|^num_blocks|num_hidden_groups|num_.*blocks$", LAYERS),
    (r"layer_(period|interval)|layer_group_size", 2),
    (r"layer_offset|layer_start_index|first_k_dense", 1),
    (r"image_size|img_size|input_size", 32),
    (r"patch_size$", 8),
    (r"mamba_d_state|state_size|ssm_state|d_state", 8),
    (r"ngram_vocab_size_base|split_ngram_parts|vocab_size_divisible", 16),
    (r"hidden|d_model|n_embd|width|embed_dim|^dim$|d_embed|embedding_size|projection_dim|_dim$|emb_dim|lru|conv_channels"
     r"|out_channels|conv_dim|true_hidden|bottleneck_size", "width"),
    (r"chunk_size|block_size|chunk_length|num_latents|num_queries|query_tokens", 8),
)  # fmt: skip

#: What a default configuration may leave open although the model needs it; filled where nothing else will do.
OPEN: dict[str, Any] = {
    "head_dim": "head width",
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "moe_topk": 2,
    "vocab_size": VOCABULARY,
    "pad_token_id": 1,
    "mask_token_id": 2,
    "sliding_window": 4,
    "indexer_n_heads": HEADS,
    "indexer_kv_heads": 1,
    "indexer_head_dim": "head width",
    "indexer_budget": 8,
    "indexer_compress_ratio": 2,
    "moe_intermediate_size": 32,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "num_experts": 4,
    "top_k_experts": 2,
    "attn_layer_indices": [1, 3],
    "clip_qkv": 8.0,
    "vocabulary_map": {"<image>": 5, "<|extra_200|>": 6},
    "deepstack_layer_map": [[0, 0]],
    "layer_types": ["conv", "full_attention", "conv", "full_attention", "conv"],
    "mlp_layer_types": ["dense", "sparse", "dense", "sparse", "dense"],
    "dropout": 0,
    "dropout_rate": 0,
}

#: What some models read of their configurations although the class doesn't set it.
LACKING: dict[str, Any] = {
    "rope_theta": 10000.0,
    "dropout": 0.0,
    "layerdrop": 0.0,
    "max_position_embeddings": 128,
    "dropout_rate": 0.0,
    "num_hidden_layers": LAYERS,
    "vision_start_token_id": 3,
}
_KINDS_OF_ROTATION = ("full_attention", "sliding_attention")
#: Kinds of layers that mix tokens without attention.
_NO_ATTENTION = {"linear_attention", "mamba", "conv", "recurrent"}

#: Ids of tokens, which must be in the vocabulary.
TOKEN_ID = re.compile(
    r"(token|bos|eos|pad|sep|cls|mask|image|video|audio|boi|eoi|boa|eoa)\w*_(id|ids|index|idx)$|(?<!per)_token$"
)
_LAYER_COUNTS = re.compile(r"^(num_hidden_layers|n_layers?|num_layers|depth)$")
_KEY_HEADS = re.compile(r"(kv|key_value)_?\w*heads?|query_groups")
#: Sizes that a configuration computes from others, and would keep.
_DERIVED = re.compile(r"^dim_bbox_")
#: Parts of a model that read no text; left whole in the last form.
_TOWERS = re.compile(r"vision|visual|image|audio|speech|codec|acoustic|semantic|vq|backbone|encoder_config")


def default_config(model_type: str) -> PreTrainedConfig:
    return CONFIG_MAPPING[model_type]()


def shrunk(config: PreTrainedConfig, form: Form = FORMS[0]) -> PreTrainedConfig:
    """The same kind of model, tiny."""
    return type(config).from_dict(_Shrinker(form).fields(config.to_dict()))


@dataclass(frozen=True)
class _Shrinker:
    form: Form

    def fields(self, given: Mapping[Any, Any]) -> dict[str, Any]:
        fields = {str(name): value for name, value in given.items() if not _DERIVED.search(str(name))}
        layers = _largest(fields, _LAYER_COUNTS)
        heads = _largest(fields, re.compile(r"heads?$"))
        selected = _selected_layers(fields, layers)
        small = {name: self._field(name, value, layers, heads, selected) for name, value in fields.items()}
        if self.form.filled:
            small |= {name: self._size(size) for name, size in OPEN.items() if name in small and small[name] is None}
        if self.form.filled and "rope_theta" in small:
            # HunYuan's rotation has four parts, and its class doesn't say how large.
            small.setdefault("xdrope_section", scaled([1, 1, 1, 1], self.form.head_width // 2))
        parts = [fields.get(f"qk_{part}_head_dim") or 0 for part in ("nope", "rope")]
        if all(parts) and fields.get("head_dim") not in (None, parts[1]):
            small["head_dim"] = small["qk_nope_head_dim"] + small["qk_rope_head_dim"]
        return self._consistent(small)

    def _field(self, name: str, value: Any, layers: int, heads: int, selected: list[int]) -> Any:
        if isinstance(value, dict) and value and all(_is_layer(key, of) for key, of in value.items()):
            return {str(selected.index(int(k))): self.fields(v) for k, v in value.items() if int(k) in selected}
        if isinstance(value, dict) and not self.form.towers and _TOWERS.search(name):
            return value
        if isinstance(value, dict):
            return self.fields(value)
        if isinstance(value, list) and layers > LAYERS and len(value) == layers:
            return [self._number(name, value[place], heads) for place in selected]
        if isinstance(value, list) and name.endswith(("layer_ids", "layer_indices")):
            return [selected.index(place) for place in value if place in selected]
        if isinstance(value, list) and "section" in name and value:
            return scaled(value, self.form.head_width // 2)
        if name == "axial_pos_embds_dim":
            return scaled(value, self.form.width)
        if isinstance(value, list):
            return [self._number(name, part, heads) for part in value]
        return self._number(name, value, heads)

    def _number(self, name: str, value: Any, heads: int) -> Any:
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            return value
        if TOKEN_ID.search(name):
            return value if value < VOCABULARY else VOCABULARY - 40 + value % 40
        if _KEY_HEADS.search(name) and heads:
            return 1 if value == 1 else HEADS if value == heads else 2
        size = next((size for pattern, size in KINDS if re.search(pattern, name)), None)
        return value if size is None else min(value, self._size(size))

    def _size(self, size: Any) -> Any:
        named = {
            "head width": self.form.head_width,
            "twice the head width": 2 * self.form.head_width,
            "width": self.form.width,
            "twice the width": 2 * self.form.width,
            "inner": self.form.inner,
        }
        return named[size] if isinstance(size, str) else size

    def _consistent(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Sizes that follow from others; and some attention in every model that can have it."""
        for name, kinds in fields.items():
            if isinstance(kinds, list) and len(kinds) == LAYERS and kinds and set(map(str, kinds)) <= _NO_ATTENTION:
                fields[name] = [kind if place % 2 == 0 else "full_attention" for place, kind in enumerate(kinds)]
        if {"qk_nope_head_dim", "qk_rope_head_dim", "qk_head_dim"} <= fields.keys():
            fields["qk_head_dim"] = fields["qk_nope_head_dim"] + fields["qk_rope_head_dim"]
        for heads, width, expand in (
            ("mamba_n_heads", "mamba_d_head", "mamba_expand"),
            ("num_heads", "head_dim", "expand"),
        ):
            if {heads, width, expand} <= fields.keys():
                fields[width] = self.form.width * fields[expand] // fields[heads]
        return fields


def repaired(config: PreTrainedConfig, error: Exception) -> PreTrainedConfig | None:
    """The configuration with what an error says that it lacks; None where it says nothing that is known here."""
    words, fields = str(error), config.to_dict()
    if match := re.search(r"sum exactly to (\d+) .*split_sizes=\[([\d, ]+)\]", words):
        section = scaled([int(part) for part in match[2].split(",")], int(match[1]))
        return type(config).from_dict(_set(fields, "rope_parameters", {"mrope_section": section}))
    if words == "'full_attention'":
        kinds = {kind: {"rope_type": "default", "rope_theta": 10000.0} for kind in _KINDS_OF_ROTATION}
        return type(config).from_dict(_set(fields, "rope_parameters", kinds))
    if (match := re.search(r"'(\w+)' object has no attribute '(\w+)'", words)) and match[2] in LACKING:
        return _with_attribute(config, match[1], match[2])
    return None


def _set(fields: dict[str, Any], name: str, extra: dict[str, Any]) -> dict[str, Any]:
    """The fields with something added to every dictionary of a name."""
    nested = {key: _set(value, name, extra) for key, value in fields.items() if isinstance(value, dict)}
    if isinstance(nested.get(name), dict):
        nested[name] |= extra
    return {**fields, **nested}


def _with_attribute(config: PreTrainedConfig, owner: str, name: str) -> PreTrainedConfig | None:
    parts = [config, *(getattr(config, part, None) for part in config.sub_configs)]
    found = [part for part in parts if type(part).__name__ == owner and not hasattr(part, name)]
    for part in found:
        setattr(part, name, LACKING[name])
    return config if found else None


def scaled(parts: Sequence[int], total: int) -> list[int]:
    """The parts of a whole, for another whole: in about the same ratios, and none empty."""
    small = [max(1, part * total // sum(parts)) for part in parts]
    small[0] += total - sum(small)
    return small


def _largest(fields: Mapping[str, Any], names: re.Pattern[str]) -> int:
    return max((value for name, value in fields.items() if names.search(name) and isinstance(value, int)), default=0)


def _is_layer(key: Any, value: Any) -> bool:
    """Whether an entry holds the fields of a layer of its own, under the layer's number."""
    return str(key).isdigit() and isinstance(value, dict)


def _selected_layers(fields: Mapping[str, Any], layers: int) -> list[int]:
    """Places of the layers that stay: two of every kind, and otherwise the first ones."""
    selected: list[int] = []
    for kinds in fields.values():
        if isinstance(kinds, list) and len(kinds) == layers > LAYERS and all(isinstance(kind, str) for kind in kinds):
            selected += [place for kind in dict.fromkeys(kinds)
                     for place in [n for n, other in enumerate(kinds) if other == kind][:2]]  # fmt: skip
    return sorted(list(dict.fromkeys([*selected, *range(layers)]))[:LAYERS])


def spread_weights(model: nn.Module, gain: float = 1.5, seed: int = 0) -> None:
    """Random weights at which attention is neither even nor all on one key."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise * gain / parameter.shape[-1] ** 0.5)
            else:
                # Some scale their keys by a vector that begins at zero.
                parameter.add_(noise * (0.1 if gain < 2 else 1))
