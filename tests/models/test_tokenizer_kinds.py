"""Every kind of file that a tokenizer comes in: in a model's folder as transformers reads it, and named by itself."""

from __future__ import annotations

import base64
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attncli.errors import ModelError
from attncli.models.files.model_files import open_files
from attncli.models.files.reference import Kind, parse_reference
from attncli.models.tokenizers.token_bytes import TokenBytes
from attncli.models.tokenizers.tokenizer_loader import load_tokenizer
from attncli.models.tokenizers.types import Tokenizer
from tests.tokens import vocabularies as made

GENERIC = "PreTrainedTokenizerFast"

BYTES = [bytes([byte]) for byte in range(256)]
RANKS = [*BYTES, b"th", b"the", b" m", b" mo", b" mol", b" mole"]

TEXTS = ("the mole", " the  moles\tdug\n", "naïve café Größe ÉLAN", "👍 日本語 <s>", "")


def load_named(path: Path) -> Tokenizer:
    return load_tokenizer(open_files(parse_reference(str(path))))


def sentencepiece(path: Path, **options: object) -> Path:
    trainer = pytest.importorskip("sentencepiece", reason="the extra slow-tokenizers isn't installed")
    with path.open("wb") as file:
        trainer.SentencePieceTrainer.train(
            sentence_iterator=iter(made.CORPUS), model_writer=file, hard_vocab_limit=False, minloglevel=2, **options
        )
    return path


def of_bpe(path: Path) -> Path:
    return sentencepiece(path, vocab_size=320, model_type="bpe", byte_fallback=True)


def of_unigram(path: Path) -> Path:
    return sentencepiece(path, vocab_size=60, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)


def tiktoken(path: Path) -> Path:
    lines = (f"{base64.b64encode(word).decode()} {rank}" for rank, word in enumerate(RANKS))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def tekken(path: Path) -> Path:
    """Mistral's format: ranks of byte strings, a pattern, and special tokens that have the first ids."""
    vocab = [{"rank": rank, "token_bytes": base64.b64encode(word).decode()} for rank, word in enumerate(RANKS)]
    special = [{"rank": rank, "token_str": text} for rank, text in enumerate(("<unk>", "<s>", "</s>", "[INST]"))]
    pattern = r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    config = {"pattern": pattern, "default_vocab_size": len(RANKS) + 4, "default_num_special_tokens": 4}
    content = {"config": {**config, "version": "v3"}, "vocab": vocab, "special_tokens": special}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def word_piece(path: Path, *more: str) -> Path:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    path.write_text("\n".join([*special, "the", "mole", "##s", "dug", *more]) + "\n", encoding="utf-8")
    return path


def byte_level(path: Path) -> Path:
    """vocab.json and merges.txt."""
    model = json.loads(made.byte_bpe().to_str())["model"]
    path.write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = ["#version: 0.2", *(" ".join(merge) for merge in model["merges"])]
    (path.parent / path.name.replace("vocab.json", "merges.txt")).write_text("\n".join(merges), encoding="utf-8")
    return path


#: By the name of the case: the file, what makes it, and the settings beside it.
FOLDERS: dict[str, tuple[str, Callable[[Path], Path], dict, str]] = {
    "SentencePiece BPE": ("tokenizer.model", of_bpe, {"tokenizer_class": "LlamaTokenizer"}, "llama"),
    "SentencePiece BPE with BOS": (
        "tokenizer.model",
        of_bpe,
        {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>"},
        "llama",
    ),
    "SentencePiece BPE with BOS and EOS": (
        "tokenizer.model",
        of_bpe,
        {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": True},
        "llama",
    ),
    "SentencePiece BPE without BOS": (
        "tokenizer.model",
        of_bpe,
        {"tokenizer_class": "LlamaTokenizer", "add_bos_token": False},
        "llama",
    ),
    "SentencePiece Unigram": ("spiece.model", of_unigram, {"tokenizer_class": "T5Tokenizer"}, "t5"),
    "SentencePiece Unigram by its model type": ("spiece.model", of_unigram, {}, "t5"),
    "tiktoken": ("tokenizer.model", tiktoken, {"tokenizer_class": GENERIC}, "llama"),
    "tekken": ("tekken.json", tekken, {"tokenizer_class": GENERIC}, "mistral"),
    "WordPiece": ("vocab.txt", word_piece, {"tokenizer_class": "BertTokenizer"}, "bert"),
    "WordPiece by its model type": ("vocab.txt", word_piece, {}, "bert"),
    "byte-level BPE": ("vocab.json", byte_level, {"tokenizer_class": "GPT2Tokenizer"}, "gpt2"),
    "byte-level BPE by its model type": ("vocab.json", byte_level, {}, "gpt2"),
    "byte-level BPE of RoBERTa": ("vocab.json", byte_level, {"tokenizer_class": "RobertaTokenizer"}, "roberta"),
}


@pytest.mark.parametrize("by_name", [False, True], ids=["folder", "file"])
@pytest.mark.parametrize("case", FOLDERS)
def test_agrees_with_transformers(case: str, by_name: bool, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    name, make, config, model_type = FOLDERS[case]
    if make is tiktoken:  # transformers reads such a file with that package
        pytest.importorskip("tiktoken", reason="the extra slow-tokenizers isn't installed")
    path = make(tmp_path / name)
    made.save(tmp_path, None, tokenizer_config=config, config={"model_type": model_type})
    ours = load_named(path if by_name else tmp_path)
    theirs = AutoTokenizer.from_pretrained(str(tmp_path), local_files_only=True, mistral_format=False)
    assert ours.slow == (make not in (tiktoken, tekken))
    assert (ours.note is None) == (make is not tiktoken)
    for text in TEXTS:
        for special in (True, False):
            encoding = ours.encode(text, special=special)
            expected = theirs(
                text, add_special_tokens=special, return_offsets_mapping=True, return_special_tokens_mask=True
            )
            assert list(encoding.ids) == expected["input_ids"]
            assert [span or (0, 0) for span in encoding.spans] == expected["offset_mapping"]
            assert [int(owner is None) for owner in encoding.sequences] == expected["special_tokens_mask"]


# A vocabulary alone


@pytest.mark.parametrize("name", ["tokenizer.model", "spiece.model", "llama.model", "x.spm", "tokenizer.model.v3"])
@pytest.mark.parametrize("make", [of_bpe, of_unigram])
def test_sentencepiece_alone_cuts_as_sentencepiece(make: Callable[[Path], Path], name: str, tmp_path: Path) -> None:
    path = make(tmp_path / name)
    ours = load_named(path)
    from sentencepiece import SentencePieceProcessor

    theirs = SentencePieceProcessor(model_file=str(path))
    for text in (*TEXTS[:3], "👍 日本語", "", "  x  ", *made.CORPUS[:3]):
        assert list(ours.encode(text).ids) == theirs.encode(text)
    assert ours.note is None


def test_sentencepiece_that_keeps_spaces(tmp_path: Path) -> None:
    """What the file says of spaces holds."""
    options = {"remove_extra_whitespaces": False, "add_dummy_prefix": False, "normalization_rule_name": "identity"}
    path = sentencepiece(tmp_path / "x.model", vocab_size=320, model_type="bpe", byte_fallback=True, **options)
    ours = load_named(path)
    from sentencepiece import SentencePieceProcessor

    theirs = SentencePieceProcessor(model_file=str(path))
    for text in ("the mole", "  the  mole "):
        assert list(ours.encode(text).ids) == theirs.encode(text)


@pytest.mark.parametrize("name", ["tokenizer.model", "tiktoken.model", "cl100k_base.tiktoken", "x.model", "ranks"])
def test_tiktoken_alone(name: str, tmp_path: Path) -> None:
    tokenizer = load_named(tiktoken(tmp_path / name))
    assert tokenizer.encode("the mole!").ids == [257, 261, 33]
    assert tokenizer.note is not None and "cl100k_base" in tokenizer.note


@pytest.mark.parametrize("name", ["tekken.json", "mistral-tekken.json", "tekken_240911.json", "vocabulary.json"])
def test_tekken_alone(name: str, tmp_path: Path) -> None:
    tokenizer = load_named(tekken(tmp_path / name))
    encoding = tokenizer.encode("[INST]the mole")
    assert [piece.token for piece in tokenizer.describe(encoding.ids)] == ["[INST]", "the", "Ġmole"]
    # Special tokens come first, and ranks follow them.
    assert encoding.ids == [3, 4 + 257, 4 + 261]
    assert encoding.spans == [(0, 6), (6, 9), (9, 14)]
    assert tokenizer.note is None


#: By the name of an encoding: a text that its pattern splits otherwise than that of another.
ENCODINGS = ("gpt2", "r50k_base", "p50k_base", "cl100k_base", "o200k_base", "other")
LETTERS = ("the", "The", "THE", " ", "  ", "\n", "\t", "1234", "'s", "'LL", "\u00e9", "\u5199", "/", "...", "\r\n")
SPLIT = st.lists(
    st.sampled_from(LETTERS) | st.characters(codec="utf-8"),
    max_size=12,
).map("".join)


@functools.cache
def trained_ranks() -> list[bytes]:
    """Ranks of a vocabulary that was trained, so that every token is made of two before it."""
    model = json.loads(made.byte_bpe().to_str())["model"]
    to_bytes = TokenBytes(byte_level=True).to_bytes
    return [*BYTES, *(to_bytes("".join(merge)) for merge in model["merges"])]


def write_ranks(path: Path, ranks: list[bytes]) -> Path:
    lines = (f"{base64.b64encode(word).decode()} {rank}" for rank, word in enumerate(ranks))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_tiktoken_cuts_as_tiktoken(encoding: str, tmp_path: Path) -> None:
    library = pytest.importorskip("tiktoken", reason="the extra slow-tokenizers isn't installed")
    # Without the downloads of its own functions, which have the patterns.
    from tiktoken_ext import openai_public

    patterns = openai_public.__dict__
    with pytest.MonkeyPatch.context() as patched:
        for name in ("load_tiktoken_bpe", "data_gym_to_mergeable_bpe_ranks"):
            patched.setitem(patterns, name, lambda *args, **options: {})
        pattern = patterns["cl100k_base" if encoding == "other" else encoding]()["pat_str"]
    ranks = trained_ranks()
    ours = load_named(write_ranks(tmp_path / f"{encoding}.tiktoken", ranks))
    theirs = library.Encoding(
        "x", pat_str=pattern, mergeable_ranks={word: rank for rank, word in enumerate(ranks)}, special_tokens={}
    )
    assert not ours.slow and ours.note is not None and ("by its name" in ours.note) == (encoding != "other")

    @given(SPLIT)
    def holds(text: str) -> None:
        assert list(ours.encode(text).ids) == theirs.encode_ordinary(text)

    holds()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SPLIT)
def test_tekken_is_tiktoken_behind_its_special_tokens(tmp_path: Path, text: str) -> None:
    library = pytest.importorskip("tiktoken", reason="the extra slow-tokenizers isn't installed")
    path = tekken(tmp_path / "tekken.json")
    ranks = {word: rank for rank, word in enumerate(RANKS)}
    pattern = json.loads(path.read_text())["config"]["pattern"]
    theirs = library.Encoding("x", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    assert list(load_named(path).encode(text).ids) == [4 + rank for rank in theirs.encode_ordinary(text)]


def test_an_old_tekken_and_one_with_room(tmp_path: Path) -> None:
    """Without special tokens of its own; with fewer than it says; with more entries than its size."""
    path = tekken(tmp_path / "tekken.json")
    content = json.loads(path.read_text())
    content["config"] |= {"default_num_special_tokens": 24, "default_vocab_size": 24 + 258}
    del content["special_tokens"]
    path.write_text(json.dumps(content))
    tokenizer = load_named(path)
    assert tokenizer.encode("[TOOL_CONTENT]<SPECIAL_23>the").ids == [19, 23, 24 + 257]
    assert tokenizer.vocabulary_size == 24 + 258


def test_a_folder_with_a_dated_tekken(tmp_path: Path) -> None:
    """Mistral's own folders have a params.json, and neither a config.json nor a tokenizer.json."""
    tekken(tmp_path / "tekken_240911.json")
    (tmp_path / "params.json").write_text("{}")
    assert load_named(tmp_path).encode("the mole").ids == [4 + 257, 4 + 261]


BROKEN_RANKS = {
    "x.tiktoken": ("AA== 0\nnonsense", "line 2 is not a token in base64 and its rank"),
    "y.tiktoken": ("AA== 0\n!! 1", "line 2 is not base64"),
    "z.tiktoken": ("AA== 0\nAQ== 7", "its 2 ranks are not 0 to 1"),
    "tekken.json": ("{}", 'a tekken.json needs a "config" with a "pattern", and a "vocab"'),
    "tekken_1.json": ('{"config": {"pattern": "a"}, "vocab": [3]}', 'entry 0 of its vocab has no "token_bytes"'),
    "tekken_2.json": (
        '{"config": {"pattern": "a"}, "vocab": [], "special_tokens": [3]}',
        "are not a list of ranks and",
    ),
    "tekken_3.json": ("[", "Expecting value"),
}


@pytest.mark.parametrize("name", BROKEN_RANKS)
def test_broken_ranks(name: str, tmp_path: Path) -> None:
    content, why = BROKEN_RANKS[name]
    (tmp_path / name).write_text(content)
    with pytest.raises(ModelError) as caught:
        load_named(tmp_path / name)
    assert why in caught.value.message and str(tmp_path / name) in caught.value.message
    assert (caught.value.exit_code, bool(caught.value.hint)) == (3, True)


@pytest.mark.parametrize(
    ("more", "text", "ids", "said"),
    [
        ((), "The Moles", [2, 5, 6, 7, 3], "no capital letters"),
        (("The",), "The the", [2, 9, 5, 3], "has capital letters"),
    ],
)
def test_word_piece_alone(more: tuple[str, ...], text: str, ids: list[int], said: str, tmp_path: Path) -> None:
    tokenizer = load_named(word_piece(tmp_path / "bert-vocab.txt", *more))
    assert tokenizer.encode(text).ids == ids
    assert (tokenizer.class_name, tokenizer.slow) == ("BertTokenizer", True)
    assert tokenizer.note is not None and said in tokenizer.note


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "gpt2-vocab.json", "gpt2-merges.txt"])
def test_byte_level_bpe_alone(name: str, tmp_path: Path) -> None:
    byte_level(tmp_path / name.replace("merges.txt", "vocab.json"))
    tokenizer = load_named(tmp_path / name)
    backend = made.byte_bpe()
    assert [list(tokenizer.encode(text).ids) for text in TEXTS[:3]] == [backend.encode(text).ids for text in TEXTS[:3]]
    # No special token of the class joined it.
    assert tokenizer.vocabulary_size == backend.get_vocab_size()
    assert tokenizer.note is not None and "byte-level BPE" in tokenizer.note


@pytest.mark.parametrize(("kept", "lost"), [("vocab.json", "merges.txt"), ("merges.txt", "vocab.json")])
def test_half_a_vocabulary(kept: str, lost: str, tmp_path: Path) -> None:
    byte_level(tmp_path / "vocab.json")
    (tmp_path / lost).unlink()
    with pytest.raises(ModelError, match=f"{lost} is missing") as caught:
        load_named(tmp_path / kept)
    assert lost in caught.value.hint


def test_a_tokenizer_json_by_name(tmp_path: Path) -> None:
    made.save(tmp_path, made.word_piece(), tokenizer_config={"tokenizer_class": "BertTokenizer", "model_max_length": 7})
    path = tmp_path / "tokenizer.json"
    assert (load_named(path).max_length, load_named(path).slow, load_named(path).note) == (7, False, None)
    assert load_named(path).encode("the mole").ids == made.word_piece().encode("the mole").ids
    # What stands beside it is of another file's.
    other = shutil.copy(path, tmp_path / "bert-tokenizer.json")
    assert (load_named(other).max_length, load_named(other).encode("the").ids) == (
        None,
        made.word_piece().encode("the").ids,
    )


def test_a_named_vocabulary_goes_before_a_tokenizer_json(tmp_path: Path) -> None:
    made.save(tmp_path, made.byte_bpe(), config={"model_type": "bert"})
    assert load_named(word_piece(tmp_path / "vocab.txt")).encode("the mole").ids == [2, 5, 6, 3]


# What can't be


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.txt", "x.model", "x.spm", "x.tiktoken", "my-tekken.json"])
def test_a_tokenizer_has_no_weights(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    files = open_files(parse_reference(str(tmp_path / name)))
    assert (files.ref.kind, files.ref.weights_file) == (Kind.FILE, None)
    for use in (files.weights, lambda: files.require("config.json")):
        with pytest.raises(ModelError, match=f"{name} is only a tokenizer, without the weights") as caught:
            use()
        assert str(tmp_path) in caught.value.hint


@pytest.mark.parametrize("name", ["./tokenizer.json", "no.tiktoken", "no.spm", "vocab.txt", "no.model"])
def test_a_tokenizer_that_is_not_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="there is no file or folder"):
        parse_reference(name)


BROKEN = {
    "truncated": '{"version": "1.0", "model": {"type": "BPE",',
    "no JSON": "tokenizer",
    "empty": "",
    "of wrong types": '{"model": 3}',
    "a list": "[]",
    "a vocabulary of wrong types": '{"version": "1.0", "model": {"type": "WordLevel", "vocab": [1], "unk_token": "x"}}',
    "of an unknown type": '{"version": "1.0", "model": {"type": "Brain", "vocab": {}}}',
    "a part of an unknown type": '{"version": "1.0", "normalizer": {"type": "Odd"}, "model": {"type": "BPE"}}',
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_tokenizer_json(case: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(BROKEN[case], encoding="utf-8")
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        with pytest.raises(ModelError) as caught:
            load_named(path)
        assert str(tmp_path / "tokenizer.json") in caught.value.message
        assert "\n" not in caught.value.message and not caught.value.message.endswith(".")
        assert (caught.value.exit_code, bool(caught.value.hint)) == (3, True)


@pytest.mark.parametrize("name", ["tokenizer.model", "vocab.json"])
def test_a_broken_vocabulary(name: str, tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece", reason="the extra slow-tokenizers isn't installed")
    (tmp_path / name).write_bytes(b"\x00\xffnonsense")
    (tmp_path / "merges.txt").write_text("a b", encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        load_named(tmp_path / name)
    assert "could not load the tokenizer" in caught.value.message
    # It is read from a folder of its own, which is gone by now and would tell nobody anything.
    assert "/tmp" not in caught.value.message.replace(str(tmp_path), "")
