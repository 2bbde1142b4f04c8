"""The weight files of a model: choosing those that are loaded (safetensors, GGUF, pickle), and checking them; and
choosing those whose headers are read, also without an index.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from attncli.errors import ModelError
from attncli.models.files import weight_headers
from attncli.models.files.reference import Kind, ModelRef, is_plain_path
from attncli.models.files.sources import Source

WeightKind = Literal["safetensors", "gguf", "pickle"]

_INDEX, _SAFETENSORS_INDEX = ".index.json", ".safetensors.index.json"
_SAFETENSORS = ("model.safetensors", f"model{_SAFETENSORS_INDEX}")
#: The names of diffusers, in the folders of a pipeline.
_DIFFUSERS = tuple(f"diffusion_pytorch_{name}" for name in _SAFETENSORS)
_DIFFUSERS_PICKLE = "diffusion_pytorch_model.bin"
_PICKLES = ("pytorch_model.bin", f"pytorch_model.bin{_INDEX}")
_OTHER_FRAMEWORKS = ("tf_model.h5", "flax_model.msgpack", "model.ckpt.index", "rust_model.ot")
#: Files with a header that lists their tensors.
_READABLE = (".safetensors", ".gguf")
#: A GGUF file with the tower of pictures or sounds and the projector of the model beside it (llama.cpp).
_PROJECTOR = re.compile(r".*mmproj.*\.gguf", re.IGNORECASE)
#: The names of shards: `model-00002-of-00005.safetensors`.
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\.safetensors|\.gguf)")
#: Weight files that aren't the model's: an adapter, and Mistral's format of the same weights.
_AUXILIARY = re.compile(r"(adapter_|consolidated).*")

_FETCH_THEM = "download them, or give the file or config.json that you mean"
_BY_CONFIG = "use --source config to count by config.json"


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
    ending = name.removesuffix(_INDEX)
    kind: WeightKind = (
        "safetensors" if ending.endswith(".safetensors") else "gguf" if ending.endswith(".gguf") else "pickle"
    )
    if kind == "pickle" and not allow_pickle:
        raise ModelError(
            f"the weights of {ref.name} are stored as pickle ({name}), and reading it can run any code",
            hint="add --allow-pickle if you trust its source",
        )
    path = source.find(name)
    if path is None:
        others = sorted(other for other in source.names() if other.endswith(Path(name).suffix))
        hint = f"its files are {', '.join(others[:5])}" if others else "the model's page lists its files"
        raise source.listing_error() or ModelError(f"{ref.location} has no file {name}", hint=hint)
    paths = {name: path}
    if name.endswith(_INDEX):
        listed = sorted(set(_read_index(path, source, "").values()))
        found = {shard: source.find(shard) for shard in listed}
        missing = [shard for shard, each in found.items() if each is None]
        if missing:
            raise source.listing_error() or _missing_files(ref, missing, len(listed), source.repair_hint)
        paths = {shard: each for shard, each in found.items() if each is not None}
    check = {
        "safetensors": weight_headers.read_header,
        "gguf": weight_headers.check_gguf,
        "pickle": weight_headers.check_pickle,
    }[kind]
    for each in paths.values():
        check(each, repair_hint=source.repair_hint)
    return WeightFiles(kind, tuple(paths.values()), index=path if name.endswith(_INDEX) else None)


def _read_index(index: Path, source: Source, ending: str) -> dict[str, str]:
    """The file of each tensor that an index lists. Raises ModelError where there are none with this ending."""
    listed = weight_headers.read_json(index, repair_hint=source.repair_hint).get("weight_map")
    files: dict[str, str] = listed if isinstance(listed, dict) else {}
    # The index is untrusted: it must not name files outside the model's folder.
    if not files or not all(isinstance(f, str) and is_plain_path(f) and f.endswith(ending) for f in files.values()):
        what = f"{ending.removeprefix('.')} files".lstrip()
        raise ModelError(f"{index} can't be used: it lists no {what} of this model", hint=source.repair_hint)
    return files


def _no_weights_error(ref: ModelRef, source: Source) -> ModelError:
    names = sorted(source.names())
    message = f"{ref.name} has no weights that can be read"
    for ending in (".gguf", ".safetensors"):
        # An adapter's weights are no model, and of hub files only GGUF files can be named.
        candidates = [name for name in names if name.endswith(ending) and not name.startswith("adapter_")]
        if candidates and (ref.kind is not Kind.HUB or ending == ".gguf"):
            return ModelError(message, hint=f"give one of its files: {sibling_reference(ref, candidates[0])}")
    other = next((name for name in names if name in _OTHER_FRAMEWORKS), None)
    if other is not None:
        return ModelError(message, hint=f"{other} is for another framework: convert it to safetensors")
    return ModelError(
        message, hint="weights have to be model.safetensors, or model.safetensors.index.json with its shards"
    )


def sibling_reference(ref: ModelRef, name: str) -> str:
    """What to type (`-m`) for another file of the same model."""
    if ref.kind is Kind.HUB:
        return f"{ref.location}/{name}" + (f"@{ref.revision}" if ref.revision else "")
    # No pathlib: it would drop the leading `./` that distinguishes a path from a hub name.
    if ref.kind is Kind.FILE:
        return ref.name.removesuffix(ref.path.name) + name
    return f"{ref.name.rstrip('/')}/{name}"


# --- The files whose headers are read


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
    name = ref.weights_file or _first_available(source, (*_SAFETENSORS, *_DIFFUSERS))
    return _choose_by_listing(ref, source) if name is None else choose_by_name(ref, source, name)


def listed_weights(names: Iterable[str]) -> tuple[str, ...]:
    """The weight files that would be downloaded, from a list of a model's files; none where several would do."""
    existing = {name for name in names if "/" not in name}
    for whole, index in (_SAFETENSORS, _DIFFUSERS, _PICKLES):
        if whole in existing:
            return (whole,)
        stem, ending = whole.rsplit(".", 1)
        if index in existing:
            return tuple(sorted(name for name in existing if re.fullmatch(rf"{stem}-\d+-of-\d+\.{ending}", name)))
    ggufs = [name for name in existing if name.endswith(".gguf")]
    return tuple(ggufs) if len(ggufs) == 1 else ()


def has_standard_weights(source: Source) -> bool:
    """Whether a folder has weights with a header under the names of transformers or diffusers."""
    return any(source.has(name) for name in (*_SAFETENSORS, *_DIFFUSERS))


def has_pickles(source: Source) -> bool:
    """Whether a folder has weights without a header under these names."""
    return any(source.has(name) for name in (*_PICKLES, _DIFFUSERS_PICKLE))


def is_auxiliary(name: str) -> bool:
    """Whether a weight file holds an adapter, or Mistral's format of the same weights."""
    return _AUXILIARY.fullmatch(name) is not None


def choose_by_name(ref: ModelRef, source: Source, name: str) -> ChosenFiles:
    """The weight files of this name, of an index, or of a first shard. Raises ModelError as `choose_files`."""
    is_index = name.endswith(_SAFETENSORS_INDEX)
    if not (is_index or name.endswith(_READABLE)):
        raise _pickle_refused(ref, name)
    if is_index and (index := source.find(name)) is not None:
        file_by_tensor = _read_index(index, source, ".safetensors")
        folder = name.rpartition("/")[0]
        names = tuple(f"{folder}/{file}" if folder else file for file in sorted(set(file_by_tensor.values())))
        missing = [file for file in names if not source.has(file)]
        if missing:
            raise source.listing_error() or _missing_files(ref, missing, len(names))
        return ChosenFiles(names, frozenset(file_by_tensor))
    if is_index or not source.has(name):
        hint = "check which files it has"
        raise source.listing_error() or ModelError(f"{ref.location} has no file {name}", hint=hint)
    # The first shard of a GGUF file stands for all of them, as in llama.cpp.
    shard = _SHARD.fullmatch(name) if name.endswith(".gguf") else None
    return ChosenFiles((name,)) if shard is None else _all_shards(ref, shard, source.names())


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
        return choose_by_name(ref, source, indices[0])
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


def _missing_files(ref: ModelRef, missing: Sequence[str], count: int, hint: str = _FETCH_THEM) -> ModelError:
    listed = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
    return ModelError(f"{len(missing)} of {ref.name}'s {count} weight files are missing: {listed}", hint=hint)


def _pickle_refused(ref: ModelRef, name: str) -> ModelError:
    return ModelError(
        f"the weights of {ref.name} are stored as pickle ({name}), which has no header to read",
        hint=f"convert the file to safetensors; {_BY_CONFIG}",
    )


def _no_choice_error(ref: ModelRef, candidates: Sequence[str], names: Sequence[str]) -> ModelError:
    if candidates:
        listed = ", ".join(candidates[:4]) + (", …" if len(candidates) > 4 else "")
        # Of hub files, only GGUF files can be named.
        can_be_named = ref.kind is not Kind.HUB or candidates[0].endswith(".gguf")
        hint = f"give one of them: {sibling_reference(ref, candidates[0])}" if can_be_named else _BY_CONFIG
        return ModelError(f"{ref.name} has several weight files: {listed}", hint=hint)
    pickle = next((name for name in names if name.endswith((".bin", ".pt", ".pth"))), None)
    if pickle is not None:
        return _pickle_refused(ref, pickle)
    if "config.json" in names:
        message = f"{ref.name} has no weights with a readable header"
        return ModelError(message, hint=f"use .safetensors or .gguf files; {_BY_CONFIG}")
    return ModelError(
        f"{ref.name} has neither a config.json nor weights with a readable header",
        hint="give a folder or a file with a config.json, or with weights as .safetensors or .gguf",
    )
