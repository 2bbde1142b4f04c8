"""Entries of a vocabulary that no text encodes to."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from attncli.models.tokenizers.tokenizer_loader import wrap_tokenizer
from attncli.results.vocabulary import DeadEntry
from attncli.tokens.vocabulary import find_unreachable
from tests.tokens import vocabularies as made


def _word_piece(*pieces: str) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def test_each_reason() -> None:
    #       0        1     2    3      4      5       6    7      8       9
    pieces = ["[UNK]", "mo", "le", "##le", "Mole", "[new]", "!", "##!", "[", "new"]
    found = find_unreachable(wrap_tokenizer(_word_piece(*pieces, "]", "²x")))
    assert found.entries == (
        DeadEntry(4, "Mole", "Mole", "normalized", (1, 3)),
        DeadEntry(5, "[new]", "[new]", "cut", (8, 9, 10)),
        DeadEntry(7, "##!", "!", "duplicate", (6,)),
    )
    assert (found.tried, found.undecided, found.reserved) == (11, 0, 1)
    assert found.reasons == {"normalized": 1, "cut": 1, "duplicate": 1}


def test_an_entry_whose_text_is_unknown() -> None:
    (entry,) = find_unreachable(wrap_tokenizer(_word_piece("[UNK]", "mo", "a-b"))).entries
    assert (entry.token, entry.reason) == ("a-b", "unknown")


@pytest.mark.parametrize("kind", ["byte_bpe", "word_piece", "unigram", "word_level"])
def test_what_a_trainer_made_is_reached(kind: str) -> None:
    found = find_unreachable(wrap_tokenizer(made.KINDS[kind]()))
    assert found.entries == ()
    assert found.tried > 20


def test_continued_words_are_reached_beside_others() -> None:
    assert find_unreachable(wrap_tokenizer(made.byte_bpe(prefix_space=True))).entries == ()


def test_bytes_that_letters_stand_for_are_not_reached() -> None:
    found = find_unreachable(wrap_tokenizer(made.byte_fallback()))
    assert {entry.reason for entry in found.entries} == {"duplicate"}
    assert [entry.token for entry in found.entries[:2]] == ["<0x20>", "<0x61>"]
    assert (found.undecided, found.reserved) == (128, 3)
