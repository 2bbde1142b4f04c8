"""The text of `--steps`: steps that only some models take, and any tokens, numbers and terminals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.heads.text import heads_text
from attncli.render.html.heads import heads_html
from attncli.results.steps import HeadOutput, Origin, PartShare, Projection, ScoreSources, Steps, UnlistedKeys
from tests.render.heads_samples import SGR, result, stack, tokens
from tests.render.test_heads_any_text import TERMINALS, TOKENS, tokens_of
from tests.render.test_pages import data_of

#: The toy of textbooks: d = 2, and q looks the same way as the key of "cat".
TOY = Steps(
    name="1.3",
    stack="encoder",
    layer=1,
    head=3,
    key_head=3,
    sharing=1,
    query=tokens("The", "cat", "sat")[2],
    query_vector=np.array([1.0, 1.0]),
    rotated=False,
    scale=2**-0.5,
    softcap=None,
    keys=tokens("The", "cat", "sat"),
    key_vectors=np.array([[1.0, 0.0], [1.0, 1.0], [0.0, -1.0]]),
    products=np.array([1.0, 2.0, -1.0]),
    scaled=np.array([1.0, 2.0, -1.0]) / 2**0.5,
    capped=None,
    bias=None,
    visible=np.array([True, True, True]),
    scores=np.array([1.0, 2.0, -1.0]) / 2**0.5,
    sink=None,
    log_sum=1.8880,
    weights=np.array([0.307, 0.623, 0.075]),
    values=np.array([[0.5, -1.5], [2.0, 0.0], [0.0, 12.25]]),
    others=UnlistedKeys(0, 0, 0.0, np.zeros(2)),
    weighted_sum=np.array([1.3995, 0.4583]),
    written=HeadOutput(
        passed_on=None,
        output=np.array([0.25, -0.5, 0.75]),
        bias=np.zeros(3),
        module=2.5,
        residual=8.125,
        scale=1.0,
    ),
    origin=Origin(
        states=np.array([0.5, 0.25, -1.0]),
        normalised=False,
        query=Projection("attention.query", 0, 2, bias=True, factor=1.0),
        key=Projection("attention.key", 0, 2, bias=False, factor=1.0),
        value=Projection("attention.value", 0, 2, bias=True, factor=1.0),
    ),
    causal=False,
)

#: Of the score of sat and cat, 1.41: rows wrote q, columns k.
_TERMS = np.array([[0.75, -0.5, 0.25], [0.5, 0.25, 0.125], [0.0, 0.125, -0.0858]])
SOURCES = ScoreSources(
    key=TOY.keys[1],
    score=2**0.5,
    query_parts=tuple(map(PartShare, ("embedding.token", "mlp.0", "0.3"), _TERMS.sum(1).tolist())),
    key_parts=tuple(map(PartShare, ("embedding.token", "0.1", "key.1.bias"), _TERMS.sum(0).tolist())),
    terms=_TERMS,
    unexplained=2**0.5 - float(_TERMS.sum()),
)
#: The same walk to the end.
WITH_SOURCES = replace(TOY, sources=SOURCES)

PLAIN = Terminal(height=99)


def shown(steps: Steps, terminal: Terminal = PLAIN) -> str:
    return heads_text(replace(result(stack(), chosen=True), steps=(steps,)), terminal)


def test_colours_change_no_character() -> None:
    for depth in ColorDepth:
        assert SGR.sub("", shown(TOY, Terminal(color=depth, height=99))) == shown(TOY)


def step(name: str, text: str) -> str:
    """What is said in one step, on one line."""
    (block,) = [block for block in text.split("\n\n") if block.split(" ")[1:2] == [f"{name}:"]]
    return " ".join(line.strip() for line in block.splitlines())


def test_it_ends_with_what_wrote_the_score() -> None:
    text = shown(WITH_SOURCES)
    assert text.startswith(shown(TOY).rstrip("\n"))
    expected = """
8 what wrote the score: sat → cat, 1.41, is a sum over what each part of the
  model wrote to the residual stream of sat (for q) and of cat (for k), with
  norms as they were
 score  wrote q, of sat     score  wrote k, of cat
  0.88  mlp.0                1.25  embedding.token
  0.50  embedding.token      0.29  key.1.bias
  0.04  head 0.3            -0.12  head 0.1
  1.41  sum, the score       1.41  sum, the score

 score  pair, q × k
  0.75  embedding.token × embedding.token
 -0.50  embedding.token × head 0.1
  0.50  mlp.0 × embedding.token
  0.25  embedding.token × key.1.bias
  0.25  mlp.0 × head 0.1
  0.16  4 other pairs
  1.41  sum, the score
"""
    assert text.removeprefix(shown(TOY)) == expected


def test_what_wrote_the_score_before_what_else_goes_into_it() -> None:
    later = replace(WITH_SOURCES, softcap=50.0, capped=TOY.scaled, bias=np.zeros(3))
    assert "the score: sat → cat, 1.41 before the softcap and the bias, is a" in shown(later)


def many_parts() -> ScoreSources:
    """Thirty parts a side, the later ones larger, and a remainder that shows."""
    terms = np.outer(np.arange(30.0), np.ones(30)) / 100
    return replace(
        SOURCES,
        score=float(terms.sum()) - 0.5,
        query_parts=tuple(PartShare(f"mlp.{row}", float(total)) for row, total in enumerate(terms.sum(1))),
        key_parts=tuple(PartShare(f"0.{column}", float(total)) for column, total in enumerate(terms.sum(0))),
        terms=terms,
        unexplained=-0.5,
    )


def test_the_strongest_of_many_parts_are_listed_with_the_rest_and_the_remainder() -> None:
    block = shown(replace(TOY, sources=many_parts())).split("what wrote the score")[1].splitlines()
    assert [line.split()[:2] for line in block[4:12]] == [
        *(["8.70", "mlp.29"], ["8.40", "mlp.28"], ["8.10", "mlp.27"], ["7.80", "mlp.26"], ["7.50", "mlp.25"]),
        *(["90.00", "25"], ["-0.50", "unexplained"], ["130.00", "sum,"]),
    ]
    six = replace(many_parts(), query_parts=many_parts().query_parts[:6], terms=many_parts().terms[:6])
    # A single other part is listed by its name.
    assert {"mlp.0", "mlp.5"} <= {*shown(replace(TOY, sources=six)).split()}
    whole = shown(replace(TOY, sources=many_parts()), Terminal(full=True)).split("what wrote the score")[1]
    assert "20 other parts" in whole and "890 other pairs" in whole


def test_its_page_has_the_same_numbers() -> None:
    (walk,) = data_of(heads_html(replace(result(stack(), chosen=True), steps=(WITH_SOURCES,))))["walks"]
    assert walk["steps"][-1][0] == "what wrote the score"
    assert [title for title, _ in walk["sources"]] == ["wrote q, of sat", "wrote k, of cat", "pair, q × k"]
    assert walk["sources"][0][1] == [
        ["mlp.0", [0.875, "0.88"], False],
        ["embedding.token", [0.5, "0.50"], False],
        ["head 0.3", [0.0392, "0.04"], False],
        ["sum, the score", [1.414, "1.41"], True],
    ]
    (without,) = data_of(heads_html(replace(result(stack(), chosen=True), steps=(TOY,))))["walks"]
    assert without["sources"] == [] and len(without["steps"]) == len(walk["steps"]) - 1


def test_steps_that_only_some_models_take() -> None:
    odd = replace(
        TOY,
        scale=0.0625,
        softcap=50.0,
        capped=TOY.scaled,
        bias=np.array([0.5, 0.25, 0.0]),
        visible=np.array([True, True, False]),
        scores=np.array([1.2, 1.6, -np.inf]),
        weights=np.array([0.3, 0.5, 0.0]),
        sink=0.75,
        rotated=True,
        sharing=4,
        written=replace(TOY.written, bias=None, residual=None, scale=0.22, passed_on=np.ones(2)),
    )
    text = shown(odd)
    assert "then turned by its position (rotary)" in step("query", text)
    assert "turned likewise (4 heads share them)" in step("keys", text)
    assert step("scale", text) == "3 scale: score = q·k × 0.0625, this model's own scale"
    assert step("softcap", text) == "4 softcap: 50 × tanh(score ÷ 50), so that no score passes 50"
    assert step("bias", text) == "5 bias: what the model adds for the places of the two tokens"
    assert step("mask", text) == "6 mask: 1 token is hidden: score −∞, weight 0"
    assert "with a sink outside of the text (score 0.75, weight 0.32) they sum to 1" in step("softmax", text)
    assert "q·k  ÷16.00  capped  +bias  score  weight" in text
    # Who is hidden stands among the scores, and is not read.
    assert " 2 sat  1.00  -1.00   -0.71   -0.71   0.00     −∞       0\n" in text
    assert text.count("2 sat") == 1
    assert step("output", text).startswith("9 output: a gate or a norm changes z; then z times this head's 2 rows")
    residual = " ".join(text.split("\n\n")[-1].split())
    assert residual == (
        "10 residual stream: this head adds 0.21 (after the model's own factor 0.22), all heads together 0.55"
    )


MADE = Projection("qkv", 0, 2, bias=True, factor=1.0)


def test_it_says_how_q_k_and_v_are_made_as_far_as_that_is_known() -> None:
    normed = replace(TOY, origin=Origin(normalised=True, query=MADE, key=MADE, value=MADE))
    assert "sat looks for: its state, normalised, times this head's 2 columns of W_Q, plus their bias" in step(
        "query", shown(normed)
    )
    assert "offers: its state, normalised, times W_K, plus its bias; a" in step("keys", shown(normed))
    # A norm or a second matrix comes between, as in Qwen 3 and DeepSeek.
    between = shown(replace(TOY, rotated=True, origin=Origin(normalised=True)))
    assert (
        step("query", between)
        .split("  q = ")[0]
        .startswith(
            "1 query: q, what sat looks for: made of its state, normalised, by this layer's weights, then turned by its"
        )
    )
    assert "W_" not in "".join(step(name, between) for name in ("query", "keys", "values"))
    assert "made of its state, as it enters the layer, by this" in step("keys", shown(replace(TOY, origin=Origin())))


def test_models_that_scale_queries_instead_of_scores() -> None:
    scaled = shown(replace(TOY, scale=1.0, origin=Origin(normalised=False, query=replace(MADE, factor=0.125))))
    assert "columns of W_Q, plus their bias, and times 0.125" in step("query", scaled)
    assert step("scale", scaled) == "3 scale: score = q·k as it is: q was scaled when it was made"


def test_a_negative_log_sum_is_added() -> None:
    assert "= e^(score + 2.89); they" in step("softmax", shown(replace(TOY, log_sum=-2.89)))
    assert "= e^(score − 2.89); they" in step("softmax", shown(replace(TOY, log_sum=2.89)))


def test_a_causal_mask_is_told_of_where_it_hides_nothing_and_where_it_does() -> None:
    last = replace(TOY, causal=True)
    assert step("mask", shown(last)) == (
        "4 mask: in a causal model each token attends to itself and earlier ones; later ones would be hidden "
        "(score −∞, weight 0)"
    )
    middle = replace(last, query=TOY.keys[1], visible=np.array([True, True, False]))
    assert step("mask", shown(middle)) == "4 mask: 1 token after cat is hidden: score −∞, weight 0"
    count = 40
    long = replace(
        TOY,
        keys=tokens(*(f"w{place}" for place in range(count))),
        key_vectors=np.ones((count, 2)),
        products=np.ones(count),
        scaled=np.ones(count),
        visible=np.arange(count) // 10 % 2 == 1,
        scores=np.ones(count),
        weights=np.ones(count) / count,
        values=np.ones((count, 2)),
    )
    assert step("mask", shown(long)) == "4 mask: 20 tokens (0 to 9, 20 to 29) are hidden: score −∞, weight 0"


def test_what_the_model_changes_once_more_or_does_not_show() -> None:
    changed = shown(replace(TOY, scale=1.0, written=replace(TOY.written, scale=None)))
    assert "which a norm or a gate changes before it is added" in " ".join(changed.split())
    assert step("scale", changed) == "3 scale: score = q·k as it is: this model divides it by nothing"
    assert "÷1.00" not in changed
    ends = shown(replace(TOY, written=None))
    assert ends.endswith("6 output: z goes through no plain matrix in this model, and the walk ends here\n")


def test_many_keys_are_listed_by_their_weight_in_the_order_of_the_text() -> None:
    count = 40
    weights = np.linspace(0.001, 1, count)
    weights /= weights.sum()
    many = replace(
        TOY,
        keys=tokens(*(f"w{place}" for place in range(count))),
        key_vectors=np.ones((count, 2)),
        products=np.ones(count),
        scaled=np.ones(count),
        visible=np.ones(count, dtype=bool),
        scores=np.ones(count),
        weights=weights,
        values=np.ones((count, 2)),
    )
    text = shown(many)
    assert "24 w24" in text and "23 w23" not in text
    assert f"… 24 others{'':20}".split()[0] in text and "… 24 others" in text
    (others,) = [line for line in text.splitlines() if "… 24 others" in line and "×" not in line]
    assert f"{weights[:24].sum():.2f}" in others


def test_ascii_has_the_same_numbers() -> None:
    text = shown(TOY, Terminal(unicode=False, height=99))
    assert text.isascii()
    assert "score = q.k / sqrt 2 (1.41)" in text and "norm 1.41" in text
    assert [line.split()[-2] for line in text.splitlines() if "####" in line] == ["0.31", "0.62"]


@st.composite
def walks(draw: st.DrawFn) -> Steps:
    """A walk over any tokens, with numbers of any size."""
    keys = tokens_of(draw(TOKENS))
    count, width = len(keys), draw(st.integers(1, 9))
    numbers = np.random.default_rng(draw(st.integers(0, 9999)))
    size = 10.0 ** draw(st.integers(-3, 6))
    row = lambda: numbers.normal(size=count) * size  # noqa: E731
    visible = numbers.random(count) < 0.8
    visible[0] = True
    return replace(
        TOY,
        query=keys[-1],
        query_vector=numbers.normal(size=width) * size,
        keys=keys,
        key_vectors=numbers.normal(size=(count, width)) * size,
        products=row(),
        scaled=row(),
        capped=row() if draw(st.booleans()) else None,
        softcap=draw(st.sampled_from([None, 30.0])),
        bias=row() if draw(st.booleans()) else None,
        visible=visible,
        scores=np.where(visible, row(), -np.inf),
        sink=draw(st.sampled_from([None, 0.5])),
        weights=numbers.random(count) * visible,
        values=numbers.normal(size=(count, width)) * size,
        causal=draw(st.booleans()),
        others=UnlistedKeys(0, 0, 0.0, np.zeros(width)),
        weighted_sum=numbers.normal(size=width) * size,
        sources=draw(st.sampled_from([None, replace(SOURCES, key=keys[0], terms=_TERMS * size), many_parts()])),
    )


@settings(deadline=None)
@given(walks(), TERMINALS)
def test_no_line_is_wider_than_the_terminal(steps: Steps, terminal: Terminal) -> None:
    text = shown(steps, terminal)
    for line in SGR.sub("", text).splitlines():
        assert cell_width(line) <= terminal.width
        assert line.isprintable() or "\u200e" in line


def test_narrow_it_keeps_the_weights() -> None:
    lines = shown(TOY, Terminal(30, height=99)).splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(" key"))
    assert lines[start : start + 4] == [
        " key      q·k  ÷1.41  weight",
        " 0 The   1.00   0.71    0.31",
        " 1 cat   2.00   1.41    0.62",
        " 2 sat  -1.00  -0.71    0.07",
    ]
    for width, headings in (
        (22, [["key", "÷1.41", "weight"], ["key", "weight", "norm"]]),
        (18, [["key", "weight"]] * 2),
    ):
        lines = shown(TOY, Terminal(width, height=99)).splitlines()
        assert [line.split() for line in lines if line.startswith(" key")] == headings
        assert not any("…" in line for line in lines if line[:2] in (" 0", " 1", " 2", " z"))


def test_small_weights_are_no_zeros() -> None:
    text = shown(replace(TOY, weights=np.array([0.9996, 0.0004, 0.0])))
    assert "\n 1 cat  [ 1.00  1.00]  1.41   2.00   1.41    4e-4\n" in text
    assert "\n 1 cat         4e-4 ×  [ 2.00  0.00]   2.00\n" in text
