"""Assigning the tokens of a conversation to messages and roles."""

from __future__ import annotations

import pytest

from attncli.models.chat.chat_text import ChatText, MessagePlace
from attncli.models.tokenizers.tokenizer_loader import wrap_tokenizer
from attncli.results.chat import Chat, ChatMessage, GenerationPrompt, RoleTokens
from attncli.results.tokenize import TokenizedText
from attncli.results.tokens import Token
from attncli.tokens.chat_roles import assign_messages, has_double_bos
from attncli.tokens.encode import encode, measure
from tests.tokens import vocabularies as made

#: `<s>[u] Hi[/u][a]Ho  x[/a][a]`, cut as in SPANS.
TEXT = "<s>[u] Hi[/u][a]Ho  x[/a][a]"
SPANS = [(0, 3), (3, 6), (6, 9), (9, 13), (13, 16), (16, 19), (19, 21), (21, 25), (25, 28)]
CHAT = ChatText(
    TEXT,
    "default",
    (MessagePlace("u", (3, 13), ((7, 9),)), MessagePlace("a", (13, 25), ((16, 18), (20, 21)))),
    generation=(25, 28),
)


def tokenize_text(spans: list[tuple[int, int] | None], text: str = TEXT) -> TokenizedText:
    tokens = tuple(
        Token(index, index, text[slice(*span)] if span else "?", "", *(span or (None, None)))
        for index, span in enumerate(spans)
    )
    return TokenizedText(0, "org/chat", text, tokens, stats=None)


def test_every_token_has_its_owner() -> None:
    assert assign_messages(tokenize_text(SPANS), CHAT) == Chat(
        template="default",
        messages=(
            ChatMessage("u", 3, 13, ((7, 9),), tokens=3, content_tokens=1),
            ChatMessage("a", 13, 25, ((16, 18), (20, 21)), tokens=4, content_tokens=2),
        ),
        generation_prompt=GenerationPrompt(25, 28, tokens=1),
        roles=(RoleTokens("u", 1, 3, 1), RoleTokens("a", 1, 4, 2)),
        content_tokens=3,
        template_tokens=6,
        owners=(None, 0, 0, 0, 1, 1, 1, 1, None),
        content=(False, False, True, False, False, True, True, False, False),
    )


def test_the_parts_add_up() -> None:
    chat = assign_messages(tokenize_text(SPANS), CHAT)
    assert chat.generation_prompt is not None
    own = sum(message.tokens for message in chat.messages)
    alone = sum(owner is None for owner in chat.owners)
    assert own + alone == len(SPANS) == chat.content_tokens + chat.template_tokens
    assert sum(role.tokens for role in chat.roles) == own


@pytest.mark.parametrize(
    ("span", "owner", "content"),
    [
        ((9, 17), 1, True),  # over the border of two messages: whose content it holds
        ((8, 14), 0, True),
        ((12, 14), 0, False),  # content of neither: where it begins
        ((8, 17), 1, True),  # content of both: the later one
        ((7, 7), 0, False),  # no character at all
        ((18, 20), 1, False),  # between two pieces of content
        (None, None, False),
    ],
)
def test_tokens_on_borders(span: tuple[int, int] | None, owner: int | None, content: bool) -> None:
    chat = assign_messages(tokenize_text([span]), CHAT)
    assert (chat.owners, chat.content) == ((owner,), (content,))


def test_what_was_not_found_is_not_counted() -> None:
    lost = ChatText(TEXT, "x", (MessagePlace("u", (3, 13), None), MessagePlace("u", None, ()), *CHAT.messages[1:]))
    chat = assign_messages(tokenize_text(SPANS), lost)
    assert [message.content_tokens for message in chat.messages] == [None, 0, 2]
    assert chat.roles == (RoleTokens("u", 2, 3, None), RoleTokens("a", 1, 4, 2))
    assert (chat.content_tokens, chat.template_tokens, chat.generation_prompt) == (None, None, None)


@pytest.mark.parametrize(
    ("bos", "text", "double"), [(True, "<s>the mole", True), (True, "the mole", False), (False, "<s>the mole", False)]
)
def test_double_bos(bos: bool, text: str, double: bool) -> None:
    tokenizer = wrap_tokenizer(made.byte_bpe(bos=bos))
    encoded = encode(tokenizer, text, special=False)
    tokenized = TokenizedText(0, "m", text, encoded.tokens, measure(encoded, [text]))
    assert has_double_bos(tokenized, tokenizer) is double


def test_no_double_bos_without_a_token() -> None:
    assert not has_double_bos(TokenizedText(0, "m", "", (), None), wrap_tokenizer(made.byte_bpe()))
