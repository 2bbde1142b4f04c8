"""Tokenizers that GGUF files hold: ids against the libraries that the vocabularies come from."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from attncli.errors import ModelError
from attncli.models.files.model_files import open_files
from attncli.models.files.reference import parse_reference
from attncli.models.tokenizers.gguf_vocabulary import SPLITS
from attncli.models.tokenizers.tokenizer_loader import load_tokenizer
from attncli.models.tokenizers.types import NoTokenizerError, Tokenizer
from tests.gguf_files import gguf_bytes, gguf_tokenizer, text, u32
from tests.tokens import vocabularies as made

CONTROL, UNKNOWN, NORMAL, BYTE, USER_DEFINED, UNUSED = 3, 2, 1, 6, 4, 5

#: First and last characters of scripts, signs and marks.
BLOCKS = (
    *((0x20, 0x7E), (0xA1, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x5D0, 0x6FF), (0x900, 0xD7F), (0xE01, 0xFFF)),
    *((0x2000, 0x206F), (0x3041, 0x30FF), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0x1F300, 0x1F6FF)),
)
BETWEEN = (" ", "  ", "\n", "\t", "'s ", "12", " 2024 ", "", "\r\n", "Mole", "the mole")


def strings(count: int) -> Iterator[str]:
    """Strings of all scripts, the same ones each time."""
    chance = random.Random(0)
    for _ in range(count):
        parts = []
        for _ in range(chance.randint(1, 7)):
            first, last = chance.choice(BLOCKS)
            parts += [chr(chance.randint(first, last)) for _ in range(chance.randint(1, 5))]
            parts.append(chance.choice(BETWEEN))
        yield "".join(part for part in parts if unicodedata.category(part[:1] or "x") != "Cn")


def read(path: Path) -> Tokenizer:
    return load_tokenizer(open_files(parse_reference(str(path))))


def model_of(backend: Backend) -> Any:
    return json.loads(backend.to_str())["model"]


def tokens_of(backend: Backend) -> list[str]:
    vocabulary = backend.get_vocab(with_added_tokens=False)
    return sorted(vocabulary, key=vocabulary.__getitem__)


def byte_level_file(path: Path, backend: Backend, **more: Any) -> Path:
    tokens, merges = tokens_of(backend), [" ".join(merge) for merge in model_of(backend)["merges"]]
    kinds = [CONTROL if token.startswith("<") and token.endswith(">") else NORMAL for token in tokens]
    return gguf_tokenizer(path, "gpt2", tokens, merges=merges, token_type=kinds, **more)


@cache
def trained(splits: pre_tokenizers.PreTokenizer | None = None) -> Backend:
    """Byte-level BPE with many merges over what patterns may cut: digits, spaces, ends of words."""
    backend = made.byte_bpe()
    backend.pre_tokenizer = splits or pre_tokenizers.ByteLevel(False)
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    lines = ["a  2  3  4 the mole's 123 1234", "x\t\t5\n\n6 don't (MoleHill) ---", "\u5199\u5199 x\u0301 caf\u00e9"]
    backend.train_from_iterator(lines * 9, trainer)
    return backend


# Byte-level BPE


def test_byte_level_bpe_cuts_as_the_tokenizer_json_that_it_was_made_of(tmp_path: Path) -> None:
    backend = made.byte_bpe(trim=False)
    ours = read(byte_level_file(tmp_path / "x.gguf", backend))
    for each in strings(2000):
        theirs, encoding = backend.encode(each, add_special_tokens=False), ours.encode(each, special=False)
        assert list(encoding.ids) == theirs.ids
        assert [span or (0, 0) for span in encoding.spans] == theirs.offsets
        assert ours.decode(encoding.ids) == backend.decode(theirs.ids)
    assert not ours.slow and ours.note is None


def pattern_of_transformers(name: str) -> str | None:
    module = pytest.importorskip("transformers.integrations.gguf.gguf_tokenizer_mapping")
    return module.GGUF_PRE_TOKENIZER_SPLITS.get(name)


def split_at(*patterns: str) -> pre_tokenizers.PreTokenizer:
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(False, use_regex=False)])


#: The pre-tokenizers of published tokenizer.json files, in the library's own parts where it has them.
PUBLISHED = {
    "gpt-2": pre_tokenizers.ByteLevel(False),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]),
    "falcon": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation(behavior="contiguous"),
            pre_tokenizers.ByteLevel(False),
            pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
        ]
    ),
    "bloom": split_at(" ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"),
    "deepseek-coder": split_at(
        r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}"
    ),
    "deepseek-v3": split_at(
        r"\p{N}{1,3}",
        "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_texts_are_split_as_the_published_tokenizer_does(name: str, tmp_path: Path) -> None:
    backend = trained(PUBLISHED[name])
    ours = read(byte_level_file(tmp_path / "x.gguf", backend, pre=name))
    for each in strings(2000 if name == "smollm" else 300):
        assert list(ours.encode(each, special=False).ids) == backend.encode(each, add_special_tokens=False).ids, each


@pytest.mark.parametrize("name", SPLITS)
def test_every_name_splits_as_transformers_does_where_that_knows_it(name: str, tmp_path: Path) -> None:
    backend, pattern = trained(), pattern_of_transformers(name)
    ours = read(byte_level_file(tmp_path / "x.gguf", backend, pre=name))
    backend.pre_tokenizer = split_at(pattern or ".")
    for each in strings(200):
        encoding = ours.encode(each, special=False)
        assert ours.decode(encoding.ids) == each
        if pattern is not None and not ours._backend.model.ignore_merges:  # type: ignore[attr-defined]
            assert list(encoding.ids) == backend.encode(each, add_special_tokens=False).ids, each
    assert ours.note is None


@pytest.mark.parametrize(
    ("name", "given", "pieces"),
    [
        ("llama-bpe", "moles' 12345\n\n x", ["moles", "'", " ", "123", "45", "\n\n", " x"]),
        ("qwen2", "a 12", ["a", " ", "1", "2"]),
        ("gpt-4o", "MoleHill's 1234", ["Mole", "Hill's", " ", "123", "4"]),
        ("tekken", "MoleHill's 12", ["Mole", "Hill", "'s", " ", "1", "2"]),
        ("tiny_aya", "x 1234567", ["x", " ", "1", "234", "567"]),
        ("kimi-k2", "mole\u5199\u5199 12", ["mole", "\u5199\u5199", " ", "12"]),
        ("viking", "a, 12", ["a", ",", " ", "1", "2"]),
        ("seed-coder", "x;\n", ["x", ";", "\n"]),
    ],
)
def test_what_a_name_cuts(name: str, given: str, pieces: list[str], tmp_path: Path) -> None:
    """With a token for every pair of letters that occur, what merges never cross is what was cut."""
    steps = split_at(*SPLITS[name])
    found = [given[start:end] for _, (start, end) in steps.pre_tokenize_str(given)]
    assert found == pieces
    assert read(byte_level_file(tmp_path / "x.gguf", trained(), pre=name)).note is None


def test_a_way_to_split_that_is_unknown_is_said(tmp_path: Path) -> None:
    note = read(byte_level_file(tmp_path / "x.gguf", made.byte_bpe(), pre="mole-bpe")).note
    assert note is not None and "(mole-bpe) is unknown" in note and "ids may be wrong" in note


def test_ranks_without_merges_are_merged_in_their_order(tmp_path: Path) -> None:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ours = read(gguf_tokenizer(tmp_path / "x.gguf", "gpt2", [*letters, "th", "the", "mo", "le", "mole"], pre="kimi-k2"))
    assert [piece.token for piece in ours.describe(ours.encode("themole").ids) if piece] == ["the", "mole"]


# SentencePiece


def sentencepiece(path: Path, **options: object) -> Any:
    library = pytest.importorskip("sentencepiece", reason="the extra slow-tokenizers isn't installed")
    with path.open("wb") as file:
        library.SentencePieceTrainer.train(
            sentence_iterator=iter(made.CORPUS), model_writer=file, hard_vocab_limit=False, minloglevel=2, **options
        )
    return library.SentencePieceProcessor(model_file=str(path))


def pieces_of(processor: Any) -> dict[str, Any]:
    numbers = range(processor.vocab_size())
    kinds = [
        UNKNOWN if processor.is_unknown(number)
        else CONTROL if processor.is_control(number)
        else BYTE if processor.is_byte(number)
        else NORMAL
        for number in numbers
    ]  # fmt: skip
    return {
        "tokens": [processor.id_to_piece(number) for number in numbers],
        "scores": [float(processor.get_score(number)) for number in numbers],
        "token_type": kinds,
        "unknown_token_id": processor.unk_id(),
        **({"bos_token_id": processor.bos_id()} if processor.bos_id() >= 0 else {}),
        "eos_token_id": processor.eos_id(),
    }


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_s_bpe_cuts_as_that_library_does(prefix: bool, tmp_path: Path) -> None:
    options = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "add_dummy_prefix": prefix}
    processor = sentencepiece(tmp_path / "x.model", vocab_size=420, model_type="bpe", byte_fallback=True, **options)
    ours = read(
        gguf_tokenizer(
            tmp_path / "x.gguf", "llama", **pieces_of(processor), add_bos_token=True, add_space_prefix=prefix
        )
    )
    for each in filter(None, strings(2000)):
        assert list(ours.encode(each).ids) == [processor.bos_id(), *processor.encode(each)], each
    assert ours.decode(ours.encode("the mole").ids) == "the mole"


@pytest.mark.parametrize("merges_spaces", [True, False])
@pytest.mark.parametrize("rule", ["identity", "nmt_nfkc"])
def test_unigram_cuts_as_sentencepiece_does(rule: str, merges_spaces: bool, tmp_path: Path) -> None:
    proto = pytest.importorskip("sentencepiece.sentencepiece_model_pb2")
    options = {"normalization_rule_name": rule, "remove_extra_whitespaces": merges_spaces}
    processor = sentencepiece(tmp_path / "x.model", vocab_size=60, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, **options)
    charsmap = proto.ModelProto.FromString((tmp_path / "x.model").read_bytes()).normalizer_spec.precompiled_charsmap
    more = {"precompiled_charsmap": charsmap} if charsmap else {}
    values = {**pieces_of(processor), **more, "remove_extra_whitespaces": merges_spaces}
    ours = read(gguf_tokenizer(tmp_path / "x.gguf", "t5", **values))
    for each in strings(2000):
        # The library `tokenizers` normalises a base letter together with its marks, and a line's end as one character.
        each = "".join(sign for sign in each if sign != "\r" and unicodedata.category(sign)[0] not in "MC")
        if each := each.strip():
            assert list(ours.encode(each).ids) == [*processor.encode(each), 1], each


# WordPiece


def test_word_pieces_are_those_of_the_vocab_txt(tmp_path: Path) -> None:
    backend = made.word_piece()
    written = [
        token if token.startswith("[") else token[2:] if token.startswith("##") else f"\u2581{token}"
        for token in tokens_of(backend)
    ]
    special = {role: written.index(token) for role, token in
               {"bos": "[CLS]", "seperator": "[SEP]", "unknown": "[UNK]"}.items()}  # fmt: skip
    kinds = [CONTROL if token.startswith("[") else NORMAL for token in written]
    ours = read(
        gguf_tokenizer(
            tmp_path / "x.gguf", "bert", written, token_type=kinds,
            **{f"{role}_token_id": number for role, number in special.items()},
        )
    )  # fmt: skip
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    for each in strings(2000):
        assert list(ours.encode(each).ids) == backend.encode(each).ids, each
    pair, theirs = ours.encode("the mole", pair="dug"), backend.encode("the mole", "dug")
    assert (list(pair.ids), list(pair.segments)) == (theirs.ids, theirs.type_ids)


# Special tokens


def special_file(path: Path, **more: Any) -> Path:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<a:b>", "</s>", "<think>", "\uff5cend\uff5c", *letters, ""]
    kinds = [CONTROL, CONTROL, USER_DEFINED, CONTROL, *([NORMAL] * len(letters)), UNUSED]
    return gguf_tokenizer(
        path, "gpt2", tokens, merges=["\u0120 a"] if "\u0120a" in tokens else [], token_type=kinds, bos_token_id=0,
        eos_token_id=1, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "single", "pair"),
    [
        ({}, [4], [4, 4]),
        ({"add_bos_token": True}, [0, 4], [0, 4, 0, 4]),
        ({"add_eos_token": True}, [4, 1], [4, 1, 4, 1]),
        ({"pre": "llama-bpe"}, [0, 4], [0, 4, 0, 4]),
        ({"pre": "llama-bpe", "add_bos_token": False}, [4], [4, 4]),
        ({"pre": "roberta-bpe"}, [0, 4, 1], [0, 4, 1, 1, 4, 1]),
    ],
)
def test_tokens_around_a_text(more: dict[str, Any], single: list[int], pair: list[int], tmp_path: Path) -> None:
    ours = read(special_file(tmp_path / "x.gguf", **more))
    (letter,) = ours.encode("!", special=False).ids
    assert letter == 4
    assert list(ours.encode("!").ids) == single
    assert list(ours.encode("!", pair="!").ids) == pair


def test_special_and_added_tokens_stay_whole_in_a_text(tmp_path: Path) -> None:
    ours = read(special_file(tmp_path / "x.gguf"))
    found = ours.encode("!<a:b><think>\uff5cend\uff5c!").ids
    assert list(found) == [4, 0, 2, 3, 4]
    assert [piece.special for piece in ours.describe(found) if piece] == [False, True, False, True, False]
    assert list(ours.with_special_as_text().encode("<a:b>").ids) != [0]


def test_blanks_of_t5_have_their_names(tmp_path: Path) -> None:
    pieces = ["<pad>", "</s>", "<unk>", "\u2581the", *(f"[PAD{number}]" for number in range(4, 104))]
    path = gguf_tokenizer(tmp_path / "x.gguf", "t5", pieces, architecture="t5", scores=[-1.0] * len(pieces))
    names = {piece.id: piece.token for piece in read(path).vocabulary()}
    assert (names[4], names[103]) == ("<extra_id_99>", "<extra_id_0>")


# Beside other files, and broken


def test_a_tokenizer_json_beside_a_gguf_file_stands_in_where_it_has_the_same_vocabulary(tmp_path: Path) -> None:
    path = byte_level_file(tmp_path / "x.gguf", made.byte_bpe())
    made.byte_bpe(bos=True).save(str(tmp_path / "tokenizer.json"))
    bos = made.byte_bpe(bos=True).encode("mole").ids
    assert list(read(path).encode("mole").ids) == bos
    made.word_piece().save(str(tmp_path / "tokenizer.json"))
    assert list(read(path).encode("mole", special=False).ids) == made.byte_bpe().encode("mole").ids


@pytest.mark.parametrize(
    ("model", "tokens", "more", "message"),
    [
        ("gpt2", ["a", "b", "a"], {"merges": ["a b"]}, "its vocabulary contains 'a' twice, as 0 and 2"),
        ("gpt2", ["a", "b"], {"merges": ["a b"]}, "its merge 'a b' is not of tokens"),
        ("gpt2", ["a", "b"], {"merges": ["ab"]}, "its merge 'ab' is not of tokens"),
        ("gemma4", ["a", "b"], {}, "it lists no merges"),
        ("llama", ["<unk>", "<s>", "</s>", "a"], {}, "it has 0 scores for 4 tokens"),
        ("llama", ["<unk>", "<s>", "</s>", "a"], {"scores": [0.0, 0.0]}, "it has 2 scores for 4 tokens"),
        ("t5", ["<pad>", "</s>", "<unk>"], {}, "it has 0 scores for 3 tokens"),
        ("gpt2", ["a", "b"], {"token_type": [1]}, "its token types are not a list of 2 entries"),
        ("gpt2", ["a", "b"], {"token_type": [1, 99]}, "a token type is unknown"),
        ("plamo2", ["a"], {}, "its tokenizer type 'plamo2' is unknown"),
    ],
)
def test_a_broken_vocabulary(model: str, tokens: list[str], more: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        read(gguf_tokenizer(tmp_path / "x.gguf", model, tokens, **more))
    assert message in caught.value.message and caught.value.hint


def test_a_file_without_a_vocabulary_has_no_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf_bytes({"general.architecture": text("llama"), "llama.block_count": u32(1)}, (), b""))
    with pytest.raises(NoTokenizerError):
        read(path)


def test_a_file_cut_short_says_so(tmp_path: Path) -> None:
    path = byte_level_file(tmp_path / "x.gguf", made.byte_bpe())
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ModelError, match="it is incomplete"):
            read(path)
