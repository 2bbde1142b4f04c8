"""The picture of a conversation: in ASCII, on narrow terminals, in colours, and with any texts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attncli.render.common.cells import cell_width
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.tokenize.chat import chat_text
from attncli.results.chat import Chat, ChatMessage, GenerationPrompt, RoleTokens
from attncli.results.tokenize import TokenizedText, TokenStats
from attncli.results.tokens import Token

STATS = TokenStats(9, 0, 5, 28, 28, 3.1, 3.1, 1.8, 1, 0.2, 0, 0.0)

TOKENS = (
    Token(0, 1, "<s>", "<s>", 0, 3, 0, 3, 0, special=True),
    Token(1, 90, "[u]", "[u]", 3, 6, 3, 6, 0, special=True),
    Token(2, 701, "▁Hi", " Hi", 6, 9, 6, 9, 1),
    Token(3, 91, "[/u]", "[/u]", 9, 13, 9, 13, 1, special=True),
    Token(4, 92, "[a]", "[a]", 13, 16, 13, 16, 1, special=True),
    Token(5, 12, "H", "H", 16, 17, 16, 17, 1),
    Token(6, 3456, "o", "o", 17, 18, 17, 18, 1),
    Token(7, 93, "[/a]", "[/a]", 18, 22, 18, 22, 1, special=True),
    Token(8, 92, "[a]", "[a]", 22, 25, 22, 25, 1, special=True),
)
TEXT = TokenizedText(0, "org/chat", "<s>[u] Hi[/u][a]Ho[/a][a]", TOKENS, STATS)
CHAT = Chat(
    template="default",
    messages=(
        ChatMessage("user", 3, 13, ((7, 9),), tokens=3, content_tokens=1),
        ChatMessage("assistant", 13, 22, ((16, 18),), tokens=4, content_tokens=2),
    ),
    generation_prompt=GenerationPrompt(22, 25, tokens=1),
    roles=(RoleTokens("user", 1, 3, 1), RoleTokens("assistant", 1, 4, 2)),
    content_tokens=3,
    template_tokens=6,
    owners=(None, 0, 0, 0, 1, 1, 1, 1, None),
    content=(False, False, True, False, False, True, True, False, False),
)


def test_in_ascii_on_a_narrow_terminal() -> None:
    text = TEXT._replace(model="org/é", record=1)
    assert chat_text(text, CHAT._replace(template="ö"), Terminal(26, unicode=False), count=3) == (
        "9 tokens (6 special*) | t~\n"
        "  chat template \\u{f6}\n"
        "\n"
        "template 1 token\n"
        "  <s>*\n"
        "  1\n"
        "\n"
        " user  3 tokens, 1 of con~\n"
        "  [u]*  >  _Hi  <  [/u]*\n"
        "  90       701     91\n"
        "\n"
        " assistant  4 tokens, 2 o~\n"
        "  [a]*  >  H ||o     <\n"
        "  92       12||3456\n"
        "  [/a]*\n"
        "  93\n"
        "\n"
        "generation prompt 1 token\n"
        "  [a]*\n"
        "  92\n"
        "\n"
        "content 3 tokens\n"
        "  template 6 (66.7%)\n"
        "by role: user 3\n"
        "  assistant 4\n"
        "  generation prompt 1\n"
        "  template alone 1\n"
    )


def test_what_is_to_be_said_besides() -> None:
    lost = tuple(ChatMessage("user", None, None, None, 0, None) for _ in range(7))
    chat = CHAT._replace(messages=(*CHAT.messages, *lost), content_tokens=None, template_tokens=None, double_bos=True)
    assert chat_text(TEXT, chat, Terminal(80), count=1).splitlines()[-6:] == [
        "content unknown: a message was not found in the text",
        "by role: user 3 · assistant 4 · generation prompt 1 · template alone 1",
        "not found in the text: message 3 (user) 4 (user) 5 (user) 6 (user) 7 (user)",
        "  and 2 more",
        "the template writes a special token that the tokenizer would add again: tokenize",
        "  the text without adding any",
    ]


@pytest.mark.parametrize("depth", [ColorDepth.ANSI, ColorDepth.EIGHT_BIT, ColorDepth.TRUE])
def test_colour_changes_no_character(depth: ColorDepth) -> None:
    plain = chat_text(TEXT, CHAT, Terminal(80))
    colored = chat_text(TEXT, CHAT, Terminal(80, depth))
    without = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert [line.rstrip() for line in without.splitlines()] == plain.splitlines()
    assert "\x1b[1;" in colored


def test_roles_have_colours_of_their_own() -> None:
    lines = chat_text(TEXT, CHAT, Terminal(80, ColorDepth.TRUE)).splitlines()
    headings = [line for line in lines if " of content" in line]
    grounds = [re.search(r"48;2;\d+;\d+;\d+", line) for line in headings]
    assert len({ground.group() for ground in grounds if ground}) == 2


ANY = st.text(max_size=12)


@settings(deadline=None)
@given(
    texts=st.lists(ANY, min_size=1, max_size=8),
    role=ANY,
    template=ANY,
    width=st.integers(20, 60),
    unicode=st.booleans(),
    data=st.data(),
)
def test_no_line_is_wider_than_the_terminal(
    texts: list[str], role: str, template: str, width: int, unicode: bool, data: st.DataObject
) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    owners = data.draw(st.lists(st.sampled_from([None, 0, 1]), min_size=len(texts), max_size=len(texts)))
    content = [owner is not None and data.draw(st.booleans()) for owner in owners]
    tokens = tuple(Token(i, 10**i, text, text, i, i + 1, i, i + 1, 0) for i, text in enumerate(texts))
    chat = CHAT._replace(
        template=template,
        messages=tuple(message._replace(role=role) for message in CHAT.messages),
        roles=(RoleTokens(role, 2, 7, None),),
        owners=tuple(owners),
        content=tuple(content),
        double_bos=True,
    )
    drawn = chat_text(TEXT._replace(tokens=tokens), chat, Terminal(width, unicode=unicode))
    assert max(map(cell_width, drawn.splitlines())) <= width
    assert not unicode or all(character.isprintable() or character in "\n\u200d\u200e" for character in drawn)
    assert unicode or drawn.isascii()
