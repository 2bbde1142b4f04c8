"""Compares a module's inventory with a checkpoint's tensors: every tensor of either is matched or explained.

Also here: extra layers for multi-token prediction, and the tied unembedding that checkpoints leave out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain
from typing import Any, NamedTuple

from attncli.parameters.cache import PREDICTION_LAYERS
from attncli.parameters.classify import classify
from attncli.parameters.inventory import Inventory, Tensor, is_buffer, source_fields
from attncli.parameters.name_rules import Kind
from attncli.parameters.quantization import WeightTensor
from attncli.results.reconciliation import REASONS, Reconciliation, TensorDifference

_LAYER_COUNT_FIELD = "num_hidden_layers"
#: Names of modules that only layers for multi-token prediction have.
_PREDICTION_NAMES = frozenset({"mtp", "nextn", "eh_proj", "enorm", "hnorm"})
_UNEMBEDDING = "lm_head.weight"


def prediction_layers(inventory: Inventory, config: Mapping[str, Any]) -> tuple[int, int]:
    """The index of a checkpoint's first layer for multi-token prediction, and the parameters from there on.

    (0, 0) where it has none.
    """
    first = config.get(_LAYER_COUNT_FIELD)
    if type(first) is not int or not any(config.get(name) for name in PREDICTION_LAYERS):
        return 0, 0
    parameters = sum(
        tensor.parameters
        for tensor in inventory.tensors
        if next((int(step) for step in tensor.name.split(".") if step.isdecimal()), -1) >= first
    )
    return (first, parameters) if parameters else (0, 0)


def with_tied_unembedding(inventory: Inventory) -> Inventory:
    """The inventory of a generating model's checkpoint, with the token table tied to an unembedding if it lacks one.

    A model that generates text must have an unembedding, and a file leaves it out where it is the token table.
    """
    # Only tensors outside of blocks matter, and nearly all are inside.
    outside = (tensor for tensor in inventory.tensors if not any(map(str.isdigit, tensor.name.split("."))))
    shares = classify(inventory._replace(tensors=tuple(outside)))
    if any(share.component == "unembedding" for share in shares):
        return inventory
    tables = [share.tensor for share in shares if share.component == "embedding.token" and not share.is_bias]
    if len(tables) != 1 or tables[0].aliases:
        return inventory
    table = tables[0]
    tied = table._replace(aliases=(table._replace(name=_UNEMBEDDING, kind=Kind.LINEAR),))
    return inventory._replace(tensors=tuple(tied if each is table else each for each in inventory.tensors))


class _Mismatch(NamedTuple):
    """Tensors that differ for one reason, in the checkpoint (`weights`), the module (`tensors`) or both."""

    reason: str
    weights: tuple[WeightTensor, ...] = ()
    tensors: tuple[Tensor, ...] = ()


def reconcile(
    inventory: Inventory,
    weights: Sequence[WeightTensor],
    names: Mapping[str, str] | None = None,
    buffers: Set[str] = frozenset(),
) -> Reconciliation:
    """Find where a module and a checkpoint differ, and why.

    weights: the checkpoint's weights (`quantization.unpack`), buffers included.
    names: the module's name for each of them, where it differs; several may become one.
    buffers: the names of those that are buffers of the module.
    """
    matched, mismatches, left, missing = _match_by_name(inventory, weights, names or {})
    extra, left = _explain_extra(inventory, left, buffers)
    merged, left, missing = _match_by_size(left, missing, names or {})
    mismatches += [*extra, *merged, *(_Mismatch("unexpected", (each,)) for each in left)]
    mismatches += [_Mismatch("missing", (), (each,)) for each in missing]
    return Reconciliation(
        inventory.total,
        sum(each.parameters for each in weights),
        matched + sum(tensor.parameters for mismatch in merged for tensor in mismatch.tensors),
        tuple(_differences(mismatches)),
    )


def _match_by_name(
    inventory: Inventory, weights: Sequence[WeightTensor], names: Mapping[str, str]
) -> tuple[int, list[_Mismatch], list[WeightTensor], list[Tensor]]:
    """Match weights to the tensors of their names in the module.

    Returns the number of matched parameters, the mismatches, and what is left over in the checkpoint and the module.
    """
    owners = {each.name: tensor for tensor in inventory.tensors for each in (tensor, *tensor.aliases)}
    groups: dict[str, dict[str, list[WeightTensor]]] = defaultdict(lambda: defaultdict(list))
    left = []
    for each in weights:
        name = names.get(each.name, each.name)
        if name in owners:
            groups[owners[name].name][name].append(each)
        else:
            left.append(each)
    matched, mismatches = 0, []
    for name, copies in groups.items():
        # The weights under the tensor's first name are the tensor, those under its other names copies.
        ordered = sorted(copies, key=lambda copy: copy != name)
        found = list(_copy_mismatches(owners[name], [tuple(copies[copy]) for copy in ordered], names))
        mismatches += found
        matched += 0 if any(mismatch.reason == "size" for mismatch in found) else owners[name].parameters
    return matched, mismatches, left, [tensor for tensor in inventory.tensors if tensor.name not in groups]


def _copy_mismatches(
    tensor: Tensor, copies: Sequence[tuple[WeightTensor, ...]], names: Mapping[str, str]
) -> Iterator[_Mismatch]:
    """The mismatches of the weights of one tensor. Each copy is the whole tensor, in one piece or several."""
    first, *others = copies
    for copy in others:
        yield _Mismatch("tied_copy", copy)
    if sum(each.parameters for each in first) != tensor.parameters:
        yield _Mismatch("size", first, (tensor,))
    elif len(first) > 1:
        yield _Mismatch("merged", first, (tensor,))
    elif names.get(first[0].name, first[0].name) != first[0].name:
        yield _Mismatch("renamed", first, (tensor,))


def _explain_extra(
    inventory: Inventory, left: Iterable[WeightTensor], buffers: Set[str]
) -> tuple[list[_Mismatch], list[WeightTensor]]:
    """Explain weights that the module doesn't have: buffers and extra layers. Returns the unexplained ones too."""
    # The highest number at each path of the module.
    last: dict[str, int] = {}
    for tensor in inventory.tensors:
        for stem, number in _numbered_steps(tensor.name):
            last[stem] = max(number, last.get(stem, 0))
    sources = map(source_fields, inventory.settings.get("", ()))
    predicts = any(
        next((fields[name] for name in PREDICTION_LAYERS if type(fields.get(name)) is int), 0) for fields in sources
    )
    weights = [(each, _beyond_last_layer(each.name, last)) for each in left]
    # One tensor with such a name shows what the whole layer is.
    prediction = {layer for each, layer in weights if _PREDICTION_NAMES.intersection(each.name.split("."))}
    mismatches, rest = [], []
    for each, layer in weights:
        if each.name in buffers or is_buffer(each.name, each.shape):
            mismatches.append(_Mismatch("buffer", (each,)))
        elif "mtp" in each.name.split(".") or (layer is not None and (predicts or layer in prediction)):
            mismatches.append(_Mismatch("prediction_layer", (each,)))
        elif layer is not None:
            mismatches.append(_Mismatch("extra_layer", (each,)))
        else:
            rest.append(each)
    return mismatches, rest


def _numbered_steps(name: str) -> Iterator[tuple[str, int]]:
    steps = name.split(".")
    return ((".".join(steps[:place]), int(step)) for place, step in enumerate(steps) if step.isdecimal())


def _beyond_last_layer(name: str, last: Mapping[str, int]) -> str | None:
    """The path of a tensor's layer where its number is higher than any in the module; else None."""
    return next((f"{stem}.{number}" for stem, number in _numbered_steps(name) if number > last.get(stem, number)), None)


def _match_by_size(
    left: Sequence[WeightTensor], missing: Sequence[Tensor], names: Mapping[str, str]
) -> tuple[list[_Mismatch], list[WeightTensor], list[Tensor]]:
    """Match modules whose tensors differ but have as many parameters in all, the innermost ones where that holds."""
    checkpoint_sizes = _module_sizes((names.get(each.name, each.name), each.parameters) for each in left)
    sizes = _module_sizes((each.name, each.parameters) for each in missing)
    equal = {stem for stem, parameters in sizes.items() if checkpoint_sizes.get(stem) == parameters}
    # An inner match leaves equal remainders around it, so each tensor belongs to its innermost match.
    weights: dict[str | None, list[WeightTensor]] = defaultdict(list)
    tensors: dict[str | None, list[Tensor]] = defaultdict(list)
    for each in left:
        name = names.get(each.name, each.name)
        weights[next((path for path in _enclosing_paths(name) if path in equal), None)].append(each)
    for tensor in missing:
        tensors[next((path for path in _enclosing_paths(tensor.name) if path in equal), None)].append(tensor)
    common = sorted(stem for stem in weights.keys() & tensors.keys() if stem is not None)
    mismatches = [_Mismatch("merged", tuple(weights.pop(stem)), tuple(tensors.pop(stem))) for stem in common]
    return mismatches, list(chain(*weights.values())), list(chain(*tensors.values()))


def _module_sizes(sized: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The number of parameters in each module, by path."""
    found: dict[str, int] = defaultdict(int)
    for name, parameters in sized:
        for stem in _enclosing_paths(name):
            found[stem] += parameters
    return found


def _enclosing_paths(name: str) -> Iterator[str]:
    """The paths of the modules around a tensor, from the innermost out."""
    steps = name.split(".")
    return (".".join(steps[:place]) for place in range(len(steps) - 1, 0, -1))


def _differences(mismatches: Iterable[_Mismatch]) -> Iterator[TensorDifference]:
    """Mismatches that differ only in the numbers in their names, as one difference each."""
    groups: dict[tuple[str, str | None, str | None], list[_Mismatch]] = defaultdict(list)
    for each in mismatches:
        groups[each.reason, _pattern(each.weights), _pattern(each.tensors)].append(each)
    order = list(REASONS)
    for (reason, checkpoint, module), group in sorted(groups.items(), key=lambda item: order.index(item[0][0])):
        weights = [weight for each in group for weight in each.weights]
        tensors = [tensor for each in group for tensor in each.tensors]
        yield TensorDifference(
            reason,
            checkpoint,
            module,
            len(weights) or len(tensors),
            sum(weight.parameters for weight in weights),
            sum(tensor.parameters for tensor in tensors),
        )


def _pattern(tensors: Sequence[WeightTensor] | Sequence[Tensor]) -> str | None:
    """The distinct names of tensors with a `*` for every number."""
    found = {".".join("*" if step.isdecimal() else step for step in tensor.name.split(".")) for tensor in tensors}
    return ", ".join(sorted(found)) or None
