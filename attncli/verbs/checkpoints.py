"""The tensors that a model's files hold, by their headers: counted as they are, or held against a configuration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from attncli.errors import ModelError
from attncli.models.files.checkpoint import Checkpoint, local_checkpoint, read_own_checkpoint
from attncli.parameters.header_inventory import from_names
from attncli.parameters.quantization import unpack
from attncli.parameters.reconcile import prediction_layers
from attncli.verbs.shapes import Shapes, check_fields

if TYPE_CHECKING:
    from attncli.models.files.model_files import ModelFiles
    from attncli.parameters.inventory import Inventory
    from attncli.parameters.quantization import Unpacked
    from attncli.verbs.configured import Configured

#: What peft writes before the names of the modules that it adapts.
_PEFT = "base_model.model."


def from_checkpoint(checkpoint: Checkpoint, files: ModelFiles) -> Shapes:
    """The weights that stored tensors stand for: packed ones unfolded, buffers left out."""
    from attncli.models.loading.config_source import declares_writing
    from attncli.parameters.reconcile import with_tied_unembedding

    config = checkpoint.config
    check_fields(config or {}, files.ref.name)
    unpacked = unpack(checkpoint.tensors, config)
    inventory, writes = from_names(unpacked.shapes, config), declares_writing(config or {})
    architectures = (config or {}).get("architectures")
    return Shapes(
        name=files.ref.name,
        source="header",
        inventory=with_tied_unembedding(inventory) if writes else inventory,
        model_class=str(architectures[0]) if isinstance(architectures, list) and architectures else None,
        generates=writes,
        dtype=_stored_dtypes(checkpoint),
        revision=files.revision,
        stored_bytes=checkpoint.stored_bytes,
        notes=(*checkpoint.notes, *_packed(unpacked), *_prediction(inventory, config or {})),
    )


def reconciled(configured: Configured, files: ModelFiles) -> Shapes:
    """The shapes of a configuration, held against the checkpoint beside it where that is on this disk."""
    shapes = configured.shapes()
    try:
        checkpoint = local_checkpoint(files if files.base is None else files.base)
    except ModelError as error:
        return shapes._replace(notes=(*shapes.notes, f"its weights can't be compared: {error.message}"))
    if checkpoint is None:
        return shapes
    from attncli.parameters.reconcile import reconcile

    unpacked = unpack(checkpoint.tensors, checkpoint.config, _known(shapes.inventory))
    called = configured.called([each.name for each in unpacked.weights])
    return shapes._replace(
        stored_bytes=checkpoint.stored_bytes,
        notes=(*shapes.notes, *checkpoint.notes, *_packed(unpacked)),
        reconciliation=reconcile(shapes.inventory, unpacked.weights, called.names, frozenset(called.buffers)),
    )


def with_adapter(base: Shapes, files: ModelFiles) -> Shapes:
    """A model with the tensors of an adapter beside its own, where they are in the module that the adapter makes."""
    own = read_own_checkpoint(files.ref, files.source)
    added = from_names({tensor.path.removeprefix(_PEFT): tensor.shape for tensor in own.tensors})
    tensors = (*base.inventory.tensors, *added.tensors)
    assert files.base is not None
    note = f"the adapter adds {added.total:,} to {files.base.ref.name}"
    return base._replace(
        name=files.ref.name, inventory=base.inventory._replace(tensors=tensors), notes=(*base.notes, note)
    )


def _known(inventory: Inventory) -> Mapping[str, tuple[int, ...]]:
    return {each.name: each.shape for tensor in inventory.tensors for each in (tensor, *tensor.aliases)}


def _stored_dtypes(checkpoint: Checkpoint) -> str:
    """The types of what is stored, those of most bytes first."""
    sizes: dict[str, int] = defaultdict(int)
    for tensor in checkpoint.tensors:
        sizes[tensor.dtype] += tensor.stored_bytes
    return ", ".join(sorted(sizes, key=lambda dtype: -sizes[dtype]))


def _prediction(inventory: Inventory, config: Mapping[str, object]) -> Iterator[str]:
    first, beyond = prediction_layers(inventory, config)
    if beyond:
        yield f"{beyond:,} from layer {first} on are for multi-token prediction, which the model runs without"


def _packed(unpacked: Unpacked) -> Iterator[str]:
    for scheme, tensors in unpacked.schemes.items():
        yield f"{tensors:,} tensors are packed as {scheme}: their weights are counted, not the stored elements"
    if unpacked.unknown is not None:
        yield f"its weights are packed as {unpacked.unknown}, which is not known here: stored elements are counted"
    if unpacked.doubtful:
        more = f" and {len(unpacked.doubtful) - 1:,} more" if len(unpacked.doubtful) > 1 else ""
        yield f"what is stored doesn't tell the shape of {unpacked.doubtful[0]}{more}"
