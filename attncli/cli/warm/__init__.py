"""The process that `attn --keep-warm` keeps ready. Every command asks here first, so this imports nothing but `os`."""

from __future__ import annotations

import os


def runtime_folder() -> str:
    """The folder of this user's sockets."""
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return os.path.join(runtime, "attncli")  # noqa: PTH118
    return os.path.join(os.environ.get("TMPDIR") or "/tmp", f"attncli-{os.getuid()}")  # noqa: PTH118


def has_sockets() -> bool:
    """Whether a process may be kept warm."""
    if os.name == "nt":
        return False
    try:
        return any(name.endswith(".sock") for name in os.listdir(runtime_folder()))  # noqa: PTH208
    except OSError:
        return False
