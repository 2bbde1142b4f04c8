"""Result files, checked before any work is done, and then written whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attncli.errors import FailedError


def check_target(name: str) -> Path:
    """The real place of a file that is to be written: a link stays a link, what it points at is replaced.

    Raises FailedError where nothing can be written at that place.
    """
    with _failing_as(name):
        target = Path(name).resolve()
        folder = target.parent
        if not folder.is_dir():
            raise FailedError(f"{name} can't be written: there is no folder {folder}", hint=f"mkdir -p {folder}")
        if target.exists() and not target.is_file():
            kind = "a folder" if target.is_dir() else "no ordinary file"
            raise FailedError(f"{name} can't be written: it is {kind}", hint="-o takes the name of a file")
        if target.exists() and not os.access(target, os.W_OK):
            raise FailedError(f"{name} can't be written: it is write-protected", hint="choose another name for -o")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise FailedError(f"{name} can't be written: {folder} is write-protected", hint="choose another folder")
        return target


def write_files(contents: Iterable[tuple[Path, bytes]]) -> None:
    """Write every file, or leave everything as it was.

    All are written beside their targets first, so that a full disk shows before the first target is replaced.
    Raises FailedError.
    """
    with _temporary_files() as temporary:
        written = []
        for target, content in contents:
            beside = target.with_name(f".attn-{os.urandom(8).hex()}.tmp")
            temporary.append(beside)
            with _failing_as(str(target)):
                _write(beside, content, like=target)
            written.append((beside, target))
        for beside, target in written:
            with _failing_as(str(target)):
                beside.replace(target)


@contextmanager
def _temporary_files() -> Iterator[list[Path]]:
    """A list of names; what still exists under one of them at the end is removed, however the end came."""
    names: list[Path] = []
    try:
        yield names
    finally:
        for name in names:
            with suppress(OSError):
                name.unlink()


def _write(name: Path, content: bytes, *, like: Path) -> None:
    # Mode 666 less the umask is what any new file gets; the standard library's temporary files have 600.
    with open(name, "xb", opener=lambda path, flags: os.open(path, flags, 0o666)) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileNotFoundError):
        name.chmod(stat.S_IMODE(like.stat().st_mode))


@contextmanager
def _failing_as(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        reason = getattr(error, "strerror", None) or str(error)
        raise FailedError(f"{name} can't be written: {reason}", hint="choose another place for -o") from error
