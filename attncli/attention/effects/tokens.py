"""The tokens that `--answer` and `--contrast` name, and the position of the outcome. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attncli.attention.positions import Position
from attncli.errors import UsageError
from attncli.results.effects import OutcomeToken
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.attention.effects.request import TypedToken
    from attncli.models.tokenizers.types import Piece, Tokenizer

_ID = re.compile(r"id:\s*(-?\d+)")
#: Typed before a text that is a token as it stands, without a space before it.
_LITERAL = "="


def find_token(typed: TypedToken, tokenizer: Tokenizer | None, flag: str) -> OutcomeToken:
    """The token of the vocabulary that was typed: a word, with the space before it where the tokenizer marks one;
    `=text` as it stands; `id:6342`; or an id.

    tokenizer: None where the model has none, so that only ids name a token.
    Raises UsageError for a text of several tokens, which the message shows, and for an unknown one.
    """
    number = typed if isinstance(typed, int) else _typed_id(typed)
    if number is not None:
        return name_token(number, tokenizer, flag)
    assert isinstance(typed, str)
    if tokenizer is None:
        raise UsageError(f"{flag} {typed}: the model has no tokenizer", hint=f"give a token id: {flag} id:5")
    if typed.startswith(_LITERAL) and len(typed) > len(_LITERAL):
        return _literal_token(typed.removeprefix(_LITERAL), tokenizer, flag)
    if not typed.strip():
        raise UsageError(f"{flag}: the token is empty", hint=f"give a word, or {flag} '= ' for a token as it stands")
    return _word_token(typed, tokenizer, flag)


def name_token(number: int, tokenizer: Tokenizer | None, flag: str) -> OutcomeToken:
    """The token of an id. Raises UsageError for one that the vocabulary doesn't have."""
    piece = None if tokenizer is None or number < 0 else tokenizer.describe([number])[0]
    if number < 0:
        raise UsageError(f"{flag}: no token has the id {number}", hint="ids run from 0")
    return OutcomeToken(number, f"<{number}>" if piece is None else piece.text)


def _typed_id(typed: str) -> int | None:
    match = _ID.fullmatch(typed.strip())
    return None if match is None else int(match[1])


def _word_token(typed: str, tokenizer: Tokenizer, flag: str) -> OutcomeToken:
    """A word as the text would go on with it; punctuation has no space before it."""
    is_word = typed[:1].isalnum()
    with_space = _pieces(f" {typed}" if is_word else typed, tokenizer)
    if len(with_space) == 1:
        return _known(with_space[0], typed, tokenizer, flag)
    # Some tokenizers put a space before every text themselves, and some never join a space to a word.
    bare = _pieces(typed, tokenizer)
    joins = with_space[:1] == [] or with_space[0].text != " " or with_space[1:] != bare
    if len(bare) == 1 and (not is_word or not joins or bare[0].text.startswith(" ")):
        return _known(bare[0], typed, tokenizer, flag)
    alone = f"; {flag} ={typed} is one token, without a space before it" if len(bare) == 1 else ""
    raise _several(typed, min(with_space, bare, key=len) if len(bare) > 1 else with_space, flag, alone)


def _literal_token(text: str, tokenizer: Tokenizer, flag: str) -> OutcomeToken:
    """The entry of the vocabulary that reads so, or is spelled so (`##ing`)."""
    pieces = _pieces(text, tokenizer)
    if len(pieces) == 1 and not pieces[0].text.startswith(" "):
        return _known(pieces[0], text, tokenizer, flag)
    entries = [piece for piece in tokenizer.vocabulary() if text in (piece.text, piece.token)]
    found = next((piece for piece in entries if piece.token == text), next(iter(entries), None))
    if found is None:
        raise _several(text, pieces, flag, "")
    return OutcomeToken(found.id, found.text)


def _pieces(text: str, tokenizer: Tokenizer) -> list[Piece]:
    found = tokenizer.describe(tokenizer.encode(text, special=False).ids)
    return [piece for piece in found if piece is not None]


def _known(piece: Piece, typed: str, tokenizer: Tokenizer, flag: str) -> OutcomeToken:
    if piece.id == tokenizer.unknown_id:
        raise UsageError(
            f"{flag}: {typed!r} is not in the vocabulary", hint="`attn tokenize --vocab` searches it for a text"
        )
    return OutcomeToken(piece.id, piece.text)


def _several(typed: str, pieces: Sequence[Piece], flag: str, alone: str) -> UsageError:
    if not pieces:
        return UsageError(
            f"{flag}: the tokenizer makes no token of {typed!r}", hint="give a word of the vocabulary, or id:NUMBER"
        )
    shown = " ".join(f"{piece.text!r} (id:{piece.id})" for piece in pieces[:8])
    more = " …" if len(pieces) > 8 else ""
    return UsageError(
        f"{flag}: {typed!r} is {len(pieces)} tokens, {shown}{more}",
        hint=f"name one of them: {flag} id:{pieces[0].id}{alone}",
    )


# --- The position

#: The name of the special token in whose place a masked language model writes.
_MASK = "mask"


def outcome_position(tokens: Sequence[Token], query: Position | None, *, masked: bool, flag: str) -> int:
    """Where the outcome is measured: the last token of `query`, else the last one, or the first mask.

    masked: the model writes in the place of a mask.  flag: the option to name in messages.
    Raises UsageError for a position that isn't there, and for a text without a mask.
    """
    if query is not None:
        return query.span(tokens)[1] - 1
    if not masked:
        return len(tokens) - 1
    try:
        return Position(_MASK, flag).span([token if token.special else token._replace(text="", token="", word=None)
                                           for token in tokens])[0]  # fmt: skip
    except UsageError:
        raise UsageError(
            f"{flag}: this model predicts masked tokens, and the text has no mask",
            hint="write the mask token into the text ([MASK] or <mask>), or choose a position with --query",
        ) from None
