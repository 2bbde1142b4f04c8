"""Tokenizers of every kind of file, and of objects, and what is said where one can't be had."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models

from attncli.errors import ModelError, UsageError
from attncli.models.files.model_files import ModelFiles, open_files
from attncli.models.files.reference import DEFAULT_MODEL, Kind, ModelRef, parse_reference
from attncli.models.files.sources import FolderSource
from attncli.models.tokenizers.tokenizer_loader import load_tokenizer, wrap_tokenizer
from attncli.models.tokenizers.types import NoTokenizerError
from tests.tokens import vocabularies as made

GENERIC = "PreTrainedTokenizerFast"


@dataclass(frozen=True)
class FetchedFiles:
    """Files of a far place, which are here once they were asked for."""

    ref: ModelRef
    there: Path
    here: Path
    trusted: bool = True

    @property
    def source(self) -> FolderSource:
        return FolderSource(self.here)

    def find(self, name: str) -> Path | None:
        return Path(shutil.copy(self.there / name, self.here)) if (self.there / name).is_file() else None


def test_facts_of_the_default_model() -> None:
    tokenizer = load_tokenizer(open_files(parse_reference(DEFAULT_MODEL)))
    assert tokenizer.encode("Hello world").ids == [101, 7592, 2088, 102]
    assert tokenizer.encode("👍", special=False).ids == [tokenizer.unknown_id] == [100]
    assert (tokenizer.class_name, tokenizer.max_length, tokenizer.vocabulary_size) == ("BertTokenizer", 512, 30522)
    assert (tokenizer.slow, tokenizer.note) == (False, None)
    # The file switches truncation and padding on, at 128.
    assert len(tokenizer.encode("mole " * 300).ids) == 302


@pytest.mark.parametrize(
    ("tokenizer_config", "config", "expected"),
    [
        ({"model_max_length": 77}, {"max_position_embeddings": 512}, 77),
        ({"model_max_length": 1000000000000000019884624838656}, {"max_position_embeddings": 512}, 512),
        ({"model_max_length": 1e30}, {"n_positions": 1024}, 1024),
        ({}, {"text_config": {"max_position_embeddings": 4096}}, 4096),
        ({}, {"max_position_embeddings": -1, "max_seq_len": 2048}, 2048),
        ({}, {}, None),
    ],
)
def test_max_length(tokenizer_config: dict, config: dict, expected: int | None, tmp_path: Path) -> None:
    files = made.save(tmp_path, made.word_level(), tokenizer_config=tokenizer_config, config=config)
    assert load_tokenizer(files).max_length == expected


def test_special_tokens_map_of_older_models(tmp_path: Path) -> None:
    files = made.save(tmp_path, made.word_level(), special_tokens_map={"sep_token": "<|sep|>"})
    tokenizer = load_tokenizer(files)
    (piece,) = tokenizer.describe(tokenizer.encode("<|sep|>").ids)
    assert (piece.token, piece.special) == ("<|sep|>", True)


@pytest.mark.parametrize("side", ["right", "left"])
def test_truncation_keeps_the_special_tokens(side: str, tmp_path: Path) -> None:
    config = {"model_max_length": 6, "truncation_side": side}
    tokenizer = load_tokenizer(made.save(tmp_path, made.word_piece(), tokenizer_config=config))
    whole = tokenizer.encode("the mole dug a tunnel under the lawn").ids
    cut = tokenizer.encode("the mole dug a tunnel under the lawn", truncate=True).ids
    assert len(whole) > 6
    middle = whole[1:5] if side == "right" else whole[-5:-1]
    assert cut == [whole[0], *middle, whole[-1]]
    assert tokenizer.encode("the mole dug a tunnel under the lawn").ids == whole


def test_the_unknown_token_is_not_special(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(made.save(tmp_path, made.word_piece()))
    pieces = tokenizer.describe(tokenizer.encode("👍 [MASK]").ids)
    assert [(piece.token, piece.special) for piece in pieces] == [
        ("[CLS]", True),
        ("[UNK]", False),
        ("[MASK]", True),
        ("[SEP]", True),
    ]


@pytest.mark.parametrize(
    ("kind", "unknown"),
    [
        ("word_piece", "[UNK]"),
        ("unigram", "<unk>"),
        ("word_level", "[UNK]"),
        ("byte_fallback", "<unk>"),
        ("byte_bpe", ""),
    ],
)
def test_unknown_id(kind: str, unknown: str, tmp_path: Path) -> None:
    backend = made.KINDS[kind]()
    tokenizer = load_tokenizer(made.save(tmp_path, backend))
    assert tokenizer.unknown_id == (backend.token_to_id(unknown) if unknown else None)


def test_ids_outside_the_vocabulary_have_no_piece(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(made.save(tmp_path, made.word_level()))
    last = tokenizer.vocabulary_size - 1
    assert [piece is None for piece in tokenizer.describe([last, last + 1, 2**40])] == [False, True, True]


# What can't be read


def test_a_broken_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model":', encoding="utf-8")
    files = made.save(tmp_path, None)
    with pytest.raises(ModelError, match=r"tokenizer\.json could not be read") as caught:
        load_tokenizer(files)
    assert caught.value.hint == files.source.repair_hint


@pytest.mark.parametrize("content", ["{", "[]", "\xff"])
def test_a_broken_configuration_is_an_error(content: str, tmp_path: Path) -> None:
    files = made.save(tmp_path, made.word_level())
    (tmp_path / "tokenizer_config.json").write_text(content, encoding="latin-1")
    with pytest.raises(ModelError, match=r"tokenizer_config\.json"):
        load_tokenizer(files)


@pytest.mark.parametrize(
    "config",
    [
        {"added_tokens_decoder": 3, "auto_map": 4, "tokenizer_class": [], "extra_special_tokens": 5, "bos_token": {}},
        {"added_tokens_decoder": {"x": 1, "0": 7}, "model_max_length": "many", "pad_token": {"content": 1}},
    ],
)
def test_nonsense_in_a_configuration_is_passed_over(config: dict, tmp_path: Path) -> None:
    files = made.save(tmp_path, made.word_level(), tokenizer_config=config)
    assert load_tokenizer(files).encode("the mole").ids == made.word_level().encode("the mole").ids


def test_a_model_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(NoTokenizerError) as caught:
        load_tokenizer(made.save(tmp_path, None, config={"model_type": "bert"}))
    assert "--input-ids" in caught.value.hint


def test_a_text_that_the_tokenizer_cannot_cut(tmp_path: Path) -> None:
    backend = Backend(models.WordLevel({"mole": 0}, unk_token="[UNK]"))
    with pytest.raises(ModelError, match="could not cut the text"):
        load_tokenizer(made.save(tmp_path, backend)).encode("tunnel")


def test_a_hub_that_could_not_be_asked_is_the_reason(tmp_path: Path) -> None:
    class Unreachable(FolderSource):
        def listing_error(self) -> ModelError:
            return ModelError("the hub is not to be reached", hint="check the network")

    ref = ModelRef("org/name", Kind.HUB, "org/name")
    with pytest.raises(ModelError, match="not to be reached"):
        load_tokenizer(ModelFiles(ref, Unreachable(tmp_path)))


# Code that came with a model


def _with_code(folder: Path, backend: Backend | None) -> ModelFiles:
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nmole\n", encoding="utf-8")
    (folder / "tokenization_my.py").write_text(
        "from .base_my import Base\nclass MyTokenizer(Base):\n    pass\n", encoding="utf-8"
    )
    (folder / "base_my.py").write_text("from transformers import BertTokenizer as Base\n", encoding="utf-8")
    code = {"auto_map": {"AutoTokenizer": ["tokenization_my.MyTokenizer", None]}, "tokenizer_class": "MyTokenizer"}
    return made.save(folder, backend, tokenizer_config=code, config={"model_type": "bert"})


def _keep_code_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let transformers keep the code that it runs in a folder of the test's."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(folder / "modules"))
    # Before the folder that another test may have left there.
    monkeypatch.setattr(sys, "path", [str(folder / "modules"), *sys.path])
    for name in [name for name in sys.modules if name.split(".")[0] == "transformers_modules"]:
        monkeypatch.delitem(sys.modules, name)


def test_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenization_my\.MyTokenizer") as caught:
        load_tokenizer(_with_code(tmp_path, None))
    assert "--trust-remote-code" in caught.value.hint


def test_data_is_used_instead_of_code(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(_with_code(tmp_path, made.word_level()))
    assert tokenizer.encode("the mole").ids == made.word_level().encode("the mole").ids
    assert tokenizer.note is not None and "tokenization_my.MyTokenizer" in tokenizer.note


def test_code_runs_where_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _keep_code_in(tmp_path, monkeypatch)
    tokenizer = load_tokenizer(_with_code(tmp_path, made.word_level())._replace(trusted=True))
    assert (tokenizer.class_name, tokenizer.slow) == ("MyTokenizer", True)


def test_the_files_of_the_code_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _keep_code_in(tmp_path, monkeypatch)
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    _with_code(there, None)
    tokenizer = load_tokenizer(FetchedFiles(ModelRef("org/name", Kind.HUB, "org/name"), there, here))
    assert (tokenizer.class_name, tokenizer.encode("mole").ids) == ("MyTokenizer", [2, 5, 3])


# The slow way


def test_a_tokenizer_without_a_vocabulary(tmp_path: Path) -> None:
    config = {"tokenizer_class": "ByT5Tokenizer", "extra_ids": 0, "model_max_length": 4}
    files = made.save(tmp_path, None, tokenizer_config=config, config={"model_type": "t5"})
    tokenizer = load_tokenizer(files)
    encoding = tokenizer.encode("abc", pair="d")
    assert (encoding.ids, encoding.sequences) == ([100, 101, 102, 1, 103, 1], [0, 0, 0, None, 1, None])
    assert [piece.text for piece in tokenizer.describe([100, 1])] == ["a", "</s>"]
    assert tokenizer.encode("abcdef", truncate=True).ids == [100, 101, 102, 1]
    assert tokenizer.encode("abcdef", pair="gh", truncate=True).ids == [100, 1, 106, 1]
    assert tokenizer.describe([100, 10**6])[1] is None
    assert tokenizer.encode("abcdef", pair="g", truncate=True, special=False).ids == [100, 101, 102, 106]
    emoji = tokenizer.describe(tokenizer.encode("👍", special=False).ids)
    assert b"".join(piece.data for piece in emoji) == "👍".encode()


def test_a_made_up_vocabulary_is_none(tmp_path: Path) -> None:
    files = made.save(
        tmp_path, None, tokenizer_config={"tokenizer_class": "BertTokenizer"}, config={"model_type": "bert"}
    )
    with pytest.raises(NoTokenizerError):
        load_tokenizer(files)


# Tokenizers that somebody has loaded


def test_a_tokenizer_of_tokenizers_is_left_as_it_was() -> None:
    backend = made.word_piece()
    backend.enable_truncation(4)
    backend.enable_padding(length=20, pad_id=0, pad_token="[PAD]")
    before = backend.to_str()
    assert len(wrap_tokenizer(backend).encode("the mole dug a tunnel").ids) > 4
    assert backend.to_str() == before


def test_a_tokenizer_of_transformers(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    config = {"tokenizer_class": GENERIC, "model_max_length": 9}
    made.save(tmp_path, made.word_piece(), tokenizer_config=config)
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    tokenizer = wrap_tokenizer(theirs)
    assert (tokenizer.max_length, tokenizer.slow) == (9, False)
    assert tokenizer.encode("the mole").ids == theirs("the mole")["input_ids"]
    assert wrap_tokenizer(tokenizer) is tokenizer


def test_anything_else_is_refused() -> None:
    with pytest.raises(UsageError, match="int"):
        wrap_tokenizer(3)
