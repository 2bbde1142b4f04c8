"""The parameters that low-rank adapters (LoRA, Hu 2021) would add to a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from attncli.choices import COMPONENTS
from attncli.errors import UsageError
from attncli.parameters.inventory import Kind, Tensor
from attncli.results.costs import Lora, LoraComponent

if TYPE_CHECKING:
    from attncli.parameters.classify import LocatedShare

#: The components that the paper adapts.
_DEFAULT = ("attention.query", "attention.value")
#: Every linear layer of the blocks.
_ALL = ("attention", "cross_attention", "mlp", "moe", "mixer")
#: The components adapted most often, for hints.
_SUGGESTED = (
    *(f"attention.{kind}" for kind in ("query", "key", "value", "output")),
    *(f"mlp.{kind}" for kind in ("gate", "up", "down")),
    *("attention", "mlp", "moe", "mixer"),
)
#: The names that peft uses for components, whatever the names of a model's modules.
_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "q_proj": ("attention.query",),
    "k_proj": ("attention.key",),
    "v_proj": ("attention.value",),
    "o_proj": ("attention.output",),
    "gate_proj": ("mlp.gate", "moe.gate"),
    "up_proj": ("mlp.up", "moe.up"),
    "down_proj": ("mlp.down", "moe.down"),
    "all": _ALL,
    "all-linear": _ALL,
}


class LoraRequest(NamedTuple):
    """A rank, and the components to adapt: by name (`mlp.up`), or all of a group (`mlp`)."""

    rank: int
    components: tuple[str, ...] = _DEFAULT


def lora_adapters(located: Iterable[LocatedShare], request: LoraRequest) -> Lora | None:
    """The parameters that adapters of a rank add: rank · (in + out) for each matrix with a selected component.

    A matrix that holds several components has one adapter; stacked matrices (experts) have one each.
    None where the model has no such matrix.
    """
    found: dict[tuple[str, ...], list[Tensor]] = defaultdict(list)
    for tensor, components in _adaptable_matrices(located).items():
        if any(_is_selected(component, request.components) for component in components):
            found[tuple(sorted(dict.fromkeys(components), key=COMPONENTS.index))].append(tensor)
    ordered = sorted(found.items(), key=lambda item: COMPONENTS.index(item[0][0]))
    return Lora(request.rank, tuple(_component(*item, request.rank) for item in ordered)) if found else None


def _adaptable_matrices(located: Iterable[LocatedShare]) -> dict[Tensor, list[str]]:
    """The tensors that can be adapted, and the components that each holds."""
    components: dict[Tensor, list[str]] = defaultdict(list)
    for share, _ in located:
        if not share.is_bias and _is_adaptable(share.tensor):
            components[share.tensor].append(share.component)
    return components


def _is_adaptable(tensor: Tensor) -> bool:
    """Whether the tensor is one matrix or several, and no convolution over positions or table of decays."""
    if tensor.kind is Kind.CONVOLUTION:
        return len(tensor.shape) == 2 or (len(tensor.shape) == 3 and tensor.shape[-1] == 1)
    if tensor.kind is Kind.OTHER and len(tensor.shape) == 2:
        return tensor.name.endswith("weight")
    return len(tensor.shape) in (2, 3)


def _component(components: Sequence[str], tensors: Iterable[Tensor], rank: int) -> LoraComponent:
    sizes = [_matrix_sizes(tensor) for tensor in tensors]
    parameters = sum(count * rank * (rows + columns) for count, rows, columns in sizes)
    return LoraComponent(_label(components), sum(count for count, _, _ in sizes), parameters)


def _matrix_sizes(tensor: Tensor) -> tuple[int, int, int]:
    """The number of matrices in a tensor, and their two sizes; a convolution over one position is one matrix."""
    shape = tensor.shape[:-1] if tensor.kind is Kind.CONVOLUTION and len(tensor.shape) == 3 else tensor.shape
    return prod(shape[:-2]), shape[-2], shape[-1]


def _is_selected(component: str, selected: Iterable[str]) -> bool:
    return any(component == name or component.startswith(f"{name}.") for name in selected)


def _label(components: Sequence[str]) -> str:
    """The name of a combination: `attention.query+key+value` for a matrix of all three."""
    first, *rest = dict.fromkeys(components)
    return "+".join([first, *(other.rpartition(".")[2] for other in rest)])


def no_matrix_error(models: Sequence[str], located: Iterable[LocatedShare], request: LoraRequest) -> UsageError:
    """The error for models without a matrix of the requested components; it names those that they have."""
    present = {component for components in _adaptable_matrices(located).values() for component in components}
    known = ", ".join(name for name in COMPONENTS if name in present)
    subject = models[0] if len(models) == 1 else f"none of {', '.join(models)}"
    return UsageError(
        f"{subject} has {'no' if len(models) == 1 else 'a'} matrix of {' or '.join(request.components)} to adapt",
        hint=f"--lora {request.rank}:COMPONENT takes one or several of {known}" if known else "leave --lora out",
    )


def parse_lora(given: int | str | None) -> LoraRequest | None:
    """Parse `16` or `"16:attention.query,mlp"`; peft's names (`q_proj`, `all-linear`) are known too.

    Raises UsageError for an invalid rank and for unknown components.
    """
    if given is None:
        return None
    rank, _, names = str(given).partition(":")
    wanted = tuple(name.strip() for name in names.split(",") if name.strip())
    if not (rank.isascii() and rank.isdigit() and 0 < int(rank[:9]) == int(rank)):
        raise UsageError(
            f"--lora can't be {given!r}: it starts with a rank", hint="for instance --lora 16, or --lora 16:attention"
        )
    known = {*COMPONENTS, *(name.partition(".")[0] for name in COMPONENTS), *_SYNONYMS}
    unknown = next((name for name in wanted if name not in known), None)
    if unknown is not None:
        raise _unknown_component(unknown, known)
    components = (component for name in wanted or _DEFAULT for component in _SYNONYMS.get(name, (name,)))
    return LoraRequest(int(rank), tuple(dict.fromkeys(components)))


def _unknown_component(name: str, known: Iterable[str]) -> UsageError:
    from difflib import get_close_matches

    near = get_close_matches(name, sorted(known), n=1)
    hint = f"name {', '.join(_SUGGESTED)}, or as peft does {', '.join(_SYNONYMS)}"
    return UsageError(f"--lora: there is no component {name!r}", hint=f"did you mean {near[0]}?" if near else hint)
