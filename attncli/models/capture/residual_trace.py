"""Trace one position through an attention module: its input, its heads' output, and its write to the residual stream.

The output matrix is the module that receives the heads' output (see `qkv_inputs`). Its output is followed, through
dropout and multiplication by a number, to the addition that it goes into: to the states that entered the block, or to
the output of a parallel branch, to which those states are added in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.hooks import RemovableHandle

from attncli.models.capture.attention_types import CROSS_SUFFIX, to_float64
from attncli.models.capture.hooks import SUMS, TorchCalls, hooked, only_in_this_thread
from attncli.models.capture.qkv_inputs import (
    QKVInputs,
    QKVInputsRecorder,
    adapted_parts,
    are_close,
    is_adapted,
    linear_map,
    receives,
)

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention
    from attncli.models.loading.loaded_model import LoadedModel

_PRODUCTS = frozenset({"mul", "mul_", "__mul__", "__rmul__", "__imul__"})
_QUOTIENTS = frozenset({"div", "div_", "true_divide", "__truediv__"})
#: Functions whose result holds the same numbers, at most in another place, shape or precision.
_PASS_THROUGH = frozenset({"dropout", "to", "contiguous", "type_as", "view", "reshape"})


class ResidualWrite(NamedTuple):
    """What an attention module writes to the residual stream at one position; all float64 on a CPU.

    heads_output: the input of the output matrix, all heads concatenated, (heads · d_value,).
    matrix: (heads · d_value, width).  bias: (width,), or None.  output: of the matrix, (width,).
    residual: the states that the output is added to, (width,), or None where unknown.
    scale: the factor applied before the addition; None where the output goes into a norm or a gate instead of a sum
    (then `residual` holds the states that entered the block).
    """

    heads_output: Tensor
    matrix: Tensor
    bias: Tensor | None
    output: Tensor
    residual: Tensor | None
    scale: float | None


class AttentionTrace(NamedTuple):
    """One call of an attention module: its attention, its input, and what it wrote to the residual stream.

    attention: None where the module did not run this time: BigBird replaces its modules in its first pass over a short
    text.
    residual_write: None where the heads' output goes through no plain matrix.
    rotated: queries and keys were rotated by their positions (RoPE, Su et al. 2021).
    inputs: None where the module was given no states.
    residual: the residual stream before the module, (width,), or None where unknown.
    """

    attention: Attention | None
    residual_write: ResidualWrite | None
    rotated: bool
    inputs: QKVInputs | None
    residual: Tensor | None


def trace_attention(
    model: LoadedModel, arguments: Mapping[str, Tensor | bool], path: str, *, call: int, query: int
) -> AttentionTrace:
    """Run the model on one text and trace one position through one of its attention modules.

    path: of the module.  call: which of its calls, where the model runs a block several times.  query: the position.
    """
    modules = dict(model.module.named_modules())
    paths = {id(module): name for name, module in modules.items()}
    recorder = QKVInputsRecorder(paths, query, adapted_parts(modules.values()))
    tracer = _AttentionTracer(path, call, query, model.site_of(path).cross, modules, recorder)
    with model.borrowed(), hooked(tracer.hooks()), TorchCalls(tracer.call_torch):
        model.run_attention(arguments, tracer.observe)
    write = tracer.residual_write()
    return AttentionTrace(tracer.attention, write, tracer.rotated, tracer.inputs, tracer.residual(write))


@dataclass
class _AttentionTracer:
    """Hooks that record the states of one run of the model."""

    path: str
    call: int
    query: int
    cross: bool
    modules: Mapping[str, nn.Module]
    recorder: QKVInputsRecorder
    inputs: QKVInputs | None = None
    attention: Attention | None = None
    rotated: bool = False
    _calls: int = 0
    #: The width of the heads' output, until the module that receives it has run.
    _output_width: int | None = None
    _positions: list[Tensor] = field(default_factory=list)
    _uses_positions: bool = False
    _block_input: Tensor | None = None
    #: The heads' output, the module of the output matrix, and its output.
    _projected: tuple[Tensor, nn.Module, Tensor] | None = None
    _flow: _OutputFlow | None = None

    def observe(self, path: str, attention: Attention) -> None:
        if path != self.path:
            return
        if self._calls == self.call:
            states = attention.with_values
            self.attention, self.rotated, self.inputs = attention, self._uses_positions, self.recorder.finish()
            self._output_width = None if states is None else attention.heads * states.value.shape[-1]
        self._calls += 1

    def residual_write(self) -> ResidualWrite | None:
        if self._projected is None or self._flow is None:
            return None
        heads_output, module, output = self._projected
        found, residual = linear_map(module), self._flow.residual
        if found is None:
            return None
        matrix, bias = to_float64(found.matrix), None if found.bias is None else to_float64(found.bias)
        # The map of an adapter may depend on the position.
        expected = heads_output @ matrix + (0 if bias is None else bias)
        if is_adapted(module) and not are_close(expected, output, found.matrix.dtype):
            return None
        if self._flow.scale is None and self._block_input is not None and not self.cross:
            residual = self._block_input_row()
        return ResidualWrite(heads_output, matrix, bias, output, residual, self._flow.scale)

    def residual(self, write: ResidualWrite | None) -> Tensor | None:
        """The residual stream before the module. For a cross-attention only the addition shows which states it is."""
        known = None if write is None else write.residual
        return self._block_input_row() if known is None and not self.cross else known

    def _block_input_row(self) -> Tensor | None:
        return None if self._block_input is None else _position_row(self._block_input, self.query)

    def hooks(self) -> Iterator[RemovableHandle]:
        module = self.modules[self.path.removesuffix(CROSS_SUFFIX)]
        yield module.register_forward_pre_hook(self._before_attention, with_kwargs=True)
        # The block is the element of a list that holds the module.
        parents = self.path.split(".")
        places = [index for index, part in enumerate(parents) if part.isdigit()]
        if places:
            block = self.modules[".".join(parents[: places[0] + 1])]
            yield block.register_forward_pre_hook(self._before_block, with_kwargs=True)
        yield register_module_forward_hook(only_in_this_thread(self._after_module))

    def _before_block(self, _: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if self._calls <= self.call and self._projected is None:
            given = [each for each in (*inputs, *keywords.values()) if isinstance(each, Tensor)]
            self._block_input = given[0] if given else None

    def _before_attention(self, module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if self._calls == self.call:
            self.recorder.start_attention(inputs, keywords)
        self._positions = list(_position_embeddings(inputs, keywords))
        self._uses_positions = any("rotary" in type(part).__name__.lower() for part in module.children())

    def _after_module(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if self.attention is None:
            self.recorder.record_module(module, inputs, output)
        if self._output_width is None or not isinstance(output, Tensor) or id(module) in self.recorder.skipped:
            return
        if receives(module, inputs, self._output_width):
            self._output_width = None
            self._projected = _position_row(inputs[0], self.query), module, _position_row(output, self.query)
            self._flow = _OutputFlow(output, self._block_input, self.query)

    def call_torch(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a function of torch, and follow what goes through it."""
        if self._positions and any(each is one for each in args for one in self._positions):
            self._uses_positions = True
        # Before the call, as some functions change their operand in place.
        goes_on = self._flow is not None and self._flow.goes_through(getattr(func, "__name__", ""), args)
        result = func(*args, **kwargs)
        if goes_on and self._flow is not None and self._flow.current is not None and isinstance(result, Tensor):
            self._flow.current = result
        return result


@dataclass
class _OutputFlow:
    """Follows the output of the matrix to its addition. residual, scale: as in `ResidualWrite`.

    current: the tensor that holds the output now; None after it was added to the block's input.
    """

    current: Tensor | None
    block_input: Tensor | None
    query: int
    residual: Tensor | None = None
    scale: float | None = None
    _factor: float = 1.0

    def goes_through(self, name: str, operands: Sequence[Any]) -> bool:
        """Whether the result of a function holds the output, if the tensor is one of its operands."""
        if self.current is None or not any(each is self.current for each in operands[:2]):
            return False
        if name in _PASS_THROUGH:
            # As another operand it only lends its type (type_as).
            return operands[0] is self.current
        other = next((each for each in operands[:2] if each is not self.current), self.current)
        if isinstance(other, int | float) and self.scale is None:
            if name in _PRODUCTS:
                self._factor *= other
                return True
            if name in _QUOTIENTS and operands[0] is self.current:
                self._factor /= other
                return True
        if name in SUMS and isinstance(other, Tensor) and other.shape == self.current.shape:
            self._record_addition(other)
            return True
        return False

    def _record_addition(self, other: Tensor) -> None:
        """The first tensor that it is added to is the residual stream, unless the block's input follows later."""
        is_block_input = other is self.block_input
        if self.scale is None or is_block_input:
            self.scale, self.residual = self._factor, _position_row(other, self.query)
        if is_block_input:
            self.current = None


def _position_embeddings(inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Iterator[Tensor]:
    """The cosines and sines among an attention module's arguments, whether it uses them or not."""
    given = keywords.get("position_embeddings")
    pairs = [given] if given is not None else [each for each in inputs if isinstance(each, tuple) and len(each) == 2]
    for pair in pairs:
        yield from (each for each in (pair if isinstance(pair, tuple) else (pair,)) if isinstance(each, Tensor))


def _position_row(states: Tensor, query: int) -> Tensor:
    """The states of one position, (width,), of (1, positions, width) or (positions, width)."""
    return to_float64(states.reshape(-1, states.shape[-1])[query]).clone()
