"""Batches that leave every text's attention as it is alone (`BatchCheck`).

Padding leaks into the states of some models: a convolution over tokens (ConvBERT) reads it, and texts of one batch may
compete for experts. No field of a configuration says so; a model's attention shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor

from attncli.attention.inputs import build_inputs

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention
    from attncli.models.loading.loaded_model import LoadedModel
    from attncli.results.tokens import Token

#: By how much a weight may differ between two batches: by rounding alone.
_ROUNDING = {"float32": 1e-4, "float64": 1e-4}
_ROUNDING_OF_HALVES = 2e-2


class BatchText(Protocol):
    """A text of a batch: its tokens, and their segment ids (`token_type_ids`)."""

    @property
    def tokens(self) -> tuple[Token, ...]: ...
    @property
    def segments(self) -> tuple[int, ...]: ...


_Text = TypeVar("_Text", bound=BatchText)


@dataclass
class BatchCheck:
    """Splits batches as far as a model needs. It is found out by running two texts together and one of them alone, at
    the first batch and whenever texts are over twice as long as those before."""

    model: LoadedModel
    #: Whether texts of equal length, and of different lengths, may share a batch.
    _may_share: dict[bool, bool] = field(default_factory=lambda: {True: True, False: True})
    #: The longest text that was compared, of equal and of different lengths.
    _compared: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})

    def split(self, texts: Sequence[_Text]) -> Iterator[list[_Text]]:
        """The texts, the longest first, together; or those of equal length; or each alone."""
        longest, shortest = texts[0], texts[-1]
        length = len(longest.tokens)
        is_equal = length == len(shortest.tokens)
        if len(texts) > 1 and self._may_share[is_equal] and length > 2 * self._compared[is_equal]:
            self._compared[is_equal] = length
            self._may_share[is_equal] = self._reads_alike(longest, shortest)
        if len(texts) == 1 or self._may_share[is_equal]:
            yield list(texts)
        elif is_equal:
            yield from ([text] for text in texts)
        else:
            for _, group in groupby(texts, key=lambda text: len(text.tokens)):
                yield from self.split(list(group))

    def _reads_alike(self, longest: BatchText, shortest: BatchText) -> bool:
        """Whether the attention of the shorter text is the same beside a longer one as alone."""
        alone, beside = self._attention_of_last([shortest]), self._attention_of_last([longest, shortest])
        allowed = _ROUNDING.get(self.model.dtype, _ROUNDING_OF_HALVES)
        if alone.keys() != beside.keys():
            return False
        for call, weights in alone.items():
            _, queries, keys = weights.shape
            # Further queries and keys of the other batch are padding.
            other = beside[call][:, :queries, :keys]
            if other.shape != weights.shape or not bool(((other - weights).abs() <= allowed).all()):
                return False
        return True

    def _attention_of_last(self, texts: Sequence[BatchText]) -> dict[tuple[str, int], Tensor]:
        """The weights of the last text by the path of the module and the number of its call: (heads, queries, keys).

        As many queries as the text has tokens at most: further ones are padding.
        """
        found: dict[tuple[str, int], Tensor] = {}
        length = len(texts[-1].tokens)

        def observe(path: str, attention: Attention) -> None:
            rows = (0, min(length, attention.queries))
            weights = [block.weights[-1] for block in attention.blocks(rows=rows)]
            number = sum(1 for other, _ in found if other == path)
            found[path, number] = torch.cat(weights, dim=1).cpu()

        inputs = build_inputs(self.model, [text.tokens for text in texts], [text.segments for text in texts])
        self.model.run_attention(inputs.arguments, observe)
        return found
