"""Special tokens where a text should not have any: doubled ones, and ones that the text itself spells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from attncli.results.findings import Finding
from attncli.results.tokens import Token


def doubled(tokens: Sequence[Token], template: frozenset[int], *, bare: bool) -> Iterator[Finding]:
    """A special token beside the same one, as where a chat template writes one and the tokenizer adds another.

    template: the ids that the tokenizer puts around a text.  bare: the ids came without a text.
    """
    for first, second in pairwise(tokens):
        if first.id != second.id or first.id not in template or not (first.special and second.special):
            continue
        written = [token for token in (first, second) if token.start is not None]
        if not bare and len(written) != 1:
            continue
        message = f"{first.token} stands there twice" if bare else f"the text has {first.token}, and one more is added"
        hint = "leave one of the ids out" if bare else "take it out of the text, or encode with --no-special"
        own = written[0] if written else None
        yield Finding(
            "double_special",
            "warning",
            message,
            hint,
            start=own.start if own else None,
            end=own.end if own else None,
            byte_start=own.byte_start if own else None,
            tokens=(first.index, second.index),
        )


def spelled(tokens: Sequence[Token]) -> Iterator[Finding]:
    """Special tokens that the text spells and that it gets: whoever writes the text can end a turn with them."""
    for token in tokens:
        if token.special and token.start is not None:
            yield Finding(
                "special_in_text",
                "warning",
                f"{token.token} in the text becomes the special token {token.id}",
                "where others write the text, escape it or encode with split_special_tokens",
                start=token.start,
                end=token.end,
                byte_start=token.byte_start,
                tokens=(token.index,),
            )


def unknown(
    tokens: Sequence[Token], texts: Sequence[str], segments: Sequence[int], unknown_id: int | None
) -> Iterator[Finding]:
    """Tokens that stand for what the vocabulary can't spell.

    segments: for each token, the one of `texts` that it is of.
    """
    for token in tokens:
        if token.id != unknown_id:
            continue
        lost = texts[segments[token.index]][token.start : token.end] if texts and token.start is not None else ""
        what = f"{lost} becomes" if lost else "this is"
        yield Finding(
            "unknown",
            "warning",
            f"{what} {token.token}: the vocabulary can't spell it",
            "the model doesn't see what stands there; write it in other characters, or take another model",
            start=token.start,
            end=token.end,
            byte_start=token.byte_start,
            tokens=(token.index,),
        )
