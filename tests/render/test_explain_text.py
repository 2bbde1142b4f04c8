"""The text of an explanation: long words, unknown words, the names of steps, and any tokens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from attncli.models.tokenizers.tokenizer_loader import wrap_tokenizer
from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.tokenize.explanation import explain_text, step_words
from attncli.results.explanation import (
    Entry,
    Explanation,
    LookedUpWord,
    Match,
    MatchedWord,
    Merge,
    MergedWord,
    Model,
    Pair,
    PreToken,
    Step,
    Symbol,
    Word,
)
from attncli.tokens.explain import explain
from tests.tokens.explained import texts, tokenizers

_WORD_PIECE = Model("WordPiece", 30_522, None, {"continuing_subword_prefix": "##"})
_BPE = Model("BPE", 300, 40, {})
_WORD_LEVEL = Model("WordLevel", 300, None, {})


def _explanation(model: Model, *words: Word, **other: object) -> Explanation:
    pre_tokens = [PreToken(0, 0, word.form, word.form, index) for index, word in enumerate(words)]
    plain = Explanation((), (), (), tuple(pre_tokens), model, words, ("$A",), (), (), True)
    return plain._replace(**other)


def _words(text: str) -> list[str]:
    """The lines about words: those after the blank one."""
    lines = text.splitlines()
    return lines[lines.index("") + 1 :]


def _moles() -> MergedWord:
    symbols = tuple(Symbol(number, letter, letter) for number, letter in enumerate("Ġmoles"))
    merges = (
        Merge(Pair("m", "o", 1), "mo", 1, Pair("l", "e", 1004)),
        Merge(Pair("Ġ", "mo", 30), "Ġmo", 0, Pair("l", "e", 1004)),
        Merge(Pair("l", "e", 1004), "le", 3),
        Merge(Pair("Ġmo", "le", 7), "Ġmole", 0),
    )
    return MergedWord("Ġmoles", (Entry(266, "Ġmole"), Entry(85, "s")), symbols, merges)


def test_merges_in_the_order_in_which_they_apply() -> None:
    assert _words(explain_text(_explanation(_BPE, _moles()), Terminal())) == [
        "Ġmoles                     Ġ m o l e s",
        "                1  m+o     Ġ mo l e s  before l+e (1,004)",
        "               30  Ġ+mo    Ġmo l e s   before l+e (1,004)",
        "            1,004  l+e     Ġmo le s",
        "                7  Ġmo+le  Ġmole s",
    ]


def test_a_pair_that_waited_is_left_out_where_it_does_not_fit() -> None:
    lines = _words(explain_text(_explanation(_BPE, _moles()), Terminal(50)))
    assert lines[1] == "                1  m+o     Ġ mo l e s"


def test_where_a_word_is_too_long_each_merge_is_told_alone() -> None:
    symbols = tuple(Symbol(0, "a", "a") for _ in range(40))
    merges = tuple(Merge(Pair("a", "a", 0), "aa", at) for at in range(0, 40, 2))
    word = MergedWord("a" * 40, (Entry(1, "aa"),) * 20, symbols, merges)
    assert _words(explain_text(_explanation(_BPE, word), Terminal(60))) == [
        "aaaaaaaaaaaaa… a a a a a a a a a a a a a a a a a a a a a a a",
        "               a a a a a a a a a a a a a a a a a",
        "               0  a+a  aa ×20",
        "               = aa aa aa aa aa aa aa aa aa aa aa aa aa aa",
        "               aa aa aa aa aa aa",
    ]


def test_merges_beyond_the_first_ones_are_counted() -> None:
    symbols = tuple(Symbol(number, letter, letter) for number, letter in enumerate("abcdefghijklmnopqrs"))
    merges, result = [], "a"
    for letter in "bcdefghijklmnopqrs":
        merges.append(Merge(Pair(result, letter, len(merges)), result + letter, 0))
        result += letter
    word = MergedWord(result, (Entry(9, result),), symbols, tuple(merges))
    lines = _words(explain_text(_explanation(_BPE, word), Terminal(100)))
    assert lines[-2].strip() == "and 2 more merges"
    assert lines[-1].strip() == f"= {result}"
    assert len(lines) == 1 + 16 + 2


@pytest.mark.parametrize(
    ("symbol", "sentence"),
    [
        (Symbol(7, "<0xC3>", "é", "byte"), "é is not in the vocabulary, but its bytes <0xC3> are"),
        (Symbol(0, "<unk>", "日本", "unknown"), "日本 is not in the vocabulary: <unk> stands for it"),
        (
            Symbol(-1, "", "日", "dropped"),
            "日 is not in the vocabulary: it is dropped, because there is no unknown token",
        ),
    ],
)
def test_what_the_vocabulary_lacks_is_told(symbol: Symbol, sentence: str) -> None:
    word = MergedWord("word", (), (symbol, Symbol(1, "a", "a")))
    lines = explain_text(_explanation(_BPE, word), Terminal(100)).splitlines()
    assert f"            {sentence}" in lines
    assert lines[-1].strip() == "none of these pairs has a rank"


def test_unknown_words() -> None:
    unknown = (Entry(0, "[UNK]"),)
    words = (
        MatchedWord(
            "bxy", unknown, (Match("b", 0, 1, 1, ("bx",)), Match(None, 1, 1, 7, ("##xy", "##x"))), unknown=True
        ),
        MatchedWord("long", unknown, (), too_long=True, unknown=True),
    )
    assert _words(explain_text(_explanation(_WORD_PIECE, *words), Terminal())) == [
        "bxy         b      not bx",
        "            [UNK]  not ##xy, ##x, and 5 more, so the whole word is unknown",
        "long        [UNK]  because it has 4 characters, more than the model's limit",
    ]
    looked_up = (LookedUpWord("mole", (Entry(1, "mole"),)), LookedUpWord("x", unknown, unknown=True))
    assert _words(explain_text(_explanation(_WORD_LEVEL, *looked_up), Terminal())) == [
        "x           [UNK]  because it is not in the vocabulary",
        "already in the vocabulary: mole",
    ]


def test_words_beyond_the_first_ones_are_counted() -> None:
    words = [LookedUpWord(f"x{number}", (Entry(0, "[UNK]"),), unknown=True) for number in range(17)]
    text = explain_text(_explanation(_WORD_LEVEL, *words), Terminal())
    assert text.endswith("\nand 1 more word (--json has them all)\n")


def test_a_disagreement_is_never_hidden() -> None:
    dropout = Model("BPE", 3, 1, {"dropout": 0.5})
    text = " ".join(explain_text(_explanation(dropout, agrees=False), Terminal()).split())
    assert "beware the tokenizer itself gives other tokens than these steps: it leaves out merges at random" in text
    assert "dropout 0.5" in text


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step("NFC", {}), "NFC"),
        (Step("Lowercase", {}), "lowercase"),
        (Step("Replace", {"pattern": {"String": " "}, "content": "▁"}), '" " becomes ▁'),
        (Step("Replace", {"pattern": {"Regex": " +"}, "content": ""}), "the regex  + becomes nothing"),
        (
            Step("Split", {"pattern": {"Regex": r"\d"}, "behavior": "Isolated", "invert": False}),
            r"cut at the regex \d, each a piece of its own",
        ),
        (
            Step("Split", {"pattern": {"String": "-"}, "behavior": "Removed", "invert": True}),
            'cut between "-", which is left out',
        ),
        (
            Step("Metaspace", {"replacement": "▁", "prepend_scheme": "first", "split": True}),
            "▁ for each space, ▁ in front of the text, cut before each ▁",
        ),
        (
            Step("ByteLevel", {"add_prefix_space": True, "use_regex": True}),
            "a space in front, cut by GPT-2's regex, a letter for each byte and Ġ for a space",
        ),
        (Step("Digits", {"individual_digits": False}), "cut around numbers"),
        (Step("CharDelimiterSplit", {"delimiter": "|"}), "cut at |"),
        (Step("FixedLength", {"length": 4}), "cut every 4 characters"),
        (Step("Prepend", {"prepend": "▁"}), "▁ in front"),
        (Step("Strip", {"strip_left": True}), "strip white space"),
        (Step("SomethingNew", {"mole": 1}), "SomethingNew"),
    ],
)
def test_steps_in_words(step: Step, words: str) -> None:
    assert step_words(step) == words


@settings(deadline=None)
@given(
    tokenizers(),
    texts | st.text(st.characters(codec="utf-8"), min_size=1),
    st.integers(10, 120),
    st.sampled_from([ColorDepth.NONE, ColorDepth.TRUE]),
    st.booleans(),
)
def test_no_line_is_wider_than_the_terminal(
    tokenizer: Tokenizer, text: str, width: int, color: ColorDepth, unicode: bool
) -> None:
    explanation = explain(wrap_tokenizer(tokenizer), text)
    plain = explain_text(explanation, Terminal(width, unicode=unicode))
    assert all(cell_width(line) <= width for line in plain.splitlines())
    assert all(character.isprintable() or character in "\n\u200d\u200e" for character in plain)
    assert unicode or plain.isascii()
    explain_text(explanation, Terminal(width, color, unicode))
