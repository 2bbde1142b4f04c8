"""Ids that came without a text: whether their own text would be cut into them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from attncli.results.findings import Finding
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.models.tokenizers.types import Tokenizer

#: How many ids a message names.
_SHOWN = 4

#: A character that no vocabulary holds: the last private one.
_UNKNOWN_CHARACTER = "\U0010fffd"


def non_canonical(tokenizer: Tokenizer, tokens: Sequence[Token]) -> Iterator[Finding]:
    """Ids between special tokens that their text, cut again, does not give.

    A model has mostly seen the one way in which its tokenizer cuts a text: other ids of the same text are strange to
    it, and are made where pieces of a text are encoded apart and put together.
    """
    before: Token | None = None
    for apart, run in groupby(tokens, lambda token: token.special or token.id == tokenizer.unknown_id):
        members = list(run)
        if not apart:
            yield from _checked(tokenizer, members, before)
        before = members[-1]


def _checked(tokenizer: Tokenizer, run: Sequence[Token], before: Token | None) -> Iterator[Finding]:
    ids = [token.id for token in run]
    text = tokenizer.decode(ids)
    cuts = list(_cuts(tokenizer, text, before))
    if ids in cuts:
        return
    first, last, end = _difference(ids, cuts[0])
    given, own = run[first:last], cuts[0][first:end]
    if "\ufffd" in text:
        message, hint = "the ids cut a character in two", "look for an id that is missing"
    else:
        message = f"{_ids(token.id for token in given)} spells what the tokenizer cuts into {_ids(own)}"
        hint = "encode the whole text at once"
    yield Finding("non_canonical", "warning", message, hint, tokens=tuple(token.index for token in given))


def _cuts(tokenizer: Tokenizer, text: str, before: Token | None) -> Iterator[list[int]]:
    """The ids that a text may have, alone and behind the token before it."""
    yield list(tokenizer.encode(text, special=False).ids)
    # A decoder may take the space before the first word away that the encoder puts there.
    yield list(tokenizer.encode(f" {text}", special=False).ids)
    if before is not None:
        # Some tokenizers put a space before the first word of a text, and before no other.
        written = before.token if before.special else _UNKNOWN_CHARACTER
        behind = list(tokenizer.encode(f"{written}{text}", special=False).ids)
        if before.id in behind:
            yield behind[behind.index(before.id) + 1 :]


def _difference(given: Sequence[int], own: Sequence[int]) -> tuple[int, int, int]:
    """Where both begin to differ, and where each ends doing so."""
    shorter = min(len(given), len(own))
    first = next((place for place in range(shorter) if given[place] != own[place]), shorter)
    same = next((back for back in range(shorter - first) if given[-1 - back] != own[-1 - back]), shorter - first)
    return first, len(given) - same, len(own) - same


def _ids(ids: Iterator[int] | Sequence[int]) -> str:
    listed = list(ids)
    shown = " ".join(map(str, listed[:_SHOWN]))
    return f"{shown} …" if len(listed) > _SHOWN else shown or "nothing"
