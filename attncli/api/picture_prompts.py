"""Run `heads` on pictures whose tokens stand in a text, by a model that chats about pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from attncli.api.decoder_input import TextAndTarget, continue_text, target_notes
from attncli.api.effects import Opened, add_effects, find_position, prepare_run, require_head
from attncli.api.heads_input import HeadsInput
from attncli.api.heads_single import heads_result
from attncli.api.loading import one_id_list
from attncli.attention.effects.patch_texts import check_same_length
from attncli.errors import UsageError
from attncli.models.media.pictures import PatchLayout, Photo, Pixels, count_crops, denormalize, pixel_values
from attncli.models.media.processors import PicturePrompt, mark_of, prepare_prompt
from attncli.models.media.videos import Video
from attncli.results.patterns import PatchGrid, Picture
from attncli.results.tokens import Token
from attncli.tokens.encode import EncodedText, locate_ids

if TYPE_CHECKING:
    from attncli.attention.effects.request import EffectsPlan
    from attncli.attention.inputs import MediaPositions, ModelInputs
    from attncli.attention.selection import HeadsRequest
    from attncli.models.files.model_files import ModelFiles
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.models.media.places import PlacedPicture, TokenGrid
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.progress import Progress
    from attncli.results.generated import Generated
    from attncli.results.heads import HeadsResult

#: The longest side, in pixels, of the picture that a result holds.
PICTURE_PIXELS = 128


class PromptInputs(NamedTuple):
    """A model's inputs for pictures and a text, and for the result: notes, pictures, and what the model wrote."""

    inputs: ModelInputs
    notes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    generated: Generated | None = None


def run_picture_prompt(
    prompts: PicturePrompts, files: ModelFiles | None, progress: Progress, request: HeadsRequest
) -> HeadsResult:
    """The result for pictures and a text, with predictions and effects if they are asked for.

    Raises UsageError for a text that doesn't fit the pictures or the model.
    """
    from attncli.api.generated import add_readings
    from attncli.attention.stacks import collect
    from attncli.models.tokenizers.tokenizer_loader import wrap_tokenizer

    loaded, plan = prompts.loaded, request.effects
    if plan is not None:
        require_head(loaded, plan)
    found = prompts.build()
    if plan is not None:
        request = replace(request, read_at=_outcome_position(loaded, found, plan))
    if found.generated is not None and found.generated.ids:
        length = found.inputs.main.length
        request = replace(request, traced=range(length - len(found.generated.ids) - 1, length - 1))
    collected = collect(loaded, found.inputs, request)
    stacks = tuple(stack.build() for stack in collected)
    result = heads_result(loaded, stacks, request, warnings=(), notes=found.notes)
    first = found.pictures[0] if found.pictures else None
    several = found.pictures if len(found.pictures) > 1 else ()
    generated = None if found.generated is None else add_readings(found.generated, collected)
    result = replace(result, picture=first, pictures=several, generated=generated)
    if plan is None or request.read_at is None:
        return result
    run = prepare_run(
        Opened(loaded, wrap_tokenizer(prompts.processor.tokenizer), files, progress),
        *(found.inputs, collected, plan),
        position=request.read_at,
        top=request.top,
        source=None if plan.patch_from is None else prompts.source(plan.patch_from, found),
    )
    return add_effects(result, run)


def _outcome_position(loaded: LoadedModel, found: PromptInputs, plan: EffectsPlan) -> int:
    side = found.inputs.target or found.inputs.main
    return find_position(loaded, side.tokens[0], plan, 0 if found.generated is None else len(found.generated.ids))


class PicturePrompts(NamedTuple):
    """Makes a model's input of pictures or a video and the text or the ids beside them."""

    shown: tuple[Photo, ...] | Video
    loaded: LoadedModel
    processor: Any
    inputs: HeadsInput

    def build(self) -> PromptInputs:
        """The inputs, with what the model writes after them.

        Raises UsageError for a text that doesn't fit the pictures or the model, and as `prepare_prompt` does.
        """
        from attncli.attention.inputs import build_prompt_inputs, name_patches
        from attncli.models.loading.greedy_decoding import extended_arguments
        from attncli.models.tokenizers.tokenizer_loader import wrap_tokenizer

        prompt, cut = self._fitting_prompt()
        placed = self._placed(prompt)
        grids = [one.grids() for one in placed]
        in_text = tuple(_text_grids(prompt.ids, self._picture_token, placed, grids))
        tokenizer = wrap_tokenizer(self.processor.tokenizer)
        mark = str(mark_of(self.processor, self.shown))
        photos = self._photos(prompt, len(placed))
        encoded = _locate(tokenizer, prompt, mark, self.inputs.text or "", self._picture_token)
        encoded = encoded._replace(tokens=name_patches(encoded.tokens, self._picture_token, in_text))
        media = _media_positions(prompt, placed)
        inputs = build_prompt_inputs(self.loaded, prompt.arguments, encoded.tokens, media, in_text)
        pictures = tuple(self._pictures(prompt, photos, placed))
        if isinstance(self.shown, Video):
            seen = list(_video_notes(self.shown, prompt, placed))
        else:
            seen = [note for each in zip(photos, placed, strict=True) for note in _seen_notes(*each)]
            seen += _name_notes(in_text)
        notes = (
            *(note for photo in photos for note in photo.notes),
            *seen,
            *self._placed_note(prompt),
            *cut,
        )
        if self.inputs.generate is None:
            return PromptInputs(inputs, notes, pictures)
        written = self._continue(tokenizer, encoded, inputs, self.inputs.generate)
        assert written.generated is not None
        arguments = extended_arguments(self.loaded, inputs.arguments, list(written.generated.ids))
        inputs = build_prompt_inputs(self.loaded, arguments, written.text.tokens, media, in_text)
        return PromptInputs(inputs, (*notes, *target_notes(written)), pictures, written.generated)

    def source(self, text: str, found: PromptInputs) -> ModelInputs:
        """The inputs of another text beside the same pictures, which goes on as the first does.

        Raises UsageError where it has another number of tokens.
        """
        from attncli.attention.inputs import build_prompt_inputs
        from attncli.models.loading.greedy_decoding import extended_arguments

        other = self._replace(inputs=self.inputs._replace(text=text, input_ids=None, generate=None)).build()
        ids = () if found.generated is None else found.generated.ids
        tokens, own = found.inputs.main.tokens[0], other.inputs.main.tokens[0]
        check_same_length(tokens[: len(tokens) - len(ids)], own)
        if not ids:
            return other.inputs
        arguments = extended_arguments(self.loaded, other.inputs.arguments, list(ids))
        media = other.inputs.media
        assert media is not None
        return build_prompt_inputs(self.loaded, arguments, (*own, *tokens[len(own) :]), media)

    @property
    def _picture_token(self) -> int:
        """Some models write the frames of a video as pictures."""
        token = self.loaded.video_token if isinstance(self.shown, Video) else None
        token = self.loaded.picture_token if token is None else token
        assert token is not None
        return token

    def _photos(self, prompt: PicturePrompt, count: int) -> Sequence[Photo]:
        """The pictures; of a video, the first frame of each of the `count` that the model merges into one."""
        if not isinstance(self.shown, Video):
            return self.shown
        chosen = _chosen_frames(self.shown, prompt)
        each = max(len(chosen) // count, 1)
        return [self.shown.frames[chosen[min(number * each, len(chosen) - 1)]] for number in range(count)]

    def _fitting_prompt(self) -> tuple[PicturePrompt, tuple[str, ...]]:
        """The prompt, and a note if it was cut to the number of tokens that the model takes."""
        text, ids, encoding = self.inputs.text, self.inputs.input_ids, self.inputs.encoding
        given = text or "" if ids is None else one_id_list(ids)
        common = self.shown, self.processor, self._picture_token
        prompt = prepare_prompt(*common, given, special=not encoding.no_special, chat=self.inputs.chat)
        limit, length = self.loaded.max_positions, len(prompt.ids)
        if limit is None or length <= limit or not encoding.truncate:
            return prompt, ()
        cut = prepare_prompt(*common, prompt.ids[:limit])
        return cut, (f"the text was truncated to the {limit:,} tokens that the model accepts",)

    def _placed(self, prompt: PicturePrompt) -> list[PlacedPicture]:
        """Where the tokens of each picture stand in it."""
        from attncli.models.media.places import place_alike, place_picture, place_video

        how = self.processor, self.loaded.module, self._picture_token
        with self.loaded.borrowed():
            if isinstance(self.shown, Video):
                return place_video(self.shown, *how)
            placed = [place_picture(photo, *how) for photo in self.shown]
        tokens = prompt.ids.count(self._picture_token)
        if sum(one.tokens for one in placed) == tokens:
            return placed
        with self.loaded.borrowed():
            return place_alike(placed, self.loaded.module, prompt.arguments, tokens)

    def _pictures(
        self, prompt: PicturePrompt, photos: Sequence[Photo], placed: Sequence[PlacedPicture]
    ) -> Iterator[Picture]:
        """The pictures as far as the tokens cover them; a single one as the model sees it."""
        from attncli.models.media.places import covered_part

        values, boxes = prompt.arguments.get("pixel_values"), [picture.box for picture in placed]
        if values is not None and values.ndim >= 4 and _crops(prompt) == 1 and values.shape[-3] in (1, 3):
            yield _small(denormalize(values.reshape(-1, *values.shape[-3:])[0].float().numpy(), self.processor))
        elif None not in boxes:
            yield from (
                _small(covered_part(photo, box)) for photo, box in zip(photos, boxes, strict=True) if box is not None
            )

    def _placed_note(self, prompt: PicturePrompt) -> Iterator[str]:
        """A note where the text didn't say where the picture goes."""
        text, what = self.inputs.text, "picture was"
        if isinstance(self.shown, Video):
            what = "video was"
        elif len(self.shown) > 1:
            what = "pictures were"
        if prompt.chat:
            mark = mark_of(self.processor, self.shown)
            yield f"the {what} put before the text by the chat template; a text with {mark} is taken as it stands"
        elif prompt.text is not None and text is not None and prompt.text != text:
            yield f"the {what} put before the text, as {prompt.text.removesuffix(text)!r}"

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


# --- The text


def _locate(tokenizer: Tokenizer, prompt: PicturePrompt, mark: str, text: str, picture_token: int) -> EncodedText:
    """The tokens of a prompt. Those of the user's own text have their places in it; of a chat template's words, those
    after the pictures are words too."""
    if not prompt.chat or prompt.text is None:
        return locate_ids(tokenizer, prompt.ids, text)
    start = len(prompt.ids) - prompt.ids[::-1].index(picture_token)
    after = prompt.text.rpartition(mark)[2]
    head, tail = locate_ids(tokenizer, prompt.ids[:start], ""), locate_ids(tokenizer, prompt.ids[start:], after)
    first = after.find(text) if text else -1
    own = range(first, first + len(text) if first >= 0 else first)
    skipped = len(after[: own.start].encode()) if own else 0
    before = (token._replace(start=None, end=None, byte_start=None, byte_end=None, word=None) for token in head.tokens)
    found = (_in_own_text(token, own, skipped)._replace(index=token.index + start) for token in tail.tokens)
    sequences = (*(None for _ in head.sequences), *tail.sequences)
    return EncodedText((*before, *found), (*head.segments, *tail.segments), sequences)


def _in_own_text(token: Token, own: range, skipped: int) -> Token:
    """A token with its place in the user's text, of which the template's has the characters `own`; without a place
    where it is no part of it. skipped: bytes before the user's text."""
    start, end, first, last = token.start, token.end, token.byte_start, token.byte_end
    if start is None or end is None or first is None or last is None or start < own.start or end > own.stop:
        return token._replace(start=None, end=None, byte_start=None, byte_end=None)
    return token._replace(
        start=start - own.start, end=end - own.start, byte_start=first - skipped, byte_end=last - skipped
    )


# --- The pictures


def _text_grids(
    ids: Sequence[int], picture_token: int, placed: Sequence[PlacedPicture], grids: Sequence[Sequence[TokenGrid]]
) -> Iterator[PatchGrid]:
    """The grids of tokens with their positions in the text."""
    places = [place for place, each in enumerate(ids) if each == picture_token]
    first = 0
    for number, (picture, found) in enumerate(zip(placed, grids, strict=True)):
        own = places[first : first + picture.tokens]
        first += picture.tokens
        yield from (_patch_grid(number, grid, own) for grid in found)


def _patch_grid(number: int, grid: TokenGrid, positions: Sequence[int]) -> PatchGrid:
    cells: list[int | None] = [None] * (grid.rows * grid.columns)
    for token, (row, column) in grid.places.items():
        cells[row * grid.columns + column] = positions[token]
    return PatchGrid(number, grid.view, grid.rows, grid.columns, tuple(cells))


def _crops(prompt: PicturePrompt) -> int:
    values = pixel_values(prompt.arguments)
    return 1 if values is None else count_crops(values)


def _media_positions(prompt: PicturePrompt, placed: Sequence[PlacedPicture]) -> MediaPositions:
    """The positions of the vision tower. Patches that the processor has flattened may be in any order."""
    from attncli.attention.inputs import PicturePositions, TiledPositions, UnnamedPositions

    layouts, values = [each.layout for each in placed for _ in each.crops], pixel_values(prompt.arguments)
    known = [layout for layout in layouts if layout is not None]
    if not known or len(known) < len(layouts) or values is None or values.ndim < 4:
        return UnnamedPositions()
    first = known[0]
    if len(known) == 1:
        return PicturePositions(first.rows, first.columns, first.prefix_tokens, first.window)
    lengths = tuple(len(each.prefix_tokens) + each.rows * each.columns for each in known)
    return TiledPositions(first.prefix_tokens, lengths, tuple(_tile_grids(placed, first, lengths)))


def _tile_grids(placed: Sequence[PlacedPicture], layout: PatchLayout, lengths: Sequence[int]) -> Iterator[PatchGrid]:
    """The patches of all tiles over their pictures. lengths: positions of each tile."""
    from attncli.models.media.places import token_grids

    tiles, start = iter(lengths), 0
    for number, picture in enumerate(placed):
        positions: list[int] = []
        for length in islice(tiles, len(picture.crops)):
            positions += range(start + len(layout.prefix_tokens), start := start + length)
        yield from (_patch_grid(number, grid, positions) for grid in token_grids(picture.patches()))


def _small(pixels: Pixels) -> Picture:
    """A picture with its proportions, in at most so many pixels a side."""
    shrink = min(PICTURE_PIXELS / max(pixels.shape[:2]), 1)
    height, width = (max(round(side * shrink), 1) for side in pixels.shape[:2])
    return Picture(Picture(pixels).resized(height, width))


def _seen_notes(photo: Photo, placed: PlacedPicture) -> Iterator[str]:
    """A note on the picture as the model sees it."""
    before = f"{photo.name} ({photo.pixels.shape[1]:,} × {photo.pixels.shape[0]:,} pixels), as the model gets it"
    count, layout = sum(box is not None for box in placed.crops), placed.layout
    crops = f"{count} crops of " if count > 1 else ""
    if layout is not None:
        (height, width), rows, columns = layout.size, layout.rows, layout.columns
        size = f"{columns * width} × {rows * height}"
        yield f"{before}: {crops}{size}, {rows} × {columns} patches of {height} × {width}"


def _chosen_frames(video: Video, prompt: PicturePrompt) -> list[int]:
    """The frames that the processor has chosen, by their numbers; all where it doesn't say."""
    found = prompt.arguments.get("video_metadata")
    return list(range(len(video.frames)) if found is None else found[0].frames_indices)


def _video_notes(video: Video, prompt: PicturePrompt, placed: Sequence[PlacedPicture]) -> Iterator[str]:
    """Notes on the video as the model sees it, and on the tokens that stand for its frames."""
    layout, grids = placed[0].layout, placed[0].grids()
    height, width = video.frames[0].pixels.shape[:2]
    rate = "" if video.rate is None else f", {video.rate:.3g} a second"
    each = len(_chosen_frames(video, prompt)) // len(placed)
    frames = f"{len(placed)} frames" if each < 2 else f"{len(placed)} times {each} frames in one"
    before = f"{video.name} ({len(video.frames)} frames of {width:,} × {height:,} pixels{rate}), as the model gets it"
    if layout is not None:
        yield f"{before}: {frames}, {layout.rows} × {layout.columns} patches of {layout.size[0]} × {layout.size[1]}"
    for grid in grids:
        size = f"{grid.rows} × {grid.columns} tokens of the text represent a frame"
        yield f"{size}; they are named ROW,COLUMN, and those of the second frame 2:ROW,COLUMN"


def _name_notes(grids: Sequence[PatchGrid]) -> Iterator[str]:
    """Notes on the tokens that stand for pictures."""
    for grid in grids:
        what = f"picture {grid.picture + 1}" if any(each.picture for each in grids) else "the picture"
        what = f"a small view of {what}" if grid.view else what
        size = f"{grid.rows} × {grid.columns} tokens of the text represent {what}"
        yield f"{size}; they are named {grid.name}ROW,COLUMN"
