"""The steps of a tokenizer: values worked out by hand, and agreement with the library."""

from __future__ import annotations

import json
import random
import time

import pytest
from hypothesis import given, settings
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from attncli.errors import UsageError
from attncli.models.files.model_files import open_files
from attncli.models.files.reference import DEFAULT_MODEL, parse_reference
from attncli.models.tokenizers.tokenizer_loader import load_tokenizer, wrap_tokenizer
from attncli.models.tokenizers.types import Encoding, Piece
from attncli.results.explanation import (
    Entry,
    Explanation,
    LookedUpWord,
    Match,
    MatchedWord,
    Merge,
    MergedWord,
    Pair,
    ScoredWord,
    Symbol,
    Word,
)
from attncli.tokens.explain import Explainer, explain
from tests.tokens.explained import texts, tokenizers
from tests.tokens.vocabularies import CORPUS, TEXTS, byte_bpe, byte_fallback, unigram, word_piece


def _explained(tokenizer: Tokenizer, text: str, *, special: bool = True) -> Explanation:
    explanation = explain(wrap_tokenizer(tokenizer), text, special=special)
    assert explanation.agrees
    return explanation


def _word(model: models.Model, text: str) -> Word:
    (word,) = _explained(Tokenizer(model), text).words
    return word


def _bpe(*merges: str, extra: str = "", **settings: object) -> models.BPE:
    pairs = [tuple(merge.split()) for merge in merges]
    entries = [*"abcd", *(left + right for left, right in pairs), *extra.split()]
    return models.BPE({entry: number for number, entry in enumerate(dict.fromkeys(entries))}, pairs, **settings)


# Byte-pair encoding ---------------------------------------------------------------------------------------------------


def test_merges_apply_by_rank_and_not_from_left_to_right() -> None:
    word = _word(_bpe("b c", "a b", "bc d"), "abcd")
    assert word == MergedWord(
        form="abcd",
        tokens=(Entry(0, "a"), Entry(6, "bcd")),
        symbols=(Symbol(0, "a", "a"), Symbol(1, "b", "b"), Symbol(2, "c", "c"), Symbol(3, "d", "d")),
        merges=(
            Merge(Pair("b", "c", 0), "bc", at=1, rival=Pair("a", "b", 1)),
            Merge(Pair("bc", "d", 2), "bcd", at=1),
        ),
    )


def test_a_merge_opens_the_way_for_one_of_lower_rank() -> None:
    word = _word(_bpe("ab c", "a b"), "abcab")
    assert isinstance(word, MergedWord)
    assert [(merge.pair.rank, merge.result, merge.at) for merge in word.merges] == [
        (1, "ab", 0),
        (0, "abc", 0),
        (1, "ab", 3),
    ]


def test_a_word_of_the_vocabulary_is_taken_at_once() -> None:
    assert _word(_bpe(extra="abc", ignore_merges=True), "abc") == MergedWord("abc", (Entry(4, "abc"),), whole=True)
    assert _word(_bpe(extra="abc"), "abc").tokens == (Entry(0, "a"), Entry(1, "b"), Entry(2, "c"))


def test_prefix_and_suffix_are_part_of_the_symbols() -> None:
    vocabulary = {"a": 0, "##b": 1, "##b</w>": 2, "ab</w>": 3}
    affixes = {"continuing_subword_prefix": "##", "end_of_word_suffix": "</w>"}
    word = _word(models.BPE(vocabulary, [("a", "##b</w>")], **affixes), "ab")
    assert isinstance(word, MergedWord)
    assert [symbol.token for symbol in word.symbols] == ["a", "##b</w>"]
    assert word.tokens == (Entry(3, "ab</w>"),)


def test_what_the_vocabulary_lacks_becomes_unknown_bytes_or_nothing() -> None:
    def symbols(text: str, **settings: object) -> list[tuple[str, str, str]]:
        word = _word(_bpe(extra="<unk> <0xC3> <0xA9>", **settings), text)
        assert isinstance(word, MergedWord)
        return [(symbol.token, symbol.source, symbol.how) for symbol in word.symbols]

    a = ("a", "a", "character")
    assert symbols("aéé", unk_token="<unk>") == [a, ("<unk>", "é", "unknown"), ("<unk>", "é", "unknown")]
    assert symbols("éßa", unk_token="<unk>", fuse_unk=True) == [("<unk>", "éß", "unknown"), a]
    assert symbols("aé", byte_fallback=True) == [a, ("<0xC3>", "é", "byte"), ("<0xA9>", "é", "byte")]
    assert symbols("aß", byte_fallback=True, unk_token="<unk>") == [a, ("<unk>", "ß", "unknown")]
    assert symbols("aé") == [a, ("", "é", "dropped")]


def test_a_byte_level_word_is_spelled_in_the_alphabet_of_bytes() -> None:
    explanation = _explained(byte_bpe(), "the é")
    assert [(each.text, each.form) for each in explanation.pre_tokens] == [("the", "the"), (" é", "ĠÃ©")]


# WordPiece, Unigram and WordLevel -------------------------------------------------------------------------------------


def _pieces(*entries: str, limit: int = 100) -> models.WordPiece:
    vocabulary = {entry: number for number, entry in enumerate(["[UNK]", *entries])}
    return models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=limit)


def test_the_longest_entry_matches_at_each_place() -> None:
    word = _word(_pieces("b", "bio", "##psy", "##p"), "biopsy")
    assert word == MatchedWord(
        form="biopsy",
        tokens=(Entry(2, "bio"), Entry(3, "##psy")),
        matches=(Match("bio", 0, 3, 3, ("biopsy", "biops", "biop")), Match("##psy", 3, 6, 0, ())),
    )


def test_a_word_is_unknown_as_a_whole() -> None:
    word = _word(_pieces("b"), "bxy")
    assert word == MatchedWord(
        form="bxy",
        tokens=(Entry(0, "[UNK]"),),
        matches=(Match("b", 0, 1, 2, ("bxy", "bx")), Match(None, 1, 1, 2, ("##xy", "##x"))),
        unknown=True,
    )


def test_a_word_may_be_too_long_to_be_looked_at() -> None:
    assert _word(_pieces("bbb", limit=2), "bbb") == MatchedWord("bbb", (Entry(0, "[UNK]"),), (), True, True)
    assert _word(_pieces("bbb", limit=3), "bbb").tokens == (Entry(1, "bbb"),)


def test_few_of_many_candidates_are_named() -> None:
    word = _word(_pieces("a"), "a" + "b" * 90)
    assert isinstance(word, MatchedWord)
    assert (word.matches[0].missed, len(word.matches[0].misses)) == (90, 5)


def test_the_best_path_has_the_highest_sum() -> None:
    model = models.Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -2.0), ("ab", -2.5), ("abc", -9.0), ("c", -3.0)], 0)
    word = _word(model, "abc")
    assert isinstance(word, ScoredWord)
    assert (word.best.score, [piece.text for piece in word.best.pieces]) == (-5.5, ["ab", "c"])
    assert word.runner_up is not None
    assert (word.runner_up.score, [piece.text for piece in word.runner_up.pieces]) == (-6.0, ["a", "b", "c"])
    assert word.tokens == (Entry(3, "ab"), Entry(5, "c"))


def test_of_equal_paths_the_first_one_wins() -> None:
    word = _word(models.Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -1.0), ("ab", -2.0)], 0), "ab")
    assert isinstance(word, ScoredWord)
    assert word.tokens == (Entry(3, "ab"),)
    assert word.runner_up is not None
    assert word.runner_up.score == word.best.score == -2.0


def test_an_unknown_character_costs_ten_more_than_the_worst_piece() -> None:
    word = _word(models.Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -4.0)], 0), "axya")
    assert isinstance(word, ScoredWord)
    assert [(piece.text, piece.score) for piece in word.best.pieces if piece.unknown] == [("x", -14.0), ("y", -14.0)]
    assert (word.best.score, word.runner_up) == (-30.0, None)
    assert word.tokens == (Entry(1, "a"), Entry(0, "<unk>"), Entry(1, "a"))


def test_unigram_falls_back_on_bytes() -> None:
    spelled = [(f"<0x{byte:02X}>", -5.0) for byte in range(256)]
    word = _word(models.Unigram([("<unk>", 0.0), ("a", -1.0), *spelled], 0, byte_fallback=True), "aé")
    assert [entry.token for entry in word.tokens] == ["a", "<0xC3>", "<0xA9>"]


def test_a_word_is_looked_up() -> None:
    model = models.WordLevel({"[UNK]": 0, "mole": 1}, unk_token="[UNK]")
    assert _word(model, "mole") == LookedUpWord("mole", (Entry(1, "mole"),))
    assert _word(model, "moles") == LookedUpWord("moles", (Entry(0, "[UNK]"),), unknown=True)


# The stages around the model ------------------------------------------------------------------------------------------


def test_each_step_that_changes_the_text_is_told() -> None:
    explanation = _explained(word_piece(), "Naïve")
    (segment,) = explanation.segments
    told = [(explanation.normalizer[step].settings, text) for step, text in segment.changes]
    assert told == [({"strip_accents": True}, "Naive"), ({"lowercase": True}, "naive")]
    assert (segment.text, segment.normalized) == ("Naïve", "naive")


def test_added_tokens_skip_the_rest() -> None:
    explanation = _explained(word_piece(), "The [SEP] mole")
    assert [(segment.start, segment.end, segment.normalized) for segment in explanation.segments] == [
        (0, 4, "the "),
        (9, 14, " mole"),
    ]
    assert [(each.start, each.end, each.text, each.form, each.word, each.added) for each in explanation.pre_tokens] == [
        (0, 3, "The", "the", 0, None),
        (4, 9, "[SEP]", "[SEP]", None, 3),
        (10, 14, "mole", "mole", 1, None),
    ]


def test_normalised_added_tokens_are_found_in_normalised_text() -> None:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "x": 1}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.add_tokens([AddedToken("MOLE", normalized=True)])
    explanation = _explained(tokenizer, "xMolex")
    assert [(each.text, each.form, each.added) for each in explanation.pre_tokens] == [
        ("x", "x", None),
        ("Mole", "mole", 2),
        ("x", "x", None),
    ]


def test_a_repeated_word_is_explained_once() -> None:
    explanation = _explained(word_piece(), "The mole, the MOLE")
    assert [word.form for word in explanation.words] == ["the", "mole", ","]
    assert [each.word for each in explanation.pre_tokens] == [0, 1, 2, 0, 1]
    assert explanation.counts() == {0: 2, 1: 2, 2: 1}


def test_steps_of_the_pre_tokenizer_are_counted() -> None:
    tokenizer = byte_bpe()
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    steps_told = _explained(tokenizer, "12 moles").pre_tokenizer
    assert [(step.kind, step.pre_tokens) for step in steps_told] == [("Digits", 3), ("ByteLevel", 3)]


def test_the_template_and_the_tokens_are_told() -> None:
    explanation = _explained(word_piece(), "the mole")
    assert explanation.template == ("[CLS]", "$A", "[SEP]")
    assert [entry.token for entry in explanation.tokens] == ["[CLS]", "the", "mole", "[SEP]"]
    assert explanation.special == (0, 3)
    bare = _explained(word_piece(), "the mole", special=False)
    assert (bare.template, bare.special, len(bare.tokens)) == (None, (), 2)


def test_two_templates_in_a_row_are_none() -> None:
    tokenizer = word_piece()
    first = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    second = processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 3)])
    tokenizer.post_processor = processors.Sequence([first, second])
    explanation = _explained(tokenizer, "the mole")
    assert (explanation.template, explanation.special) == (None, (0,))


def test_the_model_is_named_with_its_settings() -> None:
    model = _explained(byte_fallback(), "mole").model
    assert (model.kind, model.entries, model.merges) == ("BPE", 293, 7)
    assert (model.settings["byte_fallback"], model.settings["fuse_unk"]) == (True, True)
    assert _explained(unigram(), "mole").model.merges is None


def test_steps_that_lead_elsewhere_are_owned_up_to() -> None:
    tokenizer = Tokenizer(_bpe("a b", dropout=1.0))
    explanation = explain(wrap_tokenizer(tokenizer), "ab")
    assert [entry.token for entry in explanation.tokens] == ["a", "b"]
    assert not explanation.agrees


def test_a_tokenizer_of_python_code_cannot_say() -> None:
    class Opaque:
        class_name = "MoleTokenizer"

        def describe(self, ids: list[int]) -> list[Piece | None]:
            raise AssertionError

        def encode(self, text: str, **options: object) -> Encoding:
            raise AssertionError

        def pipeline(self) -> None:
            return None

    with pytest.raises(UsageError) as caught:
        explain(wrap_tokenizer(Opaque()), "mole")
    assert "MoleTokenizer" in caught.value.message
    assert "--why" in caught.value.hint


# Agreement with the library -------------------------------------------------------------------------------------------


@settings(max_examples=4 * settings.default.max_examples)  # type: ignore[union-attr]
@given(tokenizers(), texts)
def test_the_steps_lead_to_the_tokens_of_the_library(tokenizer: Tokenizer, text: str) -> None:
    for special in (True, False):
        explanation = _explained(tokenizer, text, special=special)
        assert [entry.id for entry in explanation.tokens] == tokenizer.encode(text, add_special_tokens=special).ids
        for pre_token in explanation.pre_tokens:
            assert 0 <= pre_token.start <= pre_token.end <= len(text)
        json.dumps(explanation.to_dict())


@pytest.mark.parametrize("text", [" ".join(TEXTS), "antidisestablishmentarianism " * 3])
def test_the_default_model_agrees(text: str) -> None:
    tokenizer = load_tokenizer(open_files(parse_reference(DEFAULT_MODEL)))
    assert explain(tokenizer, text).agrees


@pytest.mark.parametrize(
    ("model", "affixes"),
    [
        ({}, {}),
        ({"ignore_merges": True}, {}),
        ({"unk_token": "[UNK]"}, {"end_of_word_suffix": "</w>"}),
        ({"unk_token": "[UNK]", "fuse_unk": True}, {"continuing_subword_prefix": "##"}),
    ],
)
def test_trained_merges_agree(model: dict[str, object], affixes: dict[str, str]) -> None:
    tokenizer = Tokenizer(models.BPE(**model, **affixes))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[UNK]"] if "unk_token" in model else []
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False, **affixes)
    tokenizer.train_from_iterator(CORPUS, trainer)
    merged = [word for text in [*TEXTS, *CORPUS] for word in _explained(tokenizer, text).words]
    assert any(word.whole or word.merges for word in merged if isinstance(word, MergedWord))


def test_one_reading_serves_several_texts() -> None:
    tokenizer = wrap_tokenizer(unigram())
    explainer = Explainer(tokenizer)
    assert [explainer.explain(text) for text in TEXTS] == [explain(tokenizer, text) for text in TEXTS]


def test_a_long_word_takes_no_quadratic_time() -> None:
    entries = ["a", "b"]
    merges = []
    chance = random.Random(0)
    while len(merges) < 300:
        left, right = chance.choice(entries), chance.choice(entries)
        if left + right not in entries:
            merges.append((left, right))
            entries.append(left + right)
    tokenizer = Tokenizer(models.BPE({entry: number for number, entry in enumerate(entries)}, merges))
    began = time.perf_counter()
    (word,) = _explained(tokenizer, "".join(chance.choice("ab") for _ in range(30_000))).words
    assert isinstance(word, MergedWord)
    assert len(word.merges) > 10_000
    assert time.perf_counter() - began < 5
