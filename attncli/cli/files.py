"""Result files, checked before any work is done, and then written whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from attncli.errors import FailedError


def check_target(name: str) -> Path:
    """The real place of a file that is to be written: a link stays a link, what it points at is replaced.

    Raises FailedError where nothing can be written at that place.
    """
    with _failing_as(name):
        target = Path(name).resolve()
        folder = target.parent
        if not folder.is_dir():
            raise FailedError(f"{name} can't be written: there is no folder {folder}", hint=_making(folder))
        if target.exists() and not target.is_file():
            kind = "a folder" if target.is_dir() else "no ordinary file"
            raise FailedError(f"{name} can't be written: it is {kind}", hint="-o takes the name of a file")
        if target.exists() and not os.access(target, os.W_OK):
            raise FailedError(f"{name} can't be written: it is write-protected", hint="choose another name for -o")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise FailedError(f"{name} can't be written: {folder} is write-protected", hint="choose another folder")
        return target


def _making(folder: Path) -> str:
    """The command that makes a folder. That of Windows makes those above by itself, and takes `-p` for another."""
    if os.name == "nt":
        return f'mkdir "{folder}"'
    from shlex import quote  # only a failure needs it

    return f"mkdir -p {quote(str(folder))}"


class ResultFile:
    """What is to stand at `target`, written beside it until it is whole."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._beside = target.with_name(f".attn-{os.urandom(8).hex()}.tmp")
        self._file: BinaryIO | None = None

    def open(self) -> None:
        with _failing_as(str(self._target)):
            # Mode 666 less the umask is what any new file gets; the standard library's temporary files have 600.
            self._file = open(self._beside, "xb", opener=lambda path, flags: os.open(path, flags, 0o666))  # noqa: SIM115

    def write(self, content: bytes) -> None:
        assert self._file is not None  # it was opened
        with _failing_as(str(self._target)):
            self._file.write(content)

    def finish(self) -> None:
        """See everything onto the disk."""
        assert self._file is not None  # it was opened
        with _failing_as(str(self._target)):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            with suppress(FileNotFoundError):
                self._beside.chmod(stat.S_IMODE(self._target.stat().st_mode))

    def replace(self) -> None:
        """Take the place of the target."""
        with _failing_as(str(self._target)):
            self._beside.replace(self._target)

    def remove(self) -> None:
        """Leave nothing behind; after `replace` there is nothing to remove."""
        with suppress(OSError):
            if self._file is not None:
                self._file.close()
            self._beside.unlink()


@contextmanager
def whole_files(targets: Iterable[Path]) -> Iterator[list[ResultFile]]:
    """A file to write for every target: at the end all of them take their places, or everything stays as it was.

    All are written to the end before the first target is replaced, so that a full disk shows in time.
    Raises FailedError.
    """
    with ExitStack() as stack:
        files = [ResultFile(target) for target in targets]
        for file in files:
            # Before it exists: a signal may come in between.
            stack.callback(file.remove)
            file.open()
        yield files
        for file in files:
            file.finish()
        for file in files:
            file.replace()


def write_files(contents: Iterable[tuple[Path, bytes]]) -> None:
    """Write every file, or leave everything as it was. Raises FailedError."""
    every = list(contents)
    with whole_files(target for target, _ in every) as files:
        for file, (_, content) in zip(files, every, strict=True):
            file.write(content)


@contextmanager
def _failing_as(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        reason = getattr(error, "strerror", None) or str(error)
        raise FailedError(f"{name} can't be written: {reason}", hint="choose another place for -o") from error
