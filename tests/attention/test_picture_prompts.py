"""Pictures whose tokens stand in a text: the patterns of tiny chat models against transformers' own on everything that
their processors return."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attncli.api.heads import heads
from attncli.errors import ModelError, UsageError
from attncli.models.chat.sandbox import Sandbox
from attncli.models.media.pictures import PatchLayout, merged_grid
from attncli.render.views.header import written_tokens
from attncli.results.heads import HeadsResult, Stack
from attncli.results.patterns import Pattern
from tests import picture_chats, senses
from tests.picture_chats import CHATTING, FAMILIES, Chat

pytest.importorskip("PIL")

TEXT = "a cat on the mat"
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("picture-chats")


@pytest.fixture(scope="module")
def picture(place: Path) -> Path:
    return senses.save_picture(place / "wide.png", 16, 24)


@pytest.fixture(scope="module")
def chat(place: Path) -> Callable[[str], Chat]:
    return picture_chats.opener(place)


@pytest.fixture(scope="module")
def run(chat: Callable[[str], Chat], picture: Path) -> Callable[[str], HeadsResult]:
    """A model's patterns on the text, with the picture before it and two tokens that it writes behind it."""
    return functools.cache(lambda name: heads(TEXT, image=picture, model=chat(name).folder, generate=2, patterns=True))


def stack_of(result: HeadsResult, name: str) -> Stack:
    return next(stack for stack in result.stacks if stack.stack == name)


def patterns_of(result: HeadsResult, name: str) -> Sequence[Pattern]:
    return next((stack.patterns for stack in result.stacks if stack.stack == name), ())


def assert_agree(result: HeadsResult, expected: Sequence[torch.Tensor]) -> None:
    """The text's stack, and its cross-attention to a picture, if there is one."""
    stacks = [stack for stack in result.stacks if stack.stack in ("text", "cross")]
    shown = {pattern.layer for stack in stacks for pattern in stack.patterns}
    assert shown == set(range(len(expected)))
    for pattern in (pattern for stack in stacks for pattern in stack.patterns):
        reference = expected[pattern.layer][0, pattern.head].numpy()
        np.testing.assert_allclose(pattern.weights, reference, atol=TOLERANCE)


@pytest.mark.parametrize("name", FAMILIES)
def test_everything_that_a_processor_returns_reaches_the_model(
    name: str, chat: Callable[[str], Chat], run: Callable[[str], HeadsResult]
) -> None:
    """The rows of the text, those of the tokens that are written after it, and these tokens themselves."""
    model, result = chat(name), run(name)
    inputs = model.inputs(model.prompt(TEXT))
    before = inputs["input_ids"].shape[1]
    written = model.reference.generate(
        **inputs, do_sample=False, max_new_tokens=2, return_dict_in_generate=True, output_attentions=True
    )
    assert [token.id for token in stack_of(result, "text").queries] == written.sequences[0].tolist()
    assert result.generated is not None
    assert list(result.generated.ids) == written.sequences[0, before:].tolist()
    for pattern in (pattern for name in ("text", "cross") for pattern in patterns_of(result, name)):
        for step, layers in enumerate(written.attentions):
            expected = layers[pattern.layer][0, pattern.head].numpy()
            rows = pattern.weights[:before] if step == 0 else pattern.weights[before + step - 1][None]
            # A cache with a sliding window holds the last keys; a picture looked at from outside has all its keys.
            last = before + step if pattern.weights.shape[0] == pattern.weights.shape[1] else None
            np.testing.assert_allclose(rows[:, :last][:, -expected.shape[1] :], expected, atol=TOLERANCE)
    placed = [note for note in result.notes if note.startswith("the picture was put before the text")]
    # PaliGemma's processor puts the picture there by itself.
    assert [name in CHATTING] * (name != "paligemma") == ["chat template" in note for note in placed]


@pytest.mark.parametrize("name", ["gemma3", "mllama"])
def test_a_picture_stands_where_the_text_says(name: str, chat: Callable[[str], Chat], picture: Path) -> None:
    model = chat(name)
    text = f"the mole {model.mark} a cat"
    result = heads(text, image=picture, model=model.folder, patterns=True)
    assert_agree(result, model.attentions(**model.inputs(text)))
    assert not any("stands before the text" in note for note in result.notes)
    assert [token.text for token in stack_of(result, "text").queries if token.word is not None] == [
        "the", "mole", "a", "cat"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["gemma3", "idefics3", "mllama"])
def test_ids_of_the_processor_are_taken_with_the_types_and_masks_of_its_tokens(
    name: str, chat: Callable[[str], Chat], picture: Path
) -> None:
    model = chat(name)
    inputs = model.inputs(f"{model.mark}{TEXT}")
    ids = inputs["input_ids"][0].tolist()
    result = heads(input_ids=ids, image=picture, model=model.folder, patterns=True)
    assert_agree(result, model.attentions(**inputs))


def test_the_tokens_of_a_picture_see_one_another_in_gemma_3(run: Callable[[str], HeadsResult]) -> None:
    text = stack_of(run("gemma3"), "text")
    first = [token.text for token in text.queries].index("0,0")
    pattern = next(pattern for pattern in text.patterns if (pattern.layer, pattern.head) == (0, 0))
    assert pattern.weights[first, first + 1 : first + 4].min() > 0.01
    assert pattern.weights[first, first + 4 :].max() == 0
    assert (text.causal, text.full) == (False, False)


def grid(rows: int, columns: int, before: str = "") -> list[str]:
    return [f"{before}{row},{column}" for row in range(rows) for column in range(columns)]


def tiles(*corners: tuple[int, int]) -> list[str]:
    """Tiles of 2 × 2 tokens, one after another."""
    return [f"{top + row},{left + column}" for top, left in corners for row in range(2) for column in range(2)]


#: Names of a picture of 16 × 24 pixels.
NAMES = {
    "gemma3": grid(2, 2),  # 4 × 4 patches, pooled by 2 × 2
    "llava": grid(4, 4),
    "paligemma": grid(4, 4),
    "qwen2_vl": grid(2, 3),  # 4 × 6, merged by 2 × 2
    "qwen2_5_vl": grid(2, 3),
    "qwen3_vl": grid(2, 3),
    # Two tiles beside one another, of 32 × 16 pixels; the picture is 24 wide in it. A token ends each row.
    "llava_next": [
        *grid(4, 4, "view:"),
        *(name for row in range(4) for name in [*grid(4, 6)[6 * row :][:6], "<image>"]),
    ],
    "idefics3": [*tiles((0, 0), (0, 2), (2, 0), (2, 2)), *grid(2, 2, "view:")],
    "internvl": [*tiles((0, 0), (0, 2)), *grid(2, 2, "view:")],
    "aya_vision": [*tiles((0, 0), (0, 2)), *grid(2, 2, "view:")],
    "mllama": ["<|image|>"],
}


@pytest.mark.parametrize("name", NAMES)
def test_tokens_of_a_picture_are_named_by_its_patches(
    name: str, chat: Callable[[str], Chat], run: Callable[[str], HeadsResult]
) -> None:
    picture_token = chat(name).reference.config.image_token_id
    shown = [token for token in stack_of(run(name), "text").queries if token.id == picture_token]
    assert [token.text for token in shown] == NAMES[name]
    assert not any(token.special for token in shown)


def test_keys_of_a_cross_attention_are_patches_of_tiles(run: Callable[[str], HeadsResult]) -> None:
    cross = stack_of(run("mllama"), "cross")
    (patches,) = cross.key_medium.pictures
    assert (patches.rows, patches.columns) == (4, 8)
    # Two tiles of 4 × 4 patches, each behind a class token.
    assert [key.token for key in cross.keys[:6]] == ["[CLS]", "0,0", "0,1", "0,2", "0,3", "1,0"]
    assert [key.token for key in cross.keys[17:20]] == ["[CLS]", "0,4", "0,5"]
    assert patches.places[4] == 18


@pytest.mark.parametrize("name", FAMILIES)
def test_two_pictures(name: str, chat: Callable[[str], Chat], place: Path) -> None:
    model, sizes = chat(name), ((16, 24), (40, 20))
    paths = [senses.save_picture(place / f"{height}.png", height, width) for height, width in sizes]
    result = heads(TEXT, image=paths, model=model.folder, patterns=True)
    assert_agree(result, model.attentions(**model.inputs(model.prompt(TEXT, 2), sizes)))
    stack = stack_of(result, "cross" if name == "mllama" else "text")
    grids = stack.key_medium.pictures
    assert [each.picture for each in grids if not each.view] == [0, 1]
    assert len(result.pictures) == 2
    for each in grids:
        cells = [position for position in each.places if position is not None]
        named = [stack.keys[position].token for position in cells]
        assert named == [
            name
            for name, position in zip(grid(each.rows, each.columns, each.name), each.places, strict=True)
            if position is not None
        ]
    # The second picture is taller than wide; models that squeeze pictures into squares don't show it.
    if name not in ("gemma3", "llava", "paligemma", "llava_onevision"):
        assert grids[-1 if not grids[-1].view else -2].rows > grids[-1 if not grids[-1].view else -2].columns


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "internvl", "mllama"])
def test_effects_of_heads_on_what_is_said_of_a_picture(name: str, chat: Callable[[str], Chat], picture: Path) -> None:
    model = chat(name)
    result = heads(TEXT, image=picture, model=model.folder, effect="direct,zero", generate=1)
    assert result.effects is not None and result.effects.outcome.answer is not None
    assert abs(result.effects.unexplained or 0.0) < TOLERANCE
    # Zeroed by hand: the columns of the output projection that read the head.
    inputs = model.inputs(model.prompt(TEXT))
    layers = model.reference.model.language_model.layers
    projection = layers[0].self_attn.o_proj.weight
    head = next(
        each
        for stack in result.stacks
        for each in stack.effects
        if (stack.stack, each.layer, each.head) == ("text", 0, 1)
    )
    answer, outcomes = result.effects.outcome.answer.id, []
    kept = projection.detach().clone()
    for share in (1, 0):
        with torch.no_grad():
            projection[:, 8:16] = share * kept[:, 8:16]
            logits = model.reference(**inputs).logits[0, -1].double()
        outcomes.append(float(logits[answer] - logits.mean()))
    with torch.no_grad():
        projection.copy_(kept)
    assert outcomes[0] == pytest.approx(result.effects.outcome.value, abs=TOLERANCE)
    assert head.values["zero"] == pytest.approx(outcomes[0] - outcomes[1], abs=TOLERANCE)


def test_a_question_has_its_places_in_the_users_own_text(run: Callable[[str], HeadsResult]) -> None:
    tokens = stack_of(run("qwen2_vl"), "text").queries
    assert [TEXT[token.start : token.end] for token in tokens if token.start is not None] == TEXT.split()


def test_a_patch_among_the_tokens_of_a_text_is_a_position(chat: Callable[[str], Chat], picture: Path) -> None:
    result = heads(TEXT, image=picture, model=chat("qwen2_vl").folder, query="mat", key="1,2", stack="text")
    (stack,) = result.stacks
    assert stack.ranking is not None
    assert (stack.ranking.query.text, stack.ranking.key.text) == ("mat", "1,2")


def test_patches_of_one_picture_do_not_repeat_one_another(chat: Callable[[str], Chat], picture: Path) -> None:
    """Their tokens have one id."""
    text = stack_of(heads(image=picture, model=chat("llava").folder), "text")
    assert {head.values["duplicate"] for head in text.metrics} == {None}


def test_a_resampler_leaves_the_places_of_its_tokens_unknown() -> None:
    tower = {name: torch.nn.MultiheadAttention(4, 1) for name in ("vision_tower", "language_model")}
    plain = torch.nn.ModuleDict(tower)
    layout = PatchLayout(4, 4, (), (4, 4), None)
    assert merged_grid(plain, layout, 4) == (2, 2)
    assert merged_grid(plain, layout, 5) is None
    assert merged_grid(plain, PatchLayout(4, 6, (), (4, 4), None), 6) == (2, 3)
    for resampler in ("connector", "vision_resampler"):
        assert (
            merged_grid(torch.nn.ModuleDict({**tower, resampler: torch.nn.MultiheadAttention(4, 1)}), layout, 4) is None
        )


@pytest.mark.parametrize("name", ["llava", "qwen2_vl"])
def test_models_of_pictures_write_after_a_text_alone(name: str, chat: Callable[[str], Chat]) -> None:
    model = chat(name)
    result = heads(TEXT, model=model.folder, generate=3)
    ids = model.processor.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    expected = model.reference.generate(input_ids=ids, do_sample=False, max_new_tokens=3)
    assert result.generated is not None
    assert list(result.generated.ids) == expected[0, ids.shape[1] :].tolist()


def test_windows_of_a_tower_are_parts_of_one_layer(run: Callable[[str], HeadsResult]) -> None:
    """Qwen2.5-VL hands windows of 4 × 4 patches to the attention of its first layer one after another."""
    vision = stack_of(run("qwen2_5_vl"), "vision")
    assert (len(vision.layers), len(vision.queries)) == (2, 24)
    windows, whole = ([p.weights for p in vision.patterns if p.layer == layer] for layer in range(2))
    inside = np.zeros((24, 24), dtype=bool)
    inside[:16, :16] = inside[16:, 16:] = True
    for weights in windows:
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
        assert ((weights > 0) == inside).all()
    assert all((weights > 0).all() for weights in whole)


def test_a_tower_shows_all_crops(chat: Callable[[str], Chat], run: Callable[[str], HeadsResult]) -> None:
    """The small view and two tiles beside one another; none sees another."""
    model, vision = chat("llava_next"), stack_of(run("llava_next"), "vision")
    picture, view = vision.key_medium.pictures
    assert (picture.rows, picture.columns, view.rows, view.columns, view.name) == (4, 8, 4, 4, "view:")
    names = [token.token for token in vision.keys]
    assert names[:6] == ["[CLS]", "view:0,0", "view:0,1", "view:0,2", "view:0,3", "view:1,0"]
    assert names[17:20] == ["[CLS]", "0,0", "0,1"] and names[34:37] == ["[CLS]", "0,4", "0,5"]
    pixels = model.inputs(f"<image>{TEXT}")["pixel_values"][0]
    with torch.no_grad():
        expected = model.reference.model.vision_tower(pixels, output_attentions=True).attentions
    for pattern in vision.patterns:
        crops = torch.block_diag(*expected[pattern.layer][:, pattern.head])
        np.testing.assert_allclose(pattern.weights, crops.numpy(), atol=TOLERANCE)


def test_distances_in_a_tower_are_those_in_the_picture(run: Callable[[str], HeadsResult]) -> None:
    vision = stack_of(run("llava_next"), "vision")
    cells = {place: (grid.view, *divmod(cell, grid.columns))
             for grid in vision.key_medium.pictures for cell, place in enumerate(grid.places)}  # fmt: skip
    for pattern, head in zip(vision.patterns, vision.metrics, strict=True):
        rows = [
            sum(weight * float(np.hypot(cells[key][1] - here[1], cells[key][2] - here[2]))
                for key, weight in enumerate(pattern.weights[query]) if key in cells and cells[key][0] == here[0])
            for query, here in cells.items()
        ]  # fmt: skip
        assert head.values["distance"] == pytest.approx(np.mean(rows), abs=1e-3)
        beside = [pattern.weights[query, query + 1] for query, (_, _, column) in cells.items() if column % 4 != 3]
        assert head.values["next"] == pytest.approx(np.mean(beside), abs=TOLERANCE)


def test_a_tower_that_pads_its_tiles_names_the_patches(chat: Callable[[str], Chat], place: Path) -> None:
    paths = [senses.save_picture(place / f"tiles-{width}.png", 16, width) for width in (24, 16)]
    vision = stack_of(heads(TEXT, image=paths, model=chat("mllama").folder), "vision")
    names = [token.token for token in vision.keys]
    # Two tiles of 24 positions for each picture: a class token, 16 patches, padding. The second picture fills one.
    assert names[:3] == ["[CLS]", "0,0", "0,1"] and names[15:18] == ["3,2", "3,3", "[PAD]"]
    assert names[24:26] == ["[CLS]", "0,4"] and names[48:50] == ["[CLS]", "2:0,0"]
    assert set(names[73:]) == {"[PAD]"}
    assert all(token.special == token.token.startswith("[") for token in vision.keys)


@pytest.mark.parametrize("name", ["llava_next", "internvl", "idefics3"])
def test_towers_show_pictures_of_different_numbers_of_tiles(
    name: str, chat: Callable[[str], Chat], place: Path
) -> None:
    """Processors fill up with empty tiles, which models leave out."""
    paths = [senses.save_picture(place / f"square-{side}.png", side, width) for side, width in ((16, 32), (32, 32))]
    vision = stack_of(heads(TEXT, image=paths, model=chat(name).folder), "vision")
    assert [grid.name for grid in vision.key_medium.pictures] == ["", "view:", "2:", "2:view:"]
    first, _, second, _ = vision.key_medium.pictures
    assert (first.rows, second.rows) == (4, 8)
    named = [token.token for token in vision.keys if not token.special]
    assert len(named) == len(set(named)) == sum(grid.rows * grid.columns for grid in vision.key_medium.pictures)


def test_patterns_by_the_norm_of_values_read_the_text_whole(chat: Callable[[str], Chat], picture: Path) -> None:
    plain, weighted = (
        stack_of(
            heads(TEXT, image=picture, model=chat("llava").folder, head="text.1.2", norm_weighted=norm), "text"
        ).patterns[0]
        for norm in (False, True)
    )
    factors = weighted.weights[-1] / plain.weights[-1]
    np.testing.assert_allclose(weighted.weights, plain.weights * factors, atol=TOLERANCE)
    assert factors.std() > 0.01


def test_a_loaded_model_takes_its_processor_along_unchanged(chat: Callable[[str], Chat], picture: Path) -> None:
    model = chat("gemma3")
    given = {"image": picture, "model": model.reference, "processor": model.processor, "patterns": True}
    inputs = model.inputs(f"{model.mark}{TEXT}")
    words = model.processor.tokenizer
    assert_agree(heads(TEXT, tokenizer=words, **given), model.attentions(**inputs))
    assert_agree(heads(input_ids=inputs["input_ids"][0].tolist(), **given), model.attentions(**inputs))
    assert model.processor.tokenizer is words
    with pytest.raises(UsageError, match="doesn't combine texts and pictures"):
        heads(TEXT, tokenizer=words, **{**given, "processor": model.processor.image_processor})


def test_a_text_is_cut_only_behind_the_picture(chat: Callable[[str], Chat], picture: Path) -> None:
    model, long = chat("llava"), " ".join(["cat"] * 300)
    with pytest.raises(UsageError, match="and the model accepts at most 256"):
        heads(long, image=picture, model=model.folder)
    cut = heads(long, image=picture, model=model.folder, truncate=True)
    assert len(stack_of(cut, "text").queries) == 256
    assert "the text was truncated to the 256 tokens that the model accepts" in cut.notes


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "two places": (
        "llava",
        {"text": "<image> a <image>"},
        r"has 2 placeholders for pictures \(<image>\), and 1 picture was given",
    ),
    "no template": ("llava", {"text": "a cat", "chat": True}, "has no chat template"),
    "a video": ("qwen2_vl", {"text": "<|video_pad|> a"}, r"has a placeholder for a video: <\|video_pad\|>"),
    "ids without it": ("gemma3", {"input_ids": [1, 25]}, r"contain 0 picture tokens \(6\), and this picture needs 4"),
    "no room to write": ("llava", {"text": TEXT, "generate": 300}, "--generate 300 is too much"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_a_picture_is_refused(kind: str, chat: Callable[[str], Chat], picture: Path) -> None:
    name, given, message = REFUSED[kind]
    with pytest.raises(UsageError, match=message):
        heads(**given, image=picture, model=chat(name).folder)


def test_a_placeholder_without_a_picture_is_refused(chat: Callable[[str], Chat]) -> None:
    with pytest.raises(UsageError, match="has a placeholder for a picture, and no picture was given"):
        heads("a <image> cat", model=chat("llava").folder)


def test_a_template_that_never_ends_is_stopped(
    chat: Callable[[str], Chat], picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attncli.models.media.processors.Sandbox", functools.partial(Sandbox, seconds=0.2))
    model = chat("qwen2_vl")
    processor = picture_chats.qwen_processor()
    processor.chat_template = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    given = {"image": picture, "model": model.reference, "tokenizer": processor.tokenizer, "processor": processor}
    with pytest.raises(ModelError, match="which places the picture, takes too long") as caught:
        heads(TEXT, **given)
    assert caught.value.hint == "write <|image_pad|> in the text where the picture belongs"


def test_a_package_that_a_processor_lacks_is_named(
    tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", None)
    monkeypatch.setitem(picture_chats.MODELS, "smolvlm", (picture_chats.smolvlm, picture_chats.idefics3_processor))
    folder, _ = picture_chats.save("smolvlm", tmp_path)
    for name in ("processor_config.json", "preprocessor_config.json"):
        written = (folder / name).read_text()
        (folder / name).write_text(written.replace("Idefics3Processor", "SmolVLMProcessor"))
    with pytest.raises(ModelError) as caught:
        heads(TEXT, image=picture, model=folder)
    assert caught.value.message == f"the processor of {folder} needs the package num2words"
    assert caught.value.hint == "pip install num2words"


@pytest.mark.parametrize("name", ["llava", "mllama", "llava_next"])
def test_what_was_read_as_each_token_was_written(name: str, run: Callable[[str], HeadsResult]) -> None:
    """The mean over all heads of the row before the token, over the ordinary keys."""
    result = run(name)
    assert result.generated is not None
    for number, token in enumerate(result.generated.tokens):
        assert token.reading is not None and token.reading.key is not None and token.reading.head is not None
        stack = stack_of(result, token.reading.stack)
        assert token.reading.stack == ("cross" if name == "mllama" else "text")
        query = len(stack.queries) - len(result.generated.tokens) + number - 1
        rows = {(pattern.layer, pattern.head): pattern.weights[query] for pattern in stack.patterns}
        key = token.reading.key
        assert np.mean([row[key.index] for row in rows.values()]) == pytest.approx(key.weight, abs=TOLERANCE)
        assert stack.keys[key.index].text == key.text
        head = next(each for each in stack.metrics if each.name == token.reading.head.name)
        weight = rows[head.layer, head.head][token.reading.head.index]
        assert weight == pytest.approx(token.reading.head.weight, abs=TOLERANCE)


def test_a_text_is_written_out_with_its_pictures_as_one_token_each(
    chat: Callable[[str], Chat], run: Callable[[str], HeadsResult], place: Path
) -> None:
    one = stack_of(run("llava_next"), "text")
    assert [token.text for token in written_tokens(one)][:6] == ["<bos>", "[picture]", "<image>", "a", "cat", "on"]
    paths = [senses.save_picture(place / f"written-{side}.png", 16, side) for side in (16, 24)]
    two = stack_of(heads(TEXT, image=paths, model=chat("llava").folder), "text")
    assert [token.text for token in written_tokens(two)][:4] == ["<bos>", "[picture 1]", "[picture 2]", "a"]
    assert "[picture 1]" not in {token.text for token in two.keys}
