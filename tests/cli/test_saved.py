"""`--result FILE.json`: a saved result in any form, without the model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attncli.render.formats import FORMATS, Look, file_formats, render
from attncli.results.heads import HeadsResult
from attncli.verbs import VERBS
from tests.cli.conftest import attn
from tests.cli.samples import PATTERN, heads_result, params_result, stack, tokenize_result, tokenized
from tests.render.compare_samples import compare_result

RESULTS: dict[str, Any] = {
    "compare": compare_result(),
    "heads": heads_result(stack(PATTERN), chosen=True),
    "params": params_result(),
    "tokenize": tokenize_result(tokenized(0), tokenized(1, text="mole")),
}


def save(result: Any, folder: Path) -> str:
    path = folder / "saved.json"
    path.write_text(str(render(result, FORMATS["json"], Look())), "utf-8")
    return str(path)


@pytest.mark.parametrize("form", ["text", "csv", "jsonl", "json"])
@pytest.mark.parametrize("verb", VERBS)
def test_every_form_is_as_of_the_first_result(verb: str, form: str, tmp_path: Path) -> None:
    outcome = attn(verb, "--result", save(RESULTS[verb], tmp_path), "--format", form, "-q")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.text == render(RESULTS[verb], FORMATS[form], Look())


@pytest.mark.parametrize("verb", VERBS)
def test_a_result_of_stdin_as_files(verb: str, tmp_path: Path) -> None:
    stdin = Path(save(RESULTS[verb], tmp_path)).read_text("utf-8")
    endings = [ending for ending, form in file_formats(VERBS[verb]).items() if form.package is None]
    targets = [part for ending in endings for part in ("-o", str(tmp_path / f"x{ending}"))]
    assert attn(verb, "--result", "-", *targets, "-q", "--title", "A title", stdin=stdin).code == 0
    assert "<title>A title</title>" in (tmp_path / "x.html").read_text("utf-8")
    assert (tmp_path / "x.json").read_text("utf-8") == stdin


@pytest.mark.parametrize("verb", ["compare", "heads"])
def test_a_figure(verb: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert attn(verb, "--result", save(RESULTS[verb], tmp_path), "-o", str(tmp_path / "x.svg"), "-q").code == 0
    assert (tmp_path / "x.svg").stat().st_size > 1000


def test_arrays_of_heads(tmp_path: Path) -> None:
    attn("heads", "--result", save(RESULTS["heads"], tmp_path), "-o", str(tmp_path / "x.npz"), "-q")
    with np.load(tmp_path / "x.npz") as archive:
        assert np.allclose(archive["decoder.2"], PATTERN.weights[None])


@pytest.mark.parametrize(
    ("verb", "arguments", "message", "hint"),
    [
        ("heads", ["TEXT"], "TEXT can't be combined with --result", "leave TEXT or --result out"),
        ("heads", ["-m", "gpt2"], "--model can't be combined with --result", "--check"),
        ("heads", ["--query", "it"], "--query can't be combined with --result", "leave --query or --result out"),
        ("params", ["gpt2"], "MODEL can't be combined with --result", "leave MODEL or --result out"),
        ("compare", ["mole"], "WORD can't be combined with --result", "leave WORD or --result out"),
        ("tokenize", ["--stats"], "--stats can't be combined with --result", "leave --stats or --result out"),
        ("tokenize", ["--check", "lint"], "--check lint needs findings", "save the result with --lint"),
        ("tokenize", ["--check", "same"], "--check same compares models, and the result has", "save a result of two"),
        ("heads", ["--check", "first"], "--check: 'first' is not a check", ""),
        ("heads", ["-o", "x.jsonl"], "-o x.jsonl: the ending .jsonl is not a known", "the name can end in .txt"),
    ],
)  # fmt: skip
def test_what_a_saved_result_refuses(verb: str, arguments: list[str], message: str, hint: str, tmp_path: Path) -> None:
    outcome = attn(verb, "--result", save(RESULTS[verb], tmp_path), *arguments)
    assert outcome.code == 2
    assert outcome.error[0].startswith(message)
    assert hint in outcome.error[1]


def test_the_result_of_another_verb(tmp_path: Path) -> None:
    path = save(RESULTS["params"], tmp_path)
    outcome = attn("heads", "--result", path)
    assert outcome.code == 2
    assert outcome.error == (
        f"{path} contains a result of attn params, not of attn heads",
        f"write attn params --result {path}",
    )


@pytest.mark.parametrize("ending", ["npz", "html"])
def test_a_view_of_patterns_that_the_result_lacks(ending: str, tmp_path: Path) -> None:
    bare: HeadsResult = heads_result(stack())
    path = save(bare, tmp_path)
    outcome = attn("heads", "--result", path, "-o", str(tmp_path / f"x.{ending}"))
    assert outcome.code == 2
    assert outcome.error == (
        f".{ending} shows attention patterns, and {path} contains none",
        "save the result with patterns: attn heads TEXT --patterns -o FILE.json",
    )


@pytest.mark.parametrize("content", ["", "{}", '{"schema": "attncli.heads/1"}', '{"schema": "attncli.heads/9"}'])
def test_what_is_no_result(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    assert attn("heads", "--result", str(tmp_path / "x.json")).code == 1
    assert attn("heads", "--result", "-", stdin=content).code == 1
    assert attn("heads", "--result", str(tmp_path / "missing.json")).code == 1


@pytest.mark.parametrize(
    ("verb", "check", "failure"),
    [
        ("heads", "0.0 first > 0.99", "0.0 first > 0.99 is false"),
        ("heads", "0.0 first >= 0", None),
        ("params", "20", None),
        ("params", "21", "tiny has 20 parameters, 1 fewer than the 21 expected"),
    ],
)
def test_a_check_of_a_saved_result(verb: str, check: str, failure: str | None, tmp_path: Path) -> None:
    outcome = attn(verb, "--result", save(RESULTS[verb], tmp_path), "--check", check, "-q")
    assert outcome.text
    assert outcome.code == (4 if failure else 0)
    assert (failure or "") in outcome.err


def test_models_that_cut_the_same_text_alike(tmp_path: Path) -> None:
    other = tokenized(model="other")._replace(tokens=tokenized().tokens[:2])
    for result, code in (
        (tokenize_result(tokenized(), tokenized(model="other")), 0),
        (tokenize_result(tokenized(), other), 4),
    ):
        assert attn("tokenize", "--result", save(result, tmp_path), "--check", "same", "-q").code == code


def test_no_model_and_no_torch(tmp_path: Path) -> None:
    path = save(RESULTS["heads"], tmp_path)
    code = (
        "import sys; from attncli.cli.main import run; from attncli.cli.environment import Environment;"
        f"assert run(['heads', '--result', {path!r}, '--check', '0.0 first >= 0'], Environment.from_process()) == 0;"
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)
