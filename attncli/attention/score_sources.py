"""What wrote one score of `--steps`: q·k, split over the parts of the model that wrote to the streams of q and k."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor

from attncli.attention.collector import CollectedLayer
from attncli.attention.stacks import CollectedStack
from attncli.models.capture.score_path import PROJECTION_BIAS, HeadPart, ScorePlace, Vectors, follow_score
from attncli.results.steps import PartShare, ScoreSources, Steps

#: Up to so many parts of a side are told apart; of more, those that give least are added up.
_MOST_PARTS = 512
_OTHERS = "others"

#: Up to which remainder, relative to the sum of the contributions' sizes, rounding explains it, by the weights' format.
#: Many norms compute in float32 also in a model of float64.
_ROUNDING = {"float64": 1e-4, "float32": 1e-4}
_HALF_ROUNDING = 3e-2


def score_sources(
    stack: CollectedStack, layer: CollectedLayer, call: int, steps: Steps, query: int, key: int
) -> ScoreSources | None:
    """What wrote the score of a key. Runs the model once more.

    call: which of its attention module's calls the layer is.  query, key: their indices in the whole text.
    None where the way from the residual stream to q and k can't be followed, or a part of it is missing.
    """
    collector = stack.collector
    sizes = layer.sides.queries.length, layer.sides.keys.length
    place = ScorePlace(layer.path, call, steps.head, query, key, *sizes, stack.key.cross)
    written = follow_score(collector.model, collector.inputs.arguments, place)
    if written is None or not written.query or not written.key:
        return None
    names = _head_names(stack)
    query_names, queries = _named(written.query, names, f"query.{layer.number}.bias")
    key_names, keys = _named(written.key, names, f"key.{layer.number}.bias")
    terms, score = steps.scale * queries @ keys.T, float(steps.scaled[key])
    unexplained = score - float(terms.sum())
    if abs(unexplained) > _ROUNDING.get(collector.model.dtype, _HALF_ROUNDING) * _size(terms):
        return None
    terms, query_names = _without_the_least(terms, query_names)
    turned, key_names = _without_the_least(terms.T, key_names)
    query_parts = tuple(map(PartShare, query_names, turned.sum(0).tolist()))
    key_parts = tuple(map(PartShare, key_names, turned.sum(1).tolist()))
    return ScoreSources(steps.keys[key], score, query_parts, key_parts, turned.T.numpy(), unexplained)


def _size(terms: Tensor) -> float:
    """The sum of the sizes of a side's contributions, of the larger one, and 1 at least."""
    return max(1.0, *(float(terms.sum(axis).abs().sum()) for axis in (0, 1)))


def _head_names(stack: CollectedStack) -> dict[tuple[str, int], str]:
    """What stands before the numbers of heads, by their attention module and the number of its call."""
    layers, names = stack.collector.layers, {}
    for key, numbered in layers.items():
        word = stack.name if key == stack.key else stack.collector.possible_names(key)[0]
        calls: dict[str, int] = defaultdict(int)
        for number, layer in sorted(numbered.items()):
            names[layer.path, calls[layer.path]] = f"{word}.{number}" if len(layers) > 1 else f"{number}"
            calls[layer.path] += 1
    return names


def _named(vectors: Vectors, heads: Mapping[tuple[str, int], str], bias: str) -> tuple[list[str], Tensor]:
    """The names of the parts, and their vectors (parts, d). bias: the name of what the projection itself adds."""

    def name(part: str | HeadPart) -> str:
        if isinstance(part, HeadPart):
            # Heads that can't be read write as well.
            return f"{heads.get((part.path, part.call), part.path)}.{part.head}"
        return bias if part == PROJECTION_BIAS else part

    return [name(part) for part in vectors], torch.stack(list(vectors.values()))


def _without_the_least(terms: Tensor, names: list[str]) -> tuple[Tensor, list[str]]:
    """The rows of terms, and their names, at most `_MOST_PARTS`; of more, the last sums up those that give least."""
    if len(names) <= _MOST_PARTS:
        return terms, names
    order = terms.abs().sum(1).argsort(descending=True)
    kept, rest = order[: _MOST_PARTS - 1].sort().values, order[_MOST_PARTS - 1 :]
    return torch.cat([terms[kept], terms[rest].sum(0, keepdim=True)]), [
        *(names[each] for each in kept.tolist()),
        _OTHERS,
    ]
