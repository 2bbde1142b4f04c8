"""Pictures and sounds as files: what is read of them, and what is said of those that can't be."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attncli.errors import ExitCode, FailedError, ModelError
from attncli.models.files.model_files import open_files
from attncli.models.files.reference import parse_reference
from attncli.models.media.pictures import image_processor, prepare_picture, read_photo
from attncli.models.media.sounds import MAX_SAMPLES, cut_windows, feature_extractor, prepare_window, read_recording
from tests import senses


def png(width: int, height: int) -> bytes:
    """A file of a hundred bytes that claims to hold so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", size), chunk(b"IDAT", zlib.compress(b"\0" * 99)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def whole(tmp_path: Path, name: str = "whole.png") -> bytes:
    return senses.save_picture(tmp_path / name).read_bytes()


BROKEN = {
    "no picture": (lambda _: b"hello", "is not a picture that Pillow can read", "use a PNG"),
    "empty": (lambda _: b"", "is not a picture that Pillow can read", "use a PNG"),
    "cut short": (lambda path: whole(path)[:120], "is broken: ", "copy or download the file again"),
    "cut JPEG": (lambda path: whole(path, "x.jpg")[:300], "is broken: ", "copy or download the file again"),
    "bomb": (lambda _: png(60_000, 60_000), "has too many pixels: more than 89 million", "make it smaller"),
    "large": (lambda _: png(10_000, 9_000), "has too many pixels, 10,000 × 9,000", "make it smaller"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_picture_that_is_none_is_refused_in_a_sentence(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    content, message, hint = BROKEN[kind]
    path = tmp_path / "picture.png"
    path.write_bytes(content(tmp_path))
    with pytest.raises(FailedError, match=message) as caught:
        read_photo(path)
    assert caught.value.exit_code is ExitCode.FAILED
    assert hint in caught.value.hint
    assert caught.value.message.startswith(str(path))


@pytest.mark.parametrize(("name", "said"), [("nowhere.png", "no such file or directory"), (".", "is a directory")])
def test_a_file_that_can_not_be_read_says_why(name: str, said: str, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    with pytest.raises(FailedError, match=f"can't be read: {said}"):
        read_photo(tmp_path / name)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "I;16", "F"])
def test_every_kind_of_pixel_becomes_colours(mode: str, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "picture.tif"
    ramp = np.linspace(0, 1, 64).reshape(8, 8)
    if mode == "I;16":
        picture = image.fromarray((ramp * 65535).astype(np.uint16))
    elif mode == "F":
        picture = image.fromarray(ramp.astype(np.float32))
    else:
        picture = image.fromarray((ramp * 255).astype(np.uint8)).convert("RGB").convert(mode)
    picture.save(path)
    photo = read_photo(path)
    assert photo.pixels.shape == (8, 8, 3)
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels[0, 0].max() < 30 and photo.pixels[-1, -1].min() > 225


def test_what_is_transparent_lies_on_white(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_photo(tmp_path / "clear.png").pixels.min() == 255


def test_a_picture_stands_as_its_camera_was_held(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    picture = image.fromarray(senses.pixels(10, 30))
    picture.save(tmp_path / "turned.png", exif=exif)
    assert read_photo(tmp_path / "turned.png").pixels.shape == (30, 10, 3)


def test_of_several_pictures_the_first_is_taken_and_said(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    frames = [image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    photo = read_photo(tmp_path / "moving.gif")
    assert photo.pixels[0, 0].tolist() == [255, 0, 0]
    assert photo.notes == (f"{tmp_path / 'moving.gif'} contains 2 pictures, and the first one was used",)


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    from importlib.util import find_spec

    for module in ("attncli.models.media.pictures", "attncli.models.media.sounds"):
        monkeypatch.setattr(f"{module}.find_spec", lambda name: None if name in missing else find_spec(name))


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without(monkeypatch, "PIL", "soxr", "soundfile")
    with pytest.raises(FailedError, match="reading pictures needs the package Pillow") as caught:
        read_photo(tmp_path / "x.png")
    assert caught.value.hint == "pip install 'attncli[images]'"
    with pytest.raises(FailedError, match="reading sounds needs the packages soundfile and soxr") as caught:
        read_recording(tmp_path / "x.wav")
    assert caught.value.hint == "pip install 'attncli[audio]'"


def model_files(tmp_path: Path, settings: dict[str, Any] | None, name: str = "preprocessor_config.json") -> Any:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    if settings is not None:
        (tmp_path / name).write_text(json.dumps(settings))
    return open_files(parse_reference(str(tmp_path)))


@pytest.mark.parametrize(
    "named",
    [
        {"image_processor_type": "ViTImageProcessor"},
        {"image_processor_type": "ViTImageProcessorFast"},
        {"image_processor_type": "ViTImageProcessorPil"},
        {"feature_extractor_type": "ViTFeatureExtractor"},
        {},
    ],
)
def test_a_processor_of_any_name_is_the_one_for_pillow(named: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    settings = {**senses.PIXELS, "size": {"height": 8, "width": 8}}
    processor = image_processor(model_files(tmp_path, {**settings, **named}))
    assert type(processor).__name__ == "ViTImageProcessorPil"
    together = {"image_processor": {**settings, **named}, "processor_class": "X"}
    (tmp_path / "preprocessor_config.json").unlink()
    again = image_processor(model_files(tmp_path, together, "processor_config.json"))
    assert (type(again), again.size) == (type(processor), processor.size)


def test_a_model_that_does_not_say_how_pictures_are_made_ready(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    with pytest.raises(ModelError, match=r"has no preprocessor_config\.json, which says how pictures are preprocessed"):
        image_processor(model_files(tmp_path, None))
    with pytest.raises(ModelError, match="no NoSuchImageProcessor that works without torchvision"):
        image_processor(model_files(tmp_path, {"image_processor_type": "NoSuchImageProcessor"}))
    with pytest.raises(ModelError, match="doesn't say which feature extractor of transformers it needs"):
        feature_extractor(model_files(tmp_path, {"feature_extractor_type": "NoSuchFeatureExtractor"}))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 40), (40, 3), (1, 500)])
def test_pictures_of_odd_sizes_are_made_ready(height: int, width: int, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    photo = read_photo(senses.save_picture(tmp_path / "odd.png", height, width))
    made = prepare_picture(photo, image_processor(model_files(tmp_path, senses.SQUARE)))
    assert tuple(made.arguments["pixel_values"].shape) == (1, 3, 16, 16)
    assert made.pixels.shape == (16, 16, 3)


def sound_files(tmp_path: Path) -> dict[str, Path]:
    soundfile = pytest.importorskip("soundfile")
    pytest.importorskip("soxr")
    named = {name: tmp_path / f"{name}.wav" for name in ("empty", "cut", "text", "broken")}
    soundfile.write(named["empty"], np.zeros((0, 1)), 16000)
    named["cut"].write_bytes(senses.save_sound(tmp_path / "whole.wav").read_bytes()[:30])
    named["text"].write_text("hello")
    soundfile.write(named["broken"], np.full((100, 1), np.nan), 16000, subtype="FLOAT")
    return named


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "is empty: its length is 0"),
        ("cut", "is not a readable sound file"),
        ("text", "is not a readable sound file"),
        ("broken", "is broken: some samples are not numbers"),
    ],
)
def test_a_sound_that_is_none_is_refused_in_a_sentence(name: str, message: str, tmp_path: Path) -> None:
    path = sound_files(tmp_path)[name]
    with pytest.raises(FailedError, match=message) as caught:
        read_recording(path)
    assert caught.value.exit_code is ExitCode.FAILED


def test_a_sound_that_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    path = senses.save_sound(tmp_path / "long.wav", seconds=2)
    assert MAX_SAMPLES > 16000 * 3600
    monkeypatch.setattr("attncli.models.media.sounds.MAX_SAMPLES", 1000)
    with pytest.raises(FailedError, match="is too long"):
        read_recording(path)


def test_a_sound_longer_than_the_window_is_cut_into_windows(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    pytest.importorskip("soxr")
    recording = read_recording(senses.save_sound(tmp_path / "long.wav", seconds=2.5, rate=16000, channels=1))
    extractor = feature_extractor(model_files(tmp_path, senses.EARS))
    windows, notes = cut_windows(recording, extractor, truncate=False)
    assert [(window.start, window.end, window.seconds) for window in windows] == [(0, 1, 1), (1, 2, 1), (2, 2.5, 1)]
    assert [window.frames(extractor) for window in windows] == [100, 100, 50]
    assert notes == ()
    (first,), notes = cut_windows(recording, extractor, truncate=True)
    assert notes == ("the model reads 1 s: the first of 2.5 s",)
    heard = prepare_window(first, extractor, "long.wav")
    assert tuple(heard["input_features"].shape) == (1, 8, 100)
