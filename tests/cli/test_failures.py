"""Every failure is two lines: what happened, and what mends it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from attncli.errors import CheckError, FailedError, ModelError, UsageError
from tests.cli.conftest import Recorder, attn


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        # And what `tests/golden` holds in attn/usage.
        (("fly",), "attn has no verb 'fly'", "the verbs are compare, heads, params, tokenize"),
        (
            ("heads", "--foo"),  # not like --color, but for the dashes
            "attn heads has no option --foo",
            "attn heads --help lists the options",
        ),
        (("tokenize", "--zzz"), "attn tokenize has no option --zzz", "attn tokenize --help lists the options"),
        (
            ("tokenize", "-5 degrees"),
            "attn tokenize has no option -5",
            "attn tokenize --help lists the options; write -- before a text that begins with -",
        ),
        (
            ("-m", "gpt2", "heads", "x"),
            "attn has no option -m",
            "write options after the verb: attn heads TEXT -m gpt2; attn --help lists the verbs",
        ),
        (("heads", "x", "--layer"), "--layer needs a value", "write --layer LAYERS"),
        (("heads", "x", "--format"), "--format needs a value", "write --format [text|json|jsonl|csv]"),
        (("tokenize", "x", "--ids=5"), "--ids takes no value", "write --ids alone"),
        (
            ("tokenize", "x", "--format", "jsn"),
            "--format can't be 'jsn': it has to be one of text, json, jsonl, csv",
            "did you mean json? for instance --format text",
        ),
        (
            ("heads", "x", "--dtype", "int8"),
            "--dtype can't be 'int8': it has to be one of auto, float32, bfloat16, float16",
            "for instance --dtype auto",
        ),
        (
            ("heads", "x", "--bins", "many"),
            "--bins can't be 'many': it has to be a whole number of at least 1",
            "for instance --bins 64",
        ),
        (("tokenize", "x", "--ids", "--count"), "--ids and --count can't be combined", "leave one of them out"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], message: str, hint: str, heads: Recorder, tokenize: Recorder) -> None:
    outcome = attn(*arguments)
    assert outcome.error == (message, hint)
    assert outcome.code == 2
    assert heads.calls == tokenize.calls == []


MESSAGE = '[{"role": "user", "content": "hello"}]'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("heads x -H cross.0.1 --stack decoder", "-H cross.0.1 is not in the stack decoder, which --stack chooses"),
        ("heads x -l ''", "-l: '' is not a layer"),
        ("heads 'a mole' --probe", "--probe can't be combined with a text: it runs random tokens instead of a text"),
        ("heads --probe --lines", "--probe can't be combined with --lines: it runs random tokens instead of a text"),
        ("heads 'a mole' --seed 1", "--seed has no effect without random tokens"),
        ("heads --probe --seed x", "--seed can't be 'x': it has to be a whole number of at least 0"),
        ("tokenize x --stats -o x.npz", "npz can't contain --stats"),
        ("tokenize x --why --format csv", "csv can't contain --why"),
        ("tokenize x --lint --count", "--count and --lint can't be combined"),
        ("tokenize x --ids --table", "--ids and --table can't be combined"),
        ("tokenize x --why --count", "--count and --why can't be combined"),
        ("tokenize x --why --pair y", "--pair can't be combined with --why, which explains one whole text"),
        ("tokenize --input-ids 5 --why", "--input-ids can't be combined with --why, which explains one whole text"),
        (
            f"tokenize --chat '{MESSAGE}' --pair x",
            "--pair can't be combined with --chat, which reads one conversation",
        ),
        ("tokenize x --template y", "--template needs a conversation"),
        (
            "tokenize --vocab --check lint",
            "--check can't be combined with --vocab, which shows the vocabulary and splits no text",
        ),
        ("tokenize x --check sane", "--check can't be 'sane': it has to be one of same, lint"),
    ],
)
def test_options_that_contradict_each_other(line: str, message: str) -> None:
    outcome = attn(*shlex.split(line), "-m", "builtin:induction")
    assert (outcome.code, outcome.error[0]) == (2, message)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FailedError("m", hint="h"), 1),
        (UsageError("m", hint="h"), 2),
        (ModelError("m", hint="h"), 3),
        (CheckError("m", hint="h"), 4),
    ],
)
def test_our_own_errors_bring_their_exit_code(error: Exception, code: int, heads: Recorder) -> None:
    heads.result = error
    outcome = attn("heads", "hello there")
    assert outcome.error == ("m", "h")
    assert outcome.code == code


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "out of memory"),
        (OSError(28, "No space left on device", "/cache"), "No space left on device: /cache"),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
        (KeyError("x"), "unexpected error: KeyError: 'x'"),
        (SystemExit(0), "unexpected error: SystemExit: 0"),
    ],
)
def test_what_nobody_expected_is_two_lines_as_well(error: BaseException, message: str, heads: Recorder) -> None:
    heads.result = error
    outcome = attn("heads", "hello there")
    assert outcome.error[0] == message
    assert outcome.code == 1


def test_an_essay_is_cut_short(heads: Recorder) -> None:
    heads.result = RuntimeError("word\n" * 10_000)
    message, hint = attn("heads", "hello there").error
    assert len(message) < 500
    assert "--debug" in hint


def test_debug_shows_the_traceback_after_the_two_lines(heads: Recorder) -> None:
    heads.result = KeyError("x\x1b[2J")
    lines = attn("heads", "hello there", "--debug").err.splitlines()
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    assert lines[2] == "Traceback (most recent call last):"
    assert any("verb.run_heads(" in line for line in lines)
    assert "\x1b" not in "".join(lines)


def test_no_control_character_passes(heads: Recorder) -> None:
    heads.result = ModelError("there is no model \x1b]0;title\x07\u202e\n\x9b2J", hint="try\r\nanother\x00")
    outcome = attn("heads", "hello there")
    assert outcome.error[0].startswith("there is no model ")
    assert not set(outcome.err) & set("\x1b\x07\u202e\x9b\r\x00")


def test_an_unknown_option_cant_write_to_the_terminal() -> None:
    assert "\x1b" not in "".join(attn("tokenize", "--\x1b[2J").error)
    assert "\x1b" not in "".join(attn("\x1b[2J").error)


@pytest.mark.parametrize(("arguments", "name"), [(("{}",), "TEXT"), (("x y", "--pair", "{}"), "--pair")])
def test_arguments_in_broken_utf8(arguments: tuple[str, ...], name: str, tokenize: Recorder) -> None:
    broken = os.fsdecode("né".encode() + b"\xe9")
    outcome = attn("tokenize", *(argument.format(broken) for argument in arguments))
    assert outcome.error[0] == f"{name} is not valid UTF-8: no character begins at byte 3"
    assert outcome.code == 1
    assert tokenize.calls == []


def test_ctrl_c_is_quiet(heads: Recorder) -> None:
    heads.result = KeyboardInterrupt()
    outcome = attn("heads", "hello there")
    assert (outcome.code, outcome.out, outcome.err) == (130, b"", "")


def test_a_package_that_fails_as_it_is_imported_is_named(tmp_path: Path) -> None:
    """transformers imports torchvision wherever it and Pillow are installed, also for models of texts."""
    pytest.importorskip("PIL")
    broken = tmp_path / "torchvision"
    broken.mkdir()
    (broken / "__init__.py").write_text("from torchvision import operators\n")
    (broken / "operators.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    about = tmp_path / "torchvision-0.29.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.29.1\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "attncli", "heads", "a b", "-m", "builtin:induction"],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.splitlines() == [
        "error: the installed torchvision can't be imported: operator torchvision::nms does not exist",
        "hint: install the torchvision that fits your torch, or remove it: pip uninstall torchvision",
    ]
