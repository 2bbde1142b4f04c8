"""What a verb gets to work on, for everything that a user may type or pipe."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from attncli.cli.options import TextOptions
from attncli.cli.texts import TextStream, open_texts, read_one_text, require_one_model, resolve_models
from attncli.errors import AttnError, FailedError, UsageError
from tests.cli.conftest import surroundings


def opened(
    *text: str, file: tuple[str, ...] = (), ids: str | None = None, stdin: str | bytes | None = None
) -> TextStream:
    return open_texts(TextOptions(text, file, ids, "strict"), surroundings(stdin=stdin))


def read(*text: str, file: tuple[str, ...] = (), stdin: str | bytes | None = None) -> list[str]:
    return ["".join(blocks) for blocks in opened(*text, file=file, stdin=stdin).blocks(may_be_empty=True)]


def one(*text: str, file: tuple[str, ...] = (), ids: str | None = None) -> tuple[object, object, object]:
    return read_one_text(TextOptions(text, file, ids, "strict"), surroundings())


def failure(kind: type[AttnError], *text: str, **given: object) -> tuple[str, str]:
    with pytest.raises(AttnError) as caught:
        stream = opened(*text, **given)  # type: ignore[arg-type]
        list(map("".join, stream.blocks(may_be_empty=True)))
    assert type(caught.value) is kind
    return caught.value.message, caught.value.hint


def test_an_argument_is_a_text() -> None:
    assert read("Hello world") == ["Hello world"]


def test_several_texts_stay_apart() -> None:
    assert read("Hello world", "one more") == ["Hello world", "one more"]


def test_several_single_words_were_perhaps_not_quoted() -> None:
    note = "2 words were taken as separate texts; put quotes around them to make them one text"
    assert opened("Hello", "world").notes == (note,)
    assert opened("Hello world", "one").notes == opened("Hello").notes == ()


def test_a_text_that_names_a_file_was_perhaps_meant_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("inside")
    notes = ("notes.txt was taken as text; to read the file of this name, write -f notes.txt",)
    assert opened("notes.txt").notes == notes
    assert one("notes.txt") == ("notes.txt", None, notes)


def test_a_text_too_long_for_a_file_name_is_just_a_text() -> None:
    assert opened("mole" * 5000).notes == ()


@pytest.mark.parametrize("dash", [{}, {"text": ("-",)}, {"file": ("-",)}])
def test_stdin_is_one_text_less_one_final_newline(dash: dict[str, tuple[str, ...]]) -> None:
    assert read(*dash.get("text", ()), file=dash.get("file", ()), stdin="one\ntwo\n\n") == ["one\ntwo\n"]


def test_a_newline_of_windows_is_one_newline() -> None:
    assert read(stdin="one\r\ntwo\r\n") == ["one\r\ntwo"]
    assert read(stdin="one\r") == ["one\r"]


def test_stdin_stands_where_its_dash_stands() -> None:
    assert read("before it", "-", "after it", stdin="piped\n") == ["before it", "piped", "after it"]


def test_stdin_can_be_read_once() -> None:
    assert failure(UsageError, "-", "-", stdin="x")[0] == "stdin (-) was given twice"
    assert failure(UsageError, file=("-", "-"), stdin="x")[0] == "stdin (-) was given twice"


def test_a_closed_stdin_is_no_input() -> None:
    environment = surroundings()._replace(stdin=None)
    with pytest.raises(UsageError, match="there is no text"):
        open_texts(TextOptions((), (), None, "strict"), environment)
    with pytest.raises(FailedError, match="stdin is closed"):
        read_one_text(TextOptions(("-",), (), None, "strict"), environment)


def test_files_are_texts_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"first\n")
    (tmp_path / "b").write_bytes("zwölf\r\n\n".encode())
    assert read(file=(str(tmp_path / "b"), str(tmp_path / "a"))) == ["zwölf\r\n", "first"]


def test_a_name_too_long_is_a_failure_like_any_other() -> None:
    assert failure(FailedError, file=("x" * 5000,))[0].endswith("can't be read: File name too long")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs rights that can be taken away")
def test_a_file_without_rights(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0)
    assert failure(FailedError, file=(str(secret),))[0] == f"{secret} can't be read: Permission denied"


@pytest.mark.parametrize("given", ["5 6 7", "5,6,7", " 5, 6\n7,", "@{file}", "-"])
def test_ids_in_every_form(given: str, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("5 6\n7\n")
    assert opened(ids=given.format(file=tmp_path / "ids"), stdin="5,6 7\n").ids == ((5, 6, 7),)


@pytest.mark.parametrize("wrong", ["x", "-1", "1.5", "1_0", "٣", "9" * 5000])
def test_what_is_no_id(wrong: str) -> None:
    message, hint = failure(UsageError, ids=f"5 {wrong}")
    assert message == f"--input-ids: {wrong!r} is not a token id"
    assert "--input-ids" in hint


def test_no_ids_at_all() -> None:
    assert failure(UsageError, ids=" , ")[0] == "--input-ids has no token ids"


@pytest.mark.parametrize(
    ("text", "file", "ids", "both"),
    [
        (("a b",), ("f",), None, "TEXT and -f"),
        (("a b",), (), "5", "TEXT and --input-ids"),
        ((), ("f",), "5", "-f and --input-ids"),
        (("a b",), (), "", "TEXT and --input-ids"),
    ],
)
def test_two_kinds_of_input_contradict(
    text: tuple[str, ...], file: tuple[str, ...], ids: str | None, both: str
) -> None:
    assert failure(UsageError, *text, file=file, ids=ids)[0] == f"{both} can't be combined"


def test_one_text_where_one_is_taken(tmp_path: Path) -> None:
    note = "3 words were taken as one text; put quotes around a text to be sure"
    assert one("The", "cat", "sat") == ("The cat sat", None, (note,))
    assert one("") == ("", None, ())
    assert one(ids="5") == (None, [5], ())
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    with pytest.raises(UsageError, match="2 texts were given, and one is possible here"):
        one("The cat", "sat")
    with pytest.raises(UsageError, match="2 texts were given, and one is possible here"):
        one(file=(str(tmp_path / "a"), str(tmp_path / "b")))


def test_models_come_from_the_option_else_from_the_variable() -> None:
    named = surroundings(variables={"ATTN_MODEL": "./my models/bert"})
    assert resolve_models(("a", "b"), named) == ["a", "b"]
    assert resolve_models((), named) == ["./my models/bert"]
    assert resolve_models((), surroundings(variables={"ATTN_MODEL": ""})) is None
    assert require_one_model((), named) == "./my models/bert"
    assert require_one_model((), surroundings()) is None
    with pytest.raises(UsageError, match="-m was given 2 times, and one model is possible here"):
        require_one_model(("a", "b"), named)
