"""What a model wrote, as a sentence and rows: how sure it was of each token, and what it looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from attncli.render.common.numbers import weight_number
from attncli.render.views.effects import share_number, vocabulary_token
from attncli.render.views.sentences import Sentence, Words, count_noun, quiet, strong
from attncli.results.effects import KeyReading
from attncli.results.generated import Generated, GeneratedToken, HeadReading, TimedWord
from attncli.results.heads import HeadsResult
from attncli.results.tokens import Token


class WrittenRow(NamedTuple):
    """A new token. runner_up: the likeliest other token; None of a vocabulary of one.

    time: of the word that begins with it, where that is known.
    key, head: what is read most, with its weight, and the head that reads most, with its name.
    """

    token: Token
    probability: str
    runner_up: Token | None
    runner_up_probability: str
    key: Token | None
    key_weight: str
    head: str
    head_key: Token | None
    head_weight: str
    time: str = ""


def has_trace(result: HeadsResult) -> bool:
    """Whether it is known what was looked at as the model wrote."""
    written = result.generated
    return written is not None and any(token.reading is not None for token in written.tokens)


def written_sentence(generated: Generated) -> Sentence:
    """`The model wrote ␣Paris. (2 tokens); it was least sure of ␣Paris, 77 %`"""
    shown = Token(0, -1, generated.text or "", generated.text or "")
    words = [Words("the model wrote "), strong(shown)] if generated.text else [Words("the model wrote")]
    words.append(Words(f" ({count_noun(len(generated.ids), 'token')})"))
    least = min(generated.tokens, key=lambda token: token.probability)
    if len(generated.tokens) > 1:
        words += [quiet("; it was least sure of "), strong(_written(least)),
                  quiet(f", {share_number(least.probability)}")]  # fmt: skip
    return tuple(words)


def written_rows(generated: Generated) -> list[WrittenRow]:
    """A row for each new token."""
    times = {word.tokens[0]: time_span(word) for word in generated.words}
    return [_row(token)._replace(time=times.get(place, "")) for place, token in enumerate(generated.tokens)]


def time_span(word: TimedWord) -> str:
    """`0.32–0.58s`"""
    return f"{word.start:.2f}–{word.end:.2f}s"


def heard_sentence(generated: Generated) -> str:
    """The words with their times, `so (0.32–0.58s) my (0.58–0.80s)`."""
    return " ".join(f"{word.text} ({time_span(word)})" for word in generated.words)


def reading_note(generated: Generated, *, pictures: bool = False) -> str:
    """What the columns of readings are. pictures: whether pictures stand beside the text."""
    stack = next(token.reading.stack for token in generated.tokens if token.reading is not None)
    where = "" if stack != "cross" else "of the picture " if pictures else "in the encoder's text "
    left_out = "special tokens" if stack == "cross" else "special tokens, the first token and the position itself"
    return (
        f"looked at: the token {where}that the position before reads most, as the mean over all heads; head: the one "
        f"furthest above uniform attention on one token. Without {left_out}"
    )


def _row(token: GeneratedToken) -> WrittenRow:
    other = next(iter(token.alternatives), None)
    key = None if token.reading is None else token.reading.key
    head = None if token.reading is None else token.reading.head
    return WrittenRow(
        _written(token),
        share_number(token.probability),
        None if other is None else vocabulary_token(other),
        "" if other is None else share_number(other.probability),
        _read(key),
        "" if key is None else weight_number(key.weight),
        "" if head is None else head.name,
        _read(head),
        "" if head is None else weight_number(head.weight),
    )


def _written(token: GeneratedToken) -> Token:
    return Token(0, token.id, token.text, token.text)


def _read(key: KeyReading | HeadReading | None) -> Token | None:
    return None if key is None else Token(key.index, -1, key.text, key.text)


def strongest_head(rows: Sequence[WrittenRow]) -> str | None:
    """The head that reads most as the first token is written that a head reads something for."""
    return next((row.head for row in rows if row.head), None)
