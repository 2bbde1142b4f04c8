"""Videos whose frames are tokens of a text: patterns against transformers' own, names of patches, and reading."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from attncli.api.heads import heads
from attncli.errors import FailedError, ModelError, UsageError
from attncli.models.media import videos
from attncli.models.media.videos import read_video
from attncli.results.heads import HeadsResult, Stack
from tests import picture_chats, senses
from tests.picture_chats import FIXED
from tests.torchvision_wheel import require_torchvision

Image = pytest.importorskip("PIL.Image")

TEXT, TOLERANCE = "a cat on the mat", 1e-4
_PATCHES = {"patch_size": 4, "merge_size": 2, "size": {"shortest_edge": 64, "longest_edge": 24 * 16 * 40}}
#: The part of each family's processor that prepares videos, and its settings.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2_vl": ("Qwen2VLVideoProcessor", _PATCHES),
    "qwen2_5_vl": ("Qwen2VLVideoProcessor", _PATCHES),
    "qwen3_vl": ("Qwen3VLVideoProcessor", {**_PATCHES, "size": {"shortest_edge": 64, "longest_edge": 24 * 16 * 100}}),
    "llava_onevision": ("LlavaOnevisionVideoProcessor", FIXED),
    "internvl": ("InternVLVideoProcessor", FIXED),
}


def pictures(count: int = 6) -> list[Any]:
    return [Image.fromarray(np.roll(senses.pixels(16, 24), 3 * number, axis=1)) for number in range(count)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def clip(place: Path) -> Path:
    """Six frames of 16 × 24 pixels, two a second."""
    first, *others = pictures()
    first.save(place / "clip.png", save_all=True, append_images=others, duration=500)
    return place / "clip.png"


class Model:
    """A saved model with its whole processor, and transformers' own of it under eager attention."""

    def __init__(self, name: str, place: Path) -> None:
        require_torchvision()
        self.folder, processor = picture_chats.save(name, place)
        cls, settings = FAMILIES[name]
        eyes = getattr(transformers, cls)(**settings)
        (self.folder / "video_preprocessor_config.json").write_text(json.dumps(eyes.to_dict(), default=str))
        processor.video_processor = eyes
        self.processor = processor
        own = getattr(transformers, transformers.AutoConfig.from_pretrained(self.folder).architectures[0])
        self.reference = own.from_pretrained(self.folder, attn_implementation="eager").eval()

    def inputs(self, text: str, clip: Path) -> dict[str, torch.Tensor]:
        content = [{"type": "video"}, {"type": "text", "text": text}]
        written = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        film = read_video(clip)
        frames = np.stack([frame.pixels for frame in film.frames])
        found = self.processor(videos=[frames], text=[written], video_metadata=[film.metadata], return_tensors="pt",
                               add_special_tokens=False)  # fmt: skip
        return dict(found)


@pytest.fixture(scope="module")
def model(place: Path) -> Callable[[str], Model]:
    models: dict[str, Model] = {}

    def find(name: str) -> Model:
        if name not in models:
            models[name] = Model(name, place)
        return models[name]

    return find


def stack_of(result: HeadsResult, name: str) -> Stack:
    return next(stack for stack in result.stacks if stack.stack == name)


def grid(frame: int, rows: int, columns: int) -> list[str]:
    before = "" if frame == 0 else f"{frame + 1}:"
    return [f"{before}{row},{column}" for row in range(rows) for column in range(columns)]


@pytest.mark.parametrize("name", FAMILIES)
def test_patterns_over_frames_equal_those_of_transformers(name: str, model: Callable[[str], Model], clip: Path) -> None:
    own = model(name)
    result = heads(TEXT, video=clip, model=own.folder, patterns=True)
    inputs = own.inputs(TEXT, clip)
    text = stack_of(result, "text")
    assert [token.id for token in text.queries] == inputs["input_ids"][0].tolist()
    with torch.no_grad():
        expected = own.reference(**inputs, output_attentions=True, use_cache=False).attentions
    for pattern in text.patterns:
        np.testing.assert_allclose(pattern.weights, expected[pattern.layer][0, pattern.head].numpy(), atol=TOLERANCE)


#: The names of the tokens of the frames. Qwen's models take two frames at a time.
NAMES = {
    "qwen2_vl": [name for frame in range(3) for name in grid(frame, 2, 3)],
    "qwen2_5_vl": [name for frame in range(3) for name in grid(frame, 2, 3)],
    "qwen3_vl": [name for frame in range(3) for name in grid(frame, 2, 3)],
    # 4 × 4 patches, pooled; the model ends a video with a token of its own.
    "llava_onevision": [*(name for frame in range(6) for name in grid(frame, 2, 2)), "<video>"],
    "internvl": [name for frame in range(6) for name in grid(frame, 2, 2)],
}


@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_of_frames_are_named_by_their_patches(name: str, model: Callable[[str], Model], clip: Path) -> None:
    own = model(name)
    result = heads(TEXT, video=clip, model=own.folder)
    config, text = own.reference.config, stack_of(result, "text")
    identifier = getattr(config, "video_token_id", None) or config.image_token_id
    ids = own.inputs(TEXT, clip)["input_ids"][0].tolist()
    shown = [token.text for token, id_ in zip(text.queries, ids, strict=True) if id_ == identifier]
    assert shown == NAMES[name]
    assert len(result.pictures) == len(NAMES[name]) // (6 if "qwen" in name else 4)
    assert any("the second frame 2:ROW,COLUMN" in note for note in result.notes)


def test_frames_that_a_model_takes_together_show_the_first_of_them(model: Callable[[str], Model], clip: Path) -> None:
    result = heads(TEXT, video=clip, model=model("qwen2_vl").folder)
    for number, shown in enumerate(result.pictures):
        np.testing.assert_array_equal(shown.pixels, np.asarray(pictures()[2 * number]))


def test_a_word_reads_each_frame(model: Callable[[str], Model], clip: Path) -> None:
    result = heads(TEXT, video=clip, model=model("llava_onevision").folder, query="mat", key="3:1,0", stack="text")
    (stack,) = result.stacks
    assert stack.ranking is not None and stack.ranking.key.text == "3:1,0"


def test_effects_over_frames(model: Callable[[str], Model], clip: Path) -> None:
    for name in ("qwen2_vl", "llava_onevision"):
        result = heads(TEXT, video=clip, model=model(name).folder, effect="direct,zero", generate=2)
        assert result.effects is not None and abs(result.effects.unexplained or 0.0) < TOLERANCE
        assert all(each.values["zero"] is not None for stack in result.stacks for each in stack.effects)


# --- Reading


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "folder"])
def test_frames_of_every_form_are_read(kind: str, tmp_path: Path) -> None:
    first, *others = pictures(3)
    path = tmp_path / f"clip.{kind}"
    if kind == "folder":
        path.mkdir()
        for number, frame in enumerate((first, *others)):
            frame.save(path / f"{number:03}.png")
    else:
        lossless: dict[str, Any] = {"lossless": True} if kind == "webp" else {}
        first.save(path, save_all=True, append_images=others, duration=250, **lossless)
    video = read_video(path)
    assert video.rate == (None if kind == "folder" else 4)
    assert len(video.frames) == 3
    for frame, own in zip(video.frames, (first, *others), strict=True):
        allowed = 40 if kind == "gif" else 0  # of 256 colours
        np.testing.assert_allclose(frame.pixels.astype(int), np.asarray(own).astype(int), atol=allowed)


def test_what_is_no_video_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(64))
    find = videos.find_spec
    monkeypatch.setattr(videos, "find_spec", lambda name: None if name == "av" else find(name))
    with pytest.raises(FailedError, match=r"film.mp4 is no GIF, PNG or WebP .* needs the package av") as caught:
        read_video(film)
    assert caught.value.hint.startswith("pip install av")
    (tmp_path / "none").mkdir()
    with pytest.raises(FailedError, match="none has no frames"):
        read_video(tmp_path / "none")
    for number, frame in enumerate((pictures(1)[0], Image.new("RGB", (4, 4)))):
        (tmp_path / "mixed").mkdir(exist_ok=True)
        frame.save(tmp_path / "mixed" / f"{number}.png")
    with pytest.raises(FailedError, match="has frames of 2 different sizes"):
        read_video(tmp_path / "mixed")
    with pytest.raises(FailedError, match="can't be read: no such file"):
        read_video(tmp_path / "absent.gif")


def test_a_film_is_read_where_its_package_is_installed(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for shade in (0, 100, 200):
            frame = av.VideoFrame.from_ndarray(np.full((16, 32, 3), shade, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    video = read_video(path)
    assert video.rate == 5
    assert [round(float(frame.pixels.mean()), -1) for frame in video.frames] == [0, 100, 200]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(FailedError, match="can't be read as a video"):
        read_video(path)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a picture's place": ("qwen2_vl", {"text": "<|image_pad|> a"}, r"has a placeholder for a picture: <\|image_pad\|>"),
    "two places": ("qwen2_vl", {"text": "<|video_pad|> <|video_pad|>"}, "has 2 placeholders for videos"),
    "a picture too": ("qwen2_vl", {"image": "x.png"}, "--image and --video can't be combined"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_a_video_is_refused(kind: str, model: Callable[[str], Model], clip: Path) -> None:
    name, given, message = REFUSED[kind]
    with pytest.raises(UsageError, match=message):
        heads(**{"text": TEXT, **given}, video=clip, model=model(name).folder)


def test_models_without_videos_say_so(tmp_path: Path, clip: Path) -> None:
    folder, _ = picture_chats.save("gemma3", tmp_path)
    with pytest.raises(UsageError, match="reads no videos") as caught:
        heads(TEXT, video=clip, model=folder)
    assert caught.value.hint == "give frames as pictures: --image for each"


def test_without_torchvision_the_package_is_named(tmp_path: Path, clip: Path) -> None:
    if find_spec("torchvision") is not None:
        pytest.skip("torchvision is installed")
    folder, _ = picture_chats.save("qwen2_vl", tmp_path)
    with pytest.raises(ModelError, match="prepares videos with the package torchvision") as caught:
        heads(TEXT, video=clip, model=folder)
    assert caught.value.hint.startswith("pip install torchvision")
