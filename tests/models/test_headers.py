"""Whole and broken files of weights, told apart by their first bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from attncli.models.files.weight_headers import TensorEntry, read_header
from tests.opening import weights_refusal
from tests.weight_files import with_header

ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def test_a_header_gives_every_tensor(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(with_header({"__metadata__": {"format": "pt"}, "a": ENTRY}, bytes(8)))
    assert read_header(path) == {"a": TensorEntry("F32", (2,), 0, 8)}


def test_what_safetensors_writes_is_whole(tmp_path: Path) -> None:
    numpy, save = pytest.importorskip("numpy"), pytest.importorskip("safetensors.numpy").save_file
    path = tmp_path / "x.safetensors"
    save({"a": numpy.zeros((2, 3), "float32"), "b": numpy.ones(5, "int8"), "empty": numpy.zeros(0, "int8")}, path)
    assert {name: entry.shape for name, entry in read_header(path).items()} == {"a": (2, 3), "b": (5,), "empty": (0,)}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "it is empty"),
        (b"\x01\x02", "it is not a safetensors file"),
        (b"<!DOCTYPE html><html>", "it is not a safetensors file"),
        (b"\x7d\0\0\0\0\0\0\0{", "it is incomplete: it ends after 9 bytes, within its header"),
        (b"\x02\0\0\0\0\0\0\0{]", "its header is not valid"),
        (with_header([1], b""), "its header is not valid"),
        (with_header({"a": 1}, b""), "its header is not valid"),
        (with_header({"a": {"dtype": "F32", "shape": [2]}}, b""), "its header is not valid"),
        (with_header({"a": {**ENTRY, "dtype": ["F32"]}}, bytes(8)), "its header is not valid"),
        (
            with_header({"a" + ".a" * 50_000: ENTRY}, bytes(8)),
            f"the name of its tensor '{'a.' * 49}a…' has 100,001 characters in 50,001 parts",
        ),
        (
            with_header({"é" * 1_001: ENTRY}, bytes(8)),
            f"the name of its tensor '{'é' * 99}…' has 1,001 characters in 1 parts",
        ),
        (b"\x80\x84\x1e\0\0\0\0\0" + b"[" * 2_000_000, "its header is not valid"),
        (with_header({"a": ENTRY}, bytes(5)), "it is incomplete: 3 of its 8 bytes of weights are missing"),
        (with_header({"a": ENTRY}, bytes(9)), "it is 1 B longer than its tensors"),
        (with_header({"a": ENTRY, "b": ENTRY}, bytes(8)), "its tensors overlap or leave gaps"),
        (with_header({"a": {**ENTRY, "data_offsets": [4, 8]}}, bytes(8)), "its tensors overlap or leave gaps"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_broken_safetensors(model_folder: Path, content: bytes, fault: str) -> None:
    path = model_folder / "model.safetensors"
    path.write_bytes(content)
    error = weights_refusal(model_folder)
    assert (error.message, error.hint) == (f"{path} can't be used: {fault}", "download or copy the file again")


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("x.gguf", b"", "it is empty"),
        ("x.gguf", b"GGML", "it is not a GGUF file"),
        ("pytorch_model.bin", b"", "it is empty"),
        ("x.safetensors.index.json", b"", "it is empty"),
        ("x.safetensors.index.json", b"{", "it is not valid JSON"),
        (
            "x.safetensors.index.json",
            b"\xff\xfe\xfd",
            "it begins with a byte order mark: save it as UTF-8 without one",
        ),
        ("x.safetensors.index.json", b"\xfd{}", "it is not valid JSON: its text is not UTF-8"),
        ("x.safetensors.index.json", b"[" * 100_000, "it is nested deeper than 64 levels"),
        ("x.safetensors.index.json", b'{"a": ' * 70 + b"1" + b"}" * 70, "it is nested deeper than 64 levels"),
        ("x.safetensors.index.json", b"[]", "it doesn't contain a JSON object"),
    ],
)
def test_other_broken_files(model_folder: Path, name: str, content: bytes, fault: str) -> None:
    path = model_folder / name
    path.write_bytes(content)
    assert weights_refusal(path, allow_pickle=True).message == f"{path} can't be used: {fault}"
