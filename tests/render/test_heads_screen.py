"""Default views of heads fit the screen for inputs of ordinary size, and say what `--full` adds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.heads.text import heads_text
from attncli.results.heads import HeadsResult, Layer, Stack
from tests.render.heads_samples import SGR, head, pattern, result, stack, tokens
from tests.render.test_heads_steps import TOY

SCREENS = [(80, 24), (100, 30), (200, 60)]
TEXT = "the quick brown fox jumps over the lazy dog as it was very tired and had to sleep again ."
WORDS = tokens(*TEXT.split())


def three_stacks(layers: int, heads: int) -> HeadsResult:
    """Encoder, decoder and cross, with a head that looks at the previous token in each."""

    def made(name: str) -> Stack:
        metrics = tuple(
            replace(
                head(f"{layer}.{at}", *["previous"] * (at == layer), previous=0.9 - at / 100),
                name=f"{name}.{layer}.{at}",
            )
            for layer in range(layers)
            for at in range(heads)
        )
        return stack(heads=metrics, stack=name, layers=tuple(Layer(layer, heads) for layer in range(layers)))

    return result(made("encoder"), made("decoder"), made("cross"))


def one_head(words: int) -> HeadsResult:
    shown = tokens(*(WORDS[at % len(WORDS)].text for at in range(words)))
    weights = np.eye(words, k=-1, dtype=np.float32)
    weights[0, 0] = 1
    return result(stack(pattern("0.0", weights), queries=shown, keys=shown), chosen=True)


VIEWS = {
    "three small stacks": three_stacks(6, 8),
    "three stacks": three_stacks(12, 16),
    "three large stacks": three_stacks(24, 16),
    "a metric of three stacks": replace(three_stacks(12, 12), metric="previous"),
    "a metric of many layers": replace(result(three_stacks(30, 9).stacks[0]), metric="previous"),
    "fifteen tokens": one_head(15),
    "twenty tokens": one_head(20),
    "sixty tokens": one_head(60),
    "steps": replace(result(stack()), steps=(TOY,)),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("color", [ColorDepth.NONE, ColorDepth.TRUE])
@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_it_fits_the_screen(view: str, width: int, height: int, color: ColorDepth) -> None:
    text = heads_text(VIEWS[view], Terminal(width, color, height=height))
    assert text.count("\n") <= height - 2


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_left_out_is_shown_in_full(view: str) -> None:
    text, full = (heads_text(VIEWS[view], Terminal(height=24, full=full)) for full in (False, True))
    if view != "fifteen tokens":  # all of its rows are there
        assert "--full" in text
    assert full.count("\n") > 22 and "--full" not in full


def test_the_weights_of_a_head_stay_exact_where_two_rows_share_a_line() -> None:
    lines = SGR.sub("", heads_text(one_head(20), Terminal(80, ColorDepth.TRUE))).splitlines()
    assert "weights in" not in "".join(lines)
    assert [line[:14] for line in lines if "▀" in line][:2] == ["  0–1 the quic", "  2–3 brown fo"]


def test_rows_are_pooled_where_a_line_shows_one() -> None:
    text = heads_text(one_head(20), Terminal(80))
    assert "20 × 20 weights in 10 × 20 cells" in text


def test_steps_that_fit_the_screen_begin_with_what_is_read() -> None:
    text = heads_text(replace(result(stack()), steps=(TOY,)), Terminal(80))
    assert "\nhead 1.3 from sat (token 2) reads cat 0.62, The 0.31, sat 0.08\n" in text.replace("0.07\n", "0.08\n")
    assert "\n z, their sum                        [ 1.40  0.46]\n" in text
