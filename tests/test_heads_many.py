"""`attn heads` averaged over many texts and over random tokens: whole commands on tiny models."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import attncli
from attncli.api import heads_many
from attncli.api.heads_many import LocatedText, TextTokens, group_by_length, split_batches
from attncli.errors import UsageError
from attncli.metrics import METRICS
from tests import tiny
from tests.cli.conftest import Outcome, attn

LINES = ["the mole dug the mole", "one mole", "take a biopsy of the mole", "the the"]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save_with_tokenizer(tmp_path_factory.mktemp("gpt2"), "gpt2"))


def result(outcome: Outcome) -> dict[str, Any]:
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.text)


def values(found: dict[str, Any]) -> list[dict[str, float | None]]:
    return [{name: head[name] for name in METRICS} for stack in found["stacks"] for head in stack["metrics"]]


def write_lines(folder: Path, *lines: str, name: str = "lines.txt") -> str:
    (folder / name).write_text("\n".join(lines) + "\n", "utf-8")
    return str(folder / name)


def test_lines_are_averaged(tmp_path: Path, gpt2: str) -> None:
    found = result(attn("heads", "-f", write_lines(tmp_path, *LINES), "--lines", "-m", gpt2, "--json"))
    assert found["texts"] == 4 and found["probe"] is None
    (stack,) = found["stacks"]
    assert stack["queries"] == stack["keys"] == stack["patterns"] == []
    singles = [values(result(attn("heads", line, "-m", gpt2, "--json"))) for line in LINES]
    for index, head in enumerate(stack["metrics"]):
        for name in METRICS:
            shown = [single[index][name] for single in singles if single[index][name] is not None]
            assert head["counts"][name] == len(shown)
            assert head[name] == (pytest.approx(sum(shown) / len(shown), abs=1e-5) if shown else None)
            if len(shown) > 1:
                low, high = head["intervals"][name]
                assert low < head[name] < high
            else:
                assert head["intervals"][name] is None


def test_however_the_same_texts_come(tmp_path: Path, gpt2: str) -> None:
    path = write_lines(tmp_path, *LINES)
    packed = tmp_path / "lines.gz"
    packed.write_bytes(gzip.compress(Path(path).read_bytes()))
    single = [write_lines(tmp_path, line, name=f"{place}.txt") for place, line in enumerate(LINES)]
    whole = result(attn("heads", "-f", path, "--lines", "-m", gpt2, "--json"))
    for arguments, stdin in (
        (["-f", str(packed), "--lines"], None),
        (["--lines"], "\r\n".join(LINES) + "\r\n"),
        (["-f", "-", "--lines"], "\n".join(LINES)),
        ([part for name in single for part in ("-f", name)], None),
        (["\n".join(LINES), "--lines"], None),
    ):
        assert result(attn("heads", *arguments, "-m", gpt2, "--json", stdin=stdin)) == whole
    assert attncli.heads(LINES, model=gpt2).to_dict() == whole
    ids = [[token["id"] for token in text["tokens"]] for text in _tokens(LINES, gpt2)]
    (tmp_path / "ids").write_text("\n".join(" ".join(map(str, each)) for each in ids))
    by_ids = result(attn("heads", "--input-ids", f"@{tmp_path / 'ids'}", "--lines", "-m", gpt2, "--json"))
    assert values(by_ids) == values(whole)
    assert attncli.heads(input_ids=ids, model=gpt2).to_dict() == by_ids


def _tokens(texts: list[str], model: str) -> list[dict[str, Any]]:
    return json.loads(attn("tokenize", *texts, "-m", model, "--json").text)["texts"]


def test_small_groups_and_windows_change_nothing(gpt2: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*LINES, *(" ".join(["mole"] * count) for count in range(1, 20))]
    whole = attncli.heads(texts, model=gpt2).to_dict()
    monkeypatch.setattr(heads_many, "_WINDOW_TEXTS", 5)
    monkeypatch.setattr(heads_many, "_GROUP_TEXTS", 2)
    monkeypatch.setattr(heads_many, "BATCH_TOKENS", 20)
    for one, other in zip(values(whole), values(attncli.heads(texts, model=gpt2).to_dict()), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_groups_are_of_about_one_length_and_hold_a_window_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads_many, "_WINDOW_TEXTS", 6)
    monkeypatch.setattr(heads_many, "_GROUP_TEXTS", 3)
    monkeypatch.setattr(heads_many, "_GROUP_CHARACTERS", 20)
    drawn = 0

    def texts():
        nonlocal drawn
        for drawn, length in enumerate([3, 9, 4, 30, 5, 6, 1, 2], 1):
            yield LocatedText(f"text {drawn}", "x" * length)

    found = []
    for group in group_by_length(texts()):
        assert drawn <= (6 if len(found) < 3 else 8)
        found.append([given.size for given in group])
    assert found == [[30], [9, 6], [5, 4, 3], [2, 1]]


def test_a_group_of_more_tokens_than_thought_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads_many, "BATCH_TOKENS", 10)
    texts = [TextTokens(tiny.tokens([5] * length), (0,) * length) for length in (2, 30, 5, 5, 3)]
    assert [[len(text.tokens) for text in batch] for batch in split_batches(texts)] == [[30], [5, 5], [3, 2]]


def test_empty_lines_are_left_out(tmp_path: Path, gpt2: str) -> None:
    gaps = attn("heads", "-f", write_lines(tmp_path, *LINES[:2], "", "  ", *LINES[2:]), "--lines", "-m", gpt2, "--json")
    assert values(result(gaps)) == values(attncli.heads(LINES, model=gpt2).to_dict())
    assert "note: 2 texts were skipped, because they are empty\n" in gaps.err
    nothing = attn("heads", "-f", write_lines(tmp_path, "", " ", ""), "--lines", "-m", gpt2)
    assert nothing.code == 2 and nothing.error[0] == "all texts are empty"
    (tmp_path / "empty.txt").write_text("")
    empty = attn("heads", "-f", str(tmp_path / "empty.txt"), "--lines", "-m", gpt2)
    assert empty.code == 2 and empty.error[0].endswith("empty.txt is empty")
    with pytest.raises(UsageError, match="there are no texts"):
        attncli.heads([], model=gpt2)


def test_a_line_that_is_too_long(tmp_path: Path, gpt2: str) -> None:
    path = write_lines(tmp_path, *LINES, "x " * 70, name="long.txt")
    refused = attn("heads", "-f", path, "--lines", "-m", gpt2)
    assert refused.code == 2
    assert refused.error == (
        f"line 5 of {path}: the text has 141 tokens, and the model accepts at most 64",
        "add --truncate to shorten it",
    )
    cut = attn("heads", "-f", path, "--lines", "-m", gpt2, "--truncate", "--json")
    assert result(cut)["texts"] == 5
    assert result(cut)["warnings"] == ["1 text was truncated to the 64 tokens that the model accepts"]
    assert "warning: 1 text was truncated" in cut.err


def test_one_line_has_no_interval_and_says_that_it_is_one(tmp_path: Path, gpt2: str) -> None:
    outcome = attn("heads", "-f", write_lines(tmp_path, LINES[0]), "--lines", "-m", gpt2)
    assert "mean over 1 text" in outcome.text and "±" not in outcome.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--patterns"], "--patterns works on one text; with "),
        (["--bins", "4"], "--bins works on one text; with "),
        (["--pair", "mole"], "--pair works on one text; with "),
        (["-l", "3"], "there is no layer 3 in the model"),
    ],
)
def test_what_belongs_to_one_text_is_refused(tmp_path: Path, gpt2: str, arguments: list[str], message: str) -> None:
    for given in (["-f", write_lines(tmp_path, *LINES), "--lines"], ["--probe"]):
        outcome = attn("heads", *given, *arguments, "-m", gpt2)
        assert outcome.code == 2 and outcome.error[0].startswith(message)


def test_a_file_that_ends_in_the_middle_leaves_nothing(tmp_path: Path, gpt2: str) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(b"a mole\n" + b"\xff\n")
    outcome = attn("heads", "-f", str(path), "--lines", "-m", gpt2, "-o", str(tmp_path / "x.json"))
    assert outcome.code == 1 and "UTF-8" in outcome.error[0]
    assert not (tmp_path / "x.json").exists()


def test_the_probe_finds_the_heads_that_were_trained() -> None:
    found = result(attn("heads", "-m", "builtin:induction", "--probe", "--json"))
    assert found["probe"] == {"sequences": 8, "tokens": 25, "repeats": 4, "seed": 0} and found["texts"] == 8
    labels = {head["name"]: head["labels"] for head in found["stacks"][0]["metrics"]}
    assert [name for name, own in labels.items() if "previous" in own] == ["0.0"]
    assert [name for name, own in labels.items() if "induction" in own] == ["1.0", "1.1", "1.2", "1.3"]
    for head in found["stacks"][0]["metrics"][4:]:
        low, high = head["intervals"]["induction"]
        assert 0.9 < low < head["induction"] < high
        assert head["induction"] > 0.95


def test_the_probe_stays_within_the_positions(gpt2: str) -> None:
    """The tiny GPT-2 takes 64 tokens, of which one is the tokenizer's."""
    found = attncli.heads(model=gpt2, probe=True)
    assert found.probe is not None and found.probe.tokens == 15
    assert found.stacks[0].metrics[0].values["special"] is not None


@pytest.mark.parametrize("family", ["bert", "t5", "bloom"])
def test_the_probe_without_a_tokenizer(family: str) -> None:
    found = attncli.heads(model=tiny.build(tiny.FAMILIES[family]()), probe=True)
    assert found.texts == 8
    for stack in found.stacks:
        head = stack.metrics[0]
        assert (head.values["induction"] is None) == (stack.stack == "cross")
        assert head.spread is not None and head.spread.counts["first"] == 8
    told = "the decoder's input was its start token, then the same random tokens as the encoder's"
    assert found.notes == ((told,) if family == "t5" else ())


def test_copies_are_what_the_probe_repeats() -> None:
    """Where attention is even, induction and duplicate are the shares of such keys among those seen."""
    model = tiny.build(tiny.llama())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "q_proj" in name or "k_proj" in name:
                parameter.zero_()
    found = attncli.heads(model=model, probe=True)
    queries = [(place, place // 25) for place in range(25, 100)]
    for head in found.stacks[0].metrics:
        expected = sum(copies / (place + 1) for place, copies in queries) / len(queries)
        assert head.values["duplicate"] == pytest.approx(expected, abs=1e-6)
        assert head.values["induction"] == pytest.approx(expected, abs=1e-6)
