"""Numbers that shapes alone don't tell (heads, experts), looked up near the module that they hold for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

#: What modules and configurations call a number; the first that is there.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "heads": ("num_attention_heads", "num_heads", "n_head", "n_heads", "attention_heads", "num_attn_heads", "nhead"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads", "n_kv_heads", "kv_heads"),
    "head_dim": ("head_dim", "attention_head_size", "d_kv", "head_size", "kv_channels", "d_head"),
    "value_head_dim": ("v_head_dim", "value_head_dim"),
    "latent_rank": ("kv_lora_rank",),
    "hidden": ("hidden_size", "d_model", "n_embd", "embed_dim", "dim"),
    "vocabulary": ("vocab_size", "n_vocab", "vocabulary_size"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts"),
    "active_experts": ("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "moe_topk", "top_k", "moe_k",
                       "num_selected_experts", "n_active_experts", "top_k_experts"),
}  # fmt: skip


class Settings(NamedTuple):
    """The numbers of a model by the path of the module that holds them; "" is the model itself."""

    sources: Mapping[str, tuple[Any, ...]]

    def look(self, path: str, field: str) -> int | None:
        """The number called `field` in FIELDS that holds at `path`: the innermost module that knows it decides."""
        for source in self._near(path):
            for name in FIELDS[field]:
                value = _fields(source).get(name)
                if type(value) is int and value > 0:
                    return value
        return None

    def _near(self, path: str) -> Iterator[Any]:
        """What is known at a path, then at the path that holds it, and so on to the whole model."""
        while path:
            yield from self.sources.get(path, ())
            path = path.rpartition(".")[0]
        yield from self.sources.get("", ())


def _fields(source: Any) -> Mapping[str, Any]:
    # Not by getattr: a configuration whose layers differ refuses to name one value for them all.
    return source if isinstance(source, Mapping) else vars(source)
