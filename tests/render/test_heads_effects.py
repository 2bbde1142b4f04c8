"""Predictions and effects of heads as text, tables, arrays, pages and figures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.data import CSV
from attncli.render.heads.tables import heads_arrays, heads_table
from attncli.render.heads.text import heads_text
from attncli.render.html.heads import heads_data
from attncli.render.views.effects import (
    EffectMap,
    EffectRow,
    disagreement_sentence,
    effect_number,
    part_sentences,
    prediction_view,
    ranked_rows,
    share_number,
    shown_layers,
)
from attncli.render.views.sentences import Words, written
from attncli.results.base import to_dict
from attncli.results.effects import OutcomeToken, PartEffect
from attncli.results.heads import HeadsResult
from tests.render.effects_samples import IT, MAT, PREDICTION, with_effects, with_prediction
from tests.render.heads_samples import SGR

PREDICTED = """\
all-MiniLM-L6-v2
[CLS] the cat sat on the mat because it was tired [SEP]

at [SEP] the model expects ␣mat 77 %, ␣it 1.2 %

state  after          likeliest        ␣mat: rank
    0  embeddings     ␣it        ␣mat       1,200  <0.1 %  ▏
    1  layer 0        ␣it        ␣mat           3   4.1 %  ▍
    2  layer 1, norm  ␣it        ␣mat           1    77 %  ███████▊
"""

EFFECTS = """\
all-MiniLM-L6-v2
[CLS] the cat sat on the mat because it was tired [SEP]

at [SEP]: ␣mat (77 %), logit 2.59 above ␣it

direct effect: what the head itself adds to the answer's logit
     0      1      2      3    head    head  direct  reads        label
0  -.250      0  +.500  +.130           1.1   +2.10  cat    0.62  induction
1      0  +2.10    ·    -1.00           1.3   -1.00  cat    0.62
                                        0.2   +0.50  cat    0.62
                                        0.0   -0.25  cat    0.62  previous
                                        0.3   +0.13  cat    0.62  first
                                        0.1   +0.00  cat    0.62  next
                                        1.0   +0.00  cat    0.62  special

MLPs +0.80: 0 +1.00, 1 -0.20
embeddings +0.30
biases +0.01
sum: 2.59 = heads +1.48 MLPs +0.80 embeddings +0.30 biases +0.01
"""


def test_a_prediction_shows_how_the_answer_rises() -> None:
    assert heads_text(with_prediction(), Terminal(80)) == PREDICTED


def test_effects_are_a_map_a_ranking_and_a_sum() -> None:
    assert heads_text(with_effects("direct", contrast=IT), Terminal(80)) == EFFECTS


def test_what_is_unexplained_is_shown() -> None:
    last = heads_text(with_effects("direct", unexplained=0.3), Terminal(100)).splitlines()[-1]
    assert last == "sum: 2.59 = heads +1.18 MLPs +0.80 embeddings +0.30 biases +0.01 unexplained +0.3"


def test_two_kinds_stand_side_by_side_and_their_disagreement_is_pointed_out() -> None:
    made = with_effects("direct", "zero")
    text = heads_text(made, Terminal(100, height=40))
    assert "direct effect" in text
    assert "effect of zero ablation" in text
    assert "direct and zero disagree: what follows makes up for 1.1 (+2.10, +0.30)" in text
    assert disagreement_sentence(ranked_rows(made.stacks, ("direct",)), ("direct",)) == ()


def test_the_maps_give_way_where_there_is_little_room() -> None:
    made = with_effects("direct", "zero")
    for height in (20, 24, 30, 60):
        lines = heads_text(made, Terminal(80, height=height)).splitlines()
        assert len(lines) <= height - 2
        assert any(line.startswith(" 1.1   +2.10  +0.30") for line in lines)
        assert ("--full adds the maps of all heads" in lines) is (height < 24)
    assert "--full" not in heads_text(made, Terminal(80, height=20, full=True))


def test_ablations_of_parts_are_not_summed() -> None:
    made = with_effects("zero")
    assert made.effects is not None
    parts = (PartEffect("mlp.0", {"zero": 2.0}), PartEffect("mlp.1", {"zero": -1.0}))
    (sentence,) = part_sentences(made, replace(made.effects, parts=parts), 2.0)
    assert written(sentence, str) == "MLPs: 0 +2.00, 1 -1.00"


def test_a_head_with_little_direct_effect_acts_through_what_follows() -> None:
    rows = [EffectRow("0.0", (0.1, 3.0), None, None, None), EffectRow("1.1", (2.0, 1.9), None, None, None)]
    (_, words) = disagreement_sentence(rows, ("direct", "zero"))
    assert isinstance(words, Words)
    assert words.content == ": through what follows act 0.0 (+0.10, +3.00)"


@pytest.mark.parametrize("made", [with_prediction(), with_effects("direct"), with_effects("direct", "zero")])
@pytest.mark.parametrize("width", [*range(20, 100, 7)])
def test_no_line_is_wider_than_the_terminal(made: HeadsResult, width: int) -> None:
    for terminal in (Terminal(width), Terminal(width, ColorDepth.TRUE), Terminal(width, unicode=False)):
        assert max(map(len, SGR.sub("", heads_text(made, terminal)).splitlines())) <= width


def test_many_layers_are_cut_to_those_with_the_largest_effects() -> None:
    values = {(layer, 0): float(layer % 5) for layer in range(20)}
    assert shown_layers([EffectMap("direct", "", "", values)], range(20), 4) == [4, 9, 14, 19]
    assert shown_layers([EffectMap("direct", "", "", values)], range(20), 30) == list(range(20))


def test_few_states_of_many_are_the_first_the_last_ones_and_some_between() -> None:
    state = PREDICTION.lens[0]
    lens = tuple(replace(state, state=number) for number in range(31))
    view = prediction_view(with_prediction(), replace(PREDICTION, lens=lens), rows=9, tokens=1)
    assert [row.state for row in view.rows] == [0, 5, 10, 16, 21, 27, 28, 29, 30]
    assert view.left_out == 22


def test_numbers() -> None:
    assert [effect_number(value, 2.1) for value in (2.1, -0.004, None)] == ["+2.10", "+0.00", ""]
    assert [effect_number(value, 0.02) for value in (0.02, -0.004)] == ["+0.020", "-0.004"]
    assert [share_number(share) for share in (0.77, 0.0123, 0.0001)] == ["77 %", "1.2 %", "<0.1 %"]


@pytest.mark.parametrize(
    "made", [with_prediction(), with_effects("direct", contrast=IT), with_effects("direct", "zero")]
)
def test_json_is_read_back(made: HeadsResult) -> None:
    data = json.loads(json.dumps(to_dict(made)))
    assert HeadsResult.from_dict(data).to_dict() == data


def test_the_json_is_as_documented() -> None:
    data = to_dict(with_effects("direct", contrast=IT))
    assert data["effects"]["outcome"] == {
        "answer": {"id": 7, "text": " mat"}, "contrast": {"id": 9, "text": " it"}, "value": 2.59, "probability": 0.77,
    }  # fmt: skip
    assert data["effects"]["parts"][1] == {"name": "mlp.0", "direct": 1.0}
    assert data["stacks"][0]["effects"][5] == {
        "name": "1.1", "layer": 1, "head": 1, "direct": 2.1, "reads": {"index": 2, "text": "cat", "weight": 0.62},
    }  # fmt: skip
    lens = to_dict(with_prediction())["prediction"]["lens"][1]
    assert lens["state"] == 1
    assert lens["answer"] == {"id": 7, "text": " mat", "rank": 3, "probability": 0.041}


def test_a_row_of_the_table_is_a_head_or_a_part() -> None:
    lines = CSV.text(*heads_table(with_effects("direct"))).splitlines()
    assert lines[0] == "stack,layer,head,name,direct,change_log_probability,reads_index,reads_text,reads_weight"
    assert lines[6] == "encoder,1,1,1.1,2.1,,2,cat,0.62"
    assert lines[10] == "encoder,,,mlp.0,1.0,,,,"
    assert CSV.text(*heads_table(with_prediction())).splitlines()[:2] == [
        "state,rank,id,text,probability",
        "0,1,9, it,0.5",
    ]


def test_arrays_have_layers_and_heads() -> None:
    array = dict(heads_arrays(with_effects("direct", "zero")))["encoder.effects.direct"]
    assert array.shape == (2, 4)
    assert array[1, 1] == 2.1
    assert np.isnan(array[1, 2])


def test_a_page_opens_with_the_map_and_lists_the_heads() -> None:
    page = heads_data(with_effects("direct"))
    assert page["metric"] == "direct"
    names = [metric["name"] for metric in page["metrics"]]
    assert page["stacks"][0]["heads"][5][2][names.index("direct")] == 2.1
    first = page["stacks"][0]["standouts"][0]
    assert (first["head"], first["sentence"], first["value"]) == ("1.1", "reads cat 0.62", 2.1)
    assert "sum: 2.59 = heads +1.48 MLPs +0.80 embeddings +0.30 biases +0.01" in page["facts"]
    assert (
        "rank of ␣mat after each layer (logit lens): embeddings 1,200, layer 0 3, layer 1, norm 1"
        in heads_data(with_prediction())["facts"]
    )


@pytest.mark.parametrize("made", [with_prediction(), with_effects("direct", "zero")])
def test_a_figure_holds_the_sentences(made: HeadsResult) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra figures)")
    from attncli.render.figures.heads import heads_figure

    drawn = heads_figure(made, "svg").decode()
    said = ["the model expects"] if made.prediction else [">1.1<", ">+2.10<", ">+0.30<", ">0.62<", "sum: 2.59 = heads"]
    assert [each for each in said if each not in drawn] == []


def test_a_figure_of_many_layers_fits_a_slide() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra figures)")
    from attncli.render.figures.metric_map import HeadMap, head_maps

    def height(layers: int) -> float:
        return head_maps([HeadMap("", {(at, head): 0.5 for at in range(layers) for head in range(9)})]).height

    # Twelve rows are as high as columns are wide; more are lower, down to what a number takes.
    assert height(12) == pytest.approx(height(6) + 6 * 0.46, abs=0.01)
    assert height(30) == pytest.approx(height(12), abs=0.1)
    assert height(48) < 8


def of_texts(*kinds: str, answer: OutcomeToken | None) -> HeadsResult:
    """Means over three texts, with intervals."""
    made = with_effects(*kinds)
    assert made.effects is not None
    (stack,) = made.stacks
    heads = tuple(
        replace(head, intervals={kind: (value - 0.5, value + 0.5) for kind, value in head.values.items() if value},
                reads=None)
        for head in stack.effects
    )  # fmt: skip
    outcome = made.effects.outcome._replace(answer=answer)
    one = replace(stack, queries=(), keys=(), effects=heads)
    return replace(made, stacks=(one,), texts=3, effects=replace(made.effects, outcome=outcome))


def test_means_over_texts_have_intervals_and_say_whose_answer_it_is() -> None:
    lines = heads_text(of_texts("zero", answer=None), Terminal(80)).splitlines()
    assert lines[2] == "outcome: the mean of all texts, each with its own answer (77 %), logit 2.59"
    assert next(line for line in lines if " 1.3 " in line).split()[-4:] == ["1.3", "-0.90", "±", "0.50"]
    assert lines[-1] == "± 95 % interval of the mean over the texts" and "reads" not in "".join(lines)
    same = heads_text(of_texts("zero", answer=MAT), Terminal(80))
    assert "outcome: the mean of all texts, ␣mat (77 %), logit 2.59 above the mean" in same
    page = heads_data(of_texts("zero", answer=None))
    assert page["stacks"][0]["standouts"][0]["sentence"] == "zero -0.90 ± 0.50"


def test_a_head_with_the_largest_effect_of_any_kind_is_among_the_first() -> None:
    made = with_effects("direct", "zero")
    assert [row.name for row in ranked_rows(made.stacks, ("direct", "zero"))][:3] == ["1.1", "1.3", "0.2"]
    (stack,) = made.stacks
    heads = tuple(replace(head, values={"direct": 0.0, "zero": 9.0}) if head.name == "1.0" else head
                  for head in stack.effects)  # fmt: skip
    first = ranked_rows([replace(stack, effects=heads)], ("direct", "zero"))[:2]
    assert {row.name for row in first} == {"1.0", "1.1"}
    page = heads_data(made)["stacks"][0]["standouts"][0]
    assert (page["value"], page["sentence"]) == (2.1, "zero +0.30, reads cat 0.62")
