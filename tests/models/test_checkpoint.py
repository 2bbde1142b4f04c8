"""The tensors of checkpoints by their headers: one file, shards with and without an index, folders, the hub."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncli.errors import ModelError
from attncli.models.files.checkpoint import Checkpoint, StoredTensor, read_checkpoint
from attncli.models.files.weight_headers import LENGTH_BYTES, BrokenFileError, header_end, parse_header
from tests.gguf_files import Entry, gguf_bytes, strings, text, u32
from tests.hub_server import HubServer
from tests.opening import open_model
from tests.weight_files import index_bytes, safetensors_bytes, with_header

SHARDS = {
    "model-00001-of-00002.safetensors": safetensors_bytes(a=3),
    "model-00002-of-00002.safetensors": safetensors_bytes(b=2, c=1),
}
FIRST, SECOND = SHARDS
INDEX = {"model.safetensors.index.json": index_bytes({"a": FIRST, "b": SECOND, "c": SECOND})}
CONFIG = {"config.json": b'{"model_type": "bert"}'}


def write_files(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def checkpoint(path: object) -> Checkpoint:
    return read_checkpoint(open_model(path))


def refusal(path: object) -> ModelError:
    with pytest.raises(ModelError) as caught:
        checkpoint(path)
    return caught.value


def names(found: Checkpoint) -> list[str]:
    return [tensor.name for tensor in found.tensors]


def test_one_file_with_its_configuration(tmp_path: Path) -> None:
    found = checkpoint(write_files(tmp_path, {"model.safetensors": safetensors_bytes(a=3, b=2), **CONFIG}))
    assert found == Checkpoint(
        "safetensors",
        ("model.safetensors",),
        (StoredTensor("a", "a", "F32", (3,), 12), StoredTensor("b", "b", "F32", (2,), 8)),
        {"model_type": "bert"},
        sizes=((tmp_path / "model.safetensors").stat().st_size,),
    )
    assert found.stored_bytes == 20


@pytest.mark.parametrize("files", [{**SHARDS, **INDEX}, SHARDS], ids=["with an index", "without"])
def test_shards(tmp_path: Path, files: dict[str, bytes]) -> None:
    found = checkpoint(write_files(tmp_path, files))
    assert (found.files, names(found), found.config) == (tuple(SHARDS), ["a", "b", "c"], None)
    assert found.notes == ()


def test_an_index_by_its_name(tmp_path: Path) -> None:
    write_files(tmp_path, {**SHARDS, **INDEX})
    assert names(checkpoint(tmp_path / "model.safetensors.index.json")) == ["a", "b", "c"]


def test_a_named_shard_is_all_that_is_read(tmp_path: Path) -> None:
    write_files(tmp_path, {**SHARDS, **INDEX})
    assert names(checkpoint(tmp_path / "model-00002-of-00002.safetensors")) == ["b", "c"]


def test_what_index_and_files_disagree_about_is_noted(tmp_path: Path) -> None:
    index = index_bytes({"a": FIRST, "x": SECOND, "y": SECOND})
    found = checkpoint(write_files(tmp_path, {**SHARDS, "model.safetensors.index.json": index}))
    assert found.notes == (
        "the index lists x and 1 more tensors that its files don't contain",
        "the files contain b and 1 more tensors that their index doesn't list",
    )


def test_files_of_other_names(tmp_path: Path) -> None:
    found = checkpoint(
        write_files(tmp_path, {"one.safetensors": safetensors_bytes(a=1), "two.safetensors": safetensors_bytes(b=1)})
    )
    assert names(found) == ["a", "b"]


def test_an_adapter_beside_the_weights_is_not_counted(tmp_path: Path) -> None:
    files = {"one.safetensors": safetensors_bytes(a=1), "adapter_model.safetensors": safetensors_bytes(b=1)}
    assert names(checkpoint(write_files(tmp_path, files))) == ["a"]


GGUF = gguf_bytes(
    {
        "general.architecture": text("llama"),
        "llama.block_count": u32(2),
        "tokenizer.ggml.tokens": strings(["x"] * 5000),
    },
    [Entry("blk.0.attn_q.weight", (32, 2), 8)],
    bytes(68),
)


def test_gguf_in_transformers_words(tmp_path: Path) -> None:
    found = checkpoint(write_files(tmp_path, {"x.gguf": GGUF}) / "x.gguf")
    assert found == Checkpoint(
        "gguf",
        ("x.gguf",),
        (StoredTensor("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight", "Q8_0", (2, 32), 68),),
        {"model_type": "llama", "num_hidden_layers": 2, "vocab_size": 5000},
        sizes=(len(GGUF),),
    )


def test_all_shards_of_a_gguf_file(tmp_path: Path) -> None:
    second = gguf_bytes({}, [Entry("output.weight", (2,))], bytes(8))
    write_files(tmp_path, {"x-00001-of-00002.gguf": GGUF, "x-00002-of-00002.gguf": second})
    assert names(checkpoint(tmp_path / "x-00001-of-00002.gguf")) == ["blk.0.attn_q.weight", "output.weight"]


def test_a_missing_shard(tmp_path: Path) -> None:
    files = {name: data for name, data in SHARDS.items() if "00001" in name}
    assert refusal(write_files(tmp_path, files)).message == (
        f"1 of {tmp_path}'s 2 weight files are missing: model-00002-of-00002.safetensors"
    )
    assert "1 of" in refusal(write_files(tmp_path, INDEX)).message


def test_the_same_tensor_in_two_files(tmp_path: Path) -> None:
    same = {"one.safetensors": safetensors_bytes(a=1), "two.safetensors": safetensors_bytes(a=1)}
    error = refusal(write_files(tmp_path, same))
    assert error.message == f"the tensor 'a' is in more than one of the 2 weight files of {tmp_path}"
    assert error.hint == "the files are not parts of one model: choose one, for instance one.safetensors"


def test_a_pickle_has_no_header(tmp_path: Path) -> None:
    error = refusal(write_files(tmp_path, {"pytorch_model.bin": b"x"}))
    assert (
        error.message
        == f"the weights of {tmp_path} are stored as pickle (pytorch_model.bin), which has no header to read"
    )


def test_an_index_that_reaches_out_of_its_folder(tmp_path: Path) -> None:
    error = refusal(write_files(tmp_path, {"model.safetensors.index.json": index_bytes({"a": "../x.safetensors"})}))
    assert "it lists no safetensors files of this model" in error.message


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "size", "told"),
    [
        (b'{"a": %b, "a": %b}' % ((json.dumps(ENTRY).encode(),) * 2), 8, "its header lists 'a' twice"),
        (json.dumps({"a": {**ENTRY, "shape": [3]}}), 8,
         "its tensor 'a' has a size that doesn't match its shape and type"),
        (json.dumps({"a": {**ENTRY, "shape": [-1, -2]}}), 8, "its tensor 'a' has a negative size"),
        (json.dumps({"a": {**ENTRY, "shape": [2.0]}}), 8, "its header is not valid"),
        (json.dumps({"a": {**ENTRY, "shape": [True]}}), 8, "its header is not valid"),
        (json.dumps({"a": {**ENTRY, "dtype": "Q9"}}), 8, "the type of its tensor 'a' is unknown: 'Q9'"),
        (json.dumps({"\x1b[m": {**ENTRY, "dtype": "Q9"}}), 8, "the type of its tensor '\\x1b[m' is unknown: 'Q9'"),
        (json.dumps({"a": {**ENTRY, "more": 1}}), 8, "its header is not valid"),
        (json.dumps({"a": {**ENTRY, "data_offsets": [0, 2**40]}}), 8,
         "it is incomplete: 1,099,511,627,768 of its 1,099,511,627,776 bytes of weights are missing"),
        (b"[" * 20_000_000, 8, "its header is not valid"),
        (b'{"a":{}' + b',"b":{}' * 1_000_000 + b"}", 8, "its header lists too many tensors"),
        (b"[" + b"0," * 2_000_000 + b"0]", 8, "its header lists too many tensors"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)  # fmt: skip
def test_headers_that_lie_say_so_at_once(header: bytes | str, size: int, told: str) -> None:
    start = time.process_time()
    with pytest.raises(BrokenFileError) as caught:
        parse_header(header if isinstance(header, bytes) else header.encode(), size)
    assert str(caught.value) == told
    assert time.process_time() - start < 1


@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_what_is_no_header_is_a_fault(content: bytes) -> None:
    with pytest.raises(BrokenFileError):
        end = header_end(content, len(content))
        parse_header(content[LENGTH_BYTES:end], len(content) - end)
        raise BrokenFileError("a header of nothing")  # `{}` may come up


SOUND = with_header({"a": ENTRY, "b": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [8, 16]}}, bytes(16))


@given(st.data())
def test_a_changed_header_is_a_fault_or_adds_up(data: st.DataObject) -> None:
    content = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 17))] = data.draw(st.integers(0, 255))
    try:
        end = header_end(bytes(content), len(content))
        tensors = parse_header(bytes(content[LENGTH_BYTES:end]), len(content) - end)
    except BrokenFileError:
        return
    assert sum(entry.end - entry.begin for entry in tensors.values()) == len(content) - end


def long_header(tensors: int) -> bytes:
    """A header too long for the first request of a file."""
    entries = {
        f"model.layers.{n}.weight": {"dtype": "F32", "shape": [1], "data_offsets": [4 * n, 4 * n + 4]}
        for n in range(tensors)
    }
    return with_header(entries, bytes(4 * tensors))


def test_of_the_hub_only_headers_are_fetched(hub: HubServer) -> None:
    weights = with_header(
        {"a": {"dtype": "U8", "shape": [2_000_000], "data_offsets": [0, 2_000_000]}}, bytes(2_000_000)
    )
    hub.add("org/model", {**INDEX, **SHARDS, FIRST: weights, **CONFIG})
    found = checkpoint("org/model")
    assert names(found) == ["a", "b", "c"]
    assert found.stored_bytes == 2_000_000 + 12
    assert hub.bytes_sent < 200_000
    assert sorted(
        line for line in hub.requests if line.startswith("GET") and "safetensors" in line and "index" not in line
    ) == [f"GET /org/model/resolve/{hub.models['org/model'].revisions['main']}/{name}" for name in SHARDS]


@pytest.mark.parametrize("serves_ranges", [True, False])
def test_a_long_header_of_the_hub(hub: HubServer, serves_ranges: bool) -> None:
    hub.serves_ranges = serves_ranges
    hub.add("org/model", {"model.safetensors": long_header(3000), **CONFIG})
    assert len(checkpoint("org/model").tensors) == 3000


@pytest.mark.parametrize("serves_ranges", [True, False])
def test_gguf_of_the_hub(hub: HubServer, serves_ranges: bool) -> None:
    hub.serves_ranges = serves_ranges
    metadata = {"general.architecture": text("llama"), "tokenizer.ggml.tokens": strings(["token"] * 50_000)}
    hub.add("org/model", {"x.gguf": gguf_bytes(metadata, [Entry("output.weight", (2_500_000,))], bytes(10_000_000))})
    found = checkpoint("org/model/x.gguf")
    assert (names(found), found.config) == (["output.weight"], {"model_type": "llama", "vocab_size": 50_000})
    if serves_ranges:
        assert hub.bytes_sent < 2_200_000


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("model.safetensors", b"\xff" * 100, "it is not a safetensors file"),
        ("model.safetensors", b"", "it is not a safetensors file"),
        ("model.safetensors", SOUND[:-1], "it is incomplete: 1 of its 16 bytes of weights are missing"),
        ("x.gguf", GGUF[:1000], "it was cut short, within its header"),
        ("x.gguf", b"<html>" * 20, "it is not a GGUF file"),
    ],
)
def test_broken_files_of_the_hub(hub: HubServer, name: str, content: bytes, fault: str) -> None:
    hub.add("org/model", {name: content})
    error = refusal("org/model" if name.endswith("safetensors") else f"org/model/{name}")
    assert error.message == f"{name} on the hub can't be used: {fault}"


def test_a_hub_that_breaks_off(hub: HubServer, no_waiting: None) -> None:
    hub.add("org/model", {"model.safetensors": long_header(3000), **CONFIG}).breaks = 10
    assert refusal("org/model").message == (
        "the connection broke off while model.safetensors of org/model was downloaded"
    )


def test_cached_files_are_read_without_the_hub(hub: HubServer) -> None:
    hub.add("org/model", {"model.safetensors": SOUND, **CONFIG})
    files = open_model("org/model")
    files.weights()
    files.find("config.json")
    hub.requests.clear()
    assert names(checkpoint("org/model")) == ["a", "b"]
    assert hub.requests == []
