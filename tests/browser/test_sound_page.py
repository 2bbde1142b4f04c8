"""Weights over a sound in a real browser: the curve, its moments, and who looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import senses
from tests.browser.conftest import Browser
from tests.browser.test_heads_page import open_page, page

pytest.importorskip("soundfile")
pytest.importorskip("soxr")


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from attncli.api.heads import heads

    folder = tmp_path_factory.mktemp("ears")
    sound = senses.save_sound(folder / "tone.wav")
    return page(folder, heads("the mole", audio=sound, model=senses.save("whisper", folder), patterns=True))


def spoken(browser: Browser) -> str:
    return browser.text("#sound .said")


def test_words_look_at_moments(browser: Browser, heard: Path) -> None:
    open_page(browser, heard, fragment="#cross.1.0")
    browser.wait("document.querySelector('#sound .area')")
    moments = browser.texts(".timeline text")
    assert (moments[0], moments[-1].endswith("s"), len(moments) < 12) == ("0.00s", True, True)
    assert spoken(browser).startswith("the looks at 0.")
    browser.find('#sound .token[data-row="2"]').click()
    assert spoken(browser).startswith("mole looks at 0.")
    # One step for each of 50 frames.
    assert browser.run("return document.querySelector('.area').getAttribute('d').split('H').length") == 51
    browser.hover(".timeline", 10.5 / 50, 0.5)
    browser.wait("!document.querySelector('#readout').hidden")
    assert browser.text("#readout").startswith("mole → 0.20s0.0")
    assert (browser.console(), browser.requests()) == ([], [heard.as_uri()])


def test_a_moment_that_is_clicked_looks(browser: Browser, heard: Path) -> None:
    open_page(browser, heard, fragment="#encoder.1.0")
    browser.wait("document.querySelector('#sound .area')")
    assert spoken(browser).startswith("0.00s looks at 0.")
    browser.run("document.querySelector('.timeline').focus()")
    browser.press("arrow_right", "arrow_right", "arrow_left")
    assert spoken(browser).startswith("0.02s looks at 0.")
    assert browser.text("#head h2") == "head encoder.1.0"
    assert browser.console() == []


def test_what_was_said_is_a_text(browser: Browser, heard: Path) -> None:
    open_page(browser, heard, fragment="#decoder.1.0")
    browser.wait("document.querySelector('#text')")
    assert browser.all("#sound") == []
