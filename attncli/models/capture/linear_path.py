"""Follow what is written to the residual stream, linearly, to a model's logits: norms, gates and sublayers frozen.

A forward pass in which autograd sees the linear paths alone (`LinearPath`). Nothing is known by a family's name:

- Sources are leaves: embeddings; the weighted values of each head; what any other sublayer adds to the stream; biases.
- Within a block a product of the stream with a parameter leads into a sublayer: the path ends there.
- The result of a function that isn't linear is a constant: so are gates, and 1/σ of a norm. LayerNorm's centring is
  linear. An elementwise function behind the last block keeps the ratio of its output to its input.
- A tanh over the vocabulary is a softcap, which is left out: the logits are those before it.

A function that isn't known here counts as not linear, so that a path that is lost shows in the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from attncli.models.capture.block_replay import single_blocks
from attncli.models.capture.hooks import TorchCalls, hooked
from attncli.models.capture.linear_functions import Role, frozen_norm, kept_ratio, out_of_place, role_of
from attncli.models.capture.structure import BlockList, describe_mixer, is_attention
from attncli.models.loading.own_module import OwnModule

#: Classes of modules that pass the stream on, or norm it: they are no sublayers.
_NO_SUBLAYERS = ("norm", "dropout", "identity", "droppath")


class PathKind(NamedTuple):
    """What a tensor on the path is: the stream, or the output of heads on its way there.

    heads: whether it is the latter; cross: of a cross-attention.
    """

    heads: bool = False
    cross: bool = False


_STREAM = PathKind()


class Source(NamedTuple):
    """A part of the model that writes. name: `mlp.3`.  tensor: the leaf."""

    name: str
    tensor: Tensor


class HeadSource(NamedTuple):
    """The weighted values of the heads of one call of an attention module.

    block_call: in which call of a block that was.  axes: of the tensor, which count heads.
    """

    module: nn.Module
    block_call: int
    tensor: Tensor
    axes: tuple[int, ...]

    def per_head(self, gradient: Tensor) -> Tensor:
        """The share of each head, (…, heads): the sum of its values times their gradient, of one or several numbers.

        gradient: of the shape of the values, or with one more axis before, for several numbers.
        """
        shares = self.tensor.detach().double() * gradient.double()
        lead = shares.ndim - self.tensor.ndim
        axes = [axis + lead for axis in self.axes]
        others = [axis for axis in range(lead, shares.ndim) if axis not in axes]
        return shares.permute(*range(lead), *axes, *others).flatten(lead + len(axes)).sum(-1).flatten(lead)


@dataclass
class LinearPath:
    """Watches one run, and collects the sources of its logits.

    lists: the stacks.  first, calls: at which call of a block the stack begins that predicts, and how many calls there
    are in all.  vocabulary: the width of the logits.  embeddings: names of tables by their ids.
    """

    model: nn.Module
    lists: Sequence[BlockList]
    first: int
    calls: int
    vocabulary: int
    token_table: nn.Module | None
    sources: list[Source] = field(default_factory=list)
    heads: list[HeadSource] = field(default_factory=list)

    def __post_init__(self) -> None:
        #: The tensors on the path, and what each is.
        self._kinds: Any = WeakTensorKeyDictionary()
        self._parameters = {each.untyped_storage().data_ptr() for each in self.model.parameters()}
        self._tables = {
            id(module.weight): path for path, module in self.model.named_modules() if isinstance(module, nn.Embedding)
        }
        #: The blocks that are running, and how many were called.
        self._running: list[nn.Module] = []
        self._count = 0
        #: The sublayers that are running, and the last one that ended.
        self._sublayers: list[nn.Module] = []
        self._ended: nn.Module | None = None
        self._norms = 0
        self._elementwise = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The body with the model watched, and gradients along the path alone."""
        with ExitStack() as stack:
            stack.enter_context(hooked(self._hooks()))
            stack.enter_context(TorchCalls(self._call))
            yield

    def add_heads(self, module: nn.Module, output: Tensor, axes: tuple[int, ...], *, cross: bool) -> Tensor:
        """The weighted values of heads, as a source of the path."""
        leaf, joined = self._leaf(output, axes)
        self._kinds[joined] = PathKind(heads=True, cross=cross)
        self.heads.append(HeadSource(module, self._count - 1, leaf, axes))
        return joined

    def is_on_path(self, tensor: Tensor) -> bool:
        return tensor in self._kinds

    # --- Where the run is

    @property
    def layer(self) -> int:
        """The layer of the running block, in the stack that predicts."""
        return self._count - 1 - self.first

    @property
    def _is_behind(self) -> bool:
        """Whether the last block has ended."""
        return self._count == self.calls and not self._running

    def _start(self, *_: Any) -> None:
        """Forget earlier runs: a module of the user's own is first tried on inputs of other lengths."""
        self._running, self._count, self._sublayers, self._ended = [], 0, [], None
        self._norms = self._elementwise = 0
        self.sources.clear()
        self.heads.clear()

    def _hooks(self) -> Iterator[RemovableHandle]:
        blocks = single_blocks(self.lists)
        yield self.model.register_forward_pre_hook(self._start)
        for block in blocks:
            yield block.register_forward_pre_hook(self._before_block)
            yield block.register_forward_hook(self._after_block)
            for child in _parts(block):
                if not any(word in type(child).__name__.lower() for word in _NO_SUBLAYERS):
                    yield child.register_forward_pre_hook(self._before_sublayer)
                    yield child.register_forward_hook(self._after_sublayer)
        inside = {id(part) for block in blocks for part in block.modules()}
        for module in self.model.modules():
            if "norm" in type(module).__name__.lower():
                yield module.register_forward_pre_hook(self._before_norm)
                yield module.register_forward_hook(self._after_norm)
            elif id(module) not in inside and _is_elementwise(module):
                yield module.register_forward_pre_hook(self._before_elementwise)
                yield module.register_forward_hook(self._after_elementwise)

    def _before_block(self, block: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        self._running.append(block)
        self._count += 1
        self._ended = None
        state = given[0] if given and isinstance(self.model, OwnModule) and not self.layer else None
        if not isinstance(state, Tensor) or state in self._kinds:
            return None
        # A user's module may begin its stream with anything, such as the patches of a picture.
        return (self._source("embedding.other", state), *given[1:])

    def _after_block(self, *_: Any) -> None:
        self._running.pop()

    def _before_sublayer(self, module: nn.Module, _: Any) -> None:
        self._sublayers.append(module)

    def _after_sublayer(self, module: nn.Module, *_: Any) -> None:
        self._sublayers.pop()
        self._ended = module

    def _before_norm(self, *_: Any) -> None:
        self._norms += 1

    def _after_norm(self, *_: Any) -> None:
        self._norms -= 1

    def _before_elementwise(self, *_: Any) -> None:
        self._elementwise += 1

    def _after_elementwise(self, _: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        self._elementwise -= 1
        given = args[0] if args else None
        if not isinstance(given, Tensor) or not isinstance(output, Tensor) or given not in self._kinds:
            return None
        if given.shape != output.shape:
            return None  # pooling, which has no parameters either
        return self._joined(kept_ratio(given, output), self._kinds[given])

    # --- Names of sources

    def _write_name(self, kind: PathKind) -> str:
        """The name of what is added to the stream here."""
        if not self._running:
            return "unembedding.bias" if self._is_behind else "embedding.other"
        module = self._sublayers[-1] if self._sublayers else self._ended
        if kind.heads and self._sublayers:
            return f"{'cross' if kind.cross else 'attention'}.{self.layer}"
        if module is not None and is_attention(module):
            return f"attention.{self.layer}"
        is_mixer = module is not None and type(module).__name__ == describe_mixer(self._running[-1])
        return f"{'mixer' if is_mixer else 'mlp'}.{self.layer}"

    def _bias_name(self, kind: PathKind, width: int) -> str:
        """The name of a bias that is added here. width: how many numbers it has."""
        if self._norms:
            place = str(self.layer) if self._running else "final" if self._is_behind else "embedding"
            return f"norm.{place}.bias"
        if not self._running:
            if not self._is_behind:
                return "embedding.bias"
            return "unembedding.bias" if width == self.vocabulary else "unembedding.transform.bias"
        return f"{'cross' if kind.cross else 'attention'}.{self.layer}.bias" if kind.heads else f"mlp.{self.layer}"

    def _table_name(self, weight: Tensor) -> str:
        path = self._tables.get(id(weight), "").lower()
        if self.token_table is not None and getattr(self.token_table, "weight", None) is weight:
            return "embedding.token"
        words = {
            "type": "segment",
            "pos": "position",
            "wpe": "position",
            "wte": "token",
            "token": "token",
            "word": "token",
        }
        return f"embedding.{next((name for word, name in words.items() if word in path), 'other')}"

    # --- Sources and results

    def _source(self, name: str, tensor: Tensor, kind: PathKind = _STREAM) -> Tensor:
        leaf, joined = self._leaf(tensor)
        self._kinds[joined] = kind
        self.sources.append(Source(name, leaf))
        return joined

    def _leaf(self, tensor: Tensor, axes: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """A leaf of what is followed, and the tensor on the path that holds it. axes: those that count heads."""
        leaf = tensor.detach().requires_grad_()
        return leaf, leaf

    def _joined(self, result: Any, kind: PathKind) -> Any:
        """A result that is on the path."""
        for each in result if isinstance(result, tuple | list) else (result,):
            if isinstance(each, Tensor) and each.requires_grad:
                self._kinds[each] = kind
        return result

    def _added(self, value: Any, kind: PathKind) -> Any:
        """An operand of a sum with the path: one that isn't on it becomes a source."""
        if not isinstance(value, Tensor) or value in self._kinds or not value.is_floating_point():
            return value
        if value.untyped_storage().data_ptr() in self._parameters:
            return self._source(self._bias_name(kind, value.shape[-1] if value.ndim else 1), value, kind)
        return self._source(self._write_name(kind), value, kind)

    # --- Calls of torch

    def _call(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        on_path = [each for each in _tensors((*args, *kwargs.values())) if each in self._kinds]
        role = role_of(func)
        if not on_path or self._elementwise:
            result = func(*args, **kwargs)
            if role is Role.LOOKUP and not self._running and isinstance(result, Tensor):
                weight = kwargs.get("weight", args[1] if len(args) > 1 else None)
                return self._source(self._table_name(weight), result) if isinstance(weight, Tensor) else result
            return result
        found = [self._kinds[each] for each in on_path]
        kind = next((each for each in found if not each.heads), found[0])
        if role is not Role.ASSIGN:
            func = out_of_place(func)
        rule = _RULES.get(role)
        if rule is None:
            return func(*args, **kwargs)
        with torch.enable_grad():
            return self._joined(rule(self, func, list(args), dict(kwargs), kind), kind)

    def _pass(self, func: Any, args: list[Any], kwargs: dict[str, Any], _: PathKind) -> Any:
        """A function that is linear in its first argument."""
        if not isinstance(args[0], Tensor) or args[0] not in self._kinds:
            return _frozen(func, args, kwargs)
        if getattr(func, "__name__", "") == "view":
            func = Tensor.reshape  # what was computed in another way may lie otherwise in memory
        return func(args[0], *_constants(args[1:]), **_constant_values(kwargs))

    def _sum(self, func: Any, args: list[Any], kwargs: dict[str, Any], kind: PathKind) -> Any:
        """A sum or a difference."""
        first, second = (self._added(each, kind) for each in args[:2])
        return func(first, second, *args[2:], **kwargs)

    def _join(self, func: Any, args: list[Any], kwargs: dict[str, Any], kind: PathKind) -> Any:
        """Tensors side by side, or a choice among them."""

        def joined(value: Any) -> Any:
            return [self._added(each, kind) for each in value] if isinstance(value, tuple | list) else (
                self._added(value, kind)
            )  # fmt: skip

        return func(*map(joined, args), **{name: joined(value) for name, value in kwargs.items()})

    def _assign(self, func: Any, args: list[Any], kwargs: dict[str, Any], kind: PathKind) -> Any:
        """A part of a tensor is set to something on the path, or that of a tensor on the path to something."""
        target, place, value = args
        func(target, place, self._added(value, kind) if target in self._kinds else value, **kwargs)
        self._kinds[target] = kind

    def _copy(self, func: Any, args: list[Any], kwargs: dict[str, Any], kind: PathKind) -> Any:
        """The numbers of a tensor, or of a part of one, are set: in a view that gradients know."""
        target, value = args[:2]
        base = target._base if target._is_view() else target
        view = target if base is target else base.as_strided(target.shape, target.stride(), target.storage_offset())
        func(view, self._added(value, kind) if base in self._kinds else value, *args[2:], **kwargs)
        self._kinds[base] = kind
        return target

    def _scale(self, func: Any, args: list[Any], kwargs: dict[str, Any], _: PathKind) -> Any:
        """A product of numbers: linear in one factor."""
        if sum(isinstance(each, Tensor) and each in self._kinds for each in args[:2]) > 1:
            return _frozen(func, args, kwargs)
        return func(*self._with_constants(args), **kwargs)

    def _quotient(self, func: Any, args: list[Any], kwargs: dict[str, Any], _: PathKind) -> Any:
        """A quotient: the denominator is frozen."""
        if not isinstance(args[0], Tensor) or args[0] not in self._kinds:
            return _frozen(func, args, kwargs)
        return func(args[0], *_constants(args[1:]), **kwargs)

    def _product(self, func: Any, args: list[Any], kwargs: dict[str, Any], kind: PathKind) -> Any:
        """A product of matrices: with a parameter, the stream enters a sublayer and its path ends."""
        tensors = _tensors((*args, *kwargs.values()))
        others = [each for each in tensors if each not in self._kinds]
        if len(tensors) - len(others) > 1 or (self._ends_at_parameters(kind) and self._enters(others)):
            return _frozen(func, args, kwargs)
        return func(*self._with_constants(args), **_constant_values(kwargs))

    def _enters(self, others: Iterable[Tensor]) -> bool:
        return any(each.ndim < 3 or each.untyped_storage().data_ptr() in self._parameters for each in others)

    def _affine(self, func: Any, args: list[Any], kwargs: dict[str, Any], kind: PathKind) -> Any:
        """A product with a matrix, and a bias."""
        if self._ends_at_parameters(kind):
            return _frozen(func, args, kwargs)
        names = ("bias", "input", "weight") if role_of(func) is Role.ADDED_PRODUCT else ("input", "weight", "bias")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        if given["input"] not in self._kinds:
            return _frozen(func, args, kwargs)
        bias = given.get("bias")
        weight = given["weight"].detach()
        result = self._times(given["input"], weight if names[0] == "bias" else weight.T)
        if bias is None:
            return result
        return result + self._source(self._bias_name(kind, bias.shape[-1]), bias, kind)

    def _ends_at_parameters(self, kind: PathKind) -> bool:
        """Whether a product with a parameter is where the path ends: in a block, unless it is of what heads gave."""
        return bool(self._running) and not kind.heads

    def _times(self, states: Tensor, matrix: Tensor) -> Tensor:
        return states @ matrix

    def _norm(self, func: Any, args: list[Any], kwargs: dict[str, Any], kind: PathKind) -> Any:
        """layer_norm and rms_norm: 1/σ is frozen."""
        self._norms += 1
        result, bias = frozen_norm(func, args, kwargs)
        if bias is not None:
            result = result + self._source(self._bias_name(kind, bias.shape[-1]), bias, kind)
        self._norms -= 1
        return result

    def _activation(self, func: Any, args: list[Any], kwargs: dict[str, Any], _: PathKind) -> Any:
        """An elementwise function: frozen in a block, at output/input behind the last one; no softcap."""
        given: Tensor = args[0] if args else kwargs["input"]
        if role_of(func) is Role.CAP and given.shape[-1] == self.vocabulary:
            return given
        output = _frozen(func, args, kwargs)
        return kept_ratio(given, output) if self._is_behind else output

    def _with_constants(self, args: Sequence[Any]) -> list[Any]:
        return [each if isinstance(each, Tensor) and each in self._kinds else _constant(each) for each in args]


_Rule = Callable[[LinearPath, Any, list[Any], dict[str, Any], PathKind], Any]

#: What is done with a function of each role; others are not linear.
_RULES: Mapping[Role | None, _Rule] = {
    Role.PASS: LinearPath._pass,
    Role.SUM: LinearPath._sum,
    Role.ASSIGN: LinearPath._assign,
    Role.COPY: LinearPath._copy,
    Role.JOIN: LinearPath._join,
    Role.SCALE: LinearPath._scale,
    Role.QUOTIENT: LinearPath._quotient,
    Role.PRODUCT: LinearPath._product,
    Role.AFFINE: LinearPath._affine,
    Role.ADDED_PRODUCT: LinearPath._affine,
    Role.NORM: LinearPath._norm,
    Role.ACTIVATION: LinearPath._activation,
    Role.CAP: LinearPath._activation,
}


def _frozen(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The result as a constant. Of constants, as parameters may have gradients of their own."""
    return func(*_constants(args), **_constant_values(kwargs))


def _constants(values: Sequence[Any]) -> list[Any]:
    return [_constant(each) for each in values]


def _constant(value: Any) -> Any:
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return type(value)(map(_constant, value))
    return value.detach() if isinstance(value, Tensor) else value


def _constant_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _constant(each) for name, each in values.items()}


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among the arguments of a call, those in lists too."""
    flat = (each for value in values for each in (value if isinstance(value, tuple | list) else (value,)))
    return [each for each in flat if isinstance(each, Tensor)]


def _parts(block: nn.Module) -> Iterator[nn.Module]:
    """The children of a block; those in a list, each."""
    for child in block.children():
        yield from child if isinstance(child, nn.ModuleList) else (child,)


def _is_elementwise(module: nn.Module) -> bool:
    """Whether a module is an activation: without parts and parameters."""
    plain = not any(True for _ in module.children()) and not any(True for _ in module.parameters())
    return plain and not any(word in type(module).__name__.lower() for word in (*_NO_SUBLAYERS, "embedding", "rotary"))
