"""`file.py:function`: the user's own code returns a module. It is run because the user named it.

Python code that comes with a model: brought to the disk for those who allowed it to run. Nothing here runs it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Protocol

import torch
from torch import nn

from attncli.errors import ModelError, reason_of
from attncli.models.files.reference import ModelRef


def module_of(ref: ModelRef) -> nn.Module:
    """What the function returns when it is called without arguments, made on the meta device: no weights are there.

    Raises ModelError where the file or the function fails, there is no such function, or it returns no module.
    """
    file = _imported(ref)
    make = getattr(file, str(ref.file), None)
    if not callable(make):
        known = sorted(name for name, value in vars(file).items() if callable(value) and not name.startswith("_"))
        listed = f"it has {', '.join(known[:8])}" if known else "define one that returns a torch.nn.Module"
        raise ModelError(f"{ref.path} has no function {ref.file}", hint=listed)
    try:
        with torch.device("meta"):
            made = make()
    except Exception as error:  # the user's code may fail in any way
        raise _failed(ref, error) from error
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"{ref.name} returned a {type(made).__name__}, which is no module", hint="return a torch.nn.Module"
        )
    return made


def _imported(ref: ModelRef) -> ModuleType:
    path = ref.path.resolve()
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{ref.path} can't be imported", hint="name a file that Python can import")
    file = module_from_spec(spec)
    # The file may import its neighbours, and its classes may look themselves up.
    sys.path.insert(0, str(path.parent))
    sys.modules.setdefault(path.stem, file)
    try:
        spec.loader.exec_module(file)
    except Exception as error:
        raise _failed(ref, error) from error
    finally:
        sys.path.remove(str(path.parent))
    return file


def _failed(ref: ModelRef, error: Exception) -> ModelError:
    message = f"{ref.name} failed with {type(error).__name__}: {reason_of(error)}"
    return ModelError(message, hint="mend the function; --debug shows where it failed")


_RELATIVE_IMPORT = re.compile(r"^\s*from\s+\.(\w+)\s+import\b", re.MULTILINE)


class _Files(Protocol):
    def find(self, name: str) -> Path | None: ...


def fetch_code(files: _Files, class_paths: Iterable[str]) -> None:
    """Make the modules of `module.Class` paths local, and those that they import from their own folder.

    A class of another repository (`org/name--module.Class`) is left to transformers.
    """
    waiting = [path.rpartition(".")[0] for path in class_paths if "--" not in path]
    seen = set[str]()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        if (path := files.find(f"{module}.py")) is not None:
            waiting += _RELATIVE_IMPORT.findall(path.read_text(encoding="utf-8"))
