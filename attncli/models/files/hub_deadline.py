"""Deadlines for a hub that sends too slowly. huggingface_hub limits only the wait for each byte.

The headers of an answer must be complete in time; its body must keep a minimum rate, so that a slow download of a large
file goes on for hours, and one byte a second does not. (Files in chunked storage are downloaded by the library hf_xet,
which has limits of its own.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer, get_ident
from time import monotonic
from typing import Any

from attncli.limits import HUB_HEADER_SECONDS, HUB_RATE_SECONDS, MIN_HUB_RATE


class StalledError(Exception):
    """The hub sends too slowly, or more than was asked for."""


@contextmanager
def deadline(*, most_bytes: int | None = None) -> Iterator[None]:
    """Watch the requests of huggingface_hub's client, in all threads.

    most_bytes: the size of the largest answer.  Raises StalledError, whatever the library made of it.
    """
    from huggingface_hub import close_session
    from huggingface_hub.utils import get_session

    client = get_session()
    watch = _Watch(client, most_bytes)
    hooks = client.event_hooks
    client.event_hooks = {
        "request": [*hooks["request"], watch.begin],
        "response": [*hooks["response"], watch.receive],
    }
    try:
        yield
    except Exception as error:
        if watch.reason is not None:
            raise StalledError(watch.reason) from error
        raise
    finally:
        watch.end()
        client.event_hooks = hooks
        if watch.reason is not None:
            # The client is closed: the next request gets a new one.
            close_session()


class _Watch:
    """The deadlines of a client's requests. reason: why the client was closed; None as long as it wasn't."""

    def __init__(self, client: Any, most_bytes: int | None) -> None:
        self.reason: str | None = None
        self._client = client
        self._most_bytes = most_bytes
        self._timers: dict[int, Timer] = {}

    def begin(self, request: Any) -> None:
        """Called before each request, also of a redirection or a retry, which follow in the same thread."""
        self._cancel()
        timer = Timer(HUB_HEADER_SECONDS, self.stop, ["does not answer"])
        timer.daemon = True
        self._timers[get_ident()] = timer
        timer.start()

    def receive(self, response: Any) -> None:
        """Called when the headers of an answer are complete."""
        self._cancel()
        response.stream = _watched_stream(response.stream, self)

    def chunks(self, stream: Any) -> Iterator[bytes]:
        """The chunks of a body. Raises StalledError where they come too slowly, not counting the time of their use."""
        waited, window, total = 0.0, 0, 0
        chunks = iter(stream)
        while True:
            begin = monotonic()
            chunk = next(chunks, None)
            waited += monotonic() - begin
            if chunk is None:
                return
            window, total = window + len(chunk), total + len(chunk)
            if self._most_bytes is not None and total > self._most_bytes:
                self.stop(f"answers with more than {self._most_bytes:,} bytes")
                raise StalledError(self.reason)
            if waited > HUB_RATE_SECONDS:
                if window < MIN_HUB_RATE * waited:
                    self.stop(f"sends {window / waited:,.0f} bytes a second")
                    raise StalledError(self.reason)
                waited, window = 0.0, 0
            yield chunk

    def stop(self, reason: str) -> None:
        """Close the client, so that a waiting thread gets an error at the next byte, and no retry follows."""
        self.reason = self.reason or reason
        self._client.close()

    def end(self) -> None:
        for timer in self._timers.values():
            timer.cancel()

    def _cancel(self) -> None:
        timer = self._timers.pop(get_ident(), None)
        if timer is not None:
            timer.cancel()


def _watched_stream(stream: Any, watch: _Watch) -> Any:
    """A stream of the client's library (httpx, or httpx2), watched."""
    base = next(kind for kind in type(stream).__mro__ if kind.__name__ == "SyncByteStream")

    class WatchedStream(base):  # type: ignore[misc, valid-type]
        def __iter__(self) -> Iterator[bytes]:
            return watch.chunks(stream)

        def close(self) -> None:
            stream.close()

    return WatchedStream()
