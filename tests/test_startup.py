"""What a fresh process imports before it answers: the heavy libraries wait until they are needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "transformers", "numpy", "rich"}

#: Runs `attn` and then says on stderr which packages were imported.
SPY = """
import atexit, json, sys
sys.argv[0] = "attn"
atexit.register(lambda: sys.__stderr__.write(json.dumps(sorted({name.split(".")[0] for name in sys.modules}))))
from attncli.cli.main import main
main()
"""


def imported(*arguments: str, **variables: str) -> tuple[str, set[str]]:
    """stdout of a fresh process, and the packages that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", SPY, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, **variables},
        timeout=60,
        check=True,
        encoding="utf-8",
    )
    return done.stdout, set(json.loads(done.stderr))


def refused(*arguments: str) -> tuple[list[str], set[str]]:
    """The lines on stderr of a fresh process that ends with 2, and the packages that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", SPY, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=ROOT,
        timeout=60,
        check=False,
        encoding="utf-8",
    )
    assert (done.returncode, done.stdout) == (2, "")
    *lines, packages = done.stderr.splitlines()
    return lines, set(json.loads(packages))


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ((), "Verbs:"),
        (("--help",), "Verbs:"),
        (("--version",), "attncli "),
        (("compare", "--help"), "Examples:"),
        (("heads", "--help"), "Examples:"),
        (("tokenize", "--help"), "Examples:"),
        (("params", "--help"), "Examples:"),
    ],
    ids=" ".join,
)
def test_help_and_version_import_nothing_heavy(arguments: tuple[str, ...], shown: str) -> None:
    out, packages = imported(*arguments)
    assert shown in out
    assert packages & (HEAVY | {"tokenizers", "huggingface_hub", "safetensors"}) == set()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("attn ", {"compare", "heads", "params", "tokenize"}),
        ("attn heads --pat", {"--patterns", "--patch-from"}),
        ("attn tokenize --format js", {"json", "jsonl"}),
        ("attn heads --metric e", {"entropy"}),
        ("attn params --lora 8:moe.r", {"8:moe.router"}),
    ],
)
def test_shell_completion_imports_nothing_heavy(words: str, expected: set[str]) -> None:
    out, packages = imported(_ATTN_COMPLETE="bash_complete", COMP_LINE=words, COMP_PIECE=words.split(" ")[-1])
    assert {line.split(",")[1] for line in out.splitlines()} == expected
    assert packages & (HEAVY | {"tokenizers", "huggingface_hub", "safetensors"}) == set()


def test_tokenize_in_a_pipe_imports_nothing_heavy() -> None:
    out, packages = imported("tokenize", "Hello world", "--ids")
    assert out == "101 7592 2088 102\n"
    assert "tokenizers" in packages
    assert packages & HEAVY == set()
    out, packages = imported("tokenize", "Hello world")
    assert packages & HEAVY == set()
    out, packages = imported("tokenize", "Hello world", "--format", "csv")
    assert packages & HEAVY == set()


def test_a_word_that_is_not_there_is_told_before_torch_is_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPY, "compare", "mole", "A molecule", "A mole"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=ROOT,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 2
    assert "sentence 1 doesn't contain 'mole'" in done.stderr
    assert {"torch", "transformers"} & set(json.loads(done.stderr.splitlines()[-1])) == set()


def test_an_error_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "attncli", "heads", "--layr", "3"],
        capture_output=True,
        cwd=ROOT,
        check=False,
        encoding="utf-8",
    )
    names = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert done.returncode == 2
    assert "click" in names
    assert names & HEAVY == set()


def test_the_package_itself_imports_nothing() -> None:
    """Not even `typing`, which would take five times as long as all of it: with what it imports, ten milliseconds."""
    code = "import sys; before = set(sys.modules); import attncli; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, check=True, encoding="utf-8")
    ours = {"attncli", "attncli._version", "attncli.results"}
    assert set(done.stdout.split()) == {*ours, "__future__"}


@pytest.mark.parametrize("verb", ["compare", "heads", "params", "tokenize"])
def test_a_function_is_there_before_the_libraries_that_it_will_need(verb: str) -> None:
    code = f"import sys, attncli; attncli.{verb}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, check=True, encoding="utf-8")
    heavy = HEAVY - {"numpy"} if verb in ("compare", "heads") else HEAVY
    assert set(done.stdout.split()) & (heavy | {"click", "huggingface_hub", "matplotlib"}) == set()
