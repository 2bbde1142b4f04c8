"""Hooks that are on during a run: on modules (`hooked`), and on every call of torch (`TorchCalls`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from threading import get_ident
from typing import Any

from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

#: The names of functions that add two tensors.
SUMS = frozenset({"add", "add_", "__add__", "__iadd__", "__radd__"})


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """The body with hooks, which are removed afterwards.

    handles: an iterator that puts the hooks on, so that an error on the way removes those that are on already.
    """
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield


def only_in_this_thread(hook: Callable[..., None]) -> Callable[..., None]:
    """A hook for every module of the process that ignores the modules that other threads run."""
    owner = get_ident()

    def guarded(*args: Any) -> None:
        if get_ident() == owner:
            hook(*args)

    return guarded


class TorchCalls(TorchFunctionMode):
    """While active, passes every call of torch in this thread to `run`, which calls the function itself."""

    def __init__(self, run: Callable[[Callable[..., Any], Sequence[Any], Mapping[str, Any]], Any]) -> None:
        super().__init__()
        self._run = run

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self._run(func, args, kwargs or {})
