"""Conversations as JSON, in every shape that is taken, and what is said of the others."""

from __future__ import annotations

import json

import pytest

from attncli.errors import FailedError, UsageError
from attncli.models.chat.template import build_conversation, parse_conversation

HELLO = {"role": "user", "content": "Hello"}


def test_a_list_of_messages() -> None:
    assert parse_conversation(json.dumps([HELLO])) == ((HELLO,), {"tools": None, "documents": None})


def test_an_object_with_other_variables() -> None:
    given = {"messages": [HELLO], "tools": [{"type": "function"}], "mood": "good"}
    assert parse_conversation(json.dumps(given)).variables == {
        "tools": [{"type": "function"}],
        "documents": None,
        "mood": "good",
    }


def test_keys_that_are_null_are_left_out() -> None:
    calls = [{"function": {"name": "dig", "arguments": {"depth": None}}}]
    assert build_conversation([{"role": "assistant", "content": None, "tool_calls": calls}]).messages == (
        {"role": "assistant", "tool_calls": calls},
    )


@pytest.mark.parametrize("name", ["reasoning_content", "thinking", "reasoning"])
def test_reasoning_has_the_names_that_templates_read(name: str) -> None:
    (message,) = build_conversation([{"role": "assistant", "content": "Hi", name: "Hm"}]).messages
    assert (message["reasoning_content"], message["thinking"]) == ("Hm", "Hm")


@pytest.mark.parametrize("content", ["", "x", ["x"], [{"type": "text", "text": "x"}, {"type": "image"}], {"result": 3}])
def test_contents(content: object) -> None:
    assert build_conversation([{"role": "tool", "content": content}]).messages[0]["content"] == content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"role": "user",\n  "content": }]', "not JSON: Expecting value at line 2, column 14"),
        ("Hello", "not JSON"),
        ('"Hello"', "a list, and this is a text"),
        ("3", "a list, and this is a number"),
        ("null", "a list, and this is null"),
        ('{"text": "Hello"}', "has no messages"),
        ('{"messages": {}}', "a list, and this is an object"),
        ("[3]", "message 1 is a number"),
        ('["Hello"]', "message 1 is a text"),
        ('[{"role": "user", "content": "a"}, {"content": "b"}]', "message 2 has no role"),
        ('[{"role": 3, "content": "b"}]', "message 1 has no role"),
        ('[{"role": "user"}]', "message 1 has no content"),
        ('[{"role": "user", "content": null}]', "message 1 has no content"),
        ('[{"role": "user", "content": 3}]', "the content of message 1 is a number"),
        ('[{"role": "user", "content": true}]', "the content of message 1 is true or false"),
        ('[{"role": "user", "content": [3]}]', "a part of the content of message 1 is a number"),
        ('[[{"role": "user", "content": "a"}]]', "several conversations"),
        (
            '{"messages": [{"role": "user", "content": "a"}], "tools": {}}',
            "the tools of a conversation have to be a list",
        ),
        ('{"messages": [{"role": "user", "content": "a"}], "documents": ["x"]}', "documents of a conversation"),
        ('{"messages": [{"role": "user", "content": "a"}], "add_generation_prompt": true}', "is not part"),
        ("[" * 100_000, "can't be read"),
        ("9" * 5000, "can't be read"),
    ],
)
def test_what_is_no_conversation(text: str, message: str) -> None:
    with pytest.raises(FailedError) as caught:
        parse_conversation(text)
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", " \n", "[]", '{"messages": []}'])
def test_nothing(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_conversation(text)
    assert '[{"role": "user", "content": "Hello"}]' in caught.value.hint
