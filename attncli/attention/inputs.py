"""A model's inputs for tokens, pictures and sounds, and the tokens that the positions of each stack stand for.

`choose_probe` and `probe_ids` give the text of `--probe`: random tokens, repeated. It shows which heads find earlier
copies and what followed them. In natural text a repeated token may be guessed from its context; among random tokens
only the repeat itself predicts the next one (Olsson et al. 2022, "In-context learning and induction heads").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from attncli.attention.metrics import NEITHER_TEXT, QueryKeySides, Side
from attncli.errors import UsageError
from attncli.models.loading.forward import accepted_arguments, needs_text
from attncli.results.heads import Probe
from attncli.results.patterns import Grid, Medium, PatchGrid
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.models.loading.loaded_model import LoadedModel


# --- Positions of a picture or a sound: patches are called `ROW,COLUMN` (`4,7`), frames by their time (`1.5s`)


class MediaPositions(Protocol):
    """The positions of a picture or a sound. name: what a stack that reads nothing else is called."""

    @property
    def name(self) -> str: ...

    def side(self, length: int) -> Side | None:
        """The `length` positions of a stack as tokens; None where it is unknown what they stand for."""
        ...


@dataclass(frozen=True)
class PicturePositions:
    """The patches of a picture.

    rows, columns: of patches at the model's input; towers that merge patches (Swin) halve both with each merge.
    before: the names of the tokens before the patches, such as a class token.  window: patches a side of a window,
    where each patch attends to those of its own window alone.
    """

    rows: int
    columns: int
    before: tuple[str, ...] = ()
    window: int | None = None

    @property
    def name(self) -> str:
        return "vision"

    def side(self, length: int) -> Side | None:
        grid = self._grid(length)
        if grid is None:
            return None
        special = tuple(f"[{name.upper()}]" for name in self.before[: grid.first])
        names = [*special, *(f"{row},{column}" for row in range(grid.rows) for column in range(grid.columns))]
        window = None if self.window is None else min(self.window, grid.rows, grid.columns)
        return _build_side(names, grid.first, Medium("patches", grid=grid, window=window))

    def _grid(self, length: int) -> Grid | None:
        """The grid with `length` positions: all patches and the tokens before them, or merged patches alone."""
        if length == len(self.before) + self.rows * self.columns:
            return Grid(self.rows, self.columns, len(self.before))
        rows, columns = self.rows, self.columns
        while rows * columns > length:
            rows, columns = (rows + 1) // 2, (columns + 1) // 2
        return Grid(rows, columns, 0) if rows * columns == length else None


@dataclass(frozen=True)
class TiledPositions:
    """The patches of several pictures or tiles, one after another, each with the tokens before its patches.

    before: the names of the tokens before the patches of each.  lengths: positions of each.  grids: of all patches.
    """

    before: tuple[str, ...]
    lengths: tuple[int, ...]
    grids: tuple[PatchGrid, ...]

    @property
    def name(self) -> str:
        return "vision"

    def side(self, length: int) -> Side | None:
        # A tower may pad each tile (Mllama), where all are of one size.
        added, rest = divmod(length - sum(self.lengths), len(self.lengths))
        if rest or added < 0 or (added and len(set(self.lengths)) > 1):
            return None
        grids = tuple(_spread(grid, self.lengths[0], added) for grid in self.grids)
        # Tiles of padding alone have no place in a picture.
        before, named = [f"[{name.upper()}]" for name in self.before], patch_names(grids)
        unnamed = [name for own in self.lengths for name in [*before, *["[PAD]"] * (own + added - len(before))]]
        names = [named.get(place, name) for place, name in enumerate(unnamed)]
        tokens = tuple(Token(place, place, name, name, special=place not in named) for place, name in enumerate(names))
        special = torch.tensor([[token.special for token in tokens]])
        ids, medium = torch.arange(length)[None], Medium("patches", pictures=grids)
        return Side(ids, special, torch.ones_like(special), (tokens,), medium=medium)


def _spread(grid: PatchGrid, length: int, added: int) -> PatchGrid:
    """A grid over tiles of a length, where so many positions are added to each."""
    places = (None if place is None else place + place // length * added for place in grid.places)
    return grid._replace(places=tuple(places))


@dataclass(frozen=True)
class UnnamedPositions:
    """The positions of a tower whose order is unknown: it may cut a picture into crops, or sort its patches anew."""

    @property
    def name(self) -> str:
        return "vision"

    def side(self, length: int) -> Side | None:
        return None


@dataclass(frozen=True)
class SoundPositions:
    """The frames of a sound.

    seconds: its length, with the silence that pads it.  step: seconds per position; None where that is unknown.
    start: the second at which they begin in a longer sound.
    """

    seconds: float
    step: float | None = None
    start: float = 0.0

    @property
    def name(self) -> str:
        return "audio"

    def side(self, length: int) -> Side | None:
        if not length:
            return None
        step = self.step or self.seconds / length
        names = [f"{self.start + index * step:.2f}s" for index in range(length)]
        return _build_side(names, 0, Medium("frames", seconds=step, start=self.start or None))


def _build_side(names: list[str], special: int, medium: Medium) -> Side:
    """A batch of one sequence, whose first `special` tokens are special."""
    tokens = tuple(Token(index, index, name, name, special=index < special) for index, name in enumerate(names))
    ids = torch.arange(len(tokens))[None]
    return Side(ids, ids < special, torch.ones_like(ids, dtype=torch.bool), (tokens,), medium=medium)


# --- The inputs of a model


@dataclass(frozen=True)
class ModelInputs:
    """A padded batch.

    arguments: keyword arguments of the model's forward pass.  main: the texts.  target: the decoder's tokens, in an
    encoder–decoder.  media: the picture or sound in addition to the texts, or instead of them.
    """

    arguments: dict[str, Tensor | bool]
    main: Side
    target: Side | None = None
    media: MediaPositions | None = None

    @property
    def batch(self) -> int:
        return self.main.ids.shape[0]

    @property
    def only_medium(self) -> str | None:
        """What stacks are called if a picture or a sound is the only input; None otherwise."""
        return self.media.name if self.media is not None and not self.main.length and self.target is None else None

    def sides(self, stack: str | None, cross: bool, queries: int, keys: int, virtual: int = 0) -> QueryKeySides:
        """The queries and keys of a stack.

        stack: its name, None where unknown.  cross: whether it is cross-attention.  queries, keys: how many it has.
        virtual: how many virtual tokens of an adapter may come before its tokens, as keys or as both.
        A stack whose length fits no text has tokens named after their position.
        """
        if cross:
            # An encoder that reads a text reads the picture with it.
            from_text = self.media is None or (self.target is not None and self.main.length)
            key_side = _fit_length(self.main, keys, virtual) if from_text else self._media_side(keys)
            return QueryKeySides(_fit_length(self.target or self.main, queries, virtual), key_side, same_sequence=False)
        side = self.target if stack == "decoder" and self.target is not None else self.main
        if self.media is not None and (stack == self.media.name or not side.length):
            return QueryKeySides(self._media_side(queries), self._media_side(keys), same_sequence=queries == keys)
        query_side, key_side = (_fit_length(side, length, virtual) for length in (queries, keys))
        # Keys and values of a prefix come before those of the text, and have no queries.
        prefix = virtual if queries == side.length and keys == queries + virtual else 0
        return QueryKeySides(query_side, key_side, same_sequence=keys == queries + prefix, prefix=prefix)

    def _media_side(self, length: int) -> Side:
        known = None if self.media is None else self.media.side(length)
        return known or _fit_length(EMPTY_SIDE, length)


#: A batch of one text without tokens.
EMPTY_SIDE = Side(
    ids=torch.zeros(1, 0, dtype=torch.long),
    special=torch.zeros(1, 0, dtype=torch.bool),
    real=torch.zeros(1, 0, dtype=torch.bool),
    tokens=((),),
)


def _fit_length(side: Side, length: int, virtual: int = 0) -> Side:
    """The side itself, or with virtual tokens before it; for another length, a side of unknown tokens, all different
    and none special."""
    if side.length == length:
        return side
    if virtual and side.length + virtual == length:
        return _with_virtual_tokens(side, virtual)
    batch = side.ids.shape[0]
    ids = torch.arange(length).expand(batch, -1)
    tokens = tuple(Token(index, index, str(index), str(index)) for index in range(length))
    return Side(ids, torch.zeros_like(ids, dtype=torch.bool), torch.ones_like(ids, dtype=torch.bool), (tokens,) * batch)


def _with_virtual_tokens(side: Side, count: int) -> Side:
    """The side with an adapter's virtual tokens before every text: special ones, whose ids are in no vocabulary."""
    # Not the id −1, which padding has where tokens are compared.
    tokens = tuple(
        Token(number - count, -2 - number, f"[P{number}]", f"[P{number}]", special=True) for number in range(count)
    )
    ids = torch.tensor([token.id for token in tokens]).expand(side.ids.shape[0], -1)
    yes = torch.ones_like(ids, dtype=torch.bool)
    return replace(
        side,
        ids=torch.cat([ids, side.ids], dim=1),
        special=torch.cat([yes, side.special], dim=1),
        real=torch.cat([yes, side.real], dim=1),
        tokens=tuple((*tokens, *text) for text in side.tokens),
        parts=None if side.parts is None else torch.cat([torch.full_like(ids, NEITHER_TEXT), side.parts], dim=1),
        virtual=count,
    )


def build_inputs(
    model: LoadedModel,
    texts: Sequence[Sequence[Token]],
    segments: Sequence[Sequence[int]] | None = None,
    *,
    sequences: Sequence[Sequence[int | None]] | None = None,
    target: Sequence[Token] | None = None,
    pad_left: bool = False,
) -> ModelInputs:
    """Pad the tokens of several texts to one length and name the tensors as the model's forward pass does.

    segments: token type ids.  sequences: 0 or 1 for the text that each token is in, None for neither.
    target: the tokens of an encoder–decoder's decoder, the same for each text; None for its start token alone.
    Raises UsageError for an id outside of the model's vocabulary, and a text that is too long for the model.
    """
    main = _with_parts(_checked_side(model, texts, pad_left=pad_left), sequences, pad_left)
    accepted = accepted_arguments(model.module)
    arguments: dict[str, Tensor | bool] = {"input_ids": main.ids, "attention_mask": main.real.long()}
    # Only if the model has an embedding for segments: GPT-2 would look them up in its token embedding.
    if segments is not None and "token_type_ids" in accepted and model.segments > 1:
        arguments["token_type_ids"] = _pad_rows(segments, main.length, pad_left)
    arguments |= _additional_arguments(model, main, accepted)
    if "use_cache" in accepted:
        # Nothing is generated, and a cache would keep every layer's keys and values in memory.
        arguments["use_cache"] = False
    if not model.is_encoder_decoder:
        return ModelInputs(arguments, main)
    decoder_side = _pad_texts([target or [_start_token(model)]] * len(texts), pad_left)
    if target is not None:
        _check_ids(model, [target])
    return ModelInputs({**arguments, "decoder_input_ids": decoder_side.ids}, main, decoder_side)


def build_media_inputs(
    model: LoadedModel,
    arguments: Mapping[str, Tensor],
    media: MediaPositions | None,
    text: Sequence[Token] = (),
    *,
    truncate: bool = False,
) -> ModelInputs:
    """The inputs for a picture or a sound, and a text if there is one.

    arguments: the tensors of the picture or sound.  media: its positions, if known.
    truncate: cut the text to what the model takes. A decoder, if there is one, gets its start token and the text.
    Raises UsageError for a text if the model reads none, and as `build_inputs` does.
    """
    given, accepted = _cast_arguments(model, arguments), model.all_arguments
    start = _start_token(model)
    if "decoder_input_ids" in accepted:
        tokens = tuple(text)
        # Some tokenizers put the start token first themselves.
        if not tokens or tokens[0].id != start.id:
            tokens = (start, *(token._replace(index=token.index + 1) for token in tokens))
        target = _checked_side(model, [tokens[: model.max_positions if truncate else None]])
        return ModelInputs({**given, "decoder_input_ids": target.ids}, EMPTY_SIDE, target, media)
    if not text and not needs_text(model.module, given):
        return ModelInputs(given, EMPTY_SIDE, None, media)
    if "input_ids" not in accepted:
        raise UsageError(
            f"{model.name} doesn't read text", hint="leave the text out, or use a model that reads both (-m)"
        )
    main = _checked_side(model, [(tuple(text) or (start,))[: model.max_positions if truncate else None]])
    given["input_ids"] = main.ids
    if "attention_mask" in accepted:
        given["attention_mask"] = main.real.long()
    return ModelInputs(given, main, None, media)


def build_prompt_inputs(
    model: LoadedModel,
    arguments: Mapping[str, Any],
    tokens: Sequence[Token],
    media: MediaPositions,
    grids: tuple[PatchGrid, ...] = (),
) -> ModelInputs:
    """The inputs for a text that holds the tokens of pictures.

    arguments: everything that the processor returned; what the forward pass doesn't take is left out, and so are
    labels.  tokens: of `input_ids`, where those of the picture may be named after its patches.  grids: of them.
    Raises UsageError for a text that is too long for the model.
    """
    accepted = model.all_arguments
    given = {name: value for name, value in arguments.items() if name in accepted and name != "labels"}
    given, main = _cast_arguments(model, given), _checked_side(model, [tokens])
    main = replace(main, medium=Medium(pictures=grids))
    # The tokens of a picture have one id, and show different patches: none repeats another.
    places = torch.arange(main.length)
    for token in (model.picture_token, model.video_token):
        if token is not None:
            main = replace(main, ids=torch.where(main.ids == token, -2 - places, main.ids))
    if "decoder_input_ids" not in accepted:
        return ModelInputs(given, main, None, media)
    target = _pad_texts([[_start_token(model)]], pad_left=False)
    return ModelInputs({**given, "decoder_input_ids": target.ids}, main, target, media)


def build_own_inputs(arguments: Mapping[str, Any], texts: Sequence[Sequence[Token]]) -> ModelInputs:
    """The inputs of a user's own module. texts: the tokens that they stand for, and of a decoder's, as far as known."""
    sides = [_pad_texts([text], pad_left=False) for text in texts]
    return ModelInputs(dict(arguments), sides[0] if sides else EMPTY_SIDE, sides[1] if len(sides) > 1 else None)


def id_rows(arguments: Mapping[str, Any]) -> list[list[int]]:
    """The rows of whole numbers among a module's inputs: (1, n), (n, 1) or (n,)."""
    whole = (
        each for each in arguments.values() if isinstance(each, Tensor) and each.dtype in (torch.int64, torch.int32)
    )
    return [each.flatten().tolist() for each in whole if each.ndim and each.numel() == max(each.shape)]


def _cast_arguments(model: LoadedModel, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the forward pass in the model's number format."""
    dtype = model.module.dtype
    # Nothing is generated, and a cache would keep every layer's keys and values in memory.
    cache = {"use_cache": False} if "use_cache" in model.all_arguments else {}
    return {
        name: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in arguments.items()
    } | cache


def name_patches(tokens: Sequence[Token], picture_token: int, grids: Sequence[PatchGrid]) -> tuple[Token, ...]:
    """The tokens, those of pictures named `ROW,COLUMN`. Those without a place keep their spelling."""
    names = patch_names(grids)
    return tuple(
        token
        if token.id != picture_token
        else token._replace(token=names.get(place, token.token), text=names.get(place, token.text), special=False)
        for place, token in enumerate(tokens)
    )


def patch_names(grids: Sequence[PatchGrid]) -> dict[int, str]:
    """The names of positions that stand for patches: `ROW,COLUMN`, of the second picture `2:ROW,COLUMN`, of a view
    `view:ROW,COLUMN`."""
    return {
        place: f"{grid.name}{number // grid.columns},{number % grid.columns}"
        for grid in grids
        for number, place in enumerate(grid.places)
        if place is not None
    }


def with_decoder_texts(model: LoadedModel, inputs: ModelInputs, texts: Sequence[Sequence[Token]]) -> ModelInputs:
    """An encoder–decoder's inputs with texts of equal length for the decoder, after its start token."""
    start = _start_token(model)
    rows = [(start, *(token._replace(index=token.index + 1) for token in tokens)) for tokens in texts]
    target = _pad_texts(rows, pad_left=False)
    return replace(inputs, arguments={**inputs.arguments, "decoder_input_ids": target.ids}, target=target)


def _checked_side(model: LoadedModel, texts: Sequence[Sequence[Token]], *, pad_left: bool = False) -> Side:
    longest, limit = max(len(tokens) for tokens in texts), model.max_positions
    if longest == 0:
        raise UsageError("the text is empty", hint="give a text, or token ids with --input-ids")
    if limit is not None and longest > limit:
        raise UsageError(
            f"the text has {longest:,} tokens, and the model accepts at most {limit:,}",
            hint="add --truncate to shorten it",
        )
    _check_ids(model, texts)
    return _pad_texts(texts, pad_left)


def _start_token(model: LoadedModel) -> Token:
    """The token that the decoder starts with."""
    text = f"<{model.decoder_start}>"
    return Token(0, model.decoder_start, text, text, special=True)


def _additional_arguments(model: LoadedModel, main: Side, accepted: frozenset[str]) -> dict[str, Tensor]:
    """Arguments that some models need in addition to the tokens.

    Document models get one bounding box for all tokens, and models with language adapters the first language unless
    their configuration names another.
    """
    required = {}
    if "bbox" in accepted:
        # Integers where coordinates are looked up in embeddings, fractions of the page where distances are computed.
        tables = any("x_position" in path for path, _ in model.module.named_modules())
        whole = tables and not hasattr(model.config, "relative_bias_args")
        required["bbox"] = torch.zeros(*main.ids.shape, 4, dtype=torch.long if whole else torch.float32)
    if "lang_ids" in accepted and getattr(model.config, "default_language", None) is None:
        required["lang_ids"] = torch.zeros(main.ids.shape[0], dtype=torch.long)
    return required


def _with_parts(side: Side, sequences: Sequence[Sequence[int | None]] | None, pad_left: bool) -> Side:
    """The side with its `parts`, if it holds two texts."""
    if sequences is None or not all(1 in row for row in sequences):
        return side
    rows = [
        [NEITHER_TEXT if part is None or token.special else part for part, token in zip(row, tokens, strict=True)]
        for row, tokens in zip(sequences, side.tokens, strict=True)
    ]
    padded = _pad_rows(rows, side.length, pad_left)
    return replace(side, parts=padded.masked_fill(~side.real, -1))


def _pad_texts(texts: Sequence[Sequence[Token]], pad_left: bool) -> Side:
    length = max(len(tokens) for tokens in texts)
    fields = (
        [[token.id for token in tokens] for tokens in texts],
        [[int(token.special) for token in tokens] for tokens in texts],
        [[1] * len(tokens) for tokens in texts],
    )
    ids, special, real = (_pad_rows(rows, length, pad_left) for rows in fields)
    return Side(ids, special.bool(), real.bool(), tuple(tuple(tokens) for tokens in texts))


def _pad_rows(rows: Sequence[Sequence[int]], length: int, left: bool) -> Tensor:
    """Rows of numbers padded with zeros, (batch, length)."""
    fills = [[0] * (length - len(row)) for row in rows]
    return torch.tensor([[*fill, *row] if left else [*row, *fill] for row, fill in zip(rows, fills, strict=True)])


def _check_ids(model: LoadedModel, texts: Sequence[Sequence[Token]]) -> None:
    largest = max(token.id for tokens in texts for token in tokens)
    size = model.vocabulary_size
    if size is not None and largest >= size:
        raise UsageError(
            f"the token id {largest} is not in the model's vocabulary", hint=f"its token ids are 0 to {size - 1}"
        )


# --- The probe of repeated random tokens

#: The usual probe: number of sequences, of different tokens in each, and of repeats of these.
PROBE_SEQUENCES, PROBE_TOKENS, PROBE_REPEATS = 8, 25, 4


def choose_probe(limit: int | None, ordinary: int, *, before: int, seed: int = 0) -> Probe:
    """The usual probe, or one of fewer tokens if the model has fewer positions or tokens.

    limit: the model's positions.  ordinary: its tokens that aren't special.  before: special tokens that come first.
    Raises UsageError if not even two tokens can be repeated.
    """
    room = PROBE_TOKENS if limit is None else (limit - before) // PROBE_REPEATS
    tokens = min(PROBE_TOKENS, room, ordinary)
    if tokens < 2:
        lack = f"{limit} positions" if room < 2 else f"{ordinary} ordinary tokens"
        raise UsageError(f"--probe needs more than the model has: {lack}", hint="give a text instead of --probe")
    return Probe(PROBE_SEQUENCES, tokens, PROBE_REPEATS, seed)


def probe_ids(probe: Probe, ordinary: Sequence[int], first: int | None = None) -> list[list[int]]:
    """The ids of every sequence: `first`, if there is one, then different random tokens, repeated.

    >>> probe_ids(Probe(sequences=1, tokens=2, repeats=3, seed=0), [5, 6, 7], first=1)
    [[1, 6, 7, 6, 7, 6, 7]]
    """
    random = Random(probe.seed)
    begin = [] if first is None else [first]
    return [begin + random.sample(ordinary, probe.tokens) * probe.repeats for _ in range(probe.sequences)]
