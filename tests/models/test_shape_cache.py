"""Kept shapes: found again by the same configuration only, and never trusted further than what was written."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from attncli.models.files import user_cache
from attncli.models.files.hub_cache import attn_cache_folder
from attncli.models.files.user_cache import ShapeCache, shape_key

FIELDS = {"model_type": "gpt2", "n_layer": 2, "n_embd": 8}
ENTRY = {"inventory": {"tensors": [["a", [2, 3]]]}, "model_class": "GPT2LMHeadModel"}


@pytest.fixture
def cache(tmp_path: Path) -> ShapeCache:
    return ShapeCache(tmp_path / "deep" / "shapes")


def entry_file(cache: ShapeCache) -> Path:
    assert cache.folder is not None
    (path,) = cache.folder.iterdir()
    return path


def test_an_entry_is_found_again(cache: ShapeCache) -> None:
    key = shape_key(FIELDS)
    assert cache.read(key) is None
    cache.write(key, ENTRY)
    assert cache.read(key) == ENTRY


def test_a_key_follows_from_the_configuration_whatever_its_order() -> None:
    assert shape_key(FIELDS) == shape_key(dict(reversed(FIELDS.items())))
    assert shape_key(FIELDS) != shape_key({**FIELDS, "n_layer": 3})
    assert shape_key(FIELDS) != shape_key({**FIELDS, "model_type": "bert"})


@pytest.mark.parametrize("library", ["transformers", "torch"])
def test_another_version_is_another_key(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    key = shape_key(FIELDS)
    real = user_cache.version
    monkeypatch.setattr(user_cache, "version", lambda name: "0.0" if name == library else real(name))
    assert shape_key(FIELDS) != key


def test_an_edited_source_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = shape_key(FIELDS)
    monkeypatch.setattr(user_cache, "_shape_stamp", lambda path: (path.name, 1, 1))
    assert shape_key(FIELDS) != key


def test_every_source_that_decides_is_there() -> None:
    missing = [path.name for path in user_cache._source_files("gpt2") if not path.is_file()]
    assert missing == []


@pytest.mark.parametrize("damage", ["cut", "changed", "emptied", "other", "list"])
def test_a_damaged_entry_counts_as_absent_and_is_written_anew(cache: ShapeCache, damage: str) -> None:
    cache.write("key", ENTRY)
    path = entry_file(cache)
    content = path.read_bytes()
    damaged = {
        "cut": content[:-5],
        "changed": content.replace(b"[2,3]", b"[2,4]"),
        "emptied": b"",
        "other": b"\xff\x00" * 50,
        "list": user_cache._digest(b"[]") + b"\n[]",
    }
    path.write_bytes(damaged[damage])
    assert cache.read("key") is None
    cache.write("key", ENTRY)
    assert cache.read("key") == ENTRY


def test_a_folder_that_cant_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = ShapeCache(tmp_path / "file" / "shapes")
    cache.write("key", ENTRY)
    assert cache.read("key") is None


def test_without_a_folder_nothing_is_kept() -> None:
    cache = ShapeCache(None)
    cache.write("key", ENTRY)
    assert cache.read("key") is None


def test_many_writers_leave_one_whole_entry(cache: ShapeCache) -> None:
    entries = [{"number": number, "filling": "x" * 10_000} for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda entry: cache.write("key", entry), entries))
    assert cache.read("key") in entries


def test_the_oldest_entries_go(cache: ShapeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_cache, "_MAX_SHAPE_ENTRIES", 3)
    for number in range(6):
        cache.write(f"key{number}", ENTRY)
    assert [number for number in range(6) if cache.read(f"key{number}")] == [3, 4, 5]


def test_the_folder_is_where_the_system_keeps_such_things(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ATTN_CACHE", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert attn_cache_folder() == tmp_path / "xdg" / "attncli"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert attn_cache_folder() == tmp_path / ".cache" / "attncli"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert attn_cache_folder() == tmp_path / "Library" / "Caches" / "attncli"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert attn_cache_folder() == tmp_path / "local" / "attncli"
    monkeypatch.setenv("ATTN_CACHE", str(tmp_path / "chosen"))
    assert attn_cache_folder() == tmp_path / "chosen"
    monkeypatch.setenv("ATTN_CACHE", "")
    assert attn_cache_folder() is None
    assert ShapeCache.default() == ShapeCache(None)
