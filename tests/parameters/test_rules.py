"""The tables themselves: they speak of components that exist, and no name or shape can break the sum."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from attncli.components import COMPONENTS
from attncli.parameters.classify import SPLITTERS
from attncli.parameters.count import count_parameters
from attncli.parameters.inventory import inventory_from_header
from attncli.parameters.name_rules import RULES, UNITS, Kind, Rule, first_match

#: Meanings that the shape or the place of a tensor decides.
OPEN = {*SPLITTERS, "TABLE", "FRONT_END"}


def test_every_unit_has_its_rules() -> None:
    assert {rule.meaning for rule in UNITS} <= set(RULES)


def test_every_meaning_is_a_component() -> None:
    for prefix, rest, rules in RULES.values():
        for meaning in (rest, *(rule.meaning for rule in rules)):
            component = f"{prefix}{meaning}" if meaning.startswith(".") else meaning
            assert meaning in OPEN or component in COMPONENTS, component


def test_words_take_names_and_classes_apart() -> None:
    rule = Rule("norm", "*_norm :*Norm")
    assert rule.matches(["final_norm"]) and rule.matches([":LayerNorm"]) and rule.matches(["FINAL_NORM"])
    assert not rule.matches([":Conv_norm_layer"]) and not rule.matches(["LayerNorms"])


def test_a_star_takes_no_class() -> None:
    assert not Rule("norm", "*norm*").matches([":NoNormConvolution"])


def test_the_earlier_rule_wins_and_kinds_narrow() -> None:
    rules = (Rule("a", "x", (Kind.LINEAR,)), Rule("b", "x"), Rule("c", "x"))
    assert first_match(rules, ["x"]) == "b"
    assert first_match(rules, ["x"], Kind.LINEAR) == "a"
    assert first_match(rules, ["y"]) is None


_WORDS = (
    "model encoder decoder layers 0 1 self_attn attention mlp experts shared_experts gate q_proj k_proj v_proj qkv"
    " c_attn kv_b_proj kv_a_proj_with_mqa in_proj in_proj_qkvz gate_up_proj up_proj down_proj w1 w2 w3 Wi norm"
    " embed_tokens vision_tower lm_head mixer conv1d router lora_A relative_attention_bias pooler classifier"
    " crossattention out_proj o_proj output dense x weird-name ünïcode"
)
_STEPS = st.lists(st.sampled_from(_WORDS.split()), max_size=6)
_LEAVES = st.sampled_from(["weight", "bias", "q_proj", "gate_up_proj_bias", "sinks"])
_NAMES = st.builds(lambda steps, leaf: ".".join([*steps, leaf]), _STEPS, _LEAVES)
_SHAPES = st.lists(st.integers(0, 13), min_size=0, max_size=4).map(tuple)
_FIELDS = ("num_attention_heads", "num_key_value_heads", "vocab_size", "head_dim", "num_experts", "num_experts_per_tok")
_CONFIGS = st.fixed_dictionaries(dict.fromkeys(_FIELDS, st.integers(0, 7)))


@given(st.dictionaries(_NAMES, _SHAPES, max_size=12), _CONFIGS)
def test_any_names_and_shapes_add_up(shapes: dict[str, tuple[int, ...]], config: dict[str, int]) -> None:
    found = count_parameters(inventory_from_header(shapes, config), model="any", by="tensor")
    assert sum(component.parameters for component in found.components) == found.total
    assert sum(row.parameters for row in found.rows) == found.total
    assert sum(layer.parameters for layer in found.layers) <= found.total
    assert 0 <= found.active.without_embedding_lookup <= found.active.total <= found.total
    assert all(component.weights >= 0 and component.biases >= 0 for component in found.components)
