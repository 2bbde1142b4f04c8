"""What one position reads, held against the whole patterns that it is a row of."""

from __future__ import annotations

import numpy as np
import pytest

from attncli.api.heads import heads
from attncli.attention import collector
from attncli.attention.inputs import build_inputs
from attncli.attention.positions import Position
from attncli.attention.selection import HeadsRequest, View, line_starts, parse_selection
from attncli.errors import UsageError
from attncli.models.loading.loaded_model import LoadedModel
from attncli.results.heads import Stack
from attncli.results.tokens import Token
from tests import tiny
from tests.tiny import read_heads

IDS = [5, 7, 9, 11, 5, 7, 9, 13, 17]
TEXT = "ab cd\nef gh\nij k"
#: Two letters a token, or one; the first is special.
PLACES = [None, (0, 2), (3, 5), (5, 6), (6, 8), (9, 11), (11, 12), (12, 14), (15, 16)]


def tokens() -> tuple[Token, ...]:
    plain = tiny.tokens(IDS)
    return tuple(
        token._replace(special=True) if place is None else
        token._replace(start=place[0], end=place[1], text=TEXT[slice(*place)], word=place[0] // 3)
        for token, place in zip(plain, PLACES, strict=True)
    )  # fmt: skip


def seen(loaded: LoadedModel, view: View, **wanted: object) -> Stack:
    (stack,) = read_heads(loaded, build_inputs(loaded, [tokens()]), HeadsRequest(view=view, patterns=True, **wanted))  # type: ignore[arg-type]
    return stack


def at(typed: str) -> Position:
    return Position(typed, "--query")


def rows(stack: Stack, query: int) -> np.ndarray:
    """That row of every head, (heads, keys)."""
    return np.stack([pattern.weights[query] for pattern in stack.patterns])


@pytest.mark.parametrize(
    ("family", "limit"),
    [
        *((family, 0) for family in ("bert", "mistral", "gpt_oss")),
        *((family, collector.MAX_EXPLICIT_WEIGHTS) for family in ("llama", "mistral", "gemma2", "deberta", "bloom")),
    ],
)
def test_the_mean_over_heads_is_that_of_their_rows(family: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "MAX_EXPLICIT_WEIGHTS", limit)
    loaded = tiny.loaded(family)
    whole = rows(seen(loaded, View()), 6)
    stack = seen(loaded, View(query=at("6")), top=4)
    reading = stack.reading
    assert reading is not None and reading.heads == 12
    np.testing.assert_allclose(reading.weights, whole.mean(axis=0), atol=1e-5)
    # Of what it sees: Mistral's window is of three tokens.
    most = min(4, int((whole > 0).any(axis=0).sum()))
    assert [key.place for key in reading.top] == np.argsort(-whole.mean(axis=0), kind="stable")[:most].tolist()
    for key in reading.top:
        layer, head = divmod(int(whole[:, key.place].argmax()), 4)
        assert key.head == f"{layer}.{head}"
        assert key.head_weight == pytest.approx(whole[:, key.place].max(), abs=1e-5)
    assert reading.own == (6,)
    assert [len(stack.queries), stack.whole] == [1, (9, 9)]


def test_uniform_is_over_what_is_visible_in_each_layer() -> None:
    bert = seen(tiny.loaded("bert"), View(query=at("2"))).reading
    assert bert is not None and bert.uniform is not None
    np.testing.assert_allclose(bert.uniform, np.full(9, 1 / 9), rtol=1e-6)
    gpt2 = seen(tiny.loaded("gpt2"), View(query=at("2"))).reading
    assert gpt2 is not None and gpt2.uniform is not None
    np.testing.assert_allclose(gpt2.uniform, [1 / 3] * 3 + [0] * 6, rtol=1e-6)
    assert gpt2.visible.tolist() == [True] * 3 + [False] * 6
    # What is hidden is never among the top.
    assert {key.place for key in gpt2.top} == {0, 1, 2}
    # Two layers with a window of four tokens, and one without.
    gemma = seen(tiny.loaded("gemma2"), View(query=at("5"))).reading
    assert gemma is not None and gemma.uniform is not None
    near, far = (2 / 4 + 1 / 6) / 3, 1 / 6 / 3
    np.testing.assert_allclose(gemma.uniform, [far, far, near, near, near, near, 0, 0, 0], rtol=1e-6)


def test_several_tokens_read_their_mean_and_are_read_by_their_sum() -> None:
    loaded = tiny.loaded("bert")
    whole = np.stack([pattern.weights for pattern in seen(loaded, View()).patterns])
    # `cd` and the line break after it are one word here.
    assert [at("cd").span(tokens()), at("ij").span(tokens())] == [(2, 4), (7, 8)]
    stack = seen(loaded, View(query=at("ij"), key=Position("cd", "--key")))
    assert stack.ranking is not None and stack.reading is None
    expected = whole[:, 7, 2:4].sum(axis=-1)
    found = {(head.layer, head.head): head for head in stack.ranking.heads}
    for number, weight in enumerate(expected):
        assert found[divmod(number, 4)].weight == pytest.approx(float(weight), abs=1e-5)
    reading = seen(loaded, View(query=at("cd"))).reading
    assert reading is not None
    np.testing.assert_allclose(reading.weights, whole[:, 2:4].mean(axis=(0, 1)), atol=1e-6)
    assert reading.query.text == "cd\n" and reading.own == (2, 3)


def test_heads_are_ranked_by_one_weight_with_its_place_in_their_rows() -> None:
    loaded = tiny.loaded("gpt2")
    whole = rows(seen(loaded, View()), 5)
    ranking = seen(loaded, View(query=at("5"), key=Position("3", "--key"))).ranking
    assert ranking is not None and len(ranking.heads) == 12
    assert [head.weight for head in ranking.heads] == sorted((head.weight for head in ranking.heads), reverse=True)
    for head in ranking.heads:
        row = whole[4 * head.layer + head.head]
        assert head.weight == pytest.approx(float(row[3]), abs=1e-6)
        assert (head.rank, head.keys) == (1 + int((row[:6] > row[3]).sum()), 6)
        assert head.uniform == pytest.approx(1 / 6)


def test_hidden_specials_leave_rows_that_sum_to_one() -> None:
    loaded = tiny.loaded("bert")
    reading = seen(loaded, View(query=at("4"), hide_special=True)).reading
    assert reading is not None and reading.uniform is not None and len(reading.weights) == 8
    assert float(reading.weights.sum()) == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(reading.uniform, np.full(8, 1 / 8), rtol=1e-6)


def test_lines_are_numbered_as_in_the_text() -> None:
    loaded = tiny.loaded("bert")
    reading = seen(loaded, View(query=at("-1"), by="line", line_starts=line_starts(TEXT))).reading
    assert reading is not None
    assert reading.lines == (None, 1, 2, 3) and reading.query_line == 3
    stack = seen(loaded, View(by="line", line_starts=line_starts(TEXT)))
    assert stack.query_lines == stack.key_lines == (None, 1, 2, 3)
    assert seen(loaded, View(by="word")).query_lines is None
    view = View(query=at("-1"), key=Position("5", "--key"), by="line", line_starts=line_starts(TEXT))
    ranking = seen(loaded, view).ranking
    assert ranking is not None and (ranking.query_line, ranking.key_line) == (3, 2)
    assert ranking.key.text.split() == ["ef", "gh"]
    whole = rows(seen(loaded, View()), 8).mean(axis=0)
    np.testing.assert_allclose(
        reading.weights, [whole[0], whole[1:4].sum(), whole[4:7].sum(), whole[7:].sum()], atol=1e-6
    )


def test_norms_have_no_uniform() -> None:
    loaded = tiny.loaded("bert")
    normed = seen(loaded, View(query=at("4")), weighting="norm").reading
    assert normed is not None and normed.uniform is None and normed.top[0].uniform is None
    assert seen(loaded, View(query=at("2:4"))).reading is None


def test_a_rollout_up_to_one_layer_is_read_by_its_keys() -> None:
    loaded = tiny.loaded("gpt2")
    last = parse_selection(layer="-1")
    (whole,) = seen(loaded, View(), weighting="rollout", selection=last).patterns
    reading = seen(loaded, View(query=at("4")), weighting="rollout", selection=last, top=2).reading
    assert reading is not None and reading.uniform is None and reading.heads == 4
    np.testing.assert_allclose(reading.weights, whole.weights[4], atol=1e-6)
    assert reading.visible.tolist() == [True] * 5 + [False] * 4
    assert [key.place for key in reading.top] == np.argsort(-whole.weights[4])[:2].tolist()
    assert {key.head for key in reading.top} == {None}
    # A word reads the mean of what its tokens do, as everywhere.
    word = seen(loaded, View(query=at("cd")), weighting="rollout", selection=last).reading
    assert word is not None
    np.testing.assert_allclose(word.weights, whole.weights[2:4].mean(axis=0), atol=1e-6)
    # Of several layers there is no mean to tell, and of one key no list.
    assert seen(loaded, View(query=at("4")), weighting="rollout").reading is None
    assert seen(loaded, View(query=at("4"), key=at("0")), weighting="rollout", selection=last).reading is None


def test_only_chosen_heads_are_averaged() -> None:
    loaded = tiny.loaded("bert")
    whole = rows(seen(loaded, View()), 4)
    reading = seen(loaded, View(query=at("4")), selection=parse_selection(head="1.2,2.0")).reading
    assert reading is not None and reading.heads == 2
    np.testing.assert_allclose(reading.weights, whole[[6, 8]].mean(axis=0), atol=1e-6)
    assert {key.head for key in reading.top} <= {"1.2", "2.0"}


def test_a_long_text_is_read_exactly_and_without_the_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "MAX_EXPLICIT_WEIGHTS", 0)
    model = tiny.build(tiny.llama())
    ids = (IDS * 200)[:1500]
    result = heads(model=model, input_ids=ids, query="-1")
    (stack,) = result.stacks
    assert stack.reading is not None and stack.reading.weights.shape == (1500,)
    assert float(stack.reading.weights.sum()) == pytest.approx(1.0, abs=1e-4)
    # The patterns of the data are pooled, as those of every long text.
    np.testing.assert_allclose(
        np.stack([pattern.weights[0] for pattern in stack.patterns]).mean(axis=0),
        np.add.reduceat(stack.reading.weights, [a for a, _ in stack.patterns[0].bins.columns]),  # type: ignore[union-attr]
        atol=1e-5,
    )
    assert all(value is None for head in stack.metrics for value in head.values.values())
    assert any("metrics of heads are not computed" in note for note in result.notes)
    asked = heads(model=model, input_ids=ids, query="-1", metric="first")
    assert asked.stacks[0].metrics[0].values["first"] is not None


@pytest.mark.parametrize(("ids", "few"), [([5], "1 token is"), ([5, 6, 7], "3 tokens are"), ([5, 6, 7, 8], None)])
def test_a_text_of_three_tokens_is_said_to_show_little(ids: list[int], few: str | None) -> None:
    notes = heads(model=tiny.build(tiny.llama()), input_ids=ids).notes
    assert [note.partition(" too few")[0] for note in notes if "too few" in note] == ([few] if few else [])


def test_nothing_is_said_of_few_tokens_where_one_head_or_one_position_is_asked_for() -> None:
    model = tiny.build(tiny.llama())
    found = [heads(model=model, input_ids=[5, 6], **asked).notes for asked in ({"query": 1}, {"head": "0.1"})]
    assert not any("too few" in note for notes in found for note in notes)


def test_nothing_is_no_number_of_keys() -> None:
    with pytest.raises(UsageError, match="--top can't be 0"):
        heads(model=tiny.build(tiny.bert()), input_ids=IDS, top=0)


def test_few_heads_are_sketched_where_none_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "the cat sat the cat sat"
    (stack,) = heads(text, model="builtin:induction").stacks
    whole = heads(text, model="builtin:induction", patterns=True).stacks[0]
    assert len(stack.sketches) == 8 and stack.patterns == () and whole.sketches == ()
    for sketch, pattern in zip(stack.sketches, whole.patterns, strict=True):
        np.testing.assert_array_equal(sketch.weights, pattern.weights)
    assert heads([text, text], model="builtin:induction").stacks[0].sketches == ()
    long = heads(text * 8, model="builtin:induction").stacks[0].sketches[0]
    assert long.weights.shape == (64, 64)
    monkeypatch.setattr(collector, "MAX_SHORT_SKETCHES", 7)
    assert heads(text, model="builtin:induction").stacks[0].sketches == ()


@pytest.mark.parametrize("family", ["bert", "llama", "mistral"])
def test_the_strongest_heads_read_ordinary_keys(family: str) -> None:
    loaded = tiny.loaded(family)
    whole = seen(loaded, View())
    (read, *_) = (stack := seen(loaded, View(query=at("6")), top=99)).reading.strongest  # type: ignore[union-attr]
    assert len(stack.reading.strongest) == len(stack.metrics)  # type: ignore[union-attr]
    # Token 0 is special, and 6 the query itself.
    best = max(
        (float(pattern.weights[6, key]), pattern.layer, pattern.head, key)
        for pattern in whole.patterns
        for key in range(1, 9)
        if key != 6
    )
    assert (read.layer, read.head, read.place) == best[1:] and read.weight == pytest.approx(best[0], abs=1e-6)


@pytest.mark.parametrize("family", ["bert", "llama", "mistral"])
def test_who_reads_a_key_is_its_column(family: str) -> None:
    loaded = tiny.loaded(family)
    whole = seen(loaded, View())
    readers = seen(loaded, View(key=Position("4", "--key")), top=3).readers
    assert readers is not None and readers.heads == len(whole.patterns) and readers.own == (4,)
    columns = np.stack([pattern.weights[:, 4] for pattern in whole.patterns])
    np.testing.assert_allclose(readers.weights, columns.mean(axis=0), atol=1e-6)
    others = [query for query in range(9) if readers.visible[query] and query != 4]
    assert [key.place for key in readers.top] == sorted(others, key=lambda query: -columns[:, query].mean())[:3]
    best = columns[:, others].mean(axis=1)
    assert readers.ranked[0].weight == pytest.approx(best.max(), abs=1e-6)
    assert readers.ranked[0].name == f"{whole.patterns[best.argmax()].layer}.{whole.patterns[best.argmax()].head}"


@pytest.mark.parametrize(("family", "first"), [("bert", True), ("llama", False)])
def test_links_are_the_weights_that_stand_out_most_between_ordinary_tokens(family: str, first: bool) -> None:
    loaded = tiny.loaded(family)
    plain = tiny.tokens(IDS)
    (stack,) = read_heads(loaded, build_inputs(loaded, [plain]), HeadsRequest(patterns=True, links=True))
    for head, pattern in zip(stack.metrics, stack.patterns, strict=True):
        excess = {
            (query, key): float(pattern.weights[query, key]) - 1 / (query + 1 if stack.causal else 9)
            for query in range(9)
            for key in range(0 if first else 1, query + 1 if stack.causal else 9)
            if key != query
        }
        best = max(excess, key=lambda pair: excess[pair])
        assert head.link is not None and (head.link.query, head.link.key) == best
        assert head.link.excess == pytest.approx(excess[best], abs=1e-6)
