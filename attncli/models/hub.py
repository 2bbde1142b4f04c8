"""A model of the hub: its cached files without a request, the others fetched, all of them from one commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from attncli.errors import ModelError
from attncli.models.cache import MAIN, CachedRepository, HubSettings, hub_settings
from attncli.models.hub_errors import Why
from attncli.models.reference import ModelRef
from attncli.models.sources import ADAPTER_CONFIG
from attncli.progress import Progress

if TYPE_CHECKING:
    from attncli.models.hub_calls import Fetch, Listing

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
    from attncli.models.hub_calls import list_files

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
    def mend(self) -> str:
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
        from attncli.models.hub_calls import download

        return download(self._repository, name, self.revision, self._settings, self._progress)

    def read_in_part(self, names: Sequence[str], read: Callable[[str, Fetch], T]) -> list[T]:
        """What `read(name, fetch)` makes of files that aren't cached, of which only ranges of bytes are fetched."""
        from attncli.models.hub_calls import read_in_part

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
            from attncli.models.hub_calls import list_files

            try:
                self._listing = list_files(self._repository, self.revision, self._settings, Why.CACHED_IN_PART)
            except ModelError as error:
                # The model is cached, at least in part: whoever needs the file that isn't raises this.
                self._listing = error
        return self._listing
