"""A model of the hub: its cached files without a request, the others fetched, all of them from one commit.

What is asked of the hub: which files a model has, one of them whole, and the first bytes of several.

huggingface_hub does the talking: retries, resumed downloads, tokens, locks, the layout of the cache. It is imported
here alone, and only when something is asked. What goes wrong comes out as a ModelError that says what mends it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from attncli._version import __version__
from attncli.errors import ModelError
from attncli.models.files.hub_cache import MAIN, CachedRepository, HubSettings, hub_settings, is_commit
from attncli.models.files.hub_errors import HubRequest, Why, bad_endpoint, not_a_hub, offline, translated
from attncli.models.files.reference import ModelRef
from attncli.models.files.sources import ADAPTER_CONFIG
from attncli.progress import Bytes, Progress

T = TypeVar("T")


def open_hub(ref: ModelRef, *, refresh: bool, progress: Progress) -> HubSource:
    """Settle which commit is meant: the cached one, or with `refresh`, or where none is cached, the hub's newest.

    Raises ModelError where the hub must be asked and can't be, or doesn't have the model.
    """
    settings, revision = hub_settings(), ref.revision or MAIN
    cache = CachedRepository.of(ref.location, settings)
    commit = None if refresh else cache.commit(revision)
    if commit is not None:
        return HubSource(ref.location, commit, cache, settings, progress)

    listing = list_files(ref.location, revision, settings, Why.REFRESH if refresh else Why.NOT_CACHED)
    cache.remember_commit(revision, listing.commit)
    source = HubSource(ref.location, listing.commit, cache, settings, progress, listing)
    if ADAPTER_CONFIG in listing.names:
        # Fetched at once, so that from then on an adapter is told from a model without asking.
        source.find(ADAPTER_CONFIG)
    return source


class HubSource:
    """The files of one commit of a model on the hub.

    The hub is asked once at most which files the commit has, and only when one is wanted that is neither cached nor
    known to be absent.
    """

    def __init__(
        self,
        repository: str,
        commit: str,
        cache: CachedRepository,
        settings: HubSettings,
        progress: Progress,
        listing: Listing | None = None,
    ) -> None:
        self.revision = commit
        self._repository = repository
        self._cache = cache
        self._settings = settings
        self._progress = progress
        self._listing: Listing | ModelError | None = listing

    @property
    def repair_hint(self) -> str:
        return f"delete {self._cache.folder} and run the command again, which downloads it anew"

    def local(self, name: str) -> Path | None:
        return self._cache.file(self.revision, name)

    def has(self, name: str) -> bool:
        if self.local(name) is not None:
            return True
        if self._cache.lacks(self.revision, name):
            return False
        listing = self._asked()
        if isinstance(listing, ModelError):
            return False
        if name not in listing.names:
            self._cache.remember_absence(self.revision, name)
        return name in listing.names

    def find(self, name: str) -> Path | None:
        """The file; None where the commit has none such, or none is cached and the hub can't be asked.

        Raises ModelError where the file is there but can't be had.
        """
        if not self.has(name):
            return None
        cached = self.local(name)
        if cached is not None:
            return cached

        return download(self._repository, name, self.revision, self._settings, self._progress)

    def read_in_part(self, names: Sequence[str], read: Callable[[str, Fetch], T]) -> list[T]:
        """What `read(name, fetch)` makes of files that aren't cached, of which only ranges of bytes are fetched."""

        return read_in_part(self._repository, names, self.revision, self._settings, read)

    def names(self) -> frozenset[str]:
        listing = self._asked()
        return self.here() if isinstance(listing, ModelError) else listing.names

    def here(self) -> frozenset[str]:
        return self._cache.names(self.revision)

    def why_missing(self) -> ModelError | None:
        return self._listing if isinstance(self._listing, ModelError) else None

    def _asked(self) -> Listing | ModelError:
        """What the hub says that the commit holds, or why it couldn't be asked."""
        if self._listing is None:
            try:
                self._listing = list_files(self._repository, self.revision, self._settings, Why.CACHED_IN_PART)
            except ModelError as error:
                # The model is cached, at least in part: whoever needs the file that isn't raises this.
                self._listing = error
        return self._listing


_CONNECTIONS = 8

#: Bytes `begin` to `end` of a file (fewer where it ends), and its size.
Fetch = Callable[[int, int], tuple[bytes, int]]


@dataclass(frozen=True, slots=True)
class Listing:
    """The commit that a revision points to, and the names of its files."""

    commit: str
    names: frozenset[str]


def list_files(repository: str, revision: str, settings: HubSettings, why: Why) -> Listing:
    """Ask the hub, once and without retries, what a revision of a model holds. Raises ModelError."""
    asked = HubRequest(repository, revision, settings, why)
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
    asked = HubRequest(repository, commit, settings, Why.NOT_CACHED, file=name)
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


def read_in_part(
    repository: str, names: Sequence[str], commit: str, settings: HubSettings, read: Callable[[str, Fetch], T]
) -> list[T]:
    """What `read(name, fetch)` makes of each file, several at a time; `fetch` asks the hub for a range of bytes.

    Raises ModelError, and what `read` raises.
    """
    from concurrent.futures import ThreadPoolExecutor

    def read_one(name: str) -> T:
        asked = HubRequest(repository, commit, settings, Why.NOT_CACHED, file=name)
        return read(name, lambda begin, end: _fetch(asked, begin, end))

    if settings.offline:
        raise offline(HubRequest(repository, commit, settings, Why.CACHED_IN_PART))
    with _quiet(), ThreadPoolExecutor(_CONNECTIONS) as pool:
        return list(pool.map(read_one, names))


def _fetch(asked: HubRequest, begin: int, end: int) -> tuple[bytes, int]:
    with _told(asked):
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        url = hf_hub_url(asked.repository, asked.file, revision=asked.revision, endpoint=asked.settings.endpoint)
        headers = build_hf_headers(library_name="attncli", library_version=__version__)
        # Compressed bytes would have places of their own.
        headers |= {"Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
        with get_session().stream("GET", url, headers=headers, timeout=asked.settings.timeout) as response:
            if response.status_code == 416:  # the file ends before that range begins
                return b"", int(response.headers.get("Content-Range", "*/0").rpartition("/")[2])
            hf_raise_for_status(response)
            return _range(response, begin, end)


def _range(response: Any, begin: int, end: int) -> tuple[bytes, int]:
    """The bytes that were asked for, and the file's size: of an answer with that range, or with the whole file."""
    whole = response.status_code != 206
    said = response.headers.get("Content-Length" if whole else "Content-Range", "").rpartition("/")[2]
    if not said.isdecimal():
        raise OSError("the answer doesn't tell how large the file is")
    size, first = int(said), begin if whole else 0
    found = bytearray()
    for chunk in response.iter_bytes():
        found += chunk
        if len(found) >= first + end - begin:
            break
    wanted = min(end, size) - begin
    content = bytes(found[first : first + end - begin])
    if len(content) < wanted:
        raise OSError("the answer ends too soon")
    return content, size


@contextmanager
def _translated(asked: HubRequest) -> Iterator[None]:
    """Turn what huggingface_hub raises into errors of ours, and keep what it would print off stderr."""
    with _quiet(), _told(asked):
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logger.setLevel(logging.CRITICAL)
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _told(asked: HubRequest) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        known = translated(error, asked)
        if known is None:
            raise
        raise known from error


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
