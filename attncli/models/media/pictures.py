"""Reading pictures from files, preparing them with a model's image processor, and how the model cuts them into patches.

transformers has each image processor twice, for torchvision and for Pillow; those for Pillow are used, so that
torchvision isn't needed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attncli.errors import FailedError, ModelError, UsageError, reason_of
from attncli.models.files.model_files import PREPROCESSOR_FILE, processor_settings
from attncli.models.files.weight_headers import read_model_config
from attncli.models.loading.library_errors import library_errors

if TYPE_CHECKING:
    from torch import nn

    from attncli.models.files.model_files import ModelFiles


#: Exceptions of processors that get settings or inputs that they can't use.
PROCESSOR_ERRORS = (
    TypeError,
    ValueError,
    ArithmeticError,
    RuntimeError,
    LookupError,
    AttributeError,
    ImportError,
    OSError,
    MemoryError,
)

#: The maximum number of pixels, checked before decoding: a file of some kilobytes may decode to gigabytes.
MAX_PIXELS = 89_000_000

Pixels = npt.NDArray[np.uint8]


class Photo(NamedTuple):
    """A picture from a file. pixels: uint8 (height, width, 3), RGB.  notes: about the conversion, for the user."""

    name: str
    pixels: Pixels
    notes: tuple[str, ...] = ()


class PreparedPicture(NamedTuple):
    """A model's input.

    arguments: all tensors that the processor returns, by name, the picture's (1, …) first.
    pixels: the picture as the model sees it, uint8 (height, width, 3), RGB; None for patches without their places.
    """

    arguments: dict[str, Any]
    pixels: Pixels | None


def read_photo(path: str | Path) -> Photo:
    """Read a picture: rotated by its EXIF orientation, transparent pixels on white, of several frames the first.

    Raises FailedError if Pillow is missing, and if the file can't be read, is no picture, was cut short or is too
    large.
    """
    if find_spec("PIL") is None:
        raise FailedError("reading pictures needs the package Pillow", hint="pip install 'attncli[images]'")
    from PIL import Image, ImageOps

    name = str(path)
    with warnings.catch_warnings():
        # Pillow only warns about pictures of this size, and raises for larger ones.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise _too_large_error(name, f", {width:,} × {height:,}")
                frames = getattr(image, "n_frames", 1)
                notes = (f"{name} contains {frames:,} pictures, and the first one was used",) if frames > 1 else ()
                image.load()
                return Photo(name, pixels_of(ImageOps.exif_transpose(image)), notes)
        except Image.DecompressionBombError as error:
            raise _too_large_error(name) from error
        except Image.UnidentifiedImageError as error:
            raise FailedError(
                f"{name} is not a picture that Pillow can read", hint="use a PNG, JPEG, WebP, GIF, BMP or TIFF file"
            ) from error
        # Decoders of broken files may raise any of these.
        except (OSError, SyntaxError, ValueError, ArithmeticError, LookupError, EOFError, MemoryError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                message = f"{name} can't be read: {(error.strerror or reason_of(error)).lower()}"
                raise FailedError(message, hint="check the path") from error
            message = f"{name} is broken: {reason_of(error)}"
            raise FailedError(message, hint="it may be incomplete: copy or download the file again") from error


def _too_large_error(name: str, size: str = "") -> FailedError:
    return FailedError(
        f"{name} has too many pixels{size}: more than {MAX_PIXELS // 1_000_000} million",
        hint="make it smaller; models use a few hundred pixels per side",
    )


def pixels_of(image: Any) -> Pixels:
    """A picture of Pillow as uint8 (height, width, 3), transparent pixels on white."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        # More than 8 bits per pixel: scaled so that the darkest pixel is 0 and the brightest 255.
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

    Raises ModelError if the model has none, or only one for torchvision, which isn't installed.
    """
    settings = processor_settings(files, "image_processor")
    cls = _processor_class(settings, files)
    what = f"the image processor of {files.ref.name} can't be built"
    with library_errors(what, files.repair_hint, catch=(TypeError, ValueError, KeyError, AttributeError)):
        processor = cls.from_dict(settings)
        check_wanted_sizes(processor, files)
    return processor


def check_wanted_sizes(processor: Any, files: ModelFiles) -> None:
    """Raise ModelError for settings by which every picture would be enlarged beyond any memory."""
    for name in ("size", "crop_size", "pad_size", "max_image_size"):
        sides = dict(getattr(processor, name, None) or {})
        numbers = [side for side in sides.values() if isinstance(side, int | float)]
        area = (sides.get("height") or 0) * (sides.get("width") or 0)
        if max([area, *numbers], default=0) > MAX_PIXELS:
            raise ModelError(
                f"{files.ref.name} asks for pictures of more than {MAX_PIXELS // 1_000_000} million pixels ({name})",
                hint=f"correct {name} in its {PREPROCESSOR_FILE}",
            )


def _processor_class(settings: dict[str, Any], files: ModelFiles) -> Any:
    import transformers
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    # Under its current or former key, without the suffix of a backend; else what transformers lists for the model type.
    values = (settings.get("image_processor_type"), settings.get("feature_extractor_type"))
    names = [name.replace("FeatureExtractor", "ImageProcessor") for name in values if isinstance(name, str)]
    config = read_model_config(files.require("config.json"), repair_hint=files.repair_hint)
    names += IMAGE_PROCESSOR_MAPPING_NAMES.get(str(config.get("model_type")), {}).values()
    names = [name.removesuffix("Fast").removesuffix("Pil") for name in names if name]
    if not names:
        raise ModelError(
            f"{PREPROCESSOR_FILE} of {files.ref.name} has no image processor",
            hint="add its image_processor_type, such as ViTImageProcessor",
        )
    # The variant for Pillow has a suffix; a few processors exist without it.
    for name in [f"{names[0]}Pil", names[0]]:
        cls = getattr(transformers, name, None)
        if cls is not None and not getattr(cls, "is_dummy", False):
            return cls
    raise ModelError(
        f"transformers {transformers.__version__} has no {names[0]} that works without torchvision",
        hint="pip install torchvision, or use another model (-m)",
    )


def prepare_picture(photo: Photo, processor: Any) -> PreparedPicture:
    """Run the image processor on a picture. processor: from `image_processor`, or one that the user has loaded.

    Raises UsageError if the processor fails or doesn't return one picture.
    """
    processor = getattr(processor, "image_processor", processor)
    what = f"{photo.name} can't be preprocessed for the model"
    with library_errors(what, "try another picture", raised=UsageError, catch=PROCESSOR_ERRORS):
        inputs = processor(images=photo.pixels, input_data_format="channels_last", return_tensors="pt")
    name = next((name for name in ("pixel_values", "flattened_patches") if name in inputs), None)
    values = inputs.get(name)
    if name is None or getattr(values, "ndim", 0) not in (3, 4) or len(values) != 1:
        raise UsageError(
            "the model doesn't accept a picture as one grid of pixels", hint="use a ViT, CLIP, Swin, BLIP or GIT model"
        )
    pixels = denormalize(values[0].float().numpy(), processor) if values.ndim == 4 else None
    return PreparedPicture({name: values, **inputs}, pixels)


def denormalize(values: npt.NDArray[np.float32], processor: Any) -> Pixels:
    """The model's input as colours: (channels, height, width) → (height, width, 3)."""
    processor = getattr(processor, "image_processor", processor)
    if getattr(processor, "do_normalize", False):
        mean, std = (np.reshape(getattr(processor, name), (-1, 1, 1)) for name in ("image_mean", "image_std"))
        values = values * std + mean
    scale = 255 if getattr(processor, "do_rescale", True) else 1
    colours = np.clip(values * scale, 0, 255).round().astype(np.uint8).transpose(1, 2, 0)
    return colours if colours.shape[2] == 3 else np.repeat(colours[:, :, :1], 3, axis=2)


# --- Patches

#: Tokens before the patches, in order, and the names of their parameters.
_PREFIX_TOKENS = (
    ("cls", ("cls_token", "class_token", "class_embedding", "class_embeds")),
    ("dist", ("distillation_token", "dist_token")),
    ("reg", ("register_tokens",)),
)


class PatchLayout(NamedTuple):
    """The sequence of patches that a model makes of a picture.

    rows, columns: of patches.  prefix_tokens: the names of the tokens before them.  size: (height, width) of a patch in
    pixels.  window: side of a window in patches, if patches attend only within windows (Swin).
    """

    rows: int
    columns: int
    prefix_tokens: tuple[str, ...]
    size: tuple[int, int]
    window: int | None


def patch_layout(module: nn.Module, height: int, width: int) -> PatchLayout | None:
    """The patches of a picture of this size in pixels; None if the model has no patch convolution."""
    from torch import nn

    from attncli.models.capture.local_attention import window_side  # imports torch

    for path, conv in module.named_modules():
        # With up to 4 input channels; the first in the module tree is the patch embedding.
        if isinstance(conv, nn.Conv2d) and conv.in_channels <= 4 and conv.groups == 1:
            padding = (0, 0) if isinstance(conv.padding, str) else (conv.padding[0], conv.padding[-1])
            rows, columns = (
                (pixels + 2 * around - kernel) // stride + 1
                for pixels, around, kernel, stride in zip(
                    (height, width), padding, conv.kernel_size, conv.stride, strict=True
                )
            )
            size = (conv.stride[0], conv.stride[1])
            return PatchLayout(rows, columns, tuple(_prefix_tokens(module, path)), size, window_side(module))
    return None


def count_crops(values: Any) -> int:
    """How many pictures a model makes of one: pixel values (…, channels, height, width), or patches, flattened."""
    return math.prod(values.shape[:-3])


def pixel_values(arguments: Mapping[str, Any]) -> Any:
    """The pixels that a processor has prepared, of pictures or of a video; None for neither."""
    return arguments.get("pixel_values", arguments.get("pixel_values_videos"))


def patch_grid_sizes(arguments: Mapping[str, Any]) -> Any:
    """How many frames (1 of a picture), rows and columns of patches each picture or video has, (n, 3), where a
    processor flattens the patches; else None."""
    return arguments.get("image_grid_thw", arguments.get("video_grid_thw"))


def layout_in_text(module: nn.Module, arguments: Mapping[str, Any], processor: Any) -> PatchLayout | None:
    """The patches of a picture whose tokens stand in a text, or of one crop of it; None if unknown.

    arguments: what the processor returned. Some processors (Qwen2-VL's) flatten the patches, and say how many rows and
    columns of them there are.
    """
    grid, values = patch_grid_sizes(arguments), pixel_values(arguments)
    if grid is not None and len(grid) == 1:
        _, rows, columns = grid[0].tolist()
        side = getattr(getattr(processor, "image_processor", None), "patch_size", 0)
        return PatchLayout(rows, columns, (), (side, side), None)
    return None if values is None or values.ndim < 4 else patch_layout(module, *values.shape[-2:])


def merged_grid(module: nn.Module, layout: PatchLayout, tokens: int) -> tuple[int, int] | None:
    """The rows and columns of the tokens that a model makes of its patches, merging squares of them; None if unknown.

    A resampler attends to patches with queries of its own, which stand for no place in the picture.
    """
    from attncli.models.capture.structure import is_attention, stack_word  # imports torch

    paths = [path for path, part in module.named_modules() if is_attention(part)]
    # The paths up to the part whose name says that it is a tower.
    names = [path.split(".") for path in paths if stack_word(path) == "vision"]
    parts = ((".".join(each[:end]) for end in range(1, len(each) + 1)) for each in names)
    towers = {next(part for part in each if stack_word(part) == "vision") for each in parts}
    if len(towers) > 1 or any(stack_word(path) not in ("vision", "audio", "text") for path in paths):
        return None
    sides = (side for side in range(1, layout.rows + 1) if layout.rows % side == layout.columns % side == 0)
    grids = ((layout.rows // side, layout.columns // side) for side in sides)
    return next((grid for grid in grids if grid[0] * grid[1] == tokens), None)


def _prefix_tokens(module: nn.Module, convolution: str) -> Iterator[str]:
    """The tokens whose parameters are in the same embedding module as the patch convolution, or above it."""
    parents = convolution.split(".")[:-1]
    owners = [module.get_submodule(".".join(parents[:depth])) for depth in range(len(parents), -1, -1)]
    for name, synonyms in _PREFIX_TOKENS:
        parameters = (dict(owner.named_parameters(recurse=False)) for owner in owners)
        parameter = next((held[each] for held in parameters for each in synonyms if held.get(each) is not None), None)
        if parameter is not None:
            count = parameter.shape[-2] if parameter.ndim > 1 else 1
            yield from [name] if name != "reg" else [f"reg{number}" for number in range(count)]
