"""The names, shapes and types of a model's tensors, read from the headers of its safetensors or GGUF files.

No weights are read, and of a file on the hub only the header is downloaded. Imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from attncli.errors import ModelError
from attncli.limits import MAX_GGUF_HEADER_BYTES
from attncli.models.files import weight_headers
from attncli.models.files.reference import ModelRef
from attncli.models.files.sources import LocalSource, Source, SubfolderSource
from attncli.models.files.weight_files import ChosenFiles, choose_files, is_auxiliary
from attncli.models.files.weight_headers import (
    LENGTH_BYTES,
    BrokenFileError,
    TensorEntry,
    header_end,
    parse_header,
    quote_name,
)

if TYPE_CHECKING:
    from attncli.models.files.gguf_header import GgufHeader
    from attncli.models.files.hub import FetchRange
    from attncli.models.files.model_files import ModelFiles

T = TypeVar("T")

#: The bytes of a file that are downloaded first: nearly every safetensors header fits.
_FIRST_FETCH_BYTES = 1 << 17


class StoredTensor(NamedTuple):
    """A tensor as a file stores it.

    name: its name in the file.  path: its name in transformers; differs for GGUF only.
    dtype: in the terms of the format (`BF16`, `Q4_K`).  shape: of the stored elements, each of which may pack several
    weights.
    """

    name: str
    path: str
    dtype: str
    shape: tuple[int, ...]
    stored_bytes: int


class Checkpoint(NamedTuple):
    """The tensors of one model, in the order of its files.

    config: the content of config.json, or GGUF's metadata as fields of a config.json; None if there is neither.
    notes: disagreements between files and index.  sizes: of the files in bytes.
    """

    format: Literal["safetensors", "gguf"]
    files: tuple[str, ...]
    tensors: tuple[StoredTensor, ...]
    config: Mapping[str, object] | None = None
    notes: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()

    @property
    def stored_bytes(self) -> int:
        return sum(tensor.stored_bytes for tensor in self.tensors)


def read_checkpoint(files: ModelFiles) -> Checkpoint:
    """The tensors of a model's weight files (`choose_files`); for an adapter, those of its base.

    Raises ModelError if there are none with a header, and for a header that is broken or contradicts itself.
    """
    model = files if files.base is None else files.base
    return read_source_checkpoint(model.ref, model.source)


def read_source_checkpoint(ref: ModelRef, source: Source) -> Checkpoint:
    """As `read_checkpoint`, for one source of files."""
    chosen = choose_files(ref, source)
    if chosen.names[0].endswith(".gguf"):
        return _read_gguf(source, chosen)
    headers = _read_headers(source, chosen.names)
    tensors = [_stored_tensor(name, entry) for _, found in headers for name, entry in found.entries.items()]
    _check_unique(ref, tensors, chosen.names)
    config = source.find("config.json")
    return Checkpoint(
        "safetensors",
        chosen.names,
        tuple(tensors),
        None if config is None else weight_headers.read_model_config(config, repair_hint=source.repair_hint),
        tuple(_disagreements({tensor.name for tensor in tensors}, chosen.indexed)),
        tuple(found.size for _, found in headers),
    )


def local_checkpoint(files: ModelFiles) -> Checkpoint | None:
    """As `read_checkpoint`, but of local files only, without a request; None if there is no local safetensors file.

    Raises ModelError if the local files are broken, or aren't the weights of one model.
    """
    source = LocalSource(files.source)
    if not any(name.endswith(".safetensors") and not is_auxiliary(name) for name in source.names()):
        return None
    return read_source_checkpoint(files.ref, source)


def _stored_tensor(name: str, entry: TensorEntry) -> StoredTensor:
    return StoredTensor(name, name, entry.dtype, entry.shape, entry.end - entry.begin)


def _check_unique(ref: ModelRef, tensors: Sequence[StoredTensor], names: Sequence[str]) -> None:
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            raise ModelError(
                f"the tensor {quote_name(tensor.name)} is in more than one of the {len(names)} weight files"
                f" of {ref.name}",
                hint=f"the files are not parts of one model: choose one, for instance {names[0]}",
            )
        seen.add(tensor.name)


def _disagreements(held: set[str], listed: frozenset[str] | None) -> Iterator[str]:
    if listed is None:
        return
    if missing := sorted(listed - held):
        yield f"the index lists {_count_names(missing)} that its files don't contain"
    if extra := sorted(held - listed):
        yield f"the files contain {_count_names(extra)} that their index doesn't list"


def _count_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1:,} more tensors" if len(names) > 1 else ""
    return f"{names[0]}{more}"


class _Header(NamedTuple):
    """The tensors of a safetensors file, and its size in bytes."""

    entries: dict[str, TensorEntry]
    size: int


def _read_headers(source: Source, names: Sequence[str]) -> list[tuple[str, _Header]]:
    """The headers of safetensors files, in the order of `names`."""
    local = {name: path for name in names if (path := source.local(name)) is not None}
    hint = source.repair_hint
    headers = {
        name: _Header(weight_headers.read_header(path, repair_hint=hint), path.stat().st_size)
        for name, path in local.items()
    }
    headers |= _read_remote_headers(source, [name for name in names if name not in local])
    return [(name, headers[name]) for name in names]


def _read_remote_headers(source: Source, names: Sequence[str]) -> dict[str, _Header]:
    def read(name: str, fetch: FetchRange) -> _Header:
        try:
            first, size = fetch(0, _FIRST_FETCH_BYTES)
            end = header_end(first, size)
            rest = fetch(len(first), end)[0] if end > len(first) else b""
            return _Header(parse_header((first + rest)[LENGTH_BYTES:end], size - end), size)
        except BrokenFileError as fault:
            raise _broken_on_hub(name, fault) from fault

    return dict(zip(names, _read_ranges(source, names, read), strict=True))


def _read_ranges(source: Source, names: Sequence[str], read: Callable[[str, FetchRange], T]) -> list[T]:
    if not names:
        return []
    if isinstance(source, SubfolderSource):
        prefix = source.prefix
        inside = [f"{prefix}{name}" for name in names]
        return _read_ranges(source.above, inside, lambda name, fetch: read(name.removeprefix(prefix), fetch))
    from attncli.models.files.hub import HubSource

    assert isinstance(source, HubSource), "only the hub has files that aren't on this disk"
    return source.read_ranges(names, read)


def _broken_on_hub(name: str, fault: BrokenFileError) -> ModelError:
    return ModelError(f"{name} on the hub can't be used: {fault}", hint="use another revision or another model")


def _read_gguf(source: Source, chosen: ChosenFiles) -> Checkpoint:
    from attncli.models.files.gguf_header import read_gguf_header
    from attncli.models.files.gguf_names import config_fields, module_names

    local: dict[str, Path] = {name: path for name in chosen.names if (path := source.local(name)) is not None}
    headers = {name: read_gguf_header(path, repair_hint=source.repair_hint) for name, path in local.items()}
    sizes = {name: path.stat().st_size for name, path in local.items()}
    remote = [name for name in chosen.names if name not in local]
    for name, (header, size) in zip(remote, _read_ranges(source, remote, _fetch_gguf_header), strict=True):
        headers[name], sizes[name] = header, size
    stored = [tensor for name in chosen.names for tensor in headers[name].tensors]
    paths = module_names(tensor.name for tensor in stored)
    tensors = tuple(StoredTensor(each.name, paths[each.name], each.dtype, each.shape, each.size) for each in stored)
    config, note = config_fields(headers[chosen.names[0]].metadata)
    try:
        weight_headers.check_types(config)
    except BrokenFileError as fault:
        raise ModelError(f"{chosen.names[0]} can't be used: {fault}", hint=source.repair_hint) from fault
    notes = [] if note is None else [note]
    notes += [f"with the tensors of {chosen.projector}"] if chosen.projector is not None else []
    return Checkpoint("gguf", chosen.names, tensors, config, tuple(notes), tuple(sizes[name] for name in chosen.names))


def _fetch_gguf_header(name: str, fetch: FetchRange) -> tuple[GgufHeader, int]:
    """The header of a file on the hub, and the size of the file."""
    from attncli.models.files.gguf_header import IncompleteHeaderError, parse_gguf_header

    content, wanted = b"", _FIRST_FETCH_BYTES
    try:
        while True:
            part, size = fetch(len(content), wanted)
            content += part
            try:
                return parse_gguf_header(content, size), size
            except IncompleteHeaderError:
                if len(content) >= min(size, MAX_GGUF_HEADER_BYTES):
                    raise BrokenFileError("it was cut short, within its header") from None
            wanted = min(4 * wanted, size)
    except BrokenFileError as fault:
        raise _broken_on_hub(name, fault) from fault
