"""Render a conversation with a model's chat template, and find where each message is in the text.

A template only returns a text. Where its messages are is found by more renderings: with marks around each content,
which show where the contents are; and of the first 0, 1, 2, … messages alone (or the last ones), which end where the
next message begins, wherever they are the beginning (or the end) of the whole text. What is not certain stays unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from attncli.errors import AttnError, FailedError, ModelError
from attncli.models.chat.sandbox import Call, Rendering, Sandbox, StoppedError
from attncli.models.chat.template import ChatFormat, ChatTemplate, Conversation, Message

Span = tuple[int, int]

#: Marks around the contents: private characters, one pair for each of at most `MOST_MARKED` messages.
_OPENING, _CLOSING, MOST_MARKED = 0xF0000, 0x100000, 0xFFFE
_MARK = re.compile(f"[{chr(_OPENING)}-{chr(0x10FFFF)}]")

#: Most messages of which each beginning is rendered; for more, only the contents are found.
_MOST_PARTS = 256

#: Characters of a failing statement that are shown.
_EXCERPT = 80


class MessagePlace(NamedTuple):
    """Where a message is in the text, in characters, half open.

    span: everything that the template writes for it; None where that can't be separated from its neighbours.
    contents: its own text, in one piece or more; empty where it has none. None where it was not found.
    """

    role: str
    span: Span | None
    contents: tuple[Span, ...] | None


# --- Marks around the contents


def has_marks(text: str) -> bool:
    """Whether a text holds characters that are used as marks."""
    return _MARK.search(text) is not None


def content_texts(message: Message) -> list[str]:
    """The texts of a message's content: one, or one for each part."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    return [text for text in texts if isinstance(text, str)]


def mark_contents(message: Message, place: int, inside: bool) -> Message:
    """A copy of a message with the marks of its place around each text.  inside: within the space around it."""
    content = message.get("content")
    if isinstance(content, list):
        return {**message, "content": [_mark_part(part, place, inside) for part in content]}
    return {**message, "content": _mark_text(content, place, inside)} if isinstance(content, str) else message


def _mark_part(part: object, place: int, inside: bool) -> object:
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return {**part, "text": _mark_text(part["text"], place, inside)}
    return _mark_text(part, place, inside) if isinstance(part, str) else part


def _mark_text(text: str, place: int, inside: bool) -> str:
    inner = text.strip()
    if not inner:
        return text
    before, _, after = text.partition(inner) if inside else ("", "", "")
    return f"{before}{chr(_OPENING + place)}{inner if inside else text}{chr(_CLOSING + place)}{after}"


def find_marked_spans(rendering: str | None, text: str) -> dict[int, tuple[Span, ...]] | None:
    """The spans of each place, from a rendering with marks; None where it isn't `text` with marks added."""
    if rendering is None:
        return None
    pieces: list[str] = []
    length = last = 0
    opened: dict[int, int] = {}
    spans: dict[int, tuple[Span, ...]] = {}
    for match in _MARK.finditer(rendering):
        pieces.append(rendering[last : match.start()])
        length, last = length + len(pieces[-1]), match.end()
        number = ord(match.group())
        if number < _CLOSING:
            opened[number - _OPENING] = length
        elif (start := opened.pop(number - _CLOSING, None)) is not None:
            place = number - _CLOSING
            spans[place] = (*spans.get(place, ()), (start, length))
    return spans if "".join([*pieces, rendering[last:]]) == text else None


# --- Boundaries of messages


def first_message_start(once: str | None, twice: str | None) -> int:
    """Where the first message begins, from the renderings of that message once and twice.

    Needed for a template that fails without messages; 0 where it isn't known.
    """
    if once is None or twice is None or not twice.startswith(once):
        return 0
    added = twice[len(once) :]
    return len(once) - len(added) if added and once.endswith(added) else 0


def ending_start(text: str, ending: str | None, first: int) -> int | None:
    """Where the last messages begin in the text, from `ending`, their rendering alone; None where it doesn't match.

    first: where the first message begins, after what the template writes before all messages.
    """
    if ending is None or len(ending) <= first or ending[:first] != text[:first] or not text.endswith(ending[first:]):
        return None
    return len(text) - len(ending) + first


def message_spans(
    contents: Sequence[tuple[Span, ...] | None], boundaries: Mapping[int, int], end: int
) -> Iterator[Span | None]:
    """The span of each message: between its two boundaries, or of its contents where a boundary is unknown."""
    known: dict[int, int] = {}
    for place, at in sorted({**boundaries, len(contents): end}.items()):
        # A boundary has the contents of earlier messages before it, and the others after.
        before = (end for spans in contents[:place] for _, end in spans or ())
        after = (start for spans in contents[place:] for start, _ in spans or ())
        if max(before, default=0) <= at <= min(after, default=at):
            known[place] = at
    if any(left > right for left, right in pairwise(known.values())):
        known = {}
    for place, spans in enumerate(contents):
        if place in known and place + 1 in known:
            yield known[place], known[place + 1]
        else:
            yield (spans[0][0], spans[-1][1]) if spans else None


# --- Rendering


class ChatText(NamedTuple):
    """A conversation as a template writes it.

    template: its name.  generation: the generation prompt, if requested and the template has one.
    warnings: messages for the user.
    """

    text: str
    template: str
    messages: tuple[MessagePlace, ...]
    generation: Span | None = None
    warnings: tuple[str, ...] = ()


def render_chat(
    conversation: Conversation,
    form: ChatFormat,
    sandbox: Sandbox,
    *,
    template: str | None = None,
    generation_prompt: bool = False,
) -> ChatText:
    """Render a conversation with a model's chat template.

    template: the name of one of several.  generation_prompt: add the prompt that makes the model answer.

    Raises ModelError where there is no such template, or it is broken or takes too long, and FailedError where it
    refuses the conversation or fails on it.
    """
    chosen = form.template(template, tools=conversation.variables.get("tools") is not None)
    run = _TemplateRun(sandbox, form, chosen, conversation)
    every = range(len(conversation.messages))
    try:
        whole, plain = run.render([Call(every, generation_prompt), Call(every)])
    except StoppedError as error:
        raise run.stopped(slow=error.slow) from error
    if whole.text is None:
        raise run.failure(whole)
    generation = (
        (len(plain.text), len(whole.text))
        if plain.text is not None and whole.text != plain.text and whole.text.startswith(plain.text)
        else None
    )
    messages, warnings = run.locate_messages(whole.text, generation_prompt, generation)
    return ChatText(whole.text, chosen.name, messages, generation, tuple(warnings))


class _TemplateRun(NamedTuple):
    """One conversation and the template that renders it."""

    sandbox: Sandbox
    form: ChatFormat
    template: ChatTemplate
    conversation: Conversation

    def render(self, calls: Sequence[Call], marked: Sequence[Message] = ()) -> list[Rendering]:
        """Render the messages. In the calls, the indices of the `marked` ones follow on. Raises StoppedError."""
        variables = {**self.form.special_tokens, **self.conversation.variables}
        messages = [*self.conversation.messages, *marked]
        return self.sandbox.render(self.template.source, messages, variables, calls)

    def locate_messages(
        self, text: str, prompted: bool, generation: Span | None
    ) -> tuple[tuple[MessagePlace, ...], list[str]]:
        """Where the messages are in the text, and warnings.

        prompted: whether the generation prompt was requested.  generation: where it is.
        """
        roles = [str(message["role"]) for message in self.conversation.messages]
        warnings = list(self._warnings(prompted and generation is None))
        end = len(text) if generation is None else generation[0]
        try:
            contents = self.contents(text, prompted)
            boundaries = self.boundaries(text, end)
        except StoppedError:
            warnings.append(
                f"the chat template of {self.form.model} is slow, so the positions of its messages were not looked up"
            )
            return tuple(MessagePlace(role, None, None) for role in roles), warnings
        spans = message_spans(contents, boundaries, end)
        return tuple(map(MessagePlace, roles, spans, contents)), warnings

    def contents(self, text: str, generation: bool) -> list[tuple[Span, ...] | None]:
        """The spans of each message's contents in the text; None for those that aren't found."""
        messages = self.conversation.messages
        count = len(messages)
        if has_marks(text) or count > MOST_MARKED:
            return [None] * count
        every = [range(count, 2 * count)]
        # With marks outside the space around a text first: a template that strips contents fits only marks inside it.
        for inside in (False, True):
            if (found := self._find_marked(every, text, generation, inside)[0]) is not None:
                break
        else:
            # The template depends on some content, so that a mark changes its output: mark one message at a time.
            picks = [[*range(i), count + i, *range(i + 1, count)] for i in range(min(count, _MOST_PARTS))]
            singles = self._find_marked(picks, text, generation, True)
            found = {index: (single or {}).get(index, ()) for index, single in enumerate(singles)}
        return [
            found.get(index, ()) or (None if any(text.strip() for text in content_texts(message)) else ())
            for index, message in enumerate(messages)
        ]

    def _find_marked(
        self, picks: Sequence[Sequence[int]], text: str, generation: bool, inside: bool
    ) -> list[dict[int, tuple[Span, ...]] | None]:
        """The spans in each rendering with marks.  picks: messages by index; those of the marked ones follow on."""
        marks = [mark_contents(message, index, inside) for index, message in enumerate(self.conversation.messages)]
        renderings = self.render([Call(pick, generation) for pick in picks], marks)
        return [find_marked_spans(each.text, text) for each in renderings]

    def boundaries(self, text: str, end: int) -> dict[int, int]:
        """Where messages begin in the text, by index, as far as renderings of parts of the conversation show.

        end: where the last message ends.
        """
        count = len(self.conversation.messages)
        if count > _MOST_PARTS:
            return {0: 0}
        calls = [Call([0]), Call([0, 0]), *(Call(range(length)) for length in range(count))]
        once, twice, *beginnings = (each.text for each in self.render(calls))
        known = {i: len(part) for i, part in enumerate(beginnings) if part is not None and text.startswith(part)}
        first = known.setdefault(0, first_message_start(once, twice))
        # Where a message is written differently when it is the last one, the messages after it may show the boundary.
        unknown = [index for index in range(count) if index not in known]
        endings = (each.text for each in self.render([Call(range(index, count)) for index in unknown]))
        found = {i: ending_start(text[:end], part, first) for i, part in zip(unknown, endings, strict=True)}
        return {**known, **{index: at for index, at in found.items() if at is not None}}

    def failure(self, rendering: Rendering) -> AttnError:
        """The error for a failed rendering, with its place in the template."""
        if rendering.kind == "memory":
            return self.stopped(slow=False)
        where = self.template.origin
        if rendering.line is not None:
            column = "" if rendering.column is None else f", column {rendering.column}"
            excerpt = rendering.excerpt if len(rendering.excerpt) <= _EXCERPT else f"{rendering.excerpt[:_EXCERPT]}…"
            where += f", line {rendering.line}{column}: {excerpt}"
        subject = f"the chat template of {self.form.model}"
        message = f"{' '.join(rendering.message.split()).rstrip('.')} ({where})"
        if rendering.kind == "syntax":
            return ModelError(f"{subject} is broken: {message}", hint=self._other_hint)
        if rendering.kind == "refused":
            return FailedError(f"{subject} refuses the conversation: {message}", hint="change the messages accordingly")
        hint = "add what the template needs there, in a message or next to the messages"
        return FailedError(f"{subject} fails on the conversation: {message}", hint=hint)

    def stopped(self, *, slow: bool) -> ModelError:
        """The error for a template that had to be stopped."""
        limit = f"{self.sandbox.seconds:g} seconds" if slow else "memory than is allowed"
        message = f"the chat template of {self.form.model} ({self.template.origin}) took more {'than ' * slow}{limit}"
        return ModelError(f"{message} and was stopped", hint=self._other_hint)

    def _warnings(self, lacks_prompt: bool) -> Iterator[str]:
        subject = f"the chat template of {self.form.model}"
        for name in self.form.undefined_tokens(self.template):
            yield f"{subject} uses {name}, which its files don't define"
        for name in ("tools", "documents"):
            if self.conversation.variables.get(name) and name not in self.template.source:
                yield f"{subject} doesn't use {name}: they are left out"
        if lacks_prompt:
            yield f"{subject} has no generation prompt"

    @property
    def _other_hint(self) -> str:
        others = [name for name in self.form.templates if name != self.template.name]
        return f"choose another with --template: {', '.join(others)}" if others else "use another model (-m)"
