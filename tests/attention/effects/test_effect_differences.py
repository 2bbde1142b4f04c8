"""The effects of heads under two models: B minus A, in every form, and what can't be compared."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import attncli
from attncli.attention.effects.effect_differences import effects_difference
from attncli.errors import UsageError
from attncli.results.effects import OutcomeToken
from tests import tiny
from tests.cli.conftest import attn
from tests.render.effects_samples import IT, with_effects

TEXT = "qjxkvzwpmfyhbgcduLRsqjxkvzwpm"
A, KINDS = "builtin:induction", ("direct", "zero")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The built-in model with less of head 1.0 and more of an MLP."""
    folder = tmp_path_factory.mktemp("models") / "tuned"
    shutil.copytree(Path(attncli.__file__).parent / "models" / "builtin" / "induction", folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.self_attn.o_proj.weight"][:, :32] *= 0.2
    weights["model.layers.0.mlp.down_proj.weight"] *= 3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


def found(*arguments: str) -> dict[str, Any]:
    done = attn("heads", TEXT, *arguments, "--effect", ",".join(KINDS), "--json")
    assert done.code == 0, done.err
    data: dict[str, Any] = json.loads(done.text)
    return data


def test_each_side_is_as_it_is_alone_and_the_change_is_b_less_a(tuned: str) -> None:
    both, alone = found("-m", A, "-m", tuned), [found("-m", A), found("-m", tuned)]
    assert both["effects"] == alone[0]["effects"]
    assert both["stacks"][0]["effects"] == alone[0]["stacks"][0]["effects"]
    changed = both["difference"]["effects"]
    assert changed["outcome"] == alone[1]["effects"]["outcome"]
    sides = [{each["name"]: each for each in (*one["stacks"][0]["effects"], *one["effects"]["parts"])} for one in alone]
    heads = both["difference"]["stacks"][0]["heads"]
    values = {each["name"]: each["metrics"] for each in heads} | {p["name"]: p["effects"] for p in changed["parts"]}
    changes = {each["name"]: each["changes"] for each in (*heads, *changed["parts"])}
    assert set(values) == set(sides[0])
    for name, (a, b) in ((name, [side[name] for side in sides]) for name in values):
        for kind in KINDS:
            assert values[name][kind] == b[kind]
            assert changes[name][kind] == (None if a[kind] is None else b[kind] - a[kind])
    assert (heads[0]["name"], both["difference"]["ranked_by"]) == ("1.0", "direct")
    whole = sum(each["direct"] for each in changes.values())
    assert whole == pytest.approx(changed["outcome"]["value"] - both["effects"]["outcome"]["value"], abs=1e-4)


def test_the_other_forms_hold_the_change(tuned: str, tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("d.json", "d.csv", "d.npz", "d.html", "d.txt")]
    done = attn("heads", TEXT, "-m", A, "-m", tuned, "--effect", "direct", *(x for name in files for x in ("-o", name)))
    assert done.code == 0, done.err
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(Path(files[1]).read_text()))}
    assert len(rows) == 13
    for row in rows.values():
        change = float(row["against_direct"]) - float(row["direct"])
        assert float(row["change_direct"]) == pytest.approx(change, abs=1e-9)
    array = np.load(files[2])["difference.decoder.effects.direct"]
    assert array[1, 0] == float(rows["1.0"]["change_direct"]) < -2
    assert '"first":1' in Path(files[3]).read_text()
    text = Path(files[4]).read_text().splitlines()
    assert text[1] == f"against {tuned}: B minus A"
    assert next(line for line in text if " 1.0 " in line).split()[-5:] == ["-2.57", "+3.26", "→", "+0.69", "induction"]
    for name in files[1:]:
        again = str(tmp_path / f"again{Path(name).suffix}")
        assert attn("heads", "--result", files[0], "-o", again).code == 0
        assert Path(again).read_bytes() == Path(name).read_bytes()


@pytest.mark.parametrize(("arguments", "message", "hint"), [
    (["--predict"], "--predict can't be combined with the second -m", "run it once for each"),
    (["--effect", "zero", "--lines"], "--effect over several texts can't be combined with the second -m",
     "give one text, or run it once for each"),
    (["--effect", "zero", "--check", "1.0 zero > 1"],
     "--check can't be combined with the second -m: it tests one model on one text",
     "leave --check or the second -m out"),
])  # fmt: skip
def test_what_is_refused(arguments: list[str], message: str, hint: str) -> None:
    done = attn("heads", TEXT, "-m", A, "-m", A, *arguments)
    assert (done.code, done.error) == (2, (message, hint))


def test_weights_alone_of_two_models_are_refused() -> None:
    done = attn("heads", "--qk-ov", "-m", A, "-m", A)
    assert (done.code, done.error[0]) == (2, "--qk-ov can't be combined with the second -m")


def test_other_shapes_other_tokens_and_other_answers_are_refused(tmp_path: Path) -> None:
    other = str(tiny.save_with_tokenizer(tmp_path / "gpt2", "gpt2"))
    shapes = attn("heads", TEXT, "-m", A, "-m", other, "--effect", "zero")
    assert (shapes.code, "the heads can't be compared one by one" in shapes.err) == (2, True)
    here = with_effects("direct")
    there = replace(here, model="other")
    stack = here.stacks[0]
    cut = replace(there, stacks=(replace(stack, queries=stack.queries[:-1], keys=stack.keys[:-1]),))
    with pytest.raises(UsageError, match=r"same tokens: .* into 12 tokens \(\[CLS\]\|the\|.*, and other into 11 "):
        effects_difference(here, cut)
    for name in ("answer", "contrast"):
        assert here.effects is not None
        asked = here.effects.outcome._replace(answer=IT) if name == "answer" else here.effects.outcome
        asked = asked if name == "answer" else asked._replace(contrast=OutcomeToken(3, " on"))
        with pytest.raises(UsageError, match=f"and {name} is .* in other"):
            effects_difference(here, replace(there, effects=replace(here.effects, outcome=asked)))
    assert effects_difference(here, there) is not None
