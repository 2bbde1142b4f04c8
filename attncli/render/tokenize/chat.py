"""The tokens of a conversation in a terminal: each message under its role, its content marked off from the template.

    21 tokens (6 special*) · org/chat · chat template default

     user  11 tokens, 4 of content
      <|start|>*  user  <|end|>*  ⏎⏎   ›  where  do   moles  live  ‹  <|eot|>*
      128006      882   128007    271     2940   656  62178  3974     128009
    …

    content 9 tokens · template 12 (57.1 %)
    by role: user 11 · assistant 6 · generation prompt 4

The message's content stands between `›` and `‹`. The characters are the same with colour and without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from attncli.render.common.cells import cell_width, glyphs, shorten
from attncli.render.common.document import lines_to_text
from attncli.render.common.escape import fit_width, printable
from attncli.render.common.lines import BOLD, DIM, PLAIN, Line, Style, StyledSpan, flow
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.tokenize.picture import header
from attncli.render.tokenize.token_cells import GAP, Cell, token_cells, without_emphasis, word_bar
from attncli.results.chat import Chat
from attncli.results.tokenize import TokenizedText

_LIGHT_INK = (0xFF, 0xFF, 0xFF)

#: Backgrounds of roles in the order of their first message, distinguishable by colour-blind readers.
_ROLE_COLORS = ((0x45, 0x45, 0x45), (0x00, 0x5F, 0xAF), (0x8F, 0x4B, 0x00), (0x00, 0x6B, 0x5B), (0x87, 0x1F, 0x78))

#: The same with sixteen colours, those dark enough for light text.
_ROLE_COLORS_16 = ((0x80, 0x80, 0x80), (0x00, 0x00, 0x80), (0x80, 0x00, 0x00), (0x00, 0x80, 0x00), (0x80, 0x00, 0x80))

_INDENT = 2

#: Cells of a role or of a template's name.
_MAX_NAME_CELLS = 24

#: Messages not found in the text that are named.
_MAX_LISTED = 5


class _Part(NamedTuple):
    """A run of tokens of one message (its index), of the template, or of the generation prompt."""

    owner: int | str | None
    first: int
    last: int


def chat_text(text: TokenizedText, chat: Chat, terminal: Terminal, *, count: int | None = None) -> str:
    """The tokens of a conversation by message, and the number for each role.

    chat: which message each token of `text` belongs to.  count: the number of texts; None if unknown.

    No line is wider than the terminal.
    """
    return lines_to_text(_picture(text, chat, count, terminal), terminal)


def _picture(text: TokenizedText, chat: Chat, count: int | None, terminal: Terminal) -> Iterator[Line]:
    separator = glyphs(terminal).separator
    name = f"{separator}chat template {_short_name(chat.template, terminal)}"
    yield from flow(
        [header(text, count, terminal), Line.of(StyledSpan(name.removeprefix(separator), DIM))],
        separator=separator,
        width=terminal.width,
        indent=_INDENT,
    )
    cells, _ = token_cells(text, terminal)
    colors = _role_styles(chat, terminal)
    for part in _parts(text, chat):
        yield Line()
        yield _heading(part, chat, colors, terminal)
        for row in _rows(_items(part, cells, chat, terminal), terminal):
            yield from row
    yield Line()
    yield from _summary(chat, terminal)


def _parts(text: TokenizedText, chat: Chat) -> Iterator[_Part]:
    owners = _owners(text, chat)
    for owner, run in groupby(range(len(owners)), key=owners.__getitem__):
        places = list(run)
        yield _Part(owner, places[0], places[-1] + 1)


def _owners(text: TokenizedText, chat: Chat) -> list[int | str | None]:
    prompt = chat.generation_prompt
    if prompt is None:
        return list(chat.owners)
    return [
        _PROMPT if owner is None and token.start is not None and token.start >= prompt.start else owner
        for owner, token in zip(chat.owners, text.tokens, strict=True)
    ]


_PROMPT, _TEMPLATE = "generation prompt", "template"


def _heading(part: _Part, chat: Chat, colors: dict[str, Style], terminal: Terminal) -> Line:
    tokens = part.last - part.first
    content = sum(chat.content[part.first : part.last])
    counted = f" {_token_count(tokens)}" + (f", {content:,} of content" if content else "")
    if not isinstance(part.owner, int):
        return Line.of(StyledSpan(part.owner or _TEMPLATE, DIM), StyledSpan(counted, DIM))
    role = chat.messages[part.owner].role
    return Line.of(StyledSpan(f" {_short_name(role, terminal)} ", colors[role]), counted)


def _role_styles(chat: Chat, terminal: Terminal) -> dict[str, Style]:
    colors = _ROLE_COLORS_16 if terminal.color is ColorDepth.ANSI else _ROLE_COLORS
    return {
        role.role: Style(_LIGHT_INK, colors[index % len(colors)], bold=True) for index, role in enumerate(chat.roles)
    }


class _Item(NamedTuple):
    """A text over an id, with the separator to the item before."""

    before: StyledSpan
    text: str
    id: str
    style: Style
    begins_line: bool = False


def _items(part: _Part, cells: Sequence[Cell], chat: Chat, terminal: Terminal) -> Iterator[_Item]:
    """The cells of a part, with marks where content begins and ends."""
    opening, closing = ("›", "‹") if terminal.unicode else (">", "<")
    inside = False
    for index in range(part.first, part.last):
        cell, content = cells[index], chat.content[index]
        at_mark = content != inside
        if at_mark:
            yield _Item(StyledSpan(GAP), opening if content else closing, "", BOLD)
            inside = content
        goes_on = cell.continues_word and not at_mark and index > part.first
        before = word_bar(cell.in_cut_word and content, terminal) if goes_on else StyledSpan(GAP)
        style = cell.style if content else DIM
        yield _Item(before, cell.text, cell.id, style, cell.begins_line and not at_mark)
    if inside:
        yield _Item(StyledSpan(GAP), closing, "", BOLD)


def _rows(items: Iterator[_Item], terminal: Terminal) -> Iterator[tuple[Line, Line]]:
    """The items in rows as wide as the terminal: a line of texts, and one of ids beneath."""
    texts: list[StyledSpan] = []
    ids: list[StyledSpan] = []
    used = 0
    for item in items:
        room = terminal.width - _INDENT
        width = min(max(cell_width(item.text), len(item.id)), room)
        if texts and (item.begins_line or used + len(item.before.text) + width > room):
            yield _indented_line(texts), _indented_line(ids)
            texts, ids, used = [], [], 0
        if texts:
            texts.append(item.before)
            ids.append(item.before)
            used += len(item.before.text)
        texts.append(StyledSpan(fit_width(item.text, width, terminal), item.style))
        ids.append(StyledSpan(fit_width(item.id, width, terminal), without_emphasis(item.style) if item.id else PLAIN))
        used += width
    if texts:
        yield _indented_line(texts), _indented_line(ids)


def _indented_line(spans: Sequence[StyledSpan]) -> Line:
    return Line((StyledSpan(" " * _INDENT), *spans))


def _summary(chat: Chat, terminal: Terminal) -> Iterator[Line]:
    separator = glyphs(terminal).separator
    parts = [Line.of(StyledSpan(part, DIM)) for part in _share_phrases(chat)]
    yield from flow(parts, separator=separator, width=terminal.width, indent=_INDENT)
    roles = [f"{_short_name(role.role, terminal)} {role.tokens:,}" for role in chat.roles]
    others = sum(owner is None for owner in chat.owners)
    if chat.generation_prompt is not None:
        roles.append(f"{_PROMPT} {chat.generation_prompt.tokens:,}")
        others -= chat.generation_prompt.tokens
    roles += [f"{_TEMPLATE} alone {others:,}"] * bool(others)
    by_role = [Line.of(StyledSpan(f"by role: {part}" if index == 0 else part, DIM)) for index, part in enumerate(roles)]
    yield from flow(by_role, separator=separator, width=terminal.width, indent=_INDENT)
    yield from _note_lines(chat, terminal)


def _share_phrases(chat: Chat) -> Iterator[str]:
    if chat.content_tokens is None or chat.template_tokens is None:
        yield "content unknown: a message was not found in the text"
        return
    share = chat.template_tokens / max(len(chat.owners), 1)
    yield f"content {_token_count(chat.content_tokens)}"
    yield f"template {chat.template_tokens:,} ({share:.1%})"


def _note_lines(chat: Chat, terminal: Terminal) -> Iterator[Line]:
    missing = [
        f"{index} ({_short_name(message.role, terminal)})"
        for index, message in enumerate(chat.messages, 1)
        if message.contents is None or (message.start is None and not message.contents)
    ]
    if missing:
        more = [f"and {len(missing) - _MAX_LISTED:,} more"] if len(missing) > _MAX_LISTED else []
        parts = [Line.of(part) for part in ("not found in the text: message", *missing[:_MAX_LISTED], *more)]
        yield from flow(parts, separator=" ", width=terminal.width, indent=_INDENT)
    if chat.double_bos:
        words = (
            "the template writes a special token that the tokenizer would add again: tokenize the text without "
            "adding any"
        )
        yield from flow([Line.of(word) for word in words.split()], separator=" ", width=terminal.width, indent=_INDENT)


def _token_count(count: int) -> str:
    return f"{count:,} token{'' if count == 1 else 's'}"


def _short_name(name: str, terminal: Terminal) -> str:
    return shorten(printable(name, unicode=terminal.unicode), _MAX_NAME_CELLS, glyphs(terminal).cut)
