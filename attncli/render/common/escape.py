"""Any text as characters that a terminal only shows: it never moves, hides or turns anything round.

Tokens, model names and file names come from outside. `printable` is for messages, `visible` for tokens, where the
space is to be seen as well. Both are total, and what comes out of them holds no control character, no character that
turns the direction of writing, none that is invisible, and no half of one.

Tokens in places of a fixed size: escaped, shortened, and kept where they stand.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from unicodedata import category

from attncli.render.common.cells import cell_width, glyphs, pad, shorten
from attncli.render.common.terminal import Terminal
from attncli.results.tokens import Token

_DOTTED_CIRCLE = "◌"
_ZERO_WIDTH_JOINER = "\u200d"

#: What a token's spaces look like: where there is more than ASCII, and where there is not.
_SPACES = {" ": "·", "\n": "⏎", "\t": "⇥"}
_ASCII_SPACES = {" ": "_"}

#: Control characters that have a short escape of their own.
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}

#: Characters that Unicode counts among letters, marks and symbols, but that show nothing at all.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")

#: One of these may follow a character to choose how it is drawn; a second one would only be hidden data.
_VARIATION_SELECTORS = frozenset(
    map(chr, (*range(0x180B, 0x180E), 0x180F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
)

#: These colour the emoji before them.
_SKIN_TONES = frozenset("\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")

#: Emoji, roughly: what a zero-width joiner may hold together. Beyond these it is shown as an escape.
_EMOJI_SPANS = (("\u2600", "\u27bf"), ("\U0001f000", "\U0001faff"))
_EMOJI_BESIDE = frozenset("↔↕⬛")


def visible(text: str, *, unicode: bool = True) -> str:
    r"""A token's text as a reader is to see it: spaces (`·`), newlines (`⏎`) and tabs (`⇥`) are drawn.

    unicode: whether there is more than ASCII; without it a space is `_`, a newline `\n` and `é` is `\u{e9}`.

    Every other unsafe character is an escape: `\x1b`, `\u{202e}`. A combining mark with nothing to stand on gets a
    dotted circle. A zero-width joiner stays within a sequence of emoji, and a variation selector behind the character
    that it belongs to.
    """
    return "".join(_shown(text, _SPACES if unicode else _ASCII_SPACES, unicode=unicode))


def printable(text: str, *, unicode: bool = True) -> str:
    """A name or a message as one line: spaces stay spaces, and unsafe characters are escapes as in `visible`."""
    return text if text.isascii() and text.isprintable() else "".join(_shown(text, {" ": " "}, unicode=unicode))


def _shown(text: str, spaces: dict[str, str], *, unicode: bool) -> Iterator[str]:
    before = ""  # the last character that was shown as itself, if it was the last one
    for index, character in enumerate(text):
        shown = spaces.get(character) or _safe(character, before, text[index + 1 : index + 2], unicode=unicode)
        yield shown
        before = character if shown.endswith(character) and character != " " else ""


def _safe(character: str, before: str, after: str, *, unicode: bool) -> str:
    if character.isascii():
        return character if character.isprintable() else _SHORT.get(character) or f"\\x{ord(character):02x}"
    if not unicode:
        return _escape(character)
    if character == _ZERO_WIDTH_JOINER:
        return character if _joins(before, after) else _escape(character)
    if character in _VARIATION_SELECTORS:
        return character if before and before not in _VARIATION_SELECTORS else _escape(character)
    if character in _INVISIBLE or not character.isprintable():
        return _escape(character)
    if character in _SKIN_TONES:
        return character if _is_emoji(before) else _escape(character)
    return _DOTTED_CIRCLE + character if _combines(character) and not before else character


def _combines(character: str) -> bool:
    """Whether it is drawn onto the character before it: a mark, or the vowel or last consonant of a Hangul syllable."""
    return category(character).startswith("M") or "\u1160" <= character <= "\u11ff" or "\ud7b0" <= character <= "\ud7fb"


def _joins(before: str, after: str) -> bool:
    return (_is_emoji(before) or before == "\ufe0f") and _is_emoji(after)


def _is_emoji(character: str) -> bool:
    return character in _EMOJI_BESIDE or any(first <= character <= last for first, last in _EMOJI_SPANS)


def _escape(character: str) -> str:
    return f"\\u{{{ord(character):x}}}"


_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
# Terminals that reorder right-to-left text would take the numbers and cells beside it along. This mark ends the run.
_LEFT_TO_RIGHT_MARK = "\u200e"

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
