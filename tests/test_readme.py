"""The README's commands run, and print what it shows."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.cli.conftest import attn
from tests.readme import README, Example, all_examples, filtered, python_blocks

_NUMBER = re.compile(r"\d+\.\d+|\d+")


def test_there_are_examples_of_every_verb() -> None:
    commands = [example.command for example in all_examples()]
    assert any(command.startswith("attn compare") for command in commands)
    assert any(command.startswith("attn heads") for command in commands)
    assert any(command.startswith("attn tokenize") for command in commands)
    assert any(command.startswith("attn params") for command in commands)


@pytest.mark.parametrize("example", all_examples(), ids=lambda example: example.command)
def test_a_command_prints_what_the_readme_shows(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    if example.filter and shutil.which(example.filter[0]) is None:
        pytest.skip(f"{example.filter[0]} is not here")
    # Within this process: starting another for each would be most of the time.
    monkeypatch.chdir(README.parent)
    monkeypatch.delenv("ATTN_MODEL", raising=False)
    outcome = attn(*example.words[1:], variables={"COLUMNS": "80", "NO_COLOR": "1"})
    assert outcome.code == 0, outcome.err
    printed = filtered(outcome.text, example.filter)
    # Another processor rounds the last digit another way; all else is exact.
    assert _NUMBER.sub("0", printed) == _NUMBER.sub("0", example.output)
    for ours, shown in zip(_NUMBER.findall(printed), _NUMBER.findall(example.output), strict=True):
        assert float(ours) == pytest.approx(float(shown), abs=0.02 if "." in shown else 1)


def test_the_python_examples_run() -> None:
    scope: dict[str, object] = {}
    for block in python_blocks():
        exec(block, scope)
    assert scope["weights"].shape == (8, 8)
    assert scope["total"] == 124_439_808
    assert scope["tokens"] == [101, 2202, 1037, 16012, 18075, 1997, 1996, 16709, 102]
    # Of six tokens, three repeat: all eight heads have a number for what followed earlier copies.
    assert list(scope["induction"]) == [f"{layer}.{head}" for layer in range(2) for head in range(4)]
    assert None not in scope["induction"].values()
    assert len(scope["per_layer"]) == 2
