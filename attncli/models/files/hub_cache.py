"""The hub's cache folder, read as it lies on disk.

huggingface_hub takes 150 ms to import and is needed only where the hub is asked, so what is cached is found without it.
The layout is the documented one that every program on the machine shares:

    models--org--name/refs/<revision>          a file that holds the commit which the revision last pointed to
    models--org--name/snapshots/<commit>/…     the files of that commit (links to blobs, or plain files on Windows)
    models--org--name/.no_exist/<commit>/…     an empty file for each one that the hub was asked for and doesn't have
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# ruff: noqa: PTH111, PTH118 (os.path, as huggingface_hub has it: pathlib raises where there is no home folder)


#: The revision that is meant where none is named.
MAIN = "main"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRUE = {"1", "ON", "YES", "TRUE"}
_DEFAULT_TIMEOUT = 10.0


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit, which never comes to mean another one."""
    return _COMMIT.fullmatch(revision) is not None


@dataclass(frozen=True, slots=True)
class HubSettings:
    """What the HF_ variables say now. (huggingface_hub reads them once, when it is imported.)

    endpoint: None for the public hub.  timeout: seconds to wait for the hub's first answer.
    """

    cache: Path
    endpoint: str | None
    offline: bool
    timeout: float

    @property
    def address(self) -> str:
        return self.endpoint or "https://huggingface.co"


def hub_settings() -> HubSettings:
    """Read the variables as `huggingface_hub.constants` does, same names and same order."""
    offline = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    endpoint = os.environ.get("HF_ENDPOINT") or None
    return HubSettings(_cache_folder(), endpoint and endpoint.rstrip("/"), offline.upper() in _TRUE, _timeout())


def _cache_folder() -> Path:
    above = os.environ.get("XDG_CACHE_HOME", os.path.join(os.path.expanduser("~"), ".cache"))
    home = _expand(os.environ.get("HF_HOME", os.path.join(above, "huggingface")))
    older = os.environ.get("HUGGINGFACE_HUB_CACHE", os.path.join(home, "hub"))
    return Path(_expand(os.environ.get("HF_HUB_CACHE", older)))


def own_cache_folder() -> Path | None:
    """Where this program keeps what it could work out again: $ATTN_CACHE, else where the system keeps such things.

    None where nothing is to be kept, as an empty ATTN_CACHE says, and where there is no home folder.
    """
    chosen = os.environ.get("ATTN_CACHE")
    if chosen is not None:
        return Path(_expand(chosen)) if chosen.strip() else None
    if sys.platform == "win32":
        above = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        above = "~/Library/Caches"
    else:
        # A relative path there is to be ignored, says the specification.
        named = os.environ.get("XDG_CACHE_HOME", "")
        above = named if os.path.isabs(named) else "~/.cache"  # noqa: PTH117
    folder = Path(_expand(above))
    return folder / "attncli" if folder.is_absolute() else None


def _expand(path: str) -> str:
    return os.path.expandvars(os.path.expanduser(path))


def _timeout() -> float:
    with suppress(ValueError):
        return float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or _DEFAULT_TIMEOUT)
    return _DEFAULT_TIMEOUT


@dataclass(frozen=True, slots=True)
class CachedRepository:
    """One model's folder in the cache, which need not be there yet."""

    folder: Path

    @classmethod
    def of(cls, repository: str, settings: HubSettings) -> CachedRepository:
        return cls(settings.cache / "--".join(["models", *repository.split("/")]))

    def commit(self, revision: str) -> str | None:
        """The commit that a revision last pointed to; None where that isn't known."""
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
        """The files of a commit that are here, `/` between folders."""
        snapshot = self.folder / "snapshots" / commit
        return frozenset(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file())

    def lacks(self, commit: str, name: str) -> bool:
        """Whether the hub has said that this commit has no such file."""
        return (self.folder / ".no_exist" / commit / name).is_file()

    # A cache that can't be written is as good as one that can: the next run asks again, that is all.

    def remember_commit(self, revision: str, commit: str) -> None:
        if revision == commit:
            return
        path = self.folder / "refs" / revision
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Written aside and moved, so that another process never reads half a commit.
            beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
            beside.write_text(commit, encoding="utf-8")
            beside.replace(path)

    def remember_absence(self, commit: str, name: str) -> None:
        path = self.folder / ".no_exist" / commit / name
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def cached_models(settings: HubSettings) -> list[str]:
    """The models of which at least one file is cached, by name."""
    try:
        folders = sorted(settings.cache.iterdir())
    except OSError:
        return []
    names = (folder.name for folder in folders if (folder / "snapshots").is_dir())
    return ["/".join(name.split("--")[1:]) for name in names if name.startswith("models--")]
