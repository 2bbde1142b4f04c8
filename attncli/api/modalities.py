"""A picture or a sound for `heads`: read, made ready, and looked at, alone or with a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.errors import UsageError
from attncli.models.media.pictures import Photo, image_processor, prepare_picture, read_photo
from attncli.models.media.sounds import Recording, feature_extractor, prepare_sound, read_recording
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from torch import Tensor

    from attncli.attention.inputs import ModelInputs
    from attncli.attention.media_positions import Scene
    from attncli.attention.selection import HeadsRequest
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.loading.forward import Modality
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.results.heads import Stack
    from attncli.results.patterns import Picture
    from attncli.tokens.encode import EncodedText

#: Pixels of a side of the picture that a result keeps.
_PICTURE_PIXELS = 128


class MediaResult(NamedTuple):
    """What came of a look. notes: of what a model saw or heard."""

    stacks: tuple[Stack, ...]
    notes: tuple[str, ...]
    picture: Picture | None = None


class _PreparedMedia(NamedTuple):
    """What goes into the model beside a text, what it stands for, and what there is to say of it."""

    arguments: dict[str, Tensor]
    scene: Scene | None
    notes: tuple[str, ...]
    picture: Picture | None = None


@dataclass(frozen=True)
class MediaInput:
    """A picture or a sound that was read, and is not yet made ready for a model."""

    sense: Modality
    content: Photo | Recording

    def look(
        self,
        loaded: LoadedModel,
        files: ModelFiles | None,
        processor: Any,
        text: EncodedText | None,
        wanted: HeadsRequest,
        *,
        truncate: bool,
    ) -> MediaResult:
        """Run the model on it, and on the text if there is one; truncate: on as much as the model takes of both.

        Raises UsageError for a text that the model doesn't take, and for a layer, head or position that isn't there;
        ModelError where the model doesn't say how to make it ready, or can't be run on it.
        """
        from attncli.attention.inputs import with_scene
        from attncli.attention.stacks import collect, described

        ready = self._ready(loaded, files, processor, truncate=truncate)
        tokens = () if text is None else text.tokens
        inputs = with_scene(loaded, ready.arguments, ready.scene, tokens, truncate=truncate)
        collector = collect(loaded, inputs, wanted)
        (stacks,) = described(collector)
        return MediaResult(stacks, (*ready.notes, *_decoder_notes(text, inputs)), ready.picture)

    def _ready(
        self, loaded: LoadedModel, files: ModelFiles | None, processor: Any, *, truncate: bool
    ) -> _PreparedMedia:
        if processor is None:
            processor = self._processor(files)
        if isinstance(self.content, Photo):
            return _prepare_picture(self.content, loaded, processor)
        return _prepare_sound(self.content, loaded, processor, truncate=truncate)

    def _processor(self, files: ModelFiles | None) -> Any:
        if files is None:
            raise UsageError(
                f"a model that was handed over needs a processor for {self.sense}=",
                hint="pass processor= beside model=, such as transformers.AutoProcessor's",
            )
        return image_processor(files) if self.sense == "image" else feature_extractor(files)


def read_media(image: str | Path | None, audio: str | Path | None, *, beside: Mapping[str, bool]) -> MediaInput:
    """Read the picture or the sound, before torch is imported.

    beside: what does not go with one, and whether it was asked for.
    Raises UsageError for both, or for what does not go with one; what `read_photo` and `read_recording` raise.
    """
    if image is not None and audio is not None:
        raise UsageError("--image and --audio can't be combined", hint="give a picture, or a sound")
    name = "--image" if image is not None else "--audio"
    for other, asked in beside.items():
        if asked:
            raise UsageError(f"{name} goes with one text, or none", hint=f"leave {other} out, or {name}")
    if image is not None:
        return MediaInput("image", read_photo(image))
    assert audio is not None
    return MediaInput("audio", read_recording(audio))


def _prepare_picture(photo: Photo, loaded: LoadedModel, processor: Any) -> _PreparedMedia:
    from attncli.attention.media_positions import PictureScene
    from attncli.models.media.pictures import patch_layout
    from attncli.results.patterns import Picture

    values, seen = prepare_picture(photo, processor)
    height, width = seen.shape[:2]
    layout = patch_layout(loaded.module, height, width)
    before = f"{photo.pixels.shape[1]:,} × {photo.pixels.shape[0]:,}"
    note = f"{photo.name} ({before} pixels) as the model sees it: {width} × {height}"
    small = Picture(seen).resized(*(min(side, _PICTURE_PIXELS) for side in (height, width)))
    if layout is None:
        return _PreparedMedia({"pixel_values": values}, None, (*photo.notes, note), Picture(small))
    note += f", {layout.rows} × {layout.columns} patches of {layout.size[0]} × {layout.size[1]}"
    scene = PictureScene(layout.rows, layout.columns, layout.before, layout.window)
    return _PreparedMedia({"pixel_values": values}, scene, (*photo.notes, note), Picture(small))


def _prepare_sound(recording: Recording, loaded: LoadedModel, extractor: Any, *, truncate: bool) -> _PreparedMedia:
    from attncli.attention.media_positions import SoundScene

    heard = prepare_sound(recording, extractor, truncate=truncate)
    # Models of raw waves know how many samples they make one position of.
    samples = getattr(loaded.config, "inputs_to_logits_ratio", None)
    rate = getattr(getattr(extractor, "feature_extractor", extractor), "sampling_rate", None)
    step = samples / rate if isinstance(samples, int) and rate else None
    return _PreparedMedia(heard.arguments, SoundScene(heard.seconds, step), heard.notes)


def _decoder_notes(text: EncodedText | None, inputs: ModelInputs) -> tuple[str, ...]:
    given: tuple[Token, ...] = (inputs.target or inputs.main).tokens[0]
    # A start token before the text moves the others on.
    if text is not None and given[-1]._replace(index=0) != text.tokens[-1]._replace(index=0):
        return (f"the text was cut to the {len(given):,} tokens that the model takes",)
    if text is None and given:
        return ("the decoder was given its start token alone: a text is read as what it has written",)
    return ()
