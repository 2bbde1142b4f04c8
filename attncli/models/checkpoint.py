"""The tensors that a model's files hold, from the headers of those files: no weight is read, or fetched.

Imports neither torch nor transformers. Of a file that isn't on this disk the header is fetched, and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from attncli.errors import ModelError
from attncli.models import headers
from attncli.models.checkpoint_files import Chosen, choose_files, is_beside
from attncli.models.sources import OnDisk
from attncli.models.tensor_headers import LENGTH_BYTES, FaultError, TensorEntry, header_end, parse_header, shown

if TYPE_CHECKING:
    from attncli.models.files import ModelFiles
    from attncli.models.gguf_header import GgufHeader
    from attncli.models.hub_calls import Fetch
    from attncli.models.reference import ModelRef
    from attncli.models.sources import Source

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
        None if config is None else headers.read_json(config, mend=source.mend),
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
    found = {name: headers.read_header(path, mend=source.mend) for name, path in here.items()}
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
    from attncli.models.hub import HubSource

    assert isinstance(source, HubSource), "only the hub has files that aren't on this disk"
    return source.read_in_part(names, read)


def _faulty(name: str, fault: FaultError) -> ModelError:
    return ModelError(f"{name} on the hub can't be used: {fault}", hint="name another revision, or another model")


def _gguf(source: Source, chosen: Chosen) -> Checkpoint:
    from attncli.models.gguf_header import read_gguf_header
    from attncli.models.gguf_names import configuration, module_name

    here: dict[str, Path] = {name: path for name in chosen.names if (path := source.local(name)) is not None}
    found = {name: read_gguf_header(path, mend=source.mend) for name, path in here.items()}
    remote = [name for name in chosen.names if name not in here]
    found |= dict(zip(remote, _in_part(source, remote, _fetched_gguf), strict=True))
    tensors = tuple(
        StoredTensor(tensor.name, module_name(tensor.name), tensor.dtype, tensor.shape, tensor.size)
        for name in chosen.names
        for tensor in found[name].tensors
    )
    return Checkpoint("gguf", chosen.names, tensors, configuration(found[chosen.names[0]].metadata))


def _fetched_gguf(name: str, fetch: Fetch) -> GgufHeader:
    from attncli.models.gguf_header import ShortError, parse_gguf_header

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
