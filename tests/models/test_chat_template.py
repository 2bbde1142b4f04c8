"""Where the chat templates of a model are found, and which of several is taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attncli.errors import ModelError, UsageError
from attncli.models.chat.template import ChatFormat, ChatTemplate, loaded_format, read_format
from attncli.models.files.model_files import open_files
from attncli.models.files.reference import parse_reference
from tests.gguf_files import gguf_bytes, strings, text, u32
from tests.tokens import vocabularies as made


def form_of(folder: Path, name: str | None = None, **config: object) -> ChatFormat:
    files = made.save(folder, made.word_level(), tokenizer_config={"tokenizer_class": GENERIC, **config})
    return read_format(files, name)


def sources(form: ChatFormat) -> dict[str, str]:
    return {name: template.source for name, template in form.templates.items()}


GENERIC = "PreTrainedTokenizerFast"


def write(folder: Path, **files: str) -> None:
    """Templates by their names: `chat_template`, or one of the additional ones."""
    (folder / "additional_chat_templates").mkdir(exist_ok=True)
    for name, source in files.items():
        path = name if name == "chat_template" else f"additional_chat_templates/{name}"
        (folder / f"{path}.jinja").write_text(source, encoding="utf-8")


def _single(folder: Path) -> ChatFormat:
    return form_of(folder, chat_template="é")


def _several(folder: Path) -> ChatFormat:
    return form_of(folder, chat_template=[{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}])


def _file(folder: Path) -> ChatFormat:
    """The file replaces the entry."""
    write(folder, chat_template="é\n")
    return form_of(folder, chat_template="c")


def _files(folder: Path) -> ChatFormat:
    write(folder, chat_template="f", rag="r", other="o")
    return form_of(folder, chat_template="c")


def _additional_alone(folder: Path) -> ChatFormat:
    """They too replace the entry, so that there is no default."""
    write(folder, rag="r")
    return form_of(folder, chat_template="c")


FOUND = {
    _single: {"default": "é"},
    _several: {"default": "d", "tool_use": "t"},
    _file: {"default": "é\n"},
    _files: {"default": "f", "rag": "r", "other": "o"},
    _additional_alone: {"rag": "r"},
    form_of: {},
}


@pytest.mark.parametrize("build", FOUND)
def test_found_as_transformers_does(build, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    assert sources(build(tmp_path)) == FOUND[build]
    theirs = AutoTokenizer.from_pretrained(str(tmp_path), local_files_only=True).chat_template
    assert (theirs if isinstance(theirs, dict) else {"default": theirs} if theirs else {}) == FOUND[build]


def test_of_a_processor(tmp_path: Path) -> None:
    (tmp_path / "chat_template.json").write_text('{"chat_template": "p"}', encoding="utf-8")
    form = form_of(tmp_path)
    assert form.templates == {"default": ChatTemplate("default", "p", "chat_template.json")}
    assert sources(form_of(tmp_path, chat_template="c")) == {"default": "c"}


def test_nonsense_is_passed_over(tmp_path: Path) -> None:
    assert sources(form_of(tmp_path, chat_template=[3, {"name": "x"}, {"name": "y", "template": "y"}])) == {"y": "y"}
    assert sources(form_of(tmp_path, chat_template=3)) == {}


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(ModelError, match=r"chat_template\.jinja could not be read"):
        form_of(tmp_path)


def test_a_template_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.jinja").touch()
    write(tmp_path)
    assert sources(form_of(tmp_path, "../secret")) == {}


def test_loaded_ones(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    given = PreTrainedTokenizerFast(tokenizer_object=made.word_level(), bos_token="<s>", chat_template={"a": "b"})
    assert loaded_format(given, "m") == ChatFormat("m", {"a": ChatTemplate("a", "b", "m")}, {"bos_token": "<s>"})
    assert loaded_format(made.word_level(), "m").templates == {}


# Special tokens


@pytest.mark.parametrize(
    "config",
    [
        {"bos_token": "<s>", "eos_token": {"__type": "AddedToken", "content": "</s>"}, "unk_token": None},
        {"extra_special_tokens": {"image_token": "<image>"}},
        {"extra_special_tokens": ["<x>"], "added_tokens_decoder": {}},
        {"additional_special_tokens": ["<x>"]},
    ],
)
def test_special_tokens_as_transformers_names_them(config: dict, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    form = form_of(tmp_path, **config)
    assert form.special_tokens == AutoTokenizer.from_pretrained(str(tmp_path)).special_tokens_map


def test_special_tokens_of_older_models(tmp_path: Path) -> None:
    (tmp_path / "special_tokens_map.json").write_text('{"bos_token": {"content": "<s>"}}', encoding="utf-8")
    assert form_of(tmp_path).special_tokens == {"bos_token": "<s>"}
    assert form_of(tmp_path, added_tokens_decoder={}).special_tokens == {}


def test_tokens_that_a_model_does_without(tmp_path: Path) -> None:
    form = form_of(tmp_path, bos_token=None, eos_token="</s>")
    template = ChatTemplate("default", "{{ bos_token }}{{ eos_token }}{{ pad_token }}", "x")
    assert form.undefined_tokens(template) == ["pad_token"]


# Which of several


def several(*names: str) -> ChatFormat:
    return ChatFormat("org/chat", {name: ChatTemplate(name, name, "x") for name in names}, {})


@pytest.mark.parametrize(
    ("names", "name", "tools", "chosen"),
    [
        (("default",), None, True, "default"),
        (("default", "tool_use"), None, False, "default"),
        (("default", "tool_use"), None, True, "tool_use"),
        (("default", "tool_use"), "default", True, "default"),
        (("rag", "tool_use"), "rag", False, "rag"),
    ],
)
def test_the_selected_template(names: tuple[str, ...], name: str | None, tools: bool, chosen: str) -> None:
    assert several(*names).template(name, tools=tools).name == chosen


def test_a_model_without_a_template() -> None:
    with pytest.raises(ModelError, match="org/chat has no chat template") as caught:
        several().template()
    assert "-m" in caught.value.hint


@pytest.mark.parametrize(
    ("names", "name", "hint"),
    [
        (("rag", "tool_use"), None, "--template: rag, tool_use"),
        (("default", "tool_use"), "toll_use", "did you mean --template tool_use?"),
        (("default", "tool_use"), "x", "leave --template out, or choose one of its templates: default, tool_use"),
    ],
)
def test_a_template_that_does_not_exist(names: tuple[str, ...], name: str | None, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        several(*names).template(name)
    assert hint in caught.value.hint


# In a GGUF file


def test_the_templates_of_a_gguf_file(tmp_path: Path) -> None:
    templates = {"tokenizer.chat_template": text("g"), "tokenizer.chat_template.rag": text("r")}
    tokens = {"tokenizer.ggml.tokens": strings(["<unk>", "<s>", "é"]), "tokenizer.ggml.bos_token_id": u32(1)}
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf_bytes({**tokens, **templates}, [], b""))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "c"}), encoding="utf-8")
    form = read_format(open_files(parse_reference(str(path))))
    assert (sources(form), form.special_tokens) == ({"default": "g", "rag": "r"}, {"bos_token": "<s>"})
