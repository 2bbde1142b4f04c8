"""Which of a model's files hold its tensors, also where no index says so.

The tensors that a model's files hold, from the headers of those files: no weight is read, or fetched.

Imports neither torch nor transformers. Of a file that isn't on this disk the header is fetched, and no more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from attncli.errors import ModelError
from attncli.models.files import weight_headers
from attncli.models.files.reference import Kind, ModelRef, is_plain_path
from attncli.models.files.sources import OnDisk, Source
from attncli.models.files.weight_headers import (
    LENGTH_BYTES,
    FaultError,
    TensorEntry,
    header_end,
    parse_header,
    shown,
)

if TYPE_CHECKING:
    from attncli.models.files.gguf_header import GgufHeader
    from attncli.models.files.hub import Fetch
    from attncli.models.files.model_files import ModelFiles

_INDEX = ".safetensors.index.json"
_USUAL = ("model.safetensors", f"model{_INDEX}")
_READABLE = (".safetensors", ".gguf")
#: How files of a model cut into shards are called: `model-00002-of-00005.safetensors`.
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\.safetensors|\.gguf)")
#: Weights that stand beside a model's own: an adapter, and the format that Mistral publishes the same weights in.
_BESIDE = re.compile(r"(adapter_|consolidated).*")

_BY_CONFIG = "--source config counts from config.json"


class ChosenFiles(NamedTuple):
    """names: the files, at least one.  listed: the tensors that an index lists; None where there is none."""

    names: tuple[str, ...]
    listed: frozenset[str] | None = None


def choose_files(ref: ModelRef, source: Source) -> ChosenFiles:
    """The files that `ref` names, or else the model's usual ones: whole, in shards with an index, or without.

    Raises ModelError where there are none, where shards are missing, and for pickles, which have no header.
    """
    if ref.named_file is not None:
        return _named(ref, source, ref.named_file)
    name = next((name for name in _USUAL if source.local(name) is not None), None)
    if name is None:
        name = next((name for name in _USUAL if source.has(name)), None)
    return _unusual(ref, source) if name is None else _named(ref, source, name)


def is_beside(name: str) -> bool:
    """Whether a file holds weights that stand beside a model's own."""
    return _BESIDE.fullmatch(name) is not None


def _named(ref: ModelRef, source: Source, name: str) -> ChosenFiles:
    if name.endswith(_INDEX):
        return _indexed(ref, source, name)
    if not name.endswith(_READABLE):
        raise _no_header(ref, name)
    if not source.has(name):
        raise source.why_missing() or _no_such_file(ref, name)
    # Who runs a GGUF file names its first shard and means all of them.
    shard = _SHARD.fullmatch(name) if name.endswith(".gguf") else None
    return ChosenFiles((name,)) if shard is None else _all_shards(ref, shard, source.names())


def _indexed(ref: ModelRef, source: Source, name: str) -> ChosenFiles:
    index = source.find(name)
    if index is None:
        raise source.why_missing() or _no_such_file(ref, name)
    weight_map = weight_headers.read_json(index, repair_hint=source.repair_hint).get("weight_map")
    places: dict[str, object] = weight_map if isinstance(weight_map, dict) else {}
    files = sorted(set(map(str, places.values())))
    # An index comes with the model, so it must not be able to reach files outside the model's folder.
    if not files or not all(is_plain_path(file) and file.endswith(".safetensors") for file in files):
        raise ModelError(f"{index} can't be used: it lists no safetensors files of this model", hint=source.repair_hint)
    folder = name.rpartition("/")[0]
    names = tuple(f"{folder}/{file}" if folder else file for file in files)
    missing = [file for file in names if not source.has(file)]
    if missing:
        raise source.why_missing() or _missing(ref, missing, len(names))
    return ChosenFiles(names, frozenset(places))


def _unusual(ref: ModelRef, source: Source) -> ChosenFiles:
    """Weights by other names: another index, shards without one, files that make up one model, a single file."""
    names = sorted(source.names())
    readable = [name for name in names if name.endswith(_READABLE) and "/" not in name]
    own = [name for name in readable if not is_beside(name)] or readable
    indices = [name for name in names if name.endswith(_INDEX) and "/" not in name]
    if len(indices) == 1:
        return _indexed(ref, source, indices[0])
    shards = [shard for name in own if (shard := _SHARD.fullmatch(name))]
    if shards and len({shard["stem"] for shard in shards}) == 1:
        return _all_shards(ref, shards[0], names)
    safetensors = [name for name in own if name.endswith(".safetensors")]
    if safetensors and not shards:
        return ChosenFiles(tuple(safetensors))
    if len(own) == 1:
        return ChosenFiles((own[0],))
    raise source.why_missing() or _none_or_several(ref, own, names)


def _all_shards(ref: ModelRef, shard: re.Match[str], names: Iterable[str]) -> ChosenFiles:
    count = int(shard["count"])
    there = set(names)
    # Not built beforehand: a name can claim 99,999 files.
    wanted = [f"{shard['stem']}-{n:05}-of-{count:05}{shard['ending']}" for n in range(1, count + 1)]
    missing = [name for name in wanted if name not in there]
    if missing:
        raise _missing(ref, missing, count)
    return ChosenFiles(tuple(wanted))


def _missing(ref: ModelRef, missing: Sequence[str], count: int) -> ModelError:
    listed = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
    return ModelError(
        f"{len(missing)} of {ref.name}'s {count} files of weights are missing: {listed}",
        hint="fetch them, or name the file or config.json that you mean",
    )


def _no_header(ref: ModelRef, name: str) -> ModelError:
    return ModelError(
        f"the weights of {ref.name} are a pickle ({name}), which has no header to read",
        hint=f"convert it to safetensors; {_BY_CONFIG}",
    )


def _no_such_file(ref: ModelRef, name: str) -> ModelError:
    return ModelError(f"{ref.location} has no file {name}", hint="look at the files that it has")


def _none_or_several(ref: ModelRef, own: Sequence[str], names: Sequence[str]) -> ModelError:
    if own:
        return _several(ref, own)
    pickle = next((name for name in names if name.endswith((".bin", ".pt", ".pth"))), None)
    if pickle is not None:
        return _no_header(ref, pickle)
    if "config.json" not in names:
        return ModelError(
            f"{ref.name} has neither a config.json nor weights whose header can be read",
            hint="a model is a config.json, or weights in .safetensors or .gguf files; name its folder or its file",
        )
    return ModelError(
        f"{ref.name} has no weights whose header can be read",
        hint=f"headers are those of .safetensors and .gguf files; {_BY_CONFIG}",
    )


def _several(ref: ModelRef, own: Sequence[str]) -> ModelError:
    from attncli.models.files.weight_files import beside

    listed = ", ".join(own[:4]) + (", …" if len(own) > 4 else "")
    # On the hub only a GGUF file can be named.
    can_be_named = ref.kind is not Kind.HUB or own[0].endswith(".gguf")
    return ModelError(
        f"{ref.name} has several files of weights: {listed}",
        hint=f"name one of them: {beside(ref, own[0])}" if can_be_named else _BY_CONFIG,
    )


T = TypeVar("T")

#: What is fetched of a file at first: nearly every header of a safetensors file fits.
_FIRST_FETCH = 1 << 17
#: A GGUF header holds the vocabulary: it is fetched in growing pieces, up to this.
_LONGEST_GGUF = 1 << 28


class StoredTensor(NamedTuple):
    """A tensor as a file holds it.

    name: what the file calls it.  path: what transformers would; the same, but for GGUF.
    dtype: as the format names it (`BF16`, `Q4_K`).  shape: of the stored elements, which may pack several weights each.
    """

    name: str
    path: str
    dtype: str
    shape: tuple[int, ...]
    stored_bytes: int


class Checkpoint(NamedTuple):
    """The tensors of one model, in the order of its files.

    config: what config.json says, or what GGUF's metadata say in its words; None where there is neither.
    notes: where files and index disagree.
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
    """The tensors of the weights that `files` names, or of the model's usual ones; of an adapter, those of its base.

    Raises ModelError where there are none that can be read, and for a header that is broken or contradicts itself.
    """
    model = files if files.base is None else files.base
    return read_own_checkpoint(model.ref, model.source)


def read_own_checkpoint(ref: ModelRef, source: Source) -> Checkpoint:
    """As `read_checkpoint`, for the files of one place."""
    chosen = choose_files(ref, source)
    if chosen.names[0].endswith(".gguf"):
        return _gguf(source, chosen)
    tensors = [_stored(name, entry) for _, entries in _read(source, chosen.names) for name, entry in entries.items()]
    _check_once(ref, tensors, chosen.names)
    config = source.find("config.json")
    return Checkpoint(
        "safetensors",
        chosen.names,
        tuple(tensors),
        None if config is None else weight_headers.read_json(config, repair_hint=source.repair_hint),
        tuple(_disagreements({tensor.name for tensor in tensors}, chosen.listed)),
    )


def local_checkpoint(files: ModelFiles) -> Checkpoint | None:
    """The same as far as it is on this disk, without asking anybody; None where no safetensors file is.

    Raises ModelError where the files that are here are not the weights of one model, or broken.
    """
    source = OnDisk(files.source)
    if not any(name.endswith(".safetensors") and not is_beside(name) for name in source.names()):
        return None
    return read_own_checkpoint(files.ref, source)


def _stored(name: str, entry: TensorEntry) -> StoredTensor:
    return StoredTensor(name, name, entry.dtype, entry.shape, entry.end - entry.begin)


def _check_once(ref: ModelRef, tensors: Sequence[StoredTensor], names: Sequence[str]) -> None:
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            raise ModelError(
                f"the tensor {shown(tensor.name)} is in several of the {len(names)} files of weights of {ref.name}",
                hint=f"they aren't parts of one model: name one of them, such as {names[0]}",
            )
        seen.add(tensor.name)


def _disagreements(held: set[str], listed: frozenset[str] | None) -> Iterator[str]:
    if listed is None:
        return
    if missing := sorted(listed - held):
        yield f"the index lists {_counted(missing)} that its files don't hold"
    if extra := sorted(held - listed):
        yield f"the files hold {_counted(extra)} that their index doesn't list"


def _counted(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1:,} more tensors" if len(names) > 1 else ""
    return f"{names[0]}{more}"


def _read(source: Source, names: Sequence[str]) -> list[tuple[str, dict[str, TensorEntry]]]:
    """The headers of safetensors files, in the order of their names."""
    here = {name: path for name in names if (path := source.local(name)) is not None}
    found = {name: weight_headers.read_header(path, repair_hint=source.repair_hint) for name, path in here.items()}
    found |= _read_remote(source, [name for name in names if name not in here])
    return [(name, found[name]) for name in names]


def _read_remote(source: Source, names: Sequence[str]) -> dict[str, dict[str, TensorEntry]]:
    def read(name: str, fetch: Fetch) -> dict[str, TensorEntry]:
        try:
            first, size = fetch(0, _FIRST_FETCH)
            end = header_end(first, size)
            rest = fetch(len(first), end)[0] if end > len(first) else b""
            return parse_header((first + rest)[LENGTH_BYTES:end], size - end)
        except FaultError as fault:
            raise _faulty(name, fault) from fault

    return dict(zip(names, _in_part(source, names, read), strict=True))


def _in_part(source: Source, names: Sequence[str], read: Callable[[str, Fetch], T]) -> list[T]:
    if not names:
        return []
    from attncli.models.files.hub import HubSource

    assert isinstance(source, HubSource), "only the hub has files that aren't on this disk"
    return source.read_in_part(names, read)


def _faulty(name: str, fault: FaultError) -> ModelError:
    return ModelError(f"{name} on the hub can't be used: {fault}", hint="name another revision, or another model")


def _gguf(source: Source, chosen: ChosenFiles) -> Checkpoint:
    from attncli.models.files.gguf_header import read_gguf_header
    from attncli.models.files.gguf_names import configuration, module_name

    here: dict[str, Path] = {name: path for name in chosen.names if (path := source.local(name)) is not None}
    found = {name: read_gguf_header(path, repair_hint=source.repair_hint) for name, path in here.items()}
    remote = [name for name in chosen.names if name not in here]
    found |= dict(zip(remote, _in_part(source, remote, _fetched_gguf), strict=True))
    tensors = tuple(
        StoredTensor(tensor.name, module_name(tensor.name), tensor.dtype, tensor.shape, tensor.size)
        for name in chosen.names
        for tensor in found[name].tensors
    )
    return Checkpoint("gguf", chosen.names, tensors, configuration(found[chosen.names[0]].metadata))


def _fetched_gguf(name: str, fetch: Fetch) -> GgufHeader:
    from attncli.models.files.gguf_header import ShortError, parse_gguf_header

    content, wanted = b"", _FIRST_FETCH
    try:
        while True:
            part, size = fetch(len(content), wanted)
            content += part
            try:
                return parse_gguf_header(content, size)
            except ShortError:
                if len(content) >= min(size, _LONGEST_GGUF):
                    raise FaultError("it was cut short, within its header") from None
            wanted = min(4 * wanted, size)
    except FaultError as fault:
        raise _faulty(name, fault) from fault
