"""Positions as they are typed, and the rows and columns of patterns that they choose."""

from __future__ import annotations

import pytest
import torch

from attncli.attention.pattern_sums import Axes, PatternSums, build_axis
from attncli.attention.positions import Position
from attncli.attention.selection import View, line_starts
from attncli.errors import UsageError
from attncli.results.tokens import Token


def tokens(*pieces: tuple[str, int | None]) -> tuple[Token, ...]:
    """Tokens from their text and their word; special ones have none."""
    return tuple(
        Token(
            place,
            place + 100,
            text,
            text.removeprefix("##"),
            None if word is None else place,
            word=word,
            special=word is None,
        )
        for place, (text, word) in enumerate(pieces)
    )


TEXT = tokens(
    ("[CLS]", None),
    ("The", 0),
    ("mole", 1),
    ("##s", 1),
    ("saw", 2),
    ("It", 3),
    (",", 3),
    ("it", 4),
    ("7", 5),
    ("[SEP]", None),
)


@pytest.mark.parametrize(
    ("typed", "span"),
    [
        ("0", (0, 1)),
        ("-1", (9, 10)),
        ("2:4", (2, 4)),
        (":", (0, 10)),
        ("-2:", (8, 10)),
        ("moles", (2, 4)),
        ("mole", (2, 3)),
        ("##s", (3, 4)),
        ("saw", (4, 5)),
        ("it", (7, 8)),
        ("It", (5, 7)),
        ("It,", (5, 7)),
        ("the", (1, 2)),
        ("7#1", (8, 9)),
        ("cls", (0, 1)),
        ("[SEP]", (9, 10)),
        ("sep", (9, 10)),
        ("bos", (0, 1)),
        ("eos", (9, 10)),
    ],
)
def test_what_a_position_means(typed: str, span: tuple[int, int]) -> None:
    assert Position(typed, "--query").span(TEXT) == span


@pytest.mark.parametrize(
    ("typed", "message", "hint"),
    [
        ("10", "--query: there is no token 10 in a text of 10 tokens", "0 to 9"),
        ("-11", "no token -11", "-1 is the last one"),
        ("4:4", "the slice 4:4 is empty", "0 to 9"),
        ("mol", "'mol' is not in the text", "moles"),
        ("molse", "'molse' is not in the text", "moles"),
        ("the moles", "'the moles' is several words", "--query 1:4"),
        ("moles the", "'moles the' is not in the text", "moles"),
        ("saw#2", "'saw' occurs 1 time in the text, and not 2 times", "saw#1"),
    ],
)
def test_what_is_not_there(typed: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        Position(typed, "--query").span(TEXT)
    assert message in caught.value.message and hint in caught.value.hint


def test_a_space_alone_is_no_word_to_begin_with() -> None:
    with pytest.raises(UsageError) as caught:
        Position("zebra", "--query").span(tokens(("the", 0), (" ", None), ("cat", 1)))
    assert caught.value.hint.startswith("its first words are the, cat; ")


def test_occurrences_are_counted() -> None:
    twice = tokens(("a", 0), ("b", 1), ("a", 2))
    assert [Position(typed, "--key").span(twice) for typed in ("a", "a#1", "a#2")] == [(0, 1), (0, 1), (2, 3)]


def all_real(count: int) -> torch.Tensor:
    return torch.ones(count, dtype=torch.bool)


def patterns(view: View, weights: torch.Tensor) -> tuple[list[str], list[list[float]]]:
    rows, columns = (build_axis(view, TEXT, all_real(len(TEXT)), position) for position in (view.query, view.key))
    sums = PatternSums(0, (0,), Axes(rows, columns, view.hide_special))
    for start in (0, 3, 7):
        stop = {0: 3, 3: 7, 7: 10}[start]
        sums.add(start, weights[None, start:stop])
    (pattern,) = sums.patterns()
    return [unit.text for unit in rows.units], pattern.weights.tolist()


WEIGHTS = torch.arange(100, dtype=torch.float32).reshape(10, 10)


def test_slices_crop() -> None:
    view = View(Position("2:4", "--query"), Position("-2:", "--key"))
    assert patterns(view, WEIGHTS) == (["mole", "s"], [[28.0, 29.0], [38.0, 39.0]])


def test_words_look_with_the_mean_and_are_looked_at_with_the_sum() -> None:
    view = View(Position("moles", "--query"), Position("moles", "--key"), by="word")
    assert patterns(view, WEIGHTS) == (["moles"], [[(22 + 23 + 32 + 33) / 2]])
    names, _ = patterns(View(by="word"), WEIGHTS)
    assert names == ["[CLS]", "The", "moles", "saw", "It,", "it", "7", "[SEP]"]


def test_hidden_special_tokens_leave_rows_that_sum_to_one() -> None:
    names, weights = patterns(View(hide_special=True), torch.full((10, 10), 0.1))
    assert len(names) == 8 and all(sum(row) == pytest.approx(1) for row in weights)


@pytest.mark.parametrize(
    ("typed", "message", "nearest"),
    [("cls", "--query cls: [CLS] is a special token, which", "1 (The)"), ("-1:", "[SEP] is a special", "8 (7)")],
)
def test_a_position_that_is_hidden_is_told_with_its_neighbour(typed: str, message: str, nearest: str) -> None:
    with pytest.raises(UsageError) as caught:
        patterns(View(Position(typed, "--query"), hide_special=True), WEIGHTS)
    assert message in caught.value.message and caught.value.hint.endswith(nearest)


def test_nothing_but_special_tokens() -> None:
    with pytest.raises(UsageError, match="--hide-special leaves no tokens: all of them are special"):
        View(hide_special=True).unit_spans([TEXT[0], TEXT[-1]], None)


def test_lines_begin_after_line_breaks() -> None:
    assert line_starts("ab\nc\n\nd") == (0, 3, 5, 6)
    text = "ab c\nd e"
    cut = [
        Token(place, 0, piece, piece, start, start + len(piece), word=place)
        for place, (piece, start) in enumerate((("ab", 0), ("c", 3), ("d", 5), ("e", 7)))
    ]
    view = View(by="line", line_starts=line_starts(text))
    assert view.unit_spans(cut, None) == [(0, 2), (2, 4)]
    # Some tokenizers leave the spaces between tokens out of them.
    assert [unit.text for unit in build_axis(view, cut, all_real(4), None).units] == ["ab c", "d e"]


def test_padding_belongs_to_nothing() -> None:
    real = torch.tensor([False, *[True] * 10, False])
    found = build_axis(View(), TEXT, real, None)
    assert found.group.tolist() == [-1, *range(10), -1]
