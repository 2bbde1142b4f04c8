"""The comparison forgives what another processor rounds differently, and nothing else."""

from __future__ import annotations

import json

import pytest

from tests.golden.comparing import agree
from tests.golden.forms import mask, section, shown

TEXT = """\
head 1.2   N  looks at the next token
           [CLS] the  cat
 0 [CLS]    %87%   1    2
 1 the      .15.   6  #75#

0 [ .:=*#%@] 0.98   98 means 0.98
entropy          0.68     2.48  spreads
share 33.2%  12 tokens  174,604,259,328  2e-5
 0 the     ██████▎   0.248
␛[38;5;24m▀␛[48;5;30m▀␛[0m x
"""


def changed(old: str, new: str, kind: str = "text", text: str = TEXT) -> bool:
    assert old in text
    return agree(kind, text, text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.68 ", "0.69 "),
        ("%87%", "%88%"),
        (" .15.", " :15:"),
        ("2e-5", "3e-5"),
        ("██████▎", "██████▎"),
        ("██████▎", "██████▍"),
        ("0.248", "0.247"),
        ("38;5;24m", "38;5;25m"),
    ],
)
def test_a_step_is_forgiven(old: str, new: str) -> None:
    assert changed(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("looks at", "looks to"),
        ("0.68 ", "0.70 "),
        ("%87%", "%85%"),
        ("0.248", "0.25 "),
        ("12 tokens", "13 tokens"),
        ("174,604,259,328", "174,604,259,329"),
        ("head 1.2", "head 1.3"),
        ("entropy  ", "entropy:  "),
        ("entropy          0", "entropy         0"),
        (" 1 the  ", " 2 the  "),
        (" .15.", " #15."),
        ("██████▎", "██████▌"),
        ("38;5;24m", "38;5;46m"),
        ("␛[0m x", "␛[0mx"),
        ("␛[0m x", " x"),
        ("head 1.2", "␛[1mhead 1.2␛[0m"),
        ("spreads\n", "spreads\n\n"),
        ("spreads\n", "spreads \n"),
    ],
)
def test_anything_else_is_not(old: str, new: str) -> None:
    assert not changed(old, new)


def test_steps_all_over_are_not_forgiven() -> None:
    rows = "".join(f"{index}.00  spreads\n" for index in range(10))
    assert agree("text", rows, rows.replace("1.00", "1.01"))
    assert not agree("text", rows, rows.replace(".00", ".01"))


DATA = '{"name": "5.1", "layer": 5, "entropy": 0.123456, "tiny": 2e-07, "packed": "~12.30"}\n'


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("0.123456", "0.123461", True),
        ("0.123456", "0.12348", False),
        ("2e-07", "-1e-07", True),
        ('"layer": 5', '"layer": 6', False),
        ('"layer": 5', '"layer": 5.0', False),
        ("5.1", "5.2", False),
        ("entropy", "Entropy", False),
        ("~12.30", "~12.70", True),
        ("~12.30", "~13.30", False),
    ],
)
def test_numbers_of_data_have_a_tolerance(old: str, new: str, same: bool) -> None:
    assert changed(old, new, "data", DATA) == same


def test_json_keeps_keys_and_their_order_and_masks_what_made_it() -> None:
    value = {"schema": "x/1", "made_by": {"torch": "2.13", "model_class": "A"}, "n": 0.1234567891, "none": None}
    kept = section("stdout", "json", (json.dumps(value) + "\n").encode()).text
    assert '"made_by": {"torch": "…", "model_class": "A"}' in kept and '"n": 0.123457' in kept
    reordered = dict(reversed(value.items()))
    assert section("stdout", "json", (json.dumps(reordered) + "\n").encode()).text != kept
    assert section("stdout", "json", json.dumps(value, indent=1).encode()).text.startswith("(not written as")


def test_many_numbers_are_summed_up_and_a_transposed_matrix_is_seen() -> None:
    def kept(matrix: list[list[float]]) -> str:
        return section("stdout", "json", (json.dumps({"weights": matrix}) + "\n").encode()).text

    matrix = [[row * 0.5 + column for column in range(20)] for row in range(20)]
    turned = [list(column) for column in zip(*matrix, strict=True)]
    assert '"shape": [20, 20]' in kept(matrix)
    assert not agree("data", kept(matrix), kept(turned))


def test_control_characters_are_shown_and_places_masked(tmp_path: object) -> None:
    assert shown("\x1b[1ma\rb") == "␛[1ma␍b␄\n"
    assert mask(f"{tmp_path}/x http://127.0.0.1:4711 attncli 0.1.0", tmp_path) == "FOLDER/x http://HUB attncli VERSION"  # type: ignore[arg-type]
