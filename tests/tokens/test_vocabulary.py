"""Describing and searching a vocabulary."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from attncli.errors import UsageError
from attncli.models.tokenizers.token_bytes import TokenBytes
from attncli.models.tokenizers.tokenizer_loader import wrap_tokenizer
from attncli.models.tokenizers.types import Piece
from attncli.results.vocabulary import SpecialEntry, VocabularyEntry
from attncli.tokens.vocabulary import COLUMNS, describe_vocabulary, kind_of, script_of_entry, vocabulary_rows
from tests.tokens import vocabularies as made

PIECES = ("[UNK]", "mole", "##mole", "Mole", "molecule", "a", "tadmole", "[CLS]")


def _small() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[CLS]", AddedToken("<|im_start|>", special=True)])
    return tokenizer


def test_numbers() -> None:
    found = describe_vocabulary(wrap_tokenizer(_small()), model="org/small")
    assert (found.model, found.algorithm, found.size, found.added) == ("org/small", "WordPiece", 9, 1)
    assert (found.highest_id, found.holes, found.word_mark, found.duplicates) == (8, (), "prefix", 1)
    assert found.specials == (
        SpecialEntry(0, "[UNK]", ("unknown",)),
        SpecialEntry(7, "[CLS]"),
        SpecialEntry(8, "<|im_start|>"),
    )
    assert found.kinds == {"word": 5, "special": 3, "continuation": 1}
    assert found.scripts == {"Latin": 6}
    assert [entry.token for entry in found.longest[:2]] == ["molecule", "tadmole"]
    assert found.spaces == ()
    assert found.unreachable is None


def test_special_tokens_and_their_use() -> None:
    found = describe_vocabulary(wrap_tokenizer(made.word_piece()))
    uses = {special.token: special.uses for special in found.specials}
    assert uses == {"[PAD]": (), "[UNK]": ("unknown",), "[CLS]": ("begins",), "[SEP]": ("ends",), "[MASK]": ()}


def test_holes() -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 2, "b": 3, "c": 7}, unk_token="a"))
    found = describe_vocabulary(wrap_tokenizer(tokenizer))
    assert (found.holes, found.highest_id, found.word_mark) == (((0, 2), (4, 7)), 7, None)


def test_a_text_sought() -> None:
    (found,) = describe_vocabulary(wrap_tokenizer(_small()), search=["mole"]).searches
    assert [entry.token for entry in found.exact] == ["mole", "##mole"]
    assert [entry.token for entry in found.variants] == ["Mole"]
    assert [entry.token for entry in found.containing] == ["molecule", "tadmole"]
    assert (found.hits, found.by_id) == (2, None)
    assert [entry.id for entry in found.cut] == [1]


def test_a_number_is_an_id_as_well() -> None:
    one, none = describe_vocabulary(wrap_tokenizer(_small()), search=["4", "99"]).searches
    assert one.by_id == VocabularyEntry(4, "molecule", "molecule", 8, "6d6f6c6563756c65", "word")
    assert (none.by_id, none.exact, none.hits) == (None, (), 0)
    assert [entry.token for entry in none.cut] == ["[UNK]"]


def test_the_space_before_a_word_makes_a_variant() -> None:
    (found,) = describe_vocabulary(wrap_tokenizer(made.byte_bpe()), search=["mole"]).searches
    assert found.exact == ()
    assert [entry.token for entry in found.variants] == ["Ġmole"]
    assert [entry.text for entry in found.cut] == ["mo", "le"]


def test_half_a_character_is_refused() -> None:
    with pytest.raises(UsageError):
        describe_vocabulary(wrap_tokenizer(_small()), search=["\ud83d"])


_BPE = TokenBytes(byte_level=True)
_BERT = TokenBytes(prefix="##")


@pytest.mark.parametrize(
    ("piece", "spelling", "mark", "kind"),
    [
        (Piece.of(1, "Ġmole", b" mole"), _BPE, "space", "word"),
        (Piece.of(1, "mole", b"mole"), _BPE, "space", "continuation"),
        (Piece.of(1, "mole", b"mole"), _BERT, "prefix", "word"),
        (Piece.of(1, "##les", b"les"), _BERT, "prefix", "continuation"),
        (Piece.of(1, "mole</w>", b"mole"), TokenBytes(suffix="</w>"), "suffix", "word"),
        (Piece.of(1, "mol", b"mol"), TokenBytes(suffix="</w>"), "suffix", "continuation"),
        (Piece.of(1, "mole", b"mole"), TokenBytes(), None, "word"),
        (Piece.of(1, "ð", b"\xf0"), _BPE, "space", "byte"),
        (Piece.of(1, "ðŁ", b"\xf0\x9f"), _BPE, "space", "partial"),
        (Piece.of(1, "<0x61>", b"a"), TokenBytes(byte_fallback=True), "space", "byte"),
        (Piece.of(1, "ĠĠ", b"  "), _BPE, "space", "space"),
        (Piece.of(1, "Ġ12", b" 12"), _BPE, "space", "number"),
        (Piece.of(1, "Ġ==", b" =="), _BPE, "space", "symbol"),
        (Piece.of(1, "x", "👍🏽".encode()), _BPE, "space", "emoji"),
        (Piece.of(1, "x", "🇩🇪".encode()), _BPE, "space", "emoji"),
        (Piece.of(1, "</s>", b"</s>", special=True), _BPE, "space", "special"),
        (Piece.of(1, "", b""), _BPE, "space", "empty"),
    ],
)
def test_kinds(piece: Piece, spelling: TokenBytes, mark: str | None, kind: str) -> None:
    assert kind_of(piece, spelling, mark) == kind


@pytest.mark.parametrize(("text", "script"), [(" mole", "Latin"), ("1日", "Han"), ("12", None), ("(", None)])
def test_scripts(text: str, script: str | None) -> None:
    assert script_of_entry(Piece.of(1, text, text.encode())) == script


def test_rows_are_the_whole_vocabulary() -> None:
    rows = list(vocabulary_rows(wrap_tokenizer(made.byte_bpe())))
    assert COLUMNS == ("id", "token", "text", "bytes", "hex", "kind", "special")
    assert [row.id for row in rows] == list(range(330))
    assert rows[0] == VocabularyEntry(0, "<s>", "<s>", 3, "3c733e", "special", True)
    assert sum(row.kind == "byte" for row in rows) == 128


@pytest.mark.parametrize("kind", made.KINDS)
def test_kinds_add_up_to_the_size(kind: str) -> None:
    found = describe_vocabulary(wrap_tokenizer(made.KINDS[kind]()), lint=True)
    assert sum(found.kinds.values()) == found.size
    assert found.unreachable is not None
    assert found.unreachable.tried + found.unreachable.undecided + found.unreachable.reserved == found.size


def test_a_tokenizer_written_in_python() -> None:
    from transformers import ByT5Tokenizer

    tokenizer = wrap_tokenizer(ByT5Tokenizer(extra_ids=2))
    found = describe_vocabulary(tokenizer, search=["a"])
    assert (found.algorithm, found.size, found.highest_id) == ("ByT5Tokenizer", 261, 260)
    assert [special.uses for special in found.specials if special.token in ("</s>", "<unk>")] == [
        ("ends",),
        ("unknown",),
    ]
    assert found.kinds["byte"] == 128
    assert [entry.id for entry in found.searches[0].exact] == [100]
    assert tokenizer.decode(tokenizer.encode("naïve 👍").ids) == "naïve 👍"
