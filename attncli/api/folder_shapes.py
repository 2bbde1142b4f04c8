"""One model in several folders: the parts of a diffusers pipeline, and the modules of sentence-transformers.

Each folder is counted as a model by itself; here their shapes become those of one model, whose parts are the folders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from attncli.api.configured_shapes import DTYPE_NAMES
from attncli.errors import ModelError
from attncli.models.files.checkpoint import Checkpoint, read_checkpoint
from attncli.models.files.model_files import ModelFiles
from attncli.models.files.sources import MODULES_FILE, PIPELINE_FILE, LocalSource, has_folder, subfolder
from attncli.models.files.weight_files import has_pickles, has_standard_weights, listed_weights
from attncli.models.files.weight_headers import read_model_config
from attncli.parameters.inventory import Inventory, inventory_from_header
from attncli.results.costs import Published
from attncli.results.params import WeightFile
from attncli.results.reconciliation import Reconciliation

if TYPE_CHECKING:
    from pathlib import Path

    from attncli.api.configured_shapes import ModelShapes
    from attncli.models.files.sources import Pipeline, SentenceModule, Source

    #: A part of a pipeline: its files and its shapes.
    Part = tuple[ModelFiles, ModelShapes]

#: Parts of a pipeline without weights, by their folder or class; and such modules of sentence-transformers.
_SETTINGS = re.compile(r"scheduler|tokenizer|processor|feature_?extractor", re.IGNORECASE)
_PLAIN_MODULES = ("Pooling", "Normalize", "Dropout")


def _check_folder(files: ModelFiles, folder: str, index: str) -> None:
    """Raise ModelError where a folder that an index lists is missing."""
    if has_folder(files.source, folder):
        return
    hint = "download the whole model, or give one of its folders"
    raise files.listing_error() or ModelError(
        f"{files.ref.name} has no folder {folder}, which its {index} lists", hint=hint
    )


# --- Pipelines


def part_files(files: ModelFiles, pipeline: Pipeline) -> Iterator[tuple[str, ModelFiles]]:
    """The folders that may hold weights, each with its files. Raises ModelError for one that is missing."""
    for folder, kind in pipeline.folders.items():
        if _SETTINGS.search(f"{folder} {kind}") is None:
            _check_folder(files, folder, PIPELINE_FILE)
            ref = files.ref._replace(name=f"{files.ref.name.rstrip('/')}/{folder}")
            yield folder, files._replace(ref=ref, source=subfolder(files.source, folder))


def has_only_pickles(files: ModelFiles) -> bool:
    """Whether the weights in a folder have no header."""
    return has_pickles(files.source) and not has_standard_weights(files.source)


def merge_parts(
    files: ModelFiles, pipeline: Pipeline, parts: Mapping[str, Part], *, pickled: Sequence[str], empty: Sequence[str]
) -> ModelShapes:
    """The shapes of a pipeline. parts: by folder.  pickled, empty: folders without weights that can be read.

    Raises ModelError where no part can be read. Folders that share their files are counted once.
    """
    if not parts:
        raise ModelError(
            f"no part of {files.ref.name} has weights with a readable header",
            hint="use .safetensors files, or give the folder of one part",
        )
    kept, shared = _without_shared(parts)
    shapes = [each for _, each in kept.values()]
    inventories = [each.inventory.within(folder) for folder, (_, each) in kept.items()]
    tensors = tuple(tensor for each in inventories for tensor in each.tensors)
    settings = {path: found for each in inventories for path, found in each.settings.items()}
    unknown = [each.unknown_packing for each in shapes if each.unknown_packing]
    stored = [each.stored_bytes for each in shapes if each.stored_bytes is not None]
    dtypes = dict.fromkeys(DTYPE_NAMES.get(each.dtype, each.dtype) for each in shapes if each.dtype)
    return shapes[0]._replace(
        name=files.ref.name,
        source=" and ".join(sorted({each.source for each in shapes})),
        inventory=Inventory(tensors, settings, {folder: folder for folder in kept}),
        model_class=pipeline.kind,
        generates=False,
        dtype=", ".join(dtypes) or None,
        stored_bytes=sum(stored) if len(stored) == len(shapes) else None,
        notes=tuple(_notes(kept, shared, pickled, empty)),
        versions={name: version for each in shapes for name, version in each.versions.items()},
        reconciliation=_reconciled(kept),
        unknown_packing=", ".join(unknown) or None,
        quantization=None,
        published=_published(shapes),
        state_dtype=None,
        files=tuple(file for folder, (_, each) in kept.items() for file in files_within(folder, each)),
    )


def _without_shared(parts: Mapping[str, Part]) -> tuple[dict[str, Part], dict[str, str]]:
    """The parts without those whose files another one has too; and of these, the other one's folder.

    Of local folders alone: in the cache of the hub equal files are one, and whether they are there must not matter.
    """
    kept: dict[str, Part] = {}
    shared: dict[str, str] = {}
    seen: dict[frozenset[Path], str] = {}
    for folder, (files, shapes) in parts.items():
        names = (shapes.files or ()) if files.revision is None else ()
        paths = (files.source.local(file.name) for file in names)
        stored = frozenset(path.resolve() for path in paths if path is not None)
        if stored and stored in seen:
            shared[folder] = seen[stored]
        else:
            seen[stored] = folder
            kept[folder] = files, shapes
    return kept, shared


def _notes(
    kept: Mapping[str, Part], shared: Mapping[str, str], pickled: Sequence[str], empty: Sequence[str]
) -> Iterator[str]:
    by_source = {"config": "configuration", "header": "the header of its weights"}
    read = {name: [folder for folder, (_, shapes) in kept.items() if shapes.source == name] for name in by_source}
    config, header = (", ".join(found) for found in read.values())
    ways = [f"{config} by configuration"] * bool(config) + [f"{header} by the headers of weights"] * bool(header)
    yield f"a pipeline of several models, each counted by itself: {'; '.join(ways)}"
    yield "what a token costs is not estimated: give the folder of a part that reads tokens for that"
    for folder, other in shared.items():
        yield f"{folder} has the same files as {other}, which are counted once"
    if pickled:
        yield f"the weights of {', '.join(pickled)} are stored as pickle and are not counted"
    if empty:
        yield f"neither a configuration nor weights are in {', '.join(empty)}"
    for folder, (_, shapes) in kept.items():
        yield from (f"{folder}: {note}" for note in shapes.notes)


def _reconciled(kept: Mapping[str, Part]) -> Reconciliation | None:
    """All parts compared with their weights; None where one can't be. Of headers, both sides are the same."""
    compared = {
        folder: shapes.reconciliation or _agreeing(shapes.inventory.total)
        for folder, (_, shapes) in kept.items()
        if shapes.reconciliation is not None or shapes.source == "header"
    }
    if len(compared) < len(kept) or all(shapes.source == "header" for _, shapes in kept.values()):
        return None
    differences = tuple(
        each._replace(
            checkpoint=each.checkpoint and f"{folder}.{each.checkpoint}",
            module=each.module and f"{folder}.{each.module}",
        )
        for folder, found in compared.items()
        for each in found.differences
    )
    found = compared.values()
    return Reconciliation(
        sum(each.module_total for each in found),
        sum(each.checkpoint_total for each in found),
        sum(each.matched for each in found),
        differences,
    )


def _agreeing(total: int) -> Reconciliation:
    return Reconciliation(module_total=total, checkpoint_total=total, matched=total, differences=())


def _published(shapes: Sequence[ModelShapes]) -> Published | None:
    """The weights of all parts together, in the format of most bytes; None where one's are unknown."""
    found = [each.published for each in shapes if each.published is not None]
    if len(found) < len(shapes):
        return None
    stored = sum(each.bytes for each in found)
    weights = sum(8 * each.bytes / each.bits_per_weight for each in found)
    return Published(max(found, key=lambda each: each.bytes).format, stored, 8 * stored / weights)


def files_within(folder: str, shapes: ModelShapes) -> Iterator[WeightFile]:
    """The files of a model that lies in a folder of another one."""
    for file in shapes.files or ():
        yield file._replace(name=f"{folder}/{file.name}")


def weight_files(checkpoint: Checkpoint, prefix: str = "") -> tuple[WeightFile, ...]:
    """The files of a checkpoint, and their sizes."""
    return tuple(
        WeightFile(f"{prefix}{name}", size) for name, size in zip(checkpoint.files, checkpoint.sizes, strict=True)
    )


def listed_files(source: Source, prefix: str = "") -> tuple[WeightFile, ...]:
    """The weight files that the hub lists, whether they are on this disk or not."""
    sizes = source.sizes()
    return tuple(WeightFile(f"{prefix}{name}", sizes[name]) for name in listed_weights(sizes))


# --- Modules of sentence-transformers


def add_modules(base: ModelShapes, files: ModelFiles, modules: Sequence[SentenceModule]) -> ModelShapes:
    """The shapes of a model with those of the modules of sentence-transformers that have weights.

    Each is a part that is called as its class. Raises ModelError for a folder that is missing.
    """
    for module in modules:
        if module.folder and module.kind not in _PLAIN_MODULES:
            _check_folder(files, module.folder, MODULES_FILE)
            base = _with_module(base, files, module)
    return base


def _with_module(base: ModelShapes, files: ModelFiles, module: SentenceModule) -> ModelShapes:
    source, prefix = subfolder(files.source, module.folder), f"{module.folder}/"
    part = ModelFiles(files.ref._replace(name=f"{files.ref.name.rstrip('/')}/{module.folder}", file=None), source)
    # Where the weights aren't on this disk, the configuration of a dense layer spares a request.
    shapes = {} if has_standard_weights(LocalSource(source)) else _dense_shapes(part)
    checkpoint = None
    if not shapes and (has_standard_weights(source) or has_pickles(source)):
        checkpoint = read_checkpoint(part)
        shapes = {tensor.path: tensor.shape for tensor in checkpoint.tensors}
    if not shapes:
        return base
    added = inventory_from_header(shapes).within(module.folder)
    inventory = base.inventory._replace(
        tensors=(*base.inventory.tensors, *added.tensors),
        folders={**base.inventory.folders, module.folder: module.kind.lower()},
    )
    read = listed_files(source, prefix) if checkpoint is None else weight_files(checkpoint, prefix)
    # The bytes of all or of none.
    stored = base.stored_bytes
    if stored is not None:
        stored = None if checkpoint is None else stored + checkpoint.stored_bytes
    return base._replace(
        inventory=inventory,
        notes=(*base.notes, f"{module.folder} of sentence-transformers adds {added.total:,}"),
        files=base.files and (*base.files, *read),
        stored_bytes=stored,
    )


def _dense_shapes(files: ModelFiles) -> dict[str, tuple[int, ...]]:
    """The shapes of a dense layer from its configuration; nothing for any other module."""
    path = files.find("config.json")
    fields = {} if path is None else read_model_config(path, repair_hint=files.repair_hint)
    read, written = fields.get("in_features"), fields.get("out_features")
    if type(read) is not int or type(written) is not int:
        return {}
    bias: dict[str, tuple[int, ...]] = {"linear.bias": (written,)} if fields.get("bias", True) else {}
    return {"linear.weight": (written, read), **bias}
