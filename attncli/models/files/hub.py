"""Models of the Hugging Face hub: cached files without a request, the others downloaded, all from one commit.

The three requests to the hub are made here: `list_files`, `download` and `read_ranges` (headers of weight files).
huggingface_hub takes care of retries, resumed downloads, tokens, locks and the layout of the cache. It is slow to
import, so only these functions import it. Its exceptions become ModelErrors with a hint (hub_requests.py).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from attncli._version import __version__
from attncli.errors import ModelError
from attncli.limits import MAX_JSON_BYTES
from attncli.models.files.hub_cache import (
    MAIN,
    CachedRepository,
    HubSettings,
    hub_settings,
    is_commit,
    known_sizes,
    remember_sizes,
)
from attncli.models.files.hub_requests import (
    HubRequest,
    RequestReason,
    StalledError,
    bad_endpoint_error,
    deadline,
    not_a_hub_error,
    offline_error,
    stalled_error,
    translate_error,
)
from attncli.models.files.reference import ModelRef, is_plain_path
from attncli.models.files.sources import ADAPTER_CONFIG
from attncli.progress import Bytes, Progress

T = TypeVar("T")

#: Bytes `begin` to `end` of a file (fewer at its end), and the size of the whole file.
FetchRange = Callable[[int, int], tuple[bytes, int]]

_MAX_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Listing:
    """The commit that a revision points to, and the sizes of its files in bytes, by name."""

    commit: str
    sizes: Mapping[str, int]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.sizes)


def open_hub(ref: ModelRef, *, refresh: bool, progress: Progress) -> HubSource:
    """The files of one commit: the cached one, or the hub's newest with `refresh` or if none is cached.

    Raises ModelError if a request is necessary and fails, or if the hub doesn't have the model.
    """
    settings, revision = hub_settings(), ref.revision or MAIN
    cache = CachedRepository.locate(ref.location, settings)
    commit = None if refresh else cache.commit(revision)
    if commit is not None:
        return HubSource(ref.location, commit, cache, settings, progress)

    listing = list_files(
        ref.location, revision, settings, RequestReason.REFRESH if refresh else RequestReason.NOT_CACHED
    )
    cache.remember_commit(revision, listing.commit)
    source = HubSource(ref.location, listing.commit, cache, settings, progress, listing)
    if ADAPTER_CONFIG in listing.names:
        # Downloaded now, so that later runs recognize the adapter without a request.
        source.find(ADAPTER_CONFIG)
    return source


class HubSource:
    """The files of one commit of a model on the hub.

    Lists the commit's files on the hub at most once, and only to find a file that is neither cached nor known to be
    absent.
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
        return f"delete {self._cache.folder} and run the command again to download it"

    def local(self, name: str) -> Path | None:
        return self._cache.file(self.revision, name)

    def has(self, name: str) -> bool:
        if self.local(name) is not None:
            return True
        if self._cache.lacks(self.revision, name):
            return False
        listing = self._list_files()
        if isinstance(listing, ModelError):
            return False
        if name not in listing.names:
            self._cache.remember_absence(self.revision, name)
        return name in listing.names

    def find(self, name: str) -> Path | None:
        """The path of a file, downloaded if necessary; None if the commit lacks it, or the hub can't be reached.

        Raises ModelError if the file exists but the download fails.
        """
        if not self.has(name):
            return None
        cached = self.local(name)
        if cached is not None:
            return cached
        return download(self._repository, name, self.revision, self._settings, self._progress)

    def read_ranges(self, names: Sequence[str], read: Callable[[str, FetchRange], T]) -> list[T]:
        """The results of `read(name, fetch)` for files that aren't cached: see the function `read_ranges`."""
        return read_ranges(self._repository, names, self.revision, self._settings, read)

    def names(self) -> frozenset[str]:
        listing = self._list_files()
        return self.local_names() if isinstance(listing, ModelError) else listing.names

    def local_names(self) -> frozenset[str]:
        return self._cache.names(self.revision)

    def sizes(self) -> Mapping[str, int]:
        """The bytes of the commit's files, by name, as the hub lists them or once listed them: makes no request."""
        if isinstance(self._listing, Listing):
            return self._listing.sizes
        return known_sizes(self._repository, self.revision, self._settings)

    def listing_error(self) -> ModelError | None:
        return self._listing if isinstance(self._listing, ModelError) else None

    def _list_files(self) -> Listing | ModelError:
        """The commit's files as the hub lists them, or the error of that request."""
        if self._listing is None:
            try:
                self._listing = list_files(
                    self._repository, self.revision, self._settings, RequestReason.CACHED_IN_PART
                )
            except ModelError as error:
                # Not raised here, as the model is at least partly cached: `listing_error` has it for missing files.
                self._listing = error
        return self._listing


def list_files(repository: str, revision: str, settings: HubSettings, reason: RequestReason) -> Listing:
    """Request the files of a revision from the hub, without retries. Raises ModelError."""
    request = HubRequest(repository, revision, settings, reason)
    if settings.offline:
        raise offline_error(request)
    if not _is_address(settings.address):
        raise bad_endpoint_error(request)
    with _quiet(), _translate_errors(request), deadline(most_bytes=MAX_JSON_BYTES):
        from huggingface_hub import HfApi

        api = HfApi(endpoint=settings.endpoint, library_name="attncli", library_version=__version__)
        found = api.model_info(repository, revision=revision, timeout=settings.timeout, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in found.siblings or ()}
        listing = Listing(str(found.sha), {name: size for name, size in sizes.items() if is_plain_path(name)})
    if not is_commit(listing.commit):
        raise not_a_hub_error(request)
    remember_sizes(repository, listing.commit, settings, listing.sizes)
    return listing


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def download(repository: str, name: str, commit: str, settings: HubSettings, progress: Progress) -> Path:
    """Download one file of a commit into the cache; `progress` is called with the bytes. Raises ModelError."""
    request = HubRequest(repository, commit, settings, RequestReason.NOT_CACHED, file=name)
    with _quiet(), _translate_errors(request), deadline():
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


def read_ranges(
    repository: str, names: Sequence[str], commit: str, settings: HubSettings, read: Callable[[str, FetchRange], T]
) -> list[T]:
    """The results of `read(name, fetch)` for each file, several at a time; `fetch` requests a range of bytes.

    Raises ModelError, and whatever `read` raises.
    """
    from concurrent.futures import ThreadPoolExecutor

    def read_one(name: str) -> T:
        request = HubRequest(repository, commit, settings, RequestReason.NOT_CACHED, file=name)
        return read(name, lambda begin, end: _fetch_range(request, begin, end))

    if settings.offline:
        raise offline_error(HubRequest(repository, commit, settings, RequestReason.CACHED_IN_PART))
    request = HubRequest(repository, commit, settings, RequestReason.NOT_CACHED, file=names[0])
    with _quiet(), _translate_stall(request), deadline(), ThreadPoolExecutor(_MAX_CONNECTIONS) as pool:
        return list(pool.map(read_one, names))


def _fetch_range(request: HubRequest, begin: int, end: int) -> tuple[bytes, int]:
    with _translate_errors(request):
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        url = hf_hub_url(
            request.repository, request.file, revision=request.revision, endpoint=request.settings.endpoint
        )
        headers = build_hf_headers(library_name="attncli", library_version=__version__)
        # A range of a compressed file would be a range of the compressed bytes.
        headers |= {"Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
        with get_session().stream("GET", url, headers=headers, timeout=request.settings.timeout) as response:
            if response.status_code == 416:  # the file ends before that range begins
                return b"", _size(response.headers.get("Content-Range", "*/0"))
            hf_raise_for_status(response)
            whole = response.status_code != 206
            size = _size(response.headers.get("Content-Length" if whole else "Content-Range", ""))
            first = begin if whole else 0
            found = bytearray()
            for chunk in response.iter_bytes():
                found += chunk
                # Beyond its end, not at it: a response that is read to its end leaves the connection for the next one.
                if len(found) > first + end - begin:
                    break
            wanted = min(end, size) - begin
            content = bytes(found[first : first + end - begin])
            if len(content) < wanted:
                raise OSError("the response is incomplete")
            return content, size


def _size(header: str) -> int:
    """The size of the whole file, after the slash of a Content-Range."""
    total = header.rpartition("/")[2]
    if not (total.isascii() and total.isdecimal() and len(total) < 20):
        raise OSError("the response doesn't give the size of the file")
    return int(total)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the warnings and log messages of huggingface_hub."""
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
def _translate_errors(request: HubRequest) -> Iterator[None]:
    """Turn the exceptions of huggingface_hub into ModelErrors."""
    with _translate_stall(request):
        try:
            yield
        except StalledError:
            raise
        except Exception as error:
            known = translate_error(error, request)
            if known is None:
                raise
            raise known from error


@contextmanager
def _translate_stall(request: HubRequest) -> Iterator[None]:
    try:
        yield
    except StalledError as error:
        raise stalled_error(request, str(error)) from error


def _progress_bar(progress: Progress, what: str) -> type[Any]:
    """A tqdm class for huggingface_hub that draws nothing and calls `progress` instead."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})
            # A disabled tqdm doesn't count. A resumed download starts from `initial`.
            self.n, self.total = options.get("initial", 0), options.get("total")

        def update(self, n: float | None = 1) -> None:
            self.n += int(n or 0)
            progress(what, Bytes(self.n), self.total)

        # Chunked storage (Xet) counts received bytes separately from written ones; only the latter are reported.
        def update_transfer(self, n: float | None = 1) -> None: ...

        def set_transfer_postfix_str(self, *args: Any, **options: Any) -> None: ...

    return Bar
