"""One metric of all heads, and what two texts that are read together give to each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.data import CSV
from attncli.render.heads.tables import heads_table
from attncli.render.heads.text import heads_text
from attncli.results.heads import HeadsResult, Quadrants
from attncli.results.patterns import Pattern
from tests.render.heads_samples import HEADS, SGR, head, result, stack
from tests.render.patch_samples import looking


def shown(metric: str, terminal: Terminal, **changes: object) -> str:
    return heads_text(replace(result(stack(**changes)), metric=metric), terminal)  # type: ignore[arg-type]


def test_colours_say_the_same() -> None:
    colored = SGR.sub("", shown("previous", Terminal(80, color=ColorDepth.TRUE)))
    assert "    0  0.91  0.08  0.08  0.08 " in colored.splitlines()


def test_what_nothing_shows() -> None:
    heads = tuple(replace(head, values={**head.values, "induction": None}) for head in HEADS)
    assert shown("induction", Terminal(80), heads=heads).endswith("copies\nnothing shows induction in this text\n")


@pytest.mark.parametrize("width", range(1, 60))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, shown("entropy", Terminal(width)).splitlines())) <= width


def test_patches_are_called_so() -> None:
    shown_ = heads_text(replace(looking(2), metric="previous", chosen=False), Terminal(80))
    assert "\nprevious: weight on the patch to the left\n" in shown_
    nothing = replace(looking(1).stacks[0], metrics=(head("1.0", induction=None),))
    text = heads_text(replace(result(nothing), metric="induction"), Terminal(80))
    assert text.endswith("nothing shows induction in this picture\n")


EVEN = Quadrants(0.5, 0.12, 0.38, 0.05, 0.7, 0.25)
CROSSING = (0.03, 0.2, 0.01, 0.4, 0.1, 0.05, 0.3, 0.12)


def of_two_texts(*patterns: Pattern, chosen: bool = False) -> HeadsResult:
    heads = tuple(
        replace(head, quadrants=Quadrants(0.5, share, 0.5 - share, share / 2, 0.25, 0.75 - share / 2))
        for head, share in zip(HEADS, CROSSING, strict=True)
    )
    return result(stack(*patterns, heads=heads, even_quadrants={0: EVEN, 1: EVEN}), chosen=chosen)


def test_the_overview_names_the_heads_that_cross_most() -> None:
    text = heads_text(of_two_texts(), Terminal())
    assert (
        """\
between the text (A) and its pair (B), these heads of the encoder cross most:
    0.3  A→B 0.40, uniform 0.12  B→A 0.20, uniform 0.05
    1.2  A→B 0.30, uniform 0.12  B→A 0.15, uniform 0.05
    0.1  A→B 0.20, uniform 0.12  B→A 0.10, uniform 0.05
"""
        in text
    )
    narrow = heads_text(of_two_texts(), Terminal(40, unicode=False))
    assert (
        """\
    0.3  A->B 0.40, uniform 0.12
         B->A 0.20, uniform 0.05
"""
        in narrow
    )
    assert "A→B" not in heads_text(result(stack()), Terminal())


def test_csv_has_them_in_columns() -> None:
    header, first, *_ = (line.split(",") for line in CSV.text(*heads_table(of_two_texts())).splitlines())
    row = dict(zip(header, first, strict=True))
    assert (row["a_to_b"], row["baseline_a_to_b"], row["b_to_special"]) == ("0.03", "0.12", "0.735")
    assert "a_to_a" not in heads_table(result(stack()))[0]


def test_under_a_causal_mask_nothing_crosses_to_the_pair() -> None:
    (shown,) = of_two_texts().stacks
    heads = tuple(replace(head, quadrants=replaced(head.quadrants)) for head in shown.metrics)
    even = dict.fromkeys((0, 1), EVEN._replace(a_to_b=0.0))
    text = heads_text(result(replace(shown, metrics=heads, even_quadrants=even, causal=True)), Terminal(120))
    assert "these heads of the encoder cross most (A can't see B, which comes later):\n" in text
    assert "    0.3  B→A 0.20, uniform 0.05\n" in text and "A→B" not in text


def replaced(quadrants: Quadrants | None) -> Quadrants:
    assert quadrants is not None
    return quadrants._replace(a_to_b=0.0)
