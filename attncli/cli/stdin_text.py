"""Reads the text of files and of stdin in blocks: UTF-8, compressed with gzip or not."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, cast

from attncli.choices import STDIN
from attncli.cli.environment import Environment
from attncli.cli.failures import did_you_mean
from attncli.errors import FailedError
from attncli.progress import Bytes, Progress, silent

#: Bytes read at once.
BLOCK_BYTES = 1 << 20

#: The first bytes of a gzip file.
_GZIP_MAGIC = b"\x1f\x8b"

#: Byte order marks of UTF-16.
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_blocks(
    name: str, environment: Environment, *, errors: str = "strict", progress: Progress = silent
) -> Iterator[str]:
    """A file, or stdin (`-`), as blocks of text without one final newline; no blocks if it is empty.

    A byte order mark at the beginning is left out, and positions count from after it. Anywhere else it is an ordinary
    character, and so is NUL.

    errors: `strict`, or `replace` for U+FFFD in place of invalid UTF-8.  progress: gets the bytes read from disk.
    Raises FailedError for what can't be read or decoded: a missing file, a folder, broken UTF-8 or gzip data.
    """
    with _open_source(name, environment) as source:
        text = _decoded(_decompressed(source, progress), source.name, errors)
        yield from _without_final_newline(_without_byte_order_mark(text))


def lines(blocks: Iterable[str]) -> Iterator[str]:
    r"""The lines of a text that comes in blocks, without the `\n` or `\r\n` that ends each; nothing else does."""
    parts: list[str] = []
    for block in blocks:
        first, *others = block.split("\n")
        parts.append(first)
        for other in others:
            yield "".join(parts).removesuffix("\r")
            parts = [other]
    if parts:
        yield "".join(parts)


class _InputStream(NamedTuple):
    """An open stream, its name for messages, and the bytes left in it (None: unknown)."""

    name: str
    stream: BinaryIO
    size: int | None
    is_stdin: bool = False

    def read_error(self, error: OSError) -> FailedError:
        if self.is_stdin:
            return FailedError(f"stdin can't be read: {error.strerror}", hint="read a file with -f FILE")
        return _unreadable_error(self.name, error)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@contextmanager
def _open_source(name: str, environment: Environment) -> Iterator[_InputStream]:
    if name == STDIN:
        if environment.stdin is None:
            raise FailedError("stdin is closed", hint="give the text as an argument, or a file with -f FILE")
        yield _InputStream("stdin", environment.stdin, _size(environment.stdin), is_stdin=True)
        return
    try:
        stream = Path(name).open("rb")  # noqa: SIM115
    except OSError as error:
        raise _unreadable_error(name, error) from error
    with stream:
        yield _InputStream(name, stream, _size(stream))


def _size(stream: BinaryIO) -> int | None:
    try:
        status = os.fstat(stream.fileno())
        return status.st_size - stream.tell() if stat.S_ISREG(status.st_mode) else None
    except (OSError, ValueError):
        # A pipe, or a stream without a file.
        return None


def _decompressed(source: _InputStream, progress: Progress) -> Iterator[bytes]:
    """The content of a stream, decompressed if it is gzip data."""
    reader = _ProgressReader(source, progress)
    head = reader.read(BLOCK_BYTES)
    if not head.startswith(_GZIP_MAGIC):
        yield from _chunks(reader, head)
        return
    import gzip
    import zlib

    try:
        # GzipFile only reads in order, so that these readers need no other method of a file.
        with gzip.GzipFile(fileobj=cast(BinaryIO, _PrefixedReader(head, reader))) as decompressed:
            yield from _chunks(decompressed)
    except EOFError as error:
        raise FailedError(
            f"{source.name} ends in the middle of its gzip data",
            hint="the file is incomplete: download or copy it again",
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise FailedError(
            f"{source.name} is not valid gzip data: {error}", hint="the file is damaged: download or copy it again"
        ) from error


def _chunks(stream: _Readable, head: bytes = b"") -> Iterator[bytes]:
    chunk = head or stream.read(BLOCK_BYTES)
    while chunk:
        yield chunk
        chunk = stream.read(BLOCK_BYTES)


class _ProgressReader:
    """A stream that reports how much of it was read."""

    def __init__(self, source: _InputStream, progress: Progress) -> None:
        self._source, self._progress, self._done = source, progress, 0

    def read(self, size: int, /) -> bytes:
        try:
            content = self._source.stream.read(size)
        except OSError as error:
            raise self._source.read_error(error) from error
        self._done += len(content)
        self._progress(f"reading {Path(self._source.name).name}", Bytes(self._done), self._source.size)
        return content


class _PrefixedReader:
    """A stream whose first bytes (`head`) were read already, and are read again."""

    def __init__(self, head: bytes, stream: _Readable) -> None:
        self._head, self._stream = head, stream

    def read(self, size: int, /) -> bytes:
        if not self._head:
            return self._stream.read(size)
        content, self._head = self._head[:size], self._head[size:]
        return content


def _decoded(chunks: Iterable[bytes], name: str, errors: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    done = 0
    for chunk in _with_final_chunk(chunks):
        # A character that began in the chunk before is counted from its beginning.
        start = done - len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise _utf8_error(name, start + error.start, error) from error
        done += len(chunk)
        if text:
            yield text


def _with_final_chunk(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks, then an empty one: the end."""
    yield from chunks
    yield b""


def _utf8_error(name: str, position: int, error: UnicodeDecodeError) -> FailedError:
    encoding = "utf-16" if position == 0 and error.object.startswith(_UTF16_MARKS) else "latin1"
    return FailedError(
        f"{name} is not valid UTF-8: byte {position} is 0x{error.object[error.start]:02x}",
        hint=f"convert it, for instance with: iconv -f {encoding} -t utf-8; or add --errors replace to read it as "
        "U+FFFD",
    )


def _without_byte_order_mark(blocks: Iterable[str]) -> Iterator[str]:
    first = True
    for block in blocks:
        text = block.removeprefix("\ufeff") if first else block
        first = False
        if text:
            yield text


def _without_final_newline(blocks: Iterable[str]) -> Iterator[str]:
    held = ""
    for block in blocks:
        text = held + block
        ready = text.removesuffix("\n").removesuffix("\r")
        held = text[len(ready) :]
        if ready:
            yield ready
    if held == "\r":
        # A lone carriage return ends no line.
        yield held


def _unreadable_error(name: str, error: OSError) -> FailedError:
    if not name:
        return FailedError("-f is empty", hint="give -f the name of a file, or - for stdin")
    path = Path(name)
    # Checked by name, as Windows reports a folder as a lack of rights.
    if os.path.isdir(name):  # noqa: PTH112
        return FailedError(
            f"{name} is a folder, not a file", hint=f"give the files in it, for instance -f {path / 'notes.txt'}"
        )
    if isinstance(error, FileNotFoundError):
        return FailedError(f"there is no file {name}", hint=_similar_file_hint(path))
    return FailedError(f"{name} can't be read: {error.strerror}", hint="check the permissions of the file")


def _similar_file_hint(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"there is no folder {path.parent} either"
    return did_you_mean(path.name, names, "check the path after -f")
