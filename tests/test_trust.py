"""Files of others that are wrong, hostile, or no files at all: two lines and exit code 3, at once."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attncli import limits
from attncli.errors import ModelError
from attncli.models.loading.library_errors import library_errors
from attncli.quantities import whole_number
from tests import fuzz
from tests.cli.conftest import attn
from tests.cli.test_process import ROOT
from tests.tiny import bart, bert, deberta, save
from tests.tokens.vocabularies import byte_bpe, unigram
from tests.weight_files import with_header

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 99,
}


def refused(*arguments: object) -> str:
    """The first line of a command that ends with exit code 3 and two lines."""
    outcome = attn(*map(str, arguments))
    assert outcome.code == 3, outcome
    return outcome.error[0]


def tokenizer(folder: Path, **parts: Any) -> Path:
    """A folder with a tokenizer of words."""
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "cat": 2}, "unk_token": "[UNK]"},
    }
    (folder / "tokenizer.json").write_text(json.dumps({**content, **parts}))
    return folder


def config(folder: Path, **fields: Any) -> Path:
    (folder / "config.json").write_text(json.dumps({**LLAMA, **fields}))
    return folder


# Panics of a Rust library

SPLIT = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [],
    "special_tokens": {},
}


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"pre_tokenizer": SPLIT}, "Onig: Regex search error: retry-limit-in-match over"),
        ({"post_processor": TEMPLATE}, "no entry found for key"),
    ],
)
def test_a_panic_is_two_lines(tmp_path: Path, parts: Any, reason: str) -> None:
    assert reason in refused("tokenize", "a" * 40 + "b", "-m", tokenizer(tmp_path, **parts), "--lint")


@pytest.mark.skipif(sys.platform == "win32", reason="the process's own stderr")
def test_a_panic_prints_no_backtrace(tmp_path: Path) -> None:
    folder = tokenizer(tmp_path, post_processor=TEMPLATE)
    command = [sys.executable, "-m", "attncli", "tokenize", "a cat", "-m", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert [line.partition(":")[0] for line in ran.stderr.splitlines()] == ["error", "hint"]


# Texts that grow


def replace(pattern: object, content: str) -> dict[str, object]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def sequence(name: str, *parts: object) -> dict[str, object]:
    return {"type": "Sequence", name: list(parts)}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
GROWING = {
    "long": {"normalizer": replace({"String": "a"}, "b" * 10**6)},
    "nested": {"normalizer": sequence("normalizers", *[replace({"String": "a"}, "a" * 10)] * 9)},
    "regex": {"normalizer": replace({"Regex": ""}, "b" * 10**6)},
    "prepend": {"normalizer": {"type": "Prepend", "prepend": "x" * 10**7}},
    "bytes": {"pre_tokenizer": sequence("pretokenizers", *[BYTES] * 30)},
    "decoder": {"decoder": replace({"String": "a"}, "b" * 10**6)},
}


@pytest.mark.parametrize("kind", GROWING)
def test_a_text_that_grows_without_bound(tmp_path: Path, kind: str) -> None:
    assert "would turn" in refused("tokenize", "é" + "a" * 300, "-m", tokenizer(tmp_path, **GROWING[kind]))


@pytest.mark.parametrize("late", [False, True])
def test_added_tokens_that_grow_when_they_are_loaded(tmp_path: Path, late: bool) -> None:
    """The library normalises them while it reads the file, wherever the normaliser stands in it."""
    token = {"id": 3, "content": "a" * 3000, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True,
             "special": False}  # fmt: skip
    folder = tokenizer(tmp_path, added_tokens=[token], **GROWING["long"])
    if late:
        path = folder / "tokenizer.json"
        content = json.loads(path.read_bytes())
        normalizer = content.pop("normalizer")
        text = json.dumps({**content, "normalizer": normalizer}).replace('"normalizer"', '"\\u006eormalizer"')
        path.write_text(text)
    assert refused("tokenize", "a cat", "-m", folder) == (
        "the tokenizer would turn 3,000 bytes into up to 3,000,000,000, which is too much"
    )


def test_a_table_longer_than_itself(tmp_path: Path) -> None:
    """The library allocates what the table claims."""
    claimed = base64.b64encode((2**32 - 4).to_bytes(4, "little") + bytes(40)).decode()
    parts = [{"type": "NFC"}, {"type": "Precompiled", "precompiled_charsmap": claimed}]
    assert refused("tokenize", "a", "-m", tokenizer(tmp_path, normalizer=sequence("normalizers", *parts))).endswith(
        "its precompiled_charsmap declares a table of 4,294,967,292 bytes and has 44"
    )


def test_a_table_of_sentencepiece_longer_than_itself(tmp_path: Path) -> None:
    proto = pytest.importorskip("sentencepiece.sentencepiece_model_pb2").ModelProto
    model = proto.FromString(fuzz.sentencepiece_model())
    model.normalizer_spec.precompiled_charsmap = (2**32 - 4).to_bytes(4, "little") + bytes(40)
    (tmp_path / "tokenizer.model").write_bytes(model.SerializeToString())
    assert "declares a table of 4,294,967,292 bytes" in refused("tokenize", "a", "-m", tmp_path)


def test_honest_tokenizers_may_let_a_text_grow(tmp_path: Path) -> None:
    """ALBERT's steps, with a text that they make eleven times as long."""
    backend = unigram()
    from tokenizers import Regex, normalizers

    steps = [normalizers.Replace("``", '"'), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(),
             normalizers.Replace(Regex(" {2,}"), " "), normalizers.NFKC()]  # fmt: skip
    backend.normalizer = normalizers.Sequence(steps)  # type: ignore[arg-type]
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "long.txt").write_text("\ufdfa the mole " * 5000, encoding="utf-8")
    assert attn("tokenize", "-f", str(tmp_path / "long.txt"), "-m", str(tmp_path), "--count").code == 0


def test_a_token_longer_than_any(tmp_path: Path) -> None:
    unknown = "?" * 10**6
    model = {"type": "WordLevel", "vocab": {unknown: 0}, "unk_token": unknown}
    assert refused("tokenize", "a cat " * 100, "-m", tokenizer(tmp_path, model=model)).startswith(
        "the vocabulary has a token of 1,000,000 characters: '????"
    )


# Settings that contradict themselves


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (
            {"truncation": {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 8}},
            "its truncation keeps 8 tokens and repeats 8 of them",
        ),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "[UNK]"}}, "Missing [UNK] token"),
        (
            {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "unk_token": "[UNK]"}},
            "Unk token `[UNK]` not found in the vocabulary",
        ),
    ],
)
def test_settings_of_a_tokenizer(tmp_path: Path, parts: Any, reason: str) -> None:
    assert reason in refused("tokenize", "zebra", "-m", tokenizer(tmp_path, **parts))


# JSON of wrong types, depths and encodings


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"model_type": ["a"]}, """its model_type is '["a"]' instead of a text"""),
        ({"architectures": [5]}, "its architectures is '[5]' instead of a list of texts"),
        ({"architectures": "x"}, """its architectures is '"x"' instead of a list of texts"""),
        ({"dtype": ["F32"]}, """its dtype is '["F32"]' instead of a text"""),
        ({"text_config": {"model_type": 5}}, "its text_config.model_type is '5' instead of a text"),
        ({"auto_map": ["x"]}, """its auto_map is '["x"]' instead of an object"""),
    ],
)
def test_fields_of_other_types(tmp_path: Path, fields: Any, reason: str) -> None:
    folder = config(tmp_path, **fields)
    for arguments in (("params", folder), ("heads", "--input-ids", "1 2", "-m", folder)):
        assert refused(*arguments) == f"{folder / 'config.json'} can't be used: {reason}"


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json", "adapter_config.json"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 100_000, "it is nested deeper than 64 levels"),
        (json.dumps(LLAMA).encode("utf-8-sig"), "it begins with a byte order mark: save it as UTF-8 without one"),
        (json.dumps(LLAMA).encode("utf-16-le"), None),
    ],
)
def test_depths_and_encodings(tmp_path: Path, name: str, content: bytes, reason: str | None) -> None:
    tokenizer(tmp_path)
    (tmp_path / name).write_bytes(content)
    verb = ("params", tmp_path) if name in ("config.json", "adapter_config.json") else ("tokenize", "a", "-m", tmp_path)
    message = refused(*verb)
    assert str(tmp_path / name) in message
    if name != "tokenizer.json" or content.startswith(b"["):
        assert reason is None or message.endswith(reason)


# Numbers that size an allocation


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"num_labels": 10**9}, "num_labels is 1,000,000,000 (labels)"),
        ({"id2label": dict.fromkeys(map(str, range(100_001)), "a")}, "id2label has 100,001 labels"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1,000,000,000 (layers)"),
        ({"num_hidden_groups": 10**9}, "num_hidden_groups is 1,000,000,000 (modules)"),
        ({"vocab_size": 10**12}, "vocab_size is 1,000,000,000,000 (tokens in its vocabulary)"),
    ],
)
def test_numbers_that_size_an_allocation(tmp_path: Path, fields: Any, reason: str) -> None:
    folder = config(tmp_path, **fields)
    for arguments in (("params", folder), ("heads", "--input-ids", "1 2", "-m", folder)):
        assert refused(*arguments) == f"the configuration of {folder} is impossible: {reason}"


@pytest.mark.parametrize("field", ["vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings"])
def test_sizes_alone_are_counted(tmp_path: Path, field: str) -> None:
    """On the meta device a billion costs nothing."""
    assert attn("params", str(config(tmp_path, **{field: 10**9}))).code == 0


@pytest.mark.parametrize(("field", "value"), [("decoder_start_token_id", 10**40), ("forced_bos_token_id", -(10**9))])
def test_first_ids_of_a_decoder(tmp_path: Path, field: str, value: int) -> None:
    save(tmp_path, bart())
    (tmp_path / "generation_config.json").write_text(json.dumps({field: value}))
    assert refused("heads", "--input-ids", "1 2", "-m", tmp_path).startswith("the decoder can't begin with the ids ")


@pytest.mark.parametrize(
    ("family", "fields", "reason"),
    [
        (bert, {"chunk_size_feed_forward": {"a": 1}}, "BertModel can't be run: '>' not supported between"),
        (deberta, {"pad_token_id": 10**9}, "can't be loaded: Padding_idx must be within num_embeddings"),
    ],
)
def test_fields_that_a_class_takes_and_its_code_does_not(
    tmp_path: Path, family: Callable[[], Any], fields: Any, reason: str
) -> None:
    path = save(tmp_path, family()) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **fields}))
    assert reason in refused("heads", "--input-ids", "1 2 3", "-m", tmp_path)


def test_an_error_of_our_own_stays_one() -> None:
    """Only what a library raises is taken for a fault of the files."""
    with pytest.raises(AttributeError), library_errors("it can't be run"):
        whole_number(5)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="it can't be run: Expecting value"), library_errors("it can't be run"):
        json.loads("")


def test_modules_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever number asks for them."""
    monkeypatch.setattr("attncli.models.loading.meta_model.MAX_BUILT_TENSORS", 10)
    assert "it needs more than 10 tensors" in refused("params", config(tmp_path))


@pytest.mark.parametrize("name", [".".join(["a"] * 50_000), "a" * 5000, ".".join(["a"] * (limits.MAX_NAME_PARTS + 1))])
def test_names_of_tensors(tmp_path: Path, name: str) -> None:
    header = {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    (tmp_path / "model.safetensors").write_bytes(with_header(header, bytes(4)))
    assert "can't be used: the name of its tensor" in refused("params", tmp_path)


# No ordinary files


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices of POSIX")
@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize(
    ("name", "verb"),
    [
        ("model.safetensors", ("params",)),
        ("config.json", ("params",)),
        ("x.gguf", ("params",)),
        ("tokenizer.json", ("tokenize", "a", "-m")),
        ("vocab.txt", ("tokenize", "a", "-m")),
        ("tokenizer.model", ("tokenize", "a", "-m")),
        # transformers opens these by itself.
        ("added_tokens.json", ("tokenize", "a", "-m")),
        ("generation_config.json", ("heads", "--input-ids", "1 2", "-m")),
    ],
)
def test_what_is_no_ordinary_file(tmp_path: Path, kind: str, name: str, verb: tuple[str, ...]) -> None:
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    message = f"{path} is a {kind} instead of a regular file"
    assert refused(*verb, tmp_path) == message
    if name not in ("added_tokens.json", "generation_config.json"):
        assert refused(*verb, path) == message


def test_settings_without_end(tmp_path: Path) -> None:
    """A sparse file doesn't read room on the disk."""
    with (tokenizer(tmp_path) / "vocab.json").open("wb") as file:
        file.truncate(limits.MAX_JSON_BYTES + 1)
    assert refused("tokenize", "a", "-m", tmp_path).endswith("it is larger than 268,435,456 bytes")


# Spreadsheets


def test_tokens_are_no_formulas(tmp_path: Path) -> None:
    byte_bpe().save(str(tmp_path / "tokenizer.json"))
    rows = attn("tokenize", "=1+\u202e@", "-m", str(tmp_path), "--format", "csv").text.splitlines()
    texts = [row.split(",") for row in rows]
    assert any("'=" in row for row in texts) and any("'+" in row for row in texts) and any("'@" in row for row in texts)
    assert "\u202e" not in "".join(rows)


# Fuzzing: `python -m tests.fuzz` runs more


@pytest.mark.skipif(sys.platform == "win32", reason="the fuzzer runs on POSIX")
@pytest.mark.parametrize(
    ("reader", "count"),
    [
        *(("tokenizer", 8), ("tokenizer_parts", 8), ("settings", 8), ("config", 2), ("adapter", 3), ("index", 4)),
        *(("safetensors", 6), ("gguf", 8), ("template", 2), ("vocabulary", 1)),
    ],
)
def test_a_share_of_the_fuzzing(reader: str, count: int) -> None:
    assert fuzz.run_share(reader, range(count)) == []
