"""Tables of module and tensor names: which unit a module is, and what each tensor of a unit does.

The rules name roles, never a model family: a synonym is one more word. The innermost module on the path to a tensor
that matches a rule of UNITS decides its unit; the names from the unit on are then compared with the rules of that unit
(RULES). Of several rules that match, the earlier wins; those of `attncli.components` come first.

A meaning that starts with a dot is a component within the unit. A meaning in capitals depends on shapes too, and is
resolved in `classify`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import Enum
from fnmatch import fnmatchcase
from functools import cache
from typing import NamedTuple

from attncli.components import COMPONENTS


class Kind(Enum):
    """What the module that owns a tensor does with it. It decides which axis is input and which output."""

    LINEAR = "linear"  # (out, in)
    TRANSPOSED = "transposed"  # (in, out): GPT-2's Conv1D
    CONVOLUTION = "convolution"
    EMBEDDING = "embedding"
    NORM = "norm"
    RECURRENT = "recurrent"
    PACKED_ATTENTION = "packed attention"  # torch's MultiheadAttention, which holds its in-projection itself
    OTHER = "other"  # another module, or unknown, as in a checkpoint's header


class Rule(NamedTuple):
    """One line of a table: a name that matches any of the words means `meaning`.

    words: separated by spaces; `*` stands for anything, `?` for one character, `[a-z]` for one of several, and case
    doesn't matter. A word that starts with a colon is compared with a class, any other with a name.
    kinds: the kinds of module that the line applies to; empty for all.
    """

    meaning: str
    words: str
    kinds: tuple[Kind, ...] = ()

    def matches(self, steps: Iterable[str], kind: Kind = Kind.OTHER) -> bool:
        """Whether one of the steps (names, and classes with a colon before them) is one of the words."""
        if self.kinds and kind not in self.kinds:
            return False
        names, classes = _compile_words(self.words)
        return any(classes.match(step[1:]) if step[:1] == ":" else names.match(step) for step in map(str.lower, steps))


class _WordPatterns(NamedTuple):
    """Words sorted by their form, as compiling them all to regular expressions is slow.

    starts, ends: the text before and after a star.  inner: the text between two stars.
    wildcards: words whose only special characters are question marks.  patterns: any other form.
    """

    plain: frozenset[str]
    starts: tuple[str, ...]
    ends: tuple[str, ...]
    inner: tuple[str, ...]
    wildcards: tuple[str, ...]
    patterns: tuple[str, ...]

    def match(self, step: str) -> bool:
        if step in self.plain or step.startswith(self.starts) or step.endswith(self.ends):
            return True
        return (
            any(word in step for word in self.inner)
            or any(
                len(step) == len(word) and all(sign in ("?", letter) for letter, sign in zip(step, word, strict=True))
                for word in self.wildcards
            )
            or any(fnmatchcase(step, word) for word in self.patterns)
        )


@cache
def _compile_words(words: str) -> tuple[_WordPatterns, _WordPatterns]:
    """The words for names, and the words for classes."""
    parted: tuple[list[str], list[str]] = ([], [])
    for word in words.lower().split():
        parted[word.startswith(":")].append(word.removeprefix(":"))
    return _sort_words(parted[0]), _sort_words(parted[1])


def _sort_words(words: Iterable[str]) -> _WordPatterns:
    found: dict[str, list[str]] = defaultdict(list)
    for word in words:
        text = word.strip("*")
        if "?" in text and not any(sign in word for sign in "*["):
            found["?"].append(word)
            continue
        form = "[" if any(sign in text for sign in "*?[") else "*" * (word[0] == "*") + "-" + "*" * (word[-1] == "*")
        found[form].append(word if form == "[" else text)
    return _WordPatterns(frozenset(found["-"]), *(tuple(found[form]) for form in ("-*", "*-", "*-*", "?", "[")))


def first_match(rules: Iterable[Rule], steps: Iterable[str], kind: Kind = Kind.OTHER) -> str | None:
    """The meaning of the first rule that fits one of the steps; None where none does."""
    steps = tuple(steps)
    return next((rule.meaning for rule in rules if rule.matches(steps, kind)), None)


#: The unit of a module, by its name or class.
UNITS: tuple[Rule, ...] = (
    *(Rule(name, component.modules) for name, component in COMPONENTS.items() if component.modules),
    Rule("experts", "expert experts local_experts routed_experts :*Experts :*ExpertsMLP"),
    Rule("moe", ":*MoE :*MoEBlock :*MoeBlock :*SparseMoeBlock :*SparseMLP :*MoELayer :*Moe :*MoEFeedForward"),
    Rule("moe", "moe block_sparse_moe sparse_moe moe_*"),
    # Keys and values from another sequence.
    Rule("cross", "*cross_att* crossatt* *crossattention*"),
    Rule("cross", "encoder_attn encdecattention encoder_attention enc_dec_att*"),
    Rule("cross", "inter_attention src_attn :*CrossAttention :*CrossAttn* *cross_attn* *_to_*_attn* multihead_attn"),
    # Other ways to mix positions than attention: state spaces, linear attention, convolution, Fourier transforms.
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
    Rule("attention", "self_attn* *_attn sa mha attn attn? attention"),
    Rule("attention", "attentions self_attention *selfattention self *_attention"),
    Rule("attention", ":*Attention :*Attn :*SelfAttention*"),
    Rule("attention", ":*AttentionBlock :*AttentionLayer :*Attention?d :*AttentionSubsample"),
    # Residual streams mixed with one another.
    Rule("residual", "*_hc hc_* altup* laurel"),
    # Feed-forward networks; `output` is the second half of one unless it is in an attention.
    Rule("mlp", "mlp mlp? mlps ffn ffn? ffn_* ffwd ff ff? feed_forward* feedforward* densereludense ffw* intermediate"),
    Rule("mlp", ":*MLP :*MLP? :*Mlp :*FFN ff_context"),
    Rule("mlp", ":*FeedForward* :*DenseActDense :*DenseGatedActDense :*Intermediate :*SwiGLU*"),
    Rule("mlp", ":*GLU :*FeedForwardLayer :*MLPLayer :*MlpLayer :*MultiLayerPerceptron *_ff_layer fc1"),
    Rule("mlp", "fc2 lin1 lin2 linear1 linear2 linear_1 linear_2 *_dense"),
    Rule("mlp", "pwconv? pointwise_conv?", (Kind.LINEAR,)),
    # Projections from one part of a model to another.
    Rule("mlp", "merger *merger_list *_projector projector aligner connector :*PatchMerger :*Projector :*Connector"),
    # Generic names for the module of a block that mixes positions.
    Rule("mixer", "mixer temporal_block"),
    # Embeddings of ids, pixels and samples.
    Rule("embedding", "embedding* *_embedding *_embeddings embed embed_* *_embed"),
    Rule("embedding", "*_embeds feature_projection embedder *_embedder *embeddings wte wpe"),
    Rule("embedding", "subsampling* :*Subsampling* :*FeatureEncoder stem patch_embed* conv_stem feature_extractor"),
    Rule("embedding", ":*Embeddings :*Embedding :*Embed :*Stem :*Embedder"),
    Rule("unembedding", "lm_head *lm_head lm_loss unembed* embed_out output_projection vocab_projector"),
    Rule("head", "neck :*Neck reassemble* fpn"),
    Rule("head", "head heads *_head *_heads cls classifier* score predictions :*Head *_classifier *_predictor"),
)

#: Of two attentions of one block, the second reads the text (diffusers).
PAIR_RULES = (Rule("first", "attn1"), Rule("second", "attn2"))

#: A module with one of each is an attention, whatever its name.
PROJECTION_RULES = (
    Rule("query", "query q q_proj wq w_q"),
    Rule("key", "key k k_proj wk w_k"),
    Rule("value", "value v v_proj wv w_v"),
)

#: A small attention that chooses keys, and the name of the keys that it caches for that.
INDEXER_RULES = tuple(rule for rule in UNITS if rule.meaning == "attention.indexer")
INDEX_KEY_RULE = next(rule for rule in PROJECTION_RULES if rule.meaning == "key")

#: A projection of the token before.
DELAYED_RULE = Rule("delayed", "*_delayed")

#: Modules for multi-token prediction, where they aren't layers past the last one.
PREDICTION_RULE = Rule("prediction", "mtp mtp_* *_mtp nextn*")

#: An attention to its own sequence and another one at once.
MERGED_RULE = Rule("merged", ":*MergedAttention")

#: The unit whose parent is a mixture of experts.
EXPERTS_RULE = next(rule for rule in UNITS if rule.meaning == "experts")


_LINEAR = (Kind.LINEAR, Kind.TRANSPOSED, Kind.OTHER)

# Vectors of a module: a factor per channel of what a block adds (layer scale).
_FACTORS = Rule("norm", "layer_scale* *_layer_scale* gamma gamma_? *_gamma lambda_? scale grn", (Kind.OTHER,))

_ATTENTION = (
    # torch's MultiheadAttention may learn an extra key and value that belong to no token.
    Rule(".key", "bias_k", (Kind.PACKED_ATTENTION,)),
    Rule(".value", "bias_v", (Kind.PACKED_ATTENTION,)),
    # Short convolutions over the positions of keys and values.
    Rule("mixer.convolution", "sconv *_convolution *_sconv"),
    # These names are certain, even inside a fused module.
    Rule("QUERY", "q_proj add_q_proj"),
    Rule(".key", "k_proj add_k_proj"),
    Rule(".value", "v_proj v_proj_* add_v_proj"),
    # Relative positions: tables, the biases u and v of Transformer-XL, and projections of the encoded positions.
    Rule(".position_bias", "rel_* relative_* *relative_position* *_rel_pos*"),
    Rule(".position_bias", "r_*bias *pos_bias* *_bias_table bias_[uv]"),
    Rule(".position_bias", "r_? r_kernel"),
    Rule(".position_bias", "r_net r r_proj seg_embed distance_embedding linear_pos pos_*proj *_position_bias*"),
    Rule(".position_bias", "pos_emb* pos_embed* *position_emb* dist_*"),
    Rule(".position_bias", "attention_biases *pos_encod* cpb_mlp* position_bias*"),
    # Gates on the output of the heads.
    Rule(".gate", "g_proj g_a_proj g_b_proj gate gate_proj gate_* *_gate *_gating gating*"),
    # Multi-head latent attention: projections down to the latents, and up again.
    Rule("LATENT_AND_KEY", "kv_a_proj_with_mqa wkv_a attn_kv_a_mqa"),
    Rule(".latent", "q_a_proj kv_a_proj wq_a attn_q_a q_down* kv_down* *_compress* compress*"),
    Rule("KEY_AND_VALUE_UP", "kv_b_proj wkv_b attn_kv_b kv_up_proj"),
    Rule(".query", "q_b_proj wq_b attn_q_b q_up_proj"),
    Rule(".key", "attn_k_b k_b_proj"),
    Rule(".value", "attn_v_b v_b_proj"),
    # Fused tensors.
    Rule("QUERY_KEY_VALUE", "qkv* *_qkv *_qkv_proj wqkv w_qkv"),
    Rule("QUERY_KEY_VALUE", "query_key_value c_attn in_proj in_proj_qkv packed_qkv att_proj"),
    Rule("KEY_VALUE", "kv kv_proj to_kv wkv w_kv key_value kv_linear c_kv"),
    Rule("QUERY_KEY", "qk qk_proj to_qk query_key"),
    # Separate tensors; that of the query may contain a gate.
    Rule("QUERY", "q q_* *_q query query_* *_query queries wq w_q wa q[a-z]_proj q_attn query[0-9]* qlinear"),
    Rule(".key", "k k_* *_k key key_* *_key keys wk w_k ua k[a-z]_proj bias_k klinear"),
    Rule(".value", "v v_* *_v value value_* *_value values wv w_v v[a-z]_proj bias_v vlinear"),
    Rule(".output", "o o_* *_o wo w_o out out_* *_out output"),
    Rule(".output", "output_* dense c_proj proj projection attn_output resid* post post_* projection_layer"),
)

_MLP = (
    Rule("GATE_UP", "gate_up* gate_and_up* up_gate* w12 fused_mlp"),
    Rule(".gate", "gate_proj gate gate_* *_gate wi_0 ffn_gate* receptance w_gate linear_gate"),
    # `w1` is the gate where there is a third matrix `w3`, and the up-projection where there isn't.
    Rule("FIRST", "w1 linear_v"),
    Rule(".up", "w3 wi_1"),
    Rule(".down", "down_proj down down_* *_down w2 wo c_proj fc2"),
    Rule(".down", "fc_2 lin2 linear2 linear_2 linear_fc2 dense2 dense_2 output"),
    Rule(".down", "dense_4h_to_h output_* *_output fc_out proj_out out_proj ffn_down*"),
    Rule(".down", "conv2 conv_2 value out project_out ffn2 w_2"),
    Rule("UP", "up_proj up up_* *_up wi wi_fused c_fc fc1 fc_1"),
    Rule("UP", "lin1 linear1 linear_1 linear_fc1 dense1 dense_1 intermediate key in_proj"),
    Rule("UP", "dense_h_to_4h intermediate_* input_* fc_in proj_in ffn_up*"),
    Rule("UP", "conv1 conv_1 project_in ffn1 w_1 weights_in"),
)

_MOE = (
    Rule(".router", "gate router wg *_router *_correction expert"),
    *_MLP,
)

_MIXER = (
    _FACTORS,
    Rule(".convolution", "conv conv* *_conv *_conv1d *_conv2d conv?d depthwise* pointwise* reduction focal_layers"),
    # State spaces and linear attention: the width of the input projection says what it contains.
    Rule("QUERY_KEY_VALUE_GATE", "in_proj_qkvz"),
    Rule("MIXED_QUERY_KEY_VALUE", "in_proj_qkv"),
    Rule(".state", "in_proj_ba in_proj_a in_proj_b a_log d dt dt_* *_dt"),
    Rule(".state", "x_proj a b c b_proj f_a_proj f_b_proj f_proj a_proj"),
    Rule(".state", "time_* rg_lru recurrent_* *_decay beta* alpha* *gate_preact* igate fgate slope*"),
    Rule(".gate", "in_proj_z g_proj g_a_proj g_b_proj gate gate_* *_gate linear_y receptance ogate z_proj"),
    Rule("STATE_SPACE_IN", "in_proj ssm_in"),
    Rule(".input", "linear_x linear_start up_proj in_* *_in"),
    *(rule for rule in _ATTENTION if rule.meaning in ("QUERY_KEY_VALUE", ".key", ".value", ".output")),
    Rule(".query", "q q_* query r_proj"),
    Rule(".output", "linear_out linear_end down_proj ssm_out *_out"),
    Rule(".convolution", "*", (Kind.CONVOLUTION,)),
)

_POSITIONS = (
    "wpe *position* *_pos pos_* pos *positional* embed_pos* *pos_emb* pe time_embed* temporal_embed* *_pos_embed"
)
_EMBEDDING = (
    Rule("embedding.position", _POSITIONS),
    Rule("embedding.segment", "*token_type* *segment* *seg_embed* token_type_embd"),
    # Learned vectors in the place of a token: class, mask, register and query tokens.
    Rule("embedding.other", "*_token *_tokens cls mask class_embed* *_token_embed*", (Kind.OTHER,)),
    _FACTORS,
    Rule("embedding.per_layer", "*per_layer*"),
    Rule("embedding.token", "wte word_emb* embed_tokens* tok_emb* token_emb* shared embed_in w?e tokens_embed"),
    # Tables that are not of tokens: queries, points, boxes, levels, kinds.
    Rule("embedding.other", "*quer* *mask* *point* *box* *level* *label* *type* *class* *cls*", (Kind.EMBEDDING,)),
    Rule(
        "embedding.other",
        "*tile* *denois* *_prompt* *_token row_* column_* freq* *bias* *code* *quantiz*",
        (Kind.EMBEDDING,),
    ),
    Rule("TABLE", "*", (Kind.EMBEDDING,)),
    Rule("FRONT_END", "*", (Kind.CONVOLUTION,)),
    Rule("embedding.audio", "subsampling*"),
    Rule("embedding.patch", "*patch*"),
)

_HEAD = (
    # A head of masked language models ends in the unembedding; if tied, only its bias is stored here.
    Rule("unembedding", "decoder vocab_projector", (Kind.LINEAR,)),
    Rule("unembedding", "predictions", (Kind.OTHER,)),
)
_UNEMBEDDING = (Rule("task_head", "dense transform", (Kind.LINEAR,)),)

#: Tensors in no unit: directly in a block, or outside the blocks.
_NO_UNIT = (
    # The second half of a feed-forward network whose first half is called `intermediate`.
    Rule("mlp.down", "output output_query *_output", _LINEAR),
    _FACTORS,
    # Projections between the width of the embeddings and that of the blocks.
    Rule("embedding.other", "*embedding*proj* embeddings_project *mapping_in project_in project_out input_proj*"),
    Rule("unembedding", "lm_head embed_out output_projection generator_lm_head"),
    Rule("embedding.token", "shared"),
    Rule("embedding.position", _POSITIONS),
    Rule("task_head", "output out pred_layer proj_out generator classifier* qa_outputs score *_classifier"),
    Rule("task_head", "logit* *_logits vocab_transform temperature *_pointer"),
    Rule("task_head", "text_projection visual_projection image_projection predict_* out_mid logits_*"),
    # Per-layer embeddings: a gate down to their width, and a projection back.
    Rule("mlp.gate", "per_layer_input_gate"),
    Rule("mlp.down", "per_layer_projection"),
    Rule("embedding.other", "per_layer_model_projection input_linear input_layer"),
    Rule("embedding.patch", "patcher"),
    Rule("embedding.other", "visual_prompter pad_* *prompt", (Kind.OTHER,)),
    Rule("mlp.gate", "gateway"),
    # The input of this block from a block of another kind.
    Rule("mixer.input", "linear", (Kind.LINEAR,)),
    # A linear layer between two parts of a model, or between two widths.
    Rule("mlp.up", "proj proj? *_proj projection *_projection fc proj_mlp", (Kind.LINEAR,)),
    Rule("mlp.up", "*_fc fc_* head_linear *_out *_transform transformation", (Kind.LINEAR,)),
    Rule("embedding.other", "*_token *_tokens *quer* latents* cls", (Kind.OTHER,)),
    Rule("embedding.other", "*_emb *_embed *_embeds *_embedding* *newline* *_latent *_pointer", (Kind.OTHER,)),
    Rule("FRONT_END", "conv1 conv2", (Kind.CONVOLUTION,)),
    Rule("mixer.convolution", "*", (Kind.CONVOLUTION,)),
    Rule("mixer.recurrent", "*", (Kind.RECURRENT,)),
    Rule("embedding.other", "*", (Kind.EMBEDDING,)),
)


def _own_rules(group: str) -> tuple[Rule, ...]:
    """The names of tensors that the components of a group have in their entries."""
    return tuple(Rule(name, part.names) for name, part in COMPONENTS.items() if part.group == group and part.names)


#: For each unit: the prefix of meanings with a dot, the meaning where no rule matches, and the rules.
RULES: Mapping[str, tuple[str, str, tuple[Rule, ...]]] = {
    unit: (prefix, default, (*_own_rules(prefix), *rules))
    for unit, prefix, default, rules in (
        *((name, "", name, ()) for name, component in COMPONENTS.items() if component.modules),
        ("experts", "moe", "BY_SHAPE", _MLP),
        ("moe", "moe", "BY_SHAPE", _MOE),
        ("cross", "cross_attention", "cross_attention.other", _ATTENTION),
        ("attention", "attention", "attention.other", _ATTENTION),
        ("position_bias", "", "attention.position_bias", ()),
        ("mixer", "mixer", "mixer.other", _MIXER),
        ("mlp", "mlp", "BY_SHAPE", _MLP),
        ("embedding", "embedding", "embedding.other", _EMBEDDING),
        ("unembedding", "", "unembedding", _UNEMBEDDING),
        ("head", "", "task_head", _HEAD),
        ("residual", "", "other", ()),
        ("", "", "other", _NO_UNIT),
    )
}

# --- Parts

#: A projection from one part to another belongs to neither, wherever it is.
PROJECTORS = (
    Rule("head", "vocab_projector"),
    Rule("projector", "*projector* merger *merger_list aligner"),
    Rule("projector", "connector modality_projection mm_projector vision_embed_tokens"),
)
#: Towers, by the outermost module whose name or class matches.
TOWERS = (
    # Attention to a tower is no part of it.
    Rule("", "*cross_att* *_attn *_layer_norm"),
    Rule("audio", "audio* *_audio speech* *audio_tower* *audio_encoder* vocoder hifigan talker code2wav token2wav"),
    # Codes of pictures.
    Rule("vision", "vqmodel vq_model"),
    Rule("vision", "vision* visual* image_encoder *vision_tower* *image_tower* vit pixel_level_module :*VisionModel"),
    Rule("text", "text* *language_model* *text_model text_encoder :*TextModel"),
)
