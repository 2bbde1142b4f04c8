"""Custom Python code: the user's `file.py:function`, which is run, and the code of a hub model, which is downloaded.

`run_module_function` runs the function because the user named it. `fetch_code` only makes a model's code local, for
users who passed --trust-remote-code; transformers runs it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from inspect import isfunction
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from attncli.errors import ModelError, reason_of
from attncli.models.files.reference import ModelRef


class OwnCode(NamedTuple):
    """What the user's function returned. inputs: a tensor, or a tuple or dict with tensors; None where it gave none."""

    module: nn.Module
    inputs: Any = None
    tokenizer: Any = None


def call_module_function(ref: ModelRef) -> nn.Module:
    """Call a function without arguments on the meta device; the module that it returns has no weights.

    Raises ModelError as `run_module_function` does.
    """
    with torch.device("meta"):
        return run_module_function(ref).module


def run_module_function(ref: ModelRef) -> OwnCode:
    """Call a function without arguments that returns a module, (module, inputs) or (module, inputs, tokenizer).

    Raises ModelError if the file or the function fails, if there is no such function, or if it returns anything else.
    """
    function = _find_function(ref)
    with _reported_failure(ref):
        returned = function()
    parts = returned if isinstance(returned, tuple) else (returned,)
    if parts and isinstance(parts[0], nn.Module) and len(parts) <= len(OwnCode._fields):
        return OwnCode(*parts)
    if isinstance(returned, tuple):
        kinds = ", ".join(type(part).__name__ for part in parts)
        what = (
            f"({kinds}), whose first is not a module" if len(parts) <= len(OwnCode._fields) else f"{len(parts)} values"
        )
    else:
        what = f"a {type(returned).__name__}, which is not a module"
    raise ModelError(
        f"{ref.name} returned {what}",
        hint="return a torch.nn.Module, (module, inputs) or (module, inputs, tokenizer)",
    )


def _find_function(ref: ModelRef) -> Callable[[], Any]:
    path = ref.path.resolve()
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{ref.path} can't be imported", hint="use a file that Python can import")
    file = module_from_spec(spec)
    # The file may import modules of its folder, and its classes may look up their module (dataclasses do).
    sys.path.insert(0, str(path.parent))
    sys.modules.setdefault(path.stem, file)
    with _reported_failure(ref):
        try:
            spec.loader.exec_module(file)
        finally:
            sys.path.remove(str(path.parent))
    function = getattr(file, str(ref.file), None)
    if callable(function):
        return function  # type: ignore[no-any-return]
    own = [value for value in vars(file).values() if getattr(value, "__module__", None) == path.stem]
    functions = [value for value in own if isfunction(value)] or [value for value in own if callable(value)]
    known = sorted(value.__name__ for value in functions if not value.__name__.startswith("_"))
    listed = (
        f"its functions are {', '.join(known[:8])}" if known else "define a function that returns a torch.nn.Module"
    )
    raise ModelError(f"{ref.path} has no function {ref.file}", hint=listed)


@contextmanager
def _reported_failure(ref: ModelRef) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the user's code may fail in any way
        message = f"{ref.name} failed with {type(error).__name__}: {reason_of(error)}"
        raise ModelError(message, hint="fix the function; --debug shows where it failed") from error


# --- Code that comes with a model

_RELATIVE_IMPORT = re.compile(r"^\s*from\s+\.(\w+)\s+import\b", re.MULTILINE)


class _FileFinder(Protocol):
    def find(self, name: str) -> Path | None: ...


def fetch_code(files: _FileFinder, class_paths: Iterable[str]) -> None:
    """Download the modules of `module.Class` paths, and the modules of the same folder that they import.

    A class of another repository (`org/name--module.Class`) is left to transformers.
    """
    pending = [path.rpartition(".")[0] for path in class_paths if "--" not in path]
    seen = set[str]()
    while pending:
        module = pending.pop()
        if module in seen:
            continue
        seen.add(module)
        if (path := files.find(f"{module}.py")) is not None:
            pending += _RELATIVE_IMPORT.findall(path.read_text(encoding="utf-8"))
