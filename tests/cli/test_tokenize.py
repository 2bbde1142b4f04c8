"""`attn tokenize` from its options to what it writes, on small tokenizers that the tests train."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Outcome, attn
from tests.tokens import vocabularies as made

CHAT = (
    "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>{% endif %}"
)
MESSAGES = '[{"role": "user", "content": "the mole"}]'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bytes")
    made.save(path, made.byte_bpe(bos=True), tokenizer_config={"chat_template": CHAT, "model_max_length": 50})
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pieces")
    made.save(path, made.word_piece())
    return path


def json_of(outcome: Outcome) -> dict[str, object]:
    assert outcome.code == 0, outcome.err
    content = json.loads(outcome.text)
    assert isinstance(content, dict)
    return content


# One text, many texts


def test_lines_are_texts_of_their_own(folder: Path) -> None:
    outcome = attn("tokenize", "--lines", "--ids", "--no-special", "-m", str(folder), stdin="the\n\nmole\r\nthe mole\n")
    lines = [line.split() for line in outcome.text.splitlines()]
    assert len(lines) == 4
    assert lines[1] == []
    assert len(lines[3]) > len(lines[0])


def test_every_way_to_the_ids_gives_the_same(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("the mole\ndug a tunnel\n", encoding="utf-8")
    (tmp_path / "x.txt.gz").write_bytes(gzip.compress(b"the mole\ndug a tunnel\n"))
    model = ("-m", str(folder))
    whole = attn("tokenize", "the mole\ndug a tunnel", "--ids", *model).text
    for name in ("x.txt", "x.txt.gz"):
        assert attn("tokenize", "-f", str(tmp_path / name), "--ids", *model).text == whole
    assert attn("tokenize", "--ids", *model, stdin="the mole\ndug a tunnel\n").text == whole
    (text,) = json_of(attn("tokenize", "-f", str(tmp_path / "x.txt"), "--json", *model))["texts"]  # type: ignore[misc]
    assert [token["id"] for token in text["tokens"]] == [int(word) for word in whole.split()]


@pytest.mark.parametrize("text", ["the mole", "the mole " * 40_000], ids=["short", "in parts"])
def test_bare_ids_without_special_tokens_begin_at_once(text: str, folder: Path) -> None:
    """No space before the first, and JSON that is JSON."""
    given = ("tokenize", text, "--no-special", "--ids", "-m", str(folder))
    words = attn(*given).text
    assert words == f"{' '.join(words.split())}\n" and len(words) > 5
    ids = [int(word) for word in words.split()]
    assert json.loads(attn(*given, "--format", "jsonl").text) == {"record": 0, "ids": ids}
    assert json_of(attn(*given, "--json"))["texts"] == [{"record": 0, "ids": ids}]


def test_truncation_and_its_warning_hold_for_bare_ids(folder: Path) -> None:
    text = "the mole " * 60
    for extra in ((), ("--lines",)):
        outcome = attn("tokenize", text, "--count", "--truncate", "-m", str(folder), *extra)
        assert outcome.text == "50\n"
        assert outcome.err == f"warning: the text was cut to the 50 tokens that {folder} takes\n"
    assert "--truncate cuts it" in attn("tokenize", text, "--count", "-m", str(folder)).err


def test_many_long_lines_are_one_warning(folder: Path) -> None:
    outcome = attn(
        "tokenize", "--lines", "--count", "-m", str(folder), stdin="a\n" + "the mole " * 60 + "\n" * 2 + "x" * 99
    )
    assert outcome.err == (
        f"warning: 2 of 4 texts (text 2 first) have more tokens than the 50 that {folder} takes "
        "(--truncate cuts them)\n"
    )


def test_an_npz_of_the_lines(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "ids.npz"
    outcome = attn("tokenize", "--lines", "-o", str(target), "-m", str(folder), stdin="the\nthe mole\n")
    assert (outcome.code, outcome.out) == (0, b"")
    ids = attn("tokenize", "--lines", "--ids", "-m", str(folder), stdin="the\nthe mole\n").text.splitlines()
    with np.load(target) as arrays:
        starts = zip(arrays["offsets"], arrays["lengths"], strict=True)
        assert [" ".join(map(str, arrays["ids"][a : a + n])) for a, n in starts] == ids


def test_an_empty_file_is_no_text(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for flags in ((), ("--ids",), ("--lines",), ("--stats",)):
        outcome = attn("tokenize", "-f", str(tmp_path / "empty"), "-m", str(folder), *flags)
        assert (outcome.code, outcome.error[0]) == (2, f"{tmp_path / 'empty'} is empty")


def test_bytes_that_are_no_text(folder: Path) -> None:
    broken = b"the mol" + b"\xe9"
    outcome = attn("tokenize", "--ids", "-m", str(folder), stdin=broken)
    assert (outcome.code, outcome.out) == (1, b"")
    assert outcome.error[0] == "stdin is not valid UTF-8: byte 7 is 0xe9"
    assert "--errors replace" in outcome.error[1]
    (text,) = json_of(attn("tokenize", "--json", "--errors", "replace", "-m", str(folder), stdin=broken))["texts"]  # type: ignore[misc]
    assert text["text"] == "the mol\ufffd"


# Views


def test_two_models_stand_one_above_the_other(folder: Path, other: Path) -> None:
    models = ("-m", str(folder), "-m", str(other))
    outcome = attn("tokenize", "the moles", *models)
    assert outcome.text.startswith("2 tokenizers\n")
    content = json_of(attn("tokenize", "the moles", "--json", *models))
    assert [text["model"] for text in content["texts"]] == [str(folder), str(other)]  # type: ignore[attr-defined]
    assert len(content["comparisons"]) == 1  # type: ignore[arg-type]


def test_a_table(folder: Path) -> None:
    rows = attn("tokenize", "the mole", "--table", "-m", str(folder)).text.splitlines()
    assert rows[2].split() == ["#", "id", "token", "text", "characters", "bytes", "word", "note"]


def test_why(folder: Path, other: Path) -> None:
    shown = attn("tokenize", "the mole", "--why", "-m", str(folder)).text
    assert "pre-tokens" in shown
    assert "m+o" in shown
    content = json_of(attn("tokenize", "the mole", "--why", "--json", "-m", str(other)))
    why = content["texts"][0]["why"]  # type: ignore[index]
    assert why["agrees"]
    assert [token["id"] for token in why["tokens"]] == [token["id"] for token in content["texts"][0]["tokens"]]  # type: ignore[index]


def test_a_tokenizer_saved_under_any_name(folder: Path, tmp_path: Path) -> None:
    for name in ("mine.json", "my-vocab.json"):
        file = tmp_path / name
        file.write_bytes((folder / "tokenizer.json").read_bytes())
        assert attn("tokenize", "the moles", "--count", "-m", str(file)).text == (
            attn("tokenize", "the moles", "--count", "-m", str(folder / "tokenizer.json")).text
        )


def test_a_byte_order_mark_moves_nothing(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "notepad.txt"
    file.write_bytes(b"\xef\xbb\xbfthe mole\r\n")
    (text,) = json_of(attn("tokenize", "-f", str(file), "--json", "-m", str(folder)))["texts"]  # type: ignore[misc]
    assert (text["text"], text["source"]) == ("the mole", {"file": str(file), "line": 1})
    assert next(token["start"] for token in text["tokens"] if not token["special"]) == 0


def test_lint_says_which_line_of_which_file(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "data.txt"
    file.write_text("the mole\nthe\u200b mole\nthe mole\n", encoding="utf-8")
    model = ("-m", str(folder), "-f", str(file))
    for lines in ((), ("--lines",)):
        shown = attn("tokenize", "--lint", *lines, *model, "--width", "200").text
        assert f"{file}:2:4 warning (invisible)" in shown
        assert ("nothing found in 2 of 3 texts" in shown) == bool(lines)
        failed = attn("tokenize", "--check", "lint", "--count", *lines, *model)
        assert failed.err.startswith(f"failed: lint: {file}:2:4 (invisible): ")
    (odd,) = (
        text for text in json_of(attn("tokenize", "--lint", "--lines", "--json", *model))["texts"] if text["findings"]
    )  # type: ignore[misc]
    assert (odd["source"], odd["findings"][0]["line"], odd["findings"][0]["column"]) == (
        {"file": str(file), "line": 2},
        2,
        4,
    )
    rows = attn("tokenize", "--lint", "--lines", "--format", "csv", *model).text.splitlines()
    assert rows[0].endswith(",line,column,file")
    assert rows[1].endswith(f",2,4,{file}")


def test_lint_counts_the_texts_without_findings(folder: Path) -> None:
    model = ("-m", str(folder), "--lint", "--width", "200")
    assert attn("tokenize", "the mole", *model).text.startswith(f"nothing found · {folder}\n\nvocabulary: ")
    assert attn("tokenize", "the mole", "the", *model).text.startswith("nothing found in 2 of 2 texts\n\nvocabulary: ")
    shown = attn("tokenize", "the mole", "the\u200b mole", *model).text
    assert shown.startswith(f"1 warning · text 2 of 2 · {folder}\n")
    assert "\n\nnothing found in 1 of 2 texts\n\nvocabulary: " in shown


def test_a_failed_check_says_where_to_look(folder: Path, other: Path) -> None:
    models = ("-m", str(folder), "-m", str(other))
    outcome = attn("tokenize", "the moles", "--check", "same", *models)
    assert outcome.err.splitlines()[-1] == "hint: stdout shows the models beside one another, and lists each difference"
    outcome = attn("tokenize", "the moles", "--check", "same", "--count", *models)
    assert outcome.err.splitlines()[-1].startswith("hint: leaving --count out shows the models beside one another")
    outcome = attn("tokenize", "the\u200b mole", "--check", "lint", "-m", str(folder))
    assert outcome.err.splitlines()[-1] == "hint: --lint shows each place"


def test_lint_finds_and_check_fails(folder: Path) -> None:
    model = ("-m", str(folder))
    clean, odd = "the mole", "the\u200b mole "
    assert attn("tokenize", clean, "--check", "lint", *model).code == 0
    outcome = attn("tokenize", odd, "--check", "lint", "--lint", *model)
    assert outcome.code == 4
    assert "trailing_space" in outcome.text
    assert outcome.err.startswith("failed: lint: text 1: ")
    assert outcome.err.splitlines()[-2].startswith("error: ")
    content = json.loads(attn("tokenize", odd, "--check", "lint", "--lint", "--json", *model).text)
    assert {finding["kind"] for finding in content["texts"][0]["findings"]} >= {"invisible", "trailing_space"}
    assert len(content["failures"]) == 2
    assert len(content["unreachable"]) == 1


def test_check_same(folder: Path, other: Path, tmp_path: Path) -> None:
    made.save(tmp_path, made.byte_bpe(bos=True))
    assert attn("tokenize", "the", "--check", "same", "-m", str(folder), "-m", str(folder)).code == 0
    outcome = attn("tokenize", "the moles", "--check", "same", "-q", "-m", str(folder), "-m", str(other))
    assert outcome.code == 4
    assert outcome.err.startswith("failed: same: text 1: ")
    assert attn("tokenize", "the", "--check", "same", "-m", str(folder)).code == 2


def test_statistics(folder: Path, other: Path) -> None:
    models = ("-m", str(folder), "-m", str(other))
    assert "fertility" in attn("tokenize", "the mole", "--stats", *models).text
    content = json_of(attn("tokenize", "the mole", "dug", "--stats", "--json", *models))
    assert [each["texts"] for each in content["statistics"]] == [2, 2]  # type: ignore[attr-defined]
    assert len(content["parity"]) == 1  # type: ignore[arg-type]
    rows = list(csv.DictReader(io.StringIO(attn("tokenize", "the mole", "--stats", "--format", "csv", *models).text)))
    assert [(row["model"], row["script"]) for row in rows] == [
        (str(folder), ""),
        (str(folder), "Latin"),
        (str(other), ""),
        (str(other), "Latin"),
    ]


def test_the_vocabulary(folder: Path) -> None:
    model = ("-m", str(folder))
    assert "330 entries" in attn("tokenize", "--vocab", *model).text
    assert "no entry" in attn("tokenize", "--vocab", "zebra", *model).text
    content = json_of(attn("tokenize", "--vocab", "the", "--json", *model))
    assert content["texts"] == []
    assert content["vocabularies"][0]["searches"][0]["exact"][0]["text"] == "the"  # type: ignore[index]
    rows = list(csv.DictReader(io.StringIO(attn("tokenize", "--vocab", "--format", "csv", *model).text)))
    assert [int(row["id"]) for row in rows] == list(range(330))


def test_a_conversation(folder: Path) -> None:
    model = ("-m", str(folder))
    shown = attn("tokenize", "--chat", MESSAGES, *model).text
    assert "user" in shown
    content = json_of(attn("tokenize", "--chat", MESSAGES, "--generation-prompt", "--json", *model))
    (text,) = content["texts"]  # type: ignore[misc]
    assert text["text"] == "<s>user\nthe mole</s><s>"
    assert text["chat"]["messages"][0]["role"] == "user"
    assert [token["id"] for token in text["tokens"]].count(0) == 2
    two = attn("tokenize", "--chat", "--lines", "--count", *model, stdin=f"{MESSAGES}\n{MESSAGES}\n").text
    assert len(set(two.splitlines())) == 1
    assert two.count("\n") == 2


def test_ids_line_by_line(folder: Path) -> None:
    model = ("-m", str(folder))
    ids = attn("tokenize", "--input-ids", "-", "--lines", "--count", *model, stdin="5 6\n\n[7, 8, 9]\n")
    assert ids.text == "2\n3\n"
    assert attn("tokenize", "--input-ids", "[5, 6]", "--ids", *model).text == "5 6\n"


def test_findings_as_rows(folder: Path) -> None:
    table = attn("tokenize", "the\u200b mole ", "--lint", "--format", "csv", "-m", str(folder)).text
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [(row["kind"], row["severity"], row["start"]) for row in rows] == [
        ("invisible", "warning", "3"),
        ("trailing_space", "warning", "9"),
    ]


def test_what_was_found_in_the_vocabulary_as_rows(folder: Path) -> None:
    table = attn("tokenize", "--vocab", "--format", "csv", "-m", str(folder), stdin="mole\n").text
    rows = list(csv.DictReader(io.StringIO(table)))
    assert {row["search"] for row in rows} == {"mole"}
    assert rows[0]["match"] in ("exact", "variants")
    everything = attn("tokenize", "--vocab", "--format", "csv", "-m", str(folder), stdin="").text
    assert len(list(csv.DictReader(io.StringIO(everything)))) == 330


def test_a_broken_conversation_is_named_by_its_line(folder: Path) -> None:
    outcome = attn("tokenize", "--chat", "--lines", "-m", str(folder), stdin=f"{MESSAGES}\n\n{{bad\n")
    assert outcome.code == 1
    assert outcome.error[0].startswith("line 3: the conversation is not JSON")


def test_a_conversation_is_checked_message_by_message(folder: Path) -> None:
    model = ("-m", str(folder), "--check", "lint")
    assert attn("tokenize", "--chat", MESSAGES, *model).code == 0
    outcome = attn("tokenize", "--chat", MESSAGES.replace("the mole", "the <|end|> mole"), *model)
    assert outcome.code == 4
    assert "in message 1 (user), <|end|> in the text becomes the special token 2" in outcome.err
