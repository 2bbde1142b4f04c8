"""Weights over a picture in a real browser: what is drawn is read back from its pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attncli.render.html.heads import heads_html
from attncli.render.html.page import notebook
from attncli.results.heads import HeadsResult
from tests import senses
from tests.browser.conftest import Browser
from tests.browser.test_heads_page import open_page, page, show
from tests.render.patch_samples import GRID, PICTURE, looking, weights, words

#: The ends of viridis.
LEAST, MOST = (68, 1, 84), (253, 231, 37)
GREYS = [0.8 * (0.299 * red + 0.587 * green + 0.114 * blue) for red, green, blue in PICTURE.pixels[0, [0, -1]].tolist()]


def pixel(browser: Browser, cell: tuple[int, int], canvas: str = ".map") -> list[int]:
    """The colour of a patch beside its middle: red, green, blue, opacity."""
    return list(
        browser.run(
            """
        const canvas = document.querySelector(arguments[0]);
        const [row, column, rows, columns] = [...arguments].slice(1);
        const [x, y] = [((column + 0.4) * canvas.width) / columns, ((row + 0.4) * canvas.height) / rows];
        return [...canvas.getContext("2d").getImageData(x, y, 1, 1).data];
    """,
            canvas,
            *cell,
            GRID.rows,
            GRID.columns,
        )
    )


def blended(color: tuple[int, int, int], grey: float, amount: float) -> list[float]:
    return [*(part * amount + grey * (1 - amount) for part in color), 255]


def spoken(browser: Browser) -> str:
    return browser.text("#picture .said")


def test_weights_of_the_class_token_lie_over_the_picture(browser: Browser, tmp_path: Path) -> None:
    path = page(tmp_path, looking())
    open_page(browser, path)
    browser.wait("document.querySelector('#picture .map')")
    assert (browser.console(), browser.requests()) == ([], [path.as_uri()])
    # The largest weight of a patch is the end of the scale; the picture's left is blue.
    assert pixel(browser, (0, 0)) == pytest.approx(blended(MOST, GREYS[0], 0.9), abs=2)
    assert pixel(browser, (0, 0), ".plain") == pytest.approx([30, 60, 200, 255], abs=2)
    assert pixel(browser, (1, 2), ".plain") == pytest.approx([240, 150, 20, 255], abs=2)
    assert spoken(browser) == "[CLS] looks at [CLS] 0.500, 0,0 0.143, 0,1 0.119, 0,2 0.095, 1,0 0.071 …"
    assert "0.14" in browser.text("#picture .scale")
    assert "beside the patches: [CLS] 0.500" in browser.text("#picture .scale")


def test_a_click_on_a_patch_makes_it_the_one_that_looks(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, page(tmp_path, looking(heads=2)))
    show(browser, "1.1")
    # The middle of patch 1,0, which is position 4: head 1 looks five patches on from 0,0.
    click(browser, ".map", 1 / 6, 3 / 4)
    assert spoken(browser).startswith("patch 1,0 looks at [CLS] 0.500, 1,2 0.143, 0,0 0.119")
    assert pixel(browser, (1, 2)) == pytest.approx(blended(MOST, GREYS[1], 0.9), abs=2)
    show(browser, "1.0")
    assert spoken(browser).startswith("patch 1,0 looks at [CLS] 0.500, 1,1 0.143")
    browser.find("#picture .token").click()
    assert spoken(browser).startswith("[CLS] looks at [CLS] 0.500, 0,0 0.143")
    assert browser.console() == []


def click(browser: Browser, selector: str, x: float, y: float) -> None:
    browser.hover(selector, x, y)
    place = browser.run(
        """
        const box = document.querySelector(arguments[0]).getBoundingClientRect();
        return [box.left + arguments[1] * box.width, box.top + arguments[2] * box.height];
    """,
        selector,
        x,
        y,
    )
    for kind in ("mousePressed", "mouseReleased"):
        event = {"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)


def test_the_pointer_tells_the_weight_of_a_patch(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, page(tmp_path, looking(query=0)))
    browser.wait("document.querySelector('#picture .map')")
    browser.hover(".map", 1 / 2, 1 / 4)
    browser.wait("!document.querySelector('#readout').hidden")
    assert browser.text("#readout") == "[CLS] → patch 0,10.119"


def test_rows_of_the_matrix_are_drawn_over_the_picture_while_pointed_at(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, page(tmp_path, looking()))
    browser.wait("document.querySelector('.matrix svg .frame')")
    browser.hover(".matrix .frame", 0.9, 6.5 / 7)
    browser.wait("document.querySelector('#picture .said').textContent.startsWith('patch 1,2 looks at')")
    assert browser.text("#picture .said").startswith("patch 1,2 looks at")
    browser.hover("h1")
    browser.wait("document.querySelector('#picture .said').textContent.startsWith('[CLS] looks at')")
    assert browser.text("#picture .said").startswith("[CLS] looks at")


def test_arrows_walk_over_the_picture_and_leave_the_head_alone(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, page(tmp_path, looking(heads=2)))
    show(browser, "1.0")
    browser.run("document.querySelector('.map').focus()")
    browser.press("arrow_right", "arrow_right", "arrow_down", "arrow_down")
    assert spoken(browser).startswith("patch 1,1 looks at")
    assert browser.text("#head h2") == "head 1.0"


def test_who_looks_at_a_patch(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, page(tmp_path, looking()))
    browser.wait("document.querySelector('#backwards')")
    click(browser, ".map", 1 / 6, 1 / 4)
    browser.find("#backwards").click()
    column = weights(7)[:, 1]
    strongest = int(column[1:].argmax())
    assert spoken(browser).startswith("patch 0,0 is looked at by ")
    assert pixel(browser, divmod(strongest, 3))[:3] != list(LEAST)
    assert f"{column.max():.3f}" in spoken(browser)


def test_the_words_of_a_caption_are_choosable(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, page(tmp_path, looking(caption=words("[CLS]", "a", "mole<b>", "[SEP]"))))
    browser.wait("document.querySelector('#picture .map')")
    assert browser.texts("#picture .token[data-row]") == ["[CLS]", "a", "mole<b>", "[SEP]"]
    assert spoken(browser).startswith("a looks at [CLS] 0.500, 0,1 0.143")
    browser.find('#picture .token[data-row="2"]').click()
    assert spoken(browser).startswith("mole<b> looks at [CLS] 0.500, 0,2 0.143")
    assert pixel(browser, (0, 2)) == pytest.approx(blended(MOST, GREYS[1], 0.9), abs=2)
    assert browser.run("return document.querySelectorAll('#picture b').length") == 0


def test_without_a_picture_the_weights_are_drawn_alone(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, page(tmp_path, looking(picture=None)))
    browser.wait("document.querySelector('#picture .map')")
    assert pixel(browser, (0, 0)) == [*MOST, 255]
    assert browser.all(".plain") == []
    assert browser.console() == []


def test_heads_of_an_only_query_are_small_maps(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, page(tmp_path, looking(heads=2, query=0)))
    size = "const { width, height } = document.querySelector('.head canvas'); return [width, height]"
    assert browser.run(size) == [3, 2]
    assert browser.console() == []


def test_a_notebook_shows_the_same(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><title>cells</title>{notebook(heads_html(looking()))}", "utf-8")
    browser.open(path)
    browser.driver.switch_to.frame(0)
    try:
        browser.wait("document.querySelector('#picture .map')")
        assert pixel(browser, (0, 0)) == pytest.approx(blended(MOST, GREYS[0], 0.9), abs=2)
    finally:
        browser.driver.switch_to.default_content()
    assert browser.console() == []


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("PIL")
    place = tmp_path_factory.mktemp("eyes")
    picture = senses.save_picture(place / "disc.png")
    return {"image": picture, **{name: senses.save(name, place) for name in ("vit", "swin", "blip")}}


@pytest.mark.parametrize(("name", "text", "head"), [("vit", (), "1.2"), ("swin", (), "vision2.1.3"),
                                                    ("blip", ("the mole",), "cross.1.0")])  # fmt: skip
def test_what_a_model_gave_is_what_is_shown(
    name: str, text: tuple[str, ...], head: str, tiny: dict[str, Any], browser: Browser, tmp_path: Path
) -> None:
    from attncli.api.heads import heads

    result: HeadsResult = heads(*text, image=tiny["image"], model=tiny[name], patterns=True)
    path = page(tmp_path, result)
    open_page(browser, path, fragment=f"#{head}")  # type: ignore[arg-type]
    browser.wait("document.querySelector('#picture .said')?.textContent")
    stack, pattern = found(result, head)
    shown = spoken(browser).split(" looks at ")[0].removeprefix("patch ")
    row = next(place for place, token in enumerate(stack.queries) if token.text == shown)
    strongest = int(pattern[row].argmax())
    name, value = spoken(browser).split(" looks at ")[1].split(", ")[0].split(" ")
    assert name == stack.keys[strongest].text
    assert value == f"{pattern[row, strongest]:.3f}"
    assert (browser.console(), browser.requests()) == ([], [path.as_uri()])


def found(result: HeadsResult, name: str) -> tuple[Any, np.ndarray]:
    for stack in result.stacks:
        for head, pattern in zip(stack.metrics, stack.patterns, strict=True):
            if head.name == name:
                return stack, pattern.weights
    raise AssertionError(name)
