"""Whole commands with a picture or a sound, with nothing replaced between arguments and output."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from tests import picture_chats, senses
from tests.cli.conftest import attn

pytest.importorskip("PIL")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole-senses")
    for name in ("vit", "clip", "blip", "whisper"):
        senses.save(name, folder)
    picture_chats.save("llava", folder)
    senses.save_picture(folder / "disc.png")
    return folder


def test_the_data_hold_the_grid(place: Path, tmp_path: Path) -> None:
    command = ("heads", "the mole", "--image", str(place / "disc.png"), "-m", str(place / "blip"), "-H", "cross.1.0")
    outputs = [tmp_path / f"heads.{ending}" for ending in ("json", "csv", "npz")]
    outcome = attn(*command, "--patterns", *(part for path in outputs for part in ("-o", str(path))))
    assert (outcome.code, outcome.text) == (0, "")
    cross = json.loads(outputs[0].read_text("utf-8"))["stacks"][2]
    assert cross["axes"] == {
        "queries": {"kind": "tokens", "grid": None, "window": None, "seconds": None},
        "keys": {"kind": "patches", "grid": {"rows": 4, "columns": 4, "first": 1}, "window": None, "seconds": None},
    }
    cells = list(csv.DictReader(io.StringIO(outputs[1].read_text("utf-8"))))
    shown = [(cell["query_token"], cell["key_token"], cell["key_row"], cell["key_column"]) for cell in cells[16:19]]
    assert shown == [("[CLS]", "3,3", "3", "3"), ("the", "[CLS]", "", ""), ("the", "0,0", "0", "0")]
    arrays = np.load(outputs[2])
    assert arrays["cross.keys.grid"].tolist() == [4, 4, 1]
    assert "cross.queries.grid" not in arrays
    np.testing.assert_allclose(arrays["cross.1"][0], np.array(cross["patterns"][0]["weights"]), atol=1e-6)


def test_a_page_and_a_figure_hold_the_picture(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    command = ("heads", "--image", str(place / "disc.png"), "-m", str(place / "vit"), "-H", "1.2", "--query", "2,1")
    page, figure = tmp_path / "heads.html", tmp_path / "heads.svg"
    outcome = attn(*command, "-o", str(page), "-o", str(figure))
    assert (outcome.code, outcome.text) == (0, "")
    assert '"picture":{"height":16,"width":16,' in page.read_text("utf-8")
    assert ">where patch 2,1 looks<" in figure.read_text("utf-8")


def test_a_picture_needs_no_stdin_and_a_text_may_come_from_it(place: Path) -> None:
    command = ("heads", "--image", str(place / "disc.png"), "-m", str(place / "clip"), "--json")
    alone = attn(*command, stdin="the mole")
    assert [stack["stack"] for stack in json.loads(alone.text)["stacks"]] == ["vision"]
    both = attn(*command, "-", stdin="the mole")
    assert [stack["stack"] for stack in json.loads(both.text)["stacks"]] == ["vision", "text"]


def test_a_sound_is_told_in_seconds(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    pytest.importorskip("soxr")
    path = senses.save_sound(tmp_path / "tone.wav")
    command = ("heads", "the mole", "--audio", str(path), "-m", str(place / "whisper"), "-H", "cross.1.0")
    shown = attn(*command, "--query", "0:2")
    assert shown.code == 0
    assert "cross · 2 layers × 4 heads · 2 of 4 decoder tokens look at 50 frames of 0.02 s\n" in shown.text
    weight = attn(*command, "--query", "mole", "--key", "0.25s")
    assert "how much mole (token 2) looks at 0.24s (token 12), by the weight of each head\n" in weight.text
    data = json.loads(attn(*command, "--json").text)["stacks"][2]
    assert data["axes"]["keys"] == {"kind": "frames", "grid": None, "window": None, "seconds": 0.02}
    assert (len(data["keys"]), data["keys"][13]["text"]) == (50, "0.26s")


def test_a_text_goes_on_after_a_picture(place: Path) -> None:
    command = ("heads", "a cat", "--image", str(place / "disc.png"), "-m", str(place / "llava"), "--generate", "1")
    outcome = attn(*command, "--stack", "text", "--query", "cat")
    assert outcome.code == 0
    assert "the picture: 0." in outcome.text
    assert "where cat (token 18) looks, mean of all 8 heads" in outcome.text
    assert "note: the picture was put before the text, as '<image>'\n" in outcome.err
    assert "note: the model generated 1 token: " in outcome.err


#: Settings of an image processor that no picture can be made ready with.
BROKEN = {
    "no size": ({"size": {"height": "a", "width": 3}}, ""),
    "too many pixels": ({"size": {"height": 50000, "width": 50000}}, "more than 89 million pixels (size)"),
    "no processor": ({"processor_class": "NoSuchProcessor"}, "doesn't say which processor"),
    "another kind of value": ({"processor_class": 3}, "doesn't say which processor"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_settings_of_a_processor_end_in_two_lines(kind: str, place: Path, tmp_path: Path) -> None:
    changes, message = BROKEN[kind]
    for path in (place / "llava").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for name in ("preprocessor_config.json", "processor_config.json"):
        settings = json.loads((tmp_path / name).read_text())
        (tmp_path / name).write_text(json.dumps({**settings, **changes}))
    outcome = attn("heads", "a cat", "--image", str(place / "disc.png"), "-m", str(tmp_path), "-q")
    error, hint = outcome.err.splitlines()
    assert outcome.code in (1, 2, 3)
    assert error.startswith("error: ") and message in error
    assert hint.startswith("hint: ")


REFUSED = {
    "a model of texts": (
        2,
        ("--image", "disc.png", "-m", "builtin:induction"),
        "builtin:induction doesn't read pictures",
    ),
    "a text and no picture": (2, ("a mole", "-m", "vit"), "reads pictures, not text"),
    "a text and a picture": (2, ("a mole", "--image", "disc.png", "-m", "vit"), "reads pictures, not text"),
    "ids and a picture": (2, ("--input-ids", "5", "--image", "disc.png", "-m", "vit"), "doesn't read text"),
    "both": (2, ("--image", "disc.png", "--audio", "x.wav", "-m", "vit"), "--image and --audio can't be combined"),
    "lines": (2, ("--image", "disc.png", "-m", "vit", "--lines", "a"), "--image can't be combined with --lines"),
    "a probe": (2, ("--image", "disc.png", "-m", "vit", "--probe"), "--image can't be combined with --probe"),
    "a target": (
        2,
        ("a", "--target", "b", "--image", "disc.png", "-m", "vit"),
        "--image can't be combined with --target",
    ),
    "steps": (2, ("a", "--steps", "--image", "disc.png", "-m", "vit"), "--image can't be combined with --steps"),
    "two pictures": (
        2,
        ("--image", "disc.png", "--image", "disc.png", "-m", "vit"),
        "2 pictures were given, and ViTModel reads one",
    ),
    "two places": (2, ("<image> <image>", "--image", "disc.png", "-m", "llava"), "has 2 placeholders for pictures"),
    "a caption to write": (
        2,
        ("a", "--generate", "2", "--image", "disc.png", "-m", "clip"),
        "can't generate text with --image",
    ),
    "a pair": (2, ("a", "--pair", "b", "--image", "disc.png", "-m", "clip"), "--image can't be combined with --pair"),
    "no such patch": (
        2,
        ("--image", "disc.png", "-m", "vit", "--query", "4,0"),
        "there is no patch 4,0 in 4 rows of 4 patches",
    ),
    "no such file": (1, ("--image", "no.png", "-m", "vit"), "can't be read: no such file or directory"),
    "no picture": (1, ("--image", "vit/config.json", "-m", "vit"), "is not a picture that Pillow can read"),
    "no sound": (1, ("--audio", "disc.png", "-m", "whisper"), "is not a readable sound file"),
    "a sound for eyes": (2, ("--audio", "tone.wav", "-m", "vit"), "doesn't read sounds"),
    "a picture for ears": (2, ("--image", "disc.png", "-m", "whisper"), "doesn't read pictures"),
    "ears without a sound": (3, ("a mole", "-m", "whisper"), "can't run on only a text"),
    "a caption without its picture": (3, ("a mole", "-m", "blip"), "can't run on only a text"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_refused_in_two_lines(kind: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, arguments, message = REFUSED[kind]
    if "--audio" in arguments:
        pytest.importorskip("soundfile")
        pytest.importorskip("soxr")
        senses.save_sound(place / "tone.wav")
    monkeypatch.chdir(place)
    named = [f"./{part}" if (place / part).is_dir() else part for part in arguments]
    outcome = attn("heads", *named, "-q")
    assert (outcome.code, outcome.text) == (code, "")
    error, hint = outcome.err.splitlines()
    assert error.startswith("error: ") and message in error
    assert hint.startswith("hint: ")
