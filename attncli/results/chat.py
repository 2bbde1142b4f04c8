"""The result of `attn tokenize --chat`: which message of a conversation each token belongs to. Imports no numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

from attncli.results.base import struct

if TYPE_CHECKING:
    from attncli.results.marks import Key

Span = tuple[int, int]


@struct()
class ChatMessage(NamedTuple):
    """One message of a conversation, in the text that the chat template made of it.

    start, end: all characters that the template wrote for it, half open; None where these are unknown.
    contents: characters of the message's own text, in one piece or more; None where it was not found, empty where it
    has none.
    tokens: how many the message has with its markup; a token on a border belongs to the message with content in it.
    content_tokens: those that contain some of its own text; None where that was not found.
    """

    role: str
    start: int | None
    end: int | None
    contents: tuple[Span, ...] | None
    tokens: int
    content_tokens: int | None


@struct(short=False)
class GenerationPrompt(NamedTuple):
    """The prompt for an answer at the end of the text: its characters and the number of its tokens."""

    start: int
    end: int
    tokens: int


@struct(short=False)
class RoleTokens(NamedTuple):
    """The sums over all messages of one role; the fields are those of `ChatMessage`."""

    role: str
    messages: int
    tokens: int
    content_tokens: int | None


@struct()
class Chat(NamedTuple):
    """Which message each token of a conversation belongs to.

    template: the name of the chat template.  messages: in their order.  roles: in the order of their first message.
    content_tokens: tokens that contain some of a message's own text; template_tokens: all others. None where the text
    of a message was not found.
    owners: for each token the index of its message; None for text of the template that belongs to no message.
    content: for each token whether it contains some of a message's own text.
    double_bos: the text begins with a token that the tokenizer would add again, if it adds special tokens.
    """

    template: str
    messages: tuple[ChatMessage, ...]
    generation_prompt: GenerationPrompt | None
    roles: tuple[RoleTokens, ...]
    content_tokens: int | None
    template_tokens: int | None
    owners: Annotated[tuple[int | None, ...], Key("token_messages")]
    content: Annotated[tuple[bool, ...], Key("token_is_content")]
    double_bos: bool = False
