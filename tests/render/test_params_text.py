"""The text of `attn params`: odd models, many models, narrow terminals, and any names."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attncli.components import COMPONENTS
from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.params.text import params_text
from attncli.render.views.params import short_names
from attncli.results.cache import Cache, CachedLayer
from attncli.results.params import Component, Layer, Node, ParameterCount, ParamsResult
from tests.render.heads_samples import SGR
from tests.render.params_samples import COUNTED, compared, model, result

BESIDE = """\
org/small · SmallLMHeadModel · from config · bfloat16
96,119,040 parameters

./tiny · from config
1,024 parameters

component                          small         tiny   difference
total                         96,119,040        1,024  -96,118,016
  attention.output            21,261,312            ·  -21,261,312
  attention.query              7,087,104            ·   -7,087,104
  embedding.position             786,432            ·     -786,432
  embedding.token             38,597,376        1,000  -38,596,376
  mlp.gate                             ·           24          +24
  mlp.up                      28,348,416            ·  -28,348,416
  norm                            38,400            ·      -38,400
active a token                96,119,040        1,024
memory, bfloat16                 183 MiB  2,048 bytes
cache a token, bfloat16      6,144 bytes      0 bytes
arithmetic                    493 MFLOPs     48 FLOPs
  at tokens                        8,192           16
longest context, bfloat16  74,075 tokens
training, bfloat16              1.50 GiB            ·
LoRA                               7,168            ·
"""


WIDE = Terminal(80)


def alone(by: str) -> ParamsResult:
    """The sample without what was asked for beside it."""
    shown = model()
    costs = shown.costs._replace(fits=None, training={}, lora=None)
    return result(shown._replace(costs=costs, counted=shown.counted._replace(notes=())), by=by)


def test_groups_of_a_layer_go_to_rows_where_columns_have_no_room() -> None:
    assert (
        params_text(alone("layer"), Terminal(50)).partition("\n\n")[2]
        == """\
layers                   each   together
text (h)
  0–2               2,952,960  8,858,880
    attention         590,592  1,771,776
    mlp             2,362,368  7,087,104
  3                 2,363,904  2,363,904
    mlp             2,362,368  2,362,368
    norm                1,536      1,536
  4–5               2,952,960  5,905,920
    attention         590,592  1,181,184
    mlp             2,362,368  4,724,736
outside of layers  78,990,336
"""
    )


def costing(**costs: object) -> ParamsResult:
    return result(model(costs=model().costs._replace(**costs)))  # type: ignore[arg-type]


CHANGED = model(changes=("n_layer=48", "n_head=6"))
ENCODER = Cache(448, 1, (CachedLayer("decoder", 0, per_token=64, cross=64, cross_positions=1500),))
NOTED = compared().models[1]._replace(costs=compared().models[1].costs._replace(notes=("it has nothing to adapt",)))
UNBIASED = tuple(component._replace(biases=0) for component in COUNTED.components)


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (result(), "\n            54.6 MiB for 8,192 tokens of each of 2 texts\n"),
        (result(), "\n            int8 (cache bfloat16) any length\n"),
        (result(CHANGED), "org/small with n_layer=48, n_head=6 · SmallLMHeadModel"),
        (compared()._replace(models=(CHANGED, model())), "org/small with n_layer=48"),
        (result(by="layer"), "\nLoRA        rank 16 adds 7,168"),
        (compared()._replace(models=(model(), NOTED)), "\n\nnote        tiny: it has nothing to adapt\n"),
        (costing(cache=ENCODER),
         "128 bytes for each of the encoder's 1,500 positions\n            249,344 bytes for 448 tokens\n"),
        (result(model(counted=COUNTED._replace(components=UNBIASED))), "\ncomponent     parameters  share\n"),
    ],
)  # fmt: skip
def test_what_is_told(shown: ParamsResult, told: str) -> None:
    assert told in params_text(shown, WIDE)


def test_two_models_side_by_side() -> None:
    assert params_text(compared(), WIDE) == BESIDE


def test_lengths_that_differ_are_said_in_every_table() -> None:
    lines = params_text(compared(4), Terminal(70)).splitlines()
    # The models of the second table are all reckoned for the same length, but not for that of the first.
    assert [line.split()[2:] for line in lines if line.startswith("  at tokens")] == [["8,192", "16", "16"], ["16"]]


@pytest.mark.parametrize(
    ("groups", "layer", "told"),
    [
        (12, 2_359_296, ["all 12 of a layer 2,359,296"]),
        (4, 1_572_864, ["4 key/value heads a layer, each shared by 3 heads (grouped)", "all 12 of a layer 1,572,864"]),
        (1, 1_277_952, ["1 key/value head a layer, shared by all heads", "all 12 of a layer 1,277,952"]),
        (12, 2_360_000, ["all 12 of a layer 2,360,000", "of which all heads share 704"]),
    ],
)
def test_why_a_layers_heads_are_not_as_many_times_one(groups: int, layer: int, told: list[str]) -> None:
    counted = model().counted
    assert counted.per_head is not None
    per_head = counted.per_head._replace(key_value_heads=groups, layer=layer)
    text = params_text(result(model(counted=counted._replace(per_head=per_head))), Terminal(400))
    line = next(line for line in text.splitlines() if line.startswith("one head"))
    assert " · ".join(["64 × 768 = 49,152", *told, "12 in each of 6 layers: 72 heads"]) in line


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (None, "in 24.0 GiB,"),
        ("24 GiB", "in 24.0 GiB,"),
        ("25.7 GB", "in 25.7 GB (24.0 GiB),"),
        ("2 × 12 GiB", "in 2 × 12 GiB (24.0 GiB),"),
    ],
)
def test_memory_as_it_was_asked_for(written: str | None, told: str) -> None:
    fits = model().costs.fits
    assert fits is not None
    shown = costing(fits=fits._replace(written=written))
    assert f"\nfit         {told}" in params_text(shown, WIDE)
    assert params_text(shown, Terminal(80, unicode=False)).isascii()


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["org/llama", "gpt2"], ["llama", "gpt2"]),
        (["cfg/bert/config.json", "cfg/roberta/config.json"], ["bert", "roberta"]),
        (["config.json", "./a"], ["config.json", "a"]),
        (["a/base/", "b/base"], ["a/base", "b/base"]),
        (["c\\a\\base", "c\\b\\base"], ["a/base", "b/base"]),
        (["base", "b/base"], ["base", "b/base"]),
        (["preset:gpt2", "preset:gpt2-xl"], ["gpt2", "gpt2-xl"]),
        (["preset:gpt2", "gpt2"], ["preset:gpt2", "gpt2"]),
        (["preset:gpt2", "x", "preset:gpt2"], ["gpt2 (1)", "x", "gpt2 (3)"]),
        (["a/base", "b/base", "a/base"], ["a/base (1)", "b/base", "a/base (3)"]),
        (["a-model-with-a-name-1", "a-model-with-a-name-2"], ["a-model-wit… (1)", "a-model-wit… (2)"]),
        (["", "/"], ["", "/"]),
    ],
)
def test_names_above_columns_tell_apart(names: list[str], shown: list[str]) -> None:
    assert short_names(names) == shown


def test_more_models_than_fit_go_on_beneath() -> None:
    lines = params_text(compared(4), Terminal(70)).splitlines()
    headings = [line.split() for line in lines if line.startswith("component ")]
    assert headings == [["component", "small", "tiny", "(2)", "tiny", "(3)"], ["component", "tiny", "(4)"]]


def test_the_characters_are_the_same_with_colour() -> None:
    coloured = params_text(result(), Terminal(80, ColorDepth.TRUE))
    assert SGR.sub("", coloured) == params_text(result(), WIDE)
    assert "\x1b[38;2;46;143;194m████████" in coloured


CHARACTERS = st.one_of(st.sampled_from("ab .␣猫👍é\u0301\u200d\u202eשלםعא\x1b\x07\x9b\n\t\r\ud800"), st.characters())
TEXTS = st.text(CHARACTERS, max_size=60)
NUMBERS = st.integers(0, 10**18)
TERMINALS = st.builds(Terminal, st.integers(20, 200), st.sampled_from(ColorDepth), unicode=st.booleans())


@settings(deadline=None)
@given(
    st.lists(st.tuples(TEXTS, st.sampled_from(list(COMPONENTS)), NUMBERS, NUMBERS), min_size=1, max_size=8),
    TEXTS,
    NUMBERS,
    st.sampled_from(("component", "layer", "part", "tensor")),
    st.integers(1, 3),
    TERMINALS,
)
def test_no_line_exceeds_the_width(
    rows: list[tuple[str, str, int, int]], name: str, number: int, by: str, models: int, terminal: Terminal
) -> None:
    components = tuple(Component(*row) for row in rows)
    counted: ParameterCount = model().counted._replace(
        model=name,
        total=sum(component.parameters for component in components),
        components=components,
        layers=tuple(Layer(part, index, name, components[:2]) for index, (part, *_) in enumerate(rows)),
        tied=((name, name),),
        notes=(name,),
    )
    tree = (Node(name, number, children=(Node(name, number, 3, name, (number, 2), name),)),)
    shown = model(counted=counted, model_class=name, tree=tree, notes=(name,))
    whole = compared()._replace(models=(shown,) * models, by=by) if models > 1 else result(shown, by=by)
    differences = tuple(difference._replace(parameters=(number,) * models) for difference in whole.differences)
    text = SGR.sub("", params_text(whole._replace(differences=differences), terminal))
    assert all(cell_width(line) <= terminal.width for line in text.split("\n"))
    assert not [
        character for character in text if character != "\n" and unicodedata.category(character) in ("Cc", "Cs")
    ]
    assert terminal.unicode or text.isascii()
