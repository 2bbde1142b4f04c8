"""Tokens in places of a fixed size: escaped, shortened, and kept where they stand."""

from __future__ import annotations

import re
import unicodedata

from attncli.render.cells import cell_width, pad, shorten
from attncli.render.escape import printable, visible
from attncli.render.glyphs import glyphs
from attncli.render.terminal import Terminal
from attncli.results.tokenize import Token

_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
# Terminals that reorder right-to-left text would take the numbers and cells beside it along. This mark ends the run.
_LEFT_TO_RIGHT_MARK = "\u200e"
_DOTTED_CIRCLE = "◌"

#: What parts the folders of a path, and an owner from a name.
SLASHES = r"[/\\]"


def token_text(token: Token, terminal: Terminal) -> str:
    """A token as a reader sees it, safe for a terminal; its raw form, or its id, where it has no text."""
    text = visible(token.text or token.token or str(token.id), unicode=terminal.unicode)
    # A letter that takes no cell of its own, as some of Hangul's do, would join whatever stands before it.
    return _DOTTED_CIRCLE + text if text and cell_width(text[0]) == 0 else text


def running_text(token: Token, terminal: Terminal) -> str:
    """A token as a part of its text: its spaces are spaces, and it has its line break no more."""
    words = token.text.removesuffix("\n").split(" ")
    text = " ".join(visible(word, unicode=terminal.unicode) for word in words)
    return text if text and cell_width(text[0]) else token_text(token, terminal)


def unit_text(token: Token, unit: str, terminal: Terminal) -> str:
    """A token as `token_text` has it; a word or a line as plain text, without the spaces around it."""
    text = "" if unit == "token" else running_text(token, terminal).strip(" ")
    return text if text and cell_width(text[0]) else token_text(token, terminal)


def name_text(name: str, terminal: Terminal) -> str:
    """A name from outside, safe for a terminal."""
    text = printable(name)
    return text if terminal.unicode else text.encode("ascii", "backslashreplace").decode("ascii")


def last_part(name: str) -> str:
    """The end of a model's name or path: what stands behind its last slash, one of Windows too."""
    return re.split(SLASHES, name.rstrip("/\\"))[-1]


def in_place(text: str, width: int, terminal: Terminal, *, right: bool = False) -> str:
    """`text` in exactly `width` cells that nothing beside it can move."""
    short = shorten(text, width, glyphs(terminal).cut)
    return pad(short + direction_end(short), width, right=right)


def direction_end(text: str) -> str:
    """What has to follow `text` so that right-to-left letters in it move nothing after it: mostly nothing."""
    moves = not text.isascii() and any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in text)
    return _LEFT_TO_RIGHT_MARK if moves else ""
