"""Means over many texts: their intervals above the map, in the rankings, and of one head."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from attncli.render.common.numbers import plus_minus, uniform_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.text import heads_text
from attncli.results.heads import HeadsResult, Interval, Probe, Spread
from tests.render.heads_samples import HEADS, UNIFORM, head, result, stack

WIDE = Terminal(width=100)


def spread(**intervals: Interval | None) -> Spread:
    return Spread(intervals, dict.fromkeys(UNIFORM, 1234))


def averaged(*names: str, texts: int = 1234, probe: Probe | None = None, cross: bool = False) -> HeadsResult:
    """Some of the sample heads (all by itself), as means."""
    around = spread(previous=(0.9, 0.9246), next=(0.8, 0.86), induction=(0.6689, 0.6889), entropy=None)
    heads = tuple(replace(one, spread=around) for one in HEADS if one.name in names or not names)
    kind = "cross" if cross else "encoder"
    whole = result(stack(heads=heads, queries=(), keys=(), stack=kind), chosen=bool(names))
    return replace(whole, texts=texts, probe=probe)


def test_heads_that_were_not_asked_for_are_blank() -> None:
    lines = heads_text(averaged("1.1", "1.2"), WIDE).splitlines()
    assert lines[7:9] == ["    0", "    1     I  ·"]


def test_random_tokens_and_cross_attention() -> None:
    text = heads_text(averaged(texts=8, probe=Probe(8, 25, 4, 0), cross=True), Terminal(width=80, unicode=False))
    assert text.splitlines()[:2] == [
        "all-MiniLM-L6-v2 | mean over 8 probes: 25 random tokens, 4 times",
        "cross | 2 layers x 4 heads | decoder tokens look at encoder tokens",
    ]
    assert "        previous 0.91 +- 0.01, uniform 0.08\n" in text
    assert text.endswith("\n+- 95 % interval of the mean over the probes that show it\n")


def test_one_text_has_no_interval() -> None:
    text = heads_text(averaged(texts=1), WIDE)
    assert "mean over 1 text\n" in text and "95 %" not in text


def test_one_head_in_figures() -> None:
    lines = heads_text(averaged("1.1"), Terminal(width=80)).splitlines()
    assert lines[2:7] == [
        "head 1.1   I  looks at what followed earlier copies",
        "",
        "                 mean  ± 95 %   uniform    texts",
        "entropy          1.10              2.48    1,234",
        "distance         3.97              3.97    1,234",
    ]
    assert lines[-1] == "induction        0.68  ± 0.01      0.08    1,234"
    narrow = heads_text(averaged("1.1"), Terminal(width=40)).splitlines()
    assert narrow[-1] == "induction        0.68  ± 0.01      0.08"


def test_half_an_interval() -> None:
    assert plus_minus((0.25, 0.75), WIDE) == " ± 0.25"
    assert plus_minus(None, WIDE) == ""


@given(st.integers(1, 10**9), st.integers(20, 120), st.booleans(), st.floats(0, 1e6), st.booleans())
def test_no_line_is_wider_than_the_terminal(texts: int, width: int, unicode: bool, end: float, one: bool) -> None:
    own = Spread(dict.fromkeys(UNIFORM, (-end, end)), dict.fromkeys(UNIFORM, texts))
    heads = (replace(head("0.0", "induction"), spread=own), replace(head("1.3", entropy=end), spread=own))
    found = replace(result(stack(heads=heads[:1] if one else heads, queries=(), keys=())), texts=texts)
    assert all(len(line) <= width for line in heads_text(found, Terminal(width=width, unicode=unicode)).splitlines())


def test_the_probe_tells_the_most_induction_even_where_it_earns_no_label() -> None:
    probe = Probe(8, 25, 4, 0)
    found = averaged("0.0", "1.2", "1.3", texts=8, probe=probe)
    said = "    1.2  strongest induction, no label  induction 0.13 ± 0.01, uniform 0.08\n"
    chance = "    1.2  no head does induction: the largest  induction 0.08 ± 0.01, uniform 0.08\n"
    heads = tuple(replace(one, values={**one.values, "induction": value})
                  for one, value in zip(found.stacks[0].metrics, (None, 0.1289, 0.02), strict=True))  # fmt: skip
    some = replace(found, chosen=False, stacks=(replace(found.stacks[0], metrics=heads),))
    assert said in heads_text(some, WIDE)
    little = tuple(replace(one, values={**one.values, "induction": value})
                   for one, value in zip(heads, (None, 0.0789, 0.02), strict=True))  # fmt: skip
    assert chance in heads_text(replace(some, stacks=(replace(some.stacks[0], metrics=little),)), WIDE)
    assert "strongest" not in heads_text(replace(some, probe=None), WIDE)
    assert "strongest" not in heads_text(averaged(texts=8, probe=probe), WIDE)
    unmeasured = tuple(replace(one, values={**one.values, "induction": None}) for one in heads)
    none = replace(some, stacks=(replace(some.stacks[0], metrics=unmeasured),))
    assert "strongest" not in heads_text(none, WIDE)


def test_the_heads_by_one_metric_have_their_intervals() -> None:
    found = replace(averaged("0.0", "1.1", texts=8, probe=Probe(8, 25, 4, 0)), metric="induction", chosen=False)
    lines = heads_text(found, Terminal(80)).splitlines()
    assert "1.1   0.68 ± 0.01  ████████████████████  uniform 0.08" in lines
    assert lines[-1] == "± 95 % interval of the mean over the probes that show it"
    narrow = heads_text(found, Terminal(36)).splitlines()
    assert "1.1   0.68 ± 0.01  uniform 0.08" in narrow


def test_the_ranking_has_the_digits_of_the_map() -> None:
    heads = tuple(head(name, induction=value) for name, value in (("0.0", 0.0213), ("0.1", 0.0004)))
    even = {layer: {**UNIFORM, "induction": 0.0204} for layer in range(2)}
    found = replace(result(stack(heads=heads, baselines=even)), metric="induction")
    assert "0.0  0.021  ████████████████████  uniform 0.020\n" in heads_text(found, Terminal(80))


def test_even_attention_is_never_rounded_to_nothing() -> None:
    assert [uniform_number(value, WIDE) for value in (0.0045, 0.25, 0.0, None)] == ["0.0045", "0.25", "0.00", "·"]
