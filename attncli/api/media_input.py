"""Run `heads` on a picture or a sound, alone or with a text.

Models that chat about pictures read one as tokens of a text; others get it by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.api.heads_single import HeadsInput, TextAndTarget, continue_text, full_depth, heads_result, target_notes
from attncli.api.loading import ModelLoader, model_limits, one_id_list
from attncli.errors import UsageError
from attncli.models.media.pictures import (
    PatchLayout,
    Photo,
    count_crops,
    denormalize,
    image_processor,
    layout_in_text,
    merged_grid,
    prepare_picture,
    read_photo,
)
from attncli.models.media.processors import PicturePrompt, load_processor, prepare_prompt
from attncli.models.media.sounds import Recording, feature_extractor, prepare_sound, read_recording
from attncli.results.patterns import Picture
from attncli.results.tokens import Token
from attncli.tokens.encode import EncodedText, locate_ids

if TYPE_CHECKING:
    from torch import Tensor

    from attncli.attention.inputs import MediaPositions, ModelInputs
    from attncli.attention.selection import HeadsRequest
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.loading.forward import Modality
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.generated import Generated
from attncli.results.heads import HeadsResult, Stack

#: The longest side, in pixels, of the picture that a result holds.
PICTURE_PIXELS = 128


class _MediaInputs(NamedTuple):
    """A model's inputs, and for the result: notes, the picture, and what the model wrote."""

    inputs: ModelInputs
    notes: tuple[str, ...]
    picture: Picture | None = None
    generated: Generated | None = None
    prompt: PicturePrompt | None = None


def run_media(
    inputs: HeadsInput, loader: ModelLoader, request: HeadsRequest, incompatible: Mapping[str, bool]
) -> HeadsResult:
    """Run the model on a picture or a sound, on the text if there is one, and on what it writes after them.

    incompatible: options that can't be combined with one, and whether each was given.
    Raises UsageError for a text that the model doesn't take and for a layer, head or position that doesn't exist;
    ModelError where the model has no preprocessor configuration or can't be run on it.
    """
    content = _read_media(inputs, incompatible)
    files = loader.files()
    model_limits(files).check_selection(request.selection)
    encoded = None
    if inputs.text is not None or inputs.input_ids is not None:
        encoded = inputs.encode(loader.find_tokenizer(files, needed=inputs.input_ids is None))
    writes = inputs.generate is not None
    depth = full_depth(request.selection) if writes else request.selection.depth
    modality: Modality = "image" if isinstance(content, Photo) else "audio"
    loaded = loader.load(files, depth, writes=writes, modality=modality)
    if isinstance(content, Photo) and loaded.picture_token is not None:
        processor = load_processor(_require_files(files, modality)) if inputs.processor is None else inputs.processor
        found = _PicturePromptBuilder(content, loaded, processor, inputs).build()
    else:
        found = _media_inputs(content, loaded, files, inputs, encoded, modality)
    from attncli.attention.stacks import collect

    stacks = tuple(stack.build() for stack in collect(loaded, found.inputs, request))
    crops = () if found.prompt is None else _crop_note(found.prompt, stacks)
    result = heads_result(loaded, stacks, request, warnings=(), notes=(*found.notes, *crops))
    return replace(result, picture=found.picture, generated=found.generated)


def _read_media(inputs: HeadsInput, incompatible: Mapping[str, bool]) -> Photo | Recording:
    """Read the picture or the sound from its file, without importing torch.

    Raises UsageError for both, or for an incompatible option, and as `read_photo` and `read_recording` do.
    """
    image, audio = inputs.image, inputs.audio
    if image is not None and audio is not None:
        raise UsageError("--image and --audio can't be combined", hint="leave one of them out")
    if isinstance(image, list | tuple):
        raise UsageError(
            f"{len(image)} pictures were given, and one is possible here", hint="give the path of one picture"
        )
    name = "--image" if image is not None else "--audio"
    for other, is_given in incompatible.items():
        if is_given:
            raise UsageError(f"{name} can't be combined with {other}", hint=f"leave {other} or {name} out")
    return read_recording(audio) if image is None else read_photo(image)


def _require_files(files: ModelFiles | None, modality: Modality) -> ModelFiles:
    """The files of a model. Raises UsageError for a loaded model: its processor has to be given with it."""
    if files is None:
        raise UsageError(
            f"a model that is passed as an object needs a processor for {modality}=",
            hint="pass processor= together with model=, for instance from transformers.AutoProcessor",
        )
    return files


# --- A picture or a sound by itself


class _PreparedMedia(NamedTuple):
    """The model's arguments for a picture or a sound, what their positions stand for, and notes for the user."""

    arguments: dict[str, Tensor]
    scene: MediaPositions | None
    notes: tuple[str, ...]
    picture: Picture | None = None


def _media_inputs(
    content: Photo | Recording,
    loaded: LoadedModel,
    files: ModelFiles | None,
    inputs: HeadsInput,
    text: EncodedText | None,
    modality: Modality,
) -> _MediaInputs:
    """A model's inputs for a picture or a sound, and for the text that its decoder reads, if there is one."""
    from attncli.attention.inputs import build_media_inputs

    if inputs.generate is not None:
        raise UsageError(
            f"{loaded.class_name} can't generate text with --{modality}: its text has no tokens for a picture",
            hint=f"leave --generate or --{modality} out",
        )
    processor, truncate = inputs.processor, inputs.encoding.truncate
    if processor is None:
        files = _require_files(files, modality)
        processor = image_processor(files) if modality == "image" else feature_extractor(files)
    if isinstance(content, Photo):
        prepared = _prepare_picture(content, loaded, processor)
    else:
        prepared = _prepare_sound(content, loaded, processor, truncate=truncate)
    tokens = () if text is None else text.tokens
    given = build_media_inputs(loaded, prepared.arguments, prepared.scene, tokens, truncate=truncate)
    return _MediaInputs(given, (*prepared.notes, *_decoder_notes(text, given)), prepared.picture)


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
        return (f"the text was truncated to the {len(tokens):,} tokens that the model accepts",)
    if text is None and tokens:
        return ("the decoder's input was only its start token; a TEXT would be its input",)
    return ()


# --- A picture in a text


class _PicturePromptBuilder(NamedTuple):
    """Makes a model's input of a picture and the text or the ids beside it."""

    photo: Photo
    loaded: LoadedModel
    processor: Any
    inputs: HeadsInput

    def build(self) -> _MediaInputs:
        """The inputs, with what the model writes after them.

        Raises UsageError for a text that doesn't fit the picture or the model, and as `prepare_prompt` does.
        """
        from attncli.attention.inputs import build_prompt_inputs, name_patches
        from attncli.models.loading.greedy_decoding import extended_arguments
        from attncli.models.tokenizers.tokenizer_loader import wrap_tokenizer

        prompt, cut = self._fitting_prompt()
        layout = layout_in_text(self.loaded.module, prompt.arguments, self.processor)
        grid = None
        if layout is not None and _crops(prompt) == 1:
            grid = merged_grid(self.loaded.module, layout, prompt.ids.count(self._picture_token))
        tokenizer = wrap_tokenizer(self.processor.tokenizer)
        encoded = locate_ids(tokenizer, prompt.ids, self.inputs.text or "")
        encoded = encoded._replace(tokens=name_patches(encoded.tokens, self._picture_token, grid))
        media = _media_positions(prompt, layout)
        inputs = build_prompt_inputs(self.loaded, prompt.arguments, encoded.tokens, media)
        notes = (*self.photo.notes, *_seen_notes(self.photo, prompt, layout, grid), *self._placed_note(prompt), *cut)
        picture = _model_picture(prompt, self.processor)
        if self.inputs.generate is None:
            return _MediaInputs(inputs, notes, picture, prompt=prompt)
        written = self._continue(tokenizer, encoded, inputs, self.inputs.generate)
        assert written.generated is not None
        arguments = extended_arguments(self.loaded, inputs.arguments, list(written.generated.ids))
        inputs = build_prompt_inputs(self.loaded, arguments, written.text.tokens, media)
        return _MediaInputs(inputs, (*notes, *target_notes(written)), picture, written.generated, prompt)

    @property
    def _picture_token(self) -> int:
        assert self.loaded.picture_token is not None
        return self.loaded.picture_token

    def _fitting_prompt(self) -> tuple[PicturePrompt, tuple[str, ...]]:
        """The prompt, and a note if it was cut to the number of tokens that the model takes."""
        text, ids, encoding = self.inputs.text, self.inputs.input_ids, self.inputs.encoding
        given = text or "" if ids is None else one_id_list(ids)
        special = not encoding.no_special
        prompt = prepare_prompt(self.photo, self.processor, self._picture_token, given, special=special)
        limit, length = self.loaded.max_positions, len(prompt.ids)
        if limit is None or length <= limit or not encoding.truncate:
            return prompt, ()
        cut = prepare_prompt(self.photo, self.processor, self._picture_token, prompt.ids[:limit])
        return cut, (f"the text was truncated to the {limit:,} tokens that the model accepts",)

    def _placed_note(self, prompt: PicturePrompt) -> Iterator[str]:
        """A note where the text didn't say where the picture goes."""
        text = self.inputs.text
        if prompt.text is not None and text is not None and prompt.text != text:
            yield f"the picture was put before the text, as {prompt.text.removesuffix(text)!r}"

    def _continue(self, tokenizer: Tokenizer, encoded: EncodedText, inputs: ModelInputs, count: int) -> TextAndTarget:
        if not self.loaded.generates:
            raise UsageError(
                f"{self.loaded.class_name} doesn't generate text from a picture", hint="leave --generate out"
            )
        written = continue_text(self.loaded, tokenizer, encoded, inputs.arguments, count)
        assert written.generated is not None
        if self._picture_token in written.generated.ids:
            place = written.generated.ids.index(self._picture_token)
            raise UsageError(
                f"the model generated a picture token (number {place + 1}), and there is no picture for it",
                hint=f"use --generate {place} to stop before it" if place else "leave --generate out",
            )
        return written


def _crops(prompt: PicturePrompt) -> int:
    values = prompt.arguments.get("pixel_values")
    return 1 if values is None else count_crops(values)


def _media_positions(prompt: PicturePrompt, layout: PatchLayout | None) -> MediaPositions:
    """The positions of the vision tower. Patches that the processor has flattened may be in any order."""
    from attncli.attention.inputs import PicturePositions, UnnamedPositions

    if layout is None or prompt.arguments["pixel_values"].ndim < 4:
        return UnnamedPositions()
    return PicturePositions(layout.rows, layout.columns, layout.prefix_tokens, layout.window)


def _model_picture(prompt: PicturePrompt, processor: Any) -> Picture | None:
    """The picture, or its first crop, as the model sees it; None for patches without a picture's shape."""
    values = prompt.arguments.get("pixel_values")
    if values is None or values.ndim < 4 or values.shape[-3] not in (1, 3):
        return None
    pixels = denormalize(values.reshape(-1, *values.shape[-3:])[0].float().numpy(), processor)
    return Picture(Picture(pixels).resized(*(min(side, PICTURE_PIXELS) for side in pixels.shape[:2])))


def _seen_notes(
    photo: Photo, prompt: PicturePrompt, layout: PatchLayout | None, grid: tuple[int, int] | None
) -> Iterator[str]:
    """Notes on the picture as the model sees it, and on the tokens that stand for it."""
    before = f"{photo.name} ({photo.pixels.shape[1]:,} × {photo.pixels.shape[0]:,} pixels), as the model gets it"
    crops = f"{_crops(prompt)} crops of " if _crops(prompt) > 1 else ""
    if layout is not None:
        (height, width), rows, columns = layout.size, layout.rows, layout.columns
        size = f"{columns * width} × {rows * height}"
        yield f"{before}: {crops}{size}, {rows} × {columns} patches of {height} × {width}"
    if grid is not None:
        yield f"{grid[0]} × {grid[1]} tokens of the text represent the picture; they are named ROW,COLUMN"


def _crop_note(prompt: PicturePrompt, stacks: Sequence[Stack]) -> Iterator[str]:
    """A note if a tower runs on each crop by itself, so that only one can be shown."""
    shown = [stack.stack for stack in stacks if stack.key_medium.kind == "patches" and stack.stack != "cross"]
    if _crops(prompt) > 1 and shown:
        yield f"{' and '.join(shown)} shows only the first of {_crops(prompt)} crops"
