"""The components of parameters, one entry each: the only place to edit for a new one.

Counting, costs, `--lora`, help, completion, tables and pages read the entries, in the order in which they are shown.
The names that lead to a component are in its entry where they are certain; those that depend on what is around them are
in `parameters.name_rules`.

Imports nothing of the package, so that help and completion start at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Component(NamedTuple):
    """One component. name: with the group before a dot, if it has one.

    modules: names and classes of modules whose tensors all belong to it, and names: names of its tensors in a module of
    its group; both as the words of a `name_rules.Rule`.  whole: modules inside such a module aren't looked at.
    part: the part of a model that has such a component and no other (`text`, `vision`, `audio`).
    looked_up: a token takes one row of it.  routed: a token passes through some of its matrices, as an expert's.
    packed: a linear layer of the blocks, which quantized models pack and `--lora 16:all` adapts with its group.
    adapted: by `--lora` without names, as in the paper.  peft: its usual name among peft's `target_modules`.
    """

    name: str
    modules: str = ""
    names: str = ""
    whole: bool = False
    part: str | None = None
    looked_up: bool = False
    routed: bool = False
    packed: bool = False
    adapted: bool = False
    peft: str | None = None

    @property
    def group(self) -> str:
        return self.name.partition(".")[0]


def _attention(group: str, *peft: str | None) -> Iterator[Component]:
    """peft: the names of the projections of queries, keys, values and outputs."""
    for kind, name in zip(("query", "key", "value", "output"), peft or (None,) * 4, strict=True):
        yield Component(f"{group}.{kind}", packed=True, adapted=kind in ("query", "value"), peft=name)
    yield Component(f"{group}.latent", packed=True)
    yield Component(f"{group}.position_bias")
    yield Component(f"{group}.gate", packed=True)
    yield Component(f"{group}.sinks", names="sinks sink *_sinks *_sink sink_*")
    yield Component(f"{group}.other", packed=True)


#: The components by name, in the order in which they are shown.
COMPONENTS: Mapping[str, Component] = {component.name: component for component in (
    Component("embedding.token", part="text", looked_up=True),
    Component("embedding.position", looked_up=True),
    Component("embedding.segment", looked_up=True),
    # A vector of each token for every layer (Gemma 3n), and tables of sequences of tokens (Engram).
    Component("embedding.per_layer", part="text", looked_up=True),
    Component("embedding.ngram", part="text", looked_up=True, whole=True, modules="multi_head_embedding ngram_embed*"
              " :*NgramEmbedding* :MultiHeadEmbedding"),
    Component("embedding.patch", part="vision"),
    Component("embedding.audio", part="audio"),
    Component("embedding.other"),
    *_attention("attention", "q_proj", "k_proj", "v_proj", "o_proj"),
    # A small attention that selects the keys of the attention (sparse attention), and what makes one entry of a block
    # of tokens (compressed attention).
    Component("attention.indexer", packed=True, modules="indexer scorer :*Indexer"),
    Component("attention.compressor", packed=True, modules="compressor :*Compressor"),
    # Keys and values come from another sequence.
    *_attention("cross_attention"),
    Component("mlp.gate", packed=True, peft="gate_proj"),
    Component("mlp.up", packed=True, peft="up_proj"),
    Component("mlp.down", packed=True, peft="down_proj"),
    # Mixtures of experts. The router is apart, as its class and name say more than its place.
    Component("moe.router", whole=True, modules="router gate_network wg *_router :*Router :*TopKGate :*MoEGate"
              " :*TopKGating :*MoeGate moe_statics"),
    Component("moe.gate", routed=True, packed=True, peft="gate_proj"),
    Component("moe.up", routed=True, packed=True, peft="up_proj"),
    Component("moe.down", routed=True, packed=True, peft="down_proj"),
    Component("moe.shared", whole=True, packed=True, modules="shared_expert shared_experts shared_mlp shared_moe"
              " residual_mlp shared_ffn shared_expert_gate"),
    # Other ways to mix positions than attention: state spaces, linear attention, convolution, recurrence.
    *(Component(f"mixer.{kind}", packed=kind not in ("convolution", "state")) for kind in (
        "input", "query", "key", "value", "gate", "state", "convolution", "recurrent", "output", "other")),
    # What is read from tables of sequences of tokens, on its way into a block (Engram).
    Component("memory", modules="engram :Engram"),
    # Norms in any module; a factor per channel on a block's output (layer scale) works as a norm's gain does.
    Component("norm", modules=":*Norm :*Norm?d :*NormGated enorm hnorm norm norm? *_norm *_norm? norm_* *layernorm*"
              " *_norm_out norm?_context"
              " *layrnorm* *layer_norm* ln ln? ln_* *_ln bn bn? *_bn *_bn? *batchnorm* layer_scale* *_layer_scale*"
              " layerscale* ls1 ls2 :*LayerScale :*Affine *_layerscale :*GRN"),
    # Attention pooling is a pooler too, and not a layer's attention.
    Component("pooler", whole=True, modules="pooler attn_pool* attention_pool* attnpool :*Pooler :*PoolingHead"
              " :*AttentionPool*"),
    Component("unembedding", part="text"),
    Component("task_head"),
    # Small trained matrices beside a frozen model: LoRA, its vectors and embeddings, bottleneck adapters.
    Component("adapter", modules="lora_* adapter adapters adapter_layer adapter_modules modality_adapters :*Adapter"
              " :*AdapterLayer :LoraLayer"),
    Component("other"),
)}  # fmt: skip

#: The groups in their order, and those with linear layers of the blocks.
GROUPS = tuple(dict.fromkeys(component.group for component in COMPONENTS.values()))
BLOCK_GROUPS = tuple(dict.fromkeys(component.group for component in COMPONENTS.values() if component.packed))
#: Every name that stands for components: each group, then its components.
NAMES = tuple(dict.fromkeys(name for component in COMPONENTS.values() for name in (component.group, component.name)))
#: The experts' matrices.
ROUTED = frozenset(name for name, component in COMPONENTS.items() if component.routed)
#: The place of each component in their order, to sort by.
PLACES = {name: place for place, name in enumerate(COMPONENTS)}
