"""A model's chat templates and their special tokens, and conversations as input for them.

Templates are looked for in the same files as in transformers: `chat_template.jinja` and `additional_chat_templates/`,
which replace the key `chat_template` of tokenizer_config.json (a text, or several by name); then, for models that only
have a processor, chat_template.json; and the metadata of a GGUF file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from attncli.errors import FailedError, ModelError, UsageError
from attncli.models.files.gguf_header import read_metadata
from attncli.models.files.reference import closest, is_plain_path
from attncli.models.tokenizers.config import TokenizerFiles, read_json

#: Names, among several templates: of the one that is used by default, and of the one for conversations with tools.
DEFAULT, TOOLS = "default", "tool_use"

_TEMPLATE_FILE = "chat_template.jinja"
_TEMPLATE_FOLDER = "additional_chat_templates/"
_PROCESSOR_FILE = "chat_template.json"
_CONFIG_FILE = "tokenizer_config.json"
_ENDING = ".jinja"

#: Names of additional templates that models use: files on the hub can only be looked for by name.
_ADDITIONAL_NAMES = (TOOLS, "rag")

#: The special tokens that a template may use, by the names of its variables.
_SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

#: Their names in GGUF metadata; `seperator` is misspelt there.
_GGUF_TOKEN_NAMES = dict(
    zip(_SPECIAL_TOKEN_NAMES, ("bos", "eos", "unknown", "seperator", "padding", "cls", "mask"), strict=True)
)


class ChatTemplate(NamedTuple):
    """A template's name, its source in jinja2, and the file that it comes from."""

    name: str
    source: str
    origin: str


class ChatFormat(NamedTuple):
    """The chat templates of a model, and the special tokens for them.

    templates: by name; may be empty.  special_tokens: by the name of the template's variable (`bos_token`).
    absent_tokens: special tokens that the model's files set to null: it has none.
    """

    model: str
    templates: Mapping[str, ChatTemplate]
    special_tokens: Mapping[str, str]
    absent_tokens: frozenset[str] = frozenset()

    def template(self, name: str | None = None, *, tools: bool = False) -> ChatTemplate:
        """The template with this name; without a name the default, or the one for tools if there are tools.

        Raises ModelError where the model has no template, UsageError where it has none with this name, or several and
        no default.
        """
        if not self.templates:
            message = f"{self.model} has no chat template"
            raise ModelError(message, hint="leave --chat out, or use a chat model (-m)")
        if name is None:
            name = TOOLS if tools and TOOLS in self.templates else DEFAULT
            if name not in self.templates:
                message = f"{self.model} has several chat templates, and none is the default"
                raise UsageError(message, hint=f"choose one with --template: {_join_names(self.templates)}")
        if name not in self.templates:
            near = closest(name, self.templates)
            others = f"leave --template out, or choose one of its templates: {_join_names(self.templates)}"
            hint = f"did you mean --template {near}?" if near else others
            raise UsageError(f"{self.model} has no chat template {name}", hint=hint)
        return self.templates[name]

    def undefined_tokens(self, template: ChatTemplate) -> list[str]:
        """The special tokens that a template uses but the model's files don't define: it writes nothing for them."""
        used = [name for name in _SPECIAL_TOKEN_NAMES if name in template.source]
        return [name for name in used if name not in self.special_tokens and name not in self.absent_tokens]


def read_format(files: TokenizerFiles, name: str | None = None) -> ChatFormat:
    """The chat templates among a model's files.

    name: of the requested template, so that it is found where the files can't be listed.
    Raises ModelError for a file that can't be read.
    """
    weights = files.ref.weights_file
    gguf = files.find(weights) if weights is not None and weights.endswith(".gguf") else None
    if gguf is not None:
        return _gguf_format(files.ref.name, read_metadata(gguf, repair_hint=files.source.repair_hint))
    config = read_json(files, _CONFIG_FILE)
    found = list(_template_files(files, name)) or list(_named_templates(config.get("chat_template"), _CONFIG_FILE))
    if not found:
        found = list(_named_templates(read_json(files, _PROCESSOR_FILE).get("chat_template"), _PROCESSOR_FILE))
    # Before there was `added_tokens_decoder`, the special tokens were in a file of their own.
    tokens = config if "added_tokens_decoder" in config else {**config, **read_json(files, "special_tokens_map.json")}
    absent_tokens = frozenset(name for name in _SPECIAL_TOKEN_NAMES if name in tokens and tokens[name] is None)
    extra = tokens.get("extra_special_tokens")
    named = {
        **(extra if isinstance(extra, Mapping) else {}),
        **{each: tokens.get(each) for each in _SPECIAL_TOKEN_NAMES},
    }
    contents = {each: entry.get("content") if isinstance(entry, Mapping) else entry for each, entry in named.items()}
    special = {each: content for each, content in contents.items() if isinstance(content, str)}
    return ChatFormat(files.ref.name, _by_name(found), special, absent_tokens)


def loaded_format(tokenizer: Any, model: str) -> ChatFormat:
    """The chat templates of a loaded tokenizer of transformers; empty for one of another library."""
    entry = getattr(tokenizer, "chat_template", None)
    tokens = getattr(tokenizer, "special_tokens_map", {})
    return ChatFormat(
        model, _by_name(_named_templates(entry, model)), {name: str(token) for name, token in tokens.items()}
    )


def _by_name(templates: Iterable[ChatTemplate]) -> dict[str, ChatTemplate]:
    return {template.name: template for template in templates}


def _named_templates(entry: object, origin: str) -> Iterator[ChatTemplate]:
    """The templates in an entry: a text, `{name: text}`, or `[{name, template}]`."""
    if isinstance(entry, str):
        yield ChatTemplate(DEFAULT, entry, origin)
    elif isinstance(entry, Mapping):
        yield from (ChatTemplate(name, source, origin) for name, source in entry.items() if isinstance(source, str))
    elif isinstance(entry, list):
        for each in entry:
            match each:
                case {"name": str(name), "template": str(source)}:
                    yield ChatTemplate(name, source, origin)


def _template_files(files: TokenizerFiles, name: str | None) -> Iterator[ChatTemplate]:
    # The files in the folder of additional templates, if it is on this disk.
    sibling = files.source.local(_TEMPLATE_FILE) or files.source.local(_CONFIG_FILE)
    folder = None if sibling is None else sibling.parent / _TEMPLATE_FOLDER
    listed = {path.name for path in folder.glob(f"*{_ENDING}")} if folder is not None else set()
    listed |= {f"{known}{_ENDING}" for known in (*_ADDITIONAL_NAMES, name) if known}
    for each in (_TEMPLATE_FILE, *(_TEMPLATE_FOLDER + file for file in sorted(listed))):
        if is_plain_path(each) and (path := files.find(each)) is not None:
            try:
                source = path.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise ModelError(f"{path} could not be read: {error}", hint=files.source.repair_hint) from error
            additional = each.removeprefix(_TEMPLATE_FOLDER).removesuffix(_ENDING)
            yield ChatTemplate(DEFAULT if each == _TEMPLATE_FILE else additional, source, each)


def _gguf_format(model: str, metadata: Mapping[str, object]) -> ChatFormat:
    """Keys: `tokenizer.chat_template`, and `tokenizer.chat_template.NAME` where there are several."""
    key = "tokenizer.chat_template"
    named = {DEFAULT: metadata.get(key)}
    named |= {name.removeprefix(f"{key}."): value for name, value in metadata.items() if name.startswith(f"{key}.")}
    vocabulary = metadata.get("tokenizer.ggml.tokens")
    tokens = vocabulary if isinstance(vocabulary, list) else []
    ids = {name: metadata.get(f"tokenizer.ggml.{part}_token_id") for name, part in _GGUF_TOKEN_NAMES.items()}
    special = {name: tokens[place] for name, place in ids.items() if isinstance(place, int) and place < len(tokens)}
    return ChatFormat(model, _by_name(_named_templates(named, "its metadata")), special)


def _join_names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


# --- Conversations

#: The hint where a conversation has another shape.
SHAPE = 'write it as [{"role": "user", "content": "Hello"}], or as {"messages": […], "tools": […]}'

#: Keys that models use for the reasoning before an answer; templates read the first, gpt-oss's the second.
_REASONING = ("reasoning_content", "thinking", "reasoning")

Message = Mapping[str, object]


class Conversation(NamedTuple):
    """Messages, and the other variables of a template: `tools`, `documents` (None where there are none), and more."""

    messages: tuple[Message, ...]
    variables: Mapping[str, object]


def parse_conversation(text: str) -> Conversation:
    """Read a conversation: a JSON list of messages, or an object that holds `messages` and further variables.

    Raises UsageError for an empty conversation, FailedError where it isn't JSON or has another shape.
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
    return build_conversation(value)


def build_conversation(value: object) -> Conversation:
    """A conversation from a list of messages, or an object that holds `messages` and further variables.

    Messages get the form that transformers passes to templates: without keys that are null, and with the reasoning
    under each of its names.

    Raises UsageError where there are no messages, FailedError where something has another shape.
    """
    fields: Mapping[str, object] = value if isinstance(value, Mapping) else {"messages": value}
    if "messages" not in fields:
        raise FailedError("the conversation has no messages", hint=SHAPE)
    messages = fields["messages"]
    if not isinstance(messages, list | tuple):
        raise FailedError(
            f"the messages of a conversation have to be a list, and this is {_json_kind(messages)}", hint=SHAPE
        )
    if not messages:
        raise UsageError("the conversation has no messages", hint=SHAPE)
    variables = {"tools": None, "documents": None, **{name: fields[name] for name in fields if name != "messages"}}
    for name in ("tools", "documents"):
        entries = variables[name]
        if entries is not None and not (isinstance(entries, list) and all(isinstance(each, dict) for each in entries)):
            hint = f'write them next to the messages: {{"messages": […], "{name}": [{{…}}]}}'
            raise FailedError(f"the {name} of a conversation have to be a list of objects", hint=hint)
    if "add_generation_prompt" in variables:
        hint = "leave it out, and add --generation-prompt instead"
        raise FailedError("add_generation_prompt is not part of a conversation", hint=hint)
    return Conversation(tuple(_message(entry, place) for place, entry in enumerate(messages, 1)), variables)


def _message(entry: object, place: int) -> Message:
    if isinstance(entry, list):
        hint = "give one conversation, or one per line with --lines"
        raise FailedError(f"message {place} is a list, so there seem to be several conversations", hint=hint)
    if not isinstance(entry, Mapping):
        raise FailedError(f"message {place} is {_json_kind(entry)} instead of an object", hint=SHAPE)
    message = {str(key): value for key, value in entry.items() if value is not None}
    if not isinstance(message.get("role"), str):
        raise FailedError(f"message {place} has no role", hint=SHAPE)
    if len(message) == 1:
        raise FailedError(f"message {place} has no content", hint=SHAPE)
    # A text, a list of parts, or an object (some tools return one).
    content = message.get("content", "")
    if not isinstance(content, str | Mapping | list):
        raise FailedError(f"the content of message {place} is {_json_kind(content)}", hint=SHAPE)
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, str | Mapping):
            hint = 'write a part as {"type": "text", "text": "Hello"}'
            raise FailedError(f"a part of the content of message {place} is {_json_kind(part)}", hint=hint)
    reasoning = next((message[key] for key in _REASONING if key in message), None)
    if reasoning is not None:
        message = {"thinking": reasoning, **message, "reasoning_content": reasoning}
    return message


def _json_kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case str():
            return "a text"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case Mapping():
            return "an object"
    return "something else"
