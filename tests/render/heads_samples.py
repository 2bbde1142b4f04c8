"""Results of `attn heads` as a renderer gets them, made up by hand."""

from __future__ import annotations

import re

import numpy as np

from attncli.metrics import METRICS
from attncli.results.base import MadeBy
from attncli.results.heads import HeadMetrics, HeadsResult, Layer, Stack
from attncli.results.patterns import Pattern, Weights
from attncli.results.tokens import Token

SGR = re.compile(r"\x1b\[[0-9;]*m")

UNIFORM = {
    "entropy": 2.4849,
    "distance": 3.9722,
    "confidence": 0.0833,
    "previous": 0.0833,
    "current": 0.0833,
    "next": 0.0833,
    "first": 0.0833,
    "special": 0.1667,
    "virtual_sink": 0.0,
    "duplicate": 0.0833,
    "induction": 0.0833,
}


def tokens(*texts: str) -> tuple[Token, ...]:
    """Tokens whose text is their raw form; those in [brackets] are special."""
    return tuple(Token(i, i, text, text, special=text.startswith("[")) for i, text in enumerate(texts))


SENTENCE = tokens("[CLS]", "the", "cat", "sat", "on", "the", "mat", "because", "it", "was", "tired", "[SEP]")


def head(name: str, *labels: str, **values: float | None) -> HeadMetrics:
    """A head by its name; a metric that isn't given has the value of uniform attention."""
    layer, index = (int(number) for number in name.split(".")[-2:])
    return HeadMetrics(name, layer, index, labels, {**UNIFORM, **values})


#: Two layers of four heads, and all that they can be.
HEADS = (
    head("0.0", "previous", previous=0.9123, entropy=0.4),
    head("0.1", "next", next=0.83, entropy=0.52),
    head("0.2", entropy=2.41, distance=4.1),
    head("0.3", "first", first=0.71, entropy=1.2),
    head("1.0", "special", "first", special=0.93, first=0.64, entropy=0.9),
    head("1.1", "induction", induction=0.6789, entropy=1.1),
    head("1.2", entropy=0.31, distance=2.5),
    head("1.3", entropy=2.2, distance=6.25),
)


def stack(*patterns: Pattern, heads: tuple[HeadMetrics, ...] = HEADS, **changes: object) -> Stack:
    """The stack of `HEADS` on `SENTENCE`, with whatever is to be different."""
    layers = tuple(Layer(layer, 4) for layer in range(2))
    fields = {"stack": "encoder", "layers": layers, "queries": SENTENCE, "keys": SENTENCE, "causal": False}
    baselines = dict.fromkeys(range(2), UNIFORM)
    return Stack(**{**fields, "metrics": heads, "baselines": baselines, "patterns": patterns, **changes})  # type: ignore[arg-type]


def result(*stacks: Stack, chosen: bool = False, model: str = "all-MiniLM-L6-v2") -> HeadsResult:
    return HeadsResult(model, "cpu", "float32", stacks, MadeBy("0.1.0"), chosen=chosen)


def on_offset(offset: int, size: int = 12) -> Weights:
    """Nine tenths on the token `offset` places away (or at the edge), the rest on the token itself."""
    rows = np.arange(size)
    weights = np.zeros((size, size), dtype=np.float32)
    weights[rows, rows] += 0.1
    weights[rows, np.clip(rows + offset, 0, size - 1)] += 0.9
    return weights


def even(size: int = 12, *, causal: bool = False) -> Weights:
    """Attention spread evenly over all that a query may see."""
    seen = np.tril(np.ones((size, size))) if causal else np.ones((size, size))
    return (seen / seen.sum(axis=1, keepdims=True)).astype(np.float32)


def pattern(name: str, weights: Weights) -> Pattern:
    layer, index = (int(number) for number in name.split("."))
    return Pattern(layer, index, weights)


def made_up_values(seed: int) -> dict[str, float | None]:
    """A value for every metric, some of them missing."""
    random = np.random.default_rng(seed)
    return {name: None if random.random() < 0.2 else float(random.random()) for name in METRICS}
