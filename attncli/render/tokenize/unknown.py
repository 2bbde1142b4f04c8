"""Unknown tokens, and the text that each stands for."""

from __future__ import annotations

from attncli.results.tokenize import TokenizedText, own_texts, sequences


def unknown_tokens(text: TokenizedText) -> dict[int, str]:
    """By index of an unknown token, the part of the text that it took the place of; empty where that is not known."""
    if text.unknown_id is None or text.text is None:
        return {}
    texts = own_texts(text)
    places = zip(text.tokens, sequences(text), strict=True)
    return {
        index: "" if owner is None else texts[owner][token.start : token.end].strip()
        for index, (token, owner) in enumerate(places)
        if token.id == text.unknown_id and not token.special
    }
