"""Files and stdin in blocks: the same text whatever the blocks, and a sentence for whatever can't be read."""

from __future__ import annotations

import gc
import gzip
import io
import os
import subprocess
import sys
import tracemalloc
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncli.cli import stdin_text
from attncli.cli.stdin_text import lines, read_blocks
from attncli.errors import FailedError
from tests.cli.conftest import surroundings

#: Newlines of both kinds, a character of each length, NUL and a byte order mark.
CHARACTERS = "ab\r\n\x00é日👍\ufeff\x85\u2028"


def read(content: bytes, *, block: int = stdin_text.BLOCK_BYTES, **options: Any) -> str:
    before, stdin_text.BLOCK_BYTES = stdin_text.BLOCK_BYTES, block
    try:
        return "".join(read_blocks("-", surroundings(stdin=content), **options))
    finally:
        stdin_text.BLOCK_BYTES = before


def failure(content: bytes, **options: Any) -> tuple[str, str]:
    with pytest.raises(FailedError) as caught:
        read(content, **options)
    return caught.value.message, caught.value.hint


def file_failure(name: Path) -> tuple[str, str]:
    with pytest.raises(FailedError) as caught:
        list(read_blocks(str(name), surroundings()))
    return caught.value.message, caught.value.hint


@given(st.text(CHARACTERS), st.integers(1, 9), st.booleans())
def test_the_blocks_do_not_show(text: str, block: int, packed: bool) -> None:
    content = gzip.compress(text.encode()) if packed else text.encode()
    own = text.removeprefix("\ufeff")
    expected = own.removesuffix("\n").removesuffix("\r") if own.endswith("\n") else own
    assert read(content, block=block if not packed else block + 1) == expected


@given(st.text(CHARACTERS), st.lists(st.integers(0, 40)))
def test_lines_end_at_newlines_and_nowhere_else(text: str, cuts: list[int]) -> None:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    blocks = [text[start:end] for start, end in pairwise(places)]
    *ended, last = text.split("\n")
    expected = [line.removesuffix("\r") for line in ended] + [last]
    assert list(lines(blocks)) == (expected if text else [])


@pytest.mark.parametrize("empty", [b"", b"\n", b"\r\n", gzip.compress(b"", mtime=0)])
def test_nothing_comes_of_an_empty_file(empty: bytes) -> None:
    assert list(read_blocks("-", surroundings(stdin=empty))) == []


def test_what_looks_odd_is_text_all_the_same() -> None:
    assert read(b"a\xef\xbb\xbf\x00b") == "a\ufeff\x00b"


@pytest.mark.parametrize("block", [1, 2, 3, 4, 1000])
def test_a_byte_order_mark_is_no_text(block: int) -> None:
    assert read(b"\xef\xbb\xbfa\nb\n", block=block) == "a\nb"
    assert read(b"\xef\xbb\xbf\xef\xbb\xbfa", block=block) == "\ufeffa"
    assert read(b"\xef\xbb\xbf", block=block) == ""
    assert read(gzip.compress(b"\xef\xbb\xbfa", mtime=0)) == "a"


def test_a_long_line_is_held_alone() -> None:
    blocks = (block for block in ["x" * 1000] * 1000 + ["\n"] + ["short\n" * 100] * 1000)
    tracemalloc.start()
    first = next(found := lines(blocks))
    assert len(first) == 1_000_000
    del first
    assert sum(1 for _ in found) == 100_001
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 100_000


@pytest.mark.parametrize("block", [1, 2, 3, 1000])
def test_broken_utf8_is_reported_with_its_place_in_the_file(block: int) -> None:
    message, hint = failure("naïve 👍 ".encode() + b"\xe9 and on", block=block)
    assert message == "stdin is not valid UTF-8: byte 12 is 0xe9"
    assert "iconv -f latin1 -t utf-8" in hint
    assert "--errors replace" in hint
    # The end of the file is in the middle of a character, which counts from its start.
    assert failure("mole 👍".encode()[:-1], block=block)[0] == "stdin is not valid UTF-8: byte 5 is 0xf0"


def test_the_place_is_one_of_the_unpacked_file() -> None:
    assert failure(gzip.compress(b"a" * 3_000_000 + b"\xff"))[0] == "stdin is not valid UTF-8: byte 3000000 is 0xff"


def test_utf16_gets_its_own_hint() -> None:
    message, hint = failure("mole".encode("utf-16"))
    assert message == "stdin is not valid UTF-8: byte 0 is 0xff"
    assert "iconv -f utf-16 -t utf-8" in hint


@pytest.mark.parametrize("block", [1, 2, 1000])
def test_broken_bytes_can_be_replaced(block: int) -> None:
    assert read(b"n\xe9 \xf0\x9f\x91", block=block, errors="replace") == "n\ufffd \ufffd"


def test_gzip_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    # Two files one after the other are one to gzip, too.
    path.write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    assert "".join(read_blocks(str(path), surroundings())) == "one\ntwo"
    assert read(b"\x1f") == "\x1f"


def test_gzip_that_was_cut_short() -> None:
    packed = gzip.compress(os.urandom(5000).hex().encode())
    for length in (2, 12, 2000, len(packed) - 1):
        message, hint = failure(packed[:length])
        assert message == "stdin ends in the middle of its gzip data"
        assert "again" in hint


def test_gzip_that_was_harmed() -> None:
    packed = bytearray(gzip.compress(b"mole " * 1000))
    assert failure(b"\x1f\x8b\xff" + bytes(packed[3:]))[0].startswith("stdin is not valid gzip data: ")
    packed[-6] ^= 1
    assert failure(bytes(packed))[0].startswith("stdin is not valid gzip data: CRC check failed")


def test_a_file_that_is_not_there_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    message, hint = file_failure(tmp_path / "note.txt")
    assert message == f"there is no file {tmp_path / 'note.txt'}"
    assert hint == "did you mean notes.txt? check the path after -f"
    assert file_failure(tmp_path)[0] == f"{tmp_path} is a folder, not a file"
    assert file_failure(tmp_path / "no" / "file")[1] == f"there is no folder {tmp_path / 'no'} either"


class Broken(io.BytesIO):
    """A stream of which the second block can't be read."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_a_stream_that_breaks() -> None:
    with pytest.raises(FailedError, match="stdin can't be read: Input/output error"):
        list(read_blocks("-", surroundings()._replace(stdin=Broken(b"mole"))))


@pytest.mark.parametrize("packed", [False, True])
def test_progress_tells_the_bytes_on_disk(tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdin_text, "BLOCK_BYTES", 1000)
    content = os.urandom(3000).hex().encode()
    path = tmp_path / "big.txt"
    path.write_bytes(gzip.compress(content) if packed else content)
    told: list[tuple[str, int, int | None]] = []
    for _ in read_blocks(str(path), surroundings(), progress=lambda *said: told.append(said)):
        pass
    size = path.stat().st_size
    assert {(what, total) for what, _, total in told} == {("reading big.txt", size)}
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert (told[0][1], told[-1][1]) == (1000, size)


def test_a_file_on_stdin_has_a_size_and_a_pipe_has_none(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("mole\n")
    script = (
        "from attncli.cli.environment import Environment; from attncli.cli.stdin_text import read_blocks\n"
        "say = lambda *said: print(*said)\n"
        "print(*read_blocks('-', Environment.from_process(), progress=say))"
    )
    command = [sys.executable, "-c", script]
    with (tmp_path / "text").open("rb") as file:
        of_file = subprocess.run(command, stdin=file, capture_output=True, text=True, check=True).stdout
    of_pipe = subprocess.run(command, input="mole\n", capture_output=True, text=True, check=True).stdout
    assert of_file.splitlines()[0] == "reading stdin 5 5"
    assert of_pipe.splitlines()[0] == "reading stdin 5 None"
    assert of_file.splitlines()[-1] == of_pipe.splitlines()[-1] == "mole"


def test_a_file_is_closed_when_nobody_reads_on(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("mole\n" * 1_000_000)
    blocks = read_blocks(str(path), surroundings())
    next(blocks)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        blocks.close()  # type: ignore[attr-defined]
        del blocks
        gc.collect()
    assert caught == []
