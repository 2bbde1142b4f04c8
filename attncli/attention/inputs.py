"""Tokens of one or several texts -> the tensors that a model takes, and who looks at whom in each of its stacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attncli.attention.metrics import Pair, Side
from attncli.attention.quadrants import parts_of
from attncli.errors import UsageError
from attncli.results.tokens import Token

if TYPE_CHECKING:
    from attncli.models.loaded import LoadedModel


@dataclass(frozen=True)
class ModelInputs:
    """A padded batch.

    arguments: keyword arguments of the model's forward pass.  main: the texts.  target: what the decoder of an
    encoder–decoder is given.
    """

    arguments: dict[str, Tensor | bool]
    main: Side
    target: Side | None = None

    @property
    def batch(self) -> int:
        return self.main.ids.shape[0]

    def pair(self, stack: str | None, cross: bool, queries: int, keys: int) -> Pair:
        """Who looks at whom in a stack. A tower that sees neither text has positions for tokens."""
        if cross:
            return Pair(_fitting(self.target or self.main, queries), _fitting(self.main, keys), same=False)
        side = self.target if stack == "decoder" and self.target is not None else self.main
        return Pair(_fitting(side, queries), _fitting(side, keys), same=queries == keys)


def _fitting(side: Side, length: int) -> Side:
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
    _check(model, texts)
    main = _in_parts(_padded(texts, pad_left), sequences, pad_left)
    accepted = model.accepted_arguments
    arguments: dict[str, Tensor | bool] = {"input_ids": main.ids, "attention_mask": main.real.long()}
    # Only where the model has an embedding for segments: GPT-2 would take them for tokens and add those.
    if segments is not None and "token_type_ids" in accepted and model.segments > 1:
        arguments["token_type_ids"] = _padded_rows(segments, main.length, pad_left)
    arguments |= _required_beside(model, main, accepted)
    if "use_cache" in accepted:
        # Nothing is generated, and a cache would keep every layer's keys and values alive.
        arguments["use_cache"] = False
    if not model.config.is_encoder_decoder:
        return ModelInputs(arguments, main)
    start = Token(0, model.decoder_start, f"<{model.decoder_start}>", f"<{model.decoder_start}>", special=True)
    given = _padded([target or [start]] * len(texts), pad_left)
    if target is not None:
        _check_ids(model, [target])
    return ModelInputs({**arguments, "decoder_input_ids": given.ids}, main, given)


def _required_beside(model: LoadedModel, main: Side, accepted: frozenset[str]) -> dict[str, Tensor]:
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


def _in_parts(side: Side, sequences: Sequence[Sequence[int | None]] | None, pad_left: bool) -> Side:
    """The side with the parts of its texts, where there are two of them."""
    if sequences is None or not all(1 in row for row in sequences):
        return side
    rows = [
        parts_of(row, [token.special for token in tokens]) for row, tokens in zip(sequences, side.tokens, strict=True)
    ]
    padded = _padded_rows(rows, side.length, pad_left)
    return replace(side, parts=padded.masked_fill(~side.real, -1))


def _padded(texts: Sequence[Sequence[Token]], pad_left: bool) -> Side:
    length = max(len(tokens) for tokens in texts)
    rows = [[token.id for token in tokens] for tokens in texts]
    special = [[int(token.special) for token in tokens] for tokens in texts]
    real = [[1] * len(tokens) for tokens in texts]
    ids, special_rows, real_rows = (_padded_rows(values, length, pad_left) for values in (rows, special, real))
    return Side(ids, special_rows.bool(), real_rows.bool(), tuple(tuple(tokens) for tokens in texts))


def _padded_rows(rows: Sequence[Sequence[int]], length: int, left: bool) -> Tensor:
    """Rows of numbers filled up with zeros, (batch, length)."""
    fills = [[0] * (length - len(row)) for row in rows]
    return torch.tensor([[*fill, *row] if left else [*row, *fill] for row, fill in zip(rows, fills, strict=True)])


def _check(model: LoadedModel, texts: Sequence[Sequence[Token]]) -> None:
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
