"""Spaces before texts, where a class of transformers has its own rule for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import normalizers

from attncli.api.requests import TokenizeRequest
from attncli.api.tokenize import tokenize
from attncli.api.tokenizing import TextInput, open_text_tokenizer
from attncli.models.tokenizers.config import UNCHANGED_MODEL_TYPES, TokenizerConfig, apply_config, read_config
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
@pytest.mark.parametrize("model_type", ["llama", "mistral", "unheard_of"])
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


def test_for_which_models_the_file_goes_before_the_class() -> None:
    """The table is transformers' own. It is from the version that it names, and others have other types."""
    import transformers
    from transformers.models.auto import tokenization_auto

    if not transformers.__version__.startswith("5.24."):
        pytest.skip("the table is that of transformers 5.24")
    generic = {"TokenizersBackend", "PythonBackend", "PreTrainedTokenizerFast", "MistralCommonBackend"}
    unchanged = {name for name, kind in tokenization_auto.TOKENIZER_MAPPING_NAMES.items() if kind in generic}
    assert unchanged | tokenization_auto.MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS == UNCHANGED_MODEL_TYPES


#: By case: the tokenizer.json, the settings beside it, and a text that the class cuts otherwise than the file.
REPLACED = {
    "Llama": (older, {"tokenizer_class": "LlamaTokenizer", **SPECIAL}, " the", "the mole"),
    "capitals": (made.word_piece, {"tokenizer_class": "BertTokenizer", "do_lower_case": False}, "The", "the"),
    "accents": (made.word_piece, {"tokenizer_class": "BertTokenizer", "strip_accents": False}, "caf\u00e9", "cafe"),
    "first space": (made.byte_bpe, {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}, "mole", " mole"),
}


@pytest.mark.parametrize("case", REPLACED)
def test_a_folder_follows_the_class_and_a_named_file_means_itself(case: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    build, config, differing, same = REPLACED[case]
    backend = build()
    made.save(tmp_path, backend, tokenizer_config=config, config={"model_type": "llama"})
    theirs = AutoTokenizer.from_pretrained(str(tmp_path), local_files_only=True)
    for text in (differing, same):
        by_class = tokenize(text, model=tmp_path, no_special=True)
        by_file = tokenize(text, model=tmp_path / "tokenizer.json", no_special=True)
        assert by_class.texts[0].ids == theirs(text, add_special_tokens=False)["input_ids"]
        assert by_file.texts[0].ids == backend.encode(text, add_special_tokens=False).ids
        assert (by_class.texts[0].ids == by_file.texts[0].ids) == (text == same)
        assert by_file.warnings == ()
        warned = [
            f"its class {config['tokenizer_class']} gives other token ids" in warning for warning in by_class.warnings
        ]
        assert warned == [True] * (text == differing)


@pytest.mark.parametrize("way", ["ids", "stream", "count"])
def test_every_way_of_reading_a_text_warns_once(way: str, tmp_path: Path) -> None:
    made.save(tmp_path, older(), tokenizer_config={"tokenizer_class": "LlamaTokenizer"}, config={})
    with open_text_tokenizer(TokenizeRequest(str(tmp_path), stats=way == "count")) as tokenizing:
        texts = ["the", " the", " the"]
        if way == "ids":
            list(tokenizing.ids(texts))
        elif way == "stream":
            [list(tokenizing.stream_ids(0, [text])) for text in texts]
        else:
            tokenizing.count(map(TextInput, texts))
        assert len([warning for warning in tokenizing.warnings if "gives other token ids" in warning]) == 1
        assert tokenizing.models == (str(tmp_path),)


def test_a_named_file_has_no_tokens_of_the_settings(tmp_path: Path) -> None:
    """Not even those that only tokenizer_config.json names: the file means itself."""
    made.save(tmp_path, made.byte_bpe(), tokenizer_config={"pad_token": "[PAD]", "model_max_length": 3})
    alone, folder = (tokenize("[PAD]", model=path).texts[0] for path in (tmp_path / "tokenizer.json", tmp_path))
    assert (alone.ids, alone.max_length) == (made.byte_bpe().encode("[PAD]").ids, 3)
    assert (len(folder.ids), folder.max_length) == (1, 3)


def test_a_vocabulary_of_bytes_is_left_alone() -> None:
    backend = made.byte_bpe()
    before = backend.to_str()
    apply_config(backend, TokenizerConfig(prepend_scheme="first"))
    assert backend.to_str() == before
