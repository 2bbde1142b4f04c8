"""A text for `heads` through the model's chat template (`--chat`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attncli.errors import UsageError

if TYPE_CHECKING:
    from attncli.api.loading import ModelLoader
    from attncli.models.chat.template import Conversation
    from attncli.models.files.model_files import ModelFiles


def is_conversation(given: Any) -> bool:
    """Whether a text is a conversation as Python objects: messages, or an object with them, and not several texts."""
    return isinstance(given, Mapping) or (
        isinstance(given, Sequence) and not isinstance(given, str) and all(isinstance(each, Mapping) for each in given)
    )


def write_chat(text: Any, loader: ModelLoader, files: ModelFiles | None) -> tuple[str, tuple[str, ...]]:
    """A conversation as the chat template writes it, up to the model's answer; and warnings.

    The template writes the special tokens too.
    Raises UsageError for an empty text, ModelError for a model without a template, FailedError where the template
    refuses the conversation.
    """
    from attncli.models.chat.chat_text import render_chat
    from attncli.models.chat.sandbox import Sandbox
    from attncli.models.chat.template import loaded_format, read_format

    conversation = _conversation(text)
    with Sandbox() as sandbox:
        form = read_format(files) if files is not None else loaded_format(loader.tokenizer, "the tokenizer")
        written = render_chat(conversation, form, sandbox, generation_prompt=True)
    return written.text, written.warnings


def _conversation(text: Any) -> Conversation:
    """JSON messages or Python objects as they are; any other text is what a user says."""
    from attncli.models.chat.template import build_conversation, parse_conversation

    if not isinstance(text, str):
        return build_conversation(text)
    if not text.strip():
        raise UsageError("the conversation is empty", hint="give a question, or messages in JSON")
    return parse_conversation(text) if _is_json(text) else build_conversation([{"role": "user", "content": text}])


def _is_json(text: str) -> bool:
    """Whether a text is meant as JSON messages; one that is broken is then an error, and no question."""
    if text.lstrip().startswith(('[{"', '{"')):
        return True
    try:
        return isinstance(json.loads(text), list | dict)
    except (ValueError, RecursionError):
        return False
