"""transformers' list of its models' classes, kept between runs: making it means reading 2,500 source files, twice.

Only for a process of `attn`'s own, as `deferred_imports`. Imports nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from types import ModuleType
from typing import Any

#: By the packages that classes need: modules and their public names.
Structure = Mapping[frozenset[str], Mapping[str, set[str]]]

#: The function of transformers that makes the list, from a folder and a prefix of the modules' names.
_FUNCTION = "define_import_structure"


def keep_scan(module: ModuleType) -> None:
    """Let `transformers.utils.import_utils` take the list of its folder `models` from the cache.

    Does nothing where the function that makes it isn't there.
    """
    original = getattr(module, _FUNCTION, None)
    if not callable(original) or not module.__file__:
        return
    models = os.path.join(os.path.dirname(os.path.dirname(module.__file__)), "models")  # noqa: PTH118, PTH120

    def define(module_path: Any, prefix: str | None = None) -> Any:
        path = os.fspath(module_path)
        folder = os.path.dirname(path) if path.endswith("__init__.py") else path  # noqa: PTH120
        if folder != models:
            return original(module_path, prefix)
        start = "" if prefix is None else f"{prefix}."
        found = _read_or_scan(models, original)
        return {needs: {start + name: set(names) for name, names in each.items()} for needs, each in found.items()}

    setattr(module, _FUNCTION, define)


def _read_or_scan(folder: str, scan: Callable[[str], Structure]) -> Structure:
    from attncli.models.files.hub_cache import attn_cache_folder
    from attncli.models.files.user_cache import ShapeCache

    above = attn_cache_folder()
    cache = ShapeCache(None if above is None else above / "classes")
    key = sha256("".join(_stamps(folder)).encode("utf-8", "surrogateescape")).hexdigest()[:40]
    entry = cache.read(key)
    if entry is not None and "classes" in entry:
        return {frozenset(needs): names for needs, names in entry["classes"]}
    found = scan(folder)
    listed = [[sorted(needs), {name: sorted(names) for name, names in each.items()}] for needs, each in found.items()]
    cache.write(key, {"classes": listed})
    return found


def _stamps(folder: str) -> Iterator[str]:
    """Name, size and modification time of each file below a folder, in the order of the disk."""
    yield f"{folder}\n"
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == "__pycache__":
                continue
            if entry.is_dir():
                yield from _stamps(entry.path)
            else:
                found = entry.stat()
                yield f"{entry.name} {found.st_size} {found.st_mtime_ns}\n"
