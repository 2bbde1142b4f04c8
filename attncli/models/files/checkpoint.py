"""The names, shapes and types of a model's tensors, read from the headers of its safetensors or GGUF files.

No weights are read, and of a file on the hub only the header is downloaded. The second half of this module chooses the
weight files, also without an index. Imports neither torch nor transformers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from attncli.errors import ModelError
from attncli.limits import MAX_GGUF_HEADER_BYTES
from attncli.models.files import weight_headers
from attncli.models.files.reference import Kind, ModelRef, is_plain_path
from attncli.models.files.sources import PIPELINE_FILE, LocalSource, Source, SubfolderSource, pipeline_folders
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

_INDEX = ".safetensors.index.json"
_STANDARD_NAMES = ("model.safetensors", f"model{_INDEX}")
_READABLE = (".safetensors", ".gguf")
#: The names of the weights in a part of a pipeline, and of those that have no header.
_PART_NAMES = (*_STANDARD_NAMES, "diffusion_pytorch_model.safetensors", f"diffusion_pytorch_model{_INDEX}")
_PART_PICKLES = ("pytorch_model.bin", "diffusion_pytorch_model.bin", "pytorch_model.bin.index.json")
#: A GGUF file with the tower of pictures or sounds and the projector of the model beside it (llama.cpp).
_PROJECTOR = re.compile(r".*mmproj.*\.gguf", re.IGNORECASE)
#: The names of shards: `model-00002-of-00005.safetensors`.
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\.safetensors|\.gguf)")
#: Weight files that aren't the model's: an adapter, and Mistral's format of the same weights.
_AUXILIARY = re.compile(r"(adapter_|consolidated).*")

_BY_CONFIG = "--source config counts from config.json"

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
    notes: disagreements between files and index.
    """

    format: Literal["safetensors", "gguf"]
    files: tuple[str, ...]
    tensors: tuple[StoredTensor, ...]
    config: Mapping[str, object] | None = None
    notes: tuple[str, ...] = ()

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
    if (
        ref.weights_file is None
        and (index := (None if source.has("config.json") else source.find(PIPELINE_FILE))) is not None
    ):
        return _read_pipeline(ref, source, index)
    chosen = choose_files(ref, source)
    if chosen.names[0].endswith(".gguf"):
        return _read_gguf(source, chosen)
    tensors = [
        _stored_tensor(name, entry)
        for _, entries in _read_headers(source, chosen.names)
        for name, entry in entries.items()
    ]
    _check_unique(ref, tensors, chosen.names)
    config = source.find("config.json")
    return Checkpoint(
        "safetensors",
        chosen.names,
        tuple(tensors),
        None if config is None else weight_headers.read_model_config(config, repair_hint=source.repair_hint),
        tuple(_disagreements({tensor.name for tensor in tensors}, chosen.indexed)),
    )


def _read_pipeline(ref: ModelRef, source: Source, index: Path) -> Checkpoint:
    """The tensors of all parts of a pipeline, each named by its folder and the name in its file."""
    tensors, files, left_out = [], [], []
    for folder in pipeline_folders(index, repair_hint=source.repair_hint):
        part = SubfolderSource(source, folder)
        name = next((name for name in _PART_NAMES if part.has(name)), None)
        if name is None:
            left_out += [folder] if any(part.has(pickle) for pickle in _PART_PICKLES) else []
            continue
        chosen = _choose_by_name(ref, part, name)
        files += [f"{folder}/{file}" for file in chosen.names]
        for _, entries in _read_headers(part, chosen.names):
            tensors += [_stored_tensor(f"{folder}.{tensor}", entry) for tensor, entry in entries.items()]
    if not tensors:
        raise ModelError(
            f"the parts of {ref.name} have no weights whose header can be read",
            hint="headers are those of .safetensors files; name the folder of a part",
        )
    parts = list(dict.fromkeys(file.partition("/")[0] for file in files))
    notes = [f"a pipeline of several models, counted by the headers of their weights: {', '.join(parts)}"]
    notes += [f"the weights of {', '.join(left_out)} are pickles and not counted"] if left_out else []
    return Checkpoint("safetensors", tuple(files), tuple(tensors), None, tuple(notes))


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
                f"the tensor {quote_name(tensor.name)} is in several of the {len(names)} files of weights"
                f" of {ref.name}",
                hint=f"they aren't parts of one model: name one of them, such as {names[0]}",
            )
        seen.add(tensor.name)


def _disagreements(held: set[str], listed: frozenset[str] | None) -> Iterator[str]:
    if listed is None:
        return
    if missing := sorted(listed - held):
        yield f"the index lists {_count_names(missing)} that its files don't hold"
    if extra := sorted(held - listed):
        yield f"the files hold {_count_names(extra)} that their index doesn't list"


def _count_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1:,} more tensors" if len(names) > 1 else ""
    return f"{names[0]}{more}"


def _read_headers(source: Source, names: Sequence[str]) -> list[tuple[str, dict[str, TensorEntry]]]:
    """The headers of safetensors files, in the order of `names`."""
    local = {name: path for name in names if (path := source.local(name)) is not None}
    headers = {name: weight_headers.read_header(path, repair_hint=source.repair_hint) for name, path in local.items()}
    headers |= _read_remote_headers(source, [name for name in names if name not in local])
    return [(name, headers[name]) for name in names]


def _read_remote_headers(source: Source, names: Sequence[str]) -> dict[str, dict[str, TensorEntry]]:
    def read(name: str, fetch: FetchRange) -> dict[str, TensorEntry]:
        try:
            first, size = fetch(0, _FIRST_FETCH_BYTES)
            end = header_end(first, size)
            rest = fetch(len(first), end)[0] if end > len(first) else b""
            return parse_header((first + rest)[LENGTH_BYTES:end], size - end)
        except BrokenFileError as fault:
            raise _broken_on_hub(name, fault) from fault

    return dict(zip(names, _read_ranges(source, names, read), strict=True))


def _read_ranges(source: Source, names: Sequence[str], read: Callable[[str, FetchRange], T]) -> list[T]:
    if not names:
        return []
    from attncli.models.files.hub import HubSource

    assert isinstance(source, HubSource), "only the hub has files that aren't on this disk"
    return source.read_ranges(names, read)


def _broken_on_hub(name: str, fault: BrokenFileError) -> ModelError:
    return ModelError(f"{name} on the hub can't be used: {fault}", hint="name another revision, or another model")


def _read_gguf(source: Source, chosen: ChosenFiles) -> Checkpoint:
    from attncli.models.files.gguf_header import read_gguf_header
    from attncli.models.files.gguf_names import config_fields, module_names

    local: dict[str, Path] = {name: path for name in chosen.names if (path := source.local(name)) is not None}
    headers = {name: read_gguf_header(path, repair_hint=source.repair_hint) for name, path in local.items()}
    remote = [name for name in chosen.names if name not in local]
    headers |= dict(zip(remote, _read_ranges(source, remote, _fetch_gguf_header), strict=True))
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
    return Checkpoint("gguf", chosen.names, tensors, config, tuple(notes))


def _fetch_gguf_header(name: str, fetch: FetchRange) -> GgufHeader:
    from attncli.models.files.gguf_header import IncompleteHeaderError, parse_gguf_header

    content, wanted = b"", _FIRST_FETCH_BYTES
    try:
        while True:
            part, size = fetch(len(content), wanted)
            content += part
            try:
                return parse_gguf_header(content, size)
            except IncompleteHeaderError:
                if len(content) >= min(size, MAX_GGUF_HEADER_BYTES):
                    raise BrokenFileError("it was cut short, within its header") from None
            wanted = min(4 * wanted, size)
    except BrokenFileError as fault:
        raise _broken_on_hub(name, fault) from fault


# --- Choosing the files


class ChosenFiles(NamedTuple):
    """The files to read.

    names: at least one.  indexed: the names of the tensors in the index; None without an index.
    projector: the last of the names where it holds the tower of pictures or sounds beside a GGUF model.
    """

    names: tuple[str, ...]
    indexed: frozenset[str] | None = None
    projector: str | None = None


def choose_files(ref: ModelRef, source: Source) -> ChosenFiles:
    """The weight files that `ref` names, or else those that the model's folder holds, sharded or not.

    Raises ModelError if there are none, if shards are missing, and for pickles, which have no header.
    """
    if ref.weights_file is not None:
        return _choose_by_name(ref, source, ref.weights_file)
    name = next((name for name in _STANDARD_NAMES if source.local(name) is not None), None)
    if name is None:
        name = next((name for name in _STANDARD_NAMES if source.has(name)), None)
    return _choose_by_listing(ref, source) if name is None else _choose_by_name(ref, source, name)


def is_auxiliary(name: str) -> bool:
    """Whether a weight file holds an adapter, or Mistral's format of the same weights."""
    return _AUXILIARY.fullmatch(name) is not None


def _choose_by_name(ref: ModelRef, source: Source, name: str) -> ChosenFiles:
    if name.endswith(_INDEX):
        return _choose_by_index(ref, source, name)
    if not name.endswith(_READABLE):
        raise _pickle_refused(ref, name)
    if not source.has(name):
        raise source.listing_error() or _no_file_error(ref, name)
    # The first shard of a GGUF file stands for all of them, as in llama.cpp.
    shard = _SHARD.fullmatch(name) if name.endswith(".gguf") else None
    return ChosenFiles((name,)) if shard is None else _all_shards(ref, shard, source.names())


def _choose_by_index(ref: ModelRef, source: Source, name: str) -> ChosenFiles:
    index = source.find(name)
    if index is None:
        raise source.listing_error() or _no_file_error(ref, name)
    weight_map = weight_headers.read_json(index, repair_hint=source.repair_hint).get("weight_map")
    file_by_tensor: dict[str, object] = weight_map if isinstance(weight_map, dict) else {}
    files = sorted(set(map(str, file_by_tensor.values())))
    # The index is untrusted: it must not name files outside the model's folder.
    if not files or not all(is_plain_path(file) and file.endswith(".safetensors") for file in files):
        raise ModelError(f"{index} can't be used: it lists no safetensors files of this model", hint=source.repair_hint)
    folder = name.rpartition("/")[0]
    names = tuple(f"{folder}/{file}" if folder else file for file in files)
    missing = [file for file in names if not source.has(file)]
    if missing:
        raise source.listing_error() or _missing_files(ref, missing, len(names))
    return ChosenFiles(names, frozenset(file_by_tensor))


def _choose_by_listing(ref: ModelRef, source: Source, among: Sequence[str] | None = None) -> ChosenFiles:
    """Weights with non-standard names: an index, shards without an index, several files of one model, or one file."""
    names = sorted(source.names() if among is None else among)
    readable = [name for name in names if name.endswith(_READABLE) and "/" not in name]
    candidates = [name for name in readable if not is_auxiliary(name)] or readable
    projectors = [name for name in candidates if _PROJECTOR.fullmatch(name)]
    if projectors and len(projectors) < len(candidates):
        main = _choose_by_listing(ref, source, [name for name in candidates if name not in projectors])
        return main._replace(names=(*main.names, projectors[0]), projector=projectors[0])
    indices = [name for name in names if name.endswith(_INDEX) and "/" not in name]
    if len(indices) == 1:
        return _choose_by_index(ref, source, indices[0])
    shards = [shard for name in candidates if (shard := _SHARD.fullmatch(name))]
    if shards and len({shard["stem"] for shard in shards}) == 1:
        return _all_shards(ref, shards[0], names)
    safetensors = [name for name in candidates if name.endswith(".safetensors")]
    if safetensors and not shards:
        return ChosenFiles(tuple(safetensors))
    if len(candidates) == 1:
        return ChosenFiles((candidates[0],))
    raise source.listing_error() or _no_choice_error(ref, candidates, names)


def _all_shards(ref: ModelRef, shard: re.Match[str], names: Iterable[str]) -> ChosenFiles:
    count = int(shard["count"])
    existing = set(names)
    wanted = [f"{shard['stem']}-{n:05}-of-{count:05}{shard['ending']}" for n in range(1, count + 1)]
    missing = [name for name in wanted if name not in existing]
    if missing:
        raise _missing_files(ref, missing, count)
    return ChosenFiles(tuple(wanted))


def _missing_files(ref: ModelRef, missing: Sequence[str], count: int) -> ModelError:
    listed = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
    return ModelError(
        f"{len(missing)} of {ref.name}'s {count} files of weights are missing: {listed}",
        hint="fetch them, or name the file or config.json that you mean",
    )


def _pickle_refused(ref: ModelRef, name: str) -> ModelError:
    return ModelError(
        f"the weights of {ref.name} are a pickle ({name}), which has no header to read",
        hint=f"convert it to safetensors; {_BY_CONFIG}",
    )


def _no_file_error(ref: ModelRef, name: str) -> ModelError:
    return ModelError(f"{ref.location} has no file {name}", hint="look at the files that it has")


def _no_choice_error(ref: ModelRef, candidates: Sequence[str], names: Sequence[str]) -> ModelError:
    if candidates:
        from attncli.models.files.weight_files import sibling_reference

        listed = ", ".join(candidates[:4]) + (", …" if len(candidates) > 4 else "")
        # Of hub files, only GGUF files can be named.
        can_be_named = ref.kind is not Kind.HUB or candidates[0].endswith(".gguf")
        return ModelError(
            f"{ref.name} has several files of weights: {listed}",
            hint=f"name one of them: {sibling_reference(ref, candidates[0])}" if can_be_named else _BY_CONFIG,
        )
    pickle = next((name for name in names if name.endswith((".bin", ".pt", ".pth"))), None)
    if pickle is not None:
        return _pickle_refused(ref, pickle)
    if "config.json" not in names:
        return ModelError(
            f"{ref.name} has neither a config.json nor weights whose header can be read",
            hint="a model is a config.json, or weights in .safetensors or .gguf files; name its folder or its file",
        )
    return ModelError(
        f"{ref.name} has no weights whose header can be read",
        hint=f"headers are those of .safetensors and .gguf files; {_BY_CONFIG}",
    )
