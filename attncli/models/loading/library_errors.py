"""What libraries and the code of models raise, turned into this package's errors (`library_errors`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

from attncli.errors import AttnError, ModelError, reason_of


@contextmanager
def library_errors(
    what: str,
    hint: str = "correct that field of its configuration, or use another model (-m)",
    *,
    raised: type[AttnError] = ModelError,
    catch: tuple[type[Exception], ...] | None = None,
    user: str | None = None,
) -> Iterator[None]:
    """Turn what the body raises into a ModelError (or `raised`): its files ask for what that code can't do.

    what: `Model can't be run`.  user: what needs the package that an ImportError is about.
    catch: what such code raises; None for anything but what our own code raises. Errors of memory stay as they are,
    unless MemoryError is among those.
    """
    try:
        yield
    except AttnError:
        raise
    except Exception as error:
        if user is not None and isinstance(error, ImportError):
            raise ModelError(
                f"{user} needs a package that is not installed: {reason_of(error)}",
                hint="install that package",
            ) from error
        is_caught = not _raised_here(error) if catch is None else isinstance(error, catch)
        if not is_caught or (is_out_of_memory(error) and MemoryError not in (catch or ())):
            raise
        raise raised(f"{what}: {reason_of(error)}", hint=hint) from error


def _raised_here(error: BaseException) -> bool:
    """Whether an error arose in this package. Calls of torch pass through our modes, and fail beyond them."""
    frames = (frame for frame, _ in walk_tb(error.__traceback__) if frame.f_code.co_name != "__torch_function__")
    *_, innermost = (frame.f_globals.get("__name__", "") for frame in frames)
    return str(innermost).startswith("attncli.")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or the system means that memory ran out, on any device."""
    words = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
    says_so = any(word in str(error).lower() for word in words)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError | OSError) and says_so)
