"""Two lint checks: decoding the tokens gives the text back; encoding the text of given ids gives the same ids."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import regex

from attncli.results.tokens import Token
from attncli.results.vocabulary import Finding, Severity

if TYPE_CHECKING:
    from attncli.models.tokenizers.types import Tokenizer

Span = tuple[int, int]
_INVISIBLE = regex.compile(r"[\p{C}\p{Default_Ignorable_Code_Point}\ufffd--\s]+", regex.VERSION1)
_MARKS = regex.compile(r"\p{M}+")


class _Loss(NamedTuple):
    """A property of texts that tokenizers may drop.  without: removes it from a text."""

    name: str
    without: Callable[[str], str]


#: In the order in which they are removed from a text.
_LOSSES = (
    _Loss("invisible characters", lambda text: _INVISIBLE.sub("", text)),
    _Loss("characters that NFKC replaces", lambda text: unicodedata.normalize("NFKC", text)),
    _Loss("how letters are composed", lambda text: unicodedata.normalize("NFC", text)),
    _Loss("capital letters", str.lower),
    _Loss("accents", lambda text: _MARKS.sub("", unicodedata.normalize("NFD", text))),
    _Loss("white space", lambda text: "".join(text.split())),
)

#: The most drastic first: in this order, `explain_losses` drops those that are not needed to explain a difference.
_LARGEST_FIRST = (
    "accents",
    "characters that NFKC replaces",
    "how letters are composed",
    "capital letters",
    "invisible characters",
    "white space",
)

#: How many characters of both texts are shown from the first difference on.
_SHOWN_CHARACTERS = 16

#: How many ids a message names.
_SHOWN_IDS = 4

#: A character that is in no vocabulary: the last one for private use.
_UNKNOWN_CHARACTER = "\U0010fffd"


# --- From a text to ids and back


def round_trip(tokenizer: Tokenizer, text: str) -> Finding | None:
    """The first place where the decoded tokens differ from the text; None where they are equal.

    Unknown and special tokens have findings of their own and are left out on both sides. A loss that this tokenizer's
    normalizer explains (lower-casing, for instance) is a note, anything else a warning. The caller adds bytes and
    tokens to the finding.
    """
    encoding = tokenizer.encode(text, special=False)
    pieces = tokenizer.describe(encoding.ids)
    unspelled = [piece is None or piece.special or piece.id == tokenizer.unknown_id for piece in pieces]
    gaps = [span for span, left_out in zip(encoding.spans, unspelled, strict=True) if left_out and span is not None]
    if any(unspelled) and len(gaps) < sum(unspelled):
        return None  # it is unknown which part of the text to leave out
    spelled_ids = [identifier for identifier, left_out in zip(encoding.ids, unspelled, strict=True) if not left_out]
    before, places = _leave_out(text, gaps)
    after = tokenizer.decode(spelled_ids)
    if before == after:
        return None
    losses = explain_losses(before, after)
    # Ignore white space around the parts that were left out.
    return None if gaps and losses == ["white space"] else _finding(before, after, places, losses)


def _finding(before: str, after: str, places: Sequence[int], losses: Sequence[str] | None) -> Finding:
    first = _first_difference(before, after)
    severity: Severity = "warning" if losses is None else "note"
    lost = f" (it differs in {', '.join(losses)})" if losses else ""
    message = f"{_quote(before, first, places)} comes back as {_quote(after, first)}{lost}"
    hint = (
        "this tokenizer does that to every text; nothing is wrong with this one"
        if losses
        else "what the model sees is not what was written: look at the tokens there"
    )
    start = places[first]
    return Finding("round_trip", severity, message, hint, start=start, end=min(start + 1, places[-1]))


def explain_losses(before: str, after: str) -> list[str] | None:
    """The fewest known losses that make both texts equal; None where they don't explain the difference."""
    names = [loss.name for loss in _LOSSES]
    if not _are_equal(before, after, names):
        return None
    for name in _LARGEST_FIRST:
        fewer = [other for other in names if other != name]
        if _are_equal(before, after, fewer):
            names = fewer
    return names


def _are_equal(before: str, after: str, names: Sequence[str]) -> bool:
    for loss in _LOSSES:
        if loss.name in names:
            before, after = loss.without(before), loss.without(after)
    return before == after


def _leave_out(text: str, gaps: Sequence[Span]) -> tuple[str, Sequence[int]]:
    """The text without some spans, and the original index of each character, with the text's length at the end."""
    if not gaps:
        return text, range(len(text) + 1)
    left_out = {place for gap in gaps for place in range(*gap)}
    places = [place for place in range(len(text)) if place not in left_out]
    return "".join(text[place] for place in places), [*places, len(text)]


def _first_difference(before: str, after: str) -> int:
    low, high = 0, min(len(before), len(after))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if before[:middle] == after[:middle] else (low, middle - 1)
    return low


def _quote(text: str, first: int, places: Sequence[int] | None = None) -> str:
    """The text from the first difference on, with an ellipsis where something follows or was left out.

    places: as `_leave_out` gives them.
    """
    last = min(first + _SHOWN_CHARACTERS, len(text))
    places = range(len(text) + 1) if places is None else places
    gaps = (places[index + 1] != places[index] + 1 for index in range(first, last))
    part = "".join(text[index] + "…" * gap for index, gap in zip(range(first, last), gaps, strict=True))
    more = "…" if len(text) > last and not part.endswith("…") else ""
    return f"“{part}{more}”" if part else "nothing"


# --- From ids to a text and back


def non_canonical(tokenizer: Tokenizer, tokens: Sequence[Token]) -> Iterator[Finding]:
    """Ids between special tokens that differ from the ids of their own text.

    A model was mostly trained on the ids that its tokenizer gives for a text. Other ids for the same text arise where
    parts of it were encoded separately.
    """
    before: Token | None = None
    for apart, run in groupby(tokens, lambda token: token.special or token.id == tokenizer.unknown_id):
        members = list(run)
        if not apart:
            yield from _check_run(tokenizer, members, before)
        before = members[-1]


def _check_run(tokenizer: Tokenizer, run: Sequence[Token], before: Token | None) -> Iterator[Finding]:
    ids = [token.id for token in run]
    text = tokenizer.decode(ids)
    cuts = list(_possible_ids(tokenizer, text, before))
    if ids in cuts:
        return
    first, last, end = _differing_range(ids, cuts[0])
    given, own = run[first:last], cuts[0][first:end]
    if "\ufffd" in text:
        message, hint = "the ids cut a character in two", "look for an id that is missing"
    else:
        message = f"{_list_ids(token.id for token in given)} spells what the tokenizer cuts into {_list_ids(own)}"
        hint = "encode the whole text at once"
    yield Finding("non_canonical", "warning", message, hint, tokens=tuple(token.index for token in given))


def _possible_ids(tokenizer: Tokenizer, text: str, before: Token | None) -> Iterator[list[int]]:
    """The ids that a text may have, alone and after the token before it."""
    yield list(tokenizer.encode(text, special=False).ids)
    # The decoder may remove a space before the first word.
    yield list(tokenizer.encode(f" {text}", special=False).ids)
    if before is not None:
        # Some tokenizers add a space before the first word of a text only.
        prefix = before.token if before.special else _UNKNOWN_CHARACTER
        ids = list(tokenizer.encode(f"{prefix}{text}", special=False).ids)
        if before.id in ids:
            yield ids[ids.index(before.id) + 1 :]


def _differing_range(given: Sequence[int], own: Sequence[int]) -> tuple[int, int, int]:
    """The index from which both differ, and the index in each where the difference ends."""
    shorter = min(len(given), len(own))
    first = next((place for place in range(shorter) if given[place] != own[place]), shorter)
    same = next((back for back in range(shorter - first) if given[-1 - back] != own[-1 - back]), shorter - first)
    return first, len(given) - same, len(own) - same


def _list_ids(ids: Iterator[int] | Sequence[int]) -> str:
    listed = list(ids)
    shown = " ".join(map(str, listed[:_SHOWN_IDS]))
    return f"{shown} …" if len(listed) > _SHOWN_IDS else shown or "nothing"
