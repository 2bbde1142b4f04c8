"""`attn heads --predict` and `--effect` on the built-in model, whose induction heads are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import attncli
from tests.cli.conftest import attn

#: Twenty different bytes, then the first nine of them again: the tenth comes next.
TEXT, NEXT = "qjxkvzwpmfyhbgcduLRsqjxkvzwpm", "f"
INDUCTION = ("heads", "-m", "builtin:induction", TEXT)


def heads(*arguments: str) -> dict[str, Any]:
    found = attn(*INDUCTION, *arguments, "--json")
    assert found.code == 0, found.err
    data: dict[str, Any] = json.loads(found.text)
    return data


def test_induction_heads_write_the_repeated_byte() -> None:
    data = heads("--effect", "direct", "--answer", NEXT, "--predict")
    (stack,) = data["stacks"]
    labels = {head["name"]: head["labels"] for head in stack["metrics"]}
    ranked = sorted(stack["effects"], key=lambda head: -head["direct"])
    assert "induction" in labels[ranked[0]["name"]]
    assert ranked[0]["reads"]["text"] == NEXT
    effects = data["effects"]
    total = sum(head["direct"] for head in stack["effects"]) + sum(part["direct"] for part in effects["parts"])
    assert total == pytest.approx(effects["outcome"]["value"], abs=1e-4)
    assert ranked[0]["direct"] > effects["outcome"]["value"] / 4
    assert data["prediction"]["tokens"][0]["text"] == NEXT
    assert data["prediction"]["lens"][-1]["answer"]["rank"] == 1


def test_the_answer_is_the_likeliest_token_where_none_is_given() -> None:
    effects = heads("--effect", "direct")["effects"]
    assert (effects["outcome"]["answer"]["text"], effects["position"]) == (NEXT, len(TEXT) - 1)


def test_python_takes_ids_and_gives_the_same() -> None:
    made = attncli.heads(TEXT, model="builtin:induction", effect="direct", answer=ord(NEXT), contrast=f"={TEXT[0]}")
    command = heads("--effect", "direct", "--answer", f"id:{ord(NEXT)}", "--contrast", TEXT[0])
    data = made.to_dict()
    assert data["effects"] == command["effects"]
    assert data["stacks"][0]["effects"] == command["stacks"][0]["effects"]


def test_another_position() -> None:
    data = heads("--predict", "--query", "21")
    assert data["prediction"]["position"] == 21
    assert data["stacks"][0]["queries"][-1]["index"] == len(TEXT) - 1


def test_with_generated_tokens_the_first_of_them_is_the_outcome() -> None:
    assert heads("--effect", "direct", "--generate", "3")["effects"]["position"] == len(TEXT) - 1


def test_a_check_of_an_effect(tmp_path: Path) -> None:
    saved = tmp_path / "effects.json"
    kept = attn(*INDUCTION, "--effect", "direct", "-o", str(saved), "--check", "1.3 direct > -100")
    assert (kept.code, "1.3 direct > -100 is true" in kept.err) == (0, True)
    failed = attn("heads", "--result", str(saved), "--check", "1.3 direct > 100")
    assert failed.code == 4
    refused = attn(*INDUCTION, "--effect", "direct", "--check", "1.3 zero > 0")
    assert (refused.code, refused.error[1]) == (2, "add --effect zero")


@pytest.mark.parametrize(("arguments", "message"), [
    (["--effect", "direct", "--key", "1"], "--effect direct and --key can't be combined"),
    (["--predict", "--by", "word"], "--predict and --by word can't be combined"),
    (["--effect", "direct", "--answer", "Paris"], "--answer: 'Paris' is 5 tokens, 'P' (id:80) 'a' (id:97) 'r' (id:114) "
     "'i' (id:105) 's' (id:115)"),
    (["--effect", "direct", "--answer", "id:999"], "--answer: the id 999 is not in the model's vocabulary"),
    (["--effect", "direct", "--answer", "=f", "--contrast", "id:102"],
     "the answer and the contrast are the same token, 'f'"),
])  # fmt: skip
def test_what_is_refused(arguments: list[str], message: str) -> None:
    found = attn(*INDUCTION, *arguments)
    assert (found.code, found.error[0]) == (2, message)


def test_a_model_without_a_head_has_no_direct_effects() -> None:
    found = attn("heads", "a cat sat", "--effect", "direct")
    if found.code == 3:
        pytest.skip("all-MiniLM-L6-v2 is not installed (extra offline)")
    message, hint = found.error
    assert message.startswith("--effect direct needs a language-model head")
    assert hint.startswith("use --effect zero,mean, which measure how its vector changes")
