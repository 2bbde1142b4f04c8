"""Run a model on a text that holds the tokens of a picture, as models that chat about pictures read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.api.modalities import PICTURE_PIXELS, MediaResult, require_files
from attncli.api.targets import TextAndTarget, continue_text, target_notes
from attncli.errors import UsageError
from attncli.models.media.pictures import PatchLayout, Photo, count_crops, denormalize, layout_in_text, merged_grid
from attncli.models.media.processors import PicturePrompt, load_processor, prepare_prompt
from attncli.results.patterns import Picture
from attncli.tokens.encode import EncodedText, locate_ids

if TYPE_CHECKING:
    from attncli.attention.inputs import MediaPositions, ModelInputs
    from attncli.attention.selection import HeadsRequest
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.heads import Generated, Stack


def open_processor(files: ModelFiles | None, processor: Any) -> Any:
    """The user's processor, or the model's own. Raises UsageError for a loaded model without one."""
    return load_processor(require_files(files, "image")) if processor is None else processor


class PromptInputs(NamedTuple):
    """A model's inputs for a picture and a text, notes on them for the user, and what the model wrote after them."""

    inputs: ModelInputs
    prompt: PicturePrompt
    notes: tuple[str, ...]
    picture: Picture | None
    generated: Generated | None = None


@dataclass(frozen=True)
class PromptBuilder:
    """A picture, the text or the ids beside it, and what makes a model's input of both.

    text: None for a picture alone.  special: add special tokens.  truncate: cut to what the model takes.
    """

    photo: Photo
    loaded: LoadedModel
    processor: Any
    text: str | None
    ids: list[int] | None
    special: bool
    truncate: bool

    def run(self, request: HeadsRequest, generate: int | None) -> MediaResult:
        """Run the model on both, and on up to `generate` tokens that it writes after them.

        Raises as `MediaInput.run` does.
        """
        from attncli.attention.stacks import collect

        found = self.build(generate)
        stacks = tuple(stack.build() for stack in collect(self.loaded, found.inputs, request))
        notes = (*found.notes, *_crop_note(found.prompt, stacks))
        return MediaResult(stacks, notes, found.picture, found.generated)

    def build(self, generate: int | None) -> PromptInputs:
        """The inputs, with what the model writes after them. generate: how many tokens at most.

        Raises UsageError for a text that doesn't fit the picture or the model, and as `prepare_prompt` does.
        """
        from attncli.attention.inputs import build_prompt_inputs, name_patches
        from attncli.models.loading.greedy_decoding import extended_arguments

        prompt, cut = self._fitting_prompt()
        layout = layout_in_text(self.loaded.module, prompt.arguments, self.processor)
        grid = None
        if layout is not None and _crops(prompt) == 1:
            grid = merged_grid(self.loaded.module, layout, prompt.ids.count(self._picture_token))
        tokenizer = self._tokenizer()
        encoded = locate_ids(tokenizer, prompt.ids, self.text or "")
        encoded = encoded._replace(tokens=name_patches(encoded.tokens, self._picture_token, grid))
        media = _media_positions(prompt, layout)
        inputs = build_prompt_inputs(self.loaded, prompt.arguments, encoded.tokens, media)
        notes = (*self.photo.notes, *_seen_notes(self.photo, prompt, layout, grid), *self._placed_note(prompt), *cut)
        picture = _model_picture(prompt, self.processor)
        if generate is None:
            return PromptInputs(inputs, prompt, notes, picture)
        written = self._continue(tokenizer, encoded, inputs, generate)
        assert written.generated is not None
        arguments = extended_arguments(self.loaded, inputs.arguments, list(written.generated.ids))
        inputs = build_prompt_inputs(self.loaded, arguments, written.text.tokens, media)
        return PromptInputs(inputs, prompt, (*notes, *target_notes(written)), picture, written.generated)

    @property
    def _picture_token(self) -> int:
        assert self.loaded.picture_token is not None
        return self.loaded.picture_token

    def _tokenizer(self) -> Tokenizer:
        from attncli.models.tokenizers.tokenizer_loader import wrap_tokenizer

        return wrap_tokenizer(self.processor.tokenizer)

    def _fitting_prompt(self) -> tuple[PicturePrompt, tuple[str, ...]]:
        """The prompt, and a note if it was cut to the number of tokens that the model takes."""
        given = self.text or "" if self.ids is None else self.ids
        prompt = prepare_prompt(self.photo, self.processor, self._picture_token, given, special=self.special)
        limit, length = self.loaded.max_positions, len(prompt.ids)
        if limit is None or length <= limit or not self.truncate:
            return prompt, ()
        cut = prepare_prompt(self.photo, self.processor, self._picture_token, prompt.ids[:limit])
        return cut, (f"the text was cut to the {limit:,} tokens that the model takes",)

    def _placed_note(self, prompt: PicturePrompt) -> Iterator[str]:
        """A note where the text didn't say where the picture goes."""
        if prompt.text is not None and self.text is not None and prompt.text != self.text:
            yield f"the picture stands before the text, written as {prompt.text.removesuffix(self.text)!r}"

    def _continue(self, tokenizer: Tokenizer, encoded: EncodedText, inputs: ModelInputs, count: int) -> TextAndTarget:
        if not self.loaded.generates:
            raise UsageError(
                f"{self.loaded.class_name} doesn't continue a text with a picture", hint="leave --generate out"
            )
        written = continue_text(self.loaded, tokenizer, encoded, inputs.arguments, count)
        assert written.generated is not None
        if self._picture_token in written.generated.ids:
            place = written.generated.ids.index(self._picture_token)
            raise UsageError(
                f"the model wrote a token of a picture that isn't there, as token {place + 1}",
                hint=f"--generate {place} stops before it" if place else "leave --generate out",
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
    before = f"{photo.name} ({photo.pixels.shape[1]:,} × {photo.pixels.shape[0]:,} pixels) as the model sees it"
    crops = f"{_crops(prompt)} crops of " if _crops(prompt) > 1 else ""
    if layout is not None:
        (height, width), rows, columns = layout.size, layout.rows, layout.columns
        size = f"{columns * width} × {rows * height}"
        yield f"{before}: {crops}{size}, {rows} × {columns} patches of {height} × {width}"
    if grid is not None:
        yield f"{grid[0]} × {grid[1]} tokens of the text stand for the picture, named by row and column"


def _crop_note(prompt: PicturePrompt, stacks: Sequence[Stack]) -> Iterator[str]:
    """A note if a tower runs on each crop by itself, so that only one can be shown."""
    shown = [stack.stack for stack in stacks if stack.key_medium.kind == "patches" and stack.stack != "cross"]
    if _crops(prompt) > 1 and shown:
        yield f"{' and '.join(shown)} shows the first of {_crops(prompt)} crops"
