"""The letter map, its legend, and the choice of heads that stand out."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.heads.overview import letter_map
from attncli.render.heads.text import heads_text
from attncli.render.html.heads import heads_data
from attncli.render.views.overview import standouts
from attncli.results.heads import HeadMetrics, Layer, Stack
from attncli.results.patterns import Pattern
from tests.render.heads_samples import HEADS, SENTENCE, head, result, stack, tokens
from tests.render.patch_samples import looking


def many_heads(layers: int, heads: int) -> Stack:
    """Every head of layer 0 whose number ends in 0 looks at the previous token."""
    metrics = tuple(
        head(f"{layer}.{index}", *(["previous"] if layer == 0 and index % 10 == 0 else []), previous=0.9)
        for layer in range(layers)
        for index in range(heads)
    )
    return stack(heads=metrics, layers=tuple(Layer(layer, heads) for layer in range(layers)))


def map_text(of: Stack, width: int = 80) -> list[str]:
    return [line.plain.rstrip() for line in letter_map(of, Terminal(width))]


def lines_of(of: Stack, terminal: Terminal) -> list[str]:
    return heads_text(result(of), terminal).splitlines()


def test_thirty_two_heads_have_two_cells_each() -> None:
    assert map_text(many_heads(2, 32)) == [
        "layer 0         5         10        15        20        25        30   head",
        "    0 P · · · · · · · · · P · · · · · · · · · P · · · · · · · · · P ·",
        "    1 · · · · · · · · · · · · · · · · · · · · · · · · · · · · · · · ·",
    ]


def test_sixty_four_heads_have_a_cell_each() -> None:
    assert map_text(many_heads(1, 64)) == [
        "layer 0         10        20        30        40        50        60   head",
        "    0 P·········P·········P·········P·········P·········P·········P···",
    ]


def test_a_hundred_and_twenty_eight_heads_go_on_beneath() -> None:
    assert map_text(many_heads(1, 128)) == [
        "layer 0         10        20        30        40        50        60   head",
        "    0 P·········P·········P·········P·········P·········P·········P···",
        "",
        "layer 64    70        80        90        100       110       120      head",
        "    0 ······P·········P·········P·········P·········P·········P·······",
    ]


def test_every_width_shows_every_head_once() -> None:
    for width in range(20, 140):
        lines = map_text(many_heads(1, 128), width)
        heads = "".join(line.split(maxsplit=1)[1] for line in lines if "·" in line)
        assert heads.replace(" ", "") == ("P" + "·" * 9) * 12 + "P" + "·" * 7
        assert max(map(len, lines)) <= width


def test_a_layer_without_attention_names_what_it_has() -> None:
    mixed = stack(layers=(Layer(0, 4), Layer(1, 0, "Mamba\tMixer"), Layer(2, 0)), heads=HEADS[:4])
    assert map_text(mixed) == [
        "layer  0  1  2  3  head",
        "    0  P  N  ·  F",
        r"    1  Mamba\tMixer",
        "    2  no attention",
    ]
    assert "3 layers (1 with attention) × 4 heads" in lines_of(mixed, Terminal(80))[1]


def test_layers_may_have_different_numbers_of_heads() -> None:
    uneven = stack(layers=(Layer(0, 4), Layer(1, 2)), heads=HEADS[:6])
    assert map_text(uneven)[1:] == ["    0  P  N  ·  F", "    1  S  I"]
    assert "2 layers, 6 heads" in lines_of(uneven, Terminal(80))[1]


def test_the_legend_explains_only_what_occurs() -> None:
    text = heads_text(result(stack(heads=HEADS[:3], layers=(Layer(0, 3),))), Terminal(80))
    assert "looks at   P  previous token   N  next token\n ·  no label\n" in text
    unlabelled = heads_text(result(stack(heads=HEADS[6:], layers=(Layer(1, 2),))), Terminal(80))
    assert "looks at   ·  no label\n" in unlabelled


def test_a_label_that_is_new_here_shows_its_initial() -> None:
    text = heads_text(result(stack(heads=(head("0.0", "duplicate", duplicate=0.7),))), Terminal(80))
    assert "    0  D\n" in text
    assert " D  0.0  stands out by duplicate  duplicate 0.70, uniform 0.08\n" in text


def test_each_label_has_a_colour_of_its_own() -> None:
    for depth in (ColorDepth.ANSI, ColorDepth.EIGHT_BIT, ColorDepth.TRUE):
        terminal = Terminal(80, depth)
        tiles = set(re.findall(r"\x1b\[([\d;]+)m +([PNFSI]) ", heads_text(result(stack()), terminal)))
        assert sorted(letter for _, letter in tiles) == sorted("PNFSI")
        assert len({style for style, _ in tiles}) == 5


def found(*heads: HeadMetrics, limit: int = 8) -> list[tuple[str, str]]:
    return [(one.head.name, one.metric) for one in standouts(stack(heads=heads), limit)]


def test_the_strongest_two_of_each_label_stand_out() -> None:
    heads = [head(f"0.{i}", "previous", previous=0.5 + i / 10) for i in range(4)]
    heads.append(head("0.4", "next", next=0.6))
    assert found(*heads, limit=3) == [("0.3", "previous"), ("0.2", "previous"), ("0.4", "next")]


def test_every_label_comes_before_a_second_of_one() -> None:
    heads = [head(f"0.{i}", "previous", previous=0.9) for i in range(4)]
    heads += [head("1.0", "first", first=0.7), head("1.1", "induction", induction=0.5)]
    assert found(*heads, limit=3) == [("0.0", "previous"), ("0.1", "previous"), ("1.1", "induction")]


def test_a_head_stands_out_by_the_label_that_the_map_shows() -> None:
    both = head("0.0", "special", "first", special=0.9, first=0.9)
    listed = standouts(stack(heads=(both, head("0.1", "first", first=0.7))), 8, resting=True)
    assert [(one.head.name, one.metric) for one in listed] == [("0.1", "first"), ("0.0", "special")]
    # Heads that rest are set aside.
    assert found(both, head("0.1", "first", first=0.7)) == []


def test_unlabelled_heads_stand_out_by_their_extremes() -> None:
    assert found(*HEADS[2:3], *HEADS[6:], head("1.0"), head("1.1"), head("0.0")) == [
        ("1.2", "entropy"),
        ("1.3", "distance"),
    ]


def test_a_second_best_is_not_called_the_best() -> None:
    sharpest = head("0.0", "next", next=0.9, entropy=0.1, distance=9.0)
    others = [head(f"0.{i}", entropy=1 + i / 10) for i in range(1, 8)]
    assert found(sharpest, *others) == [("0.0", "next"), ("0.7", "entropy")]


def test_extremes_of_a_handful_are_left_out() -> None:
    assert found(head("0.0", entropy=1.0), head("0.1")) == [("0.0", "entropy")]
    assert found(head("0.0", entropy=1.0)) == []


def test_what_does_not_differ_from_uniform_attention_does_not_stand_out() -> None:
    near = [head(f"0.{i}", entropy=2.4 + i / 100, distance=3.9 + i / 100) for i in range(8)]
    assert found(*near) == []
    assert found(*near, head("1.0", distance=6.0)) == [("1.0", "distance")]


def test_a_head_that_reads_one_token_names_it() -> None:
    reads = replace(head("0.0", "token", token=0.7), token_index=2)
    text = heads_text(result(stack(heads=(reads, *HEADS[1:]))), Terminal(120))
    assert " T  cat (token 2)" in text
    assert "reads cat (token 2)" in text
    other = replace(head("0.1", "token", token=0.5), token_index=6)
    text = heads_text(result(stack(heads=(reads, other, *HEADS[2:]))), Terminal(120))
    assert " T  one ordinary token" in text and "mat (token 6)" in text


def test_heads_without_a_value_never_stand_out() -> None:
    nothing = {"entropy": None, "distance": None}
    assert found(*(head(f"0.{i}", **nothing) for i in range(8))) == []


@pytest.mark.parametrize(("width", "expected"), [(60, 5), (59, 4)])
def test_a_narrow_terminal_gets_fewer_sentences(width: int, expected: int) -> None:
    heads = tuple(head(f"0.{i}", label, **{label: 0.9}) for i, label in enumerate(["previous", "next", "first"] * 2))
    heads += tuple(head(f"1.{i}", label, **{label: 0.9}) for i, label in enumerate(["special", "induction"] * 2))
    text = heads_text(result(stack(heads=heads)), Terminal(width))
    assert text.count(", uniform") == expected


def test_a_narrow_terminal_breaks_sentences() -> None:
    assert lines_of(stack(heads=HEADS[:1], layers=(Layer(0, 1),)), Terminal(30)) == [
        "all-MiniLM-L6-v2",
        "encoder · bidirectional",
        "1 layer × 1 head · 12 tokens",
        "[CLS] the cat sat on the mat …",
        "",
        " P  0.0 looks at the previous",
        "        token",
        "        previous 0.91",
        "        uniform 0.08",
        "",
        "   0  head",
        "0  P",
        "letters:   P  previous token",
        "",
        "Try: attn heads … -H 0.0",
    ]


def test_a_value_that_is_missing_is_a_dot() -> None:
    one = head("0.0", "previous", previous=0.8)
    of = stack(heads=(one,), baselines={0: {"previous": None}})
    assert "previous 0.80, uniform ·" in heads_text(result(of), Terminal(80))
    assert "previous 0.80, uniform ." in heads_text(result(of), Terminal(80, unicode=False))


def test_nothing_to_say_leaves_no_hint() -> None:
    assert "Try:" not in heads_text(result(stack(heads=(), layers=())), Terminal(80))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("0.1 1.1", "head 1 of each layer"),
        ("0.0 0.3 1.0 1.3", "heads 0 and 3 of each layer"),
        ("1.0 1.1 1.2 1.3", "all heads of layer 1"),
        ("1.0 1.2 1.3", "heads 0, 2 and 3 of layer 1"),
        ("0.1", None),
        ("0.1 1.2", None),
        ("0.0 0.1 0.2 0.3 1.0 1.1 1.2 1.3", None),
    ],
)
def test_the_chosen_heads_in_words(names: str, words: str | None) -> None:
    chosen = tuple(one for one in HEADS if one.name in names.split())
    line = heads_text(result(stack(heads=chosen)), Terminal(120)).splitlines()[1]
    shape = "encoder · bidirectional · 2 layers × 4 heads"
    said = "" if words is None else f" · {words}"
    assert line == f"{shape}{said} · 12 tokens"


def test_labels_of_patches() -> None:
    of = looking(2).stacks[0]
    heads = tuple(replace(one, labels=(label,)) for one, label in zip(of.metrics, ("previous", "special"), strict=True))
    text = heads_text(result(replace(of, metrics=heads, patterns=())), Terminal(100))
    assert " P  patch to the left   S  what is no patch\n" in text
    assert " P  1.0  looks at the patch to the left " in text


def test_a_map_of_a_text_that_is_shown_in_part_says_what_its_letters_are_of() -> None:
    part = stack(queries=SENTENCE[1:-1], keys=SENTENCE[1:-1], whole=(12, 12))
    said = "\nmetrics are of the whole text, not of the part above\n"
    assert said in heads_text(result(part), Terminal(80))
    assert said in heads_text(replace(result(part), metric="first"), Terminal(80))
    assert said not in heads_text(result(stack()), Terminal(80))


def test_a_dot_is_no_space_where_it_is_a_head() -> None:
    keys = tokens("the", " cat")
    assert "the ␣cat\n" in heads_text(result(stack(queries=keys, keys=keys)), Terminal(80))
    assert "the _cat\n" in heads_text(result(stack(queries=keys, keys=keys)), Terminal(80, unicode=False))


def test_one_token_tells_no_heads_apart() -> None:
    one = tokens("[CLS]")
    weight = np.ones((1, 1), dtype=np.float32)
    alone = stack(queries=one, keys=one, whole=(1, 1), sketches=(Pattern(0, 0, weight),))
    said = "there is one token to look at, and no head can look elsewhere"
    assert heads_text(result(alone), Terminal(80)).splitlines()[2:] == ["[CLS]", said]
    chosen = replace(alone, patterns=(Pattern(0, 0, weight), Pattern(0, 1, weight)))
    assert heads_text(result(chosen, chosen=True), Terminal(80)).splitlines()[2:] == ["[CLS]", said]


def test_letters_beside_pictures_are_explained() -> None:
    both = replace(HEADS[4], labels=("special", "first"))
    of = stack(heads=(both,), layers=(Layer(1, 1),))
    picture = Pattern(1, 0, np.full((12, 12), 1 / 12, dtype=np.float32))
    text = heads_text(result(replace(of, sketches=(picture,))), Terminal(80, height=60))
    assert "\n1.0 S\n" in text and " S  special tokens\n" in text
    assert "1.0 S" not in heads_text(result(of), Terminal(80))


def test_a_head_has_one_letter_in_text_page_and_title() -> None:
    """Most of its weight is on the first token, though not enough for the label `first`."""
    reads_first = replace(head("0.0", "token", token=0.5), token_index=0)
    words = tokens("the", "cat", "sat")
    weights = np.tri(3, dtype=np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    shown = stack(
        Pattern(0, 0, weights), heads=(reads_first,), layers=(Layer(0, 1),), causal=True, queries=words, keys=words
    )
    assert map_text(shown)[1] == "    0  F"
    assert "head 0.0   F  attends mostly to the first token" in heads_text(result(shown, chosen=True), Terminal(80))
    page = heads_data(result(shown))
    assert list(page["labels"]) == ["first"] and page["stacks"][0]["heads"][0][3] == [0]
    if find_spec("matplotlib") is not None:
        from attncli.render.figures.axis_labels import head_title

        assert head_title(shown, 0, 0) == "head 0.0, attends mostly to the first token"
