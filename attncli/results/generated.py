"""What a model wrote by itself (`--generate`): its tokens, how sure it was of each, and what it looked at."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from attncli.results.base import struct
from attncli.results.effects import KeyReading, PredictedToken
from attncli.results.marks import OPTIONAL
from attncli.results.struct import Struct


@struct()
class HeadReading(NamedTuple):
    """The key that one head reads. index: the key's place among the stack's keys.  weight: the head's attention."""

    name: str
    index: int  # type: ignore[assignment]  # shadows the method of tuples
    text: str
    weight: float


class TokenReading(Struct):
    """What was read at the position that a new token was predicted at, of ordinary tokens other than itself.

    stack: the one whose keys these are: `cross` in an encoder–decoder.  query: the position, the one before the token.
    key: the token with the largest mean weight over all heads of the stack.
    head: the head that is the furthest above uniform attention on one token.
    Both are None where only special tokens, the first token and the position itself can be read.
    """

    stack: str
    query: int
    key: KeyReading | None
    head: HeadReading | None


class GeneratedToken(Struct):
    """A token that the model wrote.

    probability: the softmax of the model's own logits.  alternatives: the likeliest other tokens there.
    reading: None where the attention of the stack that wrote it is not shown.
    """

    id: int
    text: str
    probability: float
    alternatives: tuple[PredictedToken, ...]
    reading: TokenReading | None = None


class Generated(Struct):
    """The tokens that the model wrote, each the likeliest. text: None without a tokenizer.  tokens: one by one."""

    ids: tuple[int, ...]
    text: str | None
    tokens: Annotated[tuple[GeneratedToken, ...], OPTIONAL] = ()
