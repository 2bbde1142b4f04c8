"""Watches a model's own code: the calls of its modules, and every call of torch in them that may mix values.

`MixingWatch` sees softmaxes, products of tensors, and torch's own attention (`scaled_dot_product_attention`,
`multi_head_attention_forward`, `flex_attention`). Fast paths that skip them and compiled code are off meanwhile.

Products of two tensors get a letter for every axis, as in an einsum. One mixes values if one operand, the weights, has
an axis of queries and one of keys, and the other, the values, has the axis of keys and none of queries; the keys are
summed (`Product.find_weights`). Which axes count tokens is told by a second run on a text of another length:
`ShapeRecorder` keeps the shapes of its steps, and `Steps.growth` compares them with those of the run that is watched.
"""

from __future__ import annotations

import inspect
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attncli.models.capture.hooks import TorchCalls, hooked
from attncli.models.loading.own_module import Resized

#: For each axis of a tensor, whether its size depends on the length of the text.
Growth = tuple[bool, ...]

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

    def split(self, tensor: Tensor, batch: int) -> Tensor:
        """The tensor with the texts as its first axis."""
        folded = tensor.shape[self.axis] // batch
        sizes = (batch, folded) if self.outer else (folded, batch)
        whole = tensor.reshape(*tensor.shape[: self.axis], *sizes, *tensor.shape[self.axis + 1 :])
        return whole.movedim(self.axis + (not self.outer), 0)


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
    """Calls the methods `on_…` for what happens in a model while it is `watching`; those here do nothing."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        #: Calls within calls, the innermost last.
        self.calls: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._paused = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The body with hooks on all modules, without fast paths and compiled code, which hide what they compute."""
        mha = torch.backends.mha
        with ExitStack() as stack:
            stack.enter_context(hooked(self._hooks()))
            stack.callback(mha.set_fastpath_enabled, mha.get_fastpath_enabled())
            mha.set_fastpath_enabled(False)
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(TorchCalls(self._call))
            yield

    def _hooks(self) -> Iterator[RemovableHandle]:
        for module in self._model.modules():
            if not isinstance(module, torch.jit.ScriptModule):  # takes no hooks
                yield module.register_forward_pre_hook(self._before_module, with_kwargs=True)
                yield module.register_forward_hook(self._after_module, prepend=True)

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

    def on_product(self, call: Any, product: Product, result: Tensor) -> Tensor | None:
        """After a product; what is returned, if anything, takes the place of its result."""

    def on_fused(self, call: Any, fused: FusedCall, result: Tensor) -> Tensor | None:
        """After fused attention; what is returned, if anything, takes the place of its result."""

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
            changed = self.on_product(call, product, result)
            return result if changed is None else changed
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
        result: Tensor = _SDPA(query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa)
        changed = self.on_fused(call, FusedCall(query, key, value, attn_mask, is_causal, scale), result)
        return result if changed is None else changed

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


# --- Weights that a module hands out


def weights_index(output: object, batch: int) -> int | None:
    """The index of the weights in a module's output: (batch, heads, queries, keys), no less than 0, rows sum to 1."""

    def are_weights(part: object) -> bool:
        if not isinstance(part, Tensor) or part.ndim != 4 or not part.is_floating_point() or not part.numel():
            return False
        return part.shape[0] == batch and not bool((part < 0).any()) and rows_sum_to_one(part)

    parts = list(enumerate(output))[1:] if isinstance(output, tuple | list) else []
    return next((index for index, part in parts if are_weights(part)), None)


def rows_sum_to_one(weights: Tensor) -> bool:
    """Whether rows sum to 1, or to 0 where nothing is seen.

    NaN passes: it is reported later, with its layer.
    """
    sums = weights.float().sum(-1)
    return not bool((((sums - 1).abs() >= 0.01) & (sums != 0)).any()) and bool((sums != 0).any())


# --- Products

#: Which of their tensors functions multiply, by place; the first argument of the last ones is added to the product.
_FACTORS: Mapping[Callable[..., Any], tuple[int, int]] = {
    **dict.fromkeys(
        (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.linalg.matmul), (0, 1)
    ),
    Tensor.__rmatmul__: (1, 0),
    **dict.fromkeys((torch.baddbmm, Tensor.baddbmm, torch.addmm, Tensor.addmm), (1, 2)),
}


class Product(NamedTuple):
    """A product of two tensors. axes: a letter for each axis of both.  result: the letters that are not summed."""

    operands: tuple[Tensor, Tensor]
    axes: tuple[str, str]
    result: str

    def find_weights(self, side: int, growth: tuple[Growth, Growth] | None) -> tuple[int, int] | None:
        """The axes of queries and keys, if operand `side` may hold weights that mix the other operand's values.

        growth: of both operands; where it is unknown, the layout of the product alone counts.
        """
        weights, values = self.axes[side], self.axes[1 - side]
        summed = [letter for letter in weights if letter in values and letter not in self.result]
        if len(summed) != 1:
            return None
        key, own = weights.index(summed[0]), [axis for axis, letter in enumerate(weights) if letter not in values]
        if growth is None:
            return (own[-1], key) if own else None
        grows = growth[side]
        queries = [axis for axis in own if grows[axis]]
        only_keys_grow = growth[1 - side][values.index(summed[0])] and sum(growth[1 - side]) == 1
        # An axis of both that counts tokens is that of windows, or of what each token chooses from.
        if len(queries) != 1 or sum(grows) != 2 or not grows[key] or not only_keys_grow:
            return None
        return queries[0], key

    def kept_axes(self, side: int, axes: Sequence[int], ndim: int) -> tuple[int, ...]:
        """Where axes of an operand are in the result. ndim: of the result."""
        if len(self.result) == ndim:  # an einsum
            return tuple(self.result.index(self.axes[side][axis]) for axis in axes)
        return tuple(axis + ndim - len(self.axes[side]) for axis in axes)


def find_product(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Product | None:
    """The product that a call of torch computes; None for other functions, and for more operands than two."""
    if func is torch.einsum:
        return _einsum(args)
    if func not in _FACTORS and func is not nn.functional.linear:
        return None
    tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
    if func in _FACTORS:
        left, right = _FACTORS[func]
        return _matmul(tensors[left], tensors[right]) if len(tensors) > max(left, right) else None
    if len(tensors) < 2 or tensors[1].ndim != 2:
        return None
    lead = string.ascii_lowercase[: tensors[0].ndim - 1]
    return Product((tensors[0], tensors[1]), (lead + "Z", "YZ"), lead + "Y")


def _matmul(left: Tensor, right: Tensor) -> Product | None:
    """(…, m, k) times (…, k, n)."""
    if left.ndim < 2 or right.ndim < 2:
        return None
    batch = _batch_letters(left, right), _batch_letters(right, left)
    return Product((left, right), (batch[0] + "YZ", batch[1] + "ZX"), "".join(batch) + "YX")


def _batch_letters(operand: Tensor, other: Tensor) -> str:
    """Letters from the right; an axis of size 1 that is repeated for the other operand is no shared axis."""
    letters = []
    for axis in range(-operand.ndim, -2):
        letter = string.ascii_lowercase[-axis - 3]
        is_repeated = -axis <= other.ndim and operand.shape[axis] == 1 != other.shape[axis]
        letters.append(letter.upper() if is_repeated else letter)
    return "".join(letters)


def _einsum(args: Sequence[Any]) -> Product | None:
    equation, operands = args[0], args[1:]
    if len(operands) == 1 and isinstance(operands[0], tuple | list):
        operands = tuple(operands[0])
    if not isinstance(equation, str) or len(operands) != 2:
        return None
    inputs, arrow, result = equation.replace(" ", "").partition("->")
    left, right = (_expand(part, operand.ndim) for part, operand in zip(inputs.split(","), operands, strict=True))
    if not arrow:
        # As in numpy: letters that stand once, in order.
        result = "".join(sorted(letter for letter in left + right if (left + right).count(letter) == 1))
        result = "".join(letter for letter in left if letter.isdigit()) + result.strip(string.digits)
    else:
        result = _expand(result, None, left + right)
    repeated = any(len(set(part)) != len(part) for part in (left, right))
    return None if repeated else Product((operands[0], operands[1]), (left, right), result)


def _expand(part: str, ndim: int | None, others: str = "") -> str:
    """The letters of an operand with digits in place of an ellipsis, counted from its end."""
    before, dots, after = part.partition("...")
    if not dots:
        return part
    if ndim is None:
        return before + "".join(sorted({each for each in others if each.isdigit()}, reverse=True)) + after
    return before + "".join(str(place) for place in reversed(range(ndim - len(before) - len(after)))) + after


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

    def run(self, forward: Callable[..., Any], arguments: Mapping[str, Any], resized: Resized | None = None) -> Steps:
        """arguments: of the first run.  resized: those of this one, where they are known."""
        if resized is None:
            other, lengths = second_arguments(arguments, self._batch)
        else:
            other, lengths = resized.arguments, resized.after
        device = next((each.device for each in arguments.values() if isinstance(each, Tensor)), torch.device("cpu"))
        # Some models draw numbers; the first run has to draw the same as without this one.
        with torch.random.fork_rng([device] if device.type == "cuda" else []), self.watching():
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


def second_arguments(arguments: Mapping[str, Any], batch: int) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Arguments for texts that are all the same and of another length: about half, or two tokens more."""
    given = [arguments[name].shape[1] for name in _ID_ARGUMENTS if name in arguments]
    lengths = {length: _second_length(length) for length in given}
    mask = arguments.get("attention_mask")
    row = start = 0
    if isinstance(mask, Tensor) and mask.ndim == 2:
        # The text with the most tokens, from its first on: the others may be padding.
        row = int(mask.sum(1).argmax())
        start = int(mask[row].argmax())

    def resize(value: Tensor) -> Tensor:
        same = value[row : row + 1].expand_as(value).clone()
        if value.ndim < 2 or value.shape[1] not in lengths:
            return same
        places = torch.arange(lengths[value.shape[1]], device=value.device) + start
        return same.index_select(1, places % value.shape[1])

    resized = {
        name: resize(value) if isinstance(value, Tensor) and len(value) == batch else value
        for name, value in arguments.items()
    }
    return resized, tuple(lengths[length] for length in given)


def _second_length(length: int) -> int:
    """A prime, so that no chunks of equal size make up the text."""
    at_most = min(length // 2, _MAX_SECOND_LENGTH) if length > 3 else length + 2
    return next((n for n in range(at_most, 1, -1) if all(n % other for other in range(2, n))), at_most)


def _batch_axis(tensor: Tensor, batch: int) -> BatchAxis | None:
    """Where the texts of a batch are, if they are all the same; None where nothing repeats itself."""
    for axis, size in enumerate(tensor.shape):
        for outer in (True, False) if size > batch else (True,):
            found = BatchAxis(axis, outer)
            if size % batch == 0:
                first, *others = found.split(tensor, batch)
                if all(torch.allclose(first, other, atol=1e-5, equal_nan=True) for other in others):
                    return found
    return None
