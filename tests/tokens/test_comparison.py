"""Comparing several tokenizers on one text, on values counted by hand and on every kind of tokenizer."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

import attncli
from attncli.errors import UsageError
from attncli.results.comparison import Comparison
from attncli.results.tokenize import Source, TokenizedText, TokenStats
from attncli.results.tokens import Token
from attncli.tokens.tokenizer_comparison import compare_tokenizations, failures
from tests.tokens.vocabularies import KINDS, TEXTS, byte_bpe, word_level, word_piece

EVERY = {name: kind() for name, kind in KINDS.items()} | {"llama": byte_bpe(bos=True, trim=False)}


def _cut(text: str, name: str, tokenizer: Tokenizer | None = None, pair: str | None = None) -> TokenizedText:
    given_ = EVERY[name] if tokenizer is None else tokenizer
    return attncli.tokenize(text, pair=pair, tokenizer=given_).texts[0]._replace(model=name)


def _tokenized(model: str, text: str, *spans: tuple[int, int] | None, first_id: int = 10) -> TokenizedText:
    """A text in tokens that stand at the places given; None is a token whose place is not known."""
    tokens = [
        Token(i, first_id + i, "?", "?")
        if span is None
        else Token(i, first_id + i, text[slice(*span)], text[slice(*span)], *span, *span)
        for i, span in enumerate(spans)
    ]
    stats = TokenStats(len(spans), 0, 1, len(text), len(text), 1.0, 1.0, 1.0, 0, 0.0, 0, 0.0)
    return TokenizedText(0, model, text, tuple(tokens), stats)


def _segments(comparison: Comparison) -> list[tuple[str, tuple[tuple[int, int], ...]]]:
    return [(segment.text, segment.tokens) for segment in comparison.segments]


def test_cuts_in_common_part_the_text() -> None:
    one = _tokenized("one", "moles dig", (0, 4), (4, 5), (6, 9))
    other = _tokenized("other", "moles dig", (0, 2), (2, 5), (5, 9), first_id=20)
    found = compare_tokenizations([one, other])
    assert _segments(found) == [("moles", ((0, 2), (0, 2))), (" dig", ((2, 3), (2, 3)))]
    assert [segment.same_cuts for segment in found.segments] == [(True, False), (True, True)]
    assert [segment.same_ids for segment in found.segments] == [(True, False), (True, False)]
    # Inside the text one is cut at 4 and 5, the other at 2 and 5.
    assert found.agreement == ((1.0, 1 / 3), (1 / 3, 1.0))
    [difference] = found.differences
    assert [[token.text for token in tokens] for tokens in difference.pieces] == [["mole", "s"], ["mo", "les"]]


def test_a_space_put_before_the_text_is_no_cut() -> None:
    bare, prefixed = _tokenized("bare", "moles", (0, 5)), _tokenized("prefixed", "moles", (0, 0), (0, 5))
    found = compare_tokenizations([bare, prefixed])
    assert (found.differences, found.same, found.agreement[0][1]) == ((), False, 1.0)
    assert failures(found)[0].startswith("prefixed splits the text as bare does but gives other ids")


def test_parity_counts_tokens_without_special_ones() -> None:
    found = compare_tokenizations([_cut("the mole dug", "word_piece"), _cut("the mole dug", "byte_bpe")])
    assert found.parity == ((1.0, 1.0), (1.0, 1.0))
    found = compare_tokenizations([_tokenized("one", "moles", (0, 5)), _tokenized("other", "moles", (0, 4), (4, 5))])
    assert found.parity == ((1.0, 0.5), (2.0, 1.0))
    empty = _tokenized("none", "moles")
    assert compare_tokenizations([_tokenized("one", "moles", (0, 5)), empty]).parity[0][1] is None


def test_space_within_a_token_or_left_out_is_no_difference() -> None:
    found = compare_tokenizations([_cut("the mole dug", name) for name in ("word_piece", "byte_bpe", "llama")])
    texts = [(segment.text, segment.added, segment.same_cuts) for segment in found.segments]
    alike = (True, True, True)
    assert texts == [
        ("", True, alike),
        ("the", False, alike),
        (" mole", False, alike),
        (" dug", False, alike),
        ("", True, alike),
    ]
    assert found.segments[0].tokens == ((0, 1), (0, 0), (0, 1))
    assert found.segments[-1].tokens == ((4, 5), (3, 3), (4, 4))


def test_space_that_one_model_has_a_token_for() -> None:
    found = compare_tokenizations([_cut("the \nmole ", name) for name in ("word_piece", "byte_bpe")])
    assert [segment.text for segment in found.segments] == ["", "the", " \nmole", " ", ""]
    assert [segment.text for segment in found.segments if segment.differs] == [" \nmole", " "]
    assert found.segments[3].tokens == ((3, 3), (5, 6))


def test_cuts_within_a_character_begin_no_segment_but_are_compared() -> None:
    text = "a👍b"
    stats = TokenStats(3, 0, 1, 3, 6, 2.0, 1.0, 3.0, 1, 1.0, 0, 0.0)

    def cut(*ends: int) -> TokenizedText:
        starts = (0, *ends)[:-1]
        places = {0: 0, 1: 1, 5: 2, 6: 3}
        spans = [(places.get(s, 1), places.get(e, 2), s, e) for s, e in zip(starts, ends, strict=True)]
        return TokenizedText(0, "m", text, tuple(Token(i, i, "", "", *span) for i, span in enumerate(spans)), stats)

    found = compare_tokenizations([cut(1, 4, 5, 6), cut(1, 4, 5, 6), cut(1, 3, 5, 6)])
    assert [segment.text for segment in found.segments] == ["a", "👍", "b"]
    assert found.segments[1].tokens == ((1, 3), (1, 3), (1, 3))
    assert found.segments[1].same_cuts == (True, True, False)
    assert (found.segments[1].byte_start, found.segments[1].byte_end) == (1, 5)
    assert [segment.text for segment in compare_tokenizations([cut(1, 4, 5, 6)] * 2).segments] == ["a", "👍", "b"]
    assert found.agreement[0] == (1.0, 1.0, 0.5)  # 1, 4, 5 against 1, 3, 5


def test_an_accent_that_was_taken_off_belongs_to_its_letter() -> None:
    found = compare_tokenizations([_cut("e\u0301 e\u0301", "word_piece"), _cut("e\u0301 e\u0301", "llama")])
    assert [segment.text for segment in found.segments if not segment.added] == ["e\u0301", " e\u0301"]
    assert found.agreement[0][1] == 1 / 6  # byte 3 against 1 to 6, of e, its accent, the space, and again


def test_tokens_without_a_place_go_with_what_follows() -> None:
    lost = _tokenized("lost", "a mole dug", (0, 1), None, (7, 10))
    found = compare_tokenizations([lost, _tokenized("one", "a mole dug", (0, 1), (2, 6), (7, 10))])
    assert _segments(found) == [("a", ((0, 1), (0, 1))), (" mole dug", ((1, 3), (1, 3)))]
    last = compare_tokenizations(
        [_tokenized("lost", "a mole", (0, 1), None), _tokenized("one", "a mole", (0, 1), (2, 6))]
    )
    assert _segments(last) == [("a", ((0, 1), (0, 1))), (" mole", ((1, 2), (1, 2)))]
    everything = compare_tokenizations(
        [_tokenized("lost", "a mole", None, None), _tokenized("one", "a mole", (0, 1), (2, 6))]
    )
    assert _segments(everything) == [("a mole", ((0, 2), (0, 2)))]


def test_tokens_that_share_a_character_are_not_parted() -> None:
    found = compare_tokenizations([_cut("x 👍", name) for name in ("unigram", "word_piece")])
    assert [segment.text for segment in found.segments if not segment.added] == ["x", " 👍"]
    overlapping = _tokenized("one", "abcd", (0, 2), (1, 3), (3, 4))
    found = compare_tokenizations([overlapping, _tokenized("other", "abcd", (0, 1), (1, 2), (2, 3), (3, 4))])
    assert _segments(found) == [("abc", ((0, 2), (0, 3))), ("d", ((2, 3), (3, 4)))]


def test_a_pair() -> None:
    found = compare_tokenizations(
        [_cut("the mole", name, pair="naïve") for name in ("word_piece", "llama", "byte_bpe")]
    )
    places = [(segment.sequence, segment.start, segment.end, segment.text) for segment in found.segments]
    assert places == [
        (0, 0, 0, ""),
        (0, 0, 3, "the"),
        (0, 3, 8, " mole"),
        (0, 8, 8, ""),
        (1, 0, 5, "naïve"),
        (1, 5, 5, ""),
    ]
    assert found.segments[3].tokens == ((3, 4), (3, 4), (2, 2))


def test_the_first_ids_that_differ() -> None:
    one, other = _tokenized("one", "moles", (0, 4), (4, 5)), _tokenized("other", "moles", (0, 4), (4, 5), first_id=10)
    changed = other._replace(tokens=(other.tokens[0], Token(1, 99, "s", "s", 4, 5, 4, 5)))
    found = compare_tokenizations([one, changed])
    assert found.ids[0] is None
    assert found.ids[1] is not None
    assert found.ids[1].to_dict() == {
        "index": 1,
        "first": {"index": 1, "id": 11, "token": "s", "text": "s"},
        "other": {"index": 1, "id": 99, "token": "s", "text": "s"},
    }
    assert failures(found) == [
        "other splits the text as one does but gives other ids, first at token 1: 11 ('s') in one and 99 ('s') in other"
    ]


def test_a_sentence_for_each_model_that_differs() -> None:
    one = _tokenized("one", "moles dig", (0, 5), (6, 9))
    longer = _tokenized("longer", "moles dig", *((i, i + 1) for i in range(5)), *((i, i + 1) for i in (6, 7, 8)))
    other = _tokenized("other", "moles dig", (0, 5), (6, 7), (7, 9))
    assert failures(compare_tokenizations([one, other, one, longer])) == [
        "other splits the text at other positions than one, first at 1:7: 'dig' is 'dig' in one and 'd' + 'ig' "
        "in other",
        "longer splits the text at other positions than one, first at 1:1: 'moles' is 'moles' in one and "
        "'m' + 'o' + 'l' + 'e' + 's' in longer",
    ]


def test_a_sentence_says_where_in_its_file() -> None:
    one = _tokenized("one", "dig\nmoles", (0, 3), (4, 9))
    other = _tokenized("other", "dig\nmoles", (0, 3), (4, 8), (8, 9))
    [sentence] = failures(compare_tokenizations([one, other]), Source("notes.txt", 7))
    assert "first at notes.txt:8:1: 'moles'" in sentence
    pair = [_tokenized(name, "moles", (0, 5))._replace(pair="a b") for name in ("one", "other")]
    cut = [
        each._replace(
            tokens=(*each.tokens, *(Token(1, 5, "b", "b", 0, end, 0, end) for end in ends)),
            sequences=(0, *(1 for _ in ends)),
        )
        for each, ends in zip(pair, [(3,), (1,)], strict=True)
    ]
    [sentence] = failures(compare_tokenizations(cut), Source("notes.txt", 7))
    assert "first at pair 1:1" in sentence


def test_a_sentence_is_short() -> None:
    text = "x" * 500
    [sentence] = failures(
        compare_tokenizations(
            [_tokenized("a", text, (0, 500)), _tokenized("b", text, *((i, i + 1) for i in range(500)))]
        )
    )
    assert sentence.endswith("in a and 500 tokens in b")
    assert len(sentence) < 250


def test_other_texts_and_bare_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="one text"):
        compare_tokenizations([_tokenized("one", "a", (0, 1)), _tokenized("other", "b", (0, 1))])
    bare = attncli.tokenize(input_ids=[5], tokenizer=EVERY["word_piece"]).texts[0]
    with pytest.raises(UsageError, match="tokenizers can't be compared on token ids without a text"):
        compare_tokenizations([bare, bare])


ANY = st.sampled_from(TEXTS) | st.text(st.sampled_from("mole s\n\t,é日👍\u0301\u200d\x00ש."), min_size=1, max_size=20)


@given(text=ANY, pair=st.none() | st.sampled_from(["the mole", "s dug"]))
def test_segments_hold_everything_once(text: str, pair: str | None) -> None:
    text = f"m{text}m" if pair else text
    texts = [_cut(text, name, pair=pair) for name in EVERY]
    found = compare_tokenizations(texts)
    for sequence, own in enumerate([text] if pair is None else [text, pair]):
        assert "".join(segment.text for segment in found.segments if segment.sequence == sequence) == own
    for model, cut in enumerate(texts):
        held = [index for segment in found.segments for index in range(*segment.tokens[model])]
        assert held == list(range(len(cut.tokens)))
    for one, other in combinations(range(len(texts)), 2):
        assert found.agreement[one][other] == found.agreement[other][one]
        assert 0 <= found.agreement[one][other] <= 1


@given(text=ANY)
@pytest.mark.parametrize("kind", [byte_bpe, word_piece, word_level])
def test_a_tokenizer_is_the_same_as_itself(kind: object, text: str) -> None:
    name = {byte_bpe: "byte_bpe", word_piece: "word_piece", word_level: "word_level"}[kind]  # type: ignore[index]
    found = compare_tokenizations([_cut(text, name), _cut(text, name)])
    assert found.same
    assert failures(found) == []
