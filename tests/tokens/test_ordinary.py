"""Which tokens of a vocabulary are ordinary ones."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, processors

from attncli.models.tokenizers.fast import FastTokenizer
from attncli.tokens.vocabulary import first_special, ordinary_ids
from tests.tokens.vocabularies import byte_bpe


def word_piece(*words: str) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    return tokenizer


def test_words_and_pieces_of_words() -> None:
    tokenizer = word_piece("[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "mole", "##s", "1967", "!", "<extra_id_0>")
    tokenizer.add_special_tokens(["[PAD]"])
    assert ordinary_ids(FastTokenizer(tokenizer), least=2) == [5, 6]
    # Where these are few, whatever a text may hold.
    assert ordinary_ids(FastTokenizer(tokenizer), least=3) == [5, 6, 7, 8]


def test_bytes_that_stand_in_for_other_characters_are_none() -> None:
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)} | {"▁mole": 256, "s": 257, "<unk>": 258}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    assert ordinary_ids(FastTokenizer(tokenizer), least=2) == [256, 257]


def test_added_special_tokens_are_none() -> None:
    tokenizer = byte_bpe(bos=True)
    tokenizer.add_special_tokens([AddedToken("<|reserved|>")])
    own = FastTokenizer(tokenizer)
    pieces = {piece.id: piece for piece in own.vocabulary()}
    chosen = ordinary_ids(own, least=25)
    assert len(chosen) >= 25
    assert all(pieces[one].text.strip().isalpha() and not pieces[one].special for one in chosen)


def test_what_comes_first() -> None:
    assert first_special(FastTokenizer(byte_bpe(bos=True))) == byte_bpe(bos=True).token_to_id("<s>")
    assert first_special(FastTokenizer(byte_bpe())) is None


def test_a_token_behind_the_text_doesnt_come_first() -> None:
    tokenizer = byte_bpe(bos=True)
    end = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <s>", special_tokens=[("<s>", end)])
    assert first_special(FastTokenizer(tokenizer)) is None
