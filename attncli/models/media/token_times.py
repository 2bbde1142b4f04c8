"""When each token that a model wrote of a sound was said, by the heads that the model's files name for it (Whisper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.utils import ModelOutput

from attncli.models.capture.attention_types import all_weights

if TYPE_CHECKING:
    from attncli.attention.collector import Collector
    from attncli.models.capture.attention_types import Attention
    from attncli.models.loading.loaded_model import LoadedModel


@dataclass
class AlignmentReader:
    """Keeps the cross-attention of the heads that follow a sound, during a run on all tokens.

    heads: (layer, head) of each; none where the model names none, or transformers has no times for its tokens.
    weights: by layer, float32 (1, heads, queries, keys).
    """

    heads: Sequence[tuple[int, int]] = ()
    weights: dict[int, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, model: LoadedModel) -> AlignmentReader:
        named = getattr(model.generation, "alignment_heads", None) or ()
        return cls([(layer, head) for layer, head in named] if hasattr(model.module, _TIMES) else ())

    def __call__(self, collector: Collector, attention: Attention) -> None:
        key, number = collector.latest
        if key.cross and any(layer == number for layer, _ in self.heads):
            self.weights[number] = all_weights(attention).float().cpu()

    def token_starts(self, model: LoadedModel, first: int, frames: int) -> list[float]:
        """The second at which each token of the decoder begins, from the start of its window; those before `first`, and
        of too few new tokens, have 0 or none.

        frames: of the features that are sound and not silence after it. Dynamic time warping of the heads' mean, by
        transformers' own function: the numbers of its `generate(return_token_timestamps=True)`, where the last token,
        which the model has not read, repeats the time before it.
        """
        rows = next((weights.shape[2] for weights in self.weights.values()), 0) - 1
        # Weights are set against their spread over tokens: one has none.
        if rows - first < 2 or not frames // 2:
            return []
        nothing = torch.zeros(1, 1, rows, 1)
        layers = range(int(model.config.decoder_layers))
        cross = tuple(self.weights[layer][:, :, :-1] if layer in self.weights else nothing for layer in layers)
        output = ModelOutput(cross_attentions=(cross,), sequences=torch.zeros(1, rows + 1, dtype=torch.long))
        extract: Any = getattr(model.module, _TIMES)
        times = extract(output, self.heads, num_frames=frames, num_input_ids=first)[0].tolist()
        return [round(time, _DIGITS) for time in times]  # of float32, as of steps of 0.02


_DIGITS = 4

#: transformers' function that gives tokens their times.
_TIMES = "_extract_token_timestamps"
