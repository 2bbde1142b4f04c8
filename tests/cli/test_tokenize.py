"""`attn tokenize` from its options to what it writes, on small tokenizers that the tests train."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

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
        assert outcome.err == f"warning: the text was truncated to the 50 tokens that {folder} accepts\n"
    assert "add --truncate to shorten it" in attn("tokenize", text, "--count", "-m", str(folder)).err


def test_many_long_lines_are_one_warning(folder: Path) -> None:
    outcome = attn(
        "tokenize", "--lines", "--count", "-m", str(folder), stdin="a\n" + "the mole " * 60 + "\n" * 2 + "x" * 99
    )
    assert outcome.err == (
        f"warning: 2 of 4 texts (text 2 first) have more than the 50 tokens that {folder} accepts "
        "(add --truncate to shorten them)\n"
    )


def test_an_empty_file_is_no_text(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for flags in ((), ("--ids",), ("--lines",), ("--stats",)):
        outcome = attn("tokenize", "-f", str(tmp_path / "empty"), "-m", str(folder), *flags)
        assert (outcome.code, outcome.error[0]) == (2, f"{tmp_path / 'empty'} is empty")


# Views


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


def test_a_failed_check_says_where_to_look(folder: Path, other: Path) -> None:
    models = ("-m", str(folder), "-m", str(other))
    outcome = attn("tokenize", "the moles", "--check", "same", *models)
    assert outcome.err.splitlines()[-1] == "hint: stdout shows the models side by side, with each difference"
    outcome = attn("tokenize", "the moles", "--check", "same", "--count", *models)
    assert outcome.err.splitlines()[-1].startswith("hint: leave --count out to see the models side by side")
    outcome = attn("tokenize", "the\u200b mole", "--check", "lint", "-m", str(folder))
    assert outcome.err.splitlines()[-1] == "hint: --lint shows where"


def test_check_same(folder: Path, other: Path, tmp_path: Path) -> None:
    made.save(tmp_path, made.byte_bpe(bos=True))
    assert attn("tokenize", "the", "--check", "same", "-m", str(folder), "-m", str(folder)).code == 0
    outcome = attn("tokenize", "the moles", "--check", "same", "-q", "-m", str(folder), "-m", str(other))
    assert outcome.code == 4
    assert outcome.err.startswith("failed: same: text 1: ")
    assert attn("tokenize", "the", "--check", "same", "-m", str(folder)).code == 2


def test_ids_line_by_line(folder: Path) -> None:
    model = ("-m", str(folder))
    ids = attn("tokenize", "--input-ids", "-", "--lines", "--count", *model, stdin="5 6\n\n[7, 8, 9]\n")
    assert ids.text == "2\n3\n"
    assert attn("tokenize", "--input-ids", "[5, 6]", "--ids", *model).text == "5 6\n"


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
