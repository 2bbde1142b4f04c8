"""Assign each token of a rendered conversation to its message and role."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from attncli.results.chat import Chat, ChatMessage, GenerationPrompt, RoleTokens
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.models.chat.chat_text import ChatText
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.tokenize import TokenizedText

Span = tuple[int, int]


def assign_messages(text: TokenizedText, chat: ChatText, *, double_bos: bool = False) -> Chat:
    """Assign each token to a message.

    text: the rendered conversation, tokenized without added special tokens.  double_bos: as `has_double_bos` gives.

    A token with some of a message's content is content of that message, even if it begins or ends with characters of
    the template; any other token belongs to the message in whose span it begins.
    """
    contents = _MessageSpans(
        (span, index) for index, place in enumerate(chat.messages) for span in place.contents or ()
    )
    spans = _MessageSpans((place.span, index) for index, place in enumerate(chat.messages) if place.span is not None)
    content_owners = [contents.touched_by(token) for token in text.tokens]
    owners = tuple(
        spans.containing_start(token) if owner is None else owner
        for token, owner in zip(text.tokens, content_owners, strict=True)
    )
    tokens, content = Counter(owners), Counter(content_owners)
    messages = tuple(
        ChatMessage(
            role, *(span or (None, None)), contents, tokens[index], None if contents is None else content[index]
        )  # type: ignore[call-arg]  # two values in either case
        for index, (role, span, contents) in enumerate(chat.messages)
    )
    known = all(message.content_tokens is not None for message in messages)
    content_tokens = sum(owner is not None for owner in content_owners)
    return Chat(
        template=chat.template,
        messages=messages,
        generation_prompt=_generation_prompt(chat.generation, text.tokens, owners),
        roles=tuple(_role_tokens(messages)),
        content_tokens=content_tokens if known else None,
        template_tokens=len(text.tokens) - content_tokens if known else None,
        owners=owners,
        content=tuple(owner is not None for owner in content_owners),
        double_bos=double_bos,
    )


def has_double_bos(text: TokenizedText, tokenizer: Tokenizer) -> bool:
    """Whether adding special tokens would double the one that a text begins with.

    This happens if a rendered conversation is tokenized like any other text.
    """
    if text.text is None or not text.tokens or text.tokens[0].end is None:
        return False
    first = text.tokens[0]
    ids = list(tokenizer.encode(text.text[: first.end]).ids)
    return ids[:2] == [first.id, first.id]


class _MessageSpans:
    """Spans of a text that don't overlap, each with the index of its message."""

    def __init__(self, places: Iterable[tuple[Span, int]]) -> None:
        self._places = sorted(places)
        self._starts = [start for (start, _), _ in self._places]

    def touched_by(self, token: Token) -> int | None:
        """The last message whose span contains a character of the token."""
        if token.start is None or token.end is None:
            return None
        # An empty span is a space that the offsets leave out: it is content if there is content on both sides.
        found = self._before(token.end - 1)
        return found[1] if found is not None and found[0][1] > token.start else None

    def containing_start(self, token: Token) -> int | None:
        """The message in whose span the token begins."""
        found = None if token.start is None else self._before(token.start)
        return found[1] if found is not None and token.start is not None and token.start < found[0][1] else None

    def _before(self, at: int) -> tuple[Span, int] | None:
        """The last span that starts at or before a character."""
        place = bisect_right(self._starts, at)
        return self._places[place - 1] if place else None


def _generation_prompt(
    span: Span | None, tokens: Sequence[Token], owners: Sequence[int | None]
) -> GenerationPrompt | None:
    if span is None:
        return None
    matching = (owner is None and (token.start or 0) >= span[0] for token, owner in zip(tokens, owners, strict=True))
    return GenerationPrompt(*span, tokens=sum(matching))


def _role_tokens(messages: Sequence[ChatMessage]) -> Iterator[RoleTokens]:
    for role in dict.fromkeys(message.role for message in messages):
        matching = [message for message in messages if message.role == role]
        contents = [message.content_tokens for message in matching if message.content_tokens is not None]
        known = len(contents) == len(matching)
        yield RoleTokens(
            role, len(matching), sum(message.tokens for message in matching), sum(contents) if known else None
        )
