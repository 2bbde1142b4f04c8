"""Conversations on their way to tokens: each model writes them with a chat template of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attncli.errors import AttnError
from attncli.models.chat.chat_text import ChatText, render_chat
from attncli.models.chat.sandbox import Sandbox
from attncli.models.chat.template import (
    ChatFormat,
    Conversation,
    conversation,
    loaded_format,
    parse_conversation,
    read_format,
)
from attncli.verbs.readers import Reader


class Chatting:
    """The chat templates of all readers, and the child process that renders them.

    template: the name of one of several.  generation_prompt: with what makes the model answer.
    """

    def __init__(
        self, readers: Sequence[Reader], sandbox: Sandbox, *, template: str | None, generation_prompt: bool
    ) -> None:
        self._template = template
        self._generation_prompt = generation_prompt
        self._formats = {id(reader): _format(reader, template) for reader in readers}
        self._sandbox = sandbox

    def written(self, given: Conversation, reader: Reader) -> ChatText:
        """A conversation as the model of `reader` reads it. Raises as `render_chat` does."""
        return render_chat(
            given,
            self._formats[id(reader)],
            self._sandbox,
            template=self._template,
            generation_prompt=self._generation_prompt,
        )


def read_conversation(given: Any) -> Conversation:
    """JSON, or what it would hold: a list of messages, or an object with them. Raises AttnError for anything else."""
    return parse_conversation(given) if isinstance(given, str) else conversation(given)


def conversations(texts: Iterable[str], *, lines: bool) -> Iterator[Conversation]:
    """A conversation a text; where each is a line, blank ones are passed over, as JSON Lines allows.

    Raises as `read_conversation` does, and says in which line.
    """
    for number, text in enumerate(texts, start=1):
        if lines and not text.strip():
            continue
        try:
            yield read_conversation(text)
        except AttnError as error:
            if lines:
                error.message = f"line {number}: {error.message}"
            raise


def _format(reader: Reader, template: str | None) -> ChatFormat:
    if reader.files is None:
        return loaded_format(reader.given, reader.model)
    return read_format(reader.files, template)
