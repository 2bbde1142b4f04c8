"""The exceptions of attncli, each with a sentence, a hint and an exit code; and the exit codes with their meanings."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `attn`, and what each means. Scripts may rely on them; help, manual and README list them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    MODEL = 3
    CHECK = 4
    HUNG_UP = 129
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143

    @property
    def meaning(self) -> str:
        """What it means, as a sentence."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "Success.",
    ExitCode.FAILED: "Failed: a file can't be read or written, out of memory, or broken input.",
    ExitCode.USAGE: "Wrong usage: an invalid option, or a layer, head, position or word that doesn't exist.",
    ExitCode.MODEL: "The model is unavailable: missing, refused, or broken.",
    ExitCode.CHECK: "A --check failed.",
    ExitCode.HUNG_UP: "The terminal was closed (for instance, the ssh session ended).",
    ExitCode.INTERRUPTED: "Interrupted (Ctrl-C).",
    ExitCode.BROKEN_PIPE: "The program that reads the output stopped early, as head does.",
    ExitCode.TERMINATED: "Terminated (SIGTERM).",
}


class AttnError(Exception):
    """A failure that a user can understand and mend.

    `message` is one sentence about what happened, without a final full stop; `hint` names the flag or the name that
    mends it, and stands beneath the message in a traceback. The subclass decides the exit code.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.add_note(f"hint: {hint}")


class FailedError(AttnError):
    """A file can't be read or written, memory ran out, an input is broken."""

    exit_code = ExitCode.FAILED


class UsageError(AttnError):
    """An option's value, a layer, a head, a position or a word that isn't there, or an empty text."""

    exit_code = ExitCode.USAGE


class ModelError(AttnError):
    """A model that is unavailable: missing, refused or broken."""

    exit_code = ExitCode.MODEL


class CheckError(AttnError):
    """A `--check` that does not hold."""

    exit_code = ExitCode.CHECK


def is_panic(error: BaseException) -> bool:
    """Whether a library written in Rust panicked: PyO3 raises an exception that is no `Exception`, and has no public
    class."""
    return type(error).__name__ == "PanicException"


#: Whose code imports other packages: where it fails itself, no other package is to blame.
_IMPORTING = frozenset({"attncli", "transformers", "torch", "importlib", "__main__"})


def broken_package(error: BaseException) -> FailedError | None:
    """The error to raise where a package that is installed failed as it was imported, as torchvision does beside a
    torch that it wasn't built for; None for any other cause."""
    from traceback import walk_tb  # takes time

    cause: BaseException | None = error
    while cause is not None:
        for frame, _ in reversed(list(walk_tb(cause.__traceback__))):
            package = str(frame.f_globals.get("__name__")).partition(".")[0]
            if frame.f_code.co_name == "<module>" and package not in _IMPORTING:
                return FailedError(
                    f"the installed {package} can't be imported: {reason_of(cause)}",
                    hint=f"install the {package} that fits your torch, or remove it: pip uninstall {package}",
                )
        cause = cause.__cause__ or cause.__context__
    return None


def reason_of(error: BaseException) -> str:
    """What another library says of a failure, as one line without a final full stop.

    >>> reason_of(ValueError("Wrong field 'a':\\n  expected int\\n\\nSee the docs."))
    "Wrong field 'a': expected int"
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        lines[0] += f" {lines[1]}"
    return lines[0].rstrip(".") if lines else type(error).__name__
