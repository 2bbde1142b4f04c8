"""A tokenizer with a token for each of the 256 bytes, so that it reads any text and gives it back."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors


def byte_tokenizer() -> Tokenizer:
    """Byte-level BPE that merges nothing: the id of a token is the value of its byte."""
    vocabulary = {character: byte for byte, character in enumerate(_characters_of_bytes())}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _characters_of_bytes() -> list[str]:
    """The character that byte-level BPE writes for each byte (Radford et al. 2019, GPT-2's `bytes_to_unicode`).

    A byte that is a printable character in Latin-1 stands for itself; the others take the characters from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    moved = {byte: 0x100 + place for place, byte in enumerate(others)}
    return [chr(moved.get(byte, byte)) for byte in range(256)]
