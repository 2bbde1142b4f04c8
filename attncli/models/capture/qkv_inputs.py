"""What enters an attention module, and which linear modules make queries, keys and values of it, told by watching.

Every linear module that runs between the start of the attention module and its softmax is remembered. One of them made
the queries of a head if a stretch of its columns holds them: q, k and v are (d,) each, and families keep them in one
matrix or in three, head by head or all queries first, with or without a bias. The first position is what is compared,
as rotary position encoding (Su et al. 2021) turns that by nothing.

Which matrix takes what the heads of an attention module read back to the residual stream.

It is told by running: the first module with a matrix that is handed as many numbers a token as the heads gave. Families
keep it in different places (`o_proj` of the module, `output.dense` beside it) and multiply from different sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers.pytorch_utils import Conv1D

from attncli.models.capture.query_key_attention import exact
from attncli.models.loading.device import materialized_weights
from attncli.models.loading.forward import MODALITIES

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention
    from attncli.models.loading.loaded_model import LoadedModel

#: How far two vectors may be apart, of their length, and be the same in their precision.
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}
_HALF_TOLERANCE = 1e-2


class HeadProjection(NamedTuple):
    """How a linear module makes a vector of one head: factor · (x W[:, start:stop] + b).

    module: its path.  bias: whether there is a b.  factor: 1 but for families that scale queries instead of scores.
    vector: what it makes at the position that was asked for, before position encoding, (d,) in float64.
    """

    module: str
    start: int
    stop: int
    bias: bool
    factor: float
    vector: Tensor


class _Call(NamedTuple):
    """One run of a linear module. output: (positions, width)."""

    module: str
    bias: bool
    output: Tensor


@dataclass(frozen=True)
class QKVInputs:
    """What one call of an attention module was given.

    states: at the position that is watched, (width,) in float64 on a CPU.  from_norm: whether a norm handed them out.
    """

    states: Tensor
    from_norm: bool
    calls: tuple[_Call, ...]

    def making(self, vectors: Tensor, place: int = 0) -> HeadProjection | None:
        """What made these vectors of a head, (positions, d); told of the one at `place`.

        None where no linear module made them of what enters: a norm or a second matrix may stand between.
        """
        found = (_made(call, vectors, place) for call in self.calls)
        return next((made for made in found if made is not None), None)

    def normalised(self, residual: Tensor | None) -> bool | None:
        """Whether a norm stands between the residual stream and the module; None where that isn't known."""
        if residual is not None and residual.shape == self.states.shape and torch.allclose(residual, self.states):
            return False
        return True if self.from_norm else None


@dataclass
class QKVInputsWatch:
    """Watches for the modules by `names`, their paths by their ids, in one run."""

    names: Mapping[int, str]
    query: int
    _normed: Tensor | None = None
    _handed: tuple[Tensor, ...] = ()
    _from_norm: bool = False
    _calls: list[_Call] = field(default_factory=list)

    def begin(self, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        """The attention module starts, with these arguments. The states are the first, whatever they are called."""
        given = [named.get("hidden_states"), *inputs, *named.values()]
        self._handed = tuple(each for each in given if isinstance(each, Tensor) and each.is_floating_point())
        self._from_norm = bool(self._handed) and self._handed[0] is self._normed
        self._calls.clear()

    def meet(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """Any module has run."""
        if not isinstance(output, Tensor):
            return
        if "norm" in type(module).__name__.lower():
            self._normed = output
        elif isinstance(module, nn.Linear | Conv1D) and inputs and self._is_fed(inputs[0]):
            bias = getattr(module, "bias", None) is not None
            self._calls.append(_Call(self.names.get(id(module), ""), bias, output.reshape(-1, output.shape[-1])))

    def end(self) -> QKVInputs | None:
        """Queries, keys and values have met."""
        if not self._handed or self._handed[0].ndim < 2:
            return None
        states = self._handed[0].reshape(-1, self._handed[0].shape[-1])
        if self.query >= len(states):
            return None
        entering = QKVInputs(exact(states[self.query]).clone(), self._from_norm, tuple(self._calls))
        self._handed, self._normed = (), None
        self._calls.clear()
        return entering

    def _is_fed(self, states: Any) -> bool:
        """Whether a linear module was given what the attention module was, maybe in another shape."""
        return isinstance(states, Tensor) and any(
            each is states or (each.numel() == states.numel() and each.data_ptr() == states.data_ptr())
            for each in self._handed
        )


def _made(call: _Call, vectors: Tensor, place: int) -> HeadProjection | None:
    """The stretch of a module's columns that holds these vectors, if there is one."""
    size, (positions, width) = vectors.shape[-1], call.output.shape
    if width % size or positions < len(vectors) or not bool(vectors[0].any()):
        return None
    # A norm would multiply each position by a number of its own: one of them can't tell it from a factor.
    places, alone = [0, len(vectors) - 1, place], len(vectors) == 1
    tolerance = _TOLERANCE.get(call.output.dtype, _HALF_TOLERANCE)
    parts, wanted = exact(call.output[places]).reshape(len(places), -1, size), exact(vectors[places])
    lengths, wanted_lengths = parts.norm(dim=-1), wanted.norm(dim=-1)[:, None]
    factors = wanted_lengths[0] / lengths[0].clamp(min=1e-30)
    apart = (parts[0] * factors[:, None] - wanted[0]).norm(dim=-1) / wanted_lengths[0].clamp(min=1e-30)
    # Elsewhere a rotation turns the vector, and keeps its length.
    longer = ((lengths * factors - wanted_lengths).abs() / wanted_lengths.clamp(min=1e-30)).amax(dim=0)
    same = ((apart < tolerance) & (longer < tolerance)).nonzero().flatten().tolist()
    if not same:
        return None
    part, factor = same[0], float(factors[same[0]])
    factor = 1.0 if abs(factor - 1) < tolerance else factor
    if alone and factor != 1:
        return None
    return HeadProjection(call.module, part * size, (part + 1) * size, call.bias, factor, parts[-1, part] * factor)


def output_projections(model: LoadedModel, arguments: Mapping[str, Tensor | bool]) -> dict[str, Tensor]:
    """The output matrix of every attention module by its path, (heads · d_value, width).

    arguments: of a forward pass; of each text the first two tokens are run, and pictures and sounds whole. Modules
    whose heads give no values, or go through no plain matrix, are left out.
    """
    short = {name: _shortened(name, value) for name, value in arguments.items()}
    watch = _Watch()
    with watch.watching():
        model.run_attention(short, watch.expect)
    return watch.found


def _shortened(name: str, value: Tensor | bool) -> Tensor | bool:
    seen = any(name in names for names in MODALITIES.values())
    return value[:, :2] if isinstance(value, Tensor) and not seen else value


@dataclass
class _Watch:
    """Waits, after each attention, for the module that is handed its output."""

    found: dict[str, Tensor] = field(default_factory=dict)
    _expected: tuple[str, int] | None = None

    def expect(self, path: str, attention: Attention) -> None:
        reader = attention.values_of
        self._expected = None if reader is None else (path, attention.heads * reader.value.shape[-1])

    @contextmanager
    def watching(self) -> Iterator[None]:
        handle = register_module_forward_pre_hook(self._meet)
        try:
            yield
        finally:
            handle.remove()

    def _meet(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if self._expected is None or not inputs or not isinstance(inputs[0], Tensor):
            return
        path, width = self._expected
        matrix = plain_matrix(module)
        if matrix is not None and inputs[0].shape[-1] == width == matrix.shape[0]:
            self.found[path] = matrix
            self._expected = None


def plain_matrix(module: nn.Module) -> Tensor | None:
    """What a plain linear module multiplies its input with from the right, (in, out)."""
    if not isinstance(module, nn.Linear | Conv1D) or not module.weight.is_floating_point():
        return None
    if module.weight.is_meta:
        # A model that is spread over several devices has a module's weights at hand in its forward pass alone.
        with materialized_weights(module):
            matrix = module.weight.detach().clone()
    else:
        matrix = module.weight.detach()
    return matrix if isinstance(module, Conv1D) else matrix.T
