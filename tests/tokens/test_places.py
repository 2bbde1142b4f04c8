"""What every token's place must satisfy, on texts of every script, for every kind of tokenizer and the default model.

Places are characters of the input. They come in order and cover all but white space, and but for what a normaliser
leaves no trace of:

- BERT's drops control, format and private characters and U+FFFD, and marks where it strips accents: no token stands for
  them.
- NFC and NFKC join a letter and what is put onto it (an accent, the vowel and last consonant of a Hangul syllable);
  `tokenizers` gives the joined character the place of the first of them, and so do we, to agree with it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend

from attncli.models.files.model_files import open_files
from attncli.models.files.reference import DEFAULT_MODEL, parse_reference
from attncli.models.tokenizers.tokenizer_loader import load_tokenizer, wrap_tokenizer
from attncli.models.tokenizers.types import Tokenizer
from attncli.results.tokens import Token
from attncli.tokens.encode import encode
from tests.tokens import vocabularies as made

DEFAULT = "default model"
MADE = {
    **made.KINDS,
    "byte_bpe, untrimmed": lambda: made.byte_bpe(trim=False),
    "byte_bpe, prefixed": lambda: made.byte_bpe(prefix_space=True),
    "byte_bpe, bos": lambda: made.byte_bpe(bos=True),
}
KINDS = (*MADE, DEFAULT)

LETTERS = (
    *("the mole", " moles dug", "é", "e\u0301", "A\u030a", "x\u0323\u0307", "İ", "ß", "ﬁ", "ǆ"),
    *("русский", "ё", "е\u0308", "ελληνικά", "ά", "\u0345", "עִבְרִית", "שלום", "عَرَبِيّ", "ﷺ", "١٢"),
    *("हिन्दी", "क्ष", "\u0958", "ไทย", "น้ำ", "ລາວ", "ខ្មែរ", "မြန်မာ", "བོད་ཡིག", "தமிழ்", "ქართული", "ሰላም"),
    *("日本語", "漢字", "ひらがな", "か\u3099", "カタカナ", "ｶﾞ", "㍿", "한국어", "\u1112\u1161\u11ab", "\u1100"),
)
SYMBOLS = (
    *(
        "👍",
        "👍🏽",
        "👩‍👩‍👧",
        "🇩🇪",
        "❤\ufe0f",
        "🏴\U000e0067\U000e0062\U000e007f",
        "…",
        "½",
        "¨",
        "12,345.6",
        "_",
        "\\",
    ),
    *(" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2003", "\u2028", "\u0085", "\x1c", "\u180e"),
    *("\x00", "\x07", "\x1b", "\x7f", "\u200b", "\u200d", "\ufeff", "\u2060", "\u202e", "\u034f", "\ufffd", "\ue000"),
    *("[SEP]", "[UNK]", "<s>", "</s>", "<|end|>", "<unk>", "<0x0A>", "▁", "Ġ", "##"),
)
#: No unassigned characters: which those are, the tables of Python and of tokenizers need not agree on.
ANY = st.characters(codec="utf-8", exclude_categories=("Cn", "Cs"))
TEXTS = st.lists(st.sampled_from(LETTERS) | st.sampled_from(SYMBOLS) | ANY, min_size=1, max_size=12).map("".join)

#: Whether a normaliser leaves no trace of the character at an index of a text.
Lost = Callable[[str, int], bool]


def _bert_drops(text: str, index: int) -> bool:
    return text[index] == "\ufffd" or unicodedata.category(text[index]) in ("Cc", "Cf", "Co", "Mn")


LOST: dict[str, Lost] = {"word_piece": _bert_drops, DEFAULT: _bert_drops}


@cache
def tokenizer(kind: str) -> Tokenizer:
    if kind == DEFAULT:
        return load_tokenizer(open_files(parse_reference(DEFAULT_MODEL)))
    return wrap_tokenizer(trained(kind))


@cache
def trained(kind: str) -> Backend:
    return MADE[kind]()


def _text_tokens(tokenizer: Tokenizer, text: str, *, special: bool = True) -> list[Token]:
    encoded = encode(tokenizer, text, special=special)
    return [token for token, own in zip(encoded.tokens, encoded.sequences, strict=True) if own == 0]


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
def test_places_bytes_words_and_ids(kind: str, text: str) -> None:
    tokens = _text_tokens(tokenizer(kind), text)
    reached, covered = 0, set[int]()
    words = [word.span() for word in re.finditer(r"\S+", text)]
    for token in tokens:
        assert reached <= token.start <= token.end <= len(text)
        reached = token.start
        covered |= {*range(token.start, token.end)}
        touched = (index for index, (start, end) in enumerate(words) if start < token.end and token.start < end)
        assert token.word == (next(touched, None) if token.start < token.end else None)
    lost = LOST.get(kind, lambda text, index: False)
    missed = [index for index in range(len(text)) if index not in covered and not text[index].isspace()]
    assert [text[index] for index in missed if not lost(text, index)] == []
    # A mark whose letter has a token belongs to that.
    marks = [index for index in missed if unicodedata.category(text[index])[0] == "M"]
    assert [index for index in marks if index - 1 in covered] == []
    _assert_bytes_are_those_of_the_characters(tokenizer(kind), tokens, text)
    for special in (True, False):
        ids = [token.id for token in encode(tokenizer(kind), text, special=special).tokens]
        assert ids == _backend(kind).encode(text, add_special_tokens=special).ids


def _assert_bytes_are_those_of_the_characters(described: Tokenizer, tokens: Sequence[Token], text: str) -> None:
    for group in _sharing(tokens):
        first, last = group[0].start, max(token.end for token in group)
        spelled = b"".join(piece.data for piece in described.describe([token.id for token in group]))
        if len(group) > 1 and spelled.lstrip(b" ") == text[first:last].encode().lstrip(b" "):
            # A character is cut up: every token has bytes of its own, and together they are the character's.
            assert [token.byte_start for token in group[1:]] == [token.byte_end for token in group[:-1]]
            assert (group[0].byte_start, group[-1].byte_end) == _bytes(text, first, last)
        else:
            expected = [_bytes(text, token.start, token.end) for token in group]
            assert [(token.byte_start, token.byte_end) for token in group] == expected


@cache
def _backend(kind: str) -> Backend:
    """The same tokenizer without anything of ours around it."""
    if kind != DEFAULT:
        return Backend.from_str(trained(kind).to_str())
    backend = Backend.from_file(str(open_files(parse_reference(DEFAULT_MODEL)).find("tokenizer.json")))
    backend.no_truncation()
    backend.no_padding()
    return backend


def _bytes(text: str, start: int, end: int) -> tuple[int, int]:
    return len(text[:start].encode()), len(text[:end].encode())


def _sharing(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Tokens that share characters, together."""
    group: list[Token] = []
    for token in tokens:
        if group and (token.start == token.end or token.start >= max(other.end for other in group)):
            yield group
            group = []
        group.append(token)
    if group:
        yield group


def test_a_space_put_behind_a_special_token_takes_no_letter() -> None:
    # tokenizers counts the space that it put there among those of the text: (4, 6) for the second token.
    tokens = _text_tokens(tokenizer("byte_bpe, prefixed"), "<s>the mole", special=False)
    assert [(token.text, token.start, token.end) for token in tokens] == [
        ("<s>", 0, 3),
        (" the", 3, 6),
        (" mole", 7, 11),
    ]


# Tokenizers that keep no record of places: these are found again


class WithoutOffsets:
    """A tokenizer whose encodings have no offsets."""

    unknown_id, max_length, slow, note, class_name, vocabulary_size = 0, None, True, None, "WithoutOffsets", 99

    def __init__(self, inner: Tokenizer) -> None:
        self._inner = inner

    def encode(self, text, **options):
        encoding = self._inner.encode(text, **options)
        return encoding._replace(spans=[None] * len(encoding.ids))

    composer = None

    def describe(self, ids):
        return self._inner.describe(ids)


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
def test_places_found_again_agree_with_each_other(kind: str, text: str) -> None:
    reached = 0
    words = [word.span() for word in re.finditer(r"\S+", text)]
    for token in _text_tokens(WithoutOffsets(tokenizer(kind)), text):
        if token.start is None:
            assert (token.end, token.byte_start, token.byte_end, token.word) == (None, None, None, None)
            continue
        assert reached <= token.start <= token.end <= len(text)
        low, high = _bytes(text, token.start, token.end)
        assert low <= token.byte_start <= token.byte_end <= high
        assert token.word is None or words[token.word][0] < token.end
        reached = token.start


@pytest.mark.parametrize("kind", ["byte_bpe, untrimmed", "byte_bpe, bos", "byte_fallback"])
@given(text=TEXTS.filter(lambda text: "<" not in text and "▁" not in text))
def test_what_spells_the_text_is_found_where_it_was(kind: str, text: str) -> None:
    known, found = _text_tokens(tokenizer(kind), text), _text_tokens(WithoutOffsets(tokenizer(kind)), text)
    # A token that is nothing but the space put before a text stands on its first letter, or before it.
    assert [_place(token) for token in found if token.start != token.end] == [
        _place(token) for token in known if token.byte_start != token.byte_end
    ]


def _place(token: Token) -> tuple[object, ...]:
    return token.start, token.end, token.byte_start, token.byte_end, token.word


@pytest.mark.parametrize("name", ["ByT5Tokenizer", "CanineTokenizer"])
def test_tokenizers_written_in_python_miss_nothing(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    loaded = getattr(transformers, name)()
    wrapped = wrap_tokenizer(loaded)

    # ByT5 puts no second </s> behind one that was typed.
    @given(text=TEXTS.filter(lambda text: not text.rstrip().endswith("</s>")))
    def holds(text: str) -> None:
        tokens = encode(wrapped, text).tokens
        assert [token.id for token in tokens] == loaded.encode(text)
        covered = {index for token in tokens if token.start is not None for index in range(token.start, token.end)}
        assert [text[index] for index in range(len(text)) if index not in covered and not text[index].isspace()] == []
        stretches = [(token.byte_start, token.byte_end) for token in tokens if token.start is not None]
        assert stretches == sorted(stretches)
        assert all(before[1] <= after[0] for before, after in pairwise(stretches))

    holds()
