"""Conversations as input of `attn tokenize`: parse them, and render them with the chat template of each model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attncli.api.loading import LoadedTokenizer
from attncli.errors import AttnError
from attncli.models.chat.chat_text import ChatText, render_chat
from attncli.models.chat.sandbox import Sandbox
from attncli.models.chat.template import (
    ChatFormat,
    Conversation,
    build_conversation,
    loaded_format,
    parse_conversation,
    read_format,
)


class ChatRenderer:
    """Renders conversations with the chat template of each model, in a child process.

    template: the name of one of several templates.  generation_prompt: add what begins the model's answer.
    """

    def __init__(
        self, tokenizers: Sequence[LoadedTokenizer], sandbox: Sandbox, *, template: str | None, generation_prompt: bool
    ) -> None:
        self._template = template
        self._generation_prompt = generation_prompt
        self._formats = {id(loaded): _chat_format(loaded, template) for loaded in tokenizers}
        self._sandbox = sandbox

    def render(self, conversation: Conversation, loaded: LoadedTokenizer) -> ChatText:
        """A conversation as text, in the format of one model. Raises as `render_chat` does."""
        return render_chat(
            conversation,
            self._formats[id(loaded)],
            self._sandbox,
            template=self._template,
            generation_prompt=self._generation_prompt,
        )


def read_conversation(given: Any) -> Conversation:
    """A conversation from JSON or Python objects: a list of messages, or an object with them.

    Raises AttnError for anything else.
    """
    return parse_conversation(given) if isinstance(given, str) else build_conversation(given)


def parse_conversations(texts: Iterable[str], *, lines: bool) -> Iterator[Conversation]:
    """A conversation from each text; with `lines`, each is a line of JSON Lines, and blank ones are skipped.

    Raises as `read_conversation` does, with the number of the line.
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


def _chat_format(loaded: LoadedTokenizer, template: str | None) -> ChatFormat:
    if loaded.files is None:
        return loaded_format(loaded.user_object, loaded.model)
    return read_format(loaded.files, template)
