"""Watches a model's own code: the calls of its modules, and every call of torch in them that may mix values.

`MixingWatch` sees softmaxes, products of tensors, and torch's own attention (`scaled_dot_product_attention`,
`multi_head_attention_forward`, `flex_attention`). Fast paths that skip them and compiled code are off meanwhile.

Which axes count tokens is told by a second run on a text of another length: `ShapeRecorder` keeps the shapes of its
steps, and `Steps.growth` compares them with the shapes of the run that is watched.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attncli.models.capture.tensor_products import Growth, Product, find_product

_SOFTMAXES = frozenset({torch.softmax, nn.functional.softmax, Tensor.softmax, torch.special.softmax})
_DROPOUTS = frozenset({torch.dropout, nn.functional.dropout, torch.feature_dropout, nn.functional.dropout2d})
_MULTI_HEAD = nn.functional.multi_head_attention_forward
_MULTI_HEAD_SIGNATURE = inspect.signature(_MULTI_HEAD)
_SDPA, _FLEX = nn.functional.scaled_dot_product_attention, "flex_attention"

#: Texts for the second run have at most so many tokens.
_MAX_SECOND_LENGTH = 64

#: The arguments whose second axis counts tokens have a length of these.
_ID_ARGUMENTS = ("input_ids", "decoder_input_ids")


#: Libraries whose attention modules are known to take a softmax for attention alone.
_LIBRARIES = frozenset({"torch", "transformers", "peft"})


def is_own_code(module: nn.Module) -> bool:
    """Whether a module is of no known library."""
    return type(module).__module__.partition(".")[0] not in _LIBRARIES


class FusedCall(NamedTuple):
    """The arguments of a call of scaled dot-product attention."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    is_causal: bool
    scale: float | None


class BatchAxis(NamedTuple):
    """Where the texts of a batch are. folded: along with heads, the texts outside (`outer`) or the heads."""

    axis: int
    outer: bool


class Step(NamedTuple):
    """A step of a module: the function's name, the shapes of its tensors, and where the texts of each are."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    batch_axes: tuple[BatchAxis | None, ...] = ()


@dataclass
class ModuleCall:
    """A call of a module that has not returned yet. number: how often the module was called before in this run."""

    module: nn.Module
    number: int = 0
    steps: list[Step] = field(default_factory=list)


class MixingWatch:
    """While active, calls the methods `on_…` for what happens in the modules of a model; those here do nothing."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        #: Calls within calls, the innermost last.
        self.calls: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._paused = False
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for module in self._model.modules():
                if isinstance(module, torch.jit.ScriptModule):
                    continue  # takes no hooks
                stack.callback(module.register_forward_pre_hook(self._before_module, with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(self._after_module, prepend=True).remove)
            stack.enter_context(_no_fast_path())
            # Compiled code hides what it computes.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(_TorchCalls(self._call))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is computed in the body is no part of the model."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def mark_captured(self) -> None:
        """Note that the attention of the modules that are being called was captured another way."""

    def new_call(self, module: nn.Module, number: int, inputs: Sequence[Any]) -> Any:
        return ModuleCall(module, number)

    def on_module(self, call: Any, output: Any) -> Any:
        """After a module; what is returned, if anything, takes the place of its output."""

    def on_softmax(self, call: Any, weights: Tensor, scores: object) -> None: ...

    def on_result(
        self, call: Any, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> None: ...

    def on_product(self, call: Any, product: Product, result: Tensor) -> None: ...

    def on_fused(self, call: Any, fused: FusedCall) -> None: ...

    def on_weights(self, call: Any, weights: Callable[[], Tensor], extra_keys: int) -> None: ...

    def add_step(self, call: ModuleCall, name: str, *tensors: Tensor) -> None:
        call.steps.append(Step(name, tuple(tuple(each.shape) for each in tensors)))

    def _before_module(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        number = self._numbers.get(id(module), 0)
        self._numbers[id(module)] = number + 1
        self.calls.append(self.new_call(module, number, (*args, *kwargs.values())))

    def _after_module(self, module: nn.Module, _: Any, output: Any) -> Any:
        while (call := self.calls.pop()).module is not module:
            pass  # own code may catch what a module raised
        with self.paused():
            return self.on_module(call, output)

    def _call(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run a function of torch in a module, and say what it was. Dropout is off."""
        if self._paused or not self.calls:
            return func(*args, **kwargs)
        call = self.calls[-1]
        if func is _SDPA:
            return self._call_sdpa(call, *args, **kwargs)
        if func is _MULTI_HEAD:
            return self._call_multi_head(call, args, kwargs)
        if isinstance(func, torch._ops.HigherOrderOperator) and func.__name__ == _FLEX:
            return self._call_flex(call, func, args, kwargs)
        if func in _DROPOUTS and args:
            return args[0]
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor | tuple | list):
            return result
        if func in _SOFTMAXES and isinstance(result, Tensor):
            self.add_step(call, "softmax", result)
            self.on_softmax(call, result, args[0] if args else None)
        elif isinstance(result, Tensor) and (product := find_product(func, args, kwargs)) is not None:
            self.add_step(call, "product", *product.operands, result)
            self.on_product(call, product, result)
        else:
            self.on_result(call, func, args, kwargs, result)
        return result

    def _call_sdpa(
        self,
        call: ModuleCall,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        self.add_step(call, "attention", query, key, value)
        self.on_fused(call, FusedCall(query, key, value, attn_mask, is_causal, scale))
        return _SDPA(query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa)

    def _call_multi_head(self, call: ModuleCall, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """It hands out its weights, (batch, heads, queries, keys); learned keys and one of zeros come last."""
        bound = _MULTI_HEAD_SIGNATURE.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        wanted = {"training": False, "need_weights": True, "average_attn_weights": False}
        output, weights = _MULTI_HEAD(**{**given, **wanted})
        assert weights is not None
        extra_keys = int(given["bias_k"] is not None) + int(bool(given["add_zero_attn"]))
        whole = weights if weights.ndim == 4 else weights[None]
        hides = not extra_keys and bool(whole.isnan().any())
        shown = whole.masked_fill(_hidden_rows(given, whole), 0) if hides else whole
        self.add_step(call, "attention", shown)
        self.on_weights(call, lambda: shown, extra_keys)
        if not given["need_weights"]:
            return output, None
        return output, weights.mean(dim=-3) if given["average_attn_weights"] else weights

    def _call_flex(
        self, call: ModuleCall, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """With the identity in place of the values, the weights come out, after `score_mod` and `block_mask`."""
        query, key, value = args[:3]

        def weights() -> Tensor:
            identity = torch.eye(key.shape[2], dtype=value.dtype, device=value.device)
            identity = identity.expand(*value.shape[:2], -1, -1).contiguous()
            computed: Tensor = func(query, key, identity, *args[3:], **kwargs)[0]
            return computed

        self.add_step(call, "attention", query, key, value)
        self.on_weights(call, weights, 0)
        return func(*args, **kwargs)


def _hidden_rows(given: Mapping[str, Any], weights: Tensor) -> Tensor:
    """The queries from which the masks of `multi_head_attention_forward` hide every key: their weights are NaN."""
    masks = [given["attn_mask"], given["key_padding_mask"]]
    of_pairs, of_keys = (each if each is None or each.dtype == torch.bool else each == -torch.inf for each in masks)
    hidden = torch.zeros_like(weights, dtype=torch.bool)
    if of_pairs is not None:
        hidden |= of_pairs.view(-1, weights.shape[1], *of_pairs.shape[1:]) if of_pairs.ndim == 3 else of_pairs
    if of_keys is not None:
        hidden |= of_keys.view(-1, 1, 1, of_keys.shape[-1])
    return hidden.all(-1, keepdim=True)


class _TorchCalls(TorchFunctionMode):
    """While active, passes every call of torch to `run`."""

    def __init__(self, run: Callable[[Callable[..., Any], Sequence[Any], Mapping[str, Any]], Any]) -> None:
        super().__init__()
        self._run = run

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self._run(func, args, kwargs or {})


@contextmanager
def _no_fast_path() -> Iterator[None]:
    """`nn.MultiheadAttention` and `nn.TransformerEncoder` compute their attention step by step in the body."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


# --- Weights that a module hands out


def weights_index(output: object, batch: int) -> int | None:
    """The index of the weights in a module's output: (batch, heads, queries, keys), no less than 0, rows sum to 1."""
    parts = list(enumerate(output))[1:] if isinstance(output, tuple | list) else []
    return next((index for index, part in parts if _are_weights(part, batch)), None)


def _are_weights(part: object, batch: int) -> bool:
    if not isinstance(part, Tensor) or part.ndim != 4 or not part.is_floating_point() or not part.numel():
        return False
    return part.shape[0] == batch and not bool((part < 0).any()) and rows_sum_to_one(part)


def rows_sum_to_one(weights: Tensor) -> bool:
    """Whether rows sum to 1, or to 0 where nothing is seen.

    NaN passes: it is reported later, with its layer.
    """
    sums = weights.float().sum(-1)
    return not bool((((sums - 1).abs() >= 0.01) & (sums != 0)).any()) and bool((sums != 0).any())


# --- The second run


@dataclass(frozen=True)
class Steps:
    """The steps of every module in the second run, call by call, by the module's id. lengths: of its texts."""

    of: Mapping[int, Sequence[Sequence[Step]]]
    lengths: tuple[int, ...]

    def same_step(self, call: ModuleCall) -> Step | None:
        """What was the last step of `call` in the second run; None where its module took other steps."""
        steps = self._same_steps(call)
        return steps[min(call.number, len(steps) - 1)] if steps else None

    def growth(self, call: ModuleCall) -> tuple[Growth, ...] | None:
        """Which axes of the tensors of the last step count tokens; None where unknown.

        All calls of the module are compared: one for a chunk of the text has the same size in every text.
        """
        steps = self._same_steps(call)
        if not steps:
            return None
        tensors = zip(call.steps[-1].shapes, *(step.shapes for step in steps), strict=True)
        return tuple(tuple(len(set(sizes)) > 1 for sizes in zip(*shapes, strict=True)) for shapes in tensors)

    def _same_steps(self, call: ModuleCall) -> list[Step]:
        """The last step of `call` in every call of its module; none where one of them took other steps."""
        now, place = call.steps[-1], len(call.steps) - 1
        calls = self.of.get(id(call.module), ())
        steps = [steps[place] for steps in calls if len(steps) > place]
        same = all(each.name == now.name and [*map(len, each.shapes)] == [*map(len, now.shapes)] for each in steps)
        return steps if same and len(steps) == len(calls) else []

    def count(self, call: ModuleCall, name: str) -> int:
        """How often a module took a step of this name in one call."""
        calls = self.of.get(id(call.module), ())
        return max((sum(step.name == name for step in steps) for steps in calls), default=0)


class ShapeRecorder(MixingWatch):
    """Runs a model on copies of one text of another length, and keeps the shapes of every step."""

    def __init__(self, model: nn.Module, batch: int) -> None:
        super().__init__(model)
        self._batch = batch
        self._steps: dict[int, list[list[Step]]] = {}

    def run(self, forward: Callable[..., Any], arguments: Mapping[str, Any]) -> Steps:
        """arguments: of the first run."""
        other, lengths = _second_arguments(arguments, self._batch)
        device = next((each.device for each in arguments.values() if isinstance(each, Tensor)), torch.device("cpu"))
        # Some models draw numbers; the first run has to draw the same as without this one.
        with torch.random.fork_rng([device] if device.type == "cuda" else []), self:
            forward(**other)
        return Steps(self._steps, lengths)

    def add_step(self, call: ModuleCall, name: str, *tensors: Tensor) -> None:
        shapes = tuple(tuple(each.shape) for each in tensors)
        axes = tuple(_batch_axis(each, self._batch) for each in tensors) if self._batch > 1 else ()
        call.steps.append(Step(name, shapes, axes))

    def on_module(self, call: ModuleCall, output: Any) -> None:
        if (index := weights_index(output, self._batch)) is not None:
            self.add_step(call, "output", output[index])
        self._steps.setdefault(id(call.module), []).append(call.steps)


def _second_arguments(arguments: Mapping[str, Any], batch: int) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Arguments for texts that are all the same and of another length: about half, or two tokens more."""
    lengths = {
        arguments[name].shape[1]: _second_length(arguments[name].shape[1])
        for name in _ID_ARGUMENTS
        if name in arguments
    }
    mask = arguments.get("attention_mask")
    # The text with the most tokens, from its first on: the others may be padding.
    row = int(mask.sum(1).argmax()) if isinstance(mask, Tensor) and mask.ndim == 2 else 0
    start = int(mask[row].argmax()) if isinstance(mask, Tensor) and mask.ndim == 2 else 0
    resized = {
        name: _resize(value, row, start, lengths) if isinstance(value, Tensor) and len(value) == batch else value
        for name, value in arguments.items()
    }
    return resized, tuple(lengths[arguments[name].shape[1]] for name in _ID_ARGUMENTS if name in arguments)


def _second_length(length: int) -> int:
    """A prime, so that no chunks of equal size make up the text."""
    at_most = min(length // 2, _MAX_SECOND_LENGTH) if length > 3 else length + 2
    return next((n for n in range(at_most, 1, -1) if all(n % other for other in range(2, n))), at_most)


def _resize(value: Tensor, row: int, start: int, lengths: Mapping[int, int]) -> Tensor:
    same = value[row : row + 1].expand_as(value).clone()
    if value.ndim < 2 or value.shape[1] not in lengths:
        return same
    length = lengths[value.shape[1]]
    places = (torch.arange(length, device=value.device) + start) % value.shape[1]
    return same.index_select(1, places)


def _batch_axis(tensor: Tensor, batch: int) -> BatchAxis | None:
    """Where the texts of a batch are, if they are all the same; None where nothing repeats itself."""
    for axis, size in enumerate(tensor.shape):
        for outer in (True, False) if size > batch else (True,):
            if size % batch == 0 and _repeats(tensor, axis, batch, outer=outer):
                return BatchAxis(axis, outer)
    return None


def _repeats(tensor: Tensor, axis: int, batch: int, *, outer: bool) -> bool:
    sizes = (batch, tensor.shape[axis] // batch) if outer else (tensor.shape[axis] // batch, batch)
    texts = tensor.reshape(*tensor.shape[:axis], *sizes, *tensor.shape[axis + 1 :]).movedim(axis + (not outer), 0)
    return all(torch.allclose(texts[0], other, atol=1e-5, equal_nan=True) for other in texts[1:])
