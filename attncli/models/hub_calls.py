"""The two things that are asked of the hub: which files a model has, and one of them.

huggingface_hub does the talking: retries, resumed downloads, tokens, locks, the layout of the cache. It is imported
here alone, and only when something is asked. What goes wrong comes out as a ModelError that says what mends it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attncli import __version__
from attncli.models.cache import HubSettings, is_commit
from attncli.models.hub_errors import Asked, Why, bad_endpoint, not_a_hub, offline, translated
from attncli.progress import Bytes, Progress


@dataclass(frozen=True, slots=True)
class Listing:
    """The commit that a revision points to, and the names of its files."""

    commit: str
    names: frozenset[str]


def list_files(repository: str, revision: str, settings: HubSettings, why: Why) -> Listing:
    """Ask the hub, once and without retries, what a revision of a model holds. Raises ModelError."""
    asked = Asked(repository, revision, settings, why)
    if settings.offline:
        raise offline(asked)
    if not _is_address(settings.address):
        raise bad_endpoint(asked)
    with _translated(asked):
        from huggingface_hub import HfApi

        api = HfApi(endpoint=settings.endpoint, library_name="attncli", library_version=__version__)
        found = api.model_info(repository, revision=revision, timeout=settings.timeout)
        listing = Listing(found.sha or "", frozenset(file.rfilename for file in found.siblings or ()))
    if not is_commit(listing.commit):
        raise not_a_hub(asked)
    return listing


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def download(repository: str, name: str, commit: str, settings: HubSettings, progress: Progress) -> Path:
    """Fetch one file of a commit into the cache, telling `progress` the bytes. Raises ModelError."""
    asked = Asked(repository, commit, settings, Why.NOT_CACHED, file=name)
    with _translated(asked):
        from huggingface_hub import hf_hub_download

        path = hf_hub_download(
            repository,
            name,
            revision=commit,
            cache_dir=settings.cache,
            endpoint=settings.endpoint,
            library_name="attncli",
            library_version=__version__,
            tqdm_class=_progress_bar(progress, f"downloading {name}"),
        )
    return Path(path)


@contextmanager
def _translated(asked: Asked) -> Iterator[None]:
    """Turn what huggingface_hub raises into errors of ours, and keep what it would print off stderr."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logger.setLevel(logging.CRITICAL)
            yield
    except Exception as error:
        known = translated(error, asked)
        if known is None:
            raise
        raise known from error
    finally:
        logger.setLevel(level)


def _progress_bar(progress: Progress, what: str) -> type[Any]:
    """A class that huggingface_hub takes for a progress bar and that draws nothing: it tells `progress` instead."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})
            # A disabled tqdm keeps no count, and this one counts on from where an earlier attempt left off.
            self.n, self.total = options.get("initial", 0), options.get("total")

        def update(self, n: float | None = 1) -> None:
            self.n += int(n or 0)
            progress(what, Bytes(self.n), self.total)

        # Chunked storage (Xet) counts the bytes that arrived apart from those written; the written ones are told.
        def update_transfer(self, n: float | None = 1) -> None: ...

        def set_transfer_postfix_str(self, *args: Any, **options: Any) -> None: ...

    return Bar
