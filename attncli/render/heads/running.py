"""Tokens as the text that they are, and the lines of it, where a reader has room for plain words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from attncli.render.escape import visible
from attncli.results.tokenize import Token

#: Characters of a text that a heading holds at the most.
_LONGEST = 600


def running(tokens: Sequence[Token]) -> str:
    """Tokens as one line of text, as far as a heading could hold it."""
    found: list[str] = []
    length = 0
    for token, after in zip_longest(tokens, tokens[1:]):
        found.append(plain_text(token))
        length += len(found[-1])
        if length > _LONGEST:
            found.append("…")
            break
        touches = after is not None and token.end is not None and token.end == after.start
        found.append("" if touches else " ")
    return " ".join("".join(found).split())


def plain_text(token: Token) -> str:
    """A token, a word or a line as a part of its text: spaces and line breaks are spaces, nothing else is unseen."""
    text = token.text or token.token or str(token.id)
    return " ".join(visible(word) if word else "" for word in text.replace("\n", " ").split(" "))


def numbered(index: int, count: int, line: int | None, dash: str = "–") -> str:
    """`token 8`, or `tokens 2–3, line 1`: where a position of so many tokens stands."""
    place = f"token {index:,}" if count == 1 else f"tokens {index:,}{dash}{index + count - 1:,}"
    return place if line is None else f"{place}, line {line:,}"


def line_numbers(lines: Sequence[int | None]) -> list[int]:
    """The line that each begins, the next one of what stands in none, and behind the last line the one after."""
    following = max((line for line in lines if line is not None), default=0) + 1
    numbers = []
    for line in reversed(lines):
        following = following if line is None else line
        numbers.append(following)
    return numbers[::-1]
