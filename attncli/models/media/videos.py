"""Reading the frames of videos, and the part of a processor that prepares them.

Frames come from what Pillow reads (animated GIF, PNG and WebP, a folder of pictures), and from other files where PyAV
is installed. transformers prepares them with torchvision.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncli.errors import FailedError, ModelError, UsageError, broken_package, reason_of
from attncli.models.files.model_files import PREPROCESSOR_FILE, PROCESSOR_FILE
from attncli.models.files.weight_headers import read_json
from attncli.models.loading.library_errors import library_errors
from attncli.models.media.pictures import (
    MAX_PIXELS,
    PROCESSOR_ERRORS,
    Photo,
    check_wanted_sizes,
    pixels_of,
    read_photo,
)

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles

#: A text and the number after it.
_NUMBERED = re.compile(r"(\D*)(\d*)")
_VIDEO_FILE = "video_preprocessor_config.json"

#: The most frames of a film, and pixels of all frames, that are read: models look at some hundred frames.
_MAX_FRAMES, _MAX_VIDEO_PIXELS = 4096, MAX_PIXELS * 10


@dataclass(frozen=True)
class Video:
    """Frames in order, all of one size. rate: frames per second, None where that is unknown."""

    name: str
    frames: tuple[Photo, ...]
    rate: float | None = None

    @property
    def metadata(self) -> dict[str, Any]:
        """What processors choose frames by."""
        count = len(self.frames)
        duration = None if self.rate is None else count / self.rate
        return {"total_num_frames": count, "fps": self.rate, "duration": duration, "frames_indices": list(range(count))}


def read_video(path: str | Path) -> Video:
    """Read the frames of an animated picture, of a folder of pictures by their names, or of a film.

    Raises FailedError if Pillow or what reads films is missing, and for a file that can't be read, is broken or has
    frames of several sizes.
    """
    name, place = str(path), Path(path)
    if place.is_dir():
        frames = tuple(read_photo(each) for each in _in_order(place))
        video = Video(name, frames)
    elif place.is_file() and not _is_picture(place):
        video = _read_film(name)
    else:
        read_photo(path)  # raises for what is no picture, broken or too large
        video = _read_animation(name)
    sizes = {frame.pixels.shape for frame in video.frames}
    if len(sizes) != 1:
        what = "has no frames" if not sizes else f"has frames of {len(sizes)} different sizes"
        raise FailedError(f"{name} {what}", hint="give an animated GIF or a folder of pictures of one size")
    return video


def _in_order(folder: Path) -> list[Path]:
    """The files of a folder by their names, numbers in them by their value: 2.png before 10.png."""
    shown = (each for each in folder.iterdir() if not each.name.startswith("."))
    return sorted(shown, key=lambda each: [(int(part or 0), text) for text, part in _NUMBERED.findall(each.name)])


def _is_picture(path: Path) -> bool:
    if find_spec("PIL") is None:
        return True  # `read_photo` says that it is missing
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path):
                return True
        except Image.UnidentifiedImageError:
            return False
        except Exception:
            return True


def _read_animation(name: str) -> Video:
    from PIL import Image, ImageSequence

    frames, seconds = [], 0.0
    with Image.open(name) as image:
        width, height = image.size
        if getattr(image, "n_frames", 1) * width * height > _MAX_VIDEO_PIXELS:
            raise FailedError(f"{name} has too many frames for its size", hint="make it shorter or smaller")
        hint = "copy or download it again"
        with library_errors(f"{name} is broken", hint, raised=FailedError, catch=PROCESSOR_ERRORS):
            for frame in ImageSequence.Iterator(image):
                frames.append(Photo(name, pixels_of(frame)))
                seconds += float(frame.info.get("duration") or 0) / 1000
    return Video(name, tuple(frames), len(frames) / seconds if seconds else None)


def _read_film(name: str) -> Video:
    if find_spec("av") is None:
        raise FailedError(
            f"{name} is no GIF, PNG or WebP and no folder of pictures; reading films needs the package av",
            hint="pip install av, or write its frames as pictures into a folder and name that",
        )
    av = import_module("av")
    try:
        with av.open(name) as container:
            stream = container.streams.video[0]
            rate = None if stream.average_rate is None else float(stream.average_rate)
            frames = tuple(Photo(name, frame.to_ndarray(format="rgb24")) for frame in _frames(container, name))
    except (OSError, ValueError, LookupError, av.error.FFmpegError) as error:
        raise FailedError(f"{name} can't be read as a video: {reason_of(error)}", hint="check the file") from error
    return Video(name, frames, rate)


def _frames(container: Any, name: str) -> Iterator[Any]:
    """The frames of a film. Raises FailedError where there are too many."""
    for number, frame in enumerate(container.decode(video=0), 1):
        if number > _MAX_FRAMES or number * frame.width * frame.height > _MAX_VIDEO_PIXELS:
            message = f"{name} has too many frames: more than {number - 1:,} of {frame.width} × {frame.height} pixels"
            raise FailedError(message, hint="make it shorter or smaller")
        yield frame


# --- The part of a processor


def video_processor(files: ModelFiles) -> Any:
    """The part of a model's processor that prepares videos, as its files describe it.

    Raises ModelError where transformers has none for the model, or torchvision is missing.
    """
    import transformers
    from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING_NAMES

    settings = _settings(files)
    config = read_json(files.require("config.json"), repair_hint=files.repair_hint)
    listed = VIDEO_PROCESSOR_MAPPING_NAMES.get(str(config.get("model_type")))
    name = settings.get("video_processor_type") or (listed or {}).get("torchvision")
    if listed is None and name is None:
        raise UsageError(f"{files.ref.name} reads no videos", hint="give frames as pictures: --image for each")
    try:
        cls: Any = getattr(transformers, str(name), None)
    except Exception as error:
        raise broken_package(error) or error from error
    if cls is None or getattr(cls, "is_dummy", False):
        raise ModelError(
            f"{files.ref.name} prepares videos with the package torchvision, which is not installed",
            hint="pip install torchvision, or give frames as pictures: --image for each",
        )
    with library_errors(f"{name} can't be built", files.repair_hint, catch=PROCESSOR_ERRORS):
        processor = cls.from_dict(settings)
        check_wanted_sizes(processor, files)
        return processor


def _settings(files: ModelFiles) -> dict[str, Any]:
    """The settings for videos, where transformers looks for them."""
    together = files.find(PROCESSOR_FILE)
    if together is not None:
        inner = read_json(together, repair_hint=files.repair_hint).get("video_processor")
        if isinstance(inner, dict):
            return inner
    path = next((path for name in (_VIDEO_FILE, PREPROCESSOR_FILE) if (path := files.find(name)) is not None), None)
    return {} if path is None else read_json(path, repair_hint=files.repair_hint)
