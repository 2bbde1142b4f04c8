"""What an attention module adds to the residual stream at one position, told by watching it run.

The output matrix is the module that is handed what the heads read (see `qkv_inputs`). What comes out of
it is followed, through dropout and multiplication by a number, to where it is added to something: to the states that
entered the block, or to what another branch of the block computed beside it, to which those are added in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode

from attncli.models.capture.qkv_inputs import QKVInputs, QKVInputsWatch, plain_matrix
from attncli.models.capture.query_key_attention import exact

if TYPE_CHECKING:
    from attncli.models.capture.attention_types import Attention
    from attncli.models.loading.loaded_model import LoadedModel

_SUMS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})
_PRODUCTS = frozenset({"mul", "mul_", "__mul__", "__rmul__", "__imul__"})
_QUOTIENTS = frozenset({"div", "div_", "true_divide", "__truediv__"})
#: What hands a tensor on, in another place or precision at most.
_SAME = frozenset({"dropout", "to", "contiguous", "type_as", "view", "reshape"})


class ResidualWrite(NamedTuple):
    """What one position of one attention module comes to; all float64 on a CPU.

    read: what the output matrix was handed, of all heads one behind the other, (heads · d_value,).  matrix: (heads ·
    d_value, width).  bias: (width,), or None.  output: what came out of it, (width,).
    residual: the states that it is added to, (width,), or None where that isn't known.
    scale: what it is multiplied with before; None where it is no sum that it goes into, but a norm or a gate (then
    `residual` are the states that entered the block).
    """

    read: Tensor
    matrix: Tensor
    bias: Tensor | None
    output: Tensor
    residual: Tensor | None
    scale: float | None


class AttentionTrace(NamedTuple):
    """An attention computation and what became of it. addition: None where its heads go through no plain matrix.

    attention: None where the module did not run again: BigBird exchanges its own in the pass over its first short text.
    rotated: queries and keys were turned by their positions before they met (RoPE, Su et al. 2021).
    entering: what the module was given, if that was states.  residual: the states that stand in the residual stream
    before it, (width,), or None where that isn't known.
    """

    attention: Attention | None
    addition: ResidualWrite | None
    rotated: bool
    entering: QKVInputs | None
    residual: Tensor | None


def trace_attention(
    model: LoadedModel, arguments: Mapping[str, Tensor | bool], path: str, *, call: int, query: int
) -> AttentionTrace:
    """Run the model on one text and watch one position of one of its attention modules.

    path: of the module.  call: which of its calls in one pass, where a block runs again and again.
    """
    modules = dict(model.module.named_modules())
    entering = QKVInputsWatch({id(module): name for name, module in modules.items()}, query)
    watch = _Watch(path, call, query, model.site_of(path).cross, modules, entering)
    with watch.watching():
        model.run_attention(arguments, watch.observe)
    addition = watch.addition()
    return AttentionTrace(watch.attention, addition, watch.rotated, watch.entering, watch.residual(addition))


@dataclass
class _Watch:
    """The states of one run, as they come by."""

    path: str
    call: int
    query: int
    cross: bool
    modules: Mapping[str, nn.Module]
    begun: QKVInputsWatch
    entering: QKVInputs | None = None
    attention: Attention | None = None
    rotated: bool = False
    _calls: int = 0
    _expected: int | None = None
    _positions: list[Tensor] = field(default_factory=list)
    _touched: bool = False
    _entered: Tensor | None = None
    _made: tuple[Tensor, nn.Module, Tensor] | None = None
    _flow: _Flow | None = None

    def observe(self, path: str, attention: Attention) -> None:
        if path != self.path:
            return
        if self._calls == self.call:
            reader = attention.values_of
            self.attention, self.rotated, self.entering = attention, self._touched, self.begun.end()
            self._expected = None if reader is None else attention.heads * reader.value.shape[-1]
        self._calls += 1

    def addition(self) -> ResidualWrite | None:
        if self._made is None or self._flow is None:
            return None
        read, module, output = self._made
        matrix = plain_matrix(module)
        assert matrix is not None
        bias, residual = getattr(module, "bias", None), self._flow.residual
        if self._flow.scale is None and self._entered is not None and not self.cross:
            residual = self._entered_row()
        exact_bias = None if bias is None else exact(bias)
        return ResidualWrite(read, exact(matrix), exact_bias, output, residual, self._flow.scale)

    def residual(self, addition: ResidualWrite | None) -> Tensor | None:
        """The states before the module. What is added to a cross-attention's output alone says which those are."""
        known = None if addition is None else addition.residual
        return self._entered_row() if known is None and not self.cross else known

    def _entered_row(self) -> Tensor | None:
        return None if self._entered is None else _row(self._entered, self.query)

    @contextmanager
    def watching(self) -> Iterator[None]:
        with ExitStack() as stack:
            module, block = self.modules[self.path], self._block()
            hooks = [module.register_forward_pre_hook(self._begin, with_kwargs=True)]
            if block is not None:
                hooks.append(block.register_forward_pre_hook(self._enter, with_kwargs=True))
            hooks.append(register_module_forward_hook(self._meet))
            for hook in hooks:
                stack.callback(hook.remove)
            stack.enter_context(_Calls(self._called))
            yield

    def _block(self) -> nn.Module | None:
        """The element of a list that holds the module: its block."""
        parents = self.path.split(".")
        places = [index for index, part in enumerate(parents) if part.isdigit()]
        return self.modules[".".join(parents[: places[0] + 1])] if places else None

    def _enter(self, _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self._calls <= self.call and self._made is None:
            given = [each for each in (*inputs, *named.values()) if isinstance(each, Tensor)]
            self._entered = given[0] if given else None

    def _begin(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self._calls == self.call:
            self.begun.begin(inputs, named)
        self._positions = list(_positions(inputs, named))
        self._touched = any("rotary" in type(part).__name__.lower() for part in module.children())

    def _meet(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if self.attention is None:
            self.begun.meet(module, inputs, output)
        matrix = None if self._expected is None or not inputs else plain_matrix(module)
        if matrix is None or not isinstance(inputs[0], Tensor) or not isinstance(output, Tensor):
            return
        if inputs[0].shape[-1] == self._expected == matrix.shape[0]:
            self._expected = None
            self._made = _row(inputs[0], self.query), module, _row(output, self.query)
            self._flow = _Flow(output, self._entered, self.query)

    def _called(self, name: str, operands: Sequence[Any]) -> Callable[[Tensor], None] | None:
        """Before a function is called; answers what is to be done with its result."""
        if self._positions and any(each is one for each in operands for one in self._positions):
            self._touched = True
        return None if self._flow is None else self._flow.called(name, operands)


@dataclass
class _Flow:
    """Where the output of the matrix goes. residual, scale: as in `Addition`."""

    now: Tensor | None
    entered: Tensor | None
    query: int
    residual: Tensor | None = None
    scale: float | None = None
    _factor: float = 1.0

    def called(self, name: str, operands: Sequence[Any]) -> Callable[[Tensor], None] | None:
        if self.now is None or not any(each is self.now for each in operands[:2]):
            return None
        if name in _SAME:
            # Or it only lends its type.
            return self._go_on if operands[0] is self.now else None
        other = next((each for each in operands[:2] if each is not self.now), self.now)
        if name in _PRODUCTS and isinstance(other, int | float) and self.scale is None:
            self._factor *= other
            return self._go_on
        if name in _QUOTIENTS and isinstance(other, int | float) and operands[0] is self.now and self.scale is None:
            self._factor /= other
            return self._go_on
        if name in _SUMS and isinstance(other, Tensor) and other.shape == self.now.shape:
            self._meet(other)
            return self._go_on
        return None

    def _meet(self, other: Tensor) -> None:
        """It is added to `other`: the first is the residual stream, unless the states of the block come later."""
        is_entered = other is self.entered
        if self.scale is None or is_entered:
            self.scale, self.residual = self._factor, _row(other, self.query)
        if is_entered:
            self.now = None

    def _go_on(self, result: Tensor) -> None:
        if self.now is not None:
            self.now = result


class _Calls(TorchFunctionMode):
    """Tells of every function that torch is asked for."""

    def __init__(self, tell: Callable[[str, Sequence[Any]], Callable[[Tensor], None] | None]) -> None:
        super().__init__()
        self._tell = tell

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # Before the call, as some change their operand.
        then = self._tell(getattr(func, "__name__", ""), args)
        result = func(*args, **(kwargs or {}))
        if then is not None and isinstance(result, Tensor):
            then(result)
        return result


def _positions(inputs: tuple[Any, ...], named: dict[str, Any]) -> Iterator[Tensor]:
    """Cosines and sines that an attention module is handed, whether it uses them or not."""
    given = named.get("position_embeddings")
    pairs = [given] if given is not None else [each for each in inputs if isinstance(each, tuple) and len(each) == 2]
    for pair in pairs:
        yield from (each for each in (pair if isinstance(pair, tuple) else (pair,)) if isinstance(each, Tensor))


def _row(states: Tensor, query: int) -> Tensor:
    """One position of (1, positions, width), however the first two are folded."""
    return exact(states.reshape(-1, states.shape[-1])[query]).clone()
