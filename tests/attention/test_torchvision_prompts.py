"""Families whose processors need torchvision: patterns and effects against transformers' own, and names of patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from attncli.api.heads import heads
from attncli.results.heads import HeadsResult, Stack
from tests import picture_chats, senses, torchvision_chats
from tests.picture_chats import Chat
from tests.torchvision_wheel import require_torchvision

pytest.importorskip("PIL")

TEXT, TOLERANCE = "a cat on the mat", 1e-4
SIZES = ((16, 24), (40, 20))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("torchvision")


@pytest.fixture(scope="module")
def paths(place: Path) -> Sequence[Path]:
    return [senses.save_picture(place / f"{height}.png", height, width) for height, width in SIZES]


@pytest.fixture(scope="module")
def chat(place: Path) -> Callable[[str], Chat]:
    require_torchvision()
    return picture_chats.opener(place, torchvision_chats.MODELS)


def stack_of(result: HeadsResult, name: str) -> Stack:
    return next(stack for stack in result.stacks if stack.stack == name)


def grid(rows: int, columns: int, before: str = "") -> list[str]:
    return [f"{before}{row},{column}" for row in range(rows) for column in range(columns)]


#: The tokens of pictures of 16 × 24 and of 40 × 20 pixels, the second of which is shrunk to 32 × 16.
NAMES = {
    "pixtral": [*grid(4, 6), *grid(8, 4, "2:")],
    "mistral3": [*grid(2, 3), *grid(4, 2, "2:")],  # 2 × 2 patches are merged
    "cohere2_vision": [
        *("0,0", "0,1", "1,0", "1,1", "0,2", "0,3", "1,2", "1,3"), *grid(2, 2, "view:"),
        *grid(2, 2, "2:"), *("2:2,0", "2:2,1", "2:3,0", "2:3,1"), *grid(2, 2, "2:view:"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("pictures", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_patterns_and_names(name: str, pictures: int, chat: Callable[[str], Chat], paths: Sequence[Path]) -> None:
    model = chat(name)
    result = heads(TEXT, image=paths[:pictures], model=model.folder, patterns=True)
    inputs = model.inputs(model.prompt(TEXT, pictures), SIZES[:pictures])
    expected, text = model.attentions(**inputs), stack_of(result, "text")
    for pattern in text.patterns:
        np.testing.assert_allclose(pattern.weights, expected[pattern.layer][0, pattern.head].numpy(), atol=TOLERANCE)
    picture_token = model.reference.config.image_token_id
    ids = inputs["input_ids"][0].tolist()
    named = [token.text for token, id_ in zip(text.queries, ids, strict=True) if id_ == picture_token]
    assert named == [name for name in NAMES[name] if pictures == 2 or not name.startswith("2:")]
    patches = [token.text for token in stack_of(result, "vision").queries]
    assert len(set(patches)) == len(patches) and all("," in patch for patch in patches)


@pytest.mark.parametrize("name", NAMES)
def test_effects(name: str, chat: Callable[[str], Chat], paths: Sequence[Path]) -> None:
    result = heads(TEXT, image=paths, model=chat(name).folder, effect="direct,zero")
    assert result.effects is not None and abs(result.effects.unexplained or 0.0) < TOLERANCE
    assert all(each.values["zero"] is not None for stack in result.stacks for each in stack.effects)
