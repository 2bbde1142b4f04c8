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

#: The components that the paper adapts, in every attention, as peft's own choices for families do.
_DEFAULT = ("attention.query", "attention.value", "cross_attention.query", "cross_attention.value")
#: Every linear layer of the blocks.
_ALL = ("attention", "cross_attention", "mlp", "moe", "mixer")
#: The components adapted most often, for hints.
_SUGGESTED = (
    *(f"attention.{kind}" for kind in ("query", "key", "value", "output")),
    *(f"mlp.{kind}" for kind in ("gate", "up", "down")),
    *("attention", "mlp", "moe", "mixer"),
)
#: What peft takes for every linear layer but the one that gives the logits.
_ALL_LINEAR = "all-linear"
_EXPERTS = ("moe.gate", "moe.up", "moe.down")
#: Names of modules that stand for components in a model that has no such module.
_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "q_proj": ("attention.query",),
    "k_proj": ("attention.key",),
    "v_proj": ("attention.value",),
    "o_proj": ("attention.output",),
    "gate_proj": ("mlp.gate", "moe.gate"),
    "up_proj": ("mlp.up", "moe.up"),
    "down_proj": ("mlp.down", "moe.down"),
}


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
    matrices = _adaptable_matrices(located)
    named = {
        name for name in request.modules if any(_is_named(tensor, found, name) for tensor, found in matrices.items())
    }
    wanted = (
        *request.components,
        *(part for name in request.modules if name not in named for part in _SYNONYMS.get(name, ())),
    )
    selected: dict[tuple[str, ...], list[Tensor]] = defaultdict(list)
    for tensor, components in matrices.items():
        by_component = _is_adaptable(tensor) and any(_is_selected(component, wanted) for component in components)
        if by_component or any(_is_named(tensor, components, name) for name in named):
            selected[tuple(sorted(dict.fromkeys(components), key=COMPONENTS.index))].append(tensor)
    ordered = sorted(selected.items(), key=lambda item: COMPONENTS.index(item[0][0]))
    return Lora(request.rank, tuple(_component(*item, request.rank) for item in ordered)) if selected else None


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
    return any(share.component in _EXPERTS and len(share.tensor.shape) == 3 for share, _ in located)


def _component(components: Sequence[str], tensors: Iterable[Tensor], rank: int) -> LoraComponent:
    sizes = [_matrix_sizes(tensor) for tensor in tensors]
    parameters = sum(count * rank * (rows + columns) for count, rows, columns in sizes)
    return LoraComponent(_label(components), sum(count for count, _, _ in sizes), parameters)


def _matrix_sizes(tensor: Tensor) -> tuple[int, int, int]:
    """The number of matrices in a tensor, and their two sizes; a convolution is one, as wide as all that it reads."""
    if tensor.kind is Kind.CONVOLUTION:
        return 1, tensor.shape[0], prod(tensor.shape[1:])
    return prod(tensor.shape[:-2]), tensor.shape[-2], tensor.shape[-1]


def _is_selected(component: str, selected: Iterable[str]) -> bool:
    return any(component == name or component.startswith(f"{name}.") for name in selected)


def _label(components: Sequence[str]) -> str:
    """The name of a combination: `attention.query+key+value` for a matrix of all three."""
    first, *rest = dict.fromkeys(components)
    return "+".join([first, *(other.rpartition(".")[2] for other in rest)])


def unknown_name(located: Sequence[Sequence[LocatedShare]], request: LoraRequest) -> str | None:
    """The first name of the request that is neither a component nor a module of any of the models; None for none."""
    matrices = [_adaptable_matrices(model) for model in located]
    names = (name for name in request.modules if name not in _SYNONYMS)
    return next(
        (
            name
            for name in names
            if not any(_is_named(tensor, found, name) for model in matrices for tensor, found in model.items())
        ),
        None,
    )


def no_matrix_error(models: Sequence[str], located: Iterable[LocatedShare], request: LoraRequest) -> UsageError:
    """The error for models without a matrix of the requested names; it names those that they have."""
    matrices = _adaptable_matrices(located)
    present = {component for tensor, found in matrices.items() if _is_adaptable(tensor) for component in found}
    known = ", ".join(name for name in COMPONENTS if name in present)
    subject = models[0] if len(models) == 1 else f"none of {', '.join(models)}"
    return UsageError(
        f"{subject} has {'no' if len(models) == 1 else 'a'} matrix of {' or '.join(request.names)} to adapt",
        hint=f"--lora {request.rank}:COMPONENT takes one or several of {known}" if known else "leave --lora out",
    )


def unknown_name_error(name: str, models: Sequence[str], located: Iterable[LocatedShare]) -> UsageError:
    """The error for a name that is neither a component nor a module; it suggests a similar one."""
    from difflib import get_close_matches

    modules = {tensor.module.rpartition(".")[2] for tensor in _adaptable_matrices(located)}
    known = {*_component_names(), *_SYNONYMS, _ALL_LINEAR, *(name for name in modules if not name.isdigit())}
    near = get_close_matches(name, sorted(known), n=1)
    hint = f"name {', '.join(_SUGGESTED)}, {_ALL_LINEAR}, or a module as peft does ({', '.join(sorted(modules)[:8])})"
    return UsageError(
        f"--lora: {', '.join(models)} has no component or module {name!r}",
        hint=f"did you mean {near[0]}?" if near else hint,
    )


def _component_names() -> set[str]:
    return {*COMPONENTS, *(name.partition(".")[0] for name in COMPONENTS)}


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
            f"--lora can't be {given!r}: it starts with a rank", hint="for instance --lora 16, or --lora 16:attention"
        )
    if not wanted:
        return LoraRequest(int(rank))
    known = _component_names()
    components = (part for name in wanted for part in (_ALL if name == "all" else (name,) if name in known else ()))
    modules = tuple(name for name in wanted if name != "all" and name not in known)
    return LoraRequest(int(rank), tuple(dict.fromkeys(components)), modules)
