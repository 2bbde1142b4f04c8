"""Low-rank adapters: what they would add to a model (Hu 2021)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from attncli.errors import UsageError
from attncli.parameters.inventory import Tensor
from attncli.results.costs import Lora, LoraComponent
from attncli.results.parameters import COMPONENTS

if TYPE_CHECKING:
    from attncli.parameters.count import Placed

#: What the paper adapts.
_DEFAULT = ("attention.query", "attention.value")


class LoraWish(NamedTuple):
    """A rank, and the components to adapt: by name (`mlp.up`), or all of a group (`mlp`)."""

    rank: int
    components: tuple[str, ...] = _DEFAULT


def adapters(placed: Iterable[Placed], wish: LoraWish) -> Lora:
    """The parameters that adapters of a rank add: rank · (in + out) for each matrix that holds a wanted component.

    A matrix that holds several components has one adapter; stacked matrices (experts) have one each.
    Raises UsageError where the model has no such component.
    """
    held: dict[Tensor, list[str]] = defaultdict(list)
    for share, _ in placed:
        if not share.is_bias and len(share.tensor.shape) in (2, 3):
            held[share.tensor].append(share.component)
    matrices: dict[str, int] = defaultdict(int)
    parameters: dict[str, int] = defaultdict(int)
    for tensor, components in held.items():
        if any(_is_wanted(component, wish.components) for component in components):
            label = _label(components)
            matrices[label] += prod(tensor.shape[:-2])
            parameters[label] += prod(tensor.shape[:-2]) * wish.rank * sum(tensor.shape[-2:])
    if not matrices:
        raise _nothing_to_adapt(wish, {component for components in held.values() for component in components})
    return Lora(wish.rank, tuple(LoraComponent(label, matrices[label], parameters[label]) for label in matrices))


def _is_wanted(component: str, wanted: Iterable[str]) -> bool:
    return any(component == name or component.startswith(f"{name}.") for name in wanted)


def _label(components: Sequence[str]) -> str:
    """`attention.query+key+value` for what holds all three."""
    first, *rest = dict.fromkeys(components)
    return "+".join([first, *(other.rpartition(".")[2] for other in rest)])


def _nothing_to_adapt(wish: LoraWish, held: set[str]) -> UsageError:
    known = ", ".join(name for name in COMPONENTS if name in held)
    named = ", ".join(wish.components)
    return UsageError(
        f"there is no matrix of {named} to adapt",
        hint=f"--lora {wish.rank}:COMPONENT takes one or several of {known}" if known else "leave --lora out",
    )


def parse_lora(given: int | str | None) -> LoraWish | None:
    """`16` or `"16:attention.query,mlp"`. Raises UsageError for a rank that is none, and unknown components."""
    if given is None:
        return None
    rank, _, names = str(given).partition(":")
    wanted = tuple(name.strip() for name in names.split(",") if name.strip())
    if not (rank.isascii() and rank.isdigit() and 0 < int(rank[:9]) == int(rank)):
        raise UsageError(
            f"--lora can't be {given!r}: it starts with a rank", hint="for instance --lora 16, or --lora 16:attention"
        )
    known = {*COMPONENTS, *(name.partition(".")[0] for name in COMPONENTS)}
    unknown = next((name for name in wanted if name not in known), None)
    if unknown is not None:
        from difflib import get_close_matches

        near = get_close_matches(unknown, sorted(known), n=1)
        hint = f"did you mean {near[0]}?" if near else "components are written as --json lists them: attention.query"
        raise UsageError(f"--lora: there is no component {unknown!r}", hint=hint)
    return LoraWish(int(rank), wanted or _DEFAULT)
