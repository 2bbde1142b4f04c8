"""The statistics of tokenizers, on values counted by hand and with a real model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from attncli.models.files.model_files import open_files
from attncli.models.files.reference import DEFAULT_MODEL, parse_reference
from attncli.models.tokenizers.tokenizer_loader import load_tokenizer, wrap_tokenizer
from attncli.models.tokenizers.types import Encoding, Tokenizer
from attncli.results.statistics import CutWord, TextLengths, TokenizerStatistics
from attncli.tokens.encode import encode, measure
from attncli.tokens.statistics import Statistics, parity, renyi_efficiency
from tests.tokens import vocabularies as made
from tests.tokens.test_places import TEXTS, WithoutOffsets


@cache
def letters() -> Tokenizer:
    """A token for each of these characters and for spaces at once; the rest is unknown."""
    backend = Backend(models.WordLevel({character: id_ for id_, character in enumerate("?abcя写用 ")}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return wrap_tokenizer(backend)


@cache
def words() -> Tokenizer:
    return wrap_tokenizer(made.word_piece())


def count(tokenizer: Tokenizer, *texts: str, **options: object) -> TokenizerStatistics:
    statistics = Statistics("a/model", tokenizer)
    for text in texts:
        statistics.add(tokenizer.encode(text, **options), [text], truncated=bool(options.get("truncate")))
    return statistics.result()


def test_the_mole_triple() -> None:
    default = load_tokenizer(open_files(parse_reference(DEFAULT_MODEL)))
    found = count(default, "American shrew mole", "One mole of carbon dioxide", "Take a biopsy of the mole")
    whole = found.total
    assert (whole.words, whole.bytes, whole.tokens, whole.special_tokens) == (14, 70, 16, 6)
    assert (round(whole.fertility, 4), whole.bytes_per_token, whole.continued_words) == (1.1429, 4.375, 2)
    assert found.most_cut_words == (CutWord("biopsy", 6, 2), CutWord("shrew", 5, 2))
    assert found.lengths == TextLengths(6, 7.0, 9, 0, 512)
    assert [(script.script, script.tokens) for script in found.scripts] == [("Latin", 16)]


def test_scripts_without_spaces_have_no_words() -> None:
    # Latin: "ab", " c" and " ?" as 6 tokens of 3 words; Han: "写用" as 2 tokens, no word.
    found = count(letters(), "ab写用 c ?")
    latin, han = found.scripts
    assert (latin.script, latin.tokens, latin.words, latin.characters, latin.bytes) == ("Latin", 6, 3, 6, 6)
    assert (latin.fertility, latin.continued_words, latin.unknown) == (2.0, 3 - 2, 1)
    assert (han.script, han.tokens, han.characters, han.bytes, han.bytes_per_token) == ("Han", 2, 2, 6, 3.0)
    assert (han.words, han.fertility, han.continued_words, han.continued_words_share) == (None, None, None, None)
    whole = found.total
    assert (whole.tokens, whole.words, whole.fertility, whole.bytes) == (8, 3, 2.0, 12)
    assert (whole.unknown, whole.unknown_share, whole.continued_words_share) == (1, 1 / 8, 1 / 3)


def test_a_text_of_such_a_script_alone_has_no_fertility() -> None:
    assert count(letters(), "写用 写").total.fertility is None


def test_a_word_of_two_scripts_with_spaces_is_one() -> None:
    latin, cyrillic = count(letters(), "abя").scripts
    assert (latin.words, latin.tokens, latin.continued_words, cyrillic.words, cyrillic.tokens) == (1, 2, 1, 0, 1)
    assert (cyrillic.fertility, cyrillic.continued_words_share) == (None, None)


def test_evenness() -> None:
    assert renyi_efficiency([3, 3, 3, 3]) == pytest.approx(1)
    # H = log2(0.75^2.5 + 0.25^2.5) / (1 - 2.5), V = 2.
    assert renyi_efficiency([3, 1]) == pytest.approx(math.log2(0.75**2.5 + 0.25**2.5) / -1.5)
    assert renyi_efficiency([3, 1]) == pytest.approx(0.6319, abs=1e-4)
    assert (renyi_efficiency([]), renyi_efficiency([7])) == (None, None)
    whole = count(letters(), "aaab").total
    assert (whole.distinct_tokens, whole.renyi_efficiency) == (2, None)
    # So few tokens say nothing of evenness.
    whole = count(letters(), "aaab" * 249, "aaa").total
    assert (whole.tokens, whole.renyi_efficiency) == (999, None)
    whole = count(letters(), "aaab" * 250).total
    assert (whole.distinct_tokens, whole.renyi_efficiency) == (2, renyi_efficiency([3, 1]))


def test_words_of_the_most_tokens() -> None:
    found = count(letters(), "aaa abc aaaaaa bb cccc ab a abab", "x" * 300, "cccc bbbb 写用写用写用写")
    assert found.most_cut_words == (
        CutWord("x" * 100, 300, 300),
        CutWord("aaaaaa", 6, 6),
        CutWord("cccc", 4, 4),
        CutWord("abab", 4, 4),
        CutWord("bbbb", 4, 4),
    )


def test_of_words_cut_alike_the_first_are_kept() -> None:
    found = count(letters(), "ab bc ca", "ba cb ac")
    assert [word.word for word in found.most_cut_words] == ["ab", "bc", "ca", "ba", "cb"]


@pytest.mark.parametrize(
    ("texts", "expected"), [(["a"], (1, 1, 1)), (["aaa", "a"], (1, 2, 3)), (["a", "a", "aaaa"], (1, 1, 4))]
)
def test_lengths(texts: list[str], expected: tuple[float, ...]) -> None:
    assert count(letters(), *texts).lengths[:3] == expected


def test_what_is_too_long_for_the_model() -> None:
    limited = wrap_tokenizer(made.word_piece())
    limited.max_length = 5
    text = "the mole the mole dug"
    assert count(limited, text, "the").lengths[2:] == (7, 1, 5)
    cut = count(limited, text, "the", truncate=True)
    assert cut.lengths[2:] == (5, 1, 5)
    assert (cut.total.tokens, cut.total.words, cut.total.characters) == (4, 4, len("the mole the") + 3)


def test_a_pair_is_one_text_of_two() -> None:
    statistics = Statistics("m", words())
    statistics.add(words().encode("the moles", pair="mole"), ["the moles", "mole"])
    found = statistics.result()
    assert (found.texts, found.total.tokens, found.total.words, found.total.special_tokens) == (1, 4, 3, 3)
    assert found.total.characters == 13


def test_ids_without_a_text() -> None:
    statistics = Statistics("m", words())
    statistics.add(Encoding([2, 1, 1, 30, 3], [None] * 5, [0] * 5, [None] * 5))
    whole = statistics.result().total
    assert (whole.tokens, whole.special_tokens, whole.unknown, whole.distinct_tokens) == (3, 2, 2, 2)
    assert (whole.words, whole.fertility, whole.bytes_per_token) == (0, None, None)
    assert statistics.result().scripts == ()


def test_nothing_at_all() -> None:
    found = Statistics("m", words()).result()
    assert (found.texts, found.scripts, found.most_cut_words) == (0, (), ())
    assert found.lengths == TextLengths(None, None, None, 0, None)
    assert (found.total.tokens, found.total.fertility, found.total.renyi_efficiency) == (0, None, None)


def test_nothing_but_unknown() -> None:
    whole = count(words(), "写 写").total
    assert (whole.tokens, whole.unknown, whole.unknown_share, whole.renyi_efficiency) == (2, 2, 1.0, None)


def test_tokens_that_were_not_found_again_are_counted() -> None:
    known, lost = count(letters(), "a 写x用 z"), count(WithoutOffsets(letters()), "a 写x用 z")
    for found in (known, lost):
        assert [(script.script, script.tokens) for script in found.scripts] == [("Latin", 4), ("Han", 3)]


def test_parity() -> None:
    texts = ["a 写", "яb"]
    first, second = count(letters(), *texts), count(wrap_tokenizer(made.byte_bpe()), *texts)
    (found,) = parity([first, second])
    assert (found.model, found.reference) == ("a/model", "a/model")
    # "a 写" is 3 characters of 5 bytes, "яb" 2 of 3.
    assert found.tokens == second.total.tokens / 5
    assert found.scripts["Han"] == next(s.tokens for s in second.scripts if s.script == "Han") / 2
    assert parity([first]) == () == parity([])
    assert found.to_dict()["scripts"][0].keys() == {"script", "tokens"}


def test_an_unknown_token_of_several_scripts() -> None:
    # WordPiece makes one unknown token of each word: "カカカです" is Katakana and Hiragana.
    found = count(words(), "the カカカです mole")
    latin, katakana, hiragana = found.scripts
    assert [script.script for script in (latin, katakana, hiragana)] == ["Latin", "Katakana", "Hiragana"]
    assert (katakana.tokens, katakana.unknown, katakana.unknown_characters) == (1, 1, 3)
    assert (hiragana.tokens, hiragana.unknown, hiragana.unknown_characters) == (0, 0, 2)
    assert (hiragana.unknown_characters_share, hiragana.bytes_per_token, latin.unknown_characters) == (1.0, None, 0)
    assert found.total.unknown_characters == 5


def test_parity_of_what_became_unknown_is_none() -> None:
    text = "the mole カカカです"
    spelt, lost = count(wrap_tokenizer(made.byte_bpe()), text), count(words(), text)
    for pair in ([spelt, lost], [lost, spelt]):
        (found,) = parity(pair)
        assert (found.tokens, found.scripts["Katakana"], found.scripts["Hiragana"]) == (None, None, None)
        assert found.scripts["Latin"]


def test_symbols_are_counted_apart() -> None:
    found = count(words(), "the mole 👍 dug", "👍🏽 mole")
    latin, symbols = found.scripts
    assert (latin.script, latin.tokens, latin.unknown) == ("Latin", 5 - 1, 0)
    assert (symbols.script, symbols.tokens, symbols.unknown, symbols.words) == ("Symbols", 2, 2, None)
    assert (found.total.words, found.total.fertility) == (4, 1.0)


def test_a_space_put_before_the_text_cuts_no_word() -> None:
    tokenizer = _build_tokenizer("byte_fallback")
    text = "a mole"
    whole, one = count(tokenizer, text).total, measure(encode(tokenizer, text), [text])
    assert (whole.tokens, whole.continued_words) == (one.tokens, one.continued_words) == (3, 0)


@pytest.mark.parametrize("kind", [*made.KINDS])
@given(texts=st.lists(TEXTS, max_size=3))
def test_scripts_add_up_to_the_total(kind: str, texts: Sequence[str]) -> None:
    tokenizer = _build_tokenizer(kind)
    found = count(tokenizer, *texts)
    for name in ("tokens", "characters", "bytes", "unknown", "words", "continued_words"):
        assert getattr(found.total, name) == sum(getattr(script, name) or 0 for script in found.scripts)
    each = [measure(encode(tokenizer, text), [text], unknown_id=tokenizer.unknown_id) for text in texts]
    names = ["tokens", "special_tokens", "characters", "bytes", "unknown"]
    if all(script.words is not None for script in found.scripts):
        names += ["words", "continued_words"]
    for name in names:
        assert getattr(found.total, name) == sum(getattr(stats, name) for stats in each)


@cache
def _build_tokenizer(kind: str) -> Tokenizer:
    return wrap_tokenizer(made.KINDS[kind]())
