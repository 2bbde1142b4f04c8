"""Where the tokens of a picture stand in it, by what the processor and the model do with a picture of coordinates.

Chat models cut a picture into tiles, pad it, add a small view of all of it, merge its patches and end its rows with
tokens of their own, each family in its way. None is known by its name here. A picture whose red is its column and whose
green is its row goes through the processor: the colours of every tile say where the tile lies. Where the model's tokens
aren't these tiles' patches in their order, the outputs of its last projection are replaced by such coordinates: what
the model then hands to its text are the coordinates of the tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attncli.models.media.pictures import (
    PROCESSOR_ERRORS,
    Photo,
    Pixels,
    count_crops,
    denormalize,
    layout_in_text,
    merged_grid,
    patch_grid_sizes,
    pixel_values,
)
from attncli.models.media.processors import PicturePrompt, mark_of, run_processor

if TYPE_CHECKING:
    from torch import Tensor, nn

    from attncli.models.media.pictures import PatchLayout
    from attncli.models.media.videos import Video

#: Of a tile: how much of the picture a view has to cover, and how far apart rows of tokens are, in rows.
_WHOLE, _SAME_ROW = 0.95, 0.3
#: The grey of what a model sees as padding.
_PADDING = 128
#: Stands beside coordinates in the outputs of a projection, so that what the model adds can be told from them.
_MARK = 777.0


class Box(NamedTuple):
    """A part of a picture in shares of its height and width; beyond 0 and 1 is padding."""

    top: float
    left: float
    bottom: float
    right: float

    def cell(self, row: int, column: int, rows: int, columns: int) -> Spot:
        """The middle of a cell of a grid over the box."""
        height, width = (self.bottom - self.top) / rows, (self.right - self.left) / columns
        return Spot(self.top + (row + 0.5) * height, self.left + (column + 0.5) * width, height, width)


class Spot(NamedTuple):
    """The middle of what a token stands for, and its height and width, in shares of the picture.

    view: whether it belongs to a small view of the whole picture beside its tiles.
    """

    y: float
    x: float
    height: float
    width: float
    view: bool = False


class Place(NamedTuple):
    """The row and the column of a token in its grid."""

    row: int
    column: int


class TokenGrid(NamedTuple):
    """The tokens of a picture in rows and columns. box: what they cover.  places: one for each of the tokens."""

    view: bool
    rows: int
    columns: int
    box: Box
    places: Mapping[int, Place]


class PlacedPicture(NamedTuple):
    """How one picture became tokens.

    tokens: how many.  crops: its tiles and views as the model gets them; None for a tile of padding alone.
    layout: the patches of a crop, if known.  spots: one for each token, None for one that stands for no place; empty
    where the places are unknown.
    """

    tokens: int
    crops: tuple[Box | None, ...]
    views: tuple[bool, ...]
    layout: PatchLayout | None
    spots: tuple[Spot | None, ...]

    def grids(self) -> list[TokenGrid]:
        """The tokens by rows and columns of the whole picture, and those of its view."""
        return token_grids(self.spots)

    @property
    def box(self) -> Box | None:
        """What the tokens, or else the patches, cover of the picture; None if that is unknown."""
        if self.layout is None or not self.crops:
            return None
        grids = self.grids() or token_grids(self.patches())
        return grids[0].box if grids else None

    def patches(self) -> tuple[Spot | None, ...]:
        """The spots of the patches of each crop, before the model merges any."""
        assert self.layout is not None
        return tuple(_cells((self.layout.rows, self.layout.columns), self.crops, self.views))


def place_picture(photo: Photo, processor: Any, module: nn.Module, picture_id: int) -> PlacedPicture:
    """How a picture of this size becomes tokens, if it is the only one."""
    alone = PicturePrompt(run_processor([_coordinates(photo)], processor, str(processor.image_token)))
    tokens, arguments = alone.ids.count(picture_id), alone.arguments
    layout, values = layout_in_text(module, arguments, processor), pixel_values(arguments)
    if values is None or layout is None:
        return PlacedPicture(tokens, (), (), layout, ())
    if values.ndim < 4:
        # Patches in a sequence; transformers' processors resize such a picture and cut nothing off.
        crops: tuple[Box | None, ...] = (Box(0, 0, 1, 1),)
    else:
        pixels = values.reshape(-1, *values.shape[-3:]).float().numpy()
        crops = tuple(_find_box(denormalize(each, processor), photo) for each in pixels)
    found = [box for box in crops if box is not None]
    views = _find_views(crops)
    if not found:
        return PlacedPicture(tokens, crops, views, layout, ())
    spots = _spots_in_order(module, layout, crops, views, tokens)
    if not spots and len(found) > 1:
        spots = _traced_spots(module, layout, crops, views, arguments, tokens)
    return PlacedPicture(tokens, crops, views, layout, spots)


def place_video(video: Video, processor: Any, module: nn.Module, video_id: int) -> list[PlacedPicture]:
    """How the frames of a video become tokens, one after another; several together where the model merges them.

    What the model adds behind the last frame counts as that frame's, without a place.
    """
    seen = replace(video, frames=tuple(_coordinates(frame) for frame in video.frames))
    alone = PicturePrompt(run_processor(seen, processor, str(mark_of(processor, video))))
    tokens, arguments = alone.ids.count(video_id), alone.arguments
    layout, grid = layout_in_text(module, arguments, processor), patch_grid_sizes(arguments)
    values = pixel_values(arguments)
    if layout is None:
        return [PlacedPicture(tokens, (), (), None, ())]
    box: Box | None = Box(0, 0, 1, 1)
    if grid is None:
        first = values.reshape(-1, *values.shape[-3:])[0].float().numpy()
        box = _find_box(denormalize(first, getattr(processor, "video_processor", processor)), video.frames[0])
    count = count_crops(values) if grid is None else int(grid[0, 0])
    crops, views = (box,) * count, (False,) * count
    spots = _spots_in_order(module, layout, crops, views, tokens)
    spots = spots or _traced_spots(module, layout, crops, views, arguments, tokens)
    each = tokens // count
    sizes = [each] * (count - 1) + [tokens - each * (count - 1)]
    starts = [each * number for number in range(count)]
    return [PlacedPicture(size, (box,), (False,), layout, spots[start : start + size])
            for start, size in zip(starts, sizes, strict=True)]  # fmt: skip


def place_alike(
    placed: Sequence[PlacedPicture], module: nn.Module, arguments: Mapping[str, Any], tokens: int
) -> list[PlacedPicture]:
    """The pictures where a processor cuts none of several, as it would a single one: each has an equal share of the
    tokens, in one piece. Their places are unknown where that isn't so. arguments: what it returned for all of them."""
    each, rest = divmod(tokens, len(placed))
    whole, views = (Box(0, 0, 1, 1),), (False,)
    unknown = [PlacedPicture(each, whole, views, one.layout, ()) for one in placed]
    layout, count = placed[0].layout, len(placed)
    if rest or layout is None or any(one.layout != layout for one in placed):
        return unknown
    spots = _spots_in_order(module, layout, whole * count, views * count, tokens)
    spots = spots or _traced_spots(module, layout, whole * count, views * count, arguments, tokens)
    return [one._replace(spots=spots[number * each : (number + 1) * each]) for number, one in enumerate(unknown)]


def covered_part(photo: Photo, box: Box) -> Pixels:
    """The part of a picture in a box; padding is grey."""
    height, width = photo.pixels.shape[:2]
    top, bottom = (round(share * height) for share in (box.top, box.bottom))
    left, right = (round(share * width) for share in (box.left, box.right))
    shown = np.full((max(bottom - top, 1), max(right - left, 1), 3), _PADDING, np.uint8)
    part = photo.pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    above, beside = max(-top, 0), max(-left, 0)
    shown[above : above + part.shape[0], beside : beside + part.shape[1]] = part
    return shown


# --- What the processor does


def _coordinates(photo: Photo) -> Photo:
    """A picture of the same size: red is the column, green the row, and blue is full, which padding isn't."""
    height, width = photo.pixels.shape[:2]
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width).round()
    pixels[..., 1] = np.linspace(0, 255, height).round()[:, None]
    return photo._replace(pixels=pixels)


def _find_box(pixels: npt.NDArray[np.uint8], photo: Photo) -> Box | None:
    """Where a tile lies, by the colours of its pixels; None for padding alone."""
    real = pixels[..., 2] > 250
    left, right = _span(pixels[..., 0], real, photo.pixels.shape[1])
    top, bottom = _span(pixels[..., 1].T, real.T, photo.pixels.shape[0])
    return None if np.isnan([left, right, top, bottom]).any() else Box(top, left, bottom, right)


def _span(values: npt.NDArray[np.uint8], real: npt.NDArray[np.bool_], size: int) -> tuple[float, float]:
    """The shares at which an axis begins and ends: a line through the mean colour of each of its pixels."""
    seen = np.flatnonzero(real.sum(0) > 0)
    if len(seen) < 2:
        return np.nan, np.nan
    # The outermost pixels are mixed with what lies beyond them.
    inner = seen[1:-1] if len(seen) > 4 else seen
    means = np.array([values[real[:, place], place].mean() for place in inner])
    # Pixel i of n has the colour 255 i / (n - 1), and its middle is at (i + 1/2) / n.
    shares = (means / 255 * (size - 1) + 0.5) / size
    slope, start = np.polyfit(inner + 0.5, shares, 1)
    return float(start), float(start + slope * values.shape[1])


def _find_views(crops: Sequence[Box | None]) -> tuple[bool, ...]:
    """Which crops show the whole picture beside others that show its parts."""
    found = [box for box in crops if box is not None]
    if len(found) < 2:
        return tuple(False for _ in crops)
    spans = [max(min(box[end], 1) for box in found) - min(max(box[end - 2], 0) for box in found) for end in (2, 3)]
    whole = [
        box is not None
        and all(
            min(box[end], 1) - max(box[end - 2], 0) >= _WHOLE * span for end, span in zip((2, 3), spans, strict=True)
        )
        for box in crops
    ]
    # Of crops that all show the whole picture, the first is the picture.
    first = (
        whole.index(True)
        if True in whole and all(each or box is None for each, box in zip(whole, crops, strict=True))
        else -1
    )
    return tuple(each and place != first for place, each in enumerate(whole))


# --- What the model does


def _cells(grid: tuple[int, int], crops: Sequence[Box | None], views: Sequence[bool]) -> Iterator[Spot | None]:
    """The cells of each crop, row by row."""
    for box, view in zip(crops, views, strict=True):
        for row, column in product(*map(range, grid)):
            yield None if box is None else box.cell(row, column, *grid)._replace(view=view)


def _spots_in_order(
    module: nn.Module, layout: PatchLayout, crops: Sequence[Box | None], views: Sequence[bool], tokens: int
) -> tuple[Spot | None, ...]:
    """The spots of tokens that are the merged patches of each crop in their order; empty for any other number."""
    each, rest = divmod(tokens, len(crops))
    grid = None if rest or not each else merged_grid(module, layout, each)
    return () if grid is None else tuple(_cells(grid, crops, views))


def _traced_spots(
    module: Any,
    layout: PatchLayout,
    crops: Sequence[Box | None],
    views: Sequence[bool],
    arguments: Mapping[str, Any],
    tokens: int,
) -> tuple[Spot | None, ...]:
    """The spots of tokens that the model arranges from the patches of its crops; empty where that can't be seen."""
    name = "get_image_features" if "pixel_values" in arguments else "get_video_features"
    holders = (module, getattr(module, "model", None))
    features = next((getattr(holder, name) for holder in holders if hasattr(holder, name)), None)
    if features is None:
        return ()
    taken = signature(features).parameters
    given = {
        name: value.to(module.dtype) if value.is_floating_point() else value
        for name, value in arguments.items()
        if name in taken and hasattr(value, "is_floating_point")
    }
    given = {name: value.to(module.device) for name, value in given.items()}
    width = module.get_input_embeddings().weight.shape[1]
    try:
        found = _last_projection(module, features, given, len(crops), width)
        if found is None:
            return ()
        part, rows = found
        grid = merged_grid(module, layout, rows)
        if grid is None:
            return ()
        cells = list(_cells(grid, crops, views))
        found_spots = _replaced_features(features, given, part, _as_states(cells, width))
    except PROCESSOR_ERRORS:  # of a model that takes its pictures otherwise
        return ()
    return () if len(found_spots) != tokens else tuple(_as_spot(each, cells) for each in found_spots)


def _last_projection(
    module: Any, features: Callable[..., Any], given: Mapping[str, Any], crops: int, width: int
) -> tuple[nn.Module, int] | None:
    """The module that is the last to give states as wide as those of the text, and how many it gives a crop."""
    seen: list[tuple[nn.Module, int]] = []

    def note(part: nn.Module, _: object, output: Any) -> None:
        if getattr(output, "shape", (0,))[-1] == width and output.shape[:-1].numel() % crops == 0:
            seen.append((part, output.shape[:-1].numel() // crops))

    _with_hooks(module, note, lambda: features(**given))
    return seen[-1] if seen else None


def _replaced_features(
    features: Callable[..., Any], given: Mapping[str, Any], part: nn.Module, states: Tensor
) -> npt.NDArray[np.float64]:
    """What the model hands to its text where the outputs of a part are these states, (tokens, width)."""
    import torch

    def replace(_: nn.Module, __: object, output: Any) -> Any:
        return states.to(output).reshape(output.shape)

    handle = part.register_forward_hook(replace)
    try:
        with torch.no_grad():
            found = features(**given)
    finally:
        handle.remove()
    found = getattr(found, "pooler_output", found)
    parts = found if isinstance(found, list | tuple) else [found]
    rows: npt.NDArray[np.float64] = (
        torch.cat([each.reshape(-1, each.shape[-1]) for each in parts]).double().cpu().numpy()
    )
    return rows


def _with_hooks(module: Any, hook: Callable[..., None], run: Callable[[], object]) -> None:
    import torch

    handles = [part.register_forward_hook(hook) for part in module.modules()]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()


def _as_states(cells: Sequence[Spot | None], width: int) -> Tensor:
    """Coordinates as outputs of a projection: y, x, whether they are of a view, and the mark in all other places."""
    import torch

    states = torch.full((len(cells), width), _MARK)
    for place, spot in enumerate(cells):
        # Padding is far away, so that what it is mixed into is no place either.
        states[place, :3] = torch.tensor([-9.0, -9.0, 0.0] if spot is None else [spot.y, spot.x, float(spot.view)])
    return states


def _as_spot(values: npt.NDArray[np.float64], cells: Sequence[Spot | None]) -> Spot | None:
    """The spot of a token by its state; None for one that the model added itself, such as the end of a row."""
    if np.abs(values[3:] - _MARK).max() > 1 or values[:2].min() < -1:
        return None
    view = values[2] > 0.5
    size = next(spot for spot in cells if spot is not None and spot.view == view)
    return Spot(float(values[0]), float(values[1]), size.height, size.width, bool(view))


# --- Rows and columns


def token_grids(spots: Sequence[Spot | None]) -> list[TokenGrid]:
    """Spots as rows and columns of tokens over the picture, and over its view if there is one.

    A part whose tokens overlap has no rows and columns.
    """
    grids = []
    for view in (False, True):
        tokens = {place: spot for place, spot in enumerate(spots) if spot is not None and spot.view == view}
        if not tokens:
            continue
        height, width = (max(spot[side] for spot in tokens.values()) for side in (2, 3))
        rows, columns = (
            _ranks({place: spot[axis] for place, spot in tokens.items()}, size)
            for axis, size in ((0, height), (1, width))
        )
        places = {place: Place(rows[place], columns[place]) for place in tokens}
        if len(set(places.values())) < len(places):
            continue
        ys, xs = ([spot[axis] for spot in tokens.values()] for axis in (0, 1))
        box = Box(min(ys) - height / 2, min(xs) - width / 2, max(ys) + height / 2, max(xs) + width / 2)
        grids.append(TokenGrid(view, max(rows.values()) + 1, max(columns.values()) + 1, box, places))
    return grids


def _ranks(values: Mapping[int, float], size: float) -> dict[int, int]:
    """Values by their ranks; those nearer than a part of a cell are of one row."""
    ranks, rank, last = {}, -1, -np.inf
    for place, value in sorted(values.items(), key=lambda each: each[1]):
        rank += value - last > _SAME_ROW * size
        last = value if value - last > _SAME_ROW * size else last
        ranks[place] = rank
    return ranks
