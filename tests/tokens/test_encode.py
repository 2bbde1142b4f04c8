"""The offsets of tokens in characters, UTF-8 bytes and words, for every kind of tokenizer."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from attncli.errors import UsageError
from attncli.models.tokenizers.tokenizer_loader import wrap_tokenizer
from attncli.models.tokenizers.types import Tokenizer
from attncli.results.tokens import Token
from attncli.tokens.encode import EncodedText, encode, from_ids
from attncli.tokens.explain import explain
from attncli.tokens.spans import WordSpans
from tests.tokens import vocabularies as made
from tests.tokens.test_places import WithoutOffsets

SAMPLES = st.sampled_from(
    [*"aeémole ßÉ日語ъ👍\u0301\u200d\ufe0fﬁ…\n\t\u3000١", "mole", " the ", "👩‍👩‍👧", "🇩🇪", "x\u0323\u0307"]
)
TEXT = st.lists(SAMPLES | st.characters(codec="utf-8"), min_size=1, max_size=25).map("".join)


@cache
def tokenizer(kind: str) -> Tokenizer:
    return wrap_tokenizer(made.KINDS[kind]())


def _own(encoded: EncodedText) -> list[Token]:
    return [token for token, own in zip(encoded.tokens, encoded.sequences, strict=True) if own == 0]


def _words(tokens: list[Token]) -> list[tuple[str, int | None]]:
    return [(token.text, token.word) for token in tokens]


@given(text=TEXT)
def test_tokens_of_bytes_tile_the_text(text: str) -> None:
    untrimmed = wrap_tokenizer(made.byte_bpe(trim=False))
    encoded = encode(untrimmed, text, special=False)
    pieces = untrimmed.describe([token.id for token in encoded.tokens])
    if any(piece.special for piece in pieces):
        return
    place = 0
    for token, piece in zip(encoded.tokens, pieces, strict=True):
        assert (token.byte_start, token.byte_end) == (place, place + len(piece.data))
        assert text.encode()[place : token.byte_end] == piece.data
        place = token.byte_end
    assert place == len(text.encode())


def test_a_character_that_is_cut() -> None:
    encoded = encode(wrap_tokenizer(made.byte_bpe()), "e👍 É")
    assert [(token.text, token.start, token.end, token.byte_start, token.byte_end) for token in encoded.tokens] == [
        ("e", 0, 1, 0, 1),
        (r"\xf0", 1, 2, 1, 2),
        (r"\x9f", 1, 2, 2, 3),
        (r"\x91", 1, 2, 3, 4),
        (r"\x8d", 1, 2, 4, 5),
        # The offsets that its file asks for leave the space out.
        (" ", 3, 3, 6, 6),
        (r"\xc3", 3, 4, 6, 7),
        (r"\x89", 3, 4, 7, 8),
    ]


def test_a_cut_character_that_a_normaliser_changed_stays_whole() -> None:
    backend = made.byte_bpe(trim=False)
    backend.normalizer = normalizers.NFC()
    encoded = encode(wrap_tokenizer(backend), "xo\u0308y")
    assert [(token.text, token.start, token.end, token.byte_start, token.byte_end) for token in encoded.tokens] == [
        ("x", 0, 1, 0, 1),
        (r"\xc3", 1, 3, 1, 4),
        (r"\xb6", 1, 3, 1, 4),
        ("y", 3, 4, 4, 5),
    ]


def by_character(normalizer: normalizers.Normalizer) -> Tokenizer:
    """A tokenizer that drops nothing: after the normaliser, every character is a token, known or not."""
    letters = {letter: number for number, letter in enumerate(["[UNK]", *"abcdef ", "\u00e9", "\ud55c", "\uae00", "x"])}
    backend = Backend(models.BPE(letters, [], unk_token="[UNK]"))
    backend.normalizer = normalizer
    return wrap_tokenizer(backend)


REMOVE_ACCENTS = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])

#: By case: the normaliser, the text, and the characters and bytes of each token.
COMPOSED = {
    "NFC": (normalizers.NFC(), "cafe\u0301", ["c", "a", "f", "e\u0301"], [(0, 1), (1, 2), (2, 3), (3, 6)]),
    "jamo": (
        normalizers.NFC(),
        "\u1112\u1161\u11ab\u1100\u1173\u11af",
        ["\u1112\u1161\u11ab", "\u1100\u1173\u11af"],
        [(0, 9), (9, 18)],
    ),
    "marks out of order": (normalizers.NFC(), "a\u0301\u0323b", ["a\u0301", "\u0323", "b"], None),
    "NFKC": (normalizers.NFKC(), "\ufb01e\u0301", ["\ufb01", "\ufb01", "e\u0301"], [(0, 3), (0, 3), (3, 6)]),
    "accents removed": (REMOVE_ACCENTS, "\u00e9e\u0301a", ["\u00e9", "e\u0301", "a"], [(0, 2), (2, 5), (5, 6)]),
    "BERT": (normalizers.BertNormalizer(), "\u00c9E\u0301a", ["\u00c9", "E\u0301", "a"], [(0, 2), (2, 5), (5, 6)]),
    "lower case is longer": (normalizers.Lowercase(), "\u0130a", ["\u0130", "\u0130", "a"], [(0, 2), (0, 2), (2, 3)]),
    "several by one": (normalizers.Replace("abc", "x"), "dabce", ["d", "abc", "e"], [(0, 1), (1, 4), (4, 5)]),
    "one by several": (normalizers.Replace("b", "xx"), "abc", ["a", "b", "b", "c"], [(0, 1), (1, 2), (1, 2), (2, 3)]),
    "a run by one": (normalizers.Replace(Regex(" {2,}"), " "), "a   b", ["a", "   ", "b"], [(0, 1), (1, 4), (4, 5)]),
    "put before": (normalizers.Sequence([normalizers.Prepend("x"), normalizers.NFC()]), "ab", ["a", "a", "b"], None),
    "control characters": (normalizers.BertNormalizer(), "a\x00b", ["a", "b"], [(0, 1), (2, 3)]),
    "ends": (normalizers.Sequence([normalizers.Strip(), normalizers.NFC()]), " a ", ["a"], [(1, 2)]),
}


@pytest.mark.parametrize("case", COMPOSED)
def test_what_a_normaliser_composes_belongs_to_its_token(case: str) -> None:
    normalizer, text, parts, in_bytes = COMPOSED[case]
    tokens = encode(by_character(normalizer), text).tokens
    assert [text[token.start : token.end] for token in tokens] == parts
    assert in_bytes is None or [(token.byte_start, token.byte_end) for token in tokens] == in_bytes


@pytest.mark.parametrize(
    "normalizer",
    [
        None,
        normalizers.NFC(),
        normalizers.NFKC(),
        normalizers.NFKD(),
        normalizers.Lowercase(),
        normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Prepend("x")]),
        normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex("[ \u3000]{2,}"), " ")]),
        normalizers.Replace("mole", "x"),
    ],
    ids=str,
)
@given(text=st.lists(SAMPLES | st.sampled_from("\u1112\u1161\u11ab\u1100 "), max_size=20).map("".join))
def test_no_character_is_lost_where_the_tokenizer_drops_none(normalizer, text: str) -> None:
    tokens = encode(by_character(normalizer), text).tokens
    for start, end in ("start", "end"), ("byte_start", "byte_end"):
        covered = {place for token in tokens for place in range(getattr(token, start), getattr(token, end))}
        assert covered == set(range(len(text) if start == "start" else len(text.encode())))


def test_pre_tokens_hold_what_was_composed() -> None:
    backend = made.byte_bpe(trim=False)
    backend.normalizer = normalizers.NFC()
    (first, second) = explain(wrap_tokenizer(backend), "cafe\u0301 the").pre_tokens
    assert (first.text, first.start, first.end, second.text) == ("cafe\u0301", 0, 5, " the")


def test_a_space_put_before_the_text_has_no_characters_and_no_word() -> None:
    places = [
        (token.token, token.start, token.end, token.byte_start, token.byte_end, token.word)
        for token in encode(tokenizer("byte_fallback"), "é mole", special=False).tokens
    ]
    assert places[:3] == [("▁", 0, 0, 0, 0, None), ("<0xC3>", 0, 1, 0, 1, 0), ("<0xA9>", 0, 1, 1, 2, 0)]
    # One that stands for a space has it, and one that stands for itself too.
    (space, *_) = encode(tokenizer("byte_fallback"), " b", special=False).tokens
    (itself,) = encode(tokenizer("byte_fallback"), "▁", special=False).tokens
    assert (itself.start, itself.end, itself.byte_end) == (0, 1, 3)
    assert (space.start, space.end) == (0, 1)


def test_offsets_are_those_of_the_original_text() -> None:
    encoded = encode(tokenizer("word_piece"), "The MÖLÉ dug")
    spans = [("The MÖLÉ dug"[token.start : token.end], token.text) for token in _own(encoded)]
    assert "".join(source for source, _ in spans) == "TheMÖLÉdug"
    assert "".join(text for _, text in spans) == "themoledug"


def test_words_are_runs_of_non_space() -> None:
    encoded = encode(wrap_tokenizer(made.byte_bpe()), "the  mole, dug")
    assert _words(list(encoded.tokens)) == [
        ("the", 0),
        (" ", None),
        (" mole", 1),
        (",", 1),
        (" dug", 2),
    ]


def test_a_token_of_several_words_is_of_the_first() -> None:
    backend = Backend(models.WordLevel({"a b": 0, "[UNK]": 1}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split(",", "removed")
    encoded = encode(wrap_tokenizer(backend), " a b,")
    assert _words(list(encoded.tokens)) == [("[UNK]", 0)]


def test_a_place_without_characters_is_in_no_word() -> None:
    words = WordSpans(" the mole")
    assert [words.at(span) for span in ((0, 1), (0, 2), (2, 2), (3, 6), (4, 5), (9, 9))] == [
        None,
        0,
        None,
        0,
        None,
        None,
    ]


def test_a_pair_has_places_of_its_own() -> None:
    encoded = encode(tokenizer("word_piece"), "the mole", pair="mole")
    assert [(token.text, token.start, token.word, token.special) for token in encoded.tokens] == [
        ("[CLS]", None, None, True),
        ("the", 0, 0, False),
        ("mole", 4, 1, False),
        ("[SEP]", None, None, True),
        ("mole", 0, 0, False),
        ("[SEP]", None, None, True),
    ]
    assert encoded.segments == (0, 0, 0, 0, 1, 1)
    assert encoded.sequences == (None, 0, 0, None, 1, None)


def test_a_special_token_that_was_typed_has_a_place() -> None:
    token = encode(tokenizer("word_piece"), "the [SEP]", special=False).tokens[-1]
    assert (token.text, token.start, token.end, token.special) == ("[SEP]", 4, 9, True)


@pytest.mark.parametrize(
    ("kind", "raw", "text"),
    [
        ("word_piece", ["[CLS]", "the", "mole", "##s", "[SEP]"], ["[CLS]", "the", "mole", "s", "[SEP]"]),
        ("byte_fallback", ["<s>", "▁the", "▁mole", "s"], ["<s>", " the", " mole", "s"]),
        ("byte_bpe", ["the", "Ġmole", "s"], ["the", " mole", "s"]),
    ],
)
def test_raw_form_and_what_a_reader_sees(kind: str, raw: list[str], text: list[str]) -> None:
    tokens = encode(tokenizer(kind), "the moles").tokens
    assert ([token.token for token in tokens], [token.text for token in tokens]) == (raw, text)
    assert [token.index for token in tokens] == list(range(len(raw)))


@pytest.mark.parametrize("pair", [None, "\ud83d"])
def test_half_a_character_is_refused(pair: str | None) -> None:
    text = "ab\udc4d" if pair is None else "ab"
    with pytest.raises(UsageError, match=r"surrogate U\+D83D\) at position 0|surrogate U\+DC4D\) at position 2"):
        encode(tokenizer("word_level"), text, pair=pair)


# Ids that came without a text


def test_ids_are_looked_up() -> None:
    encoded = from_ids(tokenizer("word_piece"), [2, 1, 3])
    assert [(token.id, token.text, token.special, token.start, token.word) for token in encoded.tokens] == [
        (2, "[CLS]", True, None, None),
        (1, "[UNK]", False, None, None),
        (3, "[SEP]", True, None, None),
    ]
    assert (encoded.segments, encoded.sequences) == ((0, 0, 0), (None, None, None))


def test_ids_without_a_tokenizer_are_numbers() -> None:
    assert from_ids(None, [7, 10**9]).tokens == (Token(0, 7, "7", "7"), Token(1, 10**9, str(10**9), str(10**9)))


@pytest.mark.parametrize("bad", [-1, 10**5, 2**40])
def test_ids_outside_the_vocabulary_are_refused(bad: int) -> None:
    words = tokenizer("word_level")
    with pytest.raises(UsageError, match=str(bad)) as caught:
        from_ids(words, [0, bad])
    assert bad < 0 or f"0 to {words.vocabulary_size - 1}" in caught.value.hint


# Tokenizers that keep no record of places


@pytest.mark.parametrize("kind", ["word_piece", "word_level", "byte_bpe"])
@pytest.mark.parametrize(
    "text", ["The moles  dug a tunnel", " élan, ÜBER die Straße\n", "the 👍 mole 日本 dug e\u0301"]
)
def test_places_are_found_again(kind: str, text: str) -> None:
    backend = made.byte_bpe(trim=False) if kind == "byte_bpe" else made.KINDS[kind]()
    known, found = encode(wrap_tokenizer(backend), text), encode(WithoutOffsets(wrap_tokenizer(backend)), text)
    for token, expected in zip(found.tokens, known.tokens, strict=True):
        assert token.start is None or (token.start, token.end) == (expected.start, expected.end)
        assert (token.start is None) == (expected.start is None or expected.text == "[UNK]")


def test_a_lost_token_does_not_lose_the_rest() -> None:
    backend = Backend(models.WordLevel({"[UNK]": 0, "mole": 1, "a": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.WordPiece()
    tokens = encode(WithoutOffsets(wrap_tokenizer(backend)), "x mole y a mole").tokens
    assert [token.start for token in tokens] == [None, 2, None, 9, 11]
