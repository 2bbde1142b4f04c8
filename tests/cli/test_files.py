"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from attncli.cli.output import ResultFile, atomic_files, check_target
from attncli.errors import FailedError
from tests.cli.conftest import names

posix = pytest.mark.skipif(sys.platform == "win32", reason="rights and links of POSIX")


def write_files(contents: list[tuple[Path, bytes]]) -> None:
    with atomic_files(path for path, _ in contents) as files:
        for file, (_, content) in zip(files, contents, strict=True):
            file.write(content)


def test_new_and_old_files_are_written(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"a long content from before")
    write_files([(old, b"1"), (new, b"2")])
    assert (old.read_bytes(), new.read_bytes()) == (b"1", b"2")
    assert names(tmp_path) == ["new", "old"]


def test_nothing_changes_where_one_file_fails(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"before")
    with pytest.raises(FailedError, match="gone/new can't be written: No such file or directory"):
        write_files([(old, b"1"), (tmp_path / "gone" / "new", b"2")])
    assert old.read_bytes() == b"before"
    assert names(tmp_path) == ["old"]


def test_nothing_is_left_of_an_interrupted_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_files([(tmp_path / "new", b"1")])
    assert names(tmp_path) == []


@posix
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", lambda descriptor: os.write(os.open("/dev/full", os.O_WRONLY), b"x"))
    with pytest.raises(FailedError, match="old can't be written: No space left on device"):
        write_files([(old, b"1")])
    assert old.read_bytes() == b"before"
    assert names(tmp_path) == ["old"]


@posix
def test_a_new_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_files([(tmp_path / "ours", b"1")])
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@posix
def test_an_old_file_keeps_its_rights(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.touch()
    old.chmod(0o640)
    write_files([(old, b"1")])
    assert stat.S_IMODE(old.stat().st_mode) == 0o640


@posix
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link, real = tmp_path / "link.json", tmp_path / "folder" / "real.json"
    link.symlink_to(real)
    for content in (b"1", b"2"):  # at first the link points at nothing
        write_files([(check_target(str(link)), content)])
        assert link.is_symlink()
        assert real.read_bytes() == content


@posix
def test_a_loop_of_links_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(FailedError, match="can't be written"):
        check_target(str(tmp_path / "a" / "x.json"))


def test_places_that_cant_be_written(tmp_path: Path) -> None:
    with pytest.raises(FailedError) as missing:
        check_target(str(tmp_path / "no" / "x.json"))
    assert missing.value.message.endswith(f"there is no folder {tmp_path / 'no'}")
    assert missing.value.hint == f"mkdir -p {tmp_path / 'no'}"
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(FailedError, match="it is a folder"):
        check_target(str(tmp_path / "folder.json"))
    with pytest.raises(FailedError, match="can't be written: File name too long"):
        check_target(str(tmp_path / ("x" * 5000)))


class FullDisk(io.RawIOBase):
    """A file on a full disk."""

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", [0, 1])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    old = tmp_path / "b.json"
    old.write_bytes(b"old")
    opened: list[ResultFile] = []

    def open_file(file: ResultFile, open_really: Callable[[ResultFile], None] = ResultFile.open) -> None:
        open_really(file)
        if len(opened) == place:
            assert file._file is not None
            file._file.close()
            file._file = io.BufferedWriter(FullDisk())  # type: ignore[assignment]
        opened.append(file)

    monkeypatch.setattr(ResultFile, "open", open_file)
    with pytest.raises(FailedError, match="can't be written: No space left on device"):
        write_files([(tmp_path / "a.json", b"1"), (old, b"2")])
    assert names(tmp_path) == ["b.json"]
    assert old.read_bytes() == b"old"


@posix
def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(FailedError, match="it is not a regular file"):
        check_target(str(tmp_path / "pipe.json"))


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="needs rights that can be taken away")
def test_protected_places(tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    kept.touch(mode=0o400)
    with pytest.raises(FailedError, match="it is write-protected"):
        check_target(str(kept))
    tmp_path.chmod(0o500)
    with pytest.raises(FailedError, match="is write-protected"):
        check_target(str(tmp_path / "new.json"))
    tmp_path.chmod(0o700)
