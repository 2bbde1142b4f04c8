"""The findings of `--lint` and their places: each kind where it occurs, and not where it doesn't."""

from __future__ import annotations

import unicodedata
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from attncli.models.tokenizers.tokenizer_loader import wrap_tokenizer
from attncli.models.tokenizers.types import Tokenizer
from attncli.results.chat import Chat, ChatMessage
from attncli.results.tokenize import Source, TokenizedText
from attncli.results.vocabulary import Finding
from attncli.tokens.encode import encode, from_ids, measure
from attncli.tokens.lint import explain_losses, lint
from attncli.tokens.suspects import _SPLIT_VOWELS, Suspect, apply_fixes, letter_suspects
from tests.tokens import vocabularies as made


@cache
def tokenizer(kind: str) -> Tokenizer:
    return wrap_tokenizer(made.byte_bpe(bos=True) if kind == "llama" else made.KINDS[kind]())


def tokenized(kind: str, text: str, pair: str | None = None) -> TokenizedText:
    encoded = encode(tokenizer(kind), text, pair=pair)
    return TokenizedText(0, kind, text, encoded.tokens, measure(encoded, [text]), pair=pair)


def found(kind: str, text: str, pair: str | None = None, **options: bool) -> tuple[Finding, ...]:
    return lint(tokenizer(kind), tokenized(kind, text, pair), **options)


def in_ids(kind: str, *ids: int) -> tuple[Finding, ...]:
    encoded = from_ids(tokenizer(kind), ids)
    return lint(tokenizer(kind), TokenizedText(0, kind, None, encoded.tokens, measure(encoded)))


def places(kind: str, text: str) -> list[tuple[str, str, str]]:
    """Kind, severity and text of every finding."""
    return [(each.kind, each.severity, text[each.start : each.end]) for each in found(kind, text)]


@pytest.mark.parametrize(
    "text", ["the mole dug", "naïve café, Größe", "日本語 👩‍👩‍👧 ❤️ 🏴\U000e0067\U000e0062\U000e007f", "Δx + 5 µm"]
)
def test_ordinary_texts_have_nothing(text: str) -> None:
    assert found("byte_bpe", text) == ()


@pytest.mark.parametrize(
    ("text", "kind", "part"),
    [
        ("a\u200bb", "invisible", "\u200b"),
        ("a\u202e\u2066b", "invisible", "\u202e\u2066"),
        ("a\ufe0fb", "invisible", "\ufe0f"),
        ("❤\ufe0f\ufe0fb", "invisible", "\ufe0f"),
        ("a\u200db", "invisible", "\u200d"),
        ("a\u00a0b", "odd_space", "\u00a0"),
        ("a\u2028b", "odd_space", "\u2028"),
        ("a\x07b", "control", "\x07"),
        ("a\rb", "control", "\r"),
        ("a\r\nb", "line_end", "\r\n"),
        ("a\ufffdb", "damaged", "\ufffd"),
        ("a\ue000b", "damaged", "\ue000"),
        ("cafe\u0301 x", "decomposed", "e\u0301"),
        ("\u1112\u1161\u11ab", "decomposed", "\u1112\u1161\u11ab"),
        ("\u0e19\u0e4d\u0e32", "decomposed", "\u0e4d\u0e32"),
        ("\u0e19\u0e4d\u0e49\u0e32", "decomposed", "\u0e4d\u0e49\u0e32"),
        ("\u0e99\u0ecd\u0eb2", "decomposed", "\u0ecd\u0eb2"),
        ("a 𝐇𝐢 b", "compatibility", "𝐇𝐢"),
        ("ｗｏ", "compatibility", "ｗｏ"),
        ("ﬁne", "compatibility", "ﬁ"),
        ("5 \u212a", "compatibility", "\u212a"),
        ("p\u0430ypal", "lookalike", "\u0430"),
        ("see \u0441\u0430\u043e too", "lookalike", "\u0441\u0430\u043e"),
        ("\u0441\u043e\u0440e", "lookalike", "\u0441\u043e\u0440"),
        ("CK\u043e\u0440\u043e\u0441\u0442\u044c", "lookalike", "CK"),
        ("mole ", "trailing_space", " "),
        ("mole\n\n", "trailing_space", "\n\n"),
        ("the<|end|>mole", "special_in_text", "<|end|>"),
    ],
)
def test_each_kind_is_found_where_it_is(text: str, kind: str, part: str) -> None:
    assert places("byte_bpe", text) == [(kind, "warning", part)]


@pytest.mark.parametrize(
    "text",
    [
        "\u0441\u043e\u0440 \u044f\u0437\u044b\u043a",
        "می\u200cخواهم",
        "क्\u200dष",
        "1️⃣",
        "5² ½ … ™",
        "葛\U000e0100",
        "日\u3000本",
    ],
)
def test_what_belongs_to_a_script_is_left_alone(text: str) -> None:
    assert found("byte_bpe", text) == ()


def test_places_are_characters_bytes_and_tokens() -> None:
    finding = found("llama", "né\u200bx")[0]
    assert (finding.start, finding.end, finding.byte_start) == (2, 3, 3)
    tokens = tokenized("llama", "né\u200bx").tokens
    assert [tokens[index].byte_start for index in finding.tokens] == [3, 4, 5]


def test_a_hidden_message_is_spelled_out() -> None:
    hidden = "".join(chr(0xE0000 + ord(letter)) for letter in "go left")
    (finding,) = found("byte_bpe", f"the{hidden}mole")
    assert finding.message == "U+E0067 TAG LATIN SMALL LETTER G and 6 more is invisible and spells “go left”"


def test_what_makes_no_difference_to_the_tokenizer_is_a_note() -> None:
    # BERT's normaliser strips accents and drops zero-width characters; the vocabulary has `cafe`-like words only.
    assert places("word_piece", "the\u200b mo\u0301le ") == [
        ("invisible", "note", "\u200b"),
        ("round_trip", "note", "\u200b"),
        ("decomposed", "note", "o\u0301"),
    ]


def test_a_doubled_special_token() -> None:
    (finding,) = found("llama", "<s>the mole")
    assert finding == Finding(
        "double_special",
        "warning",
        "the text contains <s>, and the tokenizer adds another one",
        "remove it from the text, or use --no-special",
        start=0,
        end=3,
        byte_start=0,
        tokens=(0, 1),
        line=1,
        column=1,
    )
    assert [each.start for each in found("word_piece", "[CLS] the mole [SEP]") if each.kind == "double_special"] == [
        0,
        15,
    ]
    assert [each.kind for each in found("byte_bpe", "<s>the mole")] == ["special_in_text"]


def test_a_conversation_is_looked_at_message_by_message() -> None:
    tokenizer = wrap_tokenizer(made.byte_bpe())
    written = "<s>user\nthe <|end|> mole <|end|>\n"
    content = (8, 24)
    assert written[slice(*content)] == "the <|end|> mole"
    encoded = encode(tokenizer, written, special=False)
    message = ChatMessage("user", 0, len(written), (content,), len(encoded.tokens), 3)
    chat = Chat("default", (message,), None, (), None, None, (), ())
    text = TokenizedText(0, "m", written, encoded.tokens, measure(encoded, [written]), chat=chat)
    assert [(each.kind, each.start, each.message[:23]) for each in lint(tokenizer, text)] == [
        ("special_in_text", 12, "in message 1 (user), <|")
    ]


def test_unknown_tokens_name_what_was_lost() -> None:
    findings = [each for each in found("word_piece", "the 👍 mole") if each.kind == "unknown"]
    assert [(each.start, each.end, each.byte_start, each.tokens) for each in findings] == [(4, 5, 4, (2,))]
    assert findings[0].message == "👍 becomes [UNK]: it is not in the vocabulary"
    assert not [each for each in found("word_piece", "the 👍 mole") if each.kind == "round_trip"]


def test_a_pair_has_places_of_its_own() -> None:
    assert [(each.segment, each.start, each.tokens) for each in found("llama", "a\u200bb", "\u200b")] == [
        (0, 1, (2, 3, 4)),
        (1, 0, (7, 8, 9)),
    ]


def test_vowels_of_two_characters_are_those_of_unicode() -> None:
    kinds = {"Mn": "mark", "Lo": "letter"}
    split = {}
    for character in map(chr, range(0x10000)):
        kind, *codes = unicodedata.decomposition(character).split() or [""]
        parts = "".join(chr(int(code, 16)) for code in codes) if kind == "<compat>" else ""
        if [kinds.get(unicodedata.category(part)) for part in parts] == ["mark", "letter"]:
            split[parts] = character
    assert split == _SPLIT_VOWELS
    for parts, character in split.items():
        assert unicodedata.normalize("NFC", parts) == parts
        assert unicodedata.normalize("NFKC", parts) == unicodedata.normalize("NFKC", character)


def test_a_mended_vowel_keeps_its_tone_mark() -> None:
    (suspect,) = letter_suspects("\u0e19\u0e4d\u0e49\u0e32")
    assert apply_fixes("\u0e19\u0e4d\u0e49\u0e32", [suspect]) == "\u0e19\u0e49\u0e33"
    assert suspect.message == "\u0e33 is written as two characters, U+0E4D and U+0E32"


def test_lines_and_columns_are_those_of_the_file() -> None:
    text = tokenized("byte_bpe", "the\nmo\u200ble \u00a0", "a\n\u200bb")._replace(source=Source("notes.txt", 5))
    found = lint(tokenizer("byte_bpe"), text)
    assert [(each.kind, each.segment, each.line, each.column) for each in found if each.kind != "round_trip"] == [
        ("invisible", 0, 6, 3),
        ("trailing_space", 0, 6, 6),
        ("odd_space", 0, 6, 7),
        ("invisible", 1, 2, 1),
    ]
    assert found[0].to_dict()["line"] == 6
    assert [each.place("notes.txt") for each in (found[0], found[-1])] == ["notes.txt:6:3", "pair 2:1"]


def test_the_round_trip_says_where_and_why() -> None:
    finding = next(each for each in found("word_piece", "the Mole") if each.kind == "round_trip")
    assert (finding.severity, finding.start, finding.tokens) == ("note", 4, (2,))
    assert finding.message == "“Mole” is decoded as “mole” (it differs in capital letters)"


@pytest.mark.parametrize(
    ("before", "after", "losses"),
    [
        ("A b", "a b", ["capital letters"]),
        ("é", "e", ["accents"]),
        ("e\u0301", "é", ["how letters are composed"]),
        ("ﬁ", "fi", ["characters that NFKC replaces"]),
        ("don't", "don ' t", ["white space"]),
        ("a\u200bb", "ab", ["invisible characters"]),
        ("É b", "eb", ["capital letters", "accents", "white space"]),
        ("mole", "mule", None),
    ],
)
def test_a_difference_is_explained_by_as_little_as_will_do(before: str, after: str, losses: list[str] | None) -> None:
    assert explain_losses(before, after) == losses


def test_what_nothing_explains_is_a_warning() -> None:
    # A vocabulary of words drops what it can't spell, which is told; a decoder that loses letters is not.
    class Lossy:
        unknown_id = None

        def __getattr__(self, name: str) -> object:
            return getattr(tokenizer("byte_bpe"), name)

        def decode(self, ids: list[int]) -> str:
            return tokenizer("byte_bpe").decode(ids[:-1])

    (finding,) = lint(Lossy(), tokenized("byte_bpe", "the mole"))  # type: ignore[arg-type]
    assert (finding.kind, finding.severity, finding.start) == ("round_trip", "warning", 3)
    assert finding.message == "“ mole” is decoded as nothing"


def test_ids_that_no_text_gives() -> None:
    ids = list(tokenizer("llama").encode("the mole", special=True).ids)
    assert in_ids("llama", *ids) == ()
    letters = [tokenizer("llama").encode(letter, special=False).ids[0] for letter in "mo"]
    (finding,) = in_ids("llama", 0, *letters)
    assert (finding.kind, finding.tokens, finding.start) == ("non_canonical", (1, 2), None)
    assert [each.kind for each in in_ids("llama", 0, *ids)] == ["double_special"]


def test_ids_that_cut_a_character() -> None:
    thumb = list(tokenizer("byte_bpe").encode("👍", special=False).ids)
    assert [each.message for each in in_ids("byte_bpe", *thumb[:-1])] == ["the ids end in the middle of a character"]


TEXT = st.text(
    st.sampled_from("aé\u0301\u200b\u00a0\u0430𝐇ﬁ👍\u200d\ufe0f\r\n \u202e\ufffd日<s>") | st.characters(codec="utf-8"),
    min_size=1,
    max_size=20,
)


@pytest.mark.parametrize("kind", [*made.KINDS, "llama"])
@given(text=TEXT)
def test_places_lie_in_the_text(kind: str, text: str) -> None:
    tokens = tokenized(kind, text).tokens
    for finding in found(kind, text):
        assert finding.start is not None
        assert finding.end is not None
        assert 0 <= finding.start <= finding.end <= len(text)
        assert finding.byte_start == len(text[: finding.start].encode("utf-8"))
        assert all(0 <= index < len(tokens) for index in finding.tokens)


def test_the_ids_that_differ_are_named_and_no_others() -> None:
    the, *mole = tokenizer("llama").encode("the mole", special=False).ids
    letters = [tokenizer("llama").encode(letter, special=False).ids[0] for letter in "the"]
    (finding,) = in_ids("llama", 0, *letters, *mole)
    assert finding.tokens == (1, 2, 3)
    assert finding.message == f"{' '.join(map(str, letters))} has the text that the tokenizer splits into {the}"


@pytest.mark.parametrize("kind", [*made.KINDS, "llama"])
@given(text=TEXT | st.text(st.sampled_from("the mole\n x"), min_size=1, max_size=12))
def test_ids_that_a_text_gives_are_canonical(kind: str, text: str) -> None:
    ids = tokenizer(kind).encode(text, special=True).ids
    assert not [each for each in in_ids(kind, *ids) if each.kind == "non_canonical"]


def test_where_suspects_overlap_the_first_is_mended() -> None:
    both = [Suspect("a", 1, 3, "", "", "X"), Suspect("a", 2, 4, "", "", "Y"), Suspect("a", 4, 5, "", "", "")]
    assert apply_fixes("012345", both) == "0X35"


def test_a_word_behind_a_special_token_needs_no_space() -> None:
    backend = made.byte_fallback()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    first = wrap_tokenizer(backend)
    ids = first.encode("<s>mole</s>mole", special=False).ids
    encoded = from_ids(first, ids)
    assert lint(first, TokenizedText(0, "m", None, encoded.tokens, measure(encoded))) == ()
