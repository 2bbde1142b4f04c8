"""The units that a model is made of, told by the names and the classes of modules: one table, no family named.

A word is compared with a module's name, and with its class where it starts with a colon; `*` stands for anything, and
case doesn't matter. On the way to a tensor the innermost module that matches decides, and of two lines the earlier.
"""

from __future__ import annotations

from attncli.parameters.inventory import Kind
from attncli.parameters.words import Rule

UNITS: tuple[Rule, ...] = (
    # Small trained matrices beside a frozen model: LoRA, its vectors and embeddings, bottleneck adapters.
    Rule("adapter", "lora_* adapter adapters adapter_layer adapter_modules modality_adapters"),
    Rule("adapter", ":*Adapter :*AdapterLayer :LoraLayer"),
    # Norms, whatever they stand in; a factor per channel of a block's output does the same work as their gain.
    Rule("norm", ":*Norm :*Norm?d :*NormGated"),
    Rule("norm", "enorm hnorm norm norm? *_norm *_norm? norm_* *layernorm* *layrnorm* *layer_norm*"),
    Rule("norm", "ln ln? ln_* *_ln bn bn? *_bn *_bn? *batchnorm*"),
    Rule("norm", "layer_scale* *_layer_scale* layerscale* ls1 ls2 :*LayerScale :*Affine *_layerscale :*GRN"),
    # Mixtures of experts. The router is a unit of its own, as its class and name say more than where it stands.
    Rule("router", "router gate_network wg *_router :*Router :*TopKGate"),
    Rule("router", ":*MoEGate :*TopKGating :*MoeGate gate_network *_router moe_statics"),
    Rule("shared", "shared_expert shared_experts shared_mlp shared_moe residual_mlp shared_ffn shared_expert_gate"),
    Rule("experts", "expert experts local_experts routed_experts"),
    Rule("experts", ":*Experts :*ExpertsMLP"),
    Rule("moe", ":*MoE :*MoEBlock :*MoeBlock :*SparseMoeBlock :*SparseMLP :*MoELayer :*Moe :*MoEFeedForward"),
    Rule("moe", "moe block_sparse_moe sparse_moe moe_*"),
    # Where a sequence is summed up: attention pooling is a pooler, not a layer's attention.
    Rule("pooler", "pooler attn_pool* attention_pool* attnpool :*Pooler :*PoolingHead :*AttentionPool*"),
    # Keys and values from another sequence.
    Rule("cross", "*cross_att* crossatt* *crossattention*"),
    Rule("cross", "encoder_attn encdecattention encoder_attention enc_dec_att*"),
    Rule("cross", "inter_attention src_attn :*CrossAttention :*CrossAttn* *cross_attn* *_to_*_attn* multihead_attn"),
    # What mixes positions in attention's place: state spaces, linear attention, convolution, Fourier transforms.
    Rule("mixer", "mamba* linear_att* ssm short_conv conv_module conv_mod lconv* token_mix*"),
    Rule("mixer", ":*Mixer :*DeltaNet :*DeltaAttention :*ShortConv :*RecurrentBlock :*RgLru :*LightningAttention"),
    # Merging neighbouring patches is a convolution whose stride is its size.
    Rule("mixer", "downsample upsample :*Upsampling :*PatchMerging :*Downsample* :*Modulation mlstm_layer"),
    Rule("mixer", ":Rwkv*SelfAttention :*FourierTransform :*mLSTM*"),
    Rule("mixer", ":*ConvolutionModule :*ConvModule :*TextLinearAttention"),
    # Positions relative to one another, as tables inside an attention.
    Rule("position_bias", "relative_* rel_pos* rel_*emb*"),
    Rule("position_bias", ":*RelativePosition* position_bias* attention_bias* attn_bias*"),
    Rule("position_bias", "distance_embedding seg_embed"),
    # A small attention that chooses what the attention may see.
    Rule("indexer", "indexer scorer :*Indexer"),
    Rule("attention", "self_attn* *_attn sa mha attn attn? attention"),
    Rule("attention", "attentions self_attention *selfattention self *_attention"),
    Rule("attention", ":*Attention :*Attn :*SelfAttention*"),
    Rule("attention", ":*AttentionBlock :*AttentionLayer :*Attention?d :*AttentionSubsample"),
    # Residual streams mixed with one another.
    Rule("residual", "*_hc hc_* altup* laurel"),
    # Feed-forward networks; `output` is the second half of one where an attention doesn't own it.
    Rule("mlp", "mlp mlp? mlps ffn ffn? ffn_* ffwd ff ff? feed_forward* feedforward* densereludense ffw* intermediate"),
    Rule("mlp", ":*MLP :*MLP? :*Mlp :*FFN"),
    Rule("mlp", ":*FeedForward* :*DenseActDense :*DenseGatedActDense :*Intermediate :*SwiGLU*"),
    Rule("mlp", ":*GLU :*FeedForwardLayer :*MLPLayer :*MlpLayer :*MultiLayerPerceptron *_ff_layer fc1"),
    Rule("mlp", "fc2 lin1 lin2 linear1 linear2 linear_1 linear_2 *_dense"),
    Rule("mlp", "pwconv? pointwise_conv?", (Kind.LINEAR,)),
    # From one part of a model to another.
    Rule("mlp", "merger *merger_list *_projector projector aligner connector :*PatchMerger :*Projector :*Connector"),
    # Names for the place where a block mixes positions, whatever does it there.
    Rule("mixer", "mixer temporal_block"),
    # What turns ids, pixels and samples into vectors.
    Rule("embedding", "embedding* *_embedding *_embeddings embed embed_* *_embed"),
    Rule("embedding", "*_embeds feature_projection embedder *_embedder *embeddings wte wpe"),
    Rule("embedding", "subsampling* :*Subsampling* :*FeatureEncoder"),
    Rule("embedding", "stem patch_embed* conv_stem feature_extractor"),
    Rule("embedding", ":*Embeddings :*Embedding :*Embed :*Stem :*Embedder"),
    Rule("unembedding", "lm_head *lm_head lm_loss unembed* embed_out output_projection vocab_projector"),
    Rule("head", "neck :*Neck reassemble* fpn"),
    Rule("head", "head heads *_head *_heads cls classifier* score predictions :*Head *_classifier *_predictor"),
)

#: Units that are one thing however much there is inside of them.
WHOLE = frozenset({"router", "shared", "pooler"})

#: A module that holds one of each attends, whatever it is called.
HEAD_OF_ATTENTION = (
    Rule("query", "query q q_proj wq w_q"),
    Rule("key", "key k k_proj wk w_k"),
    Rule("value", "value v v_proj wv w_v"),
)

#: The unit that makes a mixture of what holds it.
EXPERTS = next(rule for rule in UNITS if rule.meaning == "experts" and ":" not in rule.words)
