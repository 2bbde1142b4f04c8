"""A raw token means what the parts of its tokenizer say."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, pre_tokenizers

from attncli.models.tokenizers.token_bytes import TokenBytes, read_token_bytes
from attncli.models.tokenizers.types import Piece


def _parts(part) -> dict:
    return json.loads(part.__getstate__())


LLAMA = decoders.Sequence(
    [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
)


@pytest.mark.parametrize(
    ("decoder", "token", "data"),
    [
        (decoders.ByteLevel(), "Ġmole", b" mole"),
        (decoders.ByteLevel(), "ðŁĳį", "👍".encode()),
        (decoders.ByteLevel(), "Ċ", b"\n"),
        (decoders.ByteLevel(), "日", "日".encode()),
        (decoders.WordPiece(), "##les", b"les"),
        (decoders.WordPiece(), "##", b"##"),
        (decoders.WordPiece(), "a##b", b"a##b"),
        (decoders.WordPiece(prefix="@@"), "@@les", b"les"),
        (decoders.Metaspace(), "▁mole", b" mole"),
        (decoders.Metaspace("_"), "_mole", b" mole"),
        (decoders.BPEDecoder(), "mole</w>", b"mole"),
        (decoders.CTC(), "|", b" "),
        (LLAMA, "▁mole", b" mole"),
        (LLAMA, "<0x0A>", b"\n"),
        (LLAMA, "<0xf0>", b"\xf0"),
        (LLAMA, "<0x+1>", b"<0x+1>"),
        (decoders.Metaspace(), "<0x0A>", b"<0x0A>"),
    ],
)
def test_the_decoder_says(decoder, token: str, data: bytes) -> None:
    assert read_token_bytes(_parts(decoder), None).to_bytes(token) == data


def test_the_pre_tokenizer_says_where_there_is_no_decoder() -> None:
    nested = pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel()])
    assert read_token_bytes(None, _parts(nested)).to_bytes("Ġa") == b" a"
    assert read_token_bytes(_parts(decoders.Metaspace()), _parts(nested)).to_bytes("Ġa") == "Ġa".encode()


def test_the_model_says_where_nothing_else_does() -> None:
    token_bytes = read_token_bytes(None, None, prefix="##", suffix="</w>", byte_fallback=True)
    assert [token_bytes.to_bytes(token) for token in ("##a", "b</w>", "<0x41>")] == [b"a", b"b", b"A"]


def test_the_alphabet_of_bytes_is_that_of_tokenizers() -> None:
    token_bytes = TokenBytes(byte_level=True)
    letters = pre_tokenizers.ByteLevel.alphabet()
    assert {token_bytes.to_bytes(letter) for letter in letters} == {bytes([byte]) for byte in range(256)}


@given(st.text(max_size=8))
def test_bytes_survive_the_alphabet(text: str) -> None:
    spelled = "".join(word for word, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text))
    assert TokenBytes(byte_level=True).to_bytes(spelled) == text.encode()


def test_half_a_character_is_read_as_its_bytes() -> None:
    assert Piece.of(1, "aðŁ", b"a\xf0\x9f").text == r"a\xf0\x9f"
