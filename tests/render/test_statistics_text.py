"""The statistics of tokenizers: narrow terminals, odd words, rows of CSV, and any figures."""

from __future__ import annotations

import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.data import CSV
from attncli.render.tokenize.forms import SummaryText, statistics_columns, statistics_rows
from attncli.render.tokenize.statistics_text import statistics_text
from attncli.results.base import MadeBy
from attncli.results.statistics import (
    CutWord,
    Parity,
    ScriptStatistics,
    TextLengths,
    TokenizerStatistics,
    TotalStatistics,
)
from attncli.results.tokenize import Record, TokenizedText, TokenizeResult, TokenStats

LATIN = ScriptStatistics("Latin", 16, 14, 70, 70, 4.375, 4.375, 16 / 14, 2, 1 / 7, 0, 0.0, 0, 0.0)
HAN = ScriptStatistics("Han", 2, None, 4, 12, 6.0, 2.0, None, None, None, 1, 0.5, 2, 0.05)
TOTAL = TotalStatistics(18, 6, 14, 74, 82, 82 / 18, 74 / 18, 16 / 14, 2, 1 / 7, 1, 1 / 18, 13, 0.9, 2, 2 / 74)
LENGTHS = TextLengths(6, 7.0, 9, 0, 512)
WORDS = (CutWord("biopsy", 6, 2), CutWord("shrew", 5, 2))
ONE = TokenizerStatistics("org/bert", 3, 30522, TOTAL, (LATIN, HAN), LENGTHS, WORDS)
OTHER = ONE._replace(
    model="org/gpt",
    vocabulary_size=None,
    total=TOTAL._replace(tokens=36, renyi_efficiency=None),
    scripts=(LATIN._replace(tokens=32, fertility=32 / 14), HAN._replace(tokens=4)),
    lengths=TextLengths(2, 8.5, 1234, 1, None),
    most_cut_words=(),
)
PARITY = Parity("org/gpt", "org/bert", 2.0, {"Latin": 2.0, "Han": None})


FIGURES = """\
tokens                18  without added special tokens
special tokens         6  added by the tokenizer
words                 14  runs of non-space, in scripts that put spaces between
                          words
characters            74
bytes                 82  in UTF-8
fertility           1.14  tokens per word; 1: no word is split; lower is better
continued words    14.3%  words of several tokens, without punctuation; lower is
                          better
bytes/token         4.56  higher is better
characters/token    4.11  higher is better
unknown                1  tokens for text that is not in the vocabulary; 0 is
                          best
unknown text        2.7%  characters that became these; 0 is best
distinct tokens       13  in these texts
vocabulary        30,522  tokens in total
Rényi efficiency    0.90  how evenly the distinct tokens are used, 0 to 1 (α =
                          2.5); higher is better
shortest text          6  tokens, with added special tokens
median text            7
longest text           9
model limit          512  tokens
"""


SCRIPTS = """\
by script  tokens  words  characters  bytes/token  fertility  continued  unknown
Latin          16     14          70         4.38       1.14      14.3%     0.0%
Han             2      ·           4         6.00          ·          ·     5.0%
"""


def test_one_tokenizer() -> None:
    assert statistics_text([ONE], (), Terminal(80)) == (
        f"3 texts · org/bert\n\n{FIGURES}\n{SCRIPTS}\nwords of the most tokens\n  biopsy 2 · shrew 2\n"
    )


def test_several_tokenizers() -> None:
    lines = statistics_text([ONE, OTHER], [PARITY], Terminal(80)).splitlines()
    assert lines[:6] == [
        "3 texts · org/bert · org/gpt",
        "",
        "                  org/bert  org/gpt",
        "tokens                  18       36  without added special tokens",
        "special tokens           6        6  added by the tokenizer",
        "words                   14       14  runs of non-space, in scripts that put",
    ]
    assert "Rényi efficiency      0.90        ·  how evenly the distinct tokens are used, 0" in lines
    assert "median text              7      8.5" in lines
    assert "parity                1.00     2.00  tokens per token of the first one; below 1:" in lines
    assert lines[lines.index("tokens       org/bert  org/gpt") :] == [
        "tokens       org/bert  org/gpt",
        "Latin              16       32",
        "Han                 2        4",
        "",
        "parity       org/bert  org/gpt",
        "Latin            1.00     2.00",
        "Han              1.00        ·",
        "",
        "fertility    org/bert  org/gpt",
        "Latin            1.14     2.29",
        "Han                 ·        ·",
        "",
        "bytes/token  org/bert  org/gpt",
        "Latin            4.38     4.38",
        "Han              6.00     6.00",
        "",
        "unknown      org/bert  org/gpt",
        "Latin            0.0%     0.0%",
        "Han              5.0%     5.0%",
        "",
        "words of the most tokens with org/bert",
        "  biopsy 2 · shrew 2",
    ]


def test_what_a_narrow_terminal_has_no_room_for_is_beneath() -> None:
    lines = statistics_text(
        [ONE, OTHER._replace(model="sentence-transformers/" + "x" * 9)], [PARITY], Terminal(30)
    ).splitlines()
    assert lines[:7] == [
        "3 texts · org/bert",
        "sentence-transformers/xxxxxxx…",
        "",
        "                  org/bert",
        "tokens                  18",
        "  without added special tokens",
        "special tokens           6",
    ]
    assert lines[lines.index("                  …xxxxxxxxx") :][:2] == [
        "                  …xxxxxxxxx",
        "tokens                    36",
    ]


def test_colour_changes_no_character() -> None:
    plain, coloured = (statistics_text([ONE], (), Terminal(80, depth)) for depth in (ColorDepth.NONE, ColorDepth.TRUE))
    assert "\x1b[1m3 texts\x1b[0m" in coloured
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[2m"):
        coloured = coloured.replace(code, "")
    assert [line.rstrip() for line in coloured.splitlines()] == plain.splitlines()


def test_words_are_escaped_and_marked_where_they_were_cut() -> None:
    words = (CutWord("a\x1b[31m", 6, 5), CutWord("שלום", 4, 4), CutWord("x" * 100, 300, 3))
    (line, last) = statistics_text([ONE._replace(most_cut_words=words)], (), Terminal(80)).splitlines()[-2:]
    assert line == "  a\\x1b[31m 5 · שלום\u200e 4"
    assert last == f"  {'x' * 75}… 3"


def test_rows() -> None:
    header, *rows = csv.reader(io.StringIO(CSV.text(statistics_columns(), statistics_rows([ONE, OTHER], [PARITY]))))
    assert tuple(header) == statistics_columns()
    table = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(row["model"], row["script"], row["tokens"], row["parity"]) for row in table] == [
        ("org/bert", "", "18", ""),
        ("org/bert", "Latin", "16", ""),
        ("org/bert", "Han", "2", ""),
        ("org/gpt", "", "36", "2.0"),
        ("org/gpt", "Latin", "32", "2.0"),
        ("org/gpt", "Han", "4", ""),
    ]
    assert [row["words"] for row in table[:3]] == ["14", "14", ""]
    assert [row["renyi_efficiency"] for row in table[:3]] == ["0.9", "", ""]
    assert (table[0]["shortest"], table[0]["median"], table[0]["longest"], table[0]["max_length"]) == (
        "6",
        "7.0",
        "9",
        "512",
    )


SOME = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
COUNT = st.integers(0, 10**12)


@settings(deadline=None, derandomize=True)
@given(
    names=st.lists(SOME, min_size=1, max_size=5),
    words=st.lists(SOME, max_size=5),
    tokens=COUNT,
    width=st.integers(30, 120),
    unicode=st.booleans(),
)
def test_no_line_is_wider_than_the_terminal(
    names: list[str], words: list[str], tokens: int, width: int, unicode: bool
) -> None:
    cut = tuple(CutWord(word, len(word) + tokens % 2, tokens) for word in words)
    each = [ONE._replace(model=name, total=TOTAL._replace(tokens=tokens), most_cut_words=cut) for name in names]
    parity = [Parity(name, names[0], tokens / 7, {"Latin": None}) for name in names[1:]]
    picture = statistics_text(each, parity, Terminal(width, unicode=unicode))
    for line in picture.split("\n"):
        assert cell_width(line) <= width
        assert all(character.isprintable() or character in "\u200d\u200e" for character in line)
        assert unicode or line.isascii()


def test_many_unknown_tokens_are_said_to_flatter() -> None:
    spoilt = ONE._replace(total=TOTAL._replace(unknown_characters_share=0.5))
    shown = statistics_text((spoilt,), (), Terminal(100))
    assert "org/bert: 50% of the text became unknown tokens: its other figures look too good\n" in shown
    of_one = ONE._replace(scripts=(LATIN, HAN._replace(unknown_characters_share=0.9)))
    shown = statistics_text((of_one,), (), Terminal(100))
    assert "org/bert: 3% of the text became unknown tokens (Han 90%): its other figures there look too good\n" in shown
    bare = ONE._replace(total=TOTAL._replace(characters=0, unknown_characters_share=None, unknown_share=0.5))
    assert "org/bert: 50% of its tokens are unknown\n" in statistics_text((bare,), (), Terminal(80))


def test_what_nobody_can_tell_is_left_out() -> None:
    few = ONE._replace(total=TOTAL._replace(renyi_efficiency=None))
    assert "efficiency" not in statistics_text((few,), (), Terminal(80))
    lost = PARITY._replace(tokens=None)
    shown = " ".join(statistics_text([ONE, OTHER], [lost], Terminal(80)).split())
    assert "fewer tokens; none where much of the text became unknown tokens" in shown.replace("- ", "")


def test_a_few_texts_have_a_line_each() -> None:
    form = SummaryText(Terminal(80), texts=2)
    assert not form.summary
    for number, words in enumerate(("American shrew mole", "One\tmole of carbon dioxide and more of it")):
        stats = TokenStats(number + 4, 2, 3, 19, 19, 19 / 4, 19 / 4, 4 / 3, 1, 1 / 3, number, 0.0, 4, 3)
        form.record(Record(number, (TokenizedText(number, "org/bert", words, (), stats),)))
    (written,) = form.end(TokenizeResult((), MadeBy("0.1.0"), statistics=(ONE,), parity=()))
    assert written == statistics_text([ONE], (), Terminal(80)).replace(
        "\n\ntokens  ",
        """

by text                     tokens  words  bytes/token  fertility  unknown
1 American␣shrew␣mole            4      3         4.75       1.33        0
2 One⇥mole␣of␣carbon␣diox…       5      3         4.75       1.33        1

tokens  """,
        1,
    )


def test_many_texts_are_counted_only() -> None:
    assert all(SummaryText(Terminal(80), texts=texts).summary for texts in (None, 1, 51))
