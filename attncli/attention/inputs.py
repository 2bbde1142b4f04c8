"""Tokens of one or several texts -> the tensors that a model takes, and who looks at whom in each of its stacks.

Random tokens, repeated: the text that shows which heads find earlier copies, and what followed them.

In natural text a repeated token may be guessed from its surroundings. Among random ones nothing but the repeat itself
tells what comes next (Olsson et al. 2022, "In-context learning and induction heads").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.attention.metrics import QueryKeySides, Side, assign_parts
from attncli.errors import UsageError
from attncli.results.heads import Probe
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.attention.media_positions import MediaPositions
    from attncli.models.loading.loaded_model import LoadedModel


@dataclass(frozen=True)
class ModelInputs:
    """A padded batch.

    arguments: keyword arguments of the model's forward pass.  main: the texts.  target: what the decoder of an
    encoder–decoder is given.  scene: the picture or sound that is seen beside the texts, or instead of them.
    """

    arguments: dict[str, Tensor | bool]
    main: Side
    target: Side | None = None
    scene: MediaPositions | None = None

    @property
    def batch(self) -> int:
        return self.main.ids.shape[0]

    @property
    def only_scene(self) -> str | None:
        """What a stack is called where all stacks look at a picture, or a sound, and nothing else."""
        return self.scene.name if self.scene is not None and not self.main.length and self.target is None else None

    def pair(self, stack: str | None, cross: bool, queries: int, keys: int) -> QueryKeySides:
        """Who looks at whom in a stack. A tower that sees neither text has positions for tokens."""
        if cross:
            seen = self._of_scene(keys) or _fit_length(self.main, keys)
            return QueryKeySides(_fit_length(self.target or self.main, queries), seen, same=False)
        side = self.target if stack == "decoder" and self.target is not None else self.main
        if self.scene is not None and (stack == self.scene.name or not side.length):
            sides = [self._of_scene(length) or _fit_length(side, length) for length in (queries, keys)]
            return QueryKeySides(sides[0], sides[1], same=queries == keys)
        return QueryKeySides(_fit_length(side, queries), _fit_length(side, keys), same=queries == keys)

    def _of_scene(self, length: int) -> Side | None:
        return None if self.scene is None else self.scene.side(length)


#: A batch of one without a token.
EMPTY_SIDE = Side(
    ids=torch.zeros(1, 0, dtype=torch.long),
    special=torch.zeros(1, 0, dtype=torch.bool),
    real=torch.zeros(1, 0, dtype=torch.bool),
    tokens=((),),
)


def _fit_length(side: Side, length: int) -> Side:
    """The side itself, or where its length differs one whose tokens are unknown: each its own, none special."""
    if side.length == length:
        return side
    batch = side.ids.shape[0]
    ids = torch.arange(length).expand(batch, -1)
    tokens = tuple(Token(index, index, str(index), str(index)) for index in range(length))
    return Side(ids, torch.zeros_like(ids, dtype=torch.bool), torch.ones_like(ids, dtype=torch.bool), (tokens,) * batch)


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

    sequences: which of two texts each token is of, None of neither.
    target: what an encoder–decoder's decoder is given with each text; its start token alone where there is none.

    Raises UsageError for an id outside of the model's
    token table, or a text that is longer than its positions.
    """
    _check_texts(model, texts)
    main = _with_parts(_pad_texts(texts, pad_left), sequences, pad_left)
    accepted = model.accepted_arguments
    arguments: dict[str, Tensor | bool] = {"input_ids": main.ids, "attention_mask": main.real.long()}
    # Only where the model has an embedding for segments: GPT-2 would take them for tokens and add those.
    if segments is not None and "token_type_ids" in accepted and model.segments > 1:
        arguments["token_type_ids"] = _pad_rows(segments, main.length, pad_left)
    arguments |= _additional_arguments(model, main, accepted)
    if "use_cache" in accepted:
        # Nothing is generated, and a cache would keep every layer's keys and values alive.
        arguments["use_cache"] = False
    if not model.config.is_encoder_decoder:
        return ModelInputs(arguments, main)
    start = Token(0, model.decoder_start, f"<{model.decoder_start}>", f"<{model.decoder_start}>", special=True)
    given = _pad_texts([target or [start]] * len(texts), pad_left)
    if target is not None:
        _check_ids(model, [target])
    return ModelInputs({**arguments, "decoder_input_ids": given.ids}, main, given)


def build_media_inputs(
    model: LoadedModel,
    arguments: Mapping[str, Tensor],
    scene: MediaPositions | None,
    text: Sequence[Token] = (),
    *,
    truncate: bool = False,
) -> ModelInputs:
    """A picture or a sound, made ready as tensors, and a text with it if there is one.

    scene: what their positions stand for, where that is known. The decoder of an encoder–decoder, and of a model that
    puts into words what it sees, is given its start token and the text.  truncate: as much of these as it takes.

    Raises UsageError for a text where the model reads none, and as `build_inputs` does.
    """
    dtype = model.module.dtype
    given: dict[str, Tensor | bool] = {
        name: value.to(dtype) if value.is_floating_point() else value for name, value in arguments.items()
    }
    accepted = model.all_arguments
    if "use_cache" in accepted:
        given["use_cache"] = False
    start = Token(0, model.decoder_start, f"<{model.decoder_start}>", f"<{model.decoder_start}>", special=True)
    if "decoder_input_ids" in accepted:
        tokens = tuple(text)
        # The tokenizers of some models begin with it themselves.
        if not tokens or tokens[0].id != start.id:
            tokens = (start, *(token._replace(index=token.index + 1) for token in tokens))
        target = _checked_side(model, tokens, truncate=truncate)
        return ModelInputs({**given, "decoder_input_ids": target.ids}, EMPTY_SIDE, target, scene)
    if not text and not model.needs_text(given):
        return ModelInputs(given, EMPTY_SIDE, None, scene)
    if "input_ids" not in accepted:
        raise UsageError(f"{model.name} reads no text", hint="leave the text out, or name a model that reads both (-m)")
    main = _checked_side(model, tuple(text) or (start,), truncate=truncate)
    given["input_ids"] = main.ids
    if "attention_mask" in accepted:
        given["attention_mask"] = main.real.long()
    return ModelInputs(given, main, None, scene)


def _checked_side(model: LoadedModel, tokens: Sequence[Token], *, truncate: bool) -> Side:
    kept = tokens[: model.max_positions if truncate else None]
    _check_texts(model, [kept])
    return _pad_texts([kept], pad_left=False)


def _additional_arguments(model: LoadedModel, main: Side, accepted: frozenset[str]) -> dict[str, Tensor]:
    """What some models need beside the tokens, where a text says nothing of it.

    Models of pages get one place for all tokens, and models with a part for each language their first one unless
    their configuration names another.
    """
    required = {}
    if "bbox" in accepted:
        # Places are looked up in tables, as whole numbers; where distances are taken of them, they are parts of a page.
        tables = any("x_position" in path for path, _ in model.module.named_modules())
        whole = tables and not hasattr(model.config, "relative_bias_args")
        required["bbox"] = torch.zeros(*main.ids.shape, 4, dtype=torch.long if whole else torch.float32)
    if "lang_ids" in accepted and getattr(model.config, "default_language", None) is None:
        required["lang_ids"] = torch.zeros(main.ids.shape[0], dtype=torch.long)
    return required


def _with_parts(side: Side, sequences: Sequence[Sequence[int | None]] | None, pad_left: bool) -> Side:
    """The side with the parts of its texts, where there are two of them."""
    if sequences is None or not all(1 in row for row in sequences):
        return side
    rows = [
        assign_parts(row, [token.special for token in tokens])
        for row, tokens in zip(sequences, side.tokens, strict=True)
    ]
    padded = _pad_rows(rows, side.length, pad_left)
    return replace(side, parts=padded.masked_fill(~side.real, -1))


def _pad_texts(texts: Sequence[Sequence[Token]], pad_left: bool) -> Side:
    length = max(len(tokens) for tokens in texts)
    rows = [[token.id for token in tokens] for tokens in texts]
    special = [[int(token.special) for token in tokens] for tokens in texts]
    real = [[1] * len(tokens) for tokens in texts]
    ids, special_rows, real_rows = (_pad_rows(values, length, pad_left) for values in (rows, special, real))
    return Side(ids, special_rows.bool(), real_rows.bool(), tuple(tuple(tokens) for tokens in texts))


def _pad_rows(rows: Sequence[Sequence[int]], length: int, left: bool) -> Tensor:
    """Rows of numbers filled up with zeros, (batch, length)."""
    fills = [[0] * (length - len(row)) for row in rows]
    return torch.tensor([[*fill, *row] if left else [*row, *fill] for row, fill in zip(rows, fills, strict=True)])


def _check_texts(model: LoadedModel, texts: Sequence[Sequence[Token]]) -> None:
    longest = max(len(tokens) for tokens in texts)
    if longest == 0:
        raise UsageError("the text is empty", hint="give some text, or ids with --input-ids")
    limit = model.max_positions
    if limit is not None and longest > limit:
        raise UsageError(f"the text has {longest:,} tokens and the model takes {limit:,}", hint="--truncate cuts it")
    _check_ids(model, texts)


def _check_ids(model: LoadedModel, texts: Sequence[Sequence[Token]]) -> None:
    largest = max(token.id for tokens in texts for token in tokens)
    size = model.vocabulary_size
    if size is not None and largest >= size:
        raise UsageError(f"the id {largest} is not in the model's vocabulary", hint=f"ids run from 0 to {size - 1}")


#: How many sequences, of how many different tokens, each how many times over.
PROBE_SEQUENCES, PROBE_TOKENS, PROBE_REPEATS = 8, 25, 4


def choose_probe(limit: int | None, ordinary: int, *, before: int, seed: int = 0) -> Probe:
    """The usual probe, or one of fewer tokens where the model takes fewer positions or has fewer tokens.

    before: how many special tokens come first.  Raises UsageError where not even two tokens can be repeated.
    """
    room = PROBE_TOKENS if limit is None else (limit - before) // PROBE_REPEATS
    tokens = min(PROBE_TOKENS, room, ordinary)
    if tokens < 2:
        lack = f"{limit} positions" if room < 2 else f"{ordinary} ordinary tokens"
        raise UsageError(f"the model has {lack}, too few to repeat some", hint="give a text instead of --probe")
    return Probe(PROBE_SEQUENCES, tokens, PROBE_REPEATS, seed)


def probe_ids(probe: Probe, ordinary: Sequence[int], first: int | None = None) -> list[list[int]]:
    """The ids of every sequence: `first`, if there is one, then different random tokens, over and over.

    >>> probe_ids(Probe(sequences=1, tokens=2, repeats=3, seed=0), [5, 6, 7], first=1)
    [[1, 6, 7, 6, 7, 6, 7]]
    """
    chance = Random(probe.seed)
    begin = [] if first is None else [first]
    return [begin + chance.sample(ordinary, probe.tokens) * probe.repeats for _ in range(probe.sequences)]


def with_decoder_texts(model: LoadedModel, inputs: ModelInputs, texts: Sequence[Sequence[Token]]) -> ModelInputs:
    """An encoder–decoder's inputs with texts of one length for the decoder too, behind its start token."""
    start = Token(0, model.decoder_start, f"<{model.decoder_start}>", f"<{model.decoder_start}>", special=True)
    rows = [(start, *(token._replace(index=token.index + 1) for token in tokens)) for tokens in texts]
    ids = torch.tensor([[token.id for token in row] for row in rows])
    special = torch.tensor([[token.special for token in row] for row in rows])
    target = Side(ids, special, torch.ones_like(special), tuple(rows))
    return replace(inputs, arguments={**inputs.arguments, "decoder_input_ids": ids}, target=target)
