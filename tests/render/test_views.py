"""What views say: sentences are laid out without being changed, and text, page and figure say the same."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import sentence_row
from attncli.render.heads.text import heads_text
from attncli.render.html.heads import heads_data
from attncli.render.views.sentences import NO_BREAK, Position, Words, quiet, strong, written
from attncli.results.heads import HeadsResult
from tests.render.difference_samples import compared
from tests.render.heads_samples import SENTENCE, head, on_offset, pattern, result, stack
from tests.render.patch_samples import looking
from tests.render.position_samples import ranked, with_row

CASES = {
    "overview": lambda: result(stack()),
    "one head": lambda: result(stack(pattern("0.1", on_offset(1))), chosen=True),
    "mean": lambda: replace(result(stack(queries=(), keys=())), texts=3),
    "patches": lambda: looking(query=4),
    "reading": with_row,
    "ranking": lambda: ranked(0.01, 0.02, 0.5, 0.03, 0.25, 0.04, 0.05, 0.1),
    "difference": lambda: compared(metric="first"),
}


@pytest.mark.parametrize("case", CASES)
def test_text_page_and_figure_say_the_same_of_model_and_stack(case: str) -> None:
    made: HeadsResult = CASES[case]()
    page = heads_data(made)
    facts, title = page["facts"][0], page["stacks"][0]["title"]  # type: ignore[index]
    assert heads_text(made, Terminal(200)).splitlines()[0] == facts
    assert f"\n{title}\n" in heads_text(made, Terminal(200))
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra figures)")
    from attncli.render.figures.heads import heads_figure

    drawn = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", heads_figure(made, "svg").decode()))
    assert title in drawn
    assert case == "difference" or facts.partition(" · ")[2] in drawn


def test_a_head_that_stands_out_has_one_sentence() -> None:
    reads = replace(head("0.0", "token", token=0.7), token_index=2)
    made = result(stack(heads=(reads, head("0.1", "next", next=0.9))))
    page = heads_data(made)["stacks"][0]["standouts"]  # type: ignore[index]
    assert [one["sentence"] for one in page] == ["looks at the next token", "reads cat (token 2)"]
    text = heads_text(made, Terminal(120))
    assert all(one["sentence"] in text for one in page)


def test_lines_break_in_words_alone() -> None:
    words = (quiet("how much "), strong(Position(SENTENCE[2])), quiet(f" looks{NO_BREAK}at "), Words(SENTENCE[3]))
    sentence = (*words, quiet(", and so on"), strong("a b"))
    lines = sentence_row(sentence, Terminal(14)).rows(14)
    assert [line.plain for line in lines] == ["how much", "cat (token 2)", "looks at sat,", "and so ona b"]
    spelled = written(sentence, lambda content: content.text)
    assert spelled == "how much cat looks at sat, and so ona b"


def test_our_own_symbols_have_stand_ins_and_tokens_escapes() -> None:
    sentence = (quiet("2 × 2 → "), Words(SENTENCE[2]._replace(text="×")))
    (line,) = sentence_row(sentence, Terminal(80, unicode=False)).rows(80)
    assert line.plain == r"2 x 2 -> \u{d7}"
