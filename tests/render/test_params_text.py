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
from attncli.results.costs import Fit, Fits, TrainingFit
from attncli.results.params import Component, Layer, Node, ParameterCount, ParamsResult
from tests.render.heads_samples import SGR
from tests.render.params_samples import COUNTED, compared, model, result

BESIDE = """\
org/small · SmallLMHeadModel · from config · bfloat16
96,119,040 parameters

./tiny · from config
1,024 parameters

                                   small         tiny   difference
total                         96,119,040        1,024  -96,118,016
active a token                96,119,040        1,024
memory, bfloat16                 183 MiB  2,048 bytes
cache a token                6,144 bytes            ·
cache                           54.6 MiB            ·
  at tokens                        8,192           16
longest context, bfloat16  74,075 tokens            ·
arithmetic a token            493 MFLOPs     48 FLOPs
training, bfloat16              2.00 GiB            ·
LoRA                               7,168            ·
components
  attention.output            21,261,312            ·  -21,261,312
  attention.query              7,087,104            ·   -7,087,104
  embedding.position             786,432            ·     -786,432
  embedding.token             38,597,376        1,000  -38,596,376
  mlp.gate                             ·           24          +24
  mlp.up                      28,348,416            ·  -28,348,416
  norm                            38,400            ·      -38,400
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
UNTRAINED = costing(training={}, training_setup=None)
ENCODER = Cache(448, 1, (CachedLayer("decoder", 0, per_token=64, cross=64, cross_positions=1500),))
NOTED = compared().models[1]._replace(costs=compared().models[1].costs._replace(notes=("it has nothing to adapt",)))
UNBIASED = tuple(component._replace(biases=0) for component in COUNTED.components)


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (result(), "\ncache       54.6 MiB for 8,192 tokens of each of 2 texts in bfloat16\n"),
        (result(), "\n            growing 48.0 MiB, 3,072 bytes a token in 1 layer\n"),
        (result(), "\n            in windows 6.00 MiB, 3,072 bytes a token in 1 layer\n"),
        (result(), "\n            constant 655,360 bytes in 1 layer\n"),
        (UNTRAINED, "\nfit         in 24.0 GiB, the longest context of 2 texts · made for 8,192 tokens\n"),
        (UNTRAINED, "\n            bfloat16: bfloat16 74,075 tokens · fp8 148,150 tokens\n"),
        (UNTRAINED, "\n            int8: any length in any cache\n            too little for float32 by 2.00 GiB\n"),
        (result(), "gradients 192 MiB · adamw 768 MiB · float32 copy 384 MiB\n            activations 512 MiB\n"),
        (result(), "\n            2 texts of 8,192 tokens, recompute selective\n            left out: temporary"),
        (result(CHANGED), "org/small with n_layer=48, n_head=6 · SmallLMHeadModel"),
        (compared()._replace(models=(CHANGED, model())), "org/small with n_layer=48"),
        (result(by="layer"), "\nLoRA        rank 16 adds 7,168"),
        (compared()._replace(models=(model(), NOTED)), "\n\nnote        tiny: it has nothing to adapt\n"),
        (costing(cache=ENCODER),
         "\ncache       249,344 bytes for 448 tokens in bfloat16\n"),
        (result(model(counted=COUNTED._replace(components=UNBIASED))), "\ncomponent    parameters  share\n"),
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
    text = params_text(result(model(counted=counted._replace(per_head=per_head))), Terminal(400, full=True))
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
    headings = [line.split() for line in lines if line.rstrip().endswith(")")]
    assert headings == [["small", "tiny", "(2)", "tiny", "(3)"], ["tiny", "(4)"]]


def test_the_characters_are_the_same_with_colour() -> None:
    coloured = params_text(result(), Terminal(80, ColorDepth.TRUE))
    assert SGR.sub("", coloured) == params_text(result(), WIDE)
    assert "\x1b[38;2;46;143;194m████████" in coloured


def test_the_answer_stands_in_the_first_twelve_lines_and_the_rest_in_a_screen() -> None:
    lines = params_text(UNTRAINED, WIDE).splitlines()
    first = "\n".join(lines[:12])
    for told in ("96,119,040 parameters", "active", "memory", "cache", "fit ", "too little for float32"):
        assert told in first
    alone_lines = params_text(alone("component"), WIDE).splitlines()
    assert "together    bfloat16 238 MiB · int8 146 MiB · int4 100 MiB with this cache" in "\n".join(alone_lines[:12])
    assert len(alone_lines) <= WIDE.lines


@pytest.mark.parametrize("height", [24, 40, 200])
def test_a_higher_screen_shows_more(height: int) -> None:
    text = params_text(alone("component"), WIDE._replace(height=height))
    assert len(text.splitlines()) <= height - 2
    assert ("    query " in text) == (height > 24)
    assert "one head  " not in text and "one head" in text
    assert "one head  " in params_text(alone("component"), WIDE._replace(height=height, full=True))


def test_notes_are_shown_where_there_is_room() -> None:
    noted = model(notes=tuple(f"note {place}" for place in range(9)), costs=alone("part").models[0].costs)
    short, high = (params_text(result(noted), WIDE._replace(height=height)) for height in (24, 60))
    assert "note        note 8" in high and "note        note 8" not in short
    assert "notes" in short.splitlines()[-1] and "notes" not in high.splitlines()[-1]


@pytest.mark.parametrize(
    ("choices", "context", "told"),
    [
        ((Fit("int8", "bfloat16", 90, needed=20 << 30),), 100, "int8: leaves 4.00 GiB"),
        (
            (Fit("int8", "bfloat16", 90, needed=25 << 30, missing=1 << 30), Fit("int8", "fp8", 190, needed=23 << 30)),
            100,
            "int8: bfloat16 lacks 1.00 GiB · fp8 leaves 1.00 GiB",
        ),
        ((Fit("int8", "q8_0,q4_0", 0, needed=25 << 30, missing=1 << 30),), None, "too little for int8 by 1.00 GiB"),
        ((Fit("int8", "q8_0,q4_0", 12),), None, "cache in q8_0,q4_0"),
    ],
)
def test_what_fits(choices: tuple[Fit, ...], context: int | None, told: str) -> None:
    fits = Fits(24 << 30, 1, choices, context=context)
    assert told in params_text(costing(training={}, training_setup=None, fits=fits), WIDE)


@pytest.mark.parametrize(
    ("fit", "told"),
    [
        (TrainingFit("bfloat16", 5, 10, 0), "bfloat16: 5 texts"),
        (TrainingFit("bfloat16", None, 10, 0), "bfloat16: any batch"),
        (TrainingFit("bfloat16", 0, 10, 3 << 30), "bfloat16: does not fit with 2 texts, 3.00 GiB too much"),
        (TrainingFit("bfloat16", 1, 10, 3 << 30), "3.00 GiB too much; 1 would fit"),
    ],
)
def test_the_largest_batch(fit: TrainingFit, told: str) -> None:
    fits = Fits(24 << 30, 2, (), training=(fit,))
    assert told in " ".join(params_text(costing(fits=fits), WIDE).split())


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
