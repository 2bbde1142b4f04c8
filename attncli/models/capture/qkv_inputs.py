"""The linear modules around a head: those that make its query, key and value, and the output matrix of its module.

Nothing is known by its name; every module that runs is compared with the vectors of the head.

Every linear module that runs on the attention module's own input, before its softmax, is recorded. It makes the queries
of a head if some d consecutive columns of its output are them: q, k and v are (d,) each, and families keep them in one
matrix or in three, head by head or all queries first, with or without a bias. Vectors are compared at the first
position, which rotary position encoding (Su et al. 2021) leaves as it is.

The output matrix takes the heads' output back to the residual stream. It is in the first module that receives as many
numbers a token as the heads gave. Families keep it in different places (`o_proj` inside the module, `output.dense`
after it) and multiply from different sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers.pytorch_utils import Conv1D

from attncli.models.capture.attention_types import to_float64
from attncli.models.capture.hooks import hooked, only_in_this_thread
from attncli.models.loading.forward import MEDIA_ARGUMENTS

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention
    from attncli.models.loading.loaded_model import LoadedModel

#: Largest distance of two vectors, relative to their length, that their precision explains.
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}
_HALF_TOLERANCE = 1e-2


class HeadProjection(NamedTuple):
    """How a linear module computes a query, key or value vector of one head: factor · (x W[:, start:stop] + b).

    module: its path.  bias: whether there is a b.  factor: 1 but for families that scale queries instead of scores.
    vector: its output at the traced position, before position encoding, (d,) in float64.
    """

    module: str
    start: int
    stop: int
    bias: bool
    factor: float
    vector: Tensor


class _LinearCall(NamedTuple):
    """One run of a linear module. output: (positions, width)."""

    module: str
    bias: bool
    output: Tensor


@dataclass(frozen=True)
class QKVInputs:
    """The input of one call of an attention module, and the linear modules that ran on it.

    states: at the traced position, (width,) in float64 on a CPU.  from_norm: whether they are the output of a norm.
    """

    states: Tensor
    from_norm: bool
    calls: tuple[_LinearCall, ...]

    def find_projection(self, vectors: Tensor, position: int = 0) -> HeadProjection | None:
        """The linear module that made these vectors of a head, (positions, d), with its output at `position`.

        None where no linear module made them directly: a norm or a second matrix may stand between.
        """
        matches = (_match_projection(call, vectors, position) for call in self.calls)
        return next((match for match in matches if match is not None), None)

    def follows_norm(self, residual: Tensor | None) -> bool | None:
        """Whether a norm stands between the residual stream and the module; None where unknown."""
        if residual is not None and residual.shape == self.states.shape and torch.allclose(residual, self.states):
            return False
        return True if self.from_norm else None


@dataclass
class QKVInputsRecorder:
    """Records the input of an attention module in one run.

    paths: of all modules, by their ids.  skipped: the ids of modules that are parts of a linear one (`adapted_parts`).
    """

    paths: Mapping[int, str]
    query: int
    skipped: frozenset[int] = frozenset()
    _norm_output: Tensor | None = None
    _inputs: tuple[Tensor, ...] = ()
    _from_norm: bool = False
    _calls: list[_LinearCall] = field(default_factory=list)

    def start_attention(self, inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        """Called before the attention module, with its arguments. The states come first, whatever their name."""
        given = [keywords.get("hidden_states"), *inputs, *keywords.values()]
        self._inputs = tuple(each for each in given if isinstance(each, Tensor) and each.is_floating_point())
        self._from_norm = bool(self._inputs) and self._inputs[0] is self._norm_output
        self._calls.clear()

    def record_module(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """Called after every module of the model."""
        if not isinstance(output, Tensor) or id(module) in self.skipped:
            return
        if "norm" in type(module).__name__.lower():
            self._norm_output = output
        elif is_linear(module) and inputs and isinstance(states := inputs[0], Tensor):
            # The attention module's own input, maybe in another shape.
            if not any(
                each is states or (each.numel() == states.numel() and each.data_ptr() == states.data_ptr())
                for each in self._inputs
            ):
                return
            bias = getattr(module, "bias", None) is not None
            self._calls.append(_LinearCall(self.paths.get(id(module), ""), bias, output.reshape(-1, output.shape[-1])))

    def finish(self) -> QKVInputs | None:
        """What was recorded until the attention was computed; None where the module was given no states."""
        if not self._inputs or self._inputs[0].ndim < 2:
            return None
        states = self._inputs[0].reshape(-1, self._inputs[0].shape[-1])
        if self.query >= len(states):
            return None
        recorded = QKVInputs(to_float64(states[self.query]).clone(), self._from_norm, tuple(self._calls))
        self._inputs, self._norm_output = (), None
        self._calls.clear()
        return recorded


def _match_projection(call: _LinearCall, vectors: Tensor, position: int) -> HeadProjection | None:
    """The columns of a linear module's output that are these vectors; None where there are none."""
    size, (positions, width) = vectors.shape[-1], call.output.shape
    if width % size or positions < len(vectors) or not bool(vectors[0].any()):
        return None
    # A norm scales each position by another factor: with a single position it can't be told from a constant factor.
    places, is_single = [0, len(vectors) - 1, position], len(vectors) == 1
    tolerance = _TOLERANCE.get(call.output.dtype, _HALF_TOLERANCE)
    parts, wanted = to_float64(call.output[places]).reshape(len(places), -1, size), to_float64(vectors[places])
    lengths, wanted_lengths = parts.norm(dim=-1), wanted.norm(dim=-1)[:, None]
    factors = wanted_lengths[0] / lengths[0].clamp(min=1e-30)
    distance = (parts[0] * factors[:, None] - wanted[0]).norm(dim=-1) / wanted_lengths[0].clamp(min=1e-30)
    # After the first position a rotation turns the vector, but keeps its length.
    length_error = ((lengths * factors - wanted_lengths).abs() / wanted_lengths.clamp(min=1e-30)).amax(dim=0)
    matches = ((distance < tolerance) & (length_error < tolerance)).nonzero().flatten().tolist()
    if not matches:
        return None
    part, factor = matches[0], float(factors[matches[0]])
    factor = 1.0 if abs(factor - 1) < tolerance else factor
    if is_single and factor != 1:
        return None
    return HeadProjection(call.module, part * size, (part + 1) * size, call.bias, factor, parts[-1, part] * factor)


# --- The output matrix


def output_projections(model: LoadedModel, arguments: Mapping[str, Tensor | bool]) -> dict[str, Tensor]:
    """The output matrix of every attention module by its path, (heads · d_value, width).

    arguments: of a forward pass; only the first two tokens of each text are run. Pictures and sounds are run whole, and
    a text beside one, as its tokens may stand for it.
    Modules whose heads give no values, or whose output goes through no plain matrix, are left out.
    """
    has_media = bool(arguments.keys() & MEDIA_ARGUMENTS)
    short = {
        name: value[:, :2] if isinstance(value, Tensor) and not has_media else value
        for name, value in arguments.items()
    }
    # The modules of such an adapter compute something else at each position, and so have no matrix.
    by_position = model.adapter is not None and model.adapter.acts_by_position
    found: dict[str, Tensor] = {}
    #: The path of the last attention module and the width of its heads' output, until the module that receives it runs.
    expected: tuple[str, int] | None = None

    def expect_output(path: str, attention: Attention) -> None:
        nonlocal expected
        states = attention.with_values
        expected = None if states is None else (path, attention.heads * states.value.shape[-1])

    def before_module(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal expected
        if expected is None or not receives(module, inputs, expected[1]):
            return
        (path, _), expected = expected, None
        matrix = None if by_position and is_adapted(module) else linear_map(module)
        if matrix is not None:
            found[path] = matrix.matrix

    with hooked(iter([register_module_forward_pre_hook(only_in_this_thread(before_module))])):
        model.run_attention(short, expect_output)
    return found


class LinearMap(NamedTuple):
    """x ↦ x W + b. matrix: (in, out).  bias: (out,), or None."""

    matrix: Tensor
    bias: Tensor | None


def is_linear(module: nn.Module) -> bool:
    """Whether a module is linear, with or without an adapter on it."""
    return isinstance(module, nn.Linear | Conv1D) or is_adapted(module)


def is_adapted(module: nn.Module) -> bool:
    """Whether a module is peft's wrapper around a linear one."""
    return isinstance(getattr(module, "base_layer", None), nn.Linear | Conv1D)


def adapted_parts(modules: Iterable[nn.Module]) -> frozenset[int]:
    """The ids of the modules inside those that have an adapter: what they compute is a part of the output alone."""
    adapted = (module for module in modules if is_adapted(module))
    return frozenset(id(part) for module in adapted for part in module.modules() if part is not module)


def receives(module: nn.Module, inputs: tuple[Any, ...], width: int) -> bool:
    """Whether a module is linear, with or without an adapter, and is given states of its width, which is this one."""
    states = inputs[0] if inputs else None
    plain: Any = module.base_layer if is_adapted(module) else module
    return isinstance(states, Tensor) and states.shape[-1] == width == _input_width(plain)


def _input_width(plain: nn.Module) -> int | None:
    """How many numbers a plain linear module takes; None for other modules, and for packed weights."""
    if not isinstance(plain, nn.Linear | Conv1D) or not plain.weight.is_floating_point():
        return None
    return int(plain.weight.shape[0 if isinstance(plain, Conv1D) else 1])


def linear_map(module: nn.Module) -> LinearMap | None:
    """What a linear module computes; None for other modules, and for an adapter whose part is not linear."""
    if is_adapted(module):
        return _adapted_map(module)
    if not isinstance(module, nn.Linear | Conv1D) or not module.weight.is_floating_point():
        return None
    # The weights of a model that is spread over several devices are loaded for each module's forward pass only.
    if module.weight.is_meta:
        from accelerate.utils import align_module_device

        with align_module_device(module):
            weight, bias = module.weight.detach().clone(), None if module.bias is None else module.bias.detach().clone()
    else:
        weight, bias = module.weight.detach(), None if module.bias is None else module.bias.detach()
    return LinearMap(weight if isinstance(module, Conv1D) else weight.T, bias)


def _adapted_map(module: nn.Module) -> LinearMap | None:
    """The map of a module with an adapter, of whatever kind: its output for 0 and for each unit vector."""
    base: Any = module.base_layer
    width = _input_width(base)
    if width is None or base.weight.is_meta:
        return None
    place: dict[str, Any] = {"device": base.weight.device, "dtype": base.weight.dtype}
    probe = torch.linspace(-1, 1, width, **place)
    with torch.no_grad():
        bias = module(torch.zeros(1, 1, width, **place))[0, 0]
        matrix = module(torch.eye(width, **place)[None])[0] - bias
        expected, output = probe @ matrix + bias, module(probe[None, None])[0, 0]
    if not are_close(output, expected, output.dtype):
        return None
    return LinearMap(matrix, bias if bool(bias.any()) else None)


def are_close(one: Tensor, other: Tensor, dtype: torch.dtype) -> bool:
    """Whether two outputs of a linear module differ by no more than rounding in its precision explains."""
    tolerance = 10 * _TOLERANCE.get(dtype, _HALF_TOLERANCE)
    return bool((one - other).norm() <= tolerance * other.norm())
