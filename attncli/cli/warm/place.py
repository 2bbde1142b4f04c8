"""Where the process that is kept warm listens, and what has to be equal before it may run a command.

Imports the standard library alone: every command passes here before anything else, if a process is kept warm.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from attncli.cli.warm import runtime_folder

#: Packages whose files decide what a command does, besides attncli.
_PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "safetensors", "huggingface_hub", "click", "rich")
#: Beginnings of variables that libraries read when they are imported, so that they can't be changed later.
_LASTING = (
    *("PYTHON", "OMP_", "MKL_", "KMP_", "OPENBLAS_", "GOTO_", "BLIS_", "TORCH", "PYTORCH", "CUDA", "NVIDIA_", "HIP_"),
    *("HF_", "HUGGINGFACE_", "HUGGING_FACE_", "TRANSFORMERS_", "TOKENIZERS_", "SAFETENSORS_", "ACCELERATE_", "PEFT_"),
    *("LC_", "LANG", "LD_", "DYLD_", "MALLOC_", "NUMPY_", "NPY_", "MPL", "XDG_CACHE_HOME", "HOME", "USE_", "DISABLE_"),
)
#: Variables of torchrun: such commands work together, each in its own process.
_TOGETHER = ("RANK", "WORLD_SIZE", "MASTER_ADDR")


def is_possible() -> bool:
    """Whether this platform can keep a process warm: by fork, and files that are sockets."""
    import socket

    return hasattr(os, "fork") and hasattr(socket, "AF_UNIX") and hasattr(socket, "send_fds")


def socket_path() -> Path | None:
    """The socket of this user and this Python environment; None where there is no folder that is the user's alone."""
    folder = _private_folder()
    name = hashlib.sha256(f"{sys.prefix}\0{sys.executable}".encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return None if folder is None else folder / f"{name}.sock"


def _private_folder() -> Path | None:
    """A folder with the rights 700, made if necessary. Nobody else can put a socket there."""
    folder, user = Path(runtime_folder()), os.getuid()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    is_private = stat.S_ISDIR(found.st_mode) and found.st_uid == user and not stat.S_IMODE(found.st_mode) & 0o077
    return folder if is_private else None


class Identity(NamedTuple):
    """What has to be the same in the process that is kept warm and in the one that asks it.

    files: sizes and times of the packages' files.  variables: those that libraries read when they are imported.
    """

    files: str
    variables: Mapping[str, str]

    @classmethod
    def of_process(cls) -> Identity:
        digest = hashlib.sha256(repr((sys.version, sys.flags.optimize, sys.flags.utf8_mode)).encode())
        for line in sorted(_package_files()):
            digest.update(line.encode("utf-8", "surrogateescape"))
        return cls(digest.hexdigest(), lasting_variables(os.environ))


def lasting_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Those that libraries read when they are imported."""
    return {name: value for name, value in variables.items() if name.startswith(_LASTING)}


def _package_files() -> Iterator[str]:
    """Each package's first file, with its size and time; of attncli all files, as they may be edited in place."""
    own = Path(__file__).parents[2]
    for path in own.rglob("*.py"):
        yield _described(path)
    for folder in sys.path:
        for name in _PACKAGES:
            path = Path(folder, name, "__init__.py")
            if path.is_file():
                yield _described(path)


def _described(path: Path) -> str:
    found = path.stat()
    return f"{path} {found.st_size} {found.st_mtime_ns} {found.st_ino}\n"


def must_run_alone(variables: Mapping[str, str]) -> bool:
    """Whether a command is one of several that torchrun started together, or Python was given options of its own."""
    return all(name in variables for name in _TOGETHER) or bool(sys._xoptions)


# --- Messages: a length of four bytes, then JSON

#: What a client says once it knows that its command will run elsewhere: from then on it won't run it itself.
GO = b"!"


def pack(message: Mapping[str, Any]) -> bytes:
    import json

    content = json.dumps(message).encode("utf-8", "surrogatepass")
    return len(content).to_bytes(4, "big") + content


class Reader:
    """Reads messages from a socket."""

    def __init__(self, connection: Any, start: bytes = b"") -> None:
        self._connection = connection
        self._content = bytearray(start)

    def read(self) -> dict[str, Any] | None:
        """The next message; None where the other side has closed the connection, or sent something else."""
        import json

        while len(self._content) < 4 or len(self._content) < 4 + int.from_bytes(self._content[:4], "big"):
            try:
                part = self._connection.recv(1 << 16)
            except ConnectionError:
                return None
            if not part:
                return None
            self._content += part
        end = 4 + int.from_bytes(self._content[:4], "big")
        content, self._content = bytes(self._content[4:end]), self._content[end:]
        try:
            found = json.loads(content.decode("utf-8", "surrogatepass"))
        except ValueError:
            return None
        return found if isinstance(found, dict) else None
