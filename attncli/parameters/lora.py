"""The parameters that low-rank adapters (LoRA, Hu 2021) would add to a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from attncli.components import BLOCK_GROUPS, COMPONENTS, NAMES, PLACES, ROUTED
from attncli.errors import UsageError
from attncli.parameters.inventory import Tensor
from attncli.parameters.name_rules import Kind
from attncli.parameters.training import Trained
from attncli.results.costs import Lora, LoraComponent

if TYPE_CHECKING:
    from attncli.parameters.classify import LocatedShare

#: The components that the paper adapts, in every attention, as peft's own choices for families do.
_DEFAULT = tuple(name for name, component in COMPONENTS.items() if component.adapted)
#: What peft takes for every linear layer but the one that gives the logits.
_ALL_LINEAR = "all-linear"
#: Names of modules that stand for components in a model that has no such module.
_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    component.peft: tuple(name for name, other in COMPONENTS.items() if other.peft == component.peft)
    for component in COMPONENTS.values()
    if component.peft is not None
}
#: The components adapted most often, for hints: cross-attention is in few models.
_SUGGESTED = (
    *(names[0] for names in _SYNONYMS.values()),
    *(group for group in BLOCK_GROUPS if group != "cross_attention"),
)


class LoraRequest(NamedTuple):
    """A rank, and what to adapt.

    components: by name (`mlp.up`), or all of a group (`mlp`).  modules: names that peft takes in `target_modules`: the
    last steps of a module's path, or `all-linear`.
    """

    rank: int
    components: tuple[str, ...] = _DEFAULT
    modules: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        # Cross-attention is adapted unasked, and not missed where there is none.
        named = self.components[:2] if self.components == _DEFAULT else self.components
        return (*named, *self.modules)


def lora_adapters(located: Iterable[LocatedShare], request: LoraRequest) -> Lora | None:
    """The parameters that adapters of a rank add: rank · (in + out) for each selected matrix.

    A matrix that holds several components has one adapter; stacked matrices (experts) have one each.
    None where the model has no such matrix.
    """
    selected = _selected_matrices(located, request)
    found = []
    for (first, *rest), tensors in sorted(selected.items(), key=lambda item: PLACES[item[0][0]]):
        # `attention.query+key+value` for a matrix of all three.
        label = "+".join([first, *(other.rpartition(".")[2] for other in rest)])
        sizes = [_matrix_sizes(tensor) for tensor in tensors]
        parameters = sum(count * request.rank * (rows + columns) for count, rows, columns in sizes)
        found.append(LoraComponent(label, sum(count for count, _, _ in sizes), parameters))
    return Lora(request.rank, tuple(found)) if found else None


def adapter_tensors(located: Iterable[LocatedShare], request: LoraRequest) -> tuple[Trained, ...]:
    """The tensors of the adapters: for each selected matrix one of (rank, in) and one of (out, rank)."""
    found = []
    for tensors in _selected_matrices(located, request).values():
        for count, rows, columns in map(_matrix_sizes, tensors):
            several = (count,) if count > 1 else ()
            found += [Trained((*several, request.rank, columns), True), Trained((*several, rows, request.rank), True)]
    return tuple(found)


def _selected_matrices(located: Iterable[LocatedShare], request: LoraRequest) -> dict[tuple[str, ...], list[Tensor]]:
    """The matrices to adapt, by the components that each holds."""
    matrices = _adaptable_matrices(located)
    named = {name for name in request.modules if any(_is_named(*matrix, name) for matrix in matrices.items())}
    synonyms = (part for name in request.modules if name not in named for part in _SYNONYMS.get(name, ()))
    wanted = {*request.components, *synonyms}
    selected: dict[tuple[str, ...], list[Tensor]] = defaultdict(list)
    for tensor, components in matrices.items():
        is_wanted = any({component, COMPONENTS[component].group} & wanted for component in components)
        if (is_wanted and _is_adaptable(tensor)) or any(_is_named(tensor, components, name) for name in named):
            selected[tuple(sorted(set(components), key=PLACES.__getitem__))].append(tensor)
    return selected


def _adaptable_matrices(located: Iterable[LocatedShare]) -> dict[Tensor, list[str]]:
    """The tensors that can be adapted, and the components that each holds."""
    components: dict[Tensor, list[str]] = defaultdict(list)
    for share, _ in located:
        if not share.is_bias and len(share.tensor.shape) > 1:
            components[share.tensor].append(share.component)
    return components


def _is_adaptable(tensor: Tensor) -> bool:
    """Whether the tensor is one matrix or several, and no convolution over positions or table of decays."""
    if tensor.kind is Kind.CONVOLUTION:
        return len(tensor.shape) == 2 or (len(tensor.shape) == 3 and tensor.shape[-1] == 1)
    if tensor.kind is Kind.OTHER and len(tensor.shape) == 2:
        return tensor.name.endswith("weight")
    return len(tensor.shape) in (2, 3)


def _is_named(tensor: Tensor, components: Sequence[str], name: str) -> bool:
    """Whether peft adapts a tensor for this name in `target_modules`: that of a module with one weight."""
    if not tensor.name.endswith(".weight"):
        return False
    if name == _ALL_LINEAR:
        is_linear = tensor.kind in (Kind.LINEAR, Kind.TRANSPOSED) and len(tensor.shape) == 2
        return is_linear and "unembedding" not in components
    return tensor.module == name or tensor.module.endswith(f".{name}")


def leaves_out_experts(located: Iterable[LocatedShare], request: LoraRequest) -> bool:
    """Whether experts that are stored as one tensor are left out by `all-linear`, as they are no linear layers."""
    if _ALL_LINEAR not in request.modules or any(name.startswith("moe") for name in request.components):
        return False
    return any(share.component in ROUTED and len(share.tensor.shape) == 3 for share, _ in located)


def _matrix_sizes(tensor: Tensor) -> tuple[int, int, int]:
    """The number of matrices in a tensor, and their two sizes; a convolution is one, as wide as all that it reads."""
    if tensor.kind is Kind.CONVOLUTION:
        return 1, tensor.shape[0], prod(tensor.shape[1:])
    return prod(tensor.shape[:-2]), tensor.shape[-2], tensor.shape[-1]


def unknown_name(located: Sequence[Sequence[LocatedShare]], request: LoraRequest) -> str | None:
    """The first name of the request that is neither a component nor a module of any of the models; None for none."""
    matrices = [matrix for model in located for matrix in _adaptable_matrices(model).items()]
    names = (name for name in request.modules if name not in _SYNONYMS)
    return next((name for name in names if not any(_is_named(*matrix, name) for matrix in matrices)), None)


def no_matrix_error(models: Sequence[str], located: Iterable[LocatedShare], request: LoraRequest) -> UsageError:
    """The error for models without a matrix of the requested names; it names those that they have."""
    matrices = _adaptable_matrices(located)
    present = {component for tensor, found in matrices.items() if _is_adaptable(tensor) for component in found}
    known = ", ".join(name for name in COMPONENTS if name in present)
    subject = models[0] if len(models) == 1 else f"none of {', '.join(models)}"
    return UsageError(
        f"{subject} has {'no' if len(models) == 1 else 'a'} {' or '.join(request.names)} matrix for LoRA",
        hint=f"--lora {request.rank}:COMPONENT accepts one or more of {known}" if known else "leave --lora out",
    )


def unknown_name_error(name: str, models: Sequence[str], located: Iterable[LocatedShare]) -> UsageError:
    """The error for a name that is neither a component nor a module; it suggests a similar one."""
    from difflib import get_close_matches

    modules = {tensor.module.rpartition(".")[2] for tensor in _adaptable_matrices(located)}
    known = {*NAMES, *_SYNONYMS, _ALL_LINEAR, *(name for name in modules if not name.isdigit())}
    near = get_close_matches(name, sorted(known), n=1)
    hint = (
        f"use {', '.join(_SUGGESTED)}, {_ALL_LINEAR}, or the name of a module as in peft "
        f"({', '.join(sorted(modules)[:8])})"
    )
    return UsageError(
        f"--lora: {', '.join(models)} has no component or module {name!r}",
        hint=f"did you mean {near[0]}?" if near else hint,
    )


def parse_lora(given: int | str | None) -> LoraRequest | None:
    """Parse `16` or `"16:attention.query,mlp"`; other names are those of modules, as peft takes them (`c_attn`).

    Raises UsageError for an invalid rank.
    """
    if given is None:
        return None
    rank, _, names = str(given).partition(":")
    wanted = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not (rank.isascii() and rank.isdigit() and 0 < int(rank[:9]) == int(rank)):
        raise UsageError(
            f"--lora can't be {given!r}: it has to start with a rank",
            hint="for instance --lora 16, or --lora 16:attention",
        )
    if not wanted:
        return LoraRequest(int(rank))
    components = (
        part for name in wanted for part in (BLOCK_GROUPS if name == "all" else (name,) if name in NAMES else ())
    )
    modules = tuple(name for name in wanted if name != "all" and name not in NAMES)
    return LoraRequest(int(rank), tuple(dict.fromkeys(components)), modules)
