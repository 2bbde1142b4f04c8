"""transformers' progress bars, told to our listener instead of being drawn."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import transformers

from attncli.progress import Progress


@contextmanager
def loading(progress: Progress) -> Iterator[None]:
    """Send transformers' progress to ours, and keep its own reports of what it loaded to itself: ours follow."""
    logger = logging.getLogger("transformers")
    level, previous = logger.level, transformers.utils.logging.set_tqdm_hook(_tqdm_hook(progress))
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        transformers.utils.logging.set_tqdm_hook(previous)
        logger.setLevel(level)


def _tqdm_hook(progress: Progress) -> Callable[..., Any]:
    def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Bar:
        return _Bar(args[0] if args else kwargs.get("iterable"), kwargs.get("total"), progress)

    return hook


class _Bar:
    """As much of tqdm as transformers uses while it loads."""

    def __init__(self, iterable: Any, total: int | None, progress: Progress) -> None:
        self._iterable, self._progress, self._done = iterable, progress, 0
        self._total = len(iterable) if total is None and hasattr(iterable, "__len__") else total

    def __iter__(self) -> Iterator[Any]:
        for item in self._iterable:
            yield item
            self.update()

    def update(self, count: int = 1) -> None:
        self._done += count
        self._progress("loading weights", self._done, self._total)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held open."""

    def set_postfix(self, *_: Any, **__: Any) -> None:
        """The reader of our progress has no room for it."""

    def set_description(self, *_: Any, **__: Any) -> None:
        """The reader of our progress has no room for it."""
