"""Whole commands: what the verb is asked, and what comes out where."""

from __future__ import annotations

import io
import json
import logging
import shlex
import sys
from pathlib import Path

import pytest

from attncli.api.heads_input import HeadsInput
from attncli.api.loading import ModelLoader
from attncli.api.requests import (
    CompareRequest,
    EncodingRequest,
    HeadsOptions,
    LoadingRequest,
    ParamsRequest,
    TokenizeRequest,
)
from attncli.cli.compare import compare as compare_command
from attncli.cli.heads import heads as heads_command
from attncli.cli.main import run
from attncli.cli.params import params as params_command
from attncli.cli.tokenize import tokenize as tokenize_command
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.heads.text import heads_text
from attncli.render.stream import tokenize_text
from attncli.verbs import VERBS
from tests.cli.conftest import Recorder, TokenizeRecorder, attn, flat, names, surroundings
from tests.cli.samples import PATTERN, heads_result, stack, tokenize_result

# What the verbs are asked


def test_options_leave_the_defaults_of_the_functions(
    tokenize: TokenizeRecorder, heads: Recorder, params: Recorder, compare: Recorder
) -> None:
    attn("tokenize", "Hello world")
    assert callable(tokenize.call.pop("progress"))
    assert tokenize.call == flat(TokenizeRequest())
    assert tokenize.inputs == [("Hello world", None, None)]
    attn("heads", "Hello world")
    defaults = flat(HeadsInput("Hello world"), HeadsOptions(), ModelLoader())
    assert heads.call == {**defaults, "progress": heads.call["progress"]}
    attn("params")
    assert params.call == {**flat(ParamsRequest()), "progress": params.call["progress"]}
    attn("compare", "a", "b", "c")
    given = {"word": "a", "sentences": compare.call["sentences"], "progress": compare.call["progress"]}
    assert compare.call == {**flat(CompareRequest(), ModelLoader()), **given}


def test_tokenize_with_every_option(tokenize: TokenizeRecorder) -> None:
    options = (
        "-m a -m ./b -f - --pair d --no-special --truncate --revision r --refresh --trust-remote-code --allow-pickle"
    )
    outcome = attn("tokenize", *options.split(), stdin="Hello\n")
    assert outcome.code == 0
    del tokenize.call["progress"]
    assert tokenize.inputs == [("Hello", "d", None)]
    loading, encoding = LoadingRequest("r", *(True,) * 3), EncodingRequest("d", *(True,) * 2)
    assert tokenize.call == flat(TokenizeRequest(["a", "./b"], encoding=encoding, loading=loading))


def test_heads_with_every_option(heads: Recorder) -> None:
    options = (
        "--input-ids 5,6 -m a -l -1 -H 5.5,6.9 --stack cross --query -1 --key it#2 --metric first "
        "--threshold first=0.3 --patterns --bins 64 --by word --hide-special --norm-weighted --top 3 --device cuda:1 "
        "--dtype bfloat16"
    )
    assert attn("heads", *options.split()).code == 0
    assert heads.call == {
        **flat(HeadsInput(), HeadsOptions(), ModelLoader("a")), "progress": heads.call["progress"],
        "input_ids": [5, 6], "layer": ("-1",), "head": ("5.5,6.9",), "stack": "cross", "query": "-1", "key": "it#2",
        "metric": "first", "threshold": ("first=0.3",), "patterns": True, "bins": 64, "by": "word",
        "hide_special": True, "norm_weighted": True, "top": 3, "device": "cuda:1", "dtype": "bfloat16",
    }  # fmt: skip


def test_an_empty_text_reaches_the_verb_which_refuses_it() -> None:
    for verb in ("heads", "tokenize"):
        outcome = attn(verb, "")
        assert outcome.code == 2
        assert outcome.error[0] == "the text is empty"
        assert attn(verb, stdin="").error[0] == "the text is empty"


# What comes out on stdout


def test_text_is_the_default(heads: Recorder, tokenize: TokenizeRecorder) -> None:
    heads.result = heads_result(stack(PATTERN), chosen=True)
    assert attn("tokenize", "hi").text == tokenize_text(tokenize.result, Terminal())
    assert attn("heads", "hi").text == heads_text(heads.result, Terminal())


def test_text_is_made_for_the_terminal_that_it_goes_to(tokenize: TokenizeRecorder) -> None:
    terminal = Terminal(60, ColorDepth.EIGHT_BIT, True)
    variables = {"TERM": "xterm-256color"}
    expected = tokenize_text(tokenize.result, terminal)
    assert "\x1b[" in expected
    assert attn("tokenize", "hi", terminal=True, columns=60, variables=variables).text == expected
    assert "\x1b" not in attn("tokenize", "hi", "--no-color", terminal=True, variables=variables).text
    assert "\x1b" not in attn("tokenize", "hi", "--color", "always", "--no-color", terminal=True).text


def test_ascii_by_wish_and_by_need(tokenize: TokenizeRecorder) -> None:
    for outcome in (attn("tokenize", "hi", "--ascii"), attn("tokenize", "hi", encoding="cp1252")):
        assert outcome.text == tokenize_text(tokenize.result, Terminal(unicode=False))
        assert outcome.out.isascii()
    assert attn("tokenize", "hi", "--json", encoding="cp1252").out.isascii()
    assert not attn("tokenize", "hi", "--json").out.isascii()


def test_warnings_go_to_stderr_and_into_the_json(heads: Recorder) -> None:
    heads.result = heads_result(warnings=("the text was cut",))
    outcome = attn("heads", "hi", "--json")
    assert outcome.err == "warning: the text was cut\n"
    assert json.loads(outcome.text)["warnings"] == ["the text was cut"]
    assert attn("heads", "hi", "--json", "-q").err == ""


def test_what_libraries_print_stays_off_both_streams(heads: Recorder, capfd: pytest.CaptureFixture[str]) -> None:
    def chatter(**_: object) -> None:
        print("a model's own print")
        print("progress bar", file=sys.stderr)
        logger = logging.getLogger("a library of the test's")
        logger.propagate = False
        logger.handlers = [logging.StreamHandler()]
        logger.warning("a library logs")

    heads.before = chatter
    outcome = attn("heads", "hi", "--json")
    assert json.loads(outcome.text)
    assert outcome.err == ""
    assert capfd.readouterr() == ("", "")
    attn("heads", "hi", "--json", "--debug")
    out, err = capfd.readouterr()
    assert out == ""
    assert "a model's own print" in err
    assert "a library logs" in err


# Files


def test_stdout_is_written_too_where_a_form_is_asked_for(heads: Recorder, tmp_path: Path) -> None:
    outcome = attn("heads", "hi", "-o", str(tmp_path / "x.csv"), "--json")
    assert json.loads(outcome.text) == heads.result.to_dict()
    assert (tmp_path / "x.csv").exists()


def test_a_text_file_has_colours_only_if_always(tokenize: TokenizeRecorder, tmp_path: Path) -> None:
    file = tmp_path / "X.TXT"
    attn("tokenize", "hi", "-o", str(file), variables={"FORCE_COLOR": "3"}, encoding="cp1252")
    assert file.read_text("utf-8") == tokenize_text(tokenize.result, Terminal())
    attn("tokenize", "hi", "-o", str(file), "--color", "always", "--width", "40", "--ascii")
    assert file.read_text("utf-8") == tokenize_text(tokenize.result, Terminal(40, ColorDepth.ANSI, False))


_HEADS_ENDINGS = ".txt, .json, .csv, .npz, .html, .svg, .pdf, .png"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("x.htm", "the ending .htm is not a known format"),
        ("x.jsonl", "the ending .jsonl is not a known format"),
        ("x", "the name has no ending"),
        ("-", "the name has no ending"),
        (".csv", "the name has no ending"),
    ],
)
def test_an_unknown_ending_is_met_before_any_work(name: str, what: str, heads: Recorder) -> None:
    outcome = attn("heads", "hi", "-o", name)
    assert outcome.error == (f"-o {name}: {what}", f"the name can end in {_HEADS_ENDINGS}")
    assert outcome.code == 2
    assert heads.calls == []


def test_a_place_that_cant_be_written_is_met_before_any_work(heads: Recorder, tmp_path: Path) -> None:
    outcome = attn("heads", "hi", "-o", str(tmp_path / "no" / "x.json"))
    assert outcome.error[1] == f"mkdir -p {tmp_path / 'no'}"
    assert outcome.code == 1
    assert heads.calls == []


def test_one_file_cant_be_written_twice(heads: Recorder, tmp_path: Path) -> None:
    file, again = tmp_path / "x.json", tmp_path / "." / "y.json"
    file.touch()
    again.symlink_to(file)
    outcome = attn("heads", "hi", "-o", str(file), "-o", str(again))
    assert outcome.error[0] == f"-o {file} was given twice"
    assert heads.calls == []


def test_no_file_is_touched_where_one_form_fails(
    tokenize: TokenizeRecorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(form: object, part: object) -> str:
        raise MemoryError

    monkeypatch.setattr("attncli.render.npz.IdsForm.part", fail)
    (tmp_path / "x.json").write_text("before")
    outcome = attn("tokenize", "hi", "-o", str(tmp_path / "x.json"), "-o", str(tmp_path / "x.npz"))
    assert outcome.code == 1
    assert (tmp_path / "x.json").read_text() == "before"
    assert names(tmp_path) == ["x.json"]


# Streams that fail


def test_a_closed_stderr_costs_only_the_messages(tokenize: TokenizeRecorder) -> None:
    tokenize.result = tokenize_result(warnings=("careful",))
    environment = surroundings()._replace(stderr=None)
    assert run(["tokenize", "hi", "--count"], environment) == 0
    assert environment.stdout.getvalue() == b"3\n"  # type: ignore[union-attr]
    assert run(["tokenize"], environment) == 2


def test_an_unbuffered_stdout_is_written_in_parts(tokenize: TokenizeRecorder) -> None:
    class Slow(io.BytesIO):
        def write(self, content: object) -> int:
            return super().write(bytes(content)[:7])  # type: ignore[call-overload]

    environment = surroundings()._replace(stdout=Slow())
    assert run(["tokenize", "hi", "--ids"], environment) == 0
    assert environment.stdout.getvalue() == b"101 7861 8270\n"  # type: ignore[union-attr]


@pytest.mark.parametrize(("error", "windows"), [(BrokenPipeError(32, "x"), False), (OSError(22, "x"), True)])
def test_a_reader_that_has_gone_is_no_error(error: OSError, windows: bool, tokenize: TokenizeRecorder) -> None:
    class Gone(io.BytesIO):
        def write(self, content: object) -> int:
            raise error

    environment = surroundings(windows=windows)._replace(stdout=Gone())
    assert run(["tokenize", "hi"], environment) == 141
    assert environment.stderr.getvalue() == ""  # type: ignore[union-attr]


# Help


def test_attn_alone_shows_the_help() -> None:
    outcome = attn()
    assert outcome == attn("--help") == attn("-h")
    assert outcome.code == 0
    assert outcome.err == ""
    for verb in VERBS.values():
        assert f"  {verb.name:8}  {verb.summary}\n" in outcome.text


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version(flag: str) -> None:
    from attncli._version import __version__

    assert attn(flag).text == f"attncli {__version__}\n"


@pytest.mark.parametrize(
    "command",
    [compare_command, heads_command, params_command, tokenize_command],
    ids=["compare", "heads", "params", "tokenize"],
)
@pytest.mark.usefixtures("compare", "heads", "params", "tokenize")
def test_the_examples_of_the_help_run(command: object) -> None:
    examples = command.examples  # type: ignore[attr-defined]
    assert len(examples) in (3, 4)
    for example in examples:
        before, _, line = example.rpartition("attn ")
        stdin = shlex.split(before.rstrip("| "))[1] + "\n" if before else None
        outcome = attn(*shlex.split(line), stdin=stdin)
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.text
