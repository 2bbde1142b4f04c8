"""Work done one step ahead of whoever uses its results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def one_ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`work` of each item, in order, in a thread that is one item ahead: for work that lets go of Python's lock.

    The items are fetched in the caller's thread, so that one that waits for its input can be interrupted. What `work`
    raises is raised where its result would have come. Whoever stops early does not wait for the item in work.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
    try:
        waiting: Future[Result] | None = None
        for item in items:
            coming = pool.submit(work, item)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
