"""The two texts of `--effect patch`: of as many tokens, so that what a head writes at a position has its place in both.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from attncli.errors import UsageError
from attncli.results.tokens import Token

#: So many tokens are shown before the first difference, and so many from it on.
_BEFORE, _AFTER = 2, 3


def check_same_length(tokens: Sequence[Token], source: Sequence[Token]) -> None:
    """Raise UsageError where two texts have different numbers of tokens; the message shows where they part."""
    if len(tokens) == len(source):
        return
    pairs = zip(tokens, source, strict=False)
    first = next((index for index, (one, other) in enumerate(pairs) if one.id != other.id), None)
    place = min(len(tokens), len(source)) if first is None else first
    raise UsageError(
        f"the text has {len(tokens)} tokens and --patch-from {len(source)}: "
        f"{_around(tokens, place)} against {_around(source, place)}",
        hint=f"they first differ at token {place}; change words until both have the same number of tokens",
    )


def _around(tokens: Sequence[Token], place: int) -> str:
    """The tokens around a place, which is marked: `… the| cat|»sat«| on …`."""
    start, stop = max(0, place - _BEFORE), min(len(tokens), place + _AFTER)
    shown = [_shown(tokens[index]) for index in range(start, stop)]
    marked = [f"»{text}«" if start + index == place else text for index, text in enumerate(shown)]
    if place >= len(tokens):
        marked.append("»«")
    return f"{'… ' if start else ''}{'|'.join(marked)}{' …' if stop < len(tokens) else ''}"


def _shown(token: Token) -> str:
    return token.text if token.text.strip() else token.token
