"""The shapes of the presets that come with the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from base64 import b64decode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import attncli
from attncli.api.configured_shapes import describe_preset
from attncli.api.preset_shapes import FILE, fold, shipped_shapes, unfold
from attncli.api.ship_presets import to_ship
from attncli.models.builtin.presets import preset_names, read_preset

ROOT = Path(__file__).parents[2]


def without_versions(packed: str) -> dict[str, object]:
    entry = json.loads(zlib.decompress(b64decode(packed)))
    return {name: value for name, value in entry.items() if name != "versions"}


def first_of_each_class() -> list[str]:
    """One preset for each class that is built: building all of them takes half a minute."""
    classes = {str(read_preset(name).fields.get("architectures")): name for name in reversed(preset_names())}
    return sorted(classes.values())


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_has_its_shapes(name: str) -> None:
    assert shipped_shapes(read_preset(name)) is not None, "run attncli.api.ship_presets"


@pytest.mark.parametrize("name", first_of_each_class())
def test_they_are_those_of_the_preset(name: str) -> None:
    shipped = json.loads(FILE.read_text("utf-8"))[name]
    assert without_versions(shipped) == without_versions(to_ship(read_preset(name))), (
        "python -m attncli.api.ship_presets"
    )


def test_unfolded_they_are_what_the_cache_would_hold() -> None:
    preset = read_preset("t5-small")
    built = json.loads(json.dumps(describe_preset(preset)))
    assert shipped_shapes(preset) == built


def test_they_are_small() -> None:
    assert FILE.stat().st_size < 2_500 * len(preset_names())


def test_another_configuration_has_none() -> None:
    preset = read_preset("gpt2")
    assert shipped_shapes(preset._replace(fields={**preset.fields, "n_layer": 13})) is None
    assert shipped_shapes(preset._replace(name="not-a-preset")) is None


def test_a_preset_is_counted_without_torch_the_first_time(tmp_path: Path) -> None:
    code = (
        "import atexit, sys; sys.argv[0] = 'attn'\n"
        "atexit.register(lambda: sys.__stderr__.write(str({'torch', 'numpy', 'transformers'} & sys.modules.keys())))\n"
        "from attncli.cli.main import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "params", "preset:gpt2", "preset:t5-base", "--json"],
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "ATTN_CACHE": str(tmp_path)},
        check=True,
        encoding="utf-8",
    )
    assert [model["total"] for model in json.loads(done.stdout)["models"]] == [124_439_808, 222_903_552]
    assert done.stderr == "set()"
    assert not list(tmp_path.iterdir())


def test_a_changed_preset_is_built() -> None:
    assert attncli.params("preset:gpt2", set="n_layer=13").models[0].counted.total > 124_439_808


NAMES = st.lists(st.sampled_from(["h", "block", "0", "1", "2", "weight"]), min_size=1, max_size=4).map(".".join)


def is_in_order(rows: list[list[object]]) -> bool:
    try:
        fold(rows)
    except ValueError:
        return False
    return True


@given(st.lists(st.tuples(NAMES, st.integers(0, 2)).map(list), max_size=12).filter(is_in_order))
def test_unfolding_gives_back_what_was_folded(rows: list[list[object]]) -> None:
    assert unfold(json.loads(json.dumps(fold(rows)))) == rows


def test_layers_are_written_once() -> None:
    rows = [[f"h.{layer}.{name}", [layer % 2]] for layer in range(10) for name in ("q", "k")]
    assert fold([["wte", [1]], *rows, ["h.norm", [3]]]) == [
        ["wte", [1]],
        {
            "stack": "h.",
            "first": 0,
            "layers": [[["q", [0]], ["k", [0]]], [["q", [1]], ["k", [1]]]],
            "order": [0, 1] * 5,
        },
        ["h.norm", [3]],
    ]
