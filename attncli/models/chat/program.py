"""The child process that renders chat templates: reads a JSON request a line, writes a JSON answer a line.

A chat template is untrusted code. jinja2's sandbox protects our objects, but not our time and memory, and ways out of
it are found now and then. So templates run in a process of their own (`attncli.models.chat.sandbox` starts and kills
it), which can't exceed its memory, change a file, start a program or open a connection. This module imports only the
standard library and jinja2, so that the child starts in under a tenth of a second.

The environment is that of transformers' `apply_chat_template`, so that the texts agree.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

try:
    import resource
    import signal
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

#: Limits by their names in the module `resource`: 1 GiB of memory, no writing to files, no new process.
LIMITS = {"RLIMIT_AS": 1 << 30, "RLIMIT_FSIZE": 0, "RLIMIT_NPROC": 0}

#: Beginnings of Python's audit events that only a template outside of jinja2's sandbox would raise; and those that
#: imports raise.
_FORBIDDEN_EVENTS = frozenset(
    ("os", "subprocess", "socket", "shutil", "ctypes", "winreg", "_winapi", "pty", "ftplib", "smtplib")
)
_ALLOWED_EVENTS = frozenset(("os.listdir", "os.scandir"))
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

#: The file name in tracebacks for a template that comes from no file.
_TEMPLATE = "<template>"

#: Where a statement or an expression begins.
_BLOCK = re.compile(r"\{[%{][-+]?")
_BLOCK_END = re.compile(r"[-+]?[%}]\}")


def serve() -> None:
    """Write `ready`, then answer requests until the input ends.

    A request: {source, messages, variables, calls: [{pick: [index of a message…], generation: bool}], seconds}.
    Its answer: one entry a call, {text}, or {kind, message, line, column, excerpt}.
    """
    # By number: the streams of `sys` are text streams, which treat line ends differently on each system.
    with open(0, "rb") as requests, open(1, "wb") as answers:
        _set_limits()
        answers.write(b"ready\n")
        answers.flush()
        for line in requests:
            answers.write(_answer(line))
            answers.flush()


def _set_limits() -> None:
    for name, most in LIMITS.items():
        if hasattr(resource, name):
            # Some systems define a limit but can't set it.
            with suppress(ValueError, OSError):
                resource.setrlimit(getattr(resource, name), (most, most))
    sys.addaudithook(_audit_hook)


def _audit_hook(event: str, arguments: tuple[Any, ...]) -> None:
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES
    if writes or (event.partition(".")[0] in _FORBIDDEN_EVENTS and event not in _ALLOWED_EVENTS):
        raise PermissionError("a chat template can't touch anything outside")


def _answer(line: bytes) -> bytes:
    try:
        request = json.loads(line)
        if resource is not None:
            # The parent process kills this one in time; the alarm is for the case that the parent has ended.
            signal.alarm(2 + int(request["seconds"]))
        answers = [_render_call(request, call) for call in request["calls"]]
        return json.dumps(answers).encode() + b"\n"
    except MemoryError:
        return (
            json.dumps([{"kind": "memory", "message": "", "line": None, "column": None, "excerpt": ""}]).encode()
            + b"\n"
        )
    finally:
        if resource is not None:
            signal.alarm(0)


def _render_call(request: Mapping[str, Any], call: Mapping[str, Any]) -> dict[str, object]:
    source = request["source"]
    # A copy for each call, as a template may change what it is given.
    given = {**request["variables"], "messages": [request["messages"][index] for index in call["pick"]]}
    variables = json.dumps({**given, "add_generation_prompt": call["generation"]})
    try:
        return {"text": _render(source, variables)}
    except MemoryError:
        raise
    except Exception as error:  # a template can raise anything
        place = _statement_place(source, variables, str(error))
        if place is None:
            line, lines = _line_of(error), source.splitlines()
            known = line is not None and line <= len(lines)
            place = ErrorPlace(line, None, lines[line - 1].strip() if line is not None and known else "")
        kinds = {"refused": RefusedError, "syntax": TemplateSyntaxError, "failed": Exception}
        kind = next(name for name, each in kinds.items() if isinstance(error, each))
        return {"kind": kind, "message": str(error) or type(error).__name__, **place._asdict()}


def _render(source: str, variables: str) -> str:
    return _compile_template(source).render(json.loads(variables))


# --- The environment of transformers


class RefusedError(TemplateError):
    """Raised by a template with `raise_exception`."""


class GenerationBlock(Extension):
    """The block `{% generation %}`, which marks the assistant's part of a text; its body is rendered unchanged."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Macro) -> str:
        return caller()


class PlainNamespace(Namespace):
    """A namespace without attributes that begin with an underscore, which could lead to Python's internals."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        # As in jinja2: the object itself is among `args`, so that a template may have a variable `self`.
        self, given = args[0], dict(*args[1:], **kwargs)
        for name in given:
            _check_name(name)
        Namespace.__init__(self, given)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


class PlainDict:
    """`dict` as a callable without the attributes of the class."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace can't have the attribute {name!r}")


def _refuse(message: object) -> None:
    raise RefusedError(str(message))


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """`tojson` without jinja2's own escaping of `<` for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@lru_cache(maxsize=4)
def _compile_template(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    ours: dict[str, Callable[..., Any]] = {
        "raise_exception": _refuse,
        "strftime_now": _strftime_now,
        "dict": PlainDict(),
        "namespace": PlainNamespace,
    }
    environment.globals.update(ours)
    return environment.from_string(source)


# --- Where a template fails


class ErrorPlace(NamedTuple):
    """Line and column, both from 1, and the statement there; None where unknown."""

    line: int | None = None
    column: int | None = None
    excerpt: str = ""


def _line_of(error: BaseException) -> int | None:
    """The line of the template that raised an error: jinja2 adds the template to the traceback."""
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    frames = traceback.walk_tb(error.__traceback__)
    return [None, *(line for frame, line in frames if frame.f_code.co_filename == _TEMPLATE)][-1]


def _statement_place(source: str, variables: str, message: str) -> ErrorPlace | None:
    """The statement that fails with `message`; None where it isn't found.

    Most templates are a single line of thousands of characters. With a newline inserted into each statement, where it
    changes nothing, jinja2's line numbers identify the statement.
    """
    split, starts = _split_statements(source)
    try:
        _render(split, variables)
    except Exception as error:  # as above
        line = _line_of(error)
        if line is not None and 0 < line <= len(starts) and str(error) == message:
            start = starts[line - 1]
            end = _BLOCK_END.search(source, start)
            excerpt = source[start : end.end() if end else len(source)].splitlines()[0].strip()
            return ErrorPlace(source.count("\n", 0, start) + 1, start - (source.rfind("\n", 0, start) + 1) + 1, excerpt)
    return None


def _split_statements(source: str) -> tuple[str, Sequence[int]]:
    """The source with a newline after the start of each statement, and the start of each of its lines in `source`."""
    pieces: list[str] = []
    starts = [0]
    last = 0
    for match in re.finditer(rf"{_BLOCK.pattern}|\n", source):
        pieces.append(source[last : match.end()])
        last = match.end()
        if match.group() == "\n":
            starts.append(last)
        else:
            pieces.append("\n")
            starts.append(match.start())
    return "".join([*pieces, source[last:]]), starts
