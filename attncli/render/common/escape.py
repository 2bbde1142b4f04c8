"""Escapes untrusted text (tokens, model names, file names), so that a terminal only shows it.

`printable` is for names and messages, `visible` for tokens, of which the spaces must show as well. Both accept any
text. Their output has no control characters, no characters that change the direction of writing, no invisible
characters and no lone surrogates. `fit_width` and `direction_end` keep right-to-left text from moving what follows it.
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

#: How the spaces of a token are drawn, in Unicode and in ASCII.
_SPACES = {" ": "␣", "\n": "⏎", "\t": "⇥"}
_ASCII_SPACES = {" ": "_"}

#: Control characters with a short escape.
_SHORT_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}

#: Characters that Unicode counts among letters, marks and symbols, but that are blank.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")

#: One of these may follow a character to choose how it is drawn; a second one would be hidden data.
_VARIATION_SELECTORS = frozenset(
    map(chr, (*range(0x180B, 0x180E), 0x180F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
)

#: Modify the emoji before them.
_SKIN_TONES = frozenset("\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")

#: Emoji, roughly: characters that a zero-width joiner may join. Elsewhere the joiner is escaped.
_EMOJI_SPANS = (("\u2600", "\u27bf"), ("\U0001f000", "\U0001faff"))
_MORE_EMOJI = frozenset("↔↕⬛")


def visible(text: str, *, unicode: bool = True) -> str:
    r"""A token's text with its spaces (`␣`), newlines (`⏎`) and tabs (`⇥`) drawn and unsafe characters escaped.

    unicode: False for ASCII alone: a space is `_`, a newline `\n`, and `é` is `\u{e9}`.

    Other unsafe characters become escapes such as `\x1b` or `\u{202e}`. A combining mark without a base gets a dotted
    circle. A zero-width joiner is kept between emoji, a variation selector right after a visible character.
    """
    return "".join(_escaped(text, _SPACES if unicode else _ASCII_SPACES, unicode=unicode))


def printable(text: str, *, unicode: bool = True) -> str:
    """A name or a message as one line: spaces stay spaces, and unsafe characters are escapes as in `visible`."""
    return text if text.isascii() and text.isprintable() else "".join(_escaped(text, {" ": " "}, unicode=unicode))


def _escaped(text: str, spaces: dict[str, str], *, unicode: bool) -> Iterator[str]:
    before = ""  # the character before, if it was shown as itself
    for index, character in enumerate(text):
        shown = spaces.get(character) or _safe_character(
            character, before, text[index + 1 : index + 2], unicode=unicode
        )
        yield shown
        before = character if shown.endswith(character) and character != " " else ""


def _safe_character(character: str, before: str, after: str, *, unicode: bool) -> str:
    if character.isascii():
        return character if character.isprintable() else _SHORT_ESCAPES.get(character) or f"\\x{ord(character):02x}"
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
    """Whether it is drawn onto the character before it: a mark, or a Hangul vowel or final consonant."""
    return category(character).startswith("M") or "\u1160" <= character <= "\u11ff" or "\ud7b0" <= character <= "\ud7fb"


def _joins(before: str, after: str) -> bool:
    return (_is_emoji(before) or before == "\ufe0f") and _is_emoji(after)


def _is_emoji(character: str) -> bool:
    return character in _MORE_EMOJI or any(first <= character <= last for first, last in _EMOJI_SPANS)


def _escape(character: str) -> str:
    return f"\\u{{{ord(character):x}}}"


#: ASCII for the symbols of our own sentences.
_ASCII_SYMBOLS = str.maketrans({"→": "->", "–": "-", "−": "-", "×": "x", "…": "...", "·": ".", "±": "+-"})

_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
# Terminals that reorder right-to-left text would reorder the numbers and cells after it, too. This mark ends the run.
_LEFT_TO_RIGHT_MARK = "\u200e"

#: Pattern of the separators of paths (Windows included) and of `owner/name`.
SLASHES = r"[/\\]"


def token_text(token: Token, terminal: Terminal) -> str:
    """A token with visible spaces, safe for a terminal; its raw form, or its id, where it has no text."""
    text = visible(token.text or token.token or str(token.id), unicode=terminal.unicode)
    # A first character of no width, such as some Hangul vowels, would combine with the character before the token.
    return _DOTTED_CIRCLE + text if text and cell_width(text[0]) == 0 else text


def running_text(token: Token, terminal: Terminal) -> str:
    """A token as it reads within its text: spaces stay spaces, and a final line break is dropped."""
    words = token.text.removesuffix("\n").split(" ")
    text = " ".join(visible(word, unicode=terminal.unicode) for word in words)
    return text if text and cell_width(text[0]) else token_text(token, terminal)


def unit_text(token: Token, unit: str, terminal: Terminal) -> str:
    """`token_text` of a token; of a word or a line (`unit`), its running text without the spaces around it."""
    text = "" if unit == "token" else running_text(token, terminal).strip(" ")
    return text if text and cell_width(text[0]) else token_text(token, terminal)


def name_text(name: str, terminal: Terminal) -> str:
    """A name from outside, safe for a terminal."""
    text = printable(name)
    return text if terminal.unicode else text.encode("ascii", "backslashreplace").decode("ascii")


def ascii_safe(text: str, terminal: Terminal) -> str:
    """A printable text of a view, its symbols and names in ASCII if the terminal has nothing else."""
    return text if terminal.unicode else name_text(text.translate(_ASCII_SYMBOLS), terminal)


def last_part(name: str) -> str:
    """The part of a model's name or path after the last slash or backslash."""
    return re.split(SLASHES, name.rstrip("/\\"))[-1]


def fit_width(text: str, width: int, terminal: Terminal, *, right: bool = False) -> str:
    """`text` shortened or padded to exactly `width` cells; right-to-left text moves nothing beside it."""
    short = shorten(text, width, glyphs(terminal).cut)
    return pad(short + direction_end(short), width, right=right)


def direction_end(text: str) -> str:
    """The mark that must follow `text` if it has right-to-left letters, which would move what follows; else nothing."""
    moves = not text.isascii() and any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in text)
    return _LEFT_TO_RIGHT_MARK if moves else ""
