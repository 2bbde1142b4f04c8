"""States of constant size: what layers without attention keep of all that they have read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from attncli.parameters.attending import number, widths_of
from attncli.parameters.inventory import Kind
from attncli.parameters.settings import Settings

if TYPE_CHECKING:
    from attncli.parameters.classify import Share
    from attncli.parameters.count import Placed

#: What a state holds for each of its channels, and over how many heads its keys are spread.
_STATE_SIZE = ("ssm_state_size", "mamba_d_state", "state_size")
_KEY_HEADS = ("num_k_heads", "linear_num_key_heads", "num_heads", "num_attention_heads")
#: RWKV-4 keeps numbers alone, no outer products (Peng 2023): a channel's numerator, denominator and their maximum, and
#: the token before it, in both halves of a block. Told by the decay that it learns for each channel.
_DECAY, _NUMBERS_WITH_DECAY = "time_decay", 5
#: The input gate of an mLSTM (Beck 2024), which normalises its state by a vector of keys and a maximum a head.
_NORMALISED = "igate"


class State(NamedTuple):
    """The numbers that one layer keeps, however much it has read."""

    part: str
    layer: int
    numbers: int


def states(placed: Iterable[Placed], settings: Settings) -> tuple[State, ...]:
    """The states of every layer that mixes positions in another way than by attention.

    A convolution over the last k positions keeps k inputs a channel (Gu & Dao 2023); a linear attention the outer
    products of its keys and values, d_k · d_v a head (Katharopoulos 2020); a state space its state a channel.
    """
    groups: dict[tuple[str, str, int], list[Share]] = defaultdict(list)
    for share, where in placed:
        if share.component.startswith("mixer.") and where.stack is not None and where.layer is not None:
            groups[where.part, where.stack, where.layer].append(share)
    return tuple(State(part, layer, _numbers(shares, settings)) for (part, _, layer), shares in groups.items())


def _numbers(shares: Sequence[Share], settings: Settings) -> int:
    convolutions = (share.parameters for share in shares if _is_depthwise(share))
    return sum(convolutions) + _recurrent(shares, settings)


def _is_depthwise(share: Share) -> bool:
    """A convolution over positions that keeps channels apart: (channels, 1, positions)."""
    shape = share.tensor.shape
    return share.tensor.kind is Kind.CONVOLUTION and len(shape) == 3 and shape[1] == 1 and not share.is_bias


def _recurrent(shares: Sequence[Share], settings: Settings) -> int:
    widths, leaves = widths_of(shares), {share.tensor.name.rpartition(".")[2] for share in shares}
    path = _path(shares)
    if _DECAY in leaves:
        return _NUMBERS_WITH_DECAY * widths["output"]
    if widths["key"]:
        return _products(shares, widths["key"], widths["value"], number(settings, path, _KEY_HEADS) or 1)
    if any(share.component == "mixer.state" for share in shares):
        return widths["output"] * (number(settings, path, _STATE_SIZE) or 1)
    return 0


def _products(shares: Sequence[Share], keys: int, values: int, heads: int) -> int:
    normalised = any(step.startswith(_NORMALISED) for share in shares for step in share.tensor.name.split("."))
    return values * keys // heads + (keys + heads if normalised else 0)


def _path(shares: Sequence[Share]) -> str:
    """The module that holds the mixer's output projection: it, or what holds it, knows the sizes of the state."""
    found = next((share for share in shares if share.component == "mixer.output"), shares[0])
    return found.tensor.module
