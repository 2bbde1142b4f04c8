"""Run `heads` on a picture or a sound, alone or with a text.

Models that chat about pictures read one as tokens of a text; others get it by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.api.heads_input import HeadsInput
from attncli.api.heads_single import full_depth, heads_result
from attncli.api.loading import ModelLoader, model_limits, require_files
from attncli.api.picture_prompts import PICTURE_PIXELS, PicturePrompts, run_picture_prompt
from attncli.api.sound_input import decoder_notes, run_sound
from attncli.errors import UsageError
from attncli.models.media.pictures import Photo, image_processor, prepare_picture, read_photo
from attncli.models.media.processors import load_processor
from attncli.models.media.sounds import Recording, read_recording
from attncli.models.media.videos import Video, read_video
from attncli.results.patterns import Picture
from attncli.tokens.encode import EncodedText

if TYPE_CHECKING:
    from torch import Tensor

    from attncli.attention.effects.request import EffectsPlan
    from attncli.attention.inputs import MediaPositions, ModelInputs
    from attncli.attention.selection import HeadsRequest
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.results.heads import HeadsResult


class _MediaInputs(NamedTuple):
    """A model's inputs, and for the result: notes and the picture."""

    inputs: ModelInputs
    notes: tuple[str, ...]
    picture: Picture | None = None


def run_media(
    inputs: HeadsInput, loader: ModelLoader, request: HeadsRequest, incompatible: Mapping[str, bool]
) -> HeadsResult:
    """Run the model on pictures or a sound, on the text if there is one, and on what it writes after them.

    incompatible: options that can't be combined with one, and whether each was given.
    Raises UsageError for a text that the model doesn't take and for a layer, head or position that doesn't exist;
    ModelError where the model has no preprocessor configuration or can't be run on it.
    """
    content = _read_media(inputs, incompatible)
    if isinstance(content, Recording):
        return run_sound(content, inputs, loader, request)
    is_video = isinstance(content, Video)
    files = loader.files()
    model_limits(files).check_selection(request.selection)
    encoded = None
    asks = inputs.text is not None or inputs.input_ids is not None
    writes, plan = inputs.generate is not None, request.effects
    depth = full_depth(request.selection) if writes or plan is not None else request.selection.depth
    if asks:
        encoded = inputs.encode(loader.find_tokenizer(files, needed=inputs.input_ids is None))
    loaded = loader.load(files, depth, writes=writes, predicts=plan is not None, modality="image")
    if loaded.picture_token is not None:
        processor = inputs.processor
        if processor is None:
            processor = load_processor(require_files(files, "image"), videos=is_video)
        return run_picture_prompt(PicturePrompts(content, loaded, processor, inputs), files, loader.progress, request)
    _refuse_in_media(content, inputs, plan, loaded)
    assert not isinstance(content, Video)
    found = _media_inputs(content[0], loaded, files, inputs, encoded)
    from attncli.attention.stacks import collect

    stacks = tuple(stack.build() for stack in collect(loaded, found.inputs, request))
    result = heads_result(loaded, stacks, request, warnings=(), notes=found.notes)
    return replace(result, picture=found.picture)


def _read_media(inputs: HeadsInput, incompatible: Mapping[str, bool]) -> tuple[Photo, ...] | Video | Recording:
    """Read the pictures, the video or the sound from their files, without importing torch.

    Raises UsageError for two of them, or for an incompatible option, and as `read_photo`, `read_video` and
    `read_recording` do.
    """
    image = inputs.image
    media = {"--image": image, "--video": inputs.video, "--audio": inputs.audio}
    name, *others = [flag for flag, value in media.items() if value is not None]
    if others:
        raise UsageError(f"{name} and {others[0]} can't be combined", hint="leave one of them out")
    for other, is_given in incompatible.items():
        if is_given:
            raise UsageError(f"{name} can't be combined with {other}", hint=f"leave {other} or {name} out")
    if inputs.video is not None:
        return read_video(inputs.video)
    if image is None:
        return read_recording(inputs.audio)
    paths = tuple(image) if isinstance(image, list | tuple) else (image,)
    if not paths:
        raise UsageError("no pictures were given", hint="give the path of a picture with --image")
    return tuple(read_photo(path) for path in paths)


def _refuse_in_media(
    content: tuple[Photo, ...] | Video, inputs: HeadsInput, plan: EffectsPlan | None, loaded: LoadedModel
) -> None:
    """Raise UsageError for what needs a model that reads pictures as tokens of a text."""
    if isinstance(content, Video):
        raise UsageError(f"{loaded.class_name} doesn't chat about videos", hint="give one of its frames with --image")
    if len(content) > 1:
        raise UsageError(
            f"{len(content)} pictures were given, and {loaded.class_name} reads one", hint="give --image once"
        )
    if inputs.chat:
        raise UsageError(f"{loaded.class_name} doesn't chat about pictures", hint="leave --chat out")
    if plan is not None:
        raise UsageError(
            f"effects can't be measured with --image in {loaded.class_name}: its text has no tokens for a picture",
            hint="leave --image out, or use a model that chats about pictures (-m)",
        )


# --- A picture by itself


class _PreparedMedia(NamedTuple):
    """The model's arguments for a picture, what their positions stand for, and notes for the user."""

    arguments: dict[str, Tensor]
    scene: MediaPositions | None
    notes: tuple[str, ...]
    picture: Picture | None = None


def _media_inputs(
    content: Photo, loaded: LoadedModel, files: ModelFiles | None, inputs: HeadsInput, text: EncodedText | None
) -> _MediaInputs:
    """A model's inputs for a picture, and for the text that its decoder reads, if there is one."""
    from attncli.attention.inputs import build_media_inputs

    if inputs.generate is not None:
        raise UsageError(
            f"{loaded.class_name} can't generate text with --image: its text has no tokens for a picture",
            hint="leave --generate or --image out",
        )
    processor, truncate = inputs.processor, inputs.encoding.truncate
    if processor is None:
        processor = image_processor(require_files(files, "image"))
    prepared = _prepare_picture(content, loaded, processor)
    tokens = () if text is None else text.tokens
    given = build_media_inputs(loaded, prepared.arguments, prepared.scene, tokens, truncate=truncate)
    return _MediaInputs(given, (*prepared.notes, *decoder_notes(text, given)), prepared.picture)


def _prepare_picture(photo: Photo, loaded: LoadedModel, processor: Any) -> _PreparedMedia:
    from attncli.attention.inputs import PicturePositions, UnnamedPositions
    from attncli.models.media.pictures import patch_layout
    from attncli.results.patterns import Picture

    found, pixels = prepare_picture(photo, processor)
    arguments = {name: value for name, value in found.items() if name in loaded.all_arguments}
    if pixels is None:
        return _PreparedMedia(arguments, UnnamedPositions(), photo.notes)
    height, width = pixels.shape[:2]
    layout = patch_layout(loaded.module, height, width)
    before = f"{photo.pixels.shape[1]:,} × {photo.pixels.shape[0]:,}"
    note = f"{photo.name} ({before} pixels), as the model gets it: {width} × {height}"
    small = Picture(pixels).resized(*(min(side, PICTURE_PIXELS) for side in (height, width)))
    if layout is None:
        return _PreparedMedia(arguments, None, (*photo.notes, note), Picture(small))
    note += f", {layout.rows} × {layout.columns} patches of {layout.size[0]} × {layout.size[1]}"
    scene = PicturePositions(layout.rows, layout.columns, layout.prefix_tokens, layout.window)
    return _PreparedMedia(arguments, scene, (*photo.notes, note), Picture(small))
