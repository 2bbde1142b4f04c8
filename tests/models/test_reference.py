from __future__ import annotations

from pathlib import Path

import pytest

from attncli.errors import ExitCode, ModelError, UsageError
from attncli.models.files.reference import Kind, ModelRef, parse_reference


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with one thing of each kind in it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("config.json", "x.safetensors", "x.safetensors.index.json", "x.gguf", "pytorch_model.bin", "code.py"):
        (folder / name).touch()
    (tmp_path / "notes").touch()
    (tmp_path / "notes.txt").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "location", "revision", "file"),
    [
        ("gpt2", "gpt2", None, None),
        ("org/name", "org/name", None, None),
        ("org/Name-1.5_b", "org/Name-1.5_b", None, None),
        ("org/name@v1.0", "org/name", "v1.0", None),
        ("org/name@refs/pr/1", "org/name", "refs/pr/1", None),
        ("org/name/x.gguf", "org/name", None, "x.gguf"),
        ("org/name/deep/er/x.gguf@v1", "org/name", "v1", "deep/er/x.gguf"),
    ],
)
def test_hub_names(text: str, location: str, revision: str | None, file: str | None) -> None:
    assert parse_reference(text) == ModelRef(text, Kind.HUB, location, revision, file)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("folder", Kind.FOLDER),
        ("./folder", Kind.FOLDER),
        ("./folder/", Kind.FOLDER),
        (".", Kind.FOLDER),
        ("folder/config.json", Kind.FILE),
        ("folder/x.safetensors", Kind.FILE),
        ("folder/x.safetensors.index.json", Kind.FILE),
        ("folder/x.gguf", Kind.FILE),
        ("folder/pytorch_model.bin", Kind.FILE),
    ],
)
def test_local_paths(text: str, kind: Kind) -> None:
    ref = parse_reference(text)
    assert (ref.name, ref.kind, ref.path) == (text, kind, Path(text))


def test_an_existing_path_wins_over_a_hub_name(workplace: Path) -> None:
    (workplace / "gpt2").mkdir()
    assert parse_reference("gpt2").kind is Kind.FOLDER
    assert parse_reference("gpt2@main").kind is Kind.HUB


def test_a_path_with_an_at_sign_is_a_path(workplace: Path) -> None:
    (workplace / "org" / "name@v1").mkdir(parents=True)
    assert parse_reference("org/name@v1").kind is Kind.FOLDER


def test_home_is_expanded(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(workplace))
    assert parse_reference("~/folder") == ModelRef("~/folder", Kind.FOLDER, str(workplace / "folder"))


def test_names_with_a_prefix() -> None:
    assert parse_reference("builtin:induction") == ModelRef("builtin:induction", Kind.BUILTIN, "induction")
    assert parse_reference("preset:gpt3") == ModelRef("preset:gpt3", Kind.PRESET, "gpt3")


def test_functions(workplace: Path) -> None:
    absolute = str(workplace / "folder" / "code.py")
    for path in ("folder/code.py", "./folder/code.py", absolute):
        ref = parse_reference(f"{path}:build")
        assert (ref.kind, ref.path, ref.file) == (Kind.FUNCTION, Path(path), "build")


@pytest.mark.parametrize("text", [r"C:\x.py:func", "C:/x.py:func"])
def test_the_colon_of_a_windows_drive_is_not_the_one_before_a_function(text: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_reference(text)
    assert caught.value.message == f"there is no file or folder {text.removesuffix(':func')}"


NOWHERE = "check the path; a model on the hub is written org/name"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("./foldr", "did you mean ./folder?"),
        ("folder/confg.json", "did you mean folder/config.json?"),
        ("./foldr/config.json", "did you mean ./folder?"),
        ("folder/cod.py:build", "did you mean folder/code.py?"),
        *((text, NOWHERE) for text in ("folder/y/z.gguf", "../nothing-like-it-anywhere", "/nowhere-at-all/x")),
        *((text, NOWHERE) for text in (r"dir\model", r"C:\models\gpt2", "~nobody-here/x", "model/", "x.safetensors")),
    ],
)
def test_paths_that_are_not_there(text: str, hint: str) -> None:
    with pytest.raises(ModelError, match="there is no file or folder") as caught:
        parse_reference(text)
    assert caught.value.hint == hint
    assert caught.value.exit_code is ExitCode.MODEL


HUB_NAMES = "a name on the hub is org/name, with letters, digits, '-', '_' and '.'"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        *((text, HUB_NAMES) for text in ("bert base", "café", "a--b", "a..b", "name.git", "x" * 5000, "nul\0")),
        *((text, f"a name on the hub is org/name; if it is a local path, there is no ./{text}")
          for text in ("a/b/c", "org/name/../../x.gguf")),
        ("https://huggingface.co/org/name/tree/main", "write only its name: org/name"),
        ("https://hub.example/gpt2", "write only its name: gpt2"),
    ],
)  # fmt: skip
def test_names_that_the_hub_cannot_have(text: str, hint: str) -> None:
    with pytest.raises(ModelError, match="can't be a model on the hub") as caught:
        parse_reference(text)
    assert caught.value.hint == hint


@pytest.mark.parametrize("revision", ["", "..", "a/../../b", "/etc/passwd", "a b", "a\\b", "a:b", "a\n", ".", "x/"])
def test_revisions_that_git_cannot_have(revision: str) -> None:
    with pytest.raises(ModelError, match="can't be a revision"):
        parse_reference("gpt2", revision=revision)


@pytest.mark.parametrize("text", ["gpt2@", "gpt2@..", "gpt2@a/../../b", "org/name@/etc/passwd"])
def test_revisions_that_git_cannot_have_in_a_name(text: str) -> None:
    with pytest.raises(ModelError, match="can't be a revision"):
        parse_reference(text)


def test_a_file_after_the_revision_is_told_where_it_belongs() -> None:
    with pytest.raises(ModelError, match="has a file name in its revision") as caught:
        parse_reference("org/name@v1/x.gguf")
    assert caught.value.hint == "write the revision last: org/name/x.gguf@v1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the model's name is empty"),
        (" ", "the model's name is empty"),
        ("builtin:", "'builtin:' is not a complete name"),
        ("preset:", "'preset:' is not a complete name"),
        ("folder/code.py:", "the function is missing in 'folder/code.py:'"),
        ("folder/code.py:two words", "the function is missing in 'folder/code.py:two words'"),
        ("folder/code.py", "folder/code.py is a file, but not of a model"),
        ("notes.txt", "notes.txt is a file, but not of a model"),
    ],
)
def test_other_things_that_are_no_model(text: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_reference(text)
    assert caught.value.message == message


def test_json_that_holds_a_tokenizer_may_have_any_name(workplace: Path) -> None:
    (workplace / "mine.json").write_text('{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}}}')
    ref = parse_reference("mine.json")
    assert (ref.kind, ref.tokenizer_file, ref.weights_file) == (Kind.FILE, Path("mine.json"), None)


@pytest.mark.parametrize(
    ("content", "lacking"),
    [
        ("{", "it is not valid JSON"),
        ("[1]", 'a tokenizer would have the key "model"'),
        ('{"model": "gpt2"}', 'a tokenizer would have the key "model"'),
        ('{"model": {"type": "BPE"}}', 'the "model" of a tokenizer would have the key "vocab"'),
    ],
)
def test_json_that_holds_none_is_told_what_it_lacks(workplace: Path, content: str, lacking: str) -> None:
    (workplace / "mine.json").write_text(content)
    with pytest.raises(ModelError) as caught:
        parse_reference("mine.json")
    assert caught.value.message == f"mine.json is a file, but not of a model: {lacking}"


def test_a_file_in_the_way_of_a_hub_name_is_told_how_to_pass() -> None:
    with pytest.raises(ModelError) as caught:
        parse_reference("notes")
    assert caught.value.hint == "for the model of this name on the hub, write notes@main"


def test_a_revision_from_the_option() -> None:
    assert parse_reference("gpt2", revision="v1").revision == "v1"
    assert parse_reference("gpt2@v1", revision="v1") == parse_reference("gpt2@v1")


def test_two_revisions_that_differ_are_an_error() -> None:
    with pytest.raises(UsageError, match="two revisions were given: v1 in gpt2@v1, and v2"):
        parse_reference("gpt2@v1", revision="v2")


@pytest.mark.parametrize(
    "text", ["folder", "folder/x.gguf", "builtin:induction", "preset:gpt3", "folder/code.py:build"]
)
def test_only_the_hub_has_revisions(text: str) -> None:
    with pytest.raises(UsageError, match="--revision needs a model on the hub"):
        parse_reference(text, revision="main")
