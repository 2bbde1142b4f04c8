"""The weight files that are loaded: choosing among safetensors, GGUF and pickle files, and checking them.

checkpoint.py chooses among the same files to read their headers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from attncli.errors import ModelError
from attncli.models.files import weight_headers
from attncli.models.files.reference import Kind, ModelRef, is_plain_path
from attncli.models.files.sources import Source

WeightKind = Literal["safetensors", "gguf", "pickle"]

_INDEX = ".index.json"
_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_OTHER_FRAMEWORKS = ("tf_model.h5", "flax_model.msgpack", "model.ckpt.index", "rust_model.ot")


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The local weight files of a model, with valid headers.

    A sharded model has several, and an index that says which file holds which tensor.
    """

    kind: WeightKind
    paths: tuple[Path, ...]
    index: Path | None = None


def find_weights(ref: ModelRef, source: Source, *, allow_pickle: bool) -> WeightFiles:
    """The weight file that `ref` names, or the standard ones: safetensors before pickle.

    Raises ModelError if there are none, if one is missing or broken, and for pickles that aren't allowed, as reading a
    pickle can run any code in it.
    """
    if ref.weights_file is not None:
        return _open_weights(ref, source, ref.weights_file, allow_pickle=allow_pickle)
    name = _first_available(source, _SAFETENSORS) or _first_available(source, _PICKLES)
    if name is None:
        raise source.listing_error() or _no_weights_error(ref, source)
    return _open_weights(ref, source, name, allow_pickle=allow_pickle)


def _first_available(source: Source, names: Sequence[str]) -> str | None:
    """The first available name; local files take precedence, so that a cached model needs no request."""
    cached = next((name for name in names if source.local(name) is not None), None)
    return cached or next((name for name in names if source.has(name)), None)


def _open_weights(ref: ModelRef, source: Source, name: str, *, allow_pickle: bool) -> WeightFiles:
    kind = _weight_kind(name)
    if kind == "pickle" and not allow_pickle:
        message = (
            f"the weights of {ref.name} are a pickle ({name}), and to read a pickle is to run any program it holds"
        )
        raise ModelError(message, hint="pass --allow-pickle if you trust where it comes from")
    path = source.find(name)
    if path is None:
        raise source.listing_error() or _no_file_error(ref, source, name)
    if not name.endswith(_INDEX):
        _check_file(path, kind, source)
        return WeightFiles(kind, (path,))
    weight_map = weight_headers.read_json(path, repair_hint=source.repair_hint).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    # The index is untrusted: it must not name files outside the model's folder.
    if not names or not all(isinstance(name, str) and is_plain_path(name) for name in names):
        raise ModelError(f"{path} can't be used: it lists no files of this model", hint=source.repair_hint)
    listed = sorted(set(names))
    found = {name: source.find(name) for name in listed}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise source.listing_error() or ModelError(
            f"{len(missing)} of {ref.name}'s {len(listed)} files of weights are missing: {shown}",
            hint=source.repair_hint,
        )
    shards = tuple(path for path in found.values() if path is not None)
    for shard in shards:
        _check_file(shard, kind, source)
    return WeightFiles(kind, shards, index=path)


def _weight_kind(name: str) -> WeightKind:
    stem = name.removesuffix(_INDEX)
    if stem.endswith(".safetensors"):
        return "safetensors"
    return "gguf" if stem.endswith(".gguf") else "pickle"


def _check_file(path: Path, kind: WeightKind, source: Source) -> None:
    if kind == "safetensors":
        weight_headers.read_header(path, repair_hint=source.repair_hint)
    elif kind == "gguf":
        weight_headers.check_gguf(path, repair_hint=source.repair_hint)
    else:
        weight_headers.check_pickle(path, repair_hint=source.repair_hint)


def _no_file_error(ref: ModelRef, source: Source, name: str) -> ModelError:
    others = sorted(other for other in source.names() if other.endswith(Path(name).suffix))
    hint = f"it has {', '.join(others[:5])}" if others else "look at the model's page for the files that it has"
    return ModelError(f"{ref.location} has no file {name}", hint=hint)


def _no_weights_error(ref: ModelRef, source: Source) -> ModelError:
    names = sorted(source.names())
    message = f"{ref.name} has no weights that can be read"
    for ending in (".gguf", ".safetensors"):
        # An adapter's weights are no model, and of hub files only GGUF files can be named.
        candidates = [name for name in names if name.endswith(ending) and not name.startswith("adapter_")]
        if candidates and (ref.kind is not Kind.HUB or ending == ".gguf"):
            return ModelError(message, hint=f"name one of its files: {sibling_reference(ref, candidates[0])}")
    other = next((name for name in names if name in _OTHER_FRAMEWORKS), None)
    if other is not None:
        return ModelError(message, hint=f"{other} is of another framework: convert it to safetensors")
    return ModelError(message, hint="weights are model.safetensors, or a model.safetensors.index.json with its shards")


def sibling_reference(ref: ModelRef, name: str) -> str:
    """What to type (`-m`) for another file of the same model."""
    if ref.kind is Kind.HUB:
        return f"{ref.location}/{name}" + (f"@{ref.revision}" if ref.revision else "")
    # No pathlib: it would drop the leading `./` that distinguishes a path from a hub name.
    if ref.kind is Kind.FILE:
        return ref.name.removesuffix(ref.path.name) + name
    return f"{ref.name.rstrip('/')}/{name}"
