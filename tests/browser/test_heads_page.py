"""The page of heads in a real browser: opened from the disk, clicked, pointed at and typed at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import attncli
from attncli.render.html.heads import heads_html
from attncli.render.html.page import notebook
from attncli.results.heads import HeadsResult
from attncli.results.patterns import Pattern
from tests.browser.conftest import Browser
from tests.render.difference_samples import compared
from tests.render.heads_samples import SENTENCE, even, head, on_offset, pattern, result, stack, tokens
from tests.render.position_samples import ranked, with_row

HEADS = [f"{layer}.{index}" for layer in range(2) for index in range(4)]

#: Names that would be markup, would end the script or its strings, or would turn round what stands beside them.
NASTY = (
    "<script>document.title='owned'</script>",
    "</script><img src=x onerror=\"document.title='owned'\">",
    "<!--",
    "]]>",
    "\u2028'\u2029\"`${document.title='owned'}",
    "\u202eevil",
    "&lt;b&gt;",
    "\ud800",
    "</title>",
)


def page(folder: Path, made: HeadsResult, name: str = "page.html", **options: str) -> Path:
    path = folder / name
    path.write_text(heads_html(made, **options), "utf-8")
    return path


def heads_of_two_layers() -> HeadsResult:
    """Each head looks so many tokens back or ahead as its number says; 1.3 looks everywhere."""
    offsets = {name: on_offset(index - 4) for index, name in enumerate(HEADS)} | {"1.3": even()}
    return result(stack(*(pattern(name, weights) for name, weights in offsets.items())))


@pytest.fixture(scope="module")
def two_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page(tmp_path_factory.mktemp("pages"), heads_of_two_layers())


def open_page(browser: Browser, path: Path, **options: object) -> Browser:
    browser.open(path, **options)  # type: ignore[arg-type]
    browser.wait("document.querySelector('[role=grid]')?.getAttribute('aria-busy') === 'false'")
    return browser


def show(browser: Browser, name: str) -> None:
    """Click on a head of the grid, and wait until it is there."""
    browser.find(f'.head[data-head="{name}"]').click()
    browser.wait("document.querySelector('#head').dataset.head === arguments[0]", name)


def test_it_opens_from_the_disk_without_an_error_and_asks_for_nothing(browser: Browser, two_layers: Path) -> None:
    open_page(browser, two_layers)
    show(browser, "0.1")
    assert browser.console() == []
    assert browser.requests() == [two_layers.as_uri()]


def test_the_policy_keeps_out_what_is_not_of_the_page(browser: Browser, two_layers: Path) -> None:
    open_page(browser, two_layers)
    browser.run("""
        document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.foreign = 1' }));
        document.body.append(Object.assign(document.createElement('img'), { src: 'http://127.0.0.1:9/x.png' }));
        fetch('http://127.0.0.1:9/x').catch(() => setTimeout(() => { window.refused = 1; }, 100));
    """)
    browser.wait("window.refused === 1")
    assert browser.run("return window.foreign") is None
    refused = [message for message in browser.console() if "Content Security Policy" in message]
    assert len(refused) >= 3


def test_the_grid_has_every_head_with_its_label_and_its_weights(browser: Browser, two_layers: Path) -> None:
    open_page(browser, two_layers)
    found = browser.run("""
        const heads = [...document.querySelectorAll('.head')];
        return heads.map((each) => [each.dataset.head, each.querySelector('.tile')?.textContent]);
    """)
    assert found == [*map(list, zip(HEADS, ["P", "N", None, "F", "S", "I", None, None], strict=True))]
    assert "0.0looks at the previous tokenprevious 0.91uniform 0.08" in browser.texts("#said tr")[0]
    # Head 0.3 looks at the token before: its strongest cells are those below the diagonal.
    drawn = browser.run("""
        const canvas = document.querySelector('.head[data-head="0.3"] canvas');
        const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        const color = (cell) => [...pixels.slice(4 * cell, 4 * cell + 3)];
        return [canvas.width, canvas.height, color(12), color(5)];
    """)
    assert drawn == [12, 12, [187, 223, 40], [68, 1, 84]]


def test_a_click_opens_the_right_head_with_the_right_numbers(browser: Browser, two_layers: Path) -> None:
    open_page(browser, two_layers)
    show(browser, "1.1")
    assert browser.text("#head h2") == "head 1.1"
    assert browser.text("#head [data-metric=induction]") == "induction0.680.08weight on what followed earlier copies"
    assert browser.text("#head [data-metric=entropy]") == "entropy1.102.48how widely a row spreads its weight (nats)"
    assert browser.texts(".matrix .token")[:3] == ["[CLS]", "the", "cat"]
    # Head 1.1 is the sixth: a row gives 0.9 to the token after it, and 0.1 to itself.
    assert browser.texts(".matrix .number")[:4] == ["10", "90", "10", "90"]
    assert "1/2730 of this head's largest" in browser.text("#exactness")


def test_pointing_at_a_cell_shows_its_weight(browser: Browser, two_layers: Path) -> None:
    open_page(browser, two_layers, fragment="#1.1")
    browser.wait("document.querySelector('.matrix .frame')")
    for row, column, weight in [(0, 1, 0.9), (4, 4, 0.1), (11, 11, 1.0), (3, 0, 0.0)]:
        said = f"{row} {SENTENCE[row].text} → {column} {SENTENCE[column].text}"
        browser.hover(".matrix .frame", (column + 0.5) / 12, (row + 0.5) / 12)
        browser.wait("document.querySelector('#readout').textContent.startsWith(arguments[0])", said)
        assert float(browser.text("#readout b")) == pytest.approx(weight, abs=1e-9)


def test_pointing_at_a_token_draws_its_links_over_the_text(browser: Browser, two_layers: Path) -> None:
    open_page(browser, two_layers, fragment="#1.1")
    browser.wait("document.querySelector('#text .token')")
    browser.hover('#text .token[data-index="2"]')
    browser.wait("document.querySelectorAll('.links path').length > 0")
    assert browser.text("#text .said") == "cat looks at sat 0.900, cat 0.100"
    assert len(browser.all(".links path")) == 2
    browser.find("#backwards").click()
    browser.hover('#text .token[data-index="2"]')
    browser.wait("document.querySelector('.said').textContent.includes('looked at')")
    assert browser.text("#text .said") == "cat is looked at by the 0.900, cat 0.100"


def test_the_keyboard_moves_between_heads_and_back(browser: Browser, two_layers: Path) -> None:
    open_page(browser, two_layers)
    show(browser, "0.1")
    for key, name in (("arrow_right", "0.2"), ("arrow_down", "1.2"), ("arrow_left", "1.1"), ("arrow_up", "0.1")):
        browser.press(key)
        browser.wait("document.querySelector('#head').dataset.head === arguments[0]", name)
        assert browser.text("#head h2") == f"head {name}"
    browser.press("escape")
    browser.wait("document.querySelector('#head').hidden")
    # The keyboard is where it was: Enter opens the head beside it.
    browser.press("arrow_right", "enter")
    browser.wait("document.querySelector('#head').dataset.head === '0.2'")


def test_nasty_tokens_and_names_stay_text(browser: Browser, tmp_path: Path) -> None:
    words = tokens(*NASTY)
    size = len(NASTY)
    made = stack(
        pattern("0.0", even(size)), queries=words, keys=words, heads=(head("0.0", NASTY[0]),), layers=stack().layers[:1]
    )
    path = page(tmp_path, result(made, model=NASTY[1]), title=NASTY[8] + NASTY[0])
    open_page(browser, path, fragment="#0.0")
    browser.wait("document.querySelector('#text .token')")
    assert browser.console() == []
    assert browser.requests() == [path.as_uri()]
    assert browser.run("return document.title") == NASTY[8] + NASTY[0]
    assert browser.run("return document.querySelectorAll('img, script:not([type]), b b').length") == 1
    shown = browser.texts("#text .token")
    assert shown[:2] == [NASTY[0], NASTY[1].replace(" ", "␣")]
    assert shown[4].startswith(r"\u{2028}'\u{2029}")
    assert shown[5:8] == [r"\u{202e}evil", "&lt;b&gt;", r"\u{d800}"]


def test_the_address_says_which_head_is_open(browser: Browser, two_layers: Path) -> None:
    for fragment in ("#%", "#nothing", "#<b>", "#"):
        open_page(browser, two_layers, fragment=fragment)
        assert browser.console() == []
        assert browser.run("return document.querySelector('#head').hidden")
    show(browser, "1.2")
    assert browser.run("return location.hash") == "#1.2"
    browser.run("location.hash = '0.3'")
    browser.wait("document.querySelector('#head').dataset.head === '0.3'")


def test_a_rollout_and_a_single_row_are_open_at_once(browser: Browser, tmp_path: Path) -> None:
    rolled = replace(result(stack(Pattern(1, None, even()))), weighting="rollout")
    open_page(browser, page(tmp_path, rolled))
    browser.wait("document.querySelector('#head').dataset.head === 'rollout to layer 1'")
    assert "null" not in browser.text("#head")
    row = stack(pattern("0.1", on_offset(1)[2:3]), queries=SENTENCE[2:3], heads=(head("0.1"),))
    open_page(browser, page(tmp_path, result(row)))
    browser.wait("document.querySelector('#head').dataset.head === '0.1'")
    assert browser.text("#text .said").startswith("cat looks at sat 0.9")


def test_stacks_and_layers_are_chosen(browser: Browser, tmp_path: Path) -> None:
    weights = np.full((2, 12), 1 / 12, dtype=np.float32)
    named = (head("cross.0.0"), head("cross.0.1"))
    cross = stack(
        pattern("0.0", weights), pattern("0.1", weights), stack="cross", queries=tokens("le", "chat"), heads=named
    )
    path = page(tmp_path, result(heads_of_two_layers().stacks[0], cross))
    open_page(browser, path)
    browser.find("#layer option[value='1']").click()
    assert len(browser.all(".head")) == 4
    browser.find("[data-stack=cross]").click()
    show(browser, "cross.0.1")
    assert browser.texts("#text .strip:first-of-type .token") == ["le", "chat"]
    assert len(browser.all("#text .strip:last-of-type .token")) == 12


def test_a_difference_is_a_stack_of_its_own(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, page(tmp_path, compared(pattern("0.1", on_offset(1) - on_offset(-1)))))
    browser.find('[data-stack="encoder, difference"]').click()
    show(browser, "difference 0.1")
    assert browser.texts(".matrix .number")[:3] == ["-90", "90", "-90"]
    assert "1/1364 of this head's largest" in browser.text("#exactness")
    assert browser.text("[data-metric=total_variation]").startswith("total_variation0.03")
    browser.press("escape")
    browser.find("#view option[value=first]").click()
    assert browser.texts(".head .value")[:4] == ["0.00", "0.02", "0.00", "-0.30"]
    assert browser.texts("#legend .scale")[0].startswith("−0.410.41")
    assert browser.console() == []


def test_a_metric_is_mapped_where_it_was_asked_for(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, page(tmp_path, replace(heads_of_two_layers(), metric="induction")))
    assert browser.texts(".head .value")[4:6] == ["0.08", "0.68"]


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_as_dark_as_the_system_until_it_is_switched(browser: Browser, two_layers: Path, dark: bool) -> None:
    open_page(browser, two_layers, dark=dark)
    paper = "return getComputedStyle(document.documentElement).backgroundColor"
    pages = ["rgb(255, 255, 255)", "rgb(20, 22, 27)"]
    assert browser.run(paper) == pages[dark]
    browser.find("#theme").click()
    assert browser.run(paper) == pages[not dark]


@pytest.mark.parametrize("width", [360, 600, 1280])
def test_nothing_sticks_out_of_the_window(browser: Browser, two_layers: Path, width: int) -> None:
    open_page(browser, two_layers, width=width, fragment="#1.1")
    browser.wait("document.querySelector('.matrix')")
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_two_results_in_one_notebook_do_not_meet(browser: Browser, two_layers: Path, tmp_path: Path) -> None:
    path = tmp_path / "notebook.html"
    frames = "".join(notebook(heads_html(each)) for each in (heads_of_two_layers(), result(stack())))
    path.write_text(f"<!doctype html><style>.head {{ display: none }}</style>{frames}", "utf-8")
    browser.open(path)
    counts = []
    for frame in browser.all("iframe"):
        browser.driver.switch_to.frame(frame)
        browser.wait("document.querySelector('[role=grid]')?.getAttribute('aria-busy') === 'false'")
        counts.append((len(browser.all(".head")), browser.find(".head").is_displayed(), len(browser.all("option"))))
        browser.driver.switch_to.default_content()
    assert counts == [(8, True, 16), (8, True, 15)]
    assert browser.console() == []


def test_what_a_position_reads_is_shaded_and_told_key_by_key(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, page(tmp_path, with_row()))
    browser.wait("document.querySelector('#keys')")
    assert browser.text("#reading h2") == "Where sat (token 3) looks: mean of 8 heads"
    assert browser.texts("#keys tbody tr:nth-child(2) td") == ["2", "␣cat", "0.250", "", "0.125", "0.1 0.500"]
    assert browser.texts(".shaded .own") == ["␣sat"]
    browser.find("#keys [data-open='0.1']").click()
    browser.wait("document.querySelector('#head').dataset.head === '0.1'")
    assert not browser.find("#reading").is_displayed()
    assert browser.console() == []
    # A long text is a strip with positions.
    open_page(browser, page(tmp_path, with_row(640)))
    browser.wait("document.querySelector('#reading .matrix')")
    assert browser.texts("#reading .matrix text")[1:4] == ["0", "100", "200"]


def test_one_weight_by_every_head_is_the_map_that_is_shown(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, page(tmp_path, ranked(0.1, 0.25, 0.68, 0.02, 0.03, 0.04, 0.05, 0.06)))
    browser.wait("document.querySelector('#reading h2')")
    assert browser.text("#reading h2") == "How much sat (token 0) looks at cat (token 1), by each head"
    assert browser.texts(".head .value")[:3] == ["0.10", "0.25", "0.68"]
    first = browser.texts("#said tr:first-child td")[1:]
    assert first == ["0.2", "place 3 of 8 in its row", "weight 0.68", "uniform 0.13"]


def test_without_patterns_every_metric_has_a_map(browser: Browser, tmp_path: Path) -> None:
    open_page(browser, page(tmp_path, replace(result(stack()), texts=3)))
    maps = browser.texts("#maps h4")
    assert len(maps) == 11
    assert maps[3] == "previous weight on the previous token; uniform 0.08"
    browser.hover("[data-map='previous'] svg", 0.3, 0.6)
    assert browser.text("#readout").startswith("head 1.")
    browser.run("document.querySelector('[data-map=previous] svg').parentElement.click()")
    browser.wait("document.querySelector('#head').dataset.head?.startsWith('1.')")
    assert browser.console() == []


def test_positions_stand_in_place_of_many_tokens(browser: Browser, tmp_path: Path) -> None:
    words = tokens(*(f"w{index}" for index in range(300)))
    made = stack(pattern("0.1", on_offset(1, 300)), queries=words, keys=words, heads=(head("0.1"),))
    browser.open(page(tmp_path, result(made, chosen=True)))
    browser.wait("document.querySelector('.matrix text')")
    found = browser.texts(".matrix text")
    assert {"0", "100", "200"} <= set(found)
    assert not [text for text in found if text.startswith("w")]


def test_lines_are_named_by_their_numbers(browser: Browser, tmp_path: Path) -> None:
    lines = tokens("one line\n", " another\n", "[SEP]")
    numbered = {"query_lines": (1, 3, None), "key_lines": (1, 3, None)}
    made = stack(pattern("0.1", even(3)), queries=lines, keys=lines, unit="line", heads=(head("0.1"),), **numbered)
    browser.open(page(tmp_path, result(made, chosen=True)))
    browser.wait("document.querySelector('.matrix text')")
    assert browser.texts(".matrix text.token")[:3] == ["1 one line", "3 another", "[SEP]"]


def test_a_table_opens_the_heads_that_it_names(browser: Browser, tmp_path: Path) -> None:
    made = attncli.heads(model="builtin:induction", qk_ov=True)
    opened = open_page(browser, page(tmp_path, made))
    assert opened.texts("#tables h3") == ["copy (OV)", "match (QK)", "by queries", "by keys", "by values"]
    assert opened.text("#view option:checked") == "copying"
    assert "Layers down, heads across: its copying. Click to open." in opened.text(".how")
    opened.find("#tables [data-open='0.3']").click()
    assert opened.text("#head h2") == "head 0.3"
    assert opened.console() == []
