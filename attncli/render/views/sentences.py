"""Sentences as values: words, tokens and positions with roles, which text, pages and figures lay out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Literal, NamedTuple

from attncli.render.common.escape import visible
from attncli.results.tokens import Token

#: How words are shown: `strong` is what a sentence is about, `quiet` what only explains it.
Role = Literal["plain", "strong", "quiet"]
#: A space in our own words at which lines don't break.
NO_BREAK = "\N{NO-BREAK SPACE}"
#: Characters of a text excerpt.
_LONGEST_EXCERPT = 600


class Position(NamedTuple):
    """A position of a text. length: tokens that it covers, from `token` on.  line: the number of its line, if any."""

    token: Token
    line: int | None = None
    length: int = 1

    @property
    def text(self) -> str:
        """As plain text on one line."""
        return " ".join(plain_text(self.token).split())

    @property
    def place(self) -> str:
        """`token 8`, or `tokens 2–3, line 1`."""
        first = self.token.index
        label = f"token {first:,}" if self.length == 1 else f"tokens {first:,}–{first + self.length - 1:,}"
        return label if self.line is None else f"{label}, line {self.line:,}"


class Words(NamedTuple):
    """A part of a sentence: our own words (not escaped, and with Unicode symbols), a token, or a position."""

    content: str | Token | Position
    role: Role = "plain"


Sentence = tuple[Words, ...]


def written(sentence: Iterable[Words], spell: Callable[[Token | Position], str]) -> str:
    """The sentence as one text. spell: writes a token or a position."""
    return "".join(
        content.replace(NO_BREAK, " ") if isinstance(content, str) else spell(content) for content, _ in sentence
    )


def strong(content: str | Token | Position) -> Words:
    return Words(content, "strong")


def quiet(content: str) -> Words:
    return Words(content, "quiet")


def count_noun(count: int, noun: str, several: str | None = None) -> str:
    """`1 layer`, `1,500 frames`."""
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"


def capitalized(text: str) -> str:
    """With a capital letter at the start."""
    return f"{text[0].upper()}{text[1:]}"


def shorten_plain(text: str, longest: int) -> str:
    """The text in at most so many characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


# --- tokens as plain text


def raw_text(token: Token) -> str:
    """A token's text, or its raw form or its id where it has none; not escaped."""
    return token.text or token.token or str(token.id)


def plain_text(token: Token) -> str:
    """A token, a word or a line as plain text: line breaks become spaces, other unsafe characters are escaped."""
    text = raw_text(token)
    return " ".join(visible(word) if word else "" for word in text.replace("\n", " ").split(" "))


def text_excerpt(tokens: Sequence[Token]) -> str:
    """The start of the tokens' text, as one line."""
    pieces: list[str] = []
    length = 0
    for token, after in zip_longest(tokens, tokens[1:]):
        pieces.append(plain_text(token))
        length += len(pieces[-1])
        if length > _LONGEST_EXCERPT:
            pieces.append("…")
            break
        touches = after is not None and token.end is not None and token.end == after.start
        pieces.append("" if touches else " ")
    return " ".join("".join(pieces).split())


def line_numbers(lines: Sequence[int | None]) -> list[int]:
    """The lines' numbers without gaps: None becomes the next line's number, or one more than the last line's."""
    following = max((line for line in lines if line is not None), default=0) + 1
    numbers = []
    for line in reversed(lines):
        following = following if line is None else line
        numbers.append(following)
    return numbers[::-1]
