"""The table of `attn tokenize --table`: in ASCII, narrow terminals, long tokens, and any tokens at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.tokenize.text import token_table
from attncli.results.tokenize import TokenizedText, TokenStats
from attncli.results.tokens import Token
from tests.render.test_tokenize_text import EMBEDDINGS, SOME, TOKENS

STATS = TokenStats(4, 1, 2, 14, 17, 4.25, 3.5, 2.0, 1, 0.5, 1, 0.25)

TOKENS_OF_ALL_KINDS = (
    Token(0, 101, "[CLS]", "[CLS]", special=True),
    Token(1, 7861, "em", "em", 0, 2, 0, 2, 0),
    Token(2, 100, "[UNK]", "[UNK]", 3, 5, 3, 9, 1),
    Token(3, 175, "ðŁĳ", r"\xf0\x9f\x91", 6, 7, 10, 13, 2),
    Token(4, 238, "į", r"\x8d", 6, 7, 13, 14, 2),
)


def _text(tokens: tuple[Token, ...] = TOKENS_OF_ALL_KINDS, text: str | None = "em שמ 👍") -> TokenizedText:
    return TokenizedText(0, "org/bert", text, tokens, STATS, unknown_id=100)


def test_ascii_says_the_same() -> None:
    rows = token_table(_text(), Terminal(100, unicode=False), count=1).splitlines()
    assert rows[4] == "1  7861  em                    em                            0-2    0-2     0"
    assert rows[5] == r"2   100  [UNK]                 [UNK]<-\u{5e9}\u{5de}         3-5    3-9     1  unknown"
    assert rows[6].startswith(r"3   175  \u{f0}\u{141}\u{133}  \u{1f44d}<F0 9F 91> ")


@pytest.mark.parametrize(
    ("width", "heading"),
    [
        (70, "#    id  token  text          characters  bytes  word"),
        (50, "#    id  token  text          characters  word"),
        (45, "#    id  token  text          characters"),
        (30, "#    id  token  text"),
        (18, "#    id  to…  text"),
    ],
)
def test_what_says_least_goes_first(width: int, heading: str) -> None:
    rows = token_table(_text(), Terminal(width)).splitlines()
    assert rows[2].removesuffix("  note") == heading


def test_long_tokens_share_the_width() -> None:
    tokens = (Token(0, 1, "#" + "=" * 70, "=" * 70, 0, 70, 0, 70, 0), Token(1, 2, "x", "x", 70, 71, 70, 71, 0))
    rows = token_table(_text(tokens, "=" * 70 + "x"), Terminal(60)).splitlines()
    assert rows[3] == "0   1  #===========…  ============…        0–70   0–70     0"
    assert rows[4] == "1   2  x              x                   70–71  70–71     0"


def test_words_of_many_tokens_are_named_and_bold() -> None:
    text = TokenizedText(0, "org/bert", "its embeddings", EMBEDDINGS, STATS)
    assert token_table(text, Terminal(80)).splitlines()[-1] == "┃ 1 word of more than two tokens: embeddings (3)"
    assert "\x1b[4;30;43mem\x1b[0m" in token_table(text, Terminal(80, ColorDepth.ANSI))


def test_ids_without_a_text() -> None:
    table = token_table(_text((Token(0, 12, "12", "12"),), None), Terminal(80), count=1)
    assert table == (
        "1 token · org/bert\n"
        "\n"
        "#  id  token  text  characters  bytes  word\n"
        "0  12  12     12             ·      ·     ·\n"
    )


@settings(deadline=None)
@given(tokens=TOKENS, text=SOME, width=st.integers(10, 120), unicode=st.booleans())
def test_no_line_is_wider_than_the_terminal(tokens: tuple[Token, ...], text: str, width: int, unicode: bool) -> None:
    table = token_table(_text(tokens, text), Terminal(width, unicode=unicode))
    for line in table.split("\n"):
        assert cell_width(line) <= width
        assert all(character.isprintable() or character in "\u200d\u200e" for character in line)
        assert unicode or line.isascii()
