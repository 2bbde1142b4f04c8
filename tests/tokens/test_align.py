"""Aligning tokens with their text from only the bytes that they spell."""

from __future__ import annotations

import pytest

from attncli.models.tokenizers.tokenizer_loader import wrap_tokenizer
from attncli.tokens.encode import align, encode
from tests.tokens import vocabularies as made


@pytest.mark.parametrize(
    ("text", "data", "spans"),
    [
        ("the mole", [b"the", b" mole"], [(0, 3), (3, 8)]),
        ("é!", [b"\xc3", b"\xa9", b"!"], [(0, 1), (0, 1), (1, 2)]),
        # A space that the tokenizer put before the text, alone or with the first letter.
        ("ab", [b" ", b"ab"], [(0, 0), (0, 2)]),
        ("ее", [b" \xd0", b"\xb5\xd0", b"\xb5"], [(0, 1), (0, 2), (1, 2)]),
        ("a", [b"", b"a"], [None, (0, 1)]),
        # Case, accents and spaces changed.
        ("The  MÖLE", [b"the", b"mole"], [(0, 3), (5, 9)]),
        # An accent, and the bytes of a character, where something else was lost.
        ("x\u05b4y ", [b"x", b"\xd6", b"\xb4", b"y"], [(0, 1), (1, 2), (1, 2), (2, 3)]),
        ("<s>  日e", [b"<s>", b"\xe6\x97", b"\xa5", b"e"], [(0, 3), (5, 6), (5, 6), (6, 7)]),
        # Unknown, then known again; and bytes that never make a character.
        ("日 mole", [b"[UNK]", b"mole"], [None, (2, 6)]),
        ("日 mole", [b"mole", b"\xe6"], [(2, 6), None]),
        ("mole", [b"mole", b"x" * 9, b"mole"], [(0, 4), None, None]),
    ],
)
def test_align(text: str, data: list[bytes], spans: list[tuple[int, int] | None]) -> None:
    assert align(text, data) == spans


def test_a_lost_token_is_not_looked_for_far_away() -> None:
    assert align("." * 100 + "mole", [b"mole"]) == [None]
    assert align("." * 60 + "mole", [b"mole"]) == [(60, 64)]


def test_a_space_keeps_its_place_behind_an_accent_that_was_composed() -> None:
    tokenizer = wrap_tokenizer(made.unigram())
    tokens = encode(tokenizer, "e\u0301\u3000b").tokens
    space = next(token for token in tokens if token.start == 2)
    assert (space.text, space.end, space.word) == (" ", 3, None)
