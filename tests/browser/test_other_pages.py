"""The pages of compare and params in a real browser."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from attncli.components import GROUPS
from attncli.render.html.compare import compare_html
from attncli.render.html.heads import heads_html
from attncli.render.html.page import notebook
from attncli.render.html.params import params_html
from attncli.render.stream import tokenize_html
from attncli.results.params import WeightFile
from attncli.results.tokens import Token
from tests.browser.conftest import Browser
from tests.browser.test_heads_page import NASTY
from tests.cli.samples import tokenize_result, tokenized
from tests.render import heads_samples as samples
from tests.render.compare_samples import FOUR, compare_result, last_state, occurrence
from tests.render.params_samples import TREE, compared, model, result
from tests.render.test_heads_steps import WITH_SOURCES

MATRIX_IS_THERE = "document.querySelector('.matrix .frame')"


def open_page(browser: Browser, folder: Path, content: str, **options: object) -> Path:
    path = folder / "page.html"
    path.write_text(content, "utf-8")
    browser.open(path, **options)  # type: ignore[arg-type]
    return path


def test_sentences_matrix_map_and_path(browser: Browser, tmp_path: Path) -> None:
    path = open_page(browser, tmp_path, compare_html(compare_result()))
    browser.wait(MATRIX_IS_THERE)
    assert browser.console() == []
    assert browser.requests() == [path.as_uri()]
    assert browser.text("h1") == "mole in context"
    assert browser.texts("#sentences tr") == [
        "1animalA mole dug", "2animalAmerican shrew mole", "3unitOne mole of gas", "4unita mole weighs 18 grams",
    ]  # fmt: skip
    assert browser.texts("#sentences mark") == ["mole"] * 4
    assert browser.texts(".matrix .number")[:8] == ["", "0.90", "0.50", "0.60", "0.90", "", "0.40", "0.95"]
    assert len(browser.all("#map circle")) == 4
    tracks = browser.run("return [...document.querySelectorAll('.track')].map((each) => each.dataset.track).sort()")
    pairs = ["1–2", "1–3", "1–4", "2–3", "2–4", "3–4"]
    assert tracks == [*pairs, "all pairs", "other label", "random words", "same label"]


def test_what_wrote_the_score_of_a_walk(browser: Browser, tmp_path: Path) -> None:
    content = heads_html(replace(samples.result(samples.stack(), chosen=True), steps=(WITH_SOURCES,)))
    path = open_page(browser, tmp_path, content)
    assert browser.console() == []
    assert browser.requests() == [path.as_uri()]
    assert browser.texts(".sources th") == [
        *("wrote q, of sat", "score", "wrote k, of cat", "score", "pair, q × k", "score")
    ]
    assert browser.texts(".sources table:first-child td:first-child") == [
        *("mlp.0", "embedding.token", "head 0.3", "sum, the score")
    ]
    # The bar of the largest is as long as its column, and the sum has none.
    widths = browser.run(
        "return [...document.querySelectorAll('.sources table:first-child .bar')].map((bar) => bar.style.width)"
    )
    assert [round(float(width.removesuffix("rem")), 2) for width in widths] == [5.0, 2.86, 0.22]


def test_a_pair_shows_its_sentences_and_its_similarity(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, tmp_path, compare_html(compare_result()))
    browser.wait(MATRIX_IS_THERE)
    browser.hover(".matrix .frame", 3.5 / 4, 1.5 / 4)
    browser.wait("!document.querySelector('#readout').hidden")
    assert browser.texts("#readout .context") == ["American shrew mole", "a mole weighs 18 grams"]
    assert browser.text("#readout b") == "0.950"
    assert browser.texts("#sentences tr.here") == ["2animalAmerican shrew mole", "4unita mole weighs 18 grams"]


def test_states_are_chosen(browser: Browser, tmp_path: Path) -> None:
    states = (last_state(), replace(last_state(), state=2))
    open_page(browser, tmp_path, compare_html(replace(compare_result(*states), state_count=3)))
    browser.wait(MATRIX_IS_THERE)
    assert browser.text("#details h3") == "state 2, after layer 1 (the last)"
    browser.find("#states option[value='0']").click()
    browser.wait("document.querySelector('#details h3').textContent === 'state 1, after layer 0'")


def test_one_pair_and_one_occurrence(browser: Browser, tmp_path: Path) -> None:
    for count in (1, 2):
        values = np.array([[1.0, 0.9], [0.9, 1.0]]) if count == 2 else None
        state = last_state(similarity=values, positions=None, explained=None, percentile=None, senses=None)
        open_page(browser, tmp_path, compare_html(compare_result(state, occurrences=FOUR[:count])))
        browser.wait("document.querySelector('#details h3')")
        assert browser.console() == []
        assert not browser.all(".matrix")


def test_nasty_sentences_stay_text(browser: Browser, tmp_path: Path) -> None:
    nasty = [occurrence(index, f"{text} mole {text}", label=text) for index, text in enumerate(NASTY[:4], 1)]
    open_page(browser, tmp_path, compare_html(compare_result(occurrences=tuple(nasty))))
    browser.wait(MATRIX_IS_THERE)
    assert browser.console() == []
    assert browser.run("return document.title") == "mole in context"
    assert browser.texts("#sentences .context") == [f"{text} mole {text}" for text in NASTY[:4]]


def test_bars_are_as_wide_as_their_shares(browser: Browser, tmp_path: Path) -> None:
    path = open_page(browser, tmp_path, params_html(result()))
    assert browser.console() == []
    assert browser.requests() == [path.as_uri()]
    widths = browser.run("""
        const width = (name) => document.querySelector(`[data-bar="${name}"]`).getBoundingClientRect().width;
        return ["embedding", "embedding.token", "attention", "mlp.up"].map((name) => width(name) / width("mlp.up"));
    """)
    assert widths == pytest.approx([39_383_808 / 28_348_416, 38_597_376 / 28_348_416, 1.0, 1.0], abs=0.01)
    rows = browser.texts("#components tbody tr")
    assert rows[0] == "text96,026,11292,92896,119,040100.0 %"
    assert "query7,077,8889,2167,087,1047.4 %" in rows


def test_a_bar_shows_its_figures(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, tmp_path, params_html(result()))
    browser.hover('[data-bar="mlp.up"]')
    browser.wait("!document.querySelector('#readout').hidden")
    assert browser.text("#readout") == "mlp.up28,348,416  29.5 %28,311,552 weights, 36,864 biases"


def test_models_side_by_side(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, tmp_path, params_html(compared()))
    assert browser.console() == []
    assert browser.texts("#differences tr")[:2] == [
        "componentorg/small./tinydifference", "total96,119,0401,024−96,118,016",
    ]  # fmt: skip


def test_what_belongs_to_the_row_above_is_indented(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, tmp_path, params_html(compared()))
    rows = browser.run(
        "return [...document.querySelectorAll('#differences tr.sub')].map((row) => row.cells[0].innerText)"
    )
    assert "at tokens" in rows


def test_modules_open_and_close(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, tmp_path, params_html(result(model(NASTY[0]), by="module")))
    assert browser.text("h1") == NASTY[0]
    assert browser.texts(".tree summary")[0] == "transformer 96,119,040 "
    browser.find(".tree summary").click()
    assert browser.all(".tree details[open]")
    assert TREE[0].children


LONG = model(files=(WeightFile(f"transformer/{'x' * 80}.safetensors", 5),))


def test_every_group_has_a_colour_of_its_own() -> None:
    script = (files("attncli") / "render/html/assets/params.js").read_text("utf-8")
    colours = re.findall(r"#[0-9a-f]{6}", script.partition("];")[0])
    assert len(set(colours)) == len(colours) >= len(GROUPS)


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize(
    "content",
    [compare_html(compare_result()), params_html(compared()), params_html(result()), params_html(result(LONG))],
)
def test_nothing_sticks_out_of_the_window(browser: Browser, tmp_path: Path, content: str, width: int) -> None:
    open_page(browser, tmp_path, content, width=width)
    browser.wait("document.querySelector('footer')")
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_tokens_with_their_ids_raw_forms_and_places(browser: Browser, tmp_path: Path) -> None:
    path = open_page(browser, tmp_path, tokenize_html(tokenize_result(tokenized(), tokenized(1, "other"))))
    assert browser.console() == []
    assert browser.requests() == [path.as_uri()]
    assert browser.texts(".text h2") == ["3 tokens (1 special) bert", "3 tokens (1 special) other"]
    assert browser.texts(".chip")[:3] == ["[CLS]101", "em7861", '"bé,"8270']
    browser.hover(".chip:nth-child(3)")
    browser.wait("!document.querySelector('#readout').hidden")
    assert browser.text("#readout") == '"bé,"  id 8270raw ##"bé,"characters 2–6, bytes 2–7'
    browser.find("#ids").click()
    assert not browser.find(".chip .id").is_displayed()


def test_nasty_tokens_stay_text(browser: Browser, tmp_path: Path) -> None:
    tokens = tuple(Token(index, index, text, text, word=index) for index, text in enumerate(NASTY))
    open_page(browser, tmp_path, tokenize_html(tokenize_result(tokenized(model=NASTY[1])._replace(tokens=tokens))))
    assert browser.console() == []
    assert browser.run("return document.title") == f"tokens of {NASTY[1]}"
    assert browser.texts(".chip .token")[:2] == [NASTY[0], NASTY[1].replace(" ", "␣")]


def test_every_result_shows_itself_in_a_frame() -> None:
    assert compare_result()._repr_html_() == notebook(compare_html(compare_result()))
    assert tokenize_result()._repr_html_() == notebook(tokenize_html(tokenize_result()))
    assert result()._repr_html_() == notebook(params_html(result()))
