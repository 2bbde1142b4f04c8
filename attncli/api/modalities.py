"""Run a model on a picture or a sound, alone or with a text, for `heads`."""

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

    from attncli.attention.inputs import MediaPositions, ModelInputs
    from attncli.attention.selection import HeadsRequest
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.loading.forward import Modality
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.results.heads import Generated, Stack
    from attncli.results.patterns import Picture
    from attncli.tokens.encode import EncodedText

#: The longest side, in pixels, of the picture that a result holds.
PICTURE_PIXELS = 128


class MediaResult(NamedTuple):
    """What a run on a picture or a sound found. notes: about the model's input.  generated: what the model wrote."""

    stacks: tuple[Stack, ...]
    notes: tuple[str, ...]
    picture: Picture | None = None
    generated: Generated | None = None


class _PreparedMedia(NamedTuple):
    """The model's arguments for a picture or a sound, what their positions stand for, and notes for the user."""

    arguments: dict[str, Tensor]
    scene: MediaPositions | None
    notes: tuple[str, ...]
    picture: Picture | None = None


@dataclass(frozen=True)
class MediaInput:
    """A picture or a sound that is read from its file but not yet prepared for a model."""

    modality: Modality
    content: Photo | Recording

    def run(
        self,
        loaded: LoadedModel,
        files: ModelFiles | None,
        processor: Any,
        text: EncodedText | None,
        request: HeadsRequest,
        *,
        truncate: bool,
    ) -> MediaResult:
        """Run the model on it, and on the text if there is one.

        truncate: cut both to what the model takes.
        Raises UsageError for a text that the model doesn't take and for a layer, head or position that doesn't exist;
        ModelError where the model has no preprocessor configuration or can't be run on it.
        """
        from attncli.attention.inputs import build_media_inputs
        from attncli.attention.stacks import collect

        prepared = self._prepare(loaded, files, processor, truncate=truncate)
        tokens = () if text is None else text.tokens
        inputs = build_media_inputs(loaded, prepared.arguments, prepared.scene, tokens, truncate=truncate)
        stacks = tuple(stack.build() for stack in collect(loaded, inputs, request))
        return MediaResult(stacks, (*prepared.notes, *_decoder_notes(text, inputs)), prepared.picture)

    def _prepare(
        self, loaded: LoadedModel, files: ModelFiles | None, processor: Any, *, truncate: bool
    ) -> _PreparedMedia:
        if processor is None:
            processor = self._processor(files)
        if isinstance(self.content, Photo):
            return _prepare_picture(self.content, loaded, processor)
        return _prepare_sound(self.content, loaded, processor, truncate=truncate)

    def _processor(self, files: ModelFiles | None) -> Any:
        files = require_files(files, self.modality)
        return image_processor(files) if self.modality == "image" else feature_extractor(files)

    def refuse_writing(self, loaded: LoadedModel, generate: int | None) -> None:
        """Raise UsageError if text is to be generated."""
        if generate is not None:
            name = "--image" if self.modality == "image" else "--audio"
            raise UsageError(
                f"{loaded.class_name} can't write here beside {name}: no tokens of its text stand for a picture",
                hint=f"leave --generate out, or {name}",
            )


def require_files(files: ModelFiles | None, modality: Modality) -> ModelFiles:
    """The files of a model. Raises UsageError for a loaded model: its processor has to be given with it."""
    if files is None:
        raise UsageError(
            f"a model that was handed over needs a processor for {modality}=",
            hint="pass processor= beside model=, such as transformers.AutoProcessor's",
        )
    return files


def read_media(image: str | Path | None, audio: str | Path | None, *, incompatible: Mapping[str, bool]) -> MediaInput:
    """Read the picture or the sound from its file, without importing torch.

    incompatible: options that can't be combined with one, and whether each was given.
    Raises UsageError for both, or for an incompatible option, and as `read_photo` and `read_recording` do.
    """
    if image is not None and audio is not None:
        raise UsageError("--image and --audio can't be combined", hint="give a picture, or a sound")
    if isinstance(image, list | tuple):
        raise UsageError(f"{len(image)} pictures were given where one is taken", hint="give the path of one picture")
    name = "--image" if image is not None else "--audio"
    for other, is_given in incompatible.items():
        if is_given:
            raise UsageError(f"{name} goes with one text, or none", hint=f"leave {other} out, or {name}")
    if image is not None:
        return MediaInput("image", read_photo(image))
    assert audio is not None
    return MediaInput("audio", read_recording(audio))


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
    note = f"{photo.name} ({before} pixels) as the model sees it: {width} × {height}"
    small = Picture(pixels).resized(*(min(side, PICTURE_PIXELS) for side in (height, width)))
    if layout is None:
        return _PreparedMedia(arguments, None, (*photo.notes, note), Picture(small))
    note += f", {layout.rows} × {layout.columns} patches of {layout.size[0]} × {layout.size[1]}"
    scene = PicturePositions(layout.rows, layout.columns, layout.prefix_tokens, layout.window)
    return _PreparedMedia(arguments, scene, (*photo.notes, note), Picture(small))


def _prepare_sound(recording: Recording, loaded: LoadedModel, extractor: Any, *, truncate: bool) -> _PreparedMedia:
    from attncli.attention.inputs import SoundPositions

    sound = prepare_sound(recording, extractor, truncate=truncate)
    # Models of raw waveforms state how many samples become one position.
    samples = getattr(loaded.config, "inputs_to_logits_ratio", None)
    rate = getattr(getattr(extractor, "feature_extractor", extractor), "sampling_rate", None)
    step = samples / rate if isinstance(samples, int) and rate else None
    arguments = {name: value for name, value in sound.arguments.items() if name in loaded.all_arguments}
    return _PreparedMedia(arguments, SoundPositions(sound.seconds, step), sound.notes)


def _decoder_notes(text: EncodedText | None, inputs: ModelInputs) -> tuple[str, ...]:
    tokens: tuple[Token, ...] = (inputs.target or inputs.main).tokens[0]
    # A start token before the text shifts the indices.
    if text is not None and tokens[-1]._replace(index=0) != text.tokens[-1]._replace(index=0):
        return (f"the text was cut to the {len(tokens):,} tokens that the model takes",)
    if text is None and tokens:
        return ("the decoder was given its start token alone: a text is read as what it has written",)
    return ()
