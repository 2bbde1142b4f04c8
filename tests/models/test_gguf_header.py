"""The header of a GGUF file: read by our own reader, which skips what nobody asked for and believes nothing."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncli.errors import ModelError
from attncli.models.files.gguf_header import (
    GGML_TYPES,
    GgufTensor,
    IncompleteHeaderError,
    SkippedArray,
    parse_gguf_header,
    read_gguf_header,
    read_metadata,
)
from attncli.models.files.gguf_names import config_fields, module_name
from attncli.models.files.weight_headers import BrokenFileError
from tests.gguf_files import Entry, gguf_bytes, numbers, string, strings, text, u32

METADATA = {
    "general.architecture": text("llama"),
    "llama.block_count": u32(2),
    "tokenizer.ggml.tokens": strings([f"t{n}" for n in range(2000)]),
    "tokenizer.ggml.scores": numbers([0.5] * 2000),
    "llama.rope.factors": numbers([1.0, 2.0]),
}
#: A Q8_0 matrix of 2 rows of 32 (34 bytes each), and a vector of three float32 at the next multiple of 32.
TENSORS = [Entry("blk.0.attn_q.weight", (32, 2), 8, 0), Entry("output_norm.weight", (3,), 0, 96)]
FILE = gguf_bytes(METADATA, TENSORS, bytes(108))


def written(folder: Path, content: bytes) -> Path:
    path = folder / "x.gguf"
    path.write_bytes(content)
    return path


def fault(folder: Path, content: bytes) -> str:
    path = written(folder, content)
    with pytest.raises(ModelError) as caught:
        read_gguf_header(path)
    return caught.value.message.removeprefix(f"{path} can't be used: ")


def test_values_and_tensors(tmp_path: Path) -> None:
    header = read_gguf_header(written(tmp_path, FILE))
    data = len(FILE) - 108
    assert header.tensors == (
        GgufTensor("blk.0.attn_q.weight", "Q8_0", (2, 32), data, 68),
        GgufTensor("output_norm.weight", "F32", (3,), data + 96, 12),
    )
    assert header.metadata == {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "tokenizer.ggml.tokens": SkippedArray(2000),
        "tokenizer.ggml.scores": SkippedArray(2000),
        "llama.rope.factors": [1.0, 2.0],
    }


def test_all_metadata_with_their_arrays(tmp_path: Path) -> None:
    metadata = read_metadata(written(tmp_path, FILE))
    assert metadata["tokenizer.ggml.tokens"] == [f"t{n}" for n in range(2000)]
    assert metadata["tokenizer.ggml.scores"] == [0.5] * 2000


def test_values_of_every_kind(tmp_path: Path) -> None:
    metadata = {
        "nested": struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ2b", 1, 2, -1, 1),
        "yes": struct.pack("<I?", 7, True),
        "large": struct.pack("<IQ", 10, 1 << 60),
        "name": text("é"),
    }
    assert read_metadata(written(tmp_path, gguf_bytes(metadata, [], b""))) == {
        "nested": [[-1, 1]],
        "yes": True,
        "large": 1 << 60,
        "name": "é",
    }


@pytest.mark.parametrize("length", range(4, 80, 5))
def test_metadata_that_is_cut_short(length: int, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"ends after {length} bytes"):
        read_metadata(written(tmp_path, FILE[:length]))


def test_version_2_is_read_alike(tmp_path: Path) -> None:
    content = gguf_bytes(METADATA, TENSORS, bytes(108), version=2)
    assert read_gguf_header(written(tmp_path, content)) == read_gguf_header(written(tmp_path, FILE))


def test_an_alignment_of_the_files_own(tmp_path: Path) -> None:
    content = gguf_bytes({"general.alignment": u32(8)}, [Entry("aaaa", (2,))], bytes(8))
    header_ends = 24 + (8 + 17 + 4 + 4) + (8 + 4 + 4 + 8 + 4 + 8)
    assert header_ends == 93
    assert read_gguf_header(written(tmp_path, content)).tensors[0].begin == 96
    wider = gguf_bytes({"general.alignment": u32(64)}, [Entry("aaaa", (2,))], bytes(40))
    assert read_gguf_header(written(tmp_path, wider)).tensors[0].begin == 128


ONLY = "and only little-endian files of versions 2 and 3 can be read"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (FILE[:40], "it is incomplete: it ends after 40 bytes, within its header"),
        (FILE[:-1], f"it is incomplete: 1 of its {len(FILE):,} bytes are missing"),
        (b"GGUF", "it is incomplete: it ends after 4 bytes, within its header"),
        (
            gguf_bytes({}, [], b"", order=">"),
            f"it is big-endian, {ONLY}",
        ),
        (
            gguf_bytes({}, [], b"", version=1),
            f"it has version 1, {ONLY}",
        ),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 10**6, 1),
            "its header declares 1,000,000 tensors and 1 values, which is impossible",
        ),
        (gguf_bytes({}, [Entry("a", (1,)), Entry("a", (1,), 0, 32)], bytes(64)), "its header lists 'a' twice"),
        (gguf_bytes({}, [Entry("a", (4,)), Entry("b", (4,), 0, 8)], bytes(64)), "its tensors overlap"),
        (gguf_bytes({}, [Entry("a", (2,), 99)], bytes(64)), "the type of its tensor 'a' is unknown: 99"),
        (
            gguf_bytes({}, [Entry("a", (33,), 8)], bytes(64)),
            "a row of its tensor 'a' is not a multiple of Q8_0's block size",
        ),
        (gguf_bytes({}, [Entry("a", (1,) * 9)], bytes(64)), "its tensor 'a' has 9 dimensions, which is impossible"),
        (
            gguf_bytes({}, [Entry("a", (2**40, 2**40))], b""),
            "its tensor 'a' has 1,208,925,819,614,629,174,706,176 elements, which is impossible",
        ),
        (gguf_bytes({"a": struct.pack("<I", 77)}, [], b""), "the type of its value 'a' is unknown: 77"),
        (gguf_bytes({"general.alignment": u32(0)}, [], b""), "its general.alignment is not a positive number"),
        (
            gguf_bytes({"a": struct.pack("<IIQ", 9, 8, 10**9)}, [], b""),
            "its value 'a' has too many strings, or nested arrays",
        ),
        (
            gguf_bytes({"a": struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 50}, [], b""),
            "its value 'a' has too many strings, or nested arrays",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_lie_say_so_at_once(tmp_path: Path, content: bytes, told: str) -> None:
    start = time.process_time()
    assert fault(tmp_path, content) == told
    assert time.process_time() - start < 1


def test_a_name_twice_in_the_metadata(tmp_path: Path) -> None:
    content = b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + (string("a") + u32(1)) * 2
    assert fault(tmp_path, content) == "its metadata contains 'a' twice"


def test_half_a_million_strings_are_skipped_in_no_time(tmp_path: Path) -> None:
    content = gguf_bytes({"tokens": strings(["token"] * 500_000)}, [], b"")
    path = written(tmp_path, content)
    start = time.process_time()
    assert read_gguf_header(path).metadata == {"tokens": SkippedArray(500_000)}
    assert time.process_time() - start < 1


@given(end=st.integers(4, len(FILE) - 108 - 32))
def test_a_header_that_isnt_whole_asks_for_more(end: int) -> None:
    with pytest.raises(IncompleteHeaderError):
        parse_gguf_header(FILE[:end], len(FILE))


@given(st.data())
def test_whatever_is_broken_is_told_or_read(data: st.DataObject) -> None:
    content = bytearray(FILE)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.one_of(st.integers(0, 120), st.integers(0, len(content) - 1)))
        content[place] = data.draw(st.integers(0, 255))
    try:
        header = parse_gguf_header(bytes(content), len(content))
    except (BrokenFileError, IncompleteHeaderError):
        return
    assert all(tensor.begin >= 0 and tensor.begin + tensor.size <= len(content) for tensor in header.tensors)


def test_the_types_are_those_of_the_gguf_package() -> None:
    constants = pytest.importorskip("gguf.constants")
    theirs = {int(kind): (kind.name, *sizes) for kind, sizes in constants.GGML_QUANT_SIZES.items()}
    assert {number: GGML_TYPES[number] for number in theirs if number in GGML_TYPES} == theirs


def test_what_the_gguf_package_writes_is_read_alike(tmp_path: Path) -> None:
    gguf, numpy = pytest.importorskip("gguf"), pytest.importorskip("numpy")
    path = tmp_path / "written.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_token_list(["a", "b"])
    writer.add_tensor("output.weight", numpy.zeros((4, 32), "float32"))
    quantised = gguf.quants.quantize(numpy.zeros((4, 64), "float32"), gguf.GGMLQuantizationType.Q4_0)
    writer.add_tensor("blk.0.ffn_up.weight", quantised, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header, theirs = read_gguf_header(path), gguf.GGUFReader(path)
    assert header.metadata["tokenizer.ggml.tokens"] == ["a", "b"]
    assert [(t.name, t.dtype, t.shape, t.begin, t.size) for t in header.tensors] == [
        (t.name, t.tensor_type.name, tuple(t.shape.tolist())[::-1], t.data_offset, t.n_bytes) for t in theirs.tensors
    ]


def test_the_configuration_in_transformers_words() -> None:
    metadata = {
        "general.architecture": "qwen3moe",
        "qwen3moe.block_count": 48,
        "qwen3moe.attention.head_count": [32, 32],
        "qwen3moe.attention.head_count_kv": [4, 2],
        "qwen3moe.expert_count": 128,
        "tokenizer.ggml.tokens": SkippedArray(151_936),
    }
    assert config_fields(metadata) == (
        {
            "model_type": "qwen3moe",
            "vocab_size": 151_936,
            "num_hidden_layers": 48,
            "num_attention_heads": 32,
            "num_key_value_heads": [4, 2],
            "num_local_experts": 128,
        },
        None,
    )


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output.weight", "lm_head.weight"),
        ("output_norm.weight", "output_norm.weight"),
        ("rope_freqs.weight", "model.rotary_emb.inv_freq"),
        ("blk.7.attn_output.weight", "model.layers.7.self_attn.o_proj.weight"),
        ("blk.7.attn_q.bias", "model.layers.7.self_attn.q_proj.bias"),
        ("blk.7.attn_q_norm.weight", "model.layers.7.self_attn.q_layernorm.weight"),
        ("blk.7.attn_kv_a_mqa.weight", "model.layers.7.self_attn.kv_a_proj_with_mqa.weight"),
        ("blk.7.ffn_gate_exps.weight", "model.layers.7.mlp.experts.gate_proj.weight"),
        ("blk.7.ffn_gate_inp.weight", "model.layers.7.mlp.router.weight"),
        ("blk.7.exp_probs_b.bias", "model.layers.7.mlp.router.score_correction.bias"),
        ("blk.7.ffn_norm.weight", "model.layers.7.ffn_norm.weight"),
        ("blk.7.ssm_a", "model.layers.7.mamba.A_log"),
        ("dec.blk.1.cross_attn_k.weight", "decoder.layers.1.cross_attn.k_proj.weight"),
        ("v.blk.0.attn_out.weight", "vision_tower.layers.0.self_attn.o_proj.weight"),
        ("mm.0.weight", "multi_modal_projector.0.weight"),
        ("something.else", "something.else"),
    ],
)
def test_names_in_transformers_words(name: str, path: str) -> None:
    assert module_name(name) == path
