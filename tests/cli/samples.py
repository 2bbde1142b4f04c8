"""Results written by hand, for the tests of what is made of them."""

from __future__ import annotations

import numpy as np

from attncli.results.base import MadeBy
from attncli.results.costs import Costs, Flops
from attncli.results.heads import HeadMetrics, HeadsResult, Layer, Stack
from attncli.results.params import Active, Component, ModelParameters, ParameterCount, ParamsResult, PerHead
from attncli.results.params import Layer as CountedLayer
from attncli.results.patterns import Bins, Pattern
from attncli.results.tokenize import TokenizedText, TokenizeResult, TokenStats
from attncli.results.tokens import Token

MADE_BY = MadeBy("0.1.0", tokenizers="0.23.1", model_class="BertTokenizer")

STATS = TokenStats(
    tokens=2,
    special_tokens=1,
    words=1,
    characters=6,
    bytes=7,
    bytes_per_token=3.5,
    characters_per_token=3.0,
    fertility=2.0,
    continued_words=1,
    continued_words_share=1.0,
    unknown=0,
    unknown_share=0.0,
)

CLS = Token(0, 101, "[CLS]", "[CLS]", special=True)
EM = Token(1, 7861, "em", "em", 0, 2, 0, 2, 0)
BED = Token(2, 8270, '##"bé,"', '"bé,"', 2, 6, 2, 7, 0)


def tokenized(record: int = 0, model: str = "bert", text: str | None = 'em"bé,"') -> TokenizedText:
    return TokenizedText(record, model, text, (CLS, EM, BED), STATS, max_length=512)


def tokenize_result(*texts: TokenizedText, warnings: tuple[str, ...] = ()) -> TokenizeResult:
    return TokenizeResult(texts or (tokenized(),), MADE_BY, warnings)


def head_metrics(layer: int, head: int, entropy: float | None, *labels: str) -> HeadMetrics:
    return HeadMetrics(f"{layer}.{head}", layer, head, labels, {"entropy": entropy, "first": 0.25})


QUARTERS = np.array([[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.5, 0.25, 0.25]], dtype=np.float32)


def stack(*patterns: Pattern, name: str = "decoder") -> Stack:
    return Stack(
        stack=name,
        layers=(Layer(0, 2), Layer(1, 0, "mamba"), Layer(2, 1)),
        queries=(CLS, EM, BED),
        keys=(CLS, EM, BED),
        metrics=(head_metrics(0, 0, 0.5), head_metrics(0, 1, None, "first", "special"), head_metrics(2, 0, 0.1)),
        baselines={0: {"entropy": 0.75, "first": 0.5}, 2: {"entropy": None, "first": 0.5}},
        causal=True,
        patterns=patterns,
    )


def heads_result(*stacks: Stack, warnings: tuple[str, ...] = (), chosen: bool = False) -> HeadsResult:
    return HeadsResult("tiny", "cpu", "float32", stacks or (stack(),), MADE_BY, warnings, chosen)


PATTERN = Pattern(2, 0, QUARTERS)
POOLED = Pattern(2, 0, np.array([[0.5, 0.5], [0.75, 0.25]], dtype=np.float32), Bins(((0, 1), (1, 3)), ((0, 2), (2, 3))))


def counted_model(model: str = "tiny") -> ModelParameters:
    """Four tokens of width 2, and two layers of one matrix each."""
    layer = (Component("text", "mlp.up", 4, 2),)
    components = (Component("text", "embedding.token", 8, 0), Component("text", "mlp.up", 8, 4))
    layers = tuple(CountedLayer("text", index, "h", layer) for index in range(2))
    counted = ParameterCount(
        model,
        "config",
        20,
        components,
        layers,
        (("a.weight", "b.weight"),),
        (),
        PerHead(1, 1, 1, 1, heads=1, layer=4, key_value_heads=1),
        Active(20, 12),
    )
    return ModelParameters(counted, Costs(20, None, Flops(16, 24, 0), (), attends=False), "TinyModel", "float32")


def params_result(*models: ModelParameters, warnings: tuple[str, ...] = ()) -> ParamsResult:
    return ParamsResult(models or (counted_model(),), MADE_BY, warnings=warnings)
