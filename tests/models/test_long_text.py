"""Long texts in chunks, streams and batches: the tokens are those of each text in one piece, whatever it is made of."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

from attncli.errors import FailedError
from attncli.models.files.model_files import open_files
from attncli.models.files.reference import DEFAULT_MODEL, parse_reference
from attncli.models.tokenizers import long_text
from attncli.models.tokenizers.fast import LONG_TEXT, FastTokenizer
from attncli.models.tokenizers.long_text import (
    Chunk,
    ChunkOverlap,
    ChunkSizes,
    Frame,
    add_frame,
    encode_chunks,
    encode_many,
    encode_stream,
    find_overlap,
    prefetch,
    truncation_range,
)
from attncli.models.tokenizers.slow import PythonTokenizer
from attncli.models.tokenizers.tokenizer_loader import load_tokenizer
from attncli.models.tokenizers.types import Encoding
from tests.tokens import vocabularies as made

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
#: Looks ahead to the end of the digits, as grouping them from the right needs.
FROM_THE_RIGHT = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))| ?\p{L}+|[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

#: What texts are put together from: runs of every class, and what normalisers, added tokens and patterns look around
#: at.
ATOMS = (
    *("the mole", "mole", "The", "ABCdef", "XYZ", "x", "ab", "'s", "'ll", "_", ".", "...", "!!!", "--", "3,456.7"),
    *(" ", "  ", "\n", "\r\n", "\t", " " * 40, "\n \n" * 9, "1" * 25, "12", "\u00a0", "\u3000", "\u200d", "\x00"),
    *(
        "日本語",
        "。",
        "、",
        "и",
        "русский",
        " עברית",
        "👍",
        "👩‍👩‍👧",
        "e\u0301",
        "\u0301",
        "a\u0323\u0301",
        "Å",
        "가",
        "ﬁ",
    ),
    *("<mask>", "<s>", "</s>", "[SEP]"),
)


def bpe(*steps: pre_tokenizers.PreTokenizer, normalizer: normalizers.Normalizer | None = None) -> Backend:
    """Byte-level BPE behind any pre-tokenizer."""
    tokenizer = Backend(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, byte_level])
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([*made.CORPUS, "12 345 6789 10000"], trainer)
    return tokenizer


def by_pattern(pattern: str) -> Backend:
    return bpe(pre_tokenizers.Split(Regex(pattern), "isolated"), normalizer=normalizers.NFC())


def t5() -> Backend:
    tokenizer = made.unigram()
    spaces = normalizers.Replace(Regex(" {2,}"), "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), spaces, normalizers.Strip(left=False)])
    return tokenizer


def roberta() -> Backend:
    tokenizer = made.byte_bpe(prefix_space=True)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return tokenizer


def llama_2() -> Backend:
    """Without a pre-tokenizer: a text is one pre-token."""
    tokenizer = made.byte_fallback()
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer


def with_added(tokenizer: Backend) -> Backend:
    """With tokens that take the space around them, that are found in normalised text, and that are whole words."""
    mask = AddedToken("<mask>", lstrip=True, rstrip=True, special=True)
    tokenizer.add_tokens(
        [mask, AddedToken("the mole"), AddedToken("  ", normalized=False), AddedToken("ab", single_word=True)]
    )
    return tokenizer


KINDS: dict[str, Callable[[], Backend]] = {
    **made.KINDS,
    "bos": partial(made.byte_bpe, bos=True),
    "roberta": roberta,
    "t5": t5,
    "llama_2": llama_2,
    "llama_3": lambda: by_pattern(LLAMA_3),
    "from_the_right": lambda: by_pattern(FROM_THE_RIGHT),
    "fixed_length": lambda: bpe(pre_tokenizers.FixedLength(length=7)),
    "scripts": lambda: bpe(pre_tokenizers.UnicodeScripts(), pre_tokenizers.Digits(individual_digits=True)),
    "added_bpe": lambda: with_added(made.byte_bpe()),
    "added_word_piece": lambda: with_added(made.word_piece()),
    "added_llama_2": lambda: with_added(made.byte_fallback()),
}


#: Those that don't cut at spaces.
_WITHOUT_WORDS = ("byte_fallback", "scripts")


@cache
def tokenizer_of(kind: str) -> FastTokenizer:
    return FastTokenizer(KINDS[kind]())


@st.composite
def texts(draw: st.DrawFn) -> str:
    parts = draw(st.lists(st.tuples(st.sampled_from(ATOMS), st.integers(1, 4)), max_size=90))
    return "".join(atom * count for atom, count in parts)


def plain(encoding: Encoding) -> tuple[list[object], ...]:
    return tuple(list(field) for field in encoding)


@cache
def words(count: int, *, seed: int = 1) -> str:
    """Words of the corpus in an order that does not repeat itself soon."""
    known = " ".join(made.CORPUS).split()
    state, chosen = seed, []
    for _ in range(count):
        state = (state * 1103515245 + 12345) % 2**31
        chosen.append(known[(state >> 8) % len(known)])
    return " ".join(chosen)


@pytest.mark.parametrize("kind", KINDS)
@given(texts(), st.booleans(), st.sampled_from([ChunkSizes(64, 32, 12, 3), ChunkSizes(40, 24, 8, 2)]))
def test_chunks_give_the_tokens_of_the_whole(kind: str, text: str, special: bool, sizes: ChunkSizes) -> None:
    tokenizer = tokenizer_of(kind)
    frame = tokenizer._frame(special)
    assert frame is not None
    blocks = [text[start : start + 97] for start in range(0, len(text), 97)]
    chunked = add_frame(encode_chunks(tokenizer._encode_plain, blocks, sizes), frame)
    assert plain(chunked) == plain(tokenizer.encode(text, special=special))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        # A cut that depends on what follows some words later.
        (r"\w+ (?=\w+ \w+ \w+ !)|\w+|\s|!", "a b c d ! " * 30),
        # Digits in threes from an end that neither of two chunks holds.
        (FROM_THE_RIGHT, "mole " + "1234567890" * 40 + " mole"),
        (r"\s*[\r\n]+|\s+(?!\S)|\s+|\S+", "mole" + " \n" * 50 + " " * 150 + "\n mole"),
    ],
)
def test_what_a_pattern_sees_beyond_a_chunk_counts(pattern: str, text: str) -> None:
    # Every pre-token is one token, so that its span shows each cut.
    backend = Backend(models.WordLevel({"?": 0}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer = FastTokenizer(backend)
    whole = plain(tokenizer.encode(text, special=False))
    for size in range(50, 66):
        sizes = ChunkSizes(size, 40, 16, 3)
        assert plain(add_frame(encode_chunks(tokenizer._encode_plain, [text], sizes), Frame())) == whole


def test_a_seam_is_between_pre_tokens_that_both_chunks_hold() -> None:
    tokenizer = tokenizer_of("word_level")
    text = "the mole dug a tunnel under the lawn"

    def chunk(start: int, end: int) -> Chunk:
        (encoding,) = tokenizer._encode_plain([text[start:end]])
        return Chunk(start, text[start:end], encoding, encoding.ids)

    left = chunk(0, 28)
    # From within "dug" on: the right chunk holds half of it, so "a" follows something else there.
    assert find_overlap(left, chunk(10, 36), 7) == ChunkOverlap(4, 2)
    assert find_overlap(left, chunk(10, 36), 14) is None
    assert find_overlap(left, chunk(22, 36), 0) is None
    assert find_overlap(left, chunk(16, 36), 0) is None


def test_an_added_token_that_takes_all_the_space_after_it_has_taken_it_before_a_seam() -> None:
    # Two added tokens may claim the same space, so that the next one begins before the one that reaches on ends.
    tokenizer = tokenizer_of("added_word_piece")
    text = "the mole dug " * 5 + "<mask>" + " " * 45 + "a tunnel " * 6
    whole = plain(tokenizer.encode(text, special=False))
    for size in range(50, 66):
        assert (
            plain(add_frame(encode_chunks(tokenizer._encode_plain, [text], ChunkSizes(size, 40, 8, 3)), Frame()))
            == whole
        )


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_part_that_decides_is_enough_for_every_limit(side: str) -> None:
    text = words(100)
    for limit in range(3, 120):
        tokenizer = FastTokenizer(tokenizer_of("word_piece")._backend, max_length=limit, truncation_side=side)
        start, end = truncation_range(
            encode_chunks(tokenizer._encode_plain, [text], ChunkSizes(64, 32, 12, 3)), limit, side
        )
        assert tokenizer.encode(text[start:end], truncate=True).ids == tokenizer.encode(text, truncate=True).ids


@pytest.mark.parametrize("kind", ["byte_bpe", "word_piece", "roberta", "t5"])
@given(texts(), st.sampled_from(["left", "right"]), st.integers(3, 90))
def test_a_part_decides_on_the_tokens_that_a_limit_leaves(kind: str, text: str, side: str, limit: int) -> None:
    tokenizer = FastTokenizer(tokenizer_of(kind)._backend, max_length=limit, truncation_side=side)
    start, end = truncation_range(
        encode_chunks(tokenizer._encode_plain, [text], ChunkSizes(64, 32, 12, 3)), limit, side
    )
    part, whole = (tokenizer.encode(each, truncate=True) for each in (text[start:end], text))
    shifted = [span and (span[0] + start, span[1] + start) for span in part.spans]
    assert plain(part._replace(spans=shifted)) == plain(whole)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "llama_2" not in kind and kind not in _WITHOUT_WORDS])
def test_ordinary_text_is_joined_at_every_chunk(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a chunk had to grow")

    if kind != "fixed_length":
        monkeypatch.setattr(long_text, "_extend_chunk", fail)
    sizes = ChunkSizes(400, 200, 100, 3)
    assert len(list(encode_chunks(tokenizer_of(kind)._encode_plain, [words(2000)], sizes))) > 1


@pytest.mark.parametrize("text", ["mole" * 500, "1" * 2000, "日" * 2000, " " * 2000])
def test_what_has_no_place_to_cut_grows_in_few_steps(text: str) -> None:
    sizes = ChunkSizes(100, 60, 20, 3)
    tokenizer = tokenizer_of("byte_bpe")
    calls: list[int] = []

    def encode(batch: list[str]) -> list[object]:
        calls.append(sum(len(each) for each in batch))
        return tokenizer._encode_plain(batch)  # type: ignore[return-value]

    around = f"the mole {text} the mole"
    own = add_frame(encode_chunks(encode, [around], sizes), Frame())  # type: ignore[arg-type]
    assert plain(own) == plain(tokenizer.encode(around, special=False))
    assert sum(calls) < 8 * len(around)


def test_a_text_without_pre_tokens_is_left_whole() -> None:
    calls: list[int] = []
    tokenizer = tokenizer_of("llama_2")

    def encode(batch: list[str]) -> list[object]:
        calls.append(len(batch))
        return tokenizer._encode_plain(batch)  # type: ignore[return-value]

    (only,) = encode_chunks(encode, [words(3000)], ChunkSizes(400, 200, 100, 3))  # type: ignore[arg-type]
    assert only.ids == tokenizer.encode(words(3000), special=False).ids
    assert calls == [1, 1]


# Every kind in chunks: test_chunks_give_the_tokens_of_the_whole.
@pytest.mark.parametrize(("kind", "special"), [("bos", True), ("byte_fallback", False)])
def test_a_long_text_is_as_it_was(kind: str, special: bool) -> None:
    text = words(28_000)
    assert len(text) > 2 * LONG_TEXT
    tokenizer = tokenizer_of(kind)
    whole = tokenizer._encode_whole(text, None, special, None)
    assert plain(tokenizer.encode(text, special=special)) == plain(whole)
    assert [list(ids) for ids in tokenizer.encode_batch(["the", text], special=special)][1] == list(whole.ids)
    blocks = (text[start : start + 1000] for start in range(0, len(text), 1000))
    streamed = list(encode_stream(tokenizer, blocks, special=special))
    assert list(chain.from_iterable(streamed)) == list(whole.ids)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_long_text_is_cut_to_what_a_model_takes(side: str) -> None:
    text = words(28_000)
    assert len(text) > 2 * LONG_TEXT
    for limit in (512, 20_000):
        tokenizer = FastTokenizer(tokenizer_of("word_piece")._backend, max_length=limit, truncation_side=side)
        whole = tokenizer._encode_whole(text, None, True, limit)
        assert plain(tokenizer.encode(text, truncate=True)) == plain(whole)
        assert list(tokenizer.encode_batch([text], truncate=True)[0]) == list(whole.ids)


def test_a_text_that_is_repeated_in_its_frame_stays_whole() -> None:
    backend = made.word_piece()
    tokenizer = FastTokenizer(backend)
    text = words(20_000)
    once = tokenizer.encode(text, special=False).ids
    backend.post_processor = processors.TemplateProcessing(single="$A [SEP] $A", special_tokens=[("[SEP]", 3)])
    assert list(tokenizer.encode(text).ids) == [*once, 3, *once]
    assert list(chain.from_iterable(tokenizer.encode_blocks([text]))) == [*once, 3, *once]


@pytest.mark.parametrize("kind", made.KINDS)
@pytest.mark.parametrize("options", [{}, {"special": False}, {"truncate": True}])
def test_batches_agree_with_single_texts(kind: str, options: dict[str, bool]) -> None:
    tokenizer = FastTokenizer(KINDS[kind](), max_length=6)
    batch = ["", *made.TEXTS, *made.CORPUS]
    expected = [list(tokenizer.encode(text, **options).ids) for text in batch]
    assert [list(ids) for ids in tokenizer.encode_batch(batch, **options)] == expected
    assert [list(ids) for ids in encode_many(tokenizer, batch, **options)] == expected


def test_settings_of_the_file_play_no_part_and_stay() -> None:
    backend = made.byte_bpe()
    backend.enable_truncation(3)
    backend.enable_padding(length=50)
    ids = FastTokenizer(backend).encode_batch(["the mole dug a tunnel", "a"])
    assert 3 < len(ids[0]) < 50 > len(ids[1])
    assert (backend.truncation or {})["max_length"] == 3
    assert (backend.padding or {})["length"] == 50


class Letters:
    """A Python tokenizer as transformers has them: an id a letter."""

    all_special_ids = (0,)
    unk_token_id = None

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [ord(letter) for letter in text]

    def build_inputs_with_special_tokens(self, first: list[int], second: list[int] | None) -> list[int]:
        return [0, *first]

    def create_token_type_ids_from_sequences(self, first: list[int], second: list[int] | None) -> list[int]:
        return [0] * (1 + len(first))


def test_a_python_tokenizer_takes_batches_and_blocks() -> None:
    tokenizer = PythonTokenizer(Letters(), max_length=2, slow=True)
    assert tokenizer.encode_batch(["ab", ""]) == [[0, 97, 98], [0]]
    assert tokenizer.encode_batch(["ab"], special=False, truncate=True) == [[97, 98]]
    assert list(encode_stream(tokenizer, ["a", "b"])) == [[0, 97, 98]]


def test_many_texts_stay_in_order_whatever_their_lengths() -> None:
    tokenizer = tokenizer_of("word_piece")
    given = [words(count % 7, seed=count % 500) for count in range(9_000)]
    given[300] = words(30_000)
    assert [list(ids) for ids in encode_many(tokenizer, given)] == [list(tokenizer.encode(text).ids) for text in given]


def test_many_texts_are_read_as_they_are_used() -> None:
    fetched = 0

    def endless() -> Iterator[str]:
        nonlocal fetched
        while True:
            fetched += 1
            yield "the mole dug a tunnel " * 20

    encoded = encode_many(tokenizer_of("word_piece"), endless())
    for _ in range(10):
        next(encoded)
    assert fetched < 10_000


def test_memory_does_not_grow_with_the_text() -> None:
    text, tokenizer, sizes = words(250), tokenizer_of("word_piece"), ChunkSizes(1000, 250, 100, 4)

    def peak(blocks: int) -> int:
        tracemalloc.start()
        for _ in encode_chunks(tokenizer._encode_plain, (text for _ in range(blocks)), sizes):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)  # imports
    assert peak(100) < 3 * peak(10)


def test_an_error_of_the_reader_comes_through() -> None:
    def broken() -> Iterator[str]:
        yield from ["mole"] * 3
        raise FailedError("stdin can't be read", hint="-f")

    with pytest.raises(FailedError, match="stdin can't be read"):
        list(encode_many(tokenizer_of("word_piece"), broken()))
    with pytest.raises(FailedError, match="stdin can't be read"):
        list(encode_stream(tokenizer_of("word_piece"), broken()))


def test_the_tokenizer_may_be_used_while_it_works_ahead() -> None:
    tokenizer = FastTokenizer(made.word_piece(), max_length=4)
    given = [words(200, seed=seed % 50) for seed in range(1_000)]
    for text, ids in zip(given, encode_many(tokenizer, given), strict=True):
        if len(ids) % 5 == 0:
            assert len(tokenizer.encode(text, truncate=True).ids) == 4
        assert len(ids) > 4


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("stopped", ["end", "close", "error", "interrupt"])
def test_no_thread_is_left_behind(stopped: str) -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        if stopped == "error":
            raise ValueError
        if stopped == "interrupt":
            raise KeyboardInterrupt

    results = prefetch(lambda number: number * 2, items())
    if stopped == "close":
        assert next(results) == 0
        assert workers()
        results.close()  # type: ignore[attr-defined]
    elif stopped == "end":
        assert list(results) == [0, 2, 4]
    else:
        with pytest.raises((ValueError, KeyboardInterrupt)):
            list(results)
    for thread in workers():
        thread.join(5)
    assert workers() == []


def test_whoever_stops_early_waits_for_nothing() -> None:
    begun = threading.Event()
    leave = threading.Event()

    def slow(number: int) -> int:
        if number:
            begun.set()
            leave.wait(10)
        return number

    results = prefetch(slow, range(5))
    assert next(results) == 0
    assert begun.wait(5)
    before = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - before < 5
    leave.set()


def test_the_default_model_in_batches() -> None:
    tokenizer = load_tokenizer(open_files(parse_reference(DEFAULT_MODEL)))
    given: Sequence[str] = [*made.TEXTS, "日本語の文章。" * 12_000]
    assert [list(ids) for ids in tokenizer.encode_batch(given)] == [list(tokenizer.encode(text).ids) for text in given]
