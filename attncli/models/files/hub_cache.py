"""The hub's cache folder on disk, read without huggingface_hub, and the HF_ environment variables.

huggingface_hub takes 150 ms to import, so it is imported only for requests. The layout of the cache is documented and
shared by all programs of the machine:

    models--org--name/refs/<revision>          a file that holds the commit which the revision last pointed to
    models--org--name/snapshots/<commit>/…     the files of that commit (links to blobs, or plain files on Windows)
    models--org--name/.no_exist/<commit>/…     an empty file for each file that was requested and isn't on the hub
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

# ruff: noqa: PTH111, PTH118 (os.path, as in huggingface_hub: pathlib raises if there is no home folder)

#: The default revision.
MAIN = "main"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRUE_VALUES = {"1", "ON", "YES", "TRUE"}
_DEFAULT_TIMEOUT = 10.0


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit hash, which never changes its meaning."""
    return _COMMIT.fullmatch(revision) is not None


@dataclass(frozen=True, slots=True)
class HubSettings:
    """The current values of the HF_ variables. (huggingface_hub reads them once, when it is imported.)

    endpoint: None for the public hub.  timeout: seconds to wait for the hub's first response.
    """

    cache: Path
    endpoint: str | None
    offline: bool
    timeout: float

    @property
    def address(self) -> str:
        return self.endpoint or "https://huggingface.co"


def hub_settings() -> HubSettings:
    """Read the variables as `huggingface_hub.constants` does: the same names in the same order."""
    offline = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    endpoint = os.environ.get("HF_ENDPOINT") or None
    above = os.environ.get("XDG_CACHE_HOME", os.path.join(os.path.expanduser("~"), ".cache"))
    home = _expand_path(os.environ.get("HF_HOME", os.path.join(above, "huggingface")))
    older = os.environ.get("HUGGINGFACE_HUB_CACHE", os.path.join(home, "hub"))
    return HubSettings(
        Path(_expand_path(os.environ.get("HF_HUB_CACHE", older))),
        endpoint and endpoint.rstrip("/"),
        offline.upper() in _TRUE_VALUES,
        _timeout(),
    )


def attn_cache_folder() -> Path | None:
    """The cache folder of attn: $ATTN_CACHE, or else a folder in the system's cache folder.

    None if ATTN_CACHE is empty, which turns the cache off, and if there is no home folder.
    """
    attn_cache = os.environ.get("ATTN_CACHE")
    if attn_cache is not None:
        return Path(_expand_path(attn_cache)) if attn_cache.strip() else None
    if sys.platform == "win32":
        above = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        above = "~/Library/Caches"
    else:
        # The XDG specification says to ignore relative paths.
        xdg_cache = os.environ.get("XDG_CACHE_HOME", "")
        above = xdg_cache if os.path.isabs(xdg_cache) else "~/.cache"  # noqa: PTH117
    folder = Path(_expand_path(above))
    return folder / "attncli" if folder.is_absolute() else None


def _expand_path(path: str) -> str:
    return os.path.expandvars(os.path.expanduser(path))


def _timeout() -> float:
    with suppress(ValueError):
        return float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or _DEFAULT_TIMEOUT)
    return _DEFAULT_TIMEOUT


@dataclass(frozen=True, slots=True)
class CachedRepository:
    """One model's folder in the cache, which need not exist yet."""

    folder: Path

    @classmethod
    def locate(cls, repository: str, settings: HubSettings) -> CachedRepository:
        return cls(settings.cache / "--".join(["models", *repository.split("/")]))

    def commit(self, revision: str) -> str | None:
        """The commit that a revision last pointed to; None if unknown."""
        if is_commit(revision):
            return revision if (self.folder / "snapshots" / revision).is_dir() else None
        try:
            commit = (self.folder / "refs" / revision).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return commit if is_commit(commit) else None

    def file(self, commit: str, name: str) -> Path | None:
        path = self.folder / "snapshots" / commit / name
        return path if path.is_file() else None

    def names(self, commit: str) -> frozenset[str]:
        """The cached files of a commit, `/` between folders."""
        snapshot = self.folder / "snapshots" / commit
        return frozenset(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file())

    def lacks(self, commit: str, name: str) -> bool:
        """Whether the hub is known not to have this file in this commit."""
        return (self.folder / ".no_exist" / commit / name).is_file()

    # Write failures are ignored: the next run makes the request again.

    def remember_commit(self, revision: str, commit: str) -> None:
        if revision == commit:
            return
        _write_whole(self.folder / "refs" / revision, commit)

    def remember_absence(self, commit: str, name: str) -> None:
        path = self.folder / ".no_exist" / commit / name
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def _write_whole(path: Path, text: str) -> None:
    """Write a temporary file and move it, so that another process never reads half of it. Failures are ignored."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


# --- The sizes of a commit's files, which never change, in the cache folder of attn


def remember_sizes(repository: str, commit: str, settings: HubSettings, sizes: Mapping[str, int]) -> None:
    """Keep the bytes of a commit's files, by name."""
    path = _sizes_file(repository, commit, settings)
    if path is not None:
        _write_whole(path, json.dumps(dict(sizes)))


def known_sizes(repository: str, commit: str, settings: HubSettings) -> dict[str, int]:
    """The bytes that were kept; empty where none were, or the file is corrupt."""
    path = _sizes_file(repository, commit, settings)
    try:
        found = {} if path is None else json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    sizes = found.items() if isinstance(found, dict) else ()
    return {name: size for name, size in sizes if type(size) is int}


def _sizes_file(repository: str, commit: str, settings: HubSettings) -> Path | None:
    above = attn_cache_folder()
    key = sha256(f"{settings.address} {repository} {commit}".encode()).hexdigest()[:40]
    return None if above is None else above / "listings" / f"{key}.json"


def cached_models(settings: HubSettings) -> list[str]:
    """The names of the models of which at least one file is cached."""
    try:
        folders = sorted(settings.cache.iterdir())
    except OSError:
        return []
    names = (folder.name for folder in folders if (folder / "snapshots").is_dir())
    return ["/".join(name.split("--")[1:]) for name in names if name.startswith("models--")]
