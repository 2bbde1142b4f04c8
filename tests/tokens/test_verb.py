"""`attncli.tokenize`: inputs, models, notes and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, models
from tokenizers import Tokenizer as Backend

import attncli
from attncli.api.requests import TokenizeRequest
from attncli.api.tokenizing import TextInput, open_text_tokenizer
from attncli.errors import ModelError, UsageError
from attncli.models.files.reference import DEFAULT_MODEL
from tests.tokens import vocabularies as made


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    made.save(tmp_path, made.word_piece(), tokenizer_config={"tokenizer_class": "BertTokenizer", "model_max_length": 6})
    return tmp_path


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello world", [7592, 2088]),
        ("moles", [16709, 2015]),
        ("American shrew mole", [2137, 14021, 15603, 16709]),
        ("Take a biopsy of the mole", [2202, 1037, 16012, 18075, 1997, 1996, 16709]),
        ("embeddings", [7861, 8270, 4667, 2015]),
        ("👍", [100]),
    ],
)
def test_known_ids_of_the_default_model(text: str, ids: list[int]) -> None:
    assert attncli.tokenize(text).texts[0].ids == [101, *ids, 102]
    assert attncli.tokenize(text, no_special=True).texts[0].ids == ids


def test_every_text_under_every_model(model_folder: Path) -> None:
    result = attncli.tokenize(["the", "mole"], model=[DEFAULT_MODEL, model_folder])
    assert [(text.model, text.record, text.text) for text in result.texts] == [
        (DEFAULT_MODEL, 0, "the"),
        (str(model_folder), 0, "the"),
        (DEFAULT_MODEL, 1, "mole"),
        (str(model_folder), 1, "mole"),
    ]


def test_the_dictionary_is_json(model_folder: Path) -> None:
    content = attncli.tokenize("the mole", model=model_folder).to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["schema"] == "attncli.tokenize/1"


def test_made_by() -> None:
    import tokenizers

    made_by = attncli.tokenize("a").made_by
    assert made_by.to_dict() == {
        "attncli": attncli.__version__,
        "tokenizers": tokenizers.__version__,
        "transformers": None,
        "torch": None,
        "model_class": "BertTokenizer",
        "revision": None,
    }


def test_a_pair_stands_beside_the_text(model_folder: Path) -> None:
    text = attncli.tokenize("the", pair="mole dug", model=model_folder).texts[0]
    assert [token.text for token in text.tokens] == ["[CLS]", "the", "[SEP]", "mole", "dug", "[SEP]"]
    assert (text.stats.words, text.stats.tokens, text.stats.special_tokens) == (3, 3, 3)


# What is too long


def test_too_long_a_text_gets_a_note(model_folder: Path) -> None:
    result = attncli.tokenize(["the mole", "the mole dug a tunnel"], model=model_folder)
    assert result.warnings == (
        f"text 2 of 2 has 7 tokens, and {model_folder} accepts at most 6 (add --truncate to shorten it)",
    )
    assert attncli.tokenize("the mole dug a tunnel", model=model_folder).warnings[0].startswith("the text has 7 tokens")
    assert [text.max_length for text in result.texts] == [6, 6]


def test_truncation_keeps_the_special_tokens(model_folder: Path) -> None:
    result = attncli.tokenize("the mole dug a tunnel", model=model_folder, truncate=True)
    assert [token.text for token in result.texts[0].tokens] == ["[CLS]", "the", "mole", "dug", "a", "[SEP]"]
    assert result.warnings == (f"the text was truncated to the 6 tokens that {model_folder} accepts",)


def test_ids_are_truncated_where_they_are_too_many(model_folder: Path) -> None:
    assert attncli.tokenize(input_ids=[5] * 9, model=model_folder, truncate=True).texts[0].ids == [5] * 6


# Ids


def test_several_lists_of_ids(model_folder: Path) -> None:
    result = attncli.tokenize(input_ids=[[5, 6], [7]], model=model_folder)
    assert [(text.record, text.ids) for text in result.texts] == [(0, [5, 6]), (1, [7])]


def test_arrays_and_tensors_of_ids(model_folder: Path) -> None:
    import numpy as np

    assert attncli.tokenize(input_ids=np.array([5, 6]), model=model_folder).texts[0].ids == [5, 6]
    assert attncli.tokenize(input_ids=(np.int64(5),), model=model_folder).texts[0].ids == [5]
    assert [text.ids for text in attncli.tokenize(input_ids=np.array([[5], [6]]), model=model_folder).texts] == [
        [5],
        [6],
    ]


def test_ids_of_a_model_without_a_tokenizer_are_numbers(tmp_path: Path) -> None:
    made.save(tmp_path, None, config={"model_type": "bert"})
    result = attncli.tokenize(input_ids=[5, 70000], model=tmp_path)
    assert [token.text for token in result.texts[0].tokens] == ["5", "70000"]
    assert result.warnings == (f"{tmp_path} has no tokenizer, so token ids are shown as numbers",)
    with pytest.raises(ModelError, match="has no tokenizer"):
        attncli.tokenize("mole", model=tmp_path)


# A tokenizer that is loaded already


def test_a_loaded_tokenizer(model_folder: Path) -> None:
    from transformers import AutoTokenizer

    ours = attncli.tokenize("the mole", tokenizer=made.word_piece())
    theirs = attncli.tokenize("the mole", tokenizer=AutoTokenizer.from_pretrained(str(model_folder)))
    assert ours.texts[0].ids == theirs.texts[0].ids
    assert (ours.texts[0].model, theirs.texts[0].model) == ("WordPiece", str(model_folder))
    for beside in ({"model": "other"}, {"revision": "v1"}, {"refresh": True}, {"trust_remote_code": True}):
        with pytest.raises(UsageError, match=f"{next(iter(beside))}= can't be combined with tokenizer="):
            attncli.tokenize("the", tokenizer=made.word_piece(), **beside)  # type: ignore[arg-type]


# What is slow


def test_the_slow_way_gets_a_note(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nmole\n", encoding="utf-8")
    made.save(tmp_path, None, config={"model_type": "bert"})
    result = attncli.tokenize("mole", model=tmp_path)
    assert "was loaded by transformers" in result.warnings[0]
    assert result.made_by.transformers is not None


def test_data_used_instead_of_code_gets_a_note(tmp_path: Path) -> None:
    code = {"auto_map": {"AutoTokenizer": ["x.Y", None]}}
    made.save(tmp_path, made.word_level(), tokenizer_config=code)
    assert "x.Y" in attncli.tokenize("mole", model=tmp_path).warnings[0]


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "a text or token ids are missing"),
        ({"text": "a", "input_ids": [1]}, "a text or token ids are missing"),
        ({"text": ""}, "the text is empty"),
        ({"text": ["a", ""]}, "text 2 of 2 is empty"),
        ({"text": []}, "the text is empty"),
        ({"text": "a", "pair": ""}, "the text is empty"),
        ({"text": "a\ud83d"}, "surrogate U.D83D. at position 1"),
        ({"input_ids": []}, "there are no token ids"),
        ({"input_ids": [[1], []]}, "there are no token ids"),
        ({"input_ids": [1.5]}, "whole numbers"),
        ({"input_ids": ["1"]}, "whole numbers"),
        ({"input_ids": [1, [2]]}, "whole numbers"),
        ({"input_ids": 7}, "whole numbers"),
        ({"input_ids": [-1]}, "-1 is not a token id"),
        ({"input_ids": [10**6]}, "no token 1000000"),
        ({"input_ids": [1], "pair": "a"}, "--pair and --input-ids can't be combined"),
        ({"text": 3}, "the text has to be a string"),
        ({"text": ["a", None]}, "the text has to be a string"),
        ({"text": "a", "tokenizer": 3}, "which is not a tokenizer of transformers or tokenizers"),
    ],
)
def test_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        attncli.tokenize(**arguments)
    assert caught.value.hint


# Special tokens as ordinary text

#: Written special tokens, and others that are added but not special.
CODE = 'stop = "<|end|>" if the <s> mole'


@pytest.fixture(scope="module")
def code_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_folder = tmp_path_factory.mktemp("code")
    backend = made.byte_bpe(bos=True)
    backend.add_tokens([AddedToken("the <s>", special=False)])
    made.save(model_folder, backend, tokenizer_config={"tokenizer_class": "PreTrainedTokenizerFast"})
    return model_folder


def test_special_tokens_as_text_are_those_of_transformers(code_folder: Path) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(str(code_folder), local_files_only=True)
    for text in (CODE, "<|end|>", "<s></s>mole", "no token"):
        for special in (True, False):
            found = attncli.tokenize(text, model=code_folder, no_special=not special, special_as_text=True).texts[0]
            expected = theirs(text, add_special_tokens=special, split_special_tokens=True)["input_ids"]
            assert found.ids == expected
            assert [token.id for token in found.tokens if token.special] == [0] * special
    before = attncli.tokenize(CODE, model=code_folder, no_special=True).texts[0]
    assert [token.token for token in before.tokens if token.special] == ["<|end|>", "<s>"]


def test_every_way_of_reading_a_text_takes_special_tokens_as_text(code_folder: Path) -> None:
    text = f"{CODE} " * 2200
    backend = made.byte_bpe(bos=True)
    backend.add_tokens([AddedToken("the <s>", special=False)])
    backend.encode_special_tokens = True
    expected = backend.encode(text).ids
    with open_text_tokenizer(TokenizeRequest(str(code_folder), special_as_text=True)) as tokenizing:
        blocks = [text[at : at + 9999] for at in range(0, len(text), 9999)]
        streamed = [identifier for part in tokenizing.stream_ids(0, blocks) for identifier in part.ids]
        (batched,) = tokenizing.ids([text])
        (record,) = tokenizing.records([TextInput(text)])
    assert (streamed, list(batched.ids), record.texts[0].ids) == (expected, expected, expected)
    why = attncli.tokenize(CODE, model=code_folder, special_as_text=True, why=True).texts[0].why
    assert why is not None and why.agrees
    linted = attncli.tokenize(CODE, model=code_folder, special_as_text=True, lint=True).texts[0].findings
    assert not [finding for finding in linted or () if finding.kind == "special_in_text"]


def test_special_tokens_as_text_leave_a_loaded_tokenizer_as_it_was() -> None:
    backend = made.byte_bpe()
    ids = [
        attncli.tokenize("<s>", tokenizer=backend, special_as_text=as_text).texts[0].ids for as_text in (True, False)
    ]
    assert (len(ids[0]), ids[1], backend.encode_special_tokens) == (3, [0], False)


def test_special_tokens_as_text_of_a_tokenizer_in_python() -> None:
    from transformers import ByT5Tokenizer

    loaded = ByT5Tokenizer()
    found = attncli.tokenize("a</s>b", tokenizer=loaded, special_as_text=True).texts[0]
    assert found.ids == loaded("a</s>b", split_special_tokens=True)["input_ids"]
    assert attncli.tokenize("a</s>b", tokenizer=loaded).texts[0].ids == loaded("a</s>b")["input_ids"]


@pytest.mark.parametrize("given", [{"text": [{"role": "user", "content": "x"}], "chat": True}, {"input_ids": [5]}])
def test_special_tokens_as_text_are_for_texts(given: dict, model_folder: Path) -> None:
    with pytest.raises(UsageError, match="--special-as-text can't be combined with") as caught:
        attncli.tokenize(**given, model=model_folder, special_as_text=True)
    assert (caught.value.exit_code, caught.value.hint) == (2, "leave --special-as-text out")


# Characters that no token stands for


@pytest.fixture
def lossy() -> Backend:
    """A vocabulary of three letters without an unknown token."""
    return Backend(models.BPE({"a": 0, "b": 1, " ": 2}, []))


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("xyz", "has no token for 3 characters of the text and drops them"),
        ("ab x", "has no token for a character of the text"),
        ("ab\n", None),
        ("a b", None),
    ],
)
def test_characters_without_a_token_are_told(text: str, warned: str | None, lossy: Backend) -> None:
    warnings = attncli.tokenize(text, tokenizer=lossy).warnings
    assert len(warnings) == (warned is not None) and (warned is None or warned in warnings[0])
    with open_text_tokenizer(TokenizeRequest(tokenizer=lossy)) as tokenizing:
        list(tokenizing.ids([text]))
        list(tokenizing.stream_ids(0, [text]))
        assert all("has no token for" in warning for warning in tokenizing.warnings)
        assert len(tokenizing.warnings) == (warned is not None)


def test_texts_without_a_token_are_counted(lossy: Backend) -> None:
    warnings = attncli.tokenize(["xx", "ab", "yyy"], tokenizer=lossy).warnings
    assert len(warnings) == 1 and "has no token for 5 characters of 2 texts" in warnings[0]


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_broken_file_beside_the_tokenizer(name: str, model_folder: Path) -> None:
    (model_folder / name).write_text('{"model_type": ', "utf-8")
    with pytest.raises(ModelError) as caught:
        attncli.tokenize("x", model=model_folder)
    assert caught.value.message == f"{model_folder / name} can't be used: it is not valid JSON"
