"""Conversations through chat templates: the text of transformers, and where each message stands in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from attncli.errors import FailedError, ModelError
from attncli.models.chat.chat_text import ChatText, render_chat
from attncli.models.chat.sandbox import Sandbox
from attncli.models.chat.template import ChatFormat, ChatTemplate, build_conversation
from tests.models import chat_samples as samples
from tests.models.chat_samples import SAMPLES, Sample
from tests.tokens import vocabularies as made


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as opened:
        yield opened


def form_of(template: str, **tokens: str) -> ChatFormat:
    return ChatFormat("org/chat", {"default": ChatTemplate("default", template, "chat_template.jinja")}, tokens)


def chat_of(sample: Sample, sandbox: Sandbox, **options: bool) -> ChatText:
    given = build_conversation({"messages": sample.messages, **sample.more})
    return render_chat(given, form_of(sample.template, **sample.tokens), sandbox, **options)


def parts_of(chat: ChatText) -> list[tuple[str, str | None, list[str] | None]]:
    """Role, whole text and contents of each message."""
    return [
        (
            place.role,
            place.span and chat.text[slice(*place.span)],
            None if place.contents is None else [chat.text[slice(*span)] for span in place.contents],
        )
        for place in chat.messages
    ]


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("name", SAMPLES)
def test_agrees_with_transformers(name: str, prompt: bool, sandbox: Sandbox) -> None:
    from transformers import PreTrainedTokenizerFast

    sample = SAMPLES[name]
    theirs = PreTrainedTokenizerFast(tokenizer_object=made.word_level(), chat_template=sample.template, **sample.tokens)
    expected = theirs.apply_chat_template(sample.messages, tokenize=False, add_generation_prompt=prompt, **sample.more)
    assert chat_of(sample, sandbox, generation_prompt=prompt).text == expected


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "content in parts"])
def test_contents_are_found(name: str, sandbox: Sandbox) -> None:
    """Each message's own text, as far as the template writes it, in its order."""
    sample = SAMPLES[name]
    for message, (role, whole, contents) in zip(sample.messages, parts_of(chat_of(sample, sandbox)), strict=True):
        own = message.get("content") or ""
        assert role == message["role"]
        assert [text.strip() for text in contents or ()] == ([own.strip()] if own else [])
        assert whole is not None and all(text in whole for text in contents or ())


def test_llama_2(sandbox: Sandbox) -> None:
    """It puts the system message into the first of the user: both share what is written around them."""
    assert parts_of(chat_of(SAMPLES["Llama 2"], sandbox)) == [
        ("system", "Be brief.", ["Be brief."]),
        ("user", "Where do moles live?", ["Where do moles live?"]),
        ("assistant", " In tunnels. </s>", ["In tunnels."]),
        ("user", "<s>[INST] And <b>shrews</b>, été 👍? [/INST]", ["And <b>shrews</b>, été 👍?"]),
    ]


def test_chatml_and_its_prompt(sandbox: Sandbox) -> None:
    chat = chat_of(SAMPLES["ChatML"], sandbox, generation_prompt=True)
    # It keeps the space around a content.
    assert parts_of(chat)[1] == (
        "user",
        "<|im_start|>user\n Where do moles live? <|im_end|>\n",
        [" Where do moles live? "],
    )
    assert chat.generation is not None
    assert chat.text[slice(*chat.generation)] == "<|im_start|>assistant\n"
    assert chat.generation[0] == chat.messages[-1].span[1]
    assert (chat.template, chat.warnings) == ("default", ())


def test_a_system_message_of_the_template_belongs_to_no_message(sandbox: Sandbox) -> None:
    """Qwen's can't do without messages, so where the first message begins is found by rendering it twice."""
    first = chat_of(SAMPLES["Qwen"], sandbox).messages[0]
    assert first.span is not None and first.span[0] == len(
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    )


def test_tools(sandbox: Sandbox) -> None:
    parts = parts_of(chat_of(SAMPLES["Qwen with tools"], sandbox))
    assert parts[1][1:] == (
        '<|im_start|>assistant\n<tool_call>\n{"name": "dig", "arguments": {"depth": 3}}\n</tool_call><|im_end|>\n',
        [],
    )
    # Answers of tools share a turn.
    assert parts[2:4] == [("tool", "done", ["done"]), ("tool", "done again", ["done again"])]


def test_a_template_that_looks_into_a_content(sandbox: Sandbox) -> None:
    """A mark would change what it does: that content is not found, the others are."""
    template = (
        "{% for m in messages %}{% if m.content.startswith('!') %}LOUD {{ m.content[1:] }}"
        "{% else %}{{ m.content }}{% endif %}|{% endfor %}"
    )
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": "!b"}, {"role": "user", "content": "c"}]
    assert parts_of(chat_of(Sample(template, {}, messages), sandbox)) == [
        ("user", "a|", ["a"]),
        ("user", "LOUD b|", None),
        ("user", "c|", ["c"]),
    ]


def test_a_message_that_is_left_out(sandbox: Sandbox) -> None:
    template = "{% for m in messages if m.role != 'note' %}[{{ m.content }}]{% endfor %}"
    messages = [{"role": "note", "content": "n"}, {"role": "user", "content": "u"}]
    assert parts_of(chat_of(Sample(template, {}, messages), sandbox)) == [("note", "", None), ("user", "[u]", ["u"])]


def test_a_text_with_the_characters_of_marks(sandbox: Sandbox) -> None:
    messages = [{"role": "user", "content": "a\U000f0000"}, {"role": "user", "content": "b"}]
    assert parts_of(chat_of(Sample("{% for m in messages %}{{ m.content }};{% endfor %}", {}, messages), sandbox)) == [
        ("user", "a\U000f0000;", None),
        ("user", "b;", None),
    ]


def test_a_long_conversation(sandbox: Sandbox) -> None:
    """Beyond some length its beginnings are not rendered one by one, but contents are found all the same."""
    messages = [{"role": "user", "content": str(place)} for place in range(600)]
    chat = chat_of(Sample(samples.CHATML, {}, messages), sandbox)
    assert [contents for _, _, contents in parts_of(chat)] == [[str(place)] for place in range(600)]


# What goes wrong


def test_a_refusal_has_the_message_of_the_template(sandbox: Sandbox) -> None:
    sample = Sample(samples.GEMMA, {}, [samples.SYSTEM, *samples.TURNS])
    with pytest.raises(FailedError) as caught:
        chat_of(sample, sandbox)
    assert caught.value.message == (
        "the chat template of org/chat refuses the conversation: System role not supported (chat_template.jinja, "
        "line 1, column 56: {{ raise_exception('System role not supported') }})"
    )


def test_a_broken_template(sandbox: Sandbox) -> None:
    with pytest.raises(ModelError, match=r"is broken: .* \(chat_template.jinja, line 1, column 1: \{% for %\}\)"):
        chat_of(Sample("{% for %}", {}, samples.TURNS), sandbox)


def test_a_long_statement_is_cut(sandbox: Sandbox) -> None:
    template = "{{ raise_exception('" + "no " * 99 + "') }}"
    with pytest.raises(FailedError) as caught:
        chat_of(Sample(template, {}, samples.TURNS), sandbox)
    assert caught.value.message.endswith("no no no …)")


def test_a_template_that_takes_too_long() -> None:
    loops = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with Sandbox(seconds=0.3) as sandbox, pytest.raises(ModelError, match=r"more than 0\.3 seconds and was stopped"):
        chat_of(Sample(loops, {}, samples.TURNS), sandbox)


def test_a_template_that_is_slow_but_ends() -> None:
    """The text is there, and only the search for the messages is given up."""
    slow = (
        "{% if messages | length < 3 %}{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    )
    template = slow + "{% endif %}{{ messages[0].content }}"
    with Sandbox(seconds=0.5) as sandbox:
        chat = chat_of(Sample(template, {}, samples.TURNS), sandbox)
    assert chat.text == samples.TURNS[0]["content"]
    assert [place.span for place in chat.messages] == [None, None, None]
    assert "slow" in chat.warnings[0]


def test_a_template_without_a_prompt_for_an_answer(sandbox: Sandbox) -> None:
    chat = chat_of(SAMPLES["Mistral"], sandbox, generation_prompt=True)
    assert (chat.generation, chat.warnings) == (None, ("the chat template of org/chat has no generation prompt",))


def test_a_special_token_that_is_not_defined(sandbox: Sandbox) -> None:
    chat = chat_of(Sample(samples.MISTRAL, {"eos_token": "</s>"}, samples.TURNS), sandbox)
    assert chat.warnings == ("the chat template of org/chat uses bos_token, which its files don't define",)
    form = form_of(samples.MISTRAL, eos_token="</s>")._replace(absent_tokens=frozenset({"bos_token"}))
    assert render_chat(build_conversation(samples.TURNS), form, sandbox).warnings == ()
