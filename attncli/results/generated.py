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
    window: of a sound that has several, from 0.  start: the second of the sound at which the token begins, if known.
    """

    id: int
    text: str
    probability: float
    alternatives: tuple[PredictedToken, ...]
    reading: TokenReading | None = None
    window: Annotated[int | None, OPTIONAL] = None
    start: Annotated[float | None, OPTIONAL] = None


class TimedWord(Struct):
    """A word that was heard in a sound, from `start` to `end` in seconds. tokens: its first token and the one after its
    last, among all that were written.  window: the window of the sound, from 0."""

    text: str
    start: float
    end: float
    window: int
    tokens: tuple[int, int]


class Generated(Struct):
    """The tokens that the model wrote, each the likeliest. text: None without a tokenizer.  tokens: one by one.

    words: of a sound, where the model names heads that tell when each is said.
    """

    ids: tuple[int, ...]
    text: str | None
    tokens: Annotated[tuple[GeneratedToken, ...], OPTIONAL] = ()
    words: Annotated[tuple[TimedWord, ...], OPTIONAL] = ()
