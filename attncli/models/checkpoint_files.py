"""Which of a model's files hold its tensors, also where no index says so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from attncli.errors import ModelError
from attncli.models import headers
from attncli.models.reference import Kind, ModelRef, is_plain_path
from attncli.models.sources import Source

_INDEX = ".safetensors.index.json"
_USUAL = ("model.safetensors", f"model{_INDEX}")
_READABLE = (".safetensors", ".gguf")
#: How files of a model cut into shards are called: `model-00002-of-00005.safetensors`.
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\.safetensors|\.gguf)")
#: Weights that stand beside a model's own: an adapter, and the format that Mistral publishes the same weights in.
_BESIDE = re.compile(r"(adapter_|consolidated).*")

_BY_CONFIG = "--source config counts from config.json"


class Chosen(NamedTuple):
    """names: the files, at least one.  listed: the tensors that an index lists; None where there is none."""

    names: tuple[str, ...]
    listed: frozenset[str] | None = None


def choose_files(ref: ModelRef, source: Source) -> Chosen:
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


def _named(ref: ModelRef, source: Source, name: str) -> Chosen:
    if name.endswith(_INDEX):
        return _indexed(ref, source, name)
    if not name.endswith(_READABLE):
        raise _no_header(ref, name)
    if not source.has(name):
        raise source.why_missing() or _no_such_file(ref, name)
    # Who runs a GGUF file names its first shard and means all of them.
    shard = _SHARD.fullmatch(name) if name.endswith(".gguf") else None
    return Chosen((name,)) if shard is None else _all_shards(ref, shard, source.names())


def _indexed(ref: ModelRef, source: Source, name: str) -> Chosen:
    index = source.find(name)
    if index is None:
        raise source.why_missing() or _no_such_file(ref, name)
    weight_map = headers.read_json(index, mend=source.mend).get("weight_map")
    places: dict[str, object] = weight_map if isinstance(weight_map, dict) else {}
    files = sorted(set(map(str, places.values())))
    # An index comes with the model, so it must not be able to reach files outside the model's folder.
    if not files or not all(is_plain_path(file) and file.endswith(".safetensors") for file in files):
        raise ModelError(f"{index} can't be used: it lists no safetensors files of this model", hint=source.mend)
    folder = name.rpartition("/")[0]
    names = tuple(f"{folder}/{file}" if folder else file for file in files)
    missing = [file for file in names if not source.has(file)]
    if missing:
        raise source.why_missing() or _missing(ref, missing, len(names))
    return Chosen(names, frozenset(places))


def _unusual(ref: ModelRef, source: Source) -> Chosen:
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
        return Chosen(tuple(safetensors))
    if len(own) == 1:
        return Chosen((own[0],))
    raise source.why_missing() or _none_or_several(ref, own, names)


def _all_shards(ref: ModelRef, shard: re.Match[str], names: Iterable[str]) -> Chosen:
    count = int(shard["count"])
    there = set(names)
    # Not built beforehand: a name can claim 99,999 files.
    wanted = [f"{shard['stem']}-{n:05}-of-{count:05}{shard['ending']}" for n in range(1, count + 1)]
    missing = [name for name in wanted if name not in there]
    if missing:
        raise _missing(ref, missing, count)
    return Chosen(tuple(wanted))


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
    from attncli.models.weights import beside

    listed = ", ".join(own[:4]) + (", …" if len(own) > 4 else "")
    # On the hub only a GGUF file can be named.
    can_be_named = ref.kind is not Kind.HUB or own[0].endswith(".gguf")
    return ModelError(
        f"{ref.name} has several files of weights: {listed}",
        hint=f"name one of them: {beside(ref, own[0])}" if can_be_named else _BY_CONFIG,
    )
