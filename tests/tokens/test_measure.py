"""The counts and ratios of a text's tokens, on values counted by hand."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import attncli
from attncli.models.tokenizers.tokenizer_loader import wrap_tokenizer
from attncli.results.tokenize import SYMBOLS, TokenStats
from attncli.results.tokens import Token
from attncli.tokens.encode import _MAY_BE_UNSPACED, EncodedText, encode, from_ids, measure
from attncli.tokens.scripts import script_of
from tests.tokens import vocabularies as made


def test_one_text() -> None:
    # "the moles" and an unknown: the | mole | s | ?, in 2 words and a symbol, 11 characters, 14 bytes.
    tokens = (
        Token(0, 2, "[CLS]", "[CLS]", special=True),
        Token(1, 10, "the", "the", 0, 3, 0, 3, 0),
        Token(2, 11, "mole", "mole", 4, 8, 4, 8, 1),
        Token(3, 12, "##s", "s", 8, 9, 8, 9, 1),
        Token(4, 1, "[UNK]", "[UNK]", 10, 11, 10, 14, 2),
        Token(5, 3, "[SEP]", "[SEP]", special=True),
    )
    encoded = EncodedText(tokens, (0,) * 6, (None, 0, 0, 0, 0, None))
    assert measure(encoded, ["the moles 👍"], unknown_id=1) == TokenStats(
        tokens=4,
        special_tokens=2,
        words=2,
        characters=11,
        bytes=14,
        bytes_per_token=3.5,
        characters_per_token=2.75,
        fertility=3 / 2,
        continued_words=1,
        continued_words_share=1 / 2,
        unknown=1,
        unknown_share=0.25,
        spaced_tokens=3,
        spaced_words=2,
        unspaced_scripts=("Symbols",),
        unknown_characters=1,
        words_unspaced=1,
    )


def test_the_mole_triple() -> None:
    texts = ["American shrew mole", "One mole of carbon dioxide", "Take a biopsy of the mole"]
    result = attncli.tokenize(texts, stats=True)
    assert result.statistics is not None
    stats = result.statistics[0].total
    assert (stats.tokens, stats.words, stats.bytes, stats.continued_words) == (16, 14, 70, 2)
    assert stats.fertility == pytest.approx(1.1429, abs=5e-5)
    assert stats.bytes_per_token == 4.375


def test_a_typed_special_token_counts() -> None:
    encoded = encode(wrap_tokenizer(made.word_piece()), "the [SEP]")
    stats = measure(encoded, ["the [SEP]"])
    assert (stats.tokens, stats.special_tokens) == (2, 2)


def test_words_of_a_pair_are_its_own() -> None:
    texts = ["moles", "mole"]
    encoded = encode(wrap_tokenizer(made.word_piece()), texts[0], pair=texts[1])
    stats = measure(encoded, texts)
    assert (stats.tokens, stats.words, stats.characters, stats.continued_words) == (3, 2, 9, 1)


def test_ids_have_no_words() -> None:
    stats = measure(from_ids(wrap_tokenizer(made.word_piece()), [2, 1, 3]), unknown_id=1)
    assert (stats.tokens, stats.special_tokens, stats.unknown) == (1, 2, 1)
    assert (stats.words, stats.fertility, stats.continued_words_share, stats.bytes_per_token) == (0, None, None, None)


def test_scripts_without_spaces_have_no_words_to_count_by() -> None:
    tokenizer = wrap_tokenizer(made.byte_bpe())
    for text, spaced in (
        ("日本語の文章です", False),
        ("ไทย", False),
        ("한국어 문장", True),
        ("the 日 mole", True),
        ("ไทย mole", True),
    ):
        stats = measure(encode(tokenizer, text), [text])
        assert ((stats.fertility is None), (stats.continued_words_share is None)) == (not spaced, not spaced)
        assert stats.bytes_per_token is not None


def test_what_fertility_is_of_is_told() -> None:
    tokenizer = wrap_tokenizer(made.byte_bpe())
    stats = measure(encode(tokenizer, text := "the ไทย 日 mole 👍"), [text])
    assert (stats.words, stats.spaced_words, stats.words_unspaced) == (2, 2, 3)
    assert stats.unspaced_scripts == ("Thai", "Han", "Symbols")  # " ไทย" is 4 characters
    assert stats.fertility == stats.spaced_tokens / 2
    plain = measure(encode(tokenizer, "the mole"), ["the mole"])
    assert (plain.spaced_words, plain.spaced_tokens, plain.unspaced_scripts) == (2, plain.tokens, ())


#: By text: its words, other runs of non-space, and words of several tokens.
WORDS = {
    "hello world": (2, 0, 0),
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01 abc \U0001f44d": (1, 2, 0),
    "101. mole, (skin) \u00abmole\u00bb \u201cmole\u201d": (5, 0, 0),
    "... -- mole!!!": (3, 0, 0),
    "mole-skin, biopsy. don't": (3, 0, 3),
    "Python\u5199 \u5199\u5199": (1, 2, 0),
}


@pytest.mark.parametrize("text", WORDS)
def test_words_mean_the_same_in_a_text_and_in_all(text: str) -> None:
    result = attncli.tokenize([text, "biopsy!"], stats=True)
    assert result.statistics is not None
    one, all_ = result.texts[0].stats, result.statistics[0].total
    words, unspaced, continued = WORDS[text]
    assert (one.words, one.words_unspaced, one.continued_words) == (words, unspaced, continued)
    assert (all_.words, all_.words_unspaced, all_.continued_words) == (words + 1, unspaced, continued + 1)
    assert result.statistics[0].most_cut_words[-1].word in ("biopsy", "mole-skin")
    assert one.fertility == one.spaced_tokens / words
    written = result.to_dict()
    assert written["texts"][0]["stats"]["words_unspaced"] == unspaced
    assert written["statistics"][0]["total"]["words_unspaced"] == unspaced


@given(st.lists(st.text("the mole,.-\u5199\u0e2a\U0001f44d \n", min_size=1, max_size=30), min_size=1, max_size=3))
def test_texts_add_up_to_all(texts: list[str]) -> None:
    result = attncli.tokenize(texts, stats=True, tokenizer=made.byte_bpe())
    assert result.statistics is not None
    for name in ("words", "words_unspaced", "continued_words", "tokens", "characters"):
        assert sum(getattr(text.stats, name) for text in result.texts) == getattr(result.statistics[0].total, name)


def test_symbols_are_looked_for_wherever_they_are() -> None:
    # All of them are in the first two planes.
    symbols = [each for each in map(chr, range(0x20000)) if script_of(each) == SYMBOLS]
    assert len(symbols) > 3000
    assert [each for each in symbols if re.match(_MAY_BE_UNSPACED, each) is None] == []


def test_unknown_tokens_flatter_by_the_text_that_they_take() -> None:
    tokenizer = wrap_tokenizer(made.word_piece())
    swallowed = measure(encode(tokenizer, text := "the " + "ж" * 16), [text], unknown_id=1)
    assert (swallowed.unknown, swallowed.unknown_characters, swallowed.has_much_unknown) == (1, 16, True)
    one_of_many = measure(encode(tokenizer, text := "the mole " * 3 + "жж"), [text], unknown_id=1)
    assert (one_of_many.unknown_characters, one_of_many.has_much_unknown) == (2, False)


@given(st.text("the mole,👍 \n", max_size=60))
def test_counts(text: str) -> None:
    stats = measure(encode(wrap_tokenizer(made.word_piece()), text), [text], unknown_id=1)
    assert stats.words == stats.spaced_words <= stats.words + stats.words_unspaced
    assert len(text.split()) <= stats.words + stats.words_unspaced
    assert stats.continued_words <= min(stats.spaced_words, stats.tokens)
    assert (stats.fertility is None) == (not stats.spaced_words)
