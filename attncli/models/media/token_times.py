"""When each token that a model wrote of a sound was said, by the heads that the model's files name for it (Whisper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.utils import ModelOutput

if TYPE_CHECKING:
    from attncli.models.loading.loaded_model import LoadedModel

#: transformers' function that gives tokens their times.
_TIMES = "_extract_token_timestamps"
_DIGITS = 4


def alignment_heads(model: LoadedModel) -> list[tuple[int, int]]:
    """The (layer, head) of each head that follows a sound; none where the model names none, or transformers has no
    times for its tokens."""
    named = getattr(model.generation, "alignment_heads", None) or ()
    return [(layer, head) for layer, head in named] if hasattr(model.module, _TIMES) else []


def token_starts(
    model: LoadedModel, heads: Sequence[tuple[int, int]], weights: Mapping[int, Tensor], first: int, frames: int
) -> list[float]:
    """The second at which each token of the decoder begins, from the start of its window; 0 for those before `first`.

    weights: the cross-attention of a run on all tokens by layer, float32 (1, heads, queries, keys).
    frames: of the features that are sound and not silence after it.
    Dynamic time warping of the heads' mean, by transformers' own function: the numbers of its
    `generate(return_token_timestamps=True)`, where the last token, which the model has not read, repeats the time
    before it. Empty without weights, and for fewer than three new tokens.
    """
    rows = next((each.shape[2] for each in weights.values()), 0) - 1
    # Weights are set against their spread over tokens: one has none.
    if rows - first < 2 or not frames // 2:
        return []
    nothing = torch.zeros(1, 1, rows, 1)
    layers = range(int(model.config.decoder_layers))
    cross = tuple(weights[layer][:, :, :-1] if layer in weights else nothing for layer in layers)
    output = ModelOutput(cross_attentions=(cross,), sequences=torch.zeros(1, rows + 1, dtype=torch.long))
    extract: Any = getattr(model.module, _TIMES)
    times = extract(output, heads, num_frames=frames, num_input_ids=first)[0].tolist()
    return [round(time, _DIGITS) for time in times]  # of float32, as of steps of 0.02
