"""The tokens that `--answer` names, and the position of the outcome."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from attncli.attention.effects.request import Asked, EffectsPlan, parse_effects
from attncli.attention.effects.tokens import find_token, outcome_position
from attncli.attention.positions import Position
from attncli.errors import UsageError
from attncli.models.tokenizers.types import Encoding, Piece
from attncli.results.effects import OutcomeToken
from attncli.results.tokens import Token

WORDS = ["<unk>", " Paris", "Paris", " New", " York", ",", " ", "s", "##ing", "a"]


class Words:
    """A tokenizer of a list of texts: the longest that fits comes next."""

    unknown_id = 0

    def encode(self, text: str, *, special: bool = True) -> Encoding:
        ids = []
        while text:
            piece = max((word for word in WORDS if text.startswith(word)), key=len, default=text[0])
            ids.append(WORDS.index(piece) if piece in WORDS else 0)
            text = text[len(piece) :]
        return Encoding(ids, [0] * len(ids), [0] * len(ids), [None] * len(ids))

    def describe(self, ids: Sequence[int]) -> list[Piece | None]:
        return [Piece.of(number, WORDS[number], WORDS[number].encode()) if number < len(WORDS) else None
                for number in ids]  # fmt: skip

    def vocabulary(self) -> list[Piece]:
        return [piece for piece in self.describe(range(len(WORDS))) if piece is not None]


def found(typed: str | int) -> OutcomeToken:
    return find_token(typed, Words(), "--answer")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("Paris", (1, " Paris")),
        ("=Paris", (2, "Paris")),
        ("=##ing", (8, "##ing")),
        (",", (5, ",")),
        ("id:2", (2, "Paris")),
        (3, (3, " New")),
        ("a", (9, "a")),  # no token has a space before it
    ],
)
def test_a_token_is_found(typed: str | int, expected: tuple[int, str]) -> None:
    assert found(typed) == expected


def test_several_pieces_are_shown() -> None:
    with pytest.raises(UsageError) as caught:
        found("New York")
    assert caught.value.message == "--answer: 'New York' is 2 tokens, ' New' (id:3) ' York' (id:4)"
    assert caught.value.hint == "name one of them: --answer id:3"


@pytest.mark.parametrize(("typed", "message"), [
    ("?", "--answer: '?' is not in the vocabulary"),
    ("  ", "--answer: the token is empty"),
    ("id:-4", "--answer: no token has the id -4"),
])  # fmt: skip
def test_a_token_that_is_none_is_refused(typed: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        found(typed)
    assert caught.value.message == message


def test_without_a_tokenizer_ids_name_tokens() -> None:
    assert find_token("id:7", None, "--answer") == (7, "<7>")
    with pytest.raises(UsageError, match="has no tokenizer"):
        find_token("Paris", None, "--answer")


TEXT = [Token(0, 1, "[CLS]", "[CLS]", special=True), Token(1, 5, "mask", "mask", word=0),
        Token(2, 9, "[MASK]", "[MASK]", special=True), Token(3, 6, "it", "it", word=1),
        Token(4, 9, "[MASK]", "[MASK]", special=True)]  # fmt: skip


def test_the_position_is_the_last_or_the_first_mask_or_the_query() -> None:
    assert outcome_position(TEXT, None, masked=False, flag="--predict") == 4
    assert outcome_position(TEXT, None, masked=True, flag="--predict") == 2
    assert outcome_position(TEXT, Position("it", "--query"), masked=True, flag="--predict") == 3


def test_a_masked_model_needs_a_mask() -> None:
    with pytest.raises(UsageError) as caught:
        outcome_position(TEXT[:2], None, masked=True, flag="--predict")
    assert caught.value.message == "--predict: this model predicts masked tokens, and the text has no mask"


ASKED = Asked(False, "direct", None, None, None)


def test_kinds_are_read_once_each() -> None:
    plan = parse_effects(ASKED._replace(kinds=["zero,direct", "zero"]), None, {})
    assert plan == EffectsPlan(kinds=("zero", "direct"))
    assert parse_effects(ASKED._replace(kinds=()), None, {"--key": True}) is None


@pytest.mark.parametrize(("asked", "query", "others", "message"), [
    (ASKED._replace(kinds="dirct"), None, {}, "--effect: there is no effect 'dirct'"),
    (ASKED._replace(kinds=(), contrast="a"), None, {}, "--contrast works only with effects of heads"),
    (ASKED._replace(kinds=(), answer="a"), None, {},
     "--answer works only with a prediction or with effects of heads"),
    (ASKED._replace(patch_from="a"), None, {}, "--patch-from works only with activation patching"),
    (ASKED._replace(kinds="patch"), None, {}, "--effect patch needs a second text"),
    (ASKED, None, {"--rollout": False, "--key": True}, "--effect direct and --key can't be combined"),
    (ASKED._replace(kinds=(), predict=True), None, {"--steps": True}, "--predict and --steps can't be combined"),
    (ASKED, Position("1:3", "--query"), {}, "--effect direct is about one position, and 1:3 is a slice"),
])  # fmt: skip
def test_what_contradicts_itself_is_refused(
    asked: Asked, query: Position | None, others: dict[str, bool], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_effects(asked, query, others)
    assert caught.value.message == message
