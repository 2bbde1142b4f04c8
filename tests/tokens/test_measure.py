"""The counts and ratios of tokens, on values that were counted by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import attncli
from attncli.models.tokenizer import wrap_tokenizer
from attncli.results.tokenize import TokenStats
from attncli.results.tokens import Token
from attncli.tokens.encode import EncodedText, encode, from_ids
from attncli.tokens.measure import measure, total
from tests.tokens import vocabularies as made


def test_one_text() -> None:
    # "the moles" and an unknown: the | mole | s | ?, in 3 words, 11 characters, 14 bytes.
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
        words=3,
        characters=11,
        bytes=14,
        bytes_per_token=3.5,
        characters_per_token=2.75,
        fertility=4 / 3,
        continued_words=1,
        continued_words_share=1 / 3,
        unknown=1,
        unknown_share=0.25,
    )


def test_the_mole_triple() -> None:
    texts = ["American shrew mole", "One mole of carbon dioxide", "Take a biopsy of the mole"]
    stats = total(text.stats for text in attncli.tokenize(texts).texts)
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
    assert (stats.words, stats.fertility, stats.continued_words_share, stats.bytes_per_token) == (0, None, None, 0.0)


def test_nothing_has_no_ratios() -> None:
    assert total([]).bytes_per_token is None


@given(st.lists(st.text("the mole,👍 \n", max_size=30), max_size=4))
def test_sums_of_counts(texts: list[str]) -> None:
    tokenizer = wrap_tokenizer(made.word_piece())
    each = [measure(encode(tokenizer, text), [text], unknown_id=1) for text in texts]
    whole = total(each)
    for name in ("tokens", "special_tokens", "words", "characters", "bytes", "continued_words", "unknown"):
        assert getattr(whole, name) == sum(getattr(stats, name) for stats in each)
    assert whole.words == len(" ".join(texts).split())
    assert whole.continued_words <= min(whole.words, whole.tokens)
