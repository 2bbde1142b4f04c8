"""Spaces before texts, where a class of transformers has its own rule for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import normalizers

from attncli.models.tokenizers.config import read_config, set_prefix_space
from attncli.models.tokenizers.tokenizer_loader import load_tokenizer
from tests.tokens import vocabularies as made

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}

#: A conversation of Llama 2 goes on right behind a special token: there the rules differ.
TEXTS = ("<s>the mole</s>the", "the mole", " the", "", *made.TEXTS)


def older() -> Backend:
    """As the files of Llama 2 are: a space goes before every stretch between special tokens."""
    backend = made.byte_fallback()
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = None
    return backend


@pytest.mark.parametrize("build", [made.byte_fallback, older])
@pytest.mark.parametrize("model_type", ["llama", "mistral", "phi3"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"legacy": True}, {"legacy": False}, {"legacy": None}, {"add_prefix_space": False}, {"add_bos_token": False}],
)
def test_agrees_with_transformers(settings: dict, model_type: str, build, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    config = {"tokenizer_class": "LlamaTokenizer", **SPECIAL, **settings}
    files = made.save(tmp_path, build(), tokenizer_config=config, config={"model_type": model_type})
    ours, theirs = load_tokenizer(files), AutoTokenizer.from_pretrained(str(tmp_path), local_files_only=True)
    for text in TEXTS:
        expected = theirs(text, return_offsets_mapping=True)
        encoding = ours.encode(text)
        assert list(encoding.ids) == expected["input_ids"]
        assert [span or (0, 0) for span in encoding.spans] == expected["offset_mapping"]


@pytest.mark.parametrize(
    ("config", "model_type", "scheme"),
    [
        ({"tokenizer_class": "LlamaTokenizer"}, "llama", "first"),
        ({"tokenizer_class": "LlamaTokenizerFast", "legacy": True}, "llama", "always"),
        ({"tokenizer_class": "LlamaTokenizer", "legacy": True, "add_prefix_space": False}, "llama", "never"),
        ({"tokenizer_class": "LlamaTokenizer"}, "mistral", None),
        ({"tokenizer_class": "PreTrainedTokenizerFast", "legacy": True}, "llama", None),
        ({}, "llama", None),
    ],
)
def test_whose_rule_holds(config: dict, model_type: str, scheme: str | None, tmp_path: Path) -> None:
    files = made.save(tmp_path, made.byte_fallback(), tokenizer_config=config, config={"model_type": model_type})
    assert read_config(files).prepend_scheme == scheme


def test_a_vocabulary_of_bytes_is_left_alone() -> None:
    backend = made.byte_bpe()
    before = backend.to_str()
    set_prefix_space(backend, "first")
    assert backend.to_str() == before
