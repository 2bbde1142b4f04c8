"""Turns any exception into an `AttnError` with message, hint and exit code; finds words similar to mistyped ones."""

from __future__ import annotations

from collections.abc import Iterable

import click

from attncli.errors import AttnError, FailedError, ModelError, UsageError, broken_package, is_panic, reason_of

#: Characters of an unexpected message (torch prints whole allocator tables).
_MAX_MESSAGE = 400


def as_attn_error(error: BaseException) -> AttnError:
    """The error as an `AttnError`."""
    if isinstance(error, AttnError):
        return error
    if isinstance(error, click.ClickException):
        return _usage_error(error)
    if isinstance(error, MemoryError):
        return FailedError("out of memory", hint="use a shorter text, fewer layers (-l) or a smaller model (-m)")
    if is_panic(error):
        return ModelError(
            f"a library failed on the model's files: {reason_of(error)}"[:_MAX_MESSAGE],
            hint="download or copy the files again, or use another model (-m)",
        )
    if isinstance(error, OSError) and error.strerror:
        about = f": {error.filename}" if error.filename else ""
        return FailedError(f"{error.strerror}{about}", hint="--debug shows where this happened")
    return broken_package(error) or FailedError(
        f"unexpected error: {type(error).__name__}: {error}"[:_MAX_MESSAGE],
        hint="--debug shows where it happened; please report it as a bug of attn",
    )


def close_match(word: str, known: Iterable[str], *, likeness: float = 0.5) -> str | None:
    """The most similar known word, if its similarity (0 to 1) is at least `likeness`."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), n=1, cutoff=likeness)), None)


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """A hint that begins with the most similar known word, if there is one."""
    match = close_match(word, known)
    return f"did you mean {match}? {otherwise}" if match else otherwise


def _usage_error(error: click.ClickException) -> AttnError:
    if isinstance(error, click.NoSuchOption):
        return _unknown_option(error)
    if isinstance(error, click.BadOptionUsage):
        return _misused_option(error)
    hint = f"{_command_path(error)} --help shows its arguments and options"
    return UsageError(error.format_message().rstrip("."), hint=hint)


def _unknown_option(error: click.NoSuchOption) -> UsageError:
    command = _command_path(error)
    message = f"{command} has no option {error.option_name}"
    if command == "attn":
        return UsageError(
            message, hint="write options after the verb: attn heads TEXT -m gpt2; attn --help lists the verbs"
        )
    if error.option_name.startswith("--") and " " not in error.option_name:
        # Compared without the dashes, which would make short names similar.
        names = (name for option in _options(error) for name in option.opts if name.startswith("--"))
        known = {name.removeprefix("--"): name for name in names}
        found = close_match(error.option_name.removeprefix("--"), known, likeness=0.6)
        hint = f"{command} --help lists the options"
        hint = f"did you mean {known[found]}? {hint}" if found else hint
    else:
        hint = f"{command} --help lists the options; write -- before a text that begins with -"
    return UsageError(message, hint=hint)


def _misused_option(error: click.BadOptionUsage) -> UsageError:
    name = error.option_name
    for parameter in _options(error):
        if name in parameter.opts:
            if parameter.is_flag:
                return UsageError(f"{name} takes no value", hint=f"write {name} alone")
            assert error.ctx is not None  # its options were found there
            return UsageError(f"{name} needs a value", hint=f"write {name} {parameter.make_metavar(error.ctx)}")
    return UsageError(
        error.format_message().rstrip("."), hint=f"{_command_path(error)} --help shows its arguments and options"
    )


def _command_path(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if isinstance(context, click.Context) else "attn"


def _options(error: click.UsageError) -> list[click.Option]:
    if error.ctx is None:
        return []
    return [parameter for parameter in error.ctx.command.params if isinstance(parameter, click.Option)]
