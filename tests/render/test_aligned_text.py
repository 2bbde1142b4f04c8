"""Several tokenizers over one text: in ASCII, on narrow terminals, and with any texts."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attncli
from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.tokenize.aligned import aligned_text
from attncli.render.tokenize.comparison_lines import model_keys, shortened_name
from attncli.results.comparison import Comparison, IdDifference, Segment, TokenDifference
from attncli.results.tokenize import TokenizedText, TokenStats
from attncli.results.tokens import Token
from attncli.tokens.tokenizer_comparison import compare_tokenizations
from tests.tokens.vocabularies import KINDS, TEXTS

BERT = TokenizedText(
    0,
    "sentence-transformers/all-MiniLM-L6-v2",
    "the moles",
    (
        Token(0, 101, "[CLS]", "[CLS]", special=True),
        Token(1, 1996, "the", "the", 0, 3, 0, 3, 0),
        Token(2, 16709, "mole", "mole", 4, 8, 4, 8, 1),
        Token(3, 2015, "##s", "s", 8, 9, 8, 9, 1),
        Token(4, 102, "[SEP]", "[SEP]", special=True),
    ),
    TokenStats(3, 2, 2, 9, 9, 3.0, 3.0, 1.5, 1, 0.5, 0, 0.0),
)
GPT = TokenizedText(
    0,
    "openai-community/gpt2",
    "the moles",
    (
        Token(0, 1169, "the", "the", 0, 3, 0, 3, 0),
        Token(1, 285, "Ġm", " m", 3, 5, 3, 5, 1),
        Token(2, 4316, "oles", "oles", 5, 9, 5, 9, 1),
    ),
    TokenStats(3, 0, 2, 9, 9, 3.0, 3.0, 1.5, 1, 0.5, 0, 0.0),
)
MOLES = Segment(0, 3, 9, 3, 9, " moles", ((2, 4), (1, 3)), (True, False), (True, False))
SEGMENTS = (
    Segment(0, 0, 0, 0, 0, "", ((0, 1), (0, 0)), (True, True), (True, False), added=True),
    Segment(0, 0, 3, 0, 3, "the", ((1, 2), (0, 1)), (True, True), (True, False)),
    MOLES,
    Segment(0, 9, 9, 9, 9, "", ((4, 5), (3, 3)), (True, True), (True, False), added=True),
)
COMPARISON = Comparison(
    record=0,
    models=(BERT.model, GPT.model),
    segments=SEGMENTS,
    differences=(TokenDifference(MOLES, (BERT.tokens[2:4], GPT.tokens[1:3])),),
    ids=(None, IdDifference(0, BERT.tokens[0], GPT.tokens[0])),
    agreement=((1.0, 1 / 3), (1 / 3, 1.0)),
    parity=((1.0, 1.0), (1.0, 1.0)),
)


def _alike(models: tuple[str, str], ids: IdDifference | None = None) -> str:
    segment = Segment(0, 0, 3, 0, 3, "the", ((0, 1), (0, 1)), (True, True), (True, ids is None))
    ones = ((1.0, 1.0), (1.0, 1.0))
    found = Comparison(0, models, (segment,), (), (None, ids), ones, ones)
    texts = [GPT._replace(text="the", tokens=GPT.tokens[:1], model=model) for model in models]
    return aligned_text(texts, found, Terminal(100), count=1)


def test_ascii_says_the_same() -> None:
    lines = aligned_text((BERT, GPT), COMPARISON, Terminal(80, unicode=False), count=3).splitlines()
    assert lines[0] == "2 tokenizers | text 1 of 3"
    assert lines[4] == "A  [CLS]*  the   mole |s     [SEP]*"
    assert lines[6] == "B          the   _m |oles"
    assert lines[8] == "                 ~~~~~~~~~~"
    assert lines[-1] == "  3-9  A mole|s  B _m|oles"


def test_a_narrow_terminal_wraps_all_models_together() -> None:
    lines = aligned_text((BERT, GPT), COMPARISON, Terminal(20)).splitlines()
    assert lines[:18] == [
        "2 tokenizers · text…",
        "A  …all-MiniLM-L6-v2",
        "B  …/gpt2",
        "",
        "A  [CLS]*  the",
        "   101     1996",
        "B          the",
        "           1169",
        "",
        "A  mole │s",
        "   16709│2015",
        "B  ␣m │oles",
        "   285│4316",
        "   ~~~~~~~~~~",
        "",
        "A  [SEP]*",
        "   102",
        "",
    ]


def test_a_stretch_wider_than_the_terminal_goes_over_several_blocks() -> None:
    lines = aligned_text((BERT, GPT), COMPARISON, Terminal(12)).splitlines()
    block = lines.index("A  mole")
    assert lines[block : block + 9] == [
        "A  mole",
        "   16709",
        "B  ␣m │oles",
        "   285│4316",
        "   ~~~~~~~~",
        "",
        "A │s",
        "  │2015",
        "   ~~~~",
    ]


def test_models_that_differ_in_their_ids_alone() -> None:
    other = IdDifference(0, Token(0, 1169, "the", "the"), None)
    last = _alike(("one", "two"), other).splitlines()[-1]
    assert last == "two splits the text as one does, but its ids differ, first at token 0: 1169 and nothing"


def test_models_that_cut_alike_share_a_way() -> None:
    both = [
        MOLES._replace(tokens=((2, 4), (1, 3), (2, 4)), same_cuts=(True, False, True), same_ids=(True, False, True))
    ]
    ones = ((1.0,) * 3,) * 3
    spaced = (Token(2, 9, "▁Mole", " Mole", 3, 8, 3, 8, 1), BERT.tokens[3])
    difference = TokenDifference(both[0], (BERT.tokens[2:4], GPT.tokens[1:3], spaced))
    found = Comparison(0, ("a", "b", "c"), tuple(both), (difference,) * 12, (None,) * 3, ones, ones)
    for terminal in (Terminal(80), Terminal(80, ColorDepth.TRUE)):
        lines = aligned_text((BERT, GPT, BERT), found, terminal).splitlines()
        assert lines[-1].removeprefix("\x1b[2m").removesuffix("\x1b[0m") == "  and 2 more"
        assert "a,c" in lines[-2]


def test_many_models_have_their_numbers_in_several_tables() -> None:
    texts = [BERT._replace(model=f"model {index}") for index in range(6)]
    lines = aligned_text(texts, compare_tokenizations(texts), Terminal(37)).splitlines()
    tables = [line.split() for line in lines if line.startswith(" ") and set(line.split()) & {"A", "D"}]
    assert tables == [["A", "B", "C"], ["D", "E", "F"]]


@pytest.mark.parametrize(
    ("models", "width", "keys"),
    [
        (("gpt2", "bert"), 80, ["gpt2", "bert"]),
        (("gpt2", "bert"), 40, ["A", "B"]),
        (("gpt2", "gpt2"), 80, ["A", "B"]),
        (("gpt2", "org/bert-base"), 80, ["A", "B"]),
        (tuple(f"org/model-{index}" for index in range(28)), 80, [*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "A2", "B2"]),
    ],
)
def test_keys(models: tuple[str, ...], width: int, keys: list[str]) -> None:
    assert model_keys(models, Terminal(width)) == keys


@pytest.mark.parametrize(
    ("name", "width", "short"),
    [
        ("org/model", 9, "org/model"),
        ("some-owner/model", 9, "…/model"),
        ("/home/me/models/bert", 14, "…/models/bert"),
        ("owner/a-very-long-model", 8, "…g-model"),
        ("C:\\models\\bert", 13, "…\\models\\bert"),
        ("C:\\models\\bert", 6, "…\\bert"),
    ],
)
def test_names_lose_their_beginning(name: str, width: int, short: str) -> None:
    assert shortened_name(name, width, Terminal(80)) == short


EVERY = {name: kind() for name, kind in KINDS.items()}
ANY = st.sampled_from(TEXTS) | st.text(st.sampled_from("mole s\n\t,é日👍\u0301\u200d\x00\x1bש.="), min_size=1)


@settings(deadline=None)
@given(
    text=ANY,
    names=st.lists(st.sampled_from(sorted(EVERY)), min_size=2, max_size=6),
    width=st.integers(12, 120),
    unicode=st.booleans(),
)
def test_no_line_is_wider_than_the_terminal(text: str, names: list[str], width: int, unicode: bool) -> None:
    texts = [attncli.tokenize(text, tokenizer=EVERY[name]).texts[0]._replace(model=f"{name}\x1b") for name in names]
    picture = aligned_text(texts, compare_tokenizations(texts), Terminal(width, unicode=unicode))
    for line in picture.split("\n"):
        assert cell_width(line) <= width
        assert all(character.isprintable() or character in "\u200d\u200e" for character in line)
        assert unicode or line.isascii()


@settings(deadline=None)
@given(text=ANY, width=st.integers(45, 120))
def test_every_id_is_shown(text: str, width: int) -> None:
    names = {"bpe": "byte_bpe", "wordpiece": "word_piece"}
    texts = [attncli.tokenize(text, tokenizer=EVERY[name]).texts[0]._replace(model=key) for key, name in names.items()]
    lines = aligned_text(texts, compare_tokenizations(texts), Terminal(width)).splitlines()
    table = next(index for index, line in enumerate(lines) if line.split() in (["A", "B"], ["bpe", "wordpiece"]))
    for key, each in zip(lines[table].split(), texts, strict=True):
        rows = pairwise(lines[lines.index("") : table])
        ids = [below for line, below in rows if line.startswith(f"{key} ")]
        shown = [word for line in ids for word in line.replace("│", " ").split()]
        assert shown == [str(number) for number in each.ids]


def test_tokens_for_nothing_are_explained() -> None:
    prefixed = GPT._replace(tokens=(Token(0, 3, "▁", " ", 0, 0, 0, 0), *GPT.tokens))
    shown = aligned_text((BERT, prefixed), COMPARISON, Terminal(80), count=1)
    assert shown.endswith(
        "B has 1 token without a character of the text (a space put before it):\n  counted, but not a split\n"
    )


def test_what_the_numbers_leave_out_and_which_flatter() -> None:
    def notes(**changes: object) -> list[str]:
        texts = [text._replace(stats=text.stats._replace(**changes)) for text in (BERT, GPT)]  # type: ignore[arg-type]
        lines = aligned_text(texts, COMPARISON, Terminal(80), count=1).splitlines()
        table = lines[next(index for index, line in enumerate(lines) if line.startswith("same splits as")) + 1 :]
        return table[: table.index("")]

    assert notes() == []
    assert notes(unspaced_scripts=("Thai", "Symbols")) == ["fertility leaves out Thai and symbols"]
    assert notes(fertility=None, unspaced_scripts=("Thai",)) == ["no fertility: no spaces between words in Thai"]
    assert notes(unknown_characters=9) == [
        "A has unknown tokens for 100% of the text, so its other figures look too good",
        "B has unknown tokens for 100% of the text, so its other figures look too good",
    ]
