"""Every key of `attn heads --browse`, on models that fit in a test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("textual", reason="--browse needs the extra browse (Textual)")

import transformers

import attncli
from attncli.api.heads_input import HeadsInput
from attncli.api.loading import ModelLoader
from attncli.api.requests import HeadsOptions
from attncli.browse.app import BrowseApp, Start
from attncli.browse.panes import Shown
from attncli.browse.session import LiveSession, SavedSession
from attncli.browse.widgets import Pane
from attncli.progress import silent
from attncli.render.common.terminal import ColorDepth, Terminal
from tests import tiny
from tests.browse.driving import COPIES, TERMINAL, drive, induction, typed


def shown(app: BrowseApp) -> Shown:
    assert app.shown is not None
    return app.shown


@pytest.mark.parametrize(("back", "there"), [("left", "right"), ("h", "l"), ("up", "down"), ("k", "j")])
def test_keys_move_over_the_map(back: str, there: str) -> None:
    # It starts at the first head that has a label.
    first = shown(drive(induction())[0]).cursor
    moved = shown(drive(induction(), there)[0]).cursor
    assert first == (0, 0)
    assert moved == ((1, 0) if there in ("down", "j") else (0, 1))
    assert shown(drive(induction(), there, back)[0]).cursor == first


def test_the_first_screen_shows_map_head_text_and_prediction() -> None:
    app, screen = drive(induction(), "down")
    assert "builtin:induction · decoder" in screen
    assert "[I]" in screen  # the head under the cursor
    assert "head 1.0: induction" in screen
    assert "what h (token 16) looks at" in screen
    assert "after h the model expects" in screen
    assert "? keys" in screen
    assert len(screen.splitlines()) == 24
    expected = attncli.heads(COPIES, model="builtin:induction", head="1.0").stacks[0].patterns[0].weights
    patterned = shown(app).patterned
    assert patterned is not None
    assert patterned[1].weights.tolist() == pytest.approx(expected, abs=1e-6)


def test_enter_opens_a_head_whose_rows_are_then_moved_over_and_q_goes_back_and_out() -> None:
    app, screen = drive(induction(), "down", "enter", "up", "right")
    assert (shown(app).opened, shown(app).query, shown(app).key) == (True, 15, 1)
    assert "what g (token 15) looks at" in screen
    assert " labels " not in screen
    app, screen = drive(induction(), "down", "enter", "q")
    assert not shown(app).opened and " labels " in screen
    app, _ = drive(induction(), "q")
    assert app._exit and app.return_value is None


def test_a_cell_of_a_long_text_opens_the_positions_around_it() -> None:
    app, _ = drive(induction("abcdefgh" * 140), "enter")
    patterned = shown(app).patterned
    assert patterned is not None and patterned[1].bins is not None and patterned[1].weights.shape == (64, 64)
    app, _ = drive(induction("abcdefgh" * 140), "enter", "enter")
    part = shown(app).part
    assert part is not None and part.patterns[0].bins is None
    assert shown(app).query in range(part.queries[0].index, part.queries[-1].index + 1)
    exact = attncli.heads("abcdefgh" * 140, model="builtin:induction", head="0.0",
                          query=f"{part.queries[0].index}:{part.queries[-1].index + 1}",
                          key=f"{part.keys[0].index}:{part.keys[-1].index + 1}")  # fmt: skip
    assert part.patterns[0].weights.tolist() == pytest.approx(exact.stacks[0].patterns[0].weights, abs=1e-6)
    app, _ = drive(induction("abcdefgh" * 140), "enter", "enter", "q")
    assert shown(app).part is None and shown(app).opened


def test_slash_takes_a_new_text_and_the_model_isnt_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from attncli.models.loading import weights

    loads: list[Any] = []
    load = weights.load_model
    monkeypatch.setattr(weights, "load_model", lambda *a, **k: (loads.append(a), load(*a, **k))[1])
    app, screen = drive(induction(), "down", "slash", *typed("xyz xyz"))
    assert [token.text for token in shown(app).stack.queries] == list("xyz xyz")
    assert shown(app).cursor == (1, 0)
    assert "what z (token 6) looks at" in screen
    assert len(loads) == 1


def test_an_error_is_two_lines_and_the_old_picture_stays() -> None:
    app, screen = drive(induction(), "slash", "ctrl+u", "enter")
    assert "error: the text is empty" in screen and "hint: give a text" in screen
    assert len(shown(app).stack.queries) == len(COPIES) and " labels " in screen
    _, screen = drive(induction(), "slash", "ctrl+u", "enter", "right")
    assert "head 0.1" in screen


def test_m_maps_a_metric() -> None:
    app, screen = drive(induction(), "m", "down", "enter")
    assert shown(app).painted == "entropy"
    assert "── entropy ─" in screen and "how widely a row spreads its weight" in screen
    app, _ = drive(induction(), "m", "down", "q")
    assert shown(app).painted == "labels"


def test_e_maps_an_effect_as_the_command_measures_it() -> None:
    app, screen = drive(induction(), "e", "j", "enter")
    effects = shown(app).effects
    assert shown(app).painted == "zero" and effects is not None
    expected = attncli.heads(COPIES, model="builtin:induction", effect="zero")
    assert [each.values["zero"] for each in effects.stacks[0].effects] == pytest.approx(
        [each.values["zero"] for each in expected.stacks[0].effects], abs=1e-4
    )
    assert "effect of zero ablation on ␣" in screen


def test_s_shows_the_steps_of_the_row_under_the_cursor() -> None:
    _, screen = drive(induction(), "down", "enter", "up", "s")
    assert "steps of head 1.0" in screen and "from g (token 15)" in screen
    _, screen = drive(induction(), "down", "s", "q")
    assert "steps of head" not in screen and " labels " in screen


def test_x_shows_the_prediction_without_the_head() -> None:
    _, screen = drive(induction(), "x")
    assert "the prediction without head 0.0" in screen and "with it" in screen
    session = induction()
    before = session.open(None, silent).result.prediction
    assert before is not None
    answer = before.tokens[0].id
    after = session.without("0.0", answer, silent)
    # The other way to the same number: the fall of ln p that zero ablation measures for every head.
    effects = session.effects("zero", silent).stacks[0].effects
    fall = next(each.change_log_probability for each in effects if each.name == "0.0")
    assert fall is not None and abs(fall) > 1e-3
    from math import log

    assert log(before.tokens[0].probability) - log(after.lens[-1].answer.probability) == pytest.approx(fall, abs=1e-3)


def test_y_shows_the_command_of_the_same_view() -> None:
    _, screen = drive(induction(), "down", "y")
    assert f"attn heads -m builtin:induction '{COPIES}'" in screen
    _, screen = drive(induction(), "down", "enter", "y")
    assert f"attn heads -m builtin:induction -H 1.0 '{COPIES}'" in screen
    _, screen = drive(induction(), "m", "down", "enter", "y")
    assert "--metric entropy" in screen
    _, screen = drive(induction(), "slash", *typed("-xyz"), "y")
    assert "attn heads -m builtin:induction -- -xyz" in screen


def test_w_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, screen = drive(induction(), "w", "enter")
    assert "wrote heads.html, " in screen
    assert "<html" in (tmp_path / "heads.html").read_text("utf-8")
    _, screen = drive(induction(), "w", *typed("nowhere/a.html"))
    assert "error: nowhere/a.html can't be written: there is no folder" in screen


def test_the_question_mark_lists_every_key() -> None:
    _, screen = drive(induction(), "question_mark")
    for name in ("arrows, hjkl", "Enter", "q, Escape", "Tab", "/", "m", "e", "s", "x", "y", "w", "?", "mouse"):
        assert any(line.startswith(f"{name} ") for line in screen.splitlines()), name


def test_tab_changes_the_stack() -> None:
    model = transformers.T5ForConditionalGeneration(tiny.t5()).eval()
    session = LiveSession(HeadsInput(input_ids=[5, 6, 7], target_ids=[0, 8]), HeadsOptions(), ModelLoader(model))
    app, screen = drive(session, "tab")
    assert shown(app).stack.stack == "decoder"
    assert "(Tab: encoder, cross)" in screen
    session = LiveSession(HeadsInput(input_ids=[5, 6, 7], target_ids=[0, 8]), HeadsOptions(), ModelLoader(model))
    app, screen = drive(session, "tab", "tab", "enter")
    assert shown(app).stack.stack == "cross" and f"head {shown(app).head.name}" in screen
    session = LiveSession(HeadsInput(input_ids=[5, 6, 7], target_ids=[0, 8]), HeadsOptions(), ModelLoader(model))
    app, screen = drive(session, "tab", "tab", "x")
    assert f"the prediction without head {shown(app).head.name}" in screen


def test_a_model_without_a_language_model_head_shows_how_its_vector_changes() -> None:
    session = LiveSession(HeadsInput(input_ids=[5, 6, 7]), HeadsOptions(), ModelLoader(tiny.build(tiny.bert())))
    _, screen = drive(session)
    assert "a prediction needs a" in screen and "(BertModel) has none" in screen
    session = LiveSession(HeadsInput(input_ids=[5, 6, 7]), HeadsOptions(), ModelLoader(tiny.build(tiny.bert())))
    _, screen = drive(session, "x")
    assert "its vector changes by" in screen


def test_a_click_chooses_a_head_and_a_second_one_opens_it() -> None:
    async def click(app: BrowseApp, pilot: Any) -> None:
        await pilot.click("#map", offset=(3 + 3 * 2 + 1, 3))

    app, _ = drive(induction(), click)
    assert shown(app).cursor == (1, 2) and not shown(app).opened
    app, _ = drive(induction(), click, click)
    assert shown(app).opened

    async def click_row(app: BrowseApp, pilot: Any) -> None:
        pane = app.query_one("#head", Pane)
        pointed = next(y for y in range(1, pane.size.height) if pane.content.at(8, y - 1 + pane._offset) == (10, 1))
        await pilot.click("#head", offset=(8, pointed))

    app, _ = drive(induction(), "down", click_row)
    assert shown(app).query == 10


def test_the_command_says_what_is_shown_first() -> None:
    app, _ = drive(induction(), start=Start(head="1.2", painted="induction"))
    assert (shown(app).cursor, shown(app).painted) == ((1, 2), "induction")
    app, _ = drive(induction(), start=Start(layer=-1, painted="direct"))
    assert (shown(app).cursor, shown(app).painted) == ((1, 0), "direct")


def test_the_first_error_ends_it() -> None:
    app, _ = drive(induction(" "))
    assert app.failure is not None and "only white space" in app.failure.message


def test_a_saved_result_is_browsed_without_its_model() -> None:
    result = attncli.heads(COPIES, model="builtin:induction", patterns=True)
    _, screen = drive(SavedSession(result, "attn heads --result a.json"), "down")
    assert "head 1.0: induction" in screen and "[I]" in screen
    for key in ("s", "slash"):
        _, screen = drive(SavedSession(result, "attn heads --result a.json"), key)
        assert "needs the model" in screen, key
    _, screen = drive(SavedSession(result, "attn heads --result a.json"), "y")
    assert "attn heads --result a.json" in screen
    bare = replace(result, stacks=tuple(replace(stack, patterns=()) for stack in result.stacks))
    _, screen = drive(SavedSession(bare, "attn heads --result a.json"))
    assert "the file has no patterns of layer 0" in screen and "--patterns" in screen


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60), (40, 12)])
def test_it_fits_every_screen(size: tuple[int, int]) -> None:
    for keys in ((), ("down", "enter"), ("s",), ("m",)):
        _, screen = drive(induction(), *keys, size=size)
        lines = screen.splitlines()
        assert len(lines) <= size[1] and max(map(len, lines)) <= size[0]


def test_without_colours_there_are_none_and_in_ascii_nothing_else() -> None:
    plain = Terminal(color=ColorDepth.NONE, unicode=False)

    colors: list[Any] = []

    async def look(app: BrowseApp, _: Any) -> None:
        for pane in app.query(Pane):
            strips = [pane.render_line(y) for y in range(pane.size.height)]
            colors.extend(segment.style.color for strip in strips for segment in strip if segment.style)

    _, screen = drive(induction(), "down", look, terminal=plain)
    assert {color.name for color in colors if color is not None} <= {"default"}
    assert screen.isascii()
    assert "[I]" in screen
    drive(induction(), "down", look, terminal=TERMINAL)
    assert any(color is not None and color.triplet is not None for color in colors)
