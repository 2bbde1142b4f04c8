"""Fuzzing of every reader of foreign files: valid files, changed at random, given to whole commands.

    python -m tests.fuzz READER --count 2000 --seed 0

Whatever the files hold, a command ends with an exit code from 0 to 3, at most two lines of error, in time, and with
little memory. Inputs run in a child process, so that one that crashes is reported and the rest goes on.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest

from tests.cli.conftest import attn
from tests.gguf_files import Entry, gguf_bytes, numbers, strings, text, u32
from tests.hub_server import HubServer
from tests.tokens.vocabularies import KINDS
from tests.weight_files import index_bytes, safetensors_bytes, with_header

#: Seconds and bytes of memory that an input may take.
MAX_SECONDS, MAX_MEMORY = 10, 2 << 30
#: Inputs of one child process.
_BATCH = 50

Files = dict[str, bytes]
Chance = random.Random


class Reader(NamedTuple):
    """files: a valid model's.  change: changes them.  commands: of which one is run; `{}` stands for the folder."""

    files: Callable[[Chance], Files]
    change: Callable[[Chance, Files], None]
    commands: Sequence[Sequence[str]]


# --- Changes


def odd_value(chance: Chance) -> Any:
    deep: Any = 1
    for _ in range(chance.choice((3, 70, 300))):
        deep = [deep] if chance.random() < 0.5 else {"text_config": deep}
    simple = (
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31,
        10**9,
        10**18,
        10**40,
        -(10**9),
        0.5,
        1e308,
        float("nan"),
        float("inf"),
    )
    texts = (
        "",
        "a",
        "[UNK]",
        "x" * 10_000,
        "\u202e\x1b[31m",
        "\ud800",
        "../../etc/passwd",
        "/dev/zero",
        "(a+)+$",
        "a.b" * 99,
    )
    others = ([], {}, [[]], [None], [1, "a"], {"a": 1}, ["x"] * 1000, {"content": "a" * 300}, deep)
    return chance.choice((*simple, *texts, *others))


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a JSON value, with each of its keys; of a vocabulary, some."""
    entries = list(value.items() if isinstance(value, dict) else enumerate(value))
    for key, inner in entries if len(entries) < 60 else entries[:6]:
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from places(inner)


def change_json(chance: Chance, value: Any) -> Any:
    """A JSON value with one to three changes: types swapped, keys removed, numbers and texts that are odd."""
    value = json.loads(json.dumps(value))
    for _ in range(chance.choice((1, 1, 2, 3))):
        found = list(places(value))
        # Shallow places are few, and most is decided there.
        top = [place for place in found if place[0] is value]
        if not found:
            return odd_value(chance)
        owner, key = chance.choice(top if chance.random() < 0.3 else found)
        match chance.randrange(7):
            case 0:
                del owner[key]
            case 1 if isinstance(owner, dict):
                owner[str(odd_value(chance))[:50]] = owner.pop(key)
            case 2 if isinstance(owner[key], int) and not isinstance(owner[key], bool):
                owner[key] = owner[key] * chance.choice((-1, 2, 1000, 10**9)) + chance.choice((0, 1))
            case 3:
                other, place = chance.choice(found)
                if place in other if isinstance(other, dict) else place < len(other):
                    owner[key] = json.loads(json.dumps(other[place]))
            case 4 if isinstance(owner[key], list):
                owner[key] = owner[key] * chance.choice((0, 2, 5))
            case _:
                owner[key] = odd_value(chance)
    return value


def change_bytes(chance: Chance, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice((1, 2, 8))):
        if not data:
            return b"\0"
        place = chance.randrange(len(data)) if chance.random() < 0.5 else chance.randrange(min(len(data), 64))
        match chance.randrange(5):
            case 0:
                data[place] ^= 1 << chance.randrange(8)
            case 1:
                data[place : place + 8] = chance.choice((b"\xff" * 8, b"\0" * 8, struct.pack("<Q", 1 << 40)))
            case 2:
                del data[place:]
            case 3:
                data[place:place] = chance.randbytes(chance.choice((1, 8, 100)))
            case 4:
                del data[place : place + chance.choice((1, 4, 50))]
    return bytes(data)


def dump(chance: Chance, value: Any) -> bytes:
    """A changed value as a file, rarely in another encoding or cut short."""
    content = json.dumps(value)
    kind = chance.random()
    if kind < 0.02:
        return content.encode(chance.choice(("utf-16", "utf-8-sig", "utf-32")), "surrogatepass")
    return change_bytes(chance, content.encode()) if kind < 0.08 else content.encode()


def json_files(*names: str) -> Callable[[Chance, Files], None]:
    """A change of one of these JSON files."""

    def change(chance: Chance, files: Files) -> None:
        name = chance.choice([name for name in names if name in files])
        files[name] = dump(chance, change_json(chance, json.loads(files[name])))

    return change


def any_bytes(*names: str) -> Callable[[Chance, Files], None]:
    """A change of the bytes of one of these files."""

    def change(chance: Chance, files: Files) -> None:
        name = chance.choice([name for name in names if name in files])
        files[name] = change_bytes(chance, files[name])

    return change


# --- Valid files


@cache
def tokenizer_json(kind: str) -> bytes:
    return KINDS[kind]().to_str().encode()


def tokenizer_files(chance: Chance) -> Files:
    truncation = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 2}
    content = json.loads(tokenizer_json(chance.choice(list(KINDS))))
    if chance.random() < 0.5:
        content["truncation"] = truncation
    return {"tokenizer.json": json.dumps(content).encode()}


#: Texts for the settings of a tokenizer's parts: words, patterns, and what no part expects.
_TEXTS = (
    "",
    "a",
    "▁",
    "##",
    "the",
    "(a+)+$",
    "[",
    "(?<=a)",
    ".*",
    "\\\\s+",
    "\ufdfa",
    "a" * 300,
    "\x00",
    "👍",
    "[UNK]",
    "$A",
    "<0xF0>",
)


def tokenizer_parts(chance: Chance) -> Files:
    """A tokenizer.json of sound types, put together from parts and values that need not fit one another."""

    def some(make: Callable[[Chance], Any], name: str) -> Any:
        kind = chance.random()
        if kind < 0.2:
            return None
        return (
            make(chance)
            if kind < 0.6
            else {"type": "Sequence", name: [make(chance) for _ in range(chance.randrange(4))]}
        )

    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    tokens = [
        {"id": chance.choice((0, 1, 5, 7, 2**32 - 1)), "content": chance.choice(_TEXTS), **_flags(chance, *flags)}
        for _ in range(chance.randrange(4))
    ]
    number = lambda: chance.choice((0, 1, 2, 8, 10**9))  # noqa: E731
    truncation = {"direction": "Left", "max_length": number(), "strategy": "OnlySecond", "stride": number()}
    numbers_of_padding = {name: number() for name in ("pad_id", "pad_to_multiple_of", "pad_type_id")}
    strategy = chance.choice(("BatchLongest", {"Fixed": number()}))
    padding = {"strategy": strategy, "direction": "Left", **numbers_of_padding, "pad_token": chance.choice(_TEXTS)}
    content = {
        "version": "1.0",
        "truncation": chance.choice((None, None, truncation)),
        "padding": chance.choice((None, None, padding)),
        "added_tokens": tokens,
        "normalizer": some(_normalizer, "normalizers"),
        "pre_tokenizer": some(_pre_tokenizer, "pretokenizers"),
        "post_processor": some(_post_processor, "processors"),
        "decoder": some(_decoder, "decoders"),
        "model": _model(chance),
    }
    return {"tokenizer.json": json.dumps(content).encode()}


def _pattern(chance: Chance) -> dict[str, str]:
    return {chance.choice(("String", "Regex")): chance.choice(_TEXTS)}


def _flags(chance: Chance, *names: str) -> dict[str, bool]:
    return {name: chance.random() < 0.5 for name in names}


def _normalizer(chance: Chance) -> dict[str, Any]:
    bert = _flags(chance, "clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    charsmap = base64.b64encode(chance.randbytes(chance.choice((0, 3, 40, 400)))).decode()
    content = chance.choice((*_TEXTS, "b" * 10**6))
    return chance.choice((
        *({"type": kind} for kind in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel")),
        {"type": "BertNormalizer", **bert},
        {"type": "Strip", **_flags(chance, "strip_left", "strip_right")},
        {"type": "Prepend", "prepend": chance.choice(_TEXTS)},
        {"type": "Precompiled", "precompiled_charsmap": charsmap},
        *[{"type": "Replace", "pattern": _pattern(chance), "content": content}] * 4,
    ))  # fmt: skip


def _pre_tokenizer(chance: Chance) -> dict[str, Any]:
    behavior = chance.choice(("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"))
    return chance.choice((
        *({"type": kind} for kind in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit", "UnicodeScripts")),
        {"type": "ByteLevel", **_flags(chance, "add_prefix_space", "trim_offsets", "use_regex")},
        {"type": "Metaspace", "replacement": chance.choice("▁a"), "prepend_scheme": "always", "split": True},
        {"type": "CharDelimiterSplit", "delimiter": chance.choice("a▁ ")},
        {"type": "Punctuation", "behavior": behavior},
        {"type": "Digits", "individual_digits": True},
        {"type": "FixedLength", "length": chance.choice((0, 1, 5, 2**40))},
        *[{"type": "Split", "pattern": _pattern(chance), "behavior": behavior, "invert": chance.random() < 0.5}] * 4,
    ))  # fmt: skip


def _post_processor(chance: Chance) -> dict[str, Any]:
    text, number = chance.choice(_TEXTS), chance.choice((0, 1, 99, 2**32 - 1))
    ends = {"sep": [text, number], "cls": ["[CLS]", number]}
    piece = {"SpecialToken": {"id": text, "type_id": chance.choice((0, 5))}}
    single = [piece] * chance.randrange(3) + [
        {"Sequence": {"id": chance.choice("AB"), "type_id": 0}}
    ] * chance.randrange(3)
    special = {text: {"id": text, "ids": [number] * chance.randrange(3), "tokens": [text] * chance.randrange(3)}}
    return chance.choice((
        {"type": "BertProcessing", **ends},
        {"type": "RobertaProcessing", **ends, **_flags(chance, "trim_offsets", "add_prefix_space")},
        {"type": "ByteLevel", **_flags(chance, "add_prefix_space", "trim_offsets", "use_regex")},
        *[{"type": "TemplateProcessing", "single": single, "pair": single * 2,
           "special_tokens": chance.choice((special, special, {}))}] * 4,
    ))  # fmt: skip


def _decoder(chance: Chance) -> dict[str, Any]:
    text = chance.choice(_TEXTS)
    return chance.choice((
        *({"type": kind} for kind in ("ByteFallback", "Fuse")),
        {"type": "ByteLevel", **_flags(chance, "add_prefix_space", "trim_offsets", "use_regex")},
        {"type": "WordPiece", "prefix": text, "cleanup": True},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True},
        {"type": "BPEDecoder", "suffix": text},
        {"type": "CTC", "pad_token": text, "word_delimiter_token": "|", "cleanup": True},
        {"type": "Strip", "content": "a", "start": chance.choice((0, 1, 2**40)), "stop": 0},
        {"type": "Replace", "pattern": _pattern(chance), "content": chance.choice((text, "b" * 10**6))},
    ))  # fmt: skip


def _model(chance: Chance) -> dict[str, Any]:
    words = [*"thema▁ ", "the", "[UNK]", "mole", "##e", "<0xF0>", *chance.choices(_TEXTS, k=3)]
    vocabulary = {word: chance.choice((place, place, place, 2**31)) for place, word in enumerate(dict.fromkeys(words))}
    unknown = chance.choice((None, "[UNK]", "?", ""))
    pieces = [[word, chance.choice((-1.0, 0.0, 1e308, -1e308))] for word in vocabulary]
    bpe = {
        "merges": chance.choice(([], ["t h"], [["t", "h"], ["th", "e"]], ["a b c"])),
        "dropout": chance.choice((None, 0.5, 2.0)),
        "continuing_subword_prefix": chance.choice((None, "##")),
        "end_of_word_suffix": chance.choice((None, "</w>")),
    }
    return chance.choice((
        {"type": "WordLevel", "vocab": vocabulary, "unk_token": unknown or "[UNK]"},
        {"type": "WordPiece", "vocab": vocabulary, "unk_token": unknown or "[UNK]",
         "continuing_subword_prefix": chance.choice(_TEXTS), "max_input_chars_per_word": chance.choice((0, 5, 2**40))},
        {"type": "BPE", "vocab": vocabulary, "unk_token": unknown, **bpe,
         **_flags(chance, "fuse_unk", "byte_fallback", "ignore_merges")},
        {"type": "Unigram", "vocab": chance.choice((pieces, pieces, [])), "unk_id": chance.choice((None, 0, 99)),
         "byte_fallback": chance.random() < 0.5},
    ))  # fmt: skip


def change_nothing(chance: Chance, files: Files) -> None:
    """The files are odd already."""


TOKENIZER_CONFIG = {
    "tokenizer_class": "BertTokenizer",
    "model_max_length": 512,
    "truncation_side": "left",
    "bos_token": "<s>",
    "unk_token": {"content": "[UNK]", "lstrip": False, "special": True},
    "added_tokens_decoder": {
        "0": {"content": "[PAD]", "special": True},
        "500": {"content": "<new>", "normalized": True},
    },
    "extra_special_tokens": ["<a>", "<b>"],
    "do_lower_case": True,
    "strip_accents": None,
    "add_prefix_space": True,
    "split_special_tokens": False,
    "legacy": True,
    "auto_map": {"AutoTokenizer": ["x.Slow", None]},
    "chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}",
}


def settings_files(chance: Chance) -> Files:
    config = dict(TOKENIZER_CONFIG)
    if chance.random() < 0.7:
        del config["auto_map"]
    config["tokenizer_class"] = chance.choice(
        ("BertTokenizer", "LlamaTokenizer", "GPT2Tokenizer", "PreTrainedTokenizerFast")
    )
    maps = {"bos_token": "<s>", "additional_special_tokens": ["<x>"]}
    return {
        "tokenizer.json": tokenizer_json(chance.choice(list(KINDS))),
        "tokenizer_config.json": json.dumps(config).encode(),
        "special_tokens_map.json": json.dumps(maps).encode(),
        "config.json": json.dumps(
            {"model_type": "llama", "max_position_embeddings": 64, "text_config": {"n_ctx": 8}}
        ).encode(),
    }


@cache
def model_files(family: str) -> Mapping[str, bytes]:
    from tests.tiny import FAMILIES, save

    with TemporaryDirectory() as folder:
        save(Path(folder), FAMILIES[family]())
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def config_files(chance: Chance) -> Files:
    """A configuration in which every field stands, so that each is changed."""
    from tests.tiny import FAMILIES

    family = chance.choice(list(FAMILIES))
    return {**model_files(family), "config.json": full_config(family)}


@cache
def full_config(family: str) -> bytes:
    from tests.tiny import FAMILIES, build

    fields = build(FAMILIES[family]()).config.to_dict()
    return json.dumps(
        {**fields, "architectures": json.loads(model_files(family)["config.json"])["architectures"]}
    ).encode()


def generation_files(chance: Chance) -> Files:
    settings = {"bos_token_id": 1, "eos_token_id": [2], "pad_token_id": 0, "max_length": 20, "temperature": 0.5,
                "suppress_tokens": [3], "forced_bos_token_id": 4, "decoder_start_token_id": 0, "do_sample": True,
                "transformers_version": "4.0.0"}  # fmt: skip
    return {**model_files(chance.choice(("t5", "bart"))), "generation_config.json": json.dumps(settings).encode()}


ADAPTER = {
    "peft_type": "LORA",
    "base_model_name_or_path": "base",
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["q_proj"],
    "task_type": "CAUSAL_LM",
    "alpha_pattern": {},
    "rank_pattern": {},
    "bias": "none",
    "revision": None,
    "layers_to_transform": None,
    "use_dora": False,
    "modules_to_save": None,
}


def adapter_files(chance: Chance) -> Files:
    base = {f"base/{name}": content for name, content in model_files("llama").items()}
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    header = {name.format("A"): {"dtype": "F32", "shape": [2, 32], "data_offsets": [0, 256]},
              name.format("B"): {"dtype": "F32", "shape": [32, 2], "data_offsets": [256, 512]}}  # fmt: skip
    return {
        **base,
        "adapter_config.json": json.dumps(ADAPTER).encode(),
        "adapter_model.safetensors": with_header(header, bytes(512)),
    }


def index_files(chance: Chance) -> Files:
    return {
        "model-1.safetensors": safetensors_bytes(a=3),
        "model-2.safetensors": safetensors_bytes(b=3),
        "model.safetensors.index.json": index_bytes({"a": "model-1.safetensors", "b": "model-2.safetensors"}),
        "config.json": model_files("llama")["config.json"],
    }


def safetensors_files(chance: Chance) -> Files:
    return {
        "model.safetensors": model_files("llama")["model.safetensors"],
        "config.json": model_files("llama")["config.json"],
    }


def change_header(chance: Chance, files: Files) -> None:
    content = files["model.safetensors"]
    end = 8 + int.from_bytes(content[:8], "little")
    if chance.random() < 0.3:
        files["model.safetensors"] = change_bytes(chance, content[:end]) + content[end:]
        return
    files["model.safetensors"] = with_header(change_json(chance, json.loads(content[8:end])), content[end:])


def gguf_files(chance: Chance) -> Files:
    words = ["<unk>", "<s>", "</s>", "▁the", "▁mole", "▁", "a"]
    metadata: dict[str, bytes] = {
        "general.architecture": text("llama"),
        "llama.block_count": u32(2),
        "llama.context_length": u32(64),
        "llama.embedding_length": u32(32),
        "llama.feed_forward_length": u32(48),
        "llama.attention.head_count": u32(4),
        "llama.attention.head_count_kv": u32(2),
        "llama.attention.sliding_window": u32(4),
        "tokenizer.ggml.model": text("llama"),
        "tokenizer.ggml.tokens": strings(words),
        "tokenizer.ggml.scores": numbers([0.0] * len(words)),
        "tokenizer.chat_template": text("{{ messages[0].content }}"),
    }
    tensors = [Entry("token_embd.weight", (32, 7)), Entry("blk.0.attn_q.weight", (32, 32), 8, 896)]
    if chance.random() < 0.7:
        odd = (
            u32(0),
            u32(2**32 - 1),
            u32(2000),
            text("x" * 99),
            text(""),
            strings([]),
            strings(["a"] * 2000),
            numbers([1.0]),
            numbers([float("nan")] * 3),
        )
        metadata[chance.choice(list(metadata))] = chance.choice(odd)
        place = chance.randrange(len(tensors))
        if chance.random() < 0.5:
            tensors[place] = tensors[place]._replace(
                name=chance.choice(("a" * 5000, "a." * 500, "\n", "token_embd.weight", "blk.999999999.attn_q.weight")),
                shape=chance.choice(((), (0,), (2**40, 2**20), (32,) * 4, (32, 7))),
                kind=chance.choice((0, 2, 12, 99)),
                offset=chance.choice((0, 1, 2**62)),
            )
    return {"model.gguf": gguf_bytes(metadata, tensors, bytes(896 + 34 * 32 + 64))}


def change_gguf(chance: Chance, files: Files) -> None:
    if chance.random() < 0.5:
        files["model.gguf"] = change_bytes(chance, files["model.gguf"][:1200]) + files["model.gguf"][1200:]


CHAT = json.dumps([{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]).encode()


def template_files(chance: Chance) -> Files:
    return {"tokenizer.json": tokenizer_json("byte_bpe"), "tokenizer_config.json": b"{}", "chat.json": CHAT,
            "chat_template.jinja": b""}  # fmt: skip


#: Pieces of templates, sound and not, one a line.
PIECES = r"""
{{ messages }}
{% for m in messages %}
{% endfor %}
{{ m.content }}
{{ m['role'] * 9 }}
{{ 9 ** 9 ** 9 }}
{{ 'a' * 10**10 }}
{% if m %}
{% endif %}
{{ ''.__class__.__mro__ }}
{% set x = namespace(a=1) %}
{% set x.a = x.a * 2 %}
{{ raise_exception('no') }}
{{ range(10**9) | list }}
{% macro f(n) %}{{ f(n) }}{% endmacro %}
{{ f(1) }}
{{ messages | tojson(indent=10**9) }}
{{ cycler.__init__.__globals__ }}
{% include 'x' %}
{{ 1/0 }}
{{ strftime_now('%' * 99) }}
{{ undefined.x.y }}
{% generation %}
{% endgeneration %}
{{
%}
{{ '%s' % messages }}
{{ dict(a=1).items() }}
{% break %}
{{ messages[99] }}
{{ loop.index }}
text
""".strip().splitlines()


def change_template(chance: Chance, files: Files) -> None:
    """A template put together from pieces, sound or not."""
    source = "".join(chance.choices(PIECES, k=chance.randrange(1, 7)))
    if chance.random() < 0.5:
        files["chat_template.jinja"] = source.encode("utf-8")
    else:
        del files["chat_template.jinja"]
        entry: Any = source if chance.random() < 0.5 else change_json(chance, [{"name": "default", "template": source}])
        files["tokenizer_config.json"] = json.dumps({"chat_template": entry, "bos_token": odd_value(chance)}).encode()
    if chance.random() < 0.2:
        files["chat.json"] = dump(chance, change_json(chance, json.loads(CHAT)))


@cache
def sentencepiece_model() -> bytes:
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    for piece, kind in (
        ("<unk>", 2),
        ("<s>", 3),
        ("</s>", 3),
        *((f"▁{word}", 1) for word in ["the", "mole", "a"]),
        *((c, 1) for c in "▁themol"),
    ):
        proto.pieces.add(piece=piece, score=-1.0, type=kind)
    proto.trainer_spec.model_type = 1
    content: bytes = proto.SerializeToString()
    return content


def vocabulary_files(chance: Chance) -> Files:
    """One of the files of a tokenizer without a tokenizer.json."""
    vocabulary = json.loads(tokenizer_json("word_piece"))["model"]["vocab"]
    words = sorted(vocabulary, key=vocabulary.get)
    bpe = json.loads(tokenizer_json("byte_bpe"))["model"]
    merges = "\n".join(merge if isinstance(merge, str) else " ".join(merge) for merge in bpe["merges"])
    ranks = b"".join(base64.b64encode(bytes([byte])) + b" %d\n" % byte for byte in range(256))
    match chance.choice(("vocab.txt", "vocab.json", "tokenizer.model", "x.tiktoken")):
        case "vocab.txt":
            return {
                "vocab.txt": "\n".join(words).encode(),
                "tokenizer_config.json": b'{"tokenizer_class": "BertTokenizer"}',
            }
        case "vocab.json":
            return {"vocab.json": json.dumps(bpe["vocab"]).encode(), "merges.txt": f"#version: 0.2\n{merges}".encode()}
        case "tokenizer.model":
            return {"tokenizer.model": sentencepiece_model()}
    return {"x.tiktoken": ranks}


def change_vocabulary(chance: Chance, files: Files) -> None:
    name = chance.choice(list(files))
    if name.endswith(".json") and chance.random() < 0.7:
        files[name] = dump(chance, change_json(chance, json.loads(files[name])))
    else:
        files[name] = change_bytes(chance, files[name])


TEXT = "The mole's [SEP] <s> naïve café 12 日本 👍"
TOKENIZE = (
    ("tokenize", TEXT, "-m", "{}"),
    ("tokenize", TEXT, "-m", "{}", "--json"),
    ("tokenize", TEXT, "-m", "{}", "--lint"),
)
PARAMS = (("params", "{}"), ("params", "{}", "--source", "header"), ("params", "{}", "--json"))
HEADS = (("heads", "--input-ids", "1 2 3 1 2 3", "-m", "{}"),)


def hub_files(chance: Chance) -> Files:
    """What the hub says of a model, and its files."""
    files = safetensors_files(chance)
    listing = {"id": "org/model", "sha": "0" * 40, "siblings": [{"rfilename": name} for name in files], "gated": False,
               "private": False, "tags": ["a"], "cardData": {"license": "mit"}, "config": {"model_type": "llama"},
               "safetensors": {"parameters": {"F32": 1}, "total": 1}, "lastModified": "2024-01-01T00:00:00.000Z",
               "pipeline_tag": "text-generation", "library_name": "transformers", "downloads": 1}  # fmt: skip
    return {**files, "listing": json.dumps(listing).encode()}


def change_hub(chance: Chance, files: Files) -> None:
    if chance.random() < 0.7:
        files["listing"] = dump(chance, change_json(chance, json.loads(files["listing"])))
    else:
        change_header(chance, files)


SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "config.json")
READERS = {
    "tokenizer": Reader(tokenizer_files, json_files("tokenizer.json"), TOKENIZE),
    "tokenizer_parts": Reader(tokenizer_parts, change_nothing, TOKENIZE),
    "settings": Reader(settings_files, json_files(*SETTINGS), TOKENIZE),
    "config": Reader(config_files, json_files("config.json"), (*PARAMS, *HEADS)),
    "generation": Reader(generation_files, json_files("generation_config.json"), ((*HEADS[0], "--generate", "2"),)),
    "adapter": Reader(adapter_files, json_files("adapter_config.json"), (("params", "{}"), *HEADS)),
    "index": Reader(index_files, json_files("model.safetensors.index.json"), (*PARAMS, *HEADS)),
    "safetensors": Reader(safetensors_files, change_header, (*PARAMS, *HEADS)),
    "gguf": Reader(gguf_files, change_gguf, (("params", "{}/model.gguf"), ("params", "{}"))),
    "gguf_tokenizer": Reader(gguf_files, change_gguf, (("tokenize", TEXT, "-m", "{}/model.gguf"),)),
    "template": Reader(template_files, change_template, (("tokenize", "--chat", "-f", "{}/chat.json", "-m", "{}"),)),
    "hub": Reader(hub_files, change_hub, (("params", "org/model"), ("params", "org/model", "--source", "header"))),
    "vocabulary": Reader(vocabulary_files, change_vocabulary, (("tokenize", TEXT, "-m", "{}"),)),
}  # fmt: skip


# --- Running


class Fault(NamedTuple):
    seed: int
    what: str


def write_case(reader: Reader, seed: int, folder: Path) -> list[str]:
    """Write the files of an input; returns the arguments of its command."""
    chance = random.Random(seed)
    files = reader.files(chance)
    reader.change(chance, files)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    adapter = folder / "adapter_config.json"
    if adapter.exists():
        adapter.write_bytes(adapter.read_bytes().replace(b'"base"', json.dumps(str(folder / "base")).encode()))
    return [part.replace("{}", str(folder)) for part in chance.choice(reader.commands)]


@contextmanager
def served(folder: Path) -> Iterator[None]:
    """A hub that has the files of a folder, and says what its `listing` holds."""
    from huggingface_hub import close_session, constants

    with HubServer() as hub, pytest.MonkeyPatch.context() as patch:
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        hub.listing = files.pop("listing")
        model = hub.add("org/model", files)
        model.commits["0" * 40] = files
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_HUB_CACHE", str(folder / "cache"))
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        close_session()
        try:
            yield
        finally:
            close_session()


def run_case(reader: Reader, seed: int) -> tuple[int, str | None]:
    """The exit code of one input, and what is wrong with how it ended; None for nothing."""
    with TemporaryDirectory() as name:
        arguments = write_case(reader, seed, Path(name))
        begin = time.monotonic()
        with served(Path(name)) if (Path(name) / "listing").exists() else nullcontext():
            outcome = attn(*arguments, stdin="")
        seconds = time.monotonic() - begin
    lines = [line for line in outcome.err.splitlines() if not line.startswith(("note: ", "warning: "))]
    wrong = (
        (not 0 <= outcome.code <= 3, f"exit code {outcome.code}"),
        (len(lines) > 2, f"{len(lines)} lines"),
        ("did not expect" in outcome.err, "unexpected"),
        (seconds > MAX_SECONDS, f"{seconds:.1f} seconds"),
    )
    faults = [what for holds, what in wrong if holds]
    return outcome.code, f"{', '.join(faults)}: {' '.join(lines)[:300]}" if faults else None


def run_share(name: str, seeds: Sequence[int]) -> list[Fault]:
    """Run some inputs in this process: for inputs that are known not to crash."""
    return [Fault(seed, what) for seed in seeds if (what := run_case(READERS[name], seed)[1]) is not None]


def run_apart(reader: Reader, seeds: Sequence[int]) -> Iterator[tuple[int, int | None, str | None]]:
    """Run inputs in child processes: seed, exit code and fault of each. A child that dies is followed by another."""
    left = list(seeds)
    while left:
        batch = left[:_BATCH]
        done = 0
        for seed, code, fault in _child(reader, batch):
            yield seed, code, fault
            done += 1
        if done < len(batch):
            yield batch[done], None, "the process died"
            done += 1
        left = left[done:]


def _child(reader: Reader, seeds: Sequence[int]) -> Iterator[tuple[int, int, str | None]]:
    receive, send = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_RDWR), 2)
            _work(reader, seeds, send)
        finally:
            os._exit(0)
    os.close(send)
    with open(receive) as lines:
        for line in lines:
            seed, code, fault = json.loads(line)
            yield seed, code, fault
    os.waitpid(process, 0)


def _work(reader: Reader, seeds: Sequence[int], send: int) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_AS, (3 * MAX_MEMORY, 3 * MAX_MEMORY))
    for seed in seeds:
        signal.alarm(3 * MAX_SECONDS)  # ends the process
        try:
            code, fault = run_case(reader, seed)
        except BaseException as error:
            code, fault = -1, f"escaped: {type(error).__name__}: {error}"[:300]
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if grown > MAX_MEMORY:
            fault = f"{grown >> 20} MiB of memory; {fault}"
        os.write(send, json.dumps([seed, code, fault]).encode() + b"\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz a reader of foreign files.")
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ.update(ATTN_CACHE="", HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
    # Imported once, and not by every child.
    import peft  # noqa: F401

    import attncli.cli.tokenize
    import attncli.models.loading.meta_model
    import attncli.models.loading.weights
    import attncli.models.tokenizers.slow  # noqa: F401

    codes, faults = Counter[int | None](), 0
    begin = time.monotonic()
    for seed, code, fault in run_apart(READERS[options.reader], range(options.seed, options.seed + options.count)):
        codes[code] += 1
        if fault is not None:
            faults += 1
            print(f"{options.reader} {seed}: {fault}", flush=True)
    seconds = time.monotonic() - begin
    print(f"{options.reader}: {options.count} inputs, {faults} faults, exit codes {dict(codes)}, {seconds:.0f} s")
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
