r"""Characters that a vocabulary of bytes cuts over several tokens: drawn once, with the bytes that each token holds.

Such a token spells its bytes as `\xf0\x9f` in its text and in another way in its raw form (`ðŁ`, `<0xF0>`), which
tells them from a backslash that somebody wrote.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from attncli.render.escape import visible
from attncli.render.terminal import Terminal
from attncli.render.token_text import token_text
from attncli.results.tokenize import Token

_BYTES = re.compile(r"((?:\\x[89a-f][0-9a-f])+)")


def token_texts(tokens: Sequence[Token], terminal: Terminal) -> list[str]:
    """What to draw for each token, safe for a terminal."""
    texts: list[str] = []
    for cut, run in groupby(tokens, holds_bytes):
        members = list(run)
        whole = _joined([_data(token.text) for token in members], terminal) if cut else None
        texts += whole or [token_text(token, terminal) for token in members]
    return texts


def holds_bytes(token: Token) -> bool:
    """Whether a token stands for bytes that are a part of a character only."""
    return "\\" not in token.token and _BYTES.search(token.text) is not None


def _data(text: str) -> bytes:
    """The bytes behind a token's text."""
    parts = _BYTES.split(text)  # every second one is made of bytes
    return b"".join(
        bytes.fromhex(part.replace("\\x", "")) if index % 2 else part.encode("utf-8", "replace")
        for index, part in enumerate(parts)
    )


def _joined(pieces: Sequence[bytes], terminal: Terminal) -> list[str] | None:
    """A run of tokens as its characters; None where its bytes make none."""
    try:
        text = b"".join(pieces).decode("utf-8")
    except UnicodeDecodeError:
        return None
    # For each byte, the character that it is of and its place in it.
    places = [(index, place) for index, character in enumerate(text) for place in range(len(character.encode("utf-8")))]
    drawn, start = [], 0
    for piece in pieces:
        drawn.append(_share(text, places[start : start + len(piece)], terminal))
        start += len(piece)
    return drawn


def _share(text: str, places: Sequence[tuple[int, int]], terminal: Terminal) -> str:
    """One token's bytes: whole characters as they are, the first part of a cut one with it, and its bytes in hex."""
    shown, whole = "", ""
    for index, run in groupby(places, key=itemgetter(0)):
        held = [place for _, place in run]
        encoded = text[index].encode("utf-8")
        if len(held) == len(encoded):
            whole += text[index]
            continue
        begun = whole + text[index] if held[0] == 0 and _is_seen(whole, text[index], terminal) else whole
        shown += visible(begun, unicode=terminal.unicode) + _hex(encoded[held[0] : held[-1] + 1], terminal)
        whole = ""
    return shown + visible(whole, unicode=terminal.unicode)


def _is_seen(before: str, character: str, terminal: Terminal) -> bool:
    """Whether a character shows itself: of a joiner or a lone skin tone the bytes say more, and take less room."""
    return not terminal.unicode or visible(before + character, unicode=True).endswith(character)


def _hex(data: bytes, terminal: Terminal) -> str:
    digits = data.hex(" ").upper()
    return f"⟨{digits}⟩" if terminal.unicode else f"<{digits}>"
