"""What a model wrote by itself, token by token: probabilities from its logits, readings from its attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from attncli.attention.effects.tokens import name_token
from attncli.results.effects import KeyReading, PredictedToken
from attncli.results.generated import Generated, GeneratedToken, HeadReading, TokenReading

if TYPE_CHECKING:
    from torch import Tensor

    from attncli.attention.generation_trace import StrongestRead
    from attncli.attention.stacks import CollectedStack
    from attncli.models.tokenizers.types import Tokenizer

#: Other likely tokens that are kept of each new one.
_ALTERNATIVES = 5


def describe_generated(tokenizer: Tokenizer | None, ids: Sequence[int], logits: Tensor) -> Generated:
    """New tokens and how likely each was. logits: the model's own where each was predicted, (tokens, vocabulary)."""
    text = None if tokenizer is None else tokenizer.decode(list(ids))
    tokens = tuple(_written(tokenizer, number, row) for number, row in zip(ids, logits, strict=True))
    return Generated(tuple(ids), text, tokens)


def _written(tokenizer: Tokenizer | None, number: int, logits: Tensor) -> GeneratedToken:
    probabilities = logits.float().softmax(-1)
    likeliest = probabilities.topk(min(_ALTERNATIVES + 1, len(probabilities))).indices.tolist()
    others = [other for other in likeliest if other != number][:_ALTERNATIVES]
    alternatives = tuple(
        PredictedToken(*name_token(other, tokenizer, "--generate"), float(probabilities[other])) for other in others
    )
    return GeneratedToken(*name_token(number, tokenizer, "--generate"), float(probabilities[number]), alternatives)


def add_readings(generated: Generated, collected: Sequence[CollectedStack]) -> Generated:
    """The new tokens with what was read to write each."""
    readings = _token_readings(collected)
    if not readings:
        return generated
    read = (replace(token, reading=each) for token, each in zip(generated.tokens, readings, strict=True))
    return replace(generated, tokens=tuple(read))


def _token_readings(collected: Sequence[CollectedStack]) -> tuple[TokenReading, ...]:
    """What each new token was written from: in an encoder–decoder, what was read of the encoder's text.

    Empty where the stack that wrote them is not shown.
    """
    traced = [(stack, trace) for stack in collected if (trace := stack.collector.traces.get(stack.key)) is not None]
    traced.sort(key=lambda pair: not pair[0].key.cross)
    if not traced:
        return ()
    stack, trace = traced[0]
    assert trace.sums is not None and trace.ordinary is not None
    means = (trace.sums / trace.heads).masked_fill(~trace.ordinary, -1.0)
    texts = [token.text for token in next(iter(stack.layers.values())).sides.keys.tokens[0]]
    return tuple(
        _reading(stack, query, row, strongest, texts)
        for query, row, strongest in zip(trace.rows, means, trace.strongest, strict=True)
    )


def _reading(
    stack: CollectedStack, query: int, means: Tensor, strongest: StrongestRead | None, texts: Sequence[str]
) -> TokenReading:
    if strongest is None:
        return TokenReading(stack.name, query, None, None)
    place = int(means.argmax())
    name = f"{stack.prefix}{strongest.layer}.{strongest.head}"
    head = HeadReading(name, strongest.place, texts[strongest.place], strongest.weight)
    return TokenReading(stack.name, query, KeyReading(place, texts[place], float(means[place])), head)
