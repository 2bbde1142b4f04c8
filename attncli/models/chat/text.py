"""A conversation through a model's chat template: the text that it reads, and where each message stands in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from attncli.errors import AttnError, FailedError, ModelError
from attncli.models.chat import places
from attncli.models.chat.conversation import Conversation, Message
from attncli.models.chat.places import MessagePlace, Span
from attncli.models.chat.sandbox import Call, Rendering, Sandbox, StoppedError
from attncli.models.chat.template import ChatFormat, ChatTemplate

#: Every beginning of a longer conversation would take long to render; there its contents alone are told.
_MOST_PARTS = 256

#: How much of a failing statement is shown.
_EXCERPT = 80


class ChatText(NamedTuple):
    """What a template makes of a conversation.

    template: its name.  generation: the prompt for an answer, where one was asked for and the template has one.
    warnings: what a user should know of it.
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
    """Write a conversation as a model's chat template does.

    template: the name of one of several.  generation_prompt: with what makes the model answer.

    Raises ModelError where there is no such template, or it is broken or takes too long, and FailedError where it
    refuses the conversation or fails on it.
    """
    chosen = form.template(template, tools=conversation.variables.get("tools") is not None)
    run = _Run(sandbox, form, chosen, conversation)
    every = range(len(conversation.messages))
    try:
        whole, plain = run.rendered([Call(every, generation_prompt), Call(every)])
    except StoppedError as error:
        raise run.stopped(slow=error.slow) from error
    if whole.text is None:
        raise run.failure(whole)
    generation = _rest(whole.text, plain.text)
    messages, warnings = run.located(whole.text, generation_prompt, generation)
    return ChatText(whole.text, chosen.name, messages, generation, tuple(warnings))


class _Run(NamedTuple):
    """One conversation on its way through one template."""

    sandbox: Sandbox
    form: ChatFormat
    template: ChatTemplate
    conversation: Conversation

    def rendered(self, calls: Sequence[Call], marked: Sequence[Message] = ()) -> list[Rendering]:
        """The renderings of the messages, behind which the `marked` ones are counted on. Raises StoppedError."""
        variables = {**self.form.special_tokens, **self.conversation.variables}
        messages = [*self.conversation.messages, *marked]
        return self.sandbox.render(self.template.source, messages, variables, calls)

    def located(self, text: str, asked: bool, generation: Span | None) -> tuple[tuple[MessagePlace, ...], list[str]]:
        """Where the messages stand in the text, and what is to be said of it.

        asked: for the prompt for an answer, which is at `generation`.
        """
        roles = [str(message["role"]) for message in self.conversation.messages]
        warnings = list(self._warnings(asked and generation is None))
        end = len(text) if generation is None else generation[0]
        try:
            contents = self.contents(text, asked)
            boundaries = self.boundaries(text, end)
        except StoppedError:
            warnings.append(f"the chat template of {self.form.model} is slow: where its messages stand was not sought")
            return tuple(MessagePlace(role, None, None) for role in roles), warnings
        spans = places.message_spans(contents, boundaries, end)
        return tuple(map(MessagePlace, roles, spans, contents)), warnings

    def contents(self, text: str, generation: bool) -> list[tuple[Span, ...] | None]:
        """The places of each message's contents in the text; None for those that aren't found."""
        messages = self.conversation.messages
        count = len(messages)
        if places.has_marks(text) or count > places.MOST_MARKED:
            return [None] * count
        every = [range(count, 2 * count)]
        # Many templates strip contents. Else the space around a text is a part of it too.
        for inside in (False, True):
            if (found := self._marked(every, text, generation, inside)[0]) is not None:
                break
        else:
            # The template looks into some content, where a mark changes what it does: the others one by one.
            picks = [[*range(i), count + i, *range(i + 1, count)] for i in range(min(count, _MOST_PARTS))]
            singles = self._marked(picks, text, generation, True)
            found = {index: (single or {}).get(index, ()) for index, single in enumerate(singles)}
        return [found.get(index, ()) or _none(message) for index, message in enumerate(messages)]

    def _marked(
        self, picks: Sequence[Sequence[int]], text: str, generation: bool, inside: bool
    ) -> list[dict[int, tuple[Span, ...]] | None]:
        """What marked messages show, which are counted on behind the unmarked ones; inside the space around them?"""
        marked = [places.marked(message, index, inside) for index, message in enumerate(self.conversation.messages)]
        renderings = self.rendered([Call(pick, generation) for pick in picks], marked)
        return [places.found(each.text, text) for each in renderings]

    def boundaries(self, text: str, end: int) -> dict[int, int]:
        """By the index of a message: where it begins in the text, as far as parts of the conversation tell.

        end: where the last message ends.
        """
        count = len(self.conversation.messages)
        if count > _MOST_PARTS:
            return {0: 0}
        calls = [Call([0]), Call([0, 0]), *(Call(range(length)) for length in range(count))]
        once, twice, *beginnings = (each.text for each in self.rendered(calls))
        known = {i: len(part) for i, part in enumerate(beginnings) if part is not None and text.startswith(part)}
        first = known.setdefault(0, places.before_first(once, twice))
        # Where a message looks different when it is the last one, the messages behind it may tell.
        unknown = [index for index in range(count) if index not in known]
        endings = (each.text for each in self.rendered([Call(range(index, count)) for index in unknown]))
        found = {i: places.before_ending(text[:end], part, first) for i, part in zip(unknown, endings, strict=True)}
        return {**known, **{index: at for index, at in found.items() if at is not None}}

    def failure(self, rendering: Rendering) -> AttnError:
        """Why there is no text, as an error that says where."""
        model, origin = self.form.model, self.template.origin
        if rendering.kind == "memory":
            return self.stopped(slow=False)
        where = origin if rendering.line is None else f"{origin}, {_place(rendering)}"
        said = " ".join(rendering.message.split()).rstrip(".")
        if rendering.kind == "syntax":
            return ModelError(f"the chat template of {model} is broken: {said} ({where})", hint=self._another)
        if rendering.kind == "refused":
            hint = "change the messages as it says"
            return FailedError(f"the chat template of {model} refuses the conversation: {said} ({where})", hint=hint)
        hint = "give it what that place needs, in a message or beside the messages"
        return FailedError(f"the chat template of {model} fails on the conversation: {said} ({where})", hint=hint)

    def stopped(self, *, slow: bool) -> ModelError:
        """Why there is no text, where the template had to be stopped."""
        limit = f"{self.sandbox.seconds:g} seconds" if slow else "memory than a template may"
        message = f"the chat template of {self.form.model} ({self.template.origin}) took more {'than ' * slow}{limit}"
        return ModelError(f"{message} and was stopped", hint=self._another)

    def _warnings(self, lacks_prompt: bool) -> Iterator[str]:
        for name in self.form.unnamed(self.template):
            yield f"the chat template of {self.form.model} speaks of {name}, which its files do not name"
        for name in ("tools", "documents"):
            if self.conversation.variables.get(name) and name not in self.template.source:
                yield f"the chat template of {self.form.model} knows no {name}: they are left out"
        if lacks_prompt:
            yield f"the chat template of {self.form.model} has no generation prompt"

    @property
    def _another(self) -> str:
        others = [name for name in self.form.templates if name != self.template.name]
        return f"choose another one with --template: {', '.join(others)}" if others else "try another -m"


def _place(rendering: Rendering) -> str:
    """`line 3, column 4: {{ … }}`."""
    column = "" if rendering.column is None else f", column {rendering.column}"
    excerpt = rendering.excerpt if len(rendering.excerpt) <= _EXCERPT else f"{rendering.excerpt[:_EXCERPT]}…"
    return f"line {rendering.line}{column}: {excerpt}"


def _rest(text: str, plain: str | None) -> Span | None:
    """The end that a text has beyond another one."""
    return (len(plain), len(text)) if plain is not None and text != plain and text.startswith(plain) else None


def _none(message: Message) -> tuple[Span, ...] | None:
    """What the contents of a message are that were not found: none at all, or unknown where it has some."""
    return None if any(text.strip() for text in places.own_texts(message)) else ()
