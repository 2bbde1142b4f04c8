"""The picture of `attn tokenize`: rows, cut characters, narrow terminals, and any tokens at all."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.stream import tokenize_text
from attncli.render.tokenize.picture import statistics_phrases, text_picture
from attncli.results.base import MadeBy
from attncli.results.tokenize import TokenizedText, TokenizeResult, TokenStats
from attncli.results.tokens import Token

STATS = TokenStats(6, 2, 5, 23, 24, 4.0, 23 / 6, 1.2, 1, 0.2, 1, 1 / 6)

TAKE = (
    Token(0, 101, "[CLS]", "[CLS]", special=True),
    Token(1, 2202, "take", "take", 0, 4, 0, 4, 0),
    Token(2, 1037, "a", "a", 5, 6, 5, 6, 1),
    Token(3, 16012, "bio", "bio", 7, 10, 7, 10, 2),
    Token(4, 18075, "##psy", "psy", 10, 13, 10, 13, 2),
    Token(5, 102, "[SEP]", "[SEP]", special=True),
)


EMBEDDINGS = (
    Token(0, 2049, "its", "its", 0, 3, 0, 3, 0),
    Token(1, 7861, "em", "em", 4, 6, 4, 6, 1),
    Token(2, 8270, "##bed", "bed", 6, 9, 6, 9, 1),
    Token(3, 4667, "##dings", "dings", 9, 14, 9, 14, 1),
)


def _result(*texts: TokenizedText) -> TokenizeResult:
    return TokenizeResult(texts, MadeBy("0.1.0"))


def _text(tokens: tuple[Token, ...], text: str | None = "", record: int = 0, model: str = "org/bert") -> TokenizedText:
    return TokenizedText(record, model, text, tokens, STATS)


def _bytes(*cut: tuple[str, str], first: int = 0) -> tuple[Token, ...]:
    """Tokens of one character, by raw form and text."""
    return tuple(Token(i, 50 + i, raw, text, 0, 1, i, i + 1, 0) for i, (raw, text) in enumerate(cut, start=first))


def test_rows_wrap_between_tokens_and_a_bar_carries_a_word_over() -> None:
    assert tokenize_text(_result(_text(TAKE)), Terminal(26)) == (
        "6 tokens (2 special*) · o…\n"
        "\n"
        "[CLS]*  take  a     bio\n"
        "101     2202  1037  16012\n"
        "\n"
        "│psy    [SEP]*\n"
        "│18075  102\n"
        "\n"
        "5 words · fertility 1.20\n"
        "1 continued\n"
        "4.00 bytes/token\n"
        "1 unknown\n"
    )


@pytest.mark.parametrize(("width", "rows"), [(10, ["take  a"]), (9, ["take", "a"])])
def test_a_row_is_filled_to_the_last_cell(width: int, rows: list[str]) -> None:
    picture = tokenize_text(_result(_text(TAKE[1:3], text=None)), Terminal(width))
    assert picture.splitlines()[2::3] == rows


def test_a_second_text_begins_no_word_of_the_first() -> None:
    pair = (Token(0, 1, "hi", "hi", 0, 2, 0, 2, 0), Token(1, 2, "x", "x", 0, 1, 0, 1, 0))
    assert tokenize_text(_result(_text(pair, text=None)), Terminal(80)).splitlines()[2] == "hi  x"


def test_several_texts_and_models() -> None:
    hello = (Token(0, 7, "Ġhi", " hi", 0, 3, 0, 3, 0),)
    stats = TokenStats(1, 0, 1, 3, 3, 3.0, 3.0, 1.0, 0, 0.0, 0, 0.0)
    texts = [TokenizedText(record, model, " hi", hello, stats) for model in ("a", "b\x1b") for record in (0, 1)]
    block = "\n␣hi\n7\n\n1 word · fertility 1.00 · 3.00 bytes/token\n"
    assert tokenize_text(_result(*texts), Terminal(80)) == "\n".join(
        f"1 token · text {record} of 2 · {model}\n{block}" for model in ("a", r"b\x1b") for record in (1, 2)
    )


@pytest.mark.parametrize(
    ("terminal", "drawn"),
    [
        (Terminal(80), "x   👍⟨F0 9F⟩┃⟨91⟩┃⟨8D⟩"),
        (Terminal(80, unicode=False), r"x   \u{1f44d}<F0 9F>||<91>||<8D>"),
    ],
)
def test_a_cut_character_is_drawn_once_with_its_bytes(terminal: Terminal, drawn: str) -> None:
    cut = _bytes(("ðŁ", r"\xf0\x9f"), ("ĳ", r"\x91"), ("į", r"\x8d"), first=1)
    picture = tokenize_text(_result(_text((Token(0, 49, "x", "x"), *cut), text="👍")), terminal)
    assert picture.splitlines()[2] == drawn


@pytest.mark.parametrize("character", ["\u200d", "\U0001f3fd", "\u200b"])
def test_of_a_cut_character_that_shows_nothing_there_are_the_bytes(character: str) -> None:
    first, *others = character.encode("utf-8")
    cut = _bytes(("ð", f"\\x{first:02x}"), ("ĳ", "".join(f"\\x{byte:02x}" for byte in others)), first=1)
    picture = tokenize_text(_result(_text((Token(0, 49, "x", "x"), *cut), text=character)), Terminal(80))
    rest = " ".join(f"{byte:02X}" for byte in others)
    assert picture.splitlines()[2] == f"x   ⟨{first:02X}⟩│⟨{rest}⟩"


@pytest.mark.parametrize(
    ("changes", "phrases"),
    [
        ({}, ["5 words", "fertility 1.20"]),
        (
            {"spaced_tokens": 5, "spaced_words": 4, "unspaced_scripts": ("Thai", "Tai_Le", "Symbols")},
            ["5 words", "fertility 1.20 (5 tokens for 4 words, without Thai, Tai Le and symbols)"],
        ),
        (
            {"fertility": None, "unspaced_scripts": ("Thai", "Symbols"), "words": 1},
            ["1 word", "no fertility: no spaces between words in Thai"],
        ),
        (
            {"fertility": None, "unspaced_scripts": ("Symbols",), "words": 1},
            ["1 word", "no fertility: symbols are not words"],
        ),
        ({"fertility": None, "words": 0}, ["0 words"]),
    ],
)
def test_fertility_says_of_which_words_it_is(changes: dict[str, object], phrases: list[str]) -> None:
    assert list(statistics_phrases(STATS._replace(**changes)))[:-3] == phrases  # type: ignore[arg-type]


def test_unknown_tokens_say_that_they_flatter() -> None:
    assert list(statistics_phrases(STATS._replace(unknown_characters=2)))[-1] == "1 unknown"
    *_, phrase = statistics_phrases(STATS._replace(unknown_characters=23))
    assert phrase == "1 unknown for 100% of the text, so the other figures look too good"


def test_what_is_whole_stays_whole_beside_a_cut_character() -> None:
    cut = _bytes(("eÌģÃ", "e\u0301\\xc3"), ("©Ġb", r"\xa9 b"))
    assert tokenize_text(_result(_text(cut)), Terminal(80)).splitlines()[2] == "e\u0301é⟨C3⟩│⟨A9⟩␣b"


def test_bytes_that_make_no_character_stay_bytes() -> None:
    cut = _bytes(("<0xF0>", r"\xf0"), ("<0x41>", "A"))
    assert tokenize_text(_result(_text(cut)), Terminal(80)).splitlines()[2] == r"\xf0│A"


def test_a_backslash_that_was_written_is_no_byte() -> None:
    written = _bytes(("\\xf0", "\\xf0"), ("\\x9f", "\\x9f"), ("\\x91\\x8d", "\\x91\\x8d"))
    assert tokenize_text(_result(_text(written, "x")), Terminal(80)).splitlines()[2] == r"\xf0┃\x9f┃\x91\x8d"


def test_a_word_of_more_than_two_tokens_is_noticeable_in_ascii_and_in_colour() -> None:
    text = _text(EMBEDDINGS, text="its embeddings")
    plain = text_picture(text, Terminal(80, unicode=False), count=1).splitlines()
    assert plain[2] == "its   em  ||bed ||dings"
    assert plain[-1] == "|| 1 word of more than two tokens: embeddings (3)"
    coloured = text_picture(text, Terminal(80, ColorDepth.ANSI), count=1).splitlines()
    assert coloured[2].startswith("\x1b[30;46mits \x1b[0m  \x1b[4;30;43mem  \x1b[0m┃")
    assert coloured[3].startswith("\x1b[30;46m2049\x1b[0m  \x1b[30;43m7861\x1b[0m┃")


def test_the_words_in_the_most_tokens_are_named_once_each() -> None:
    text = "abc abcdef abc abcd abcde abcdefg abcdefgh"
    words = [(place, text[:place].count(" ")) for place, character in enumerate(text) if character != " "]
    tokens = tuple(Token(i, 1, text[p], text[p], p, p + 1, p, p + 1, word) for i, (p, word) in enumerate(words))
    assert text_picture(_text(tokens, text=text), Terminal(70), count=1).splitlines()[-2:] == [
        "┃ 7 words of more than two tokens: abcdefgh (8), abcdefg (7),",
        "  abcdef (6), abcde (5), abcd (4), and 1 more",
    ]


def test_a_phrase_in_a_script_without_spaces_is_no_long_word() -> None:
    tokens = tuple(Token(i, i, c, c, i, i + 1, 3 * i, 3 * i + 3, 0) for i, c in enumerate("日本語"))
    picture = text_picture(_text(tokens, text="日本語"), Terminal(80), count=1)
    assert picture.splitlines()[2] == "日│本│語"
    assert "more than two" not in picture


def test_an_unknown_token_shows_what_it_stands_for() -> None:
    tokens = (Token(0, 7, "hi", "hi", 0, 2, 0, 2, 0), Token(1, 100, "[UNK]", "[UNK]", 3, 4, 3, 7, 1))
    text = _text(tokens, text="Hi 👍")._replace(unknown_id=100)
    assert text_picture(text, Terminal(80), count=1).splitlines()[2] == "hi  [UNK]←👍"
    ascii_only = text_picture(text, Terminal(80, unicode=False), count=1)
    assert ascii_only.splitlines()[2] == r"hi  [UNK]<-\u{1f44d}"


def test_rows_end_where_lines_of_the_text_do() -> None:
    left_out = (Token(0, 5, "a", "a", 0, 1, 0, 1, 0), Token(1, 6, "b", "b", 3, 4, 3, 4, 1))
    assert text_picture(_text(left_out, text="a\n b"), Terminal(80)).splitlines()[2:6] == ["a", "5", "", "b"]
    kept = (
        Token(0, 5, "a", "a", 0, 1, 0, 1, 0),
        Token(1, 9, "Ċ", "\n", 1, 2, 1, 2),
        Token(2, 9, "Ċ", "\n", 2, 3, 2, 3),
        Token(3, 6, "b", "b", 3, 4, 3, 4, 1),
    )
    assert text_picture(_text(kept, text="a\n\nb"), Terminal(80)).splitlines()[2:6] == ["a  ⏎  ⏎", "5  9  9", "", "b"]


@pytest.mark.parametrize(("count", "place"), [(None, " · text 7"), (12, " · text 7 of 12"), (1, "")])
def test_the_place_of_a_text(count: int | None, place: str) -> None:
    text = _text(TAKE[1:2], record=6)
    assert text_picture(text, Terminal(80), count=count).splitlines()[0] == f"1 token{place} · org/bert"


@pytest.mark.parametrize("depth", [ColorDepth.ANSI, ColorDepth.EIGHT_BIT, ColorDepth.TRUE])
def test_neighbours_differ_in_every_depth(depth: ColorDepth) -> None:
    take, a = tokenize_text(_result(_text(TAKE[1:3])), Terminal(80, depth)).splitlines()[2].split("  ")[:2]
    assert take.partition("m")[0] != a.partition("m")[0]


SOME = st.text(st.characters(categories=None) | st.sampled_from("a日👍\u0301\u200d\ufe0f\n \x1b❤🇩שع"), max_size=14)
PLACES = st.none() | st.integers(0, 5)
TOKENS = st.lists(
    st.builds(
        lambda token, text, id_, start, special: Token(0, id_, token, text, start, start, start, start, start, special),
        st.sampled_from(["ðŁ", "x\\", "▁"]) | SOME,
        st.sampled_from([r"\xf0\x9f", r"\x91\x8d", r"a\xc3", r"\xa9b"]) | SOME | st.text("=", max_size=200),
        st.integers(0, 10**30),
        PLACES,
        st.booleans(),
    ),
    max_size=12,
).map(tuple)


@settings(deadline=None)
@given(tokens=TOKENS, text=SOME, model=SOME, width=st.integers(10, 120), unicode=st.booleans(), texts=st.integers(1, 2))
def test_no_line_is_wider_than_the_terminal(
    tokens: tuple[Token, ...], text: str, model: str, width: int, unicode: bool, texts: int
) -> None:
    result = _result(*(_text(tokens, text=text, record=record, model=model) for record in range(texts)))
    picture = tokenize_text(result, Terminal(width, unicode=unicode))
    assert picture.endswith("\n")
    for line in picture.split("\n"):
        assert cell_width(line) <= width
        assert all(character.isprintable() or character in "\u200d\u200e" for character in line)
        assert unicode or line.isascii()


def test_plain_pictures_need_no_rich() -> None:
    script = """if True:
        import sys
        from attncli.render.common.terminal import Terminal
        from attncli.render.stream import tokenize_text
        from attncli.results.base import MadeBy
        from attncli.results.tokenize import TokenizedText, TokenizeResult, TokenStats
        from attncli.results.tokenize import Token
        tokens = (Token(0, 1, "a", "a", 0, 1, 0, 1, 0), Token(1, 2, "##b", "b", 1, 2, 1, 2, 0))
        stats = TokenStats(2, 0, 1, 2, 2, 1.0, 1.0, 2.0, 1, 1.0, 0, 0.0)
        result = TokenizeResult((TokenizedText(0, "m", "ab", tokens, stats),), MadeBy("0"))
        tokenize_text(result, Terminal(80, unicode=False))
        print(*sorted({"rich", "numpy", "torch"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
