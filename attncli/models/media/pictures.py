"""The settings by which a model's pictures or sounds are made ready for it.

A picture's file -> the pixels that a model takes, by its own image processor.

transformers has each processor twice, for torchvision and for Pillow; the ones for Pillow are used, so that torchvision
is never needed.

How a model cuts a picture into patches, and what it puts before them: read off its modules.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import nn

from attncli.errors import FailedError, ModelError, UsageError, reason_of
from attncli.models.capture.local_attention import window_side
from attncli.models.files.model_files import SETTINGS, processor_settings
from attncli.models.files.weight_headers import read_json

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles


#: Pixels beyond which a file is refused before it is unpacked: a few kilobytes may claim to be gigabytes.
MOST_PIXELS = 89_000_000

Pixels = npt.NDArray[np.uint8]


class Photo(NamedTuple):
    """A picture as it was read: uint8 (height, width, 3), and what a reader should know of how."""

    name: str
    pixels: Pixels
    notes: tuple[str, ...] = ()


class PreparedPicture(NamedTuple):
    """What a model is given: `pixel_values`, a float tensor (1, channels, height, width), and the same to look at."""

    values: Any
    seen: Pixels


def read_photo(path: str | Path) -> Photo:
    """A picture from a file: turned as its camera was held, on white where it is transparent, the first of several.

    Raises FailedError where Pillow is missing, and where the file can't be read, is no picture, was cut short or is
    too large.
    """
    if find_spec("PIL") is None:
        raise FailedError("reading pictures needs the package Pillow", hint="pip install 'attncli[images]'")
    from PIL import Image

    name = str(path)
    with warnings.catch_warnings():
        # It refuses what is larger still by itself.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as image:
                _refuse_huge(name, *image.size)
                return _photo(name, image)
        except Image.DecompressionBombError as error:
            raise _huge(name) from error
        except Image.UnidentifiedImageError as error:
            raise FailedError(
                f"{name} is no picture that Pillow can read", hint="--image takes a PNG, JPEG, WebP, GIF, BMP or TIFF"
            ) from error
        # A broken file may fail in whatever way its decoder does.
        except (OSError, SyntaxError, ValueError, ArithmeticError, LookupError, EOFError, MemoryError) as error:
            raise _unreadable(name, error) from error


def _refuse_huge(name: str, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise _huge(name, f", {width:,} × {height:,}")


def _huge(name: str, size: str = "") -> FailedError:
    return FailedError(
        f"{name} has too many pixels{size}: more than {MOST_PIXELS // 1_000_000} million",
        hint="make it smaller; models see some hundred pixels a side",
    )


def _unreadable(name: str, error: Exception) -> FailedError:
    if isinstance(error, OSError) and error.errno is not None:
        hint = "name the file of a picture with --image"
        return FailedError(f"{name} can't be read: {(error.strerror or reason_of(error)).lower()}", hint=hint)
    message = f"{name} is broken: {reason_of(error)}"
    return FailedError(message, hint="it may have been cut short: copy or fetch the file again")


def _photo(name: str, image: Any) -> Photo:
    from PIL import ImageOps

    frames = getattr(image, "n_frames", 1)
    notes = (f"{name} holds {frames:,} pictures, and the first was taken",) if frames > 1 else ()
    image.load()
    upright = ImageOps.exif_transpose(image)
    return Photo(name, _rgb(upright), notes)


def _rgb(image: Any) -> Pixels:
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        # More than 8 bits a pixel: what is darkest and what is brightest say how they are brought down.
        values = np.asarray(image, dtype=np.float64)
        low, high = values.min(), values.max()
        grey = (values - low) * (255 / (high - low) if high > low else 0)
        return np.repeat(grey.round().astype(np.uint8)[:, :, None], 3, axis=2)
    if "A" in image.mode or "transparency" in image.info:
        above = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", above.size, (255, 255, 255, 255)), above)
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def image_processor(files: ModelFiles) -> Any:
    """The image processor of a model, for Pillow.

    Raises ModelError where the model has none, and where it has one for torchvision alone which isn't installed.
    """
    settings = processor_settings(files, "image_processor")
    cls = _processor_class(settings, files)
    try:
        return cls.from_dict(settings)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        message = f"the image processor of {files.ref.name} can't be built: {reason_of(error)}"
        raise ModelError(message, hint=files.repair_hint) from error


def _processor_class(settings: dict[str, Any], files: ModelFiles) -> Any:
    import transformers

    names = [*_named(settings), *_usual(files)]
    if not names:
        raise ModelError(
            f"{SETTINGS} of {files.ref.name} names no image processor",
            hint="add its image_processor_type, such as ViTImageProcessor",
        )
    # The variant for Pillow has an ending of its own; a few processors come without it.
    for name in [f"{names[0]}Pil", names[0]]:
        cls = getattr(transformers, name, None)
        if cls is not None and not getattr(cls, "is_dummy", False):
            return cls
    raise ModelError(
        f"transformers {transformers.__version__} has no {names[0]} that works without torchvision",
        hint="pip install torchvision, or name another model (-m)",
    )


def _named(settings: dict[str, Any]) -> list[str]:
    """The name in the settings, without endings that stood for other backends; older files call it otherwise."""
    said = (settings.get("image_processor_type"), settings.get("feature_extractor_type"))
    names = [name.replace("FeatureExtractor", "ImageProcessor") for name in said if isinstance(name, str)]
    return [name.removesuffix("Fast").removesuffix("Pil") for name in names]


def _usual(files: ModelFiles) -> list[str]:
    """What models of this type use."""
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    config = read_json(files.require("config.json"), repair_hint=files.repair_hint)
    known = IMAGE_PROCESSOR_MAPPING_NAMES.get(str(config.get("model_type")), {})
    return [name.removesuffix("Pil") for name in known.values() if name]


def prepare_picture(photo: Photo, processor: Any) -> PreparedPicture:
    """The picture as a model takes it. processor: `image_processor`'s, or one of transformers that a user has loaded.

    Raises UsageError where the processor makes no pixels of it.
    """
    processor = getattr(processor, "image_processor", processor)
    try:
        made = processor(images=photo.pixels, input_data_format="channels_last", return_tensors="pt")
    except (TypeError, ValueError, ArithmeticError, RuntimeError, LookupError) as error:
        raise UsageError(
            f"{photo.name} can't be made ready for the model: {reason_of(error)}", hint="try another picture"
        ) from error
    values = made.get("pixel_values")
    if values is None or getattr(values, "ndim", 0) != 4:
        raise UsageError(
            "the model doesn't take pictures as one grid of pixels", hint="name a ViT, CLIP, Swin, BLIP or GIT model"
        )
    return PreparedPicture(values, _seen(values[0].float().numpy(), processor))


def _seen(values: npt.NDArray[np.float32], processor: Any) -> Pixels:
    """What the model sees, as colours again: (channels, height, width) -> (height, width, 3)."""
    if getattr(processor, "do_normalize", False):
        mean, std = (np.reshape(getattr(processor, name), (-1, 1, 1)) for name in ("image_mean", "image_std"))
        values = values * std + mean
    scale = 255 if getattr(processor, "do_rescale", True) else 1
    colours = np.clip(values * scale, 0, 255).round().astype(np.uint8).transpose(1, 2, 0)
    return colours if colours.shape[2] == 3 else np.repeat(colours[:, :, :1], 3, axis=2)


#: Parameters that stand for tokens before the patches, and what these are called, in the order of their places.
_BEFORE = (
    ("cls", ("cls_token", "class_token", "class_embedding", "class_embeds")),
    ("dist", ("distillation_token", "dist_token")),
    ("reg", ("register_tokens",)),
)


class PatchLayout(NamedTuple):
    """rows, columns: of patches.  before: the names of the tokens before them.  size: pixels a patch, (height, width).

    window: patches a side, where each attends to those of its own window alone.
    """

    rows: int
    columns: int
    before: tuple[str, ...]
    size: tuple[int, int]
    window: int | None


def patch_layout(module: nn.Module, height: int, width: int) -> PatchLayout | None:
    """The patches of a picture of so many pixels; None where no convolution cuts it."""
    found = next(_cutters(module), None)
    if found is None:
        return None
    path, conv = found
    rows, columns = (
        (pixels + 2 * padding - kernel) // stride + 1
        for pixels, padding, kernel, stride in zip(
            (height, width), _pair(conv.padding), conv.kernel_size, conv.stride, strict=True
        )
    )
    return PatchLayout(
        rows, columns, tuple(_before(module, path)), (conv.stride[0], conv.stride[1]), window_side(module)
    )


def _cutters(module: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    """The convolutions that read a picture's colours: the first in the order of the module tree is the patches'."""
    for path, part in module.named_modules():
        if isinstance(part, nn.Conv2d) and part.in_channels <= 4 and part.groups == 1:
            yield path, part


def _pair(padding: str | tuple[int, ...]) -> tuple[int, int]:
    return (0, 0) if isinstance(padding, str) else (padding[0], padding[-1])


def _before(module: nn.Module, cutter: str) -> Iterator[str]:
    """The tokens that stand in the same embeddings as the convolution does."""
    parents = cutter.split(".")[:-1]
    owners = [module.get_submodule(".".join(parents[:depth])) for depth in range(len(parents), -1, -1)]
    for name, synonyms in _BEFORE:
        held = (dict(owner.named_parameters(recurse=False)) for owner in owners)
        parameter = next((own[each] for own in held for each in synonyms if own.get(each) is not None), None)
        if parameter is not None:
            count = parameter.shape[-2] if parameter.ndim > 1 else 1
            yield from [name] if name != "reg" else [f"reg{number}" for number in range(count)]
