"""A conversation as JSON -> what a chat template is given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from attncli.errors import FailedError, UsageError

#: Shown wherever a conversation has another shape.
SHAPE = 'write it as [{"role": "user", "content": "Hello"}], or as {"messages": […], "tools": […]}'

#: The names that models have for what was thought before an answer; templates read the first, gpt-oss's the second.
_REASONING = ("reasoning_content", "thinking", "reasoning")

Message = Mapping[str, object]


class Conversation(NamedTuple):
    """Messages, and the other variables of a template: `tools`, `documents` (None where there are none), any more."""

    messages: tuple[Message, ...]
    variables: Mapping[str, object]


def parse_conversation(text: str) -> Conversation:
    """Read a conversation: a JSON list of messages, or an object that holds `messages` and further variables.

    Raises UsageError where there is none, FailedError where it isn't JSON or has another shape.
    """
    if not text.strip():
        raise UsageError("the conversation is empty", hint=SHAPE)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise FailedError(f"the conversation is not JSON: {error.msg} at {place}", hint=SHAPE) from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, a thousand brackets
        raise FailedError(f"the conversation can't be read: {error}", hint=SHAPE) from error
    return conversation(value)


def conversation(value: object) -> Conversation:
    """The same from a value: a list of messages, or an object that holds it.

    Messages are brought into the form that transformers gives to templates: without keys that are null, and with the
    reasoning under each of its names.

    Raises UsageError where there are no messages, FailedError where something has another shape.
    """
    fields: Mapping[str, object] = value if isinstance(value, Mapping) else {"messages": value}
    if "messages" not in fields:
        raise FailedError("the conversation has no messages", hint=SHAPE)
    messages = fields["messages"]
    if not isinstance(messages, list | tuple):
        raise FailedError(f"the messages of a conversation are a list, and this is {_kind(messages)}", hint=SHAPE)
    if not messages:
        raise UsageError("the conversation has no messages", hint=SHAPE)
    return Conversation(tuple(_message(entry, place) for place, entry in enumerate(messages, 1)), _variables(fields))


def _variables(fields: Mapping[str, object]) -> dict[str, object]:
    variables = {"tools": None, "documents": None, **{name: fields[name] for name in fields if name != "messages"}}
    for name in ("tools", "documents"):
        entries = variables[name]
        if entries is not None and not (isinstance(entries, list) and all(isinstance(each, dict) for each in entries)):
            hint = f'write them beside the messages: {{"messages": […], "{name}": [{{…}}]}}'
            raise FailedError(f"the {name} of a conversation are a list of objects, and these are not", hint=hint)
    if "add_generation_prompt" in variables:
        hint = "leave it out; --generation-prompt asks for it"
        raise FailedError("add_generation_prompt is no part of a conversation", hint=hint)
    return variables


def _message(entry: object, place: int) -> Message:
    if isinstance(entry, list):
        hint = "give a conversation at a time, or one a line with --lines"
        raise FailedError(f"message {place} is a list, as where there are several conversations", hint=hint)
    if not isinstance(entry, Mapping):
        raise FailedError(f"message {place} is {_kind(entry)}, and no object", hint=SHAPE)
    message = {str(key): value for key, value in entry.items() if value is not None}
    if not isinstance(message.get("role"), str):
        raise FailedError(f"message {place} has no role", hint=SHAPE)
    if len(message) == 1:
        raise FailedError(f"message {place} has no content", hint=SHAPE)
    _check_content(message.get("content", ""), place)
    reasoning = next((message[key] for key in _REASONING if key in message), None)
    if reasoning is not None:
        message = {"thinking": reasoning, **message, "reasoning_content": reasoning}
    return message


def _check_content(content: object, place: int) -> None:
    """A text, or a list of parts; an object is what some tools answer."""
    if isinstance(content, list):
        wrong = next((part for part in content if not isinstance(part, str | Mapping)), None)
        if wrong is not None:
            hint = 'write a part as {"type": "text", "text": "Hello"}'
            raise FailedError(f"a part of the content of message {place} is {_kind(wrong)}", hint=hint)
    elif not isinstance(content, str | Mapping):
        raise FailedError(f"the content of message {place} is {_kind(content)}", hint=SHAPE)


def _kind(value: object) -> str:
    kinds = (
        (str, "a text"),
        (bool, "true or false"),
        (int | float, "a number"),
        (list, "a list"),
        (Mapping, "an object"),
    )
    return next(
        (name for kind, name in kinds if isinstance(value, kind)), "null" if value is None else "something else"
    )
