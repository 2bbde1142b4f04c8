"""Which of its two texts each token of a `TokenizedText` stands in."""

from __future__ import annotations

from attncli.results.tokenize import TokenizedText


def sequences(text: TokenizedText) -> list[int | None]:
    """An entry a token: 0 in the text, 1 in the pair beside it, None without a place in either."""
    owners = text.sequences or (0,) * len(text.tokens)
    return [None if token.start is None else owner for token, owner in zip(text.tokens, owners, strict=True)]


def own_texts(text: TokenizedText) -> tuple[str, ...]:
    """The text, and the pair beside it if there is one; nothing for ids that came without a text."""
    if text.text is None:
        return ()
    return (text.text,) if text.pair is None else (text.text, text.pair)
