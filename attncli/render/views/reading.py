"""What one position reads, and one weight in every head, as sentences."""

from __future__ import annotations

from typing import NamedTuple

from attncli.render.views.header import unit_noun
from attncli.render.views.sentences import NO_BREAK, Position, Sentence, Words, quiet, strong
from attncli.results.heads import Stack
from attncli.results.patterns import ColumnReading, HeadRead, HeadWeight, KeyRead, Ranking, RowReading

#: The words beside the mark that points at the query.
LOOKS_FROM_HERE = "looks from here"
#: The same of a rollout.
ARRIVES_HERE = "arrives here"
# A head tells of a key from so many times uniform attention's weight on.
_LEAST_LIFT = 1.5
HIDDEN_BY_MASK = "is hidden from it by the model's mask"


def query_of(reading: RowReading | Ranking) -> Position:
    return Position(reading.query, reading.query_line, reading.query_tokens)


def key_of(ranking: Ranking) -> Position:
    return Position(ranking.key, length=ranking.key_tokens)


def reading_sentence(stack: Stack, reading: RowReading, weighting: str) -> Sentence:
    """`where it (token 8) looks, mean of all 72 heads`; of a rollout, how much reaches the position."""
    query = _query_words(stack, reading)
    if weighting == "rollout":
        name = strong(f"rollout up to layer {stack.patterns[0].layer}:")
        much = quiet(f"how much of each {unit_noun(stack)} reaches")
        return name, Words(" "), much, Words(" "), *query, quiet(", heads averaged")
    means = [f"its {len(reading.own)} tokens"] if len(reading.own) > 1 and stack.unit == "token" else []
    if reading.heads > 1:
        every = "all " if reading.heads == sum(layer.heads for layer in stack.layers) else ""
        means.append(f"{every}{reading.heads:,} heads")
    many = f", mean of {' and '.join(means)}" if means else ""
    norms = ", weights times the norm of what is read (Kobayashi et al. 2020)" if weighting == "norm" else ""
    return quiet("where "), *query, quiet(f" looks{many}{norms}")


def _query_words(stack: Stack, reading: RowReading) -> Sentence:
    if stack.query_medium.kind != "patches":
        return (strong(query_of(reading)),)
    return (strong(reading.query),) if reading.query.special else (strong("patch "), strong(reading.query))


def has_top_heads(reading: RowReading) -> bool:
    """Whether the weights are means over heads, with the top head of each key known."""
    return reading.heads > 1 and all(key.head is not None for key in reading.top)


def ordinary_and_resting(stack: Stack, reading: RowReading) -> tuple[list[KeyRead], list[KeyRead]]:
    """The keys that a position reads most: ordinary ones, and those on which heads rest."""
    # A rollout, which has no head, tells what arrives and not what is looked at.
    of_heads = stack.key_medium.kind == "tokens" and stack.unit == "token" and has_top_heads_or_one(stack)
    resting = stack.resting if of_heads else frozenset()
    ordinary = [key for key in reading.top if key.place not in resting]
    return ordinary, [key for key in reading.top if key.place in resting]


def stands_out(head: HeadRead) -> bool:
    """Whether a head reads a key by far more than uniform attention does."""
    return head.uniform is None or head.weight >= _LEAST_LIFT * head.uniform


def has_top_heads_or_one(stack: Stack) -> bool:
    """Whether the weights are of heads, and not of a rollout."""
    return all(pattern.head is not None for pattern in stack.patterns)


def resting_note(stack: Stack) -> str:
    """What the keys are that stand apart."""
    special = any(stack.keys[place].special for place in stack.resting)
    first = any(not stack.keys[place].special for place in stack.resting)
    names = [*(["special tokens"] if special else []), *(["the first token"] if first else [])]
    return f"{' and '.join(names)}, which take the weight that no other token needs"


def readers_sentence(stack: Stack, readers: ColumnReading, weighting: str) -> Sentence:
    """`who reads cat (token 2), mean of all 72 heads`"""
    key = Position(readers.key, length=readers.key_tokens)
    every = "all " if readers.heads == sum(layer.heads for layer in stack.layers) else ""
    many = f", mean of {every}{readers.heads:,} heads" if readers.heads > 1 else ""
    norms = ", weights times the norm of what is read (Kobayashi et al. 2020)" if weighting == "norm" else ""
    return quiet("who reads "), strong(key), quiet(f"{many}{norms}")


class RankingView(NamedTuple):
    """All heads by their weight from a query on a key.

    sentence: `how much it (token 8) looks at cat (token 2)`.  hidden: why no head can give the key any weight, between
    key and query; empty where one can.
    """

    sentence: Sentence
    query: Position
    key: Position
    hidden: str
    largest: float


def ranking_view(stack: Stack, ranking: Ranking) -> RankingView:
    query, key = query_of(ranking), key_of(ranking)
    hidden = ""
    if all(head.rank is None for head in ranking.heads):
        later = stack.causal and ranking.key.index > ranking.query.index
        why = "comes later, and in a causal model no token attends to later ones"
        hidden = f"{why if later else HIDDEN_BY_MASK}: no head looks there from"
    sentence = (quiet("how much "), strong(query), quiet(f" looks{NO_BREAK}at "), strong(key))
    return RankingView(sentence, query, key, hidden, max((head.weight for head in ranking.heads), default=0.0))


def rank_text(head: HeadWeight) -> str:
    """`3 of 8`, the key's place in the head's row, or `not seen`."""
    return "not seen" if head.rank is None else f"{head.rank:,} of {head.keys:,}"
