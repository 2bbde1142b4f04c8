"""The README's commands run, and print what it shows."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.cli.conftest import attn
from tests.readme import README, Example, all_examples, python_blocks

_NUMBER = re.compile(r"\d+\.\d+|\d+")


def test_there_are_examples_of_every_verb() -> None:
    commands = [example.command for example in all_examples()]
    assert any(command.startswith("attn compare") for command in commands)
    assert any(command.startswith("attn heads") for command in commands)
    assert any(command.startswith("attn tokenize") for command in commands)
    assert any(command.startswith("attn params") for command in commands)


@pytest.mark.parametrize("example", all_examples(), ids=lambda example: example.command)
def test_a_command_prints_what_the_readme_shows(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    # Within this process: starting another for each would be most of the time.
    monkeypatch.chdir(README.parent)
    monkeypatch.delenv("ATTN_MODEL", raising=False)
    outcome = attn(*shlex.split(example.command)[1:], variables={"COLUMNS": "80", "NO_COLOR": "1"})
    assert outcome.code == 0, outcome.err
    printed = outcome.text
    # Another processor rounds the last digit another way; all else is exact.
    assert _NUMBER.sub("0", printed) == _NUMBER.sub("0", example.output)
    for ours, shown in zip(_NUMBER.findall(printed), _NUMBER.findall(example.output), strict=True):
        assert float(ours) == pytest.approx(float(shown), abs=0.02 if "." in shown else 1)


def test_the_python_examples_run() -> None:
    for block in python_blocks():
        scope: dict[str, object] = {}
        exec(block, scope)
        assert scope["weights"].shape == (8, 8)
        assert scope["total"] == 124_439_808
        assert scope["tokens"] == [101, 2202, 1037, 16012, 18075, 1997, 1996, 16709, 102]
