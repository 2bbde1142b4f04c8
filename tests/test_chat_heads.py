"""A text through the model's chat template (`attn heads --chat`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import attncli
from attncli.errors import ModelError
from tests.cli.conftest import attn
from tests.tokens.vocabularies import byte_bpe

TEMPLATE = (
    "{% for message in messages %}{{ '<s>' + message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
QUESTION = "where is the mole"
MESSAGES = [{"role": "system", "content": "be brief"}, {"role": "user", "content": QUESTION}]


def save(folder: Path, template: str | None) -> str:
    torch.manual_seed(3)
    config = transformers.GPT2Config(n_layer=2, n_head=4, n_embd=32, vocab_size=330, bos_token_id=0, eos_token_id=1)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    byte_bpe(bos=True).save(str(folder / "tokenizer.json"))
    settings = {} if template is None else {"chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("chat"), TEMPLATE)


def ids_of(result: attncli.HeadsResult) -> list[int]:
    return [token.id for token in result.stacks[0].queries]


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        (QUESTION, [{"role": "user", "content": QUESTION}]),
        ("[1] where is it", [{"role": "user", "content": "[1] where is it"}]),
        (json.dumps(MESSAGES), MESSAGES),
        (MESSAGES, MESSAGES),
        ({"messages": MESSAGES}, MESSAGES),
    ],
)
def test_the_tokens_are_those_of_tokenize_with_the_generation_prompt(
    folder: str, given: Any, messages: list[dict[str, str]]
) -> None:
    expected = attncli.tokenize(messages, model=folder, chat=True, generation_prompt=True).texts[0]
    assert ids_of(attncli.heads(given, model=folder, chat=True)) == list(expected.ids)


def test_the_model_answers_and_its_lines_are_those_that_the_template_wrote(folder: str) -> None:
    answered = attncli.heads(QUESTION, model=folder, chat=True, generate=2, predict=True)
    assert answered.generated is not None and answered.prediction is not None
    assert answered.prediction.tokens[0].id == answered.generated.ids[0]
    lines = attncli.heads(MESSAGES, model=folder, chat=True, head="0.0", by="line").stacks[0]
    assert [unit.text.split(":")[0].removeprefix("<s>") for unit in lines.queries] == ["system", "user", "assistant"]


def test_another_question_is_written_by_the_template_too(folder: str) -> None:
    found = attncli.heads(QUESTION, model=folder, chat=True, against="where is the mouse")
    assert found.difference is not None
    expected = attncli.tokenize("where is the mouse", model=folder).texts[0]
    assert len(found.difference.stacks[0].keys) > len(expected.ids) + 3


def test_a_broken_conversation_is_no_question(folder: str) -> None:
    broken = attn("heads", '[{"role": "user"', "--chat", "-m", folder)
    assert broken.code == 1 and broken.error[0].startswith("the conversation is not JSON")
    empty = attn("heads", " ", "--chat", "-m", folder)
    assert empty.code == 2


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (("--pair", "it slept"), "--pair"),
        (("--lines",), "several texts"),
    ],
)
def test_one_conversation_is_read(folder: str, options: tuple[str, ...], wrong: str) -> None:
    refused = attn("heads", QUESTION, "--chat", *options, "-m", folder)
    assert refused.code == 2
    assert refused.error[0] == f"--chat reads one conversation, not {wrong}"


def test_a_model_without_a_template_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="chat template"):
        attncli.heads(QUESTION, model=save(tmp_path, None), chat=True)
