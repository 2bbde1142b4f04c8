"""Layers for multi-token prediction, which checkpoints hold behind a model's own and which it runs without.

The unembedding that a checkpoint leaves out because it is the table of tokens.

A module's inventory held against a checkpoint's tensors: every tensor of either side is matched, or explained.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from attncli.parameters.classify import classify
from attncli.parameters.header_inventory import is_buffer
from attncli.parameters.inventory import Inventory, Kind, Tensor
from attncli.parameters.quantization import Weights
from attncli.results.reconciliation import REASONS, Reconciliation, TensorDifference

#: What configurations call the number of such layers.
PREDICTION_LAYERS = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers", "mtp_num_layers")
_OWN_LAYERS = "num_hidden_layers"


def prediction_layers(inventory: Inventory, config: Mapping[str, Any]) -> tuple[int, int]:
    """The number of the first such layer of a checkpoint, and the parameters from there on; (0, 0) where none is."""
    first = config.get(_OWN_LAYERS)
    if type(first) is not int or not any(config.get(name) for name in PREDICTION_LAYERS):
        return 0, 0
    beyond = sum(tensor.parameters for tensor in _beyond(inventory.tensors, first))
    return (first, beyond) if beyond else (0, 0)


def _beyond(tensors: Iterable[Tensor], first: int) -> Iterable[Tensor]:
    for tensor in tensors:
        layer = next((int(step) for step in tensor.name.split(".") if step.isdecimal()), -1)
        if layer >= first:
            yield tensor


_UNEMBEDDING = "lm_head.weight"


def with_tied_unembedding(inventory: Inventory) -> Inventory:
    """The inventory of a model that writes, as its files list it, with its unembedding under a name of its own.

    Who writes must turn vectors into tokens: where nothing else does, the table of tokens does it too.
    """
    # Neither stands in a block, and blocks are nearly all that there is.
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


#: Names of modules that only multi-token prediction has.
_PREDICTION = frozenset({"mtp", "nextn", "eh_proj", "enorm", "hnorm"})


class _Pair(NamedTuple):
    """Tensors that differ for one reason, on one side or on both."""

    reason: str
    weights: tuple[Weights, ...] = ()
    tensors: tuple[Tensor, ...] = ()


def reconcile(
    inventory: Inventory,
    weights: Sequence[Weights],
    names: Mapping[str, str] | None = None,
    buffers: Set[str] = frozenset(),
) -> Reconciliation:
    """Where a module and a checkpoint differ, and why.

    weights: what the checkpoint's tensors stand for (`stored.unpack`), buffers included.
    names: what the module calls each of them, where that differs; several may become one.
    buffers: which of them the module has, but as no parameters.
    """
    matched, pairs, left, missing = _by_name(inventory, weights, names or {})
    known, left = _explained(inventory, left, buffers)
    other, left, missing = _by_sum(left, missing, names or {})
    pairs += [*known, *other]
    pairs += [_Pair("unexpected", (each,)) for each in left]
    pairs += [_Pair("missing", (), (each,)) for each in missing]
    return Reconciliation(
        inventory.total,
        sum(each.parameters for each in weights),
        matched + sum(tensor.parameters for pair in other for tensor in pair.tensors),
        tuple(_differences(pairs)),
    )


def _by_name(
    inventory: Inventory, weights: Sequence[Weights], names: Mapping[str, str]
) -> tuple[int, list[_Pair], list[Weights], list[Tensor]]:
    """What has a tensor of its name in the module. Returns the matched parameters, what differs all the same, and what
    is left on either side."""
    owners = {name: tensor for tensor in inventory.tensors for name in _names(tensor)}
    groups: dict[str, dict[str, list[Weights]]] = defaultdict(lambda: defaultdict(list))
    left = []
    for each in weights:
        called = names.get(each.name, each.name)
        if called in owners:
            groups[owners[called].name][called].append(each)
        else:
            left.append(each)
    matched, pairs = 0, []
    for name, copies in groups.items():
        # What is saved under the tensor's own name is the tensor, what else is saved of it a copy.
        ordered = sorted(copies, key=lambda called: called != name)
        found = list(_matched(owners[name], [tuple(copies[called]) for called in ordered], names))
        pairs += found
        matched += 0 if any(pair.reason == "size" for pair in found) else owners[name].parameters
    return matched, pairs, left, [tensor for tensor in inventory.tensors if tensor.name not in groups]


def _names(tensor: Tensor) -> Iterator[str]:
    yield tensor.name
    yield from (alias.name for alias in tensor.aliases)


def _matched(tensor: Tensor, copies: Sequence[tuple[Weights, ...]], names: Mapping[str, str]) -> Iterator[_Pair]:
    """What is remarkable about the weights that became one tensor: each copy is all of it, in one piece or several."""
    first, *others = copies
    for copy in others:
        yield _Pair("tied_copy", copy)
    if sum(each.parameters for each in first) != tensor.parameters:
        yield _Pair("size", first, (tensor,))
    elif len(first) > 1:
        yield _Pair("merged", first, (tensor,))
    elif names.get(first[0].name, first[0].name) != first[0].name:
        yield _Pair("renamed", first, (tensor,))


def _explained(inventory: Inventory, left: Iterable[Weights], buffers: Set[str]) -> tuple[list[_Pair], list[Weights]]:
    """What the checkpoint may hold beside the module's parameters."""
    last = _last_layers(inventory.tensors)
    predicts = any(_number(source, PREDICTION_LAYERS) for source in inventory.settings.get("", ()))
    beyond = {stem for each in left if (stem := _beyond_last_layer(each.name, last)) is not None}
    # One telling tensor in a layer tells what the whole layer is.
    telling = {_beyond_last_layer(each.name, last) for each in left if _PREDICTION.intersection(each.name.split("."))}
    pairs, rest = [], []
    for each in left:
        stem = _beyond_last_layer(each.name, last)
        if each.name in buffers or is_buffer(each.name, each.shape):
            pairs.append(_Pair("buffer", (each,)))
        elif "mtp" in each.name.split(".") or (stem in beyond and (predicts or stem in telling)):
            pairs.append(_Pair("prediction_layer", (each,)))
        elif stem in beyond:
            pairs.append(_Pair("extra_layer", (each,)))
        else:
            rest.append(each)
    return pairs, rest


def _number(source: Any, names: Iterable[str]) -> int:
    fields = source if isinstance(source, Mapping) else vars(source)
    return next((value for name in names if type(value := fields.get(name)) is int), 0)


def _last_layers(tensors: Iterable[Tensor]) -> dict[str, int]:
    """The highest number at each path of the module."""
    last: dict[str, int] = {}
    for tensor in tensors:
        for stem, number in _numbered(tensor.name):
            last[stem] = max(number, last.get(stem, 0))
    return last


def _numbered(name: str) -> Iterator[tuple[str, int]]:
    steps = name.split(".")
    return ((".".join(steps[:place]), int(step)) for place, step in enumerate(steps) if step.isdecimal())


def _beyond_last_layer(name: str, last: Mapping[str, int]) -> str | None:
    """The path of the layer that a tensor is in, where that layer's number is higher than any of the module."""
    return next((f"{stem}.{number}" for stem, number in _numbered(name) if number > last.get(stem, number)), None)


def _by_sum(
    left: Sequence[Weights], missing: Sequence[Tensor], names: Mapping[str, str]
) -> tuple[list[_Pair], list[Weights], list[Tensor]]:
    """Modules whose tensors are others on either side, and of the same number of parameters altogether: the innermost
    ones that add up."""
    held = _sums((names.get(each.name, each.name), each.parameters) for each in left)
    wanted = _sums((each.name, each.parameters) for each in missing)
    equal = {stem for stem, parameters in wanted.items() if held.get(stem) == parameters}
    # What adds up inside leaves the same on both sides of what is around it, so each tensor belongs to its innermost.
    here: dict[str | None, list[Weights]] = defaultdict(list)
    there: dict[str | None, list[Tensor]] = defaultdict(list)
    for each in left:
        here[_innermost(names.get(each.name, each.name), equal)].append(each)
    for tensor in missing:
        there[_innermost(tensor.name, equal)].append(tensor)
    common = sorted(stem for stem in here.keys() & there.keys() if stem is not None)
    pairs = [_Pair("merged", tuple(here.pop(stem)), tuple(there.pop(stem))) for stem in common]
    return pairs, [each for group in here.values() for each in group], [each for g in there.values() for each in g]


def _sums(sized: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The parameters within each module."""
    found: dict[str, int] = defaultdict(int)
    for name, parameters in sized:
        for stem in _stems(name):
            found[stem] += parameters
    return found


def _innermost(name: str, stems: Set[str]) -> str | None:
    return next((stem for stem in _stems(name) if stem in stems), None)


def _stems(name: str) -> Iterator[str]:
    """The paths of the modules that hold a tensor, from the innermost out."""
    steps = name.split(".")
    return (".".join(steps[:place]) for place in range(len(steps) - 1, 0, -1))


def _differences(pairs: Iterable[_Pair]) -> Iterator[TensorDifference]:
    """Pairs that are alike but for numbers in their names, as one."""
    groups: dict[tuple[str, str | None, str | None], list[_Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.reason, _pattern(pair.weights), _pattern(pair.tensors)].append(pair)
    order = list(REASONS)
    for (reason, checkpoint, module), group in sorted(groups.items(), key=lambda item: order.index(item[0][0])):
        held = [each for pair in group for each in pair.weights]
        wanted = [each for pair in group for each in pair.tensors]
        yield TensorDifference(
            reason,
            checkpoint,
            module,
            len(held) or len(wanted),
            sum(each.parameters for each in held),
            sum(each.parameters for each in wanted),
        )


def _pattern(tensors: Sequence[Weights] | Sequence[Tensor]) -> str | None:
    """The names of tensors with a `*` for every number; of several kinds of names all of them."""
    found = {".".join("*" if step.isdecimal() else step for step in tensor.name.split(".")) for tensor in tensors}
    return ", ".join(sorted(found)) or None
