"""Models that lie in several folders: the modules of sentence-transformers, and the parts of a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from attncli.errors import ModelError
from attncli.models.files import weight_headers
from attncli.models.files.reference import is_plain_path
from attncli.models.files.sources import Source

#: The lists of folders: those of sentence-transformers, and those of diffusers.
MODULES_FILE, PIPELINE_FILE = "modules.json", "model_index.json"
#: The class that holds transformers' model.
_TRANSFORMER = "Transformer"


class SubfolderSource:
    """A folder of another source of files."""

    def __init__(self, source: Source, folder: str) -> None:
        self._source = source
        self._prefix = f"{folder}/"
        self.revision = source.revision
        self.repair_hint = source.repair_hint

    def local(self, name: str) -> Path | None:
        return self._source.local(self._prefix + name)

    def has(self, name: str) -> bool:
        return self._source.has(self._prefix + name)

    def find(self, name: str) -> Path | None:
        return self._source.find(self._prefix + name)

    def names(self) -> frozenset[str]:
        return self._inside(self._source.names()) or self._listed()

    def local_names(self) -> frozenset[str]:
        return self._inside(self._source.local_names()) or self._listed()

    def _inside(self, names: frozenset[str]) -> frozenset[str]:
        return frozenset(name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix))

    def _listed(self) -> frozenset[str]:
        """The files of a folder on this disk, whose source lists only what is directly in it."""
        config = self.local("config.json")
        return frozenset() if config is None else frozenset(path.name for path in config.parent.iterdir())

    def listing_error(self) -> ModelError | None:
        return self._source.listing_error()


class SentenceModule(NamedTuple):
    """A module of a sentence-transformers model. folder: "" where its files lie beside the list.  kind: its class."""

    folder: str
    kind: str

    @property
    def is_transformer(self) -> bool:
        return self.kind == _TRANSFORMER


def sentence_modules(path: Path, *, repair_hint: str = weight_headers.FETCH_AGAIN) -> tuple[SentenceModule, ...]:
    """The modules that a modules.json lists. Raises ModelError for a file that lists none."""
    import json

    with weight_headers.check_file(path, repair_hint):
        try:
            listed = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise weight_headers.BrokenFileError("it is no JSON") from error
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise weight_headers.BrokenFileError("it holds no list of modules")
        return tuple(_sentence_module(each) for each in listed)


def _sentence_module(fields: dict[str, object]) -> SentenceModule:
    folder, kind = fields.get("path", ""), fields.get("type")
    # The file is untrusted: it must not name folders outside the model's own.
    if not isinstance(folder, str) or not isinstance(kind, str) or not (folder == "" or is_plain_path(folder)):
        raise weight_headers.BrokenFileError("it names a module without a class or outside of its folder")
    return SentenceModule(folder, kind.rpartition(".")[2])


def pipeline_folders(path: Path, *, repair_hint: str = weight_headers.FETCH_AGAIN) -> Iterator[str]:
    """The folders of the parts that a model_index.json names, those without weights (schedulers) included."""
    for name, value in weight_headers.read_json(path, repair_hint=repair_hint).items():
        is_part = isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value)
        if is_part and is_plain_path(name) and "/" not in name:
            yield name
