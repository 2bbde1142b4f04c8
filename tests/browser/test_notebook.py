"""A notebook that calls all four functions: a kernel runs it, and its cells are looked at, in a browser too."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Browser

nbclient = pytest.importorskip("nbclient", reason="nbclient isn't installed")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel", reason="ipykernel isn't installed")

#: tqdm complains in a notebook without ipywidgets, whoever imports it.
CELLS = (
    "import warnings; warnings.filterwarnings('ignore', 'IProgress not found')",
    "import attncli",
    'attncli.tokenize("Take a biopsy of the mole")',
    'attncli.heads("abcabcabc", model="builtin:induction", patterns=True)',
    'attncli.heads("to be or not to be", model="builtin:induction", layer=1)',
    'attncli.params("preset:transformer-base")',
    'attncli.compare("mole", ["A mole dug", "One mole of gas", "The mole on my skin"], reference=[])',
    'print(attncli.tokenize("Take a biopsy of the mole"))',
)
SHOWN = ("TokenizeResult(", "HeadsResult(", "HeadsResult(", "ParamsResult(", "CompareResult(")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """What each cell shows."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    folder = str(tmp_path_factory.mktemp("notebook"))
    settings = {"timeout": 120, "kernel_name": "python3", "resources": {"metadata": {"path": folder}}}
    client = nbclient.NotebookClient(notebook, **settings)
    return [cell.outputs for cell in client.execute().cells]


@pytest.fixture(scope="module")
def shown(outputs: list[list[Any]]) -> list[dict[str, str]]:
    """The results, in each form that a notebook may choose from."""
    return [output.data for cell in outputs for output in cell if output.output_type == "execute_result"]


def test_every_cell_runs_and_nothing_else_is_written(outputs: list[list[Any]]) -> None:
    kinds = [[output.output_type for output in cell] for cell in outputs]
    assert kinds == [[], [], *[["execute_result"]] * len(SHOWN), ["stream"]]


def test_every_result_is_a_page_and_a_line(shown: list[dict[str, str]]) -> None:
    for data, start in zip(shown, SHOWN, strict=True):
        assert set(data) == {"text/plain", "text/html"}
        assert data["text/plain"].startswith(start) and len(data["text/plain"]) < 600


def test_print_shows_what_the_command_prints(outputs: list[list[Any]]) -> None:
    (stream,) = outputs[-1]
    assert stream.name == "stdout" and stream.text.startswith("9 tokens (2 special*)")


def test_a_cell_holds_one_frame_and_nothing_that_could_meet_another(shown: list[dict[str, str]]) -> None:
    # Without allow-same-origin a frame can't reach the notebook, nor another frame; test_pages looks at what it holds.
    start = r'<iframe title="attncli" sandbox="allow-scripts" style="[^"]*"'
    for data in shown:
        frame = re.fullmatch(rf'{start} srcdoc="([^"]*)"></iframe>', data["text/html"])
        assert frame is not None and "default-src 'none'" in unescape(frame[1])


def test_a_browser_shows_them_all_beside_one_another(
    browser: Browser, shown: list[dict[str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "cells.html"
    cells = "".join(f"<div>{data['text/html']}</div>" for data in shown)
    path.write_text(f"<!doctype html><title>cells</title><div id=page></div>{cells}", "utf-8")
    browser.open(path)
    texts = []
    for frame in browser.all("iframe"):
        browser.driver.switch_to.frame(frame)
        browser.wait("document.querySelector('main')?.textContent.length > 100")
        texts.append(browser.text("h1"))
        browser.driver.switch_to.default_content()
    assert len(texts) == len(SHOWN) and len(set(texts)) == 4
    assert [url for url in browser.requests() if not url.startswith(("file:", "data:", "about:"))] == []
    assert browser.console() == []
