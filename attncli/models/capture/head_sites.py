"""Where the model takes the output of its heads: the product with W_O of every attention module.

Nothing is known by its name. In one captured run the weighted values of the heads (z) are followed through whatever
gates, norms and reshapes stand behind them to the first product with a parameter, which takes the part of each head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from attncli.models.capture.block_replay import single_blocks
from attncli.models.capture.hooks import SUMS, TorchCalls, hooked, only_in_this_thread
from attncli.models.capture.mixing_watch import find_product
from attncli.models.capture.qkv_inputs import is_adapted
from attncli.models.loading.loaded_model import LoadedModel
from attncli.models.loading.own_module import OwnModule


class HeadSite(NamedTuple):
    """Where the heads of one call of an attention module are multiplied with W_O.

    path, call: the attention module, and how many of its calls came before.  block_call: the call of a block that it
    is in, counted over all blocks.  heads: how many.  module: the innermost that multiplies.  turn: which of its calls
    in that block.  product: which of its products with a parameter, None where its whole input is multiplied.
    operand: of that product, the heads'.  tokens_first: whether the axis of tokens comes before that of the texts.
    """

    path: str
    call: int
    block_call: int
    heads: int
    module: nn.Module
    turn: int
    product: int | None
    operand: int
    tokens_first: bool = False

    def view(self, states: Tensor, rows: int) -> Tensor:
        """The part of each head of what W_O takes, (rows, tokens, heads, d), or (tokens, rows, heads, d) where the
        tokens come first; a view. rows: texts in the batch; the pictures of one, if it has several, stand one after
        another, and their patches are its tokens."""
        if self.tokens_first:
            return states.reshape(states.shape[0], rows, self.heads, -1)
        if states.ndim > 2 and states.shape[0] != rows:
            return states.reshape(rows, states.shape[0] * states.shape[1] // rows, self.heads, -1)
        return states.reshape(rows, -1, self.heads, states.numel() // (rows * self.heads * _tokens(states, rows)))

    def by_row(self, states: Tensor, rows: int) -> Tensor:
        """The same with the rows first: (rows, tokens, heads, d)."""
        viewed = self.view(states, rows)
        return viewed if viewed.shape[0] == rows else viewed.transpose(0, 1)


def _tokens(states: Tensor, rows: int) -> int:
    """How many tokens each row of (rows, tokens, …) or (rows · tokens, …) has."""
    return states.shape[1] if states.ndim > 2 else states.shape[0] // rows


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among the arguments of a call, those in lists too."""
    flat = (each for value in values for each in (value if isinstance(value, tuple | list) else (value,)))
    return [each for each in flat if isinstance(each, Tensor)]


class ParameterStorage:
    """Tells the parameters of a model, and what shows a part of one, by their memory."""

    def __init__(self, model: nn.Module) -> None:
        self._storages = {each.untyped_storage().data_ptr() for each in model.parameters() if not each.is_meta}

    def __contains__(self, tensor: Tensor) -> bool:
        return not tensor.is_meta and tensor.untyped_storage().data_ptr() in self._storages


class ParameterProduct(NamedTuple):
    """A product with a parameter. operand: the place of the other operand among the arguments."""

    operand: int
    states: Tensor


def parameter_product(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], parameters: ParameterStorage
) -> ParameterProduct | None:
    """The product of something with a parameter that a call of torch computes; None for any other call."""
    product = find_product(func, args, kwargs)
    if product is None:
        return None
    of_parameters = [each in parameters for each in product.operands]
    if of_parameters.count(True) != 1:
        return None
    states = product.operands[of_parameters.index(False)]
    given = [*args, *kwargs.values()]
    place = next((place for place, each in enumerate(given) if each is states), None)
    return None if place is None else ParameterProduct(place, states)


def find_head_sites(model: LoadedModel, arguments: Mapping[str, Tensor | bool]) -> tuple[HeadSite, ...]:
    """Where the heads of every attention module go, in the order in which they run; one text.

    Modules whose attention can't be read, or whose heads go through no product with a parameter, are left out.
    Raises what `LoadedModel.run_changed` raises.
    """
    finder = _SiteFinder(model.module)
    with model.borrowed(), hooked(finder.hooks(model)), TorchCalls(finder.call):
        model.run_changed(arguments, finder.add_heads)
    return tuple(finder.sites)


@dataclass(eq=False)
class _Mark:
    """What heads a tensor holds, of one call of an attention module.

    sizes: how many numbers they gave; several where the module hands one chunk after another to its attention.
    """

    path: str
    call: int
    block_call: int
    heads: int
    sizes: list[int]


@dataclass
class _Running:
    """A module that is running. products: how many products with a parameter it computed itself.  mark: of its heads,
    where it attends."""

    module: nn.Module
    given: Tensor | None
    products: int = 0
    mark: _Mark | None = None


@dataclass
class _SiteFinder:
    model: nn.Module
    sites: list[HeadSite] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._marks: Any = WeakTensorKeyDictionary()
        self._parameters = ParameterStorage(self.model)
        self._paths = {id(module): name for name, module in self.model.named_modules()}
        self._running: list[_Running] = []
        self._block_calls = 0
        self._calls: dict[str, int] = {}

    def hooks(self, model: LoadedModel) -> Iterator[RemovableHandle]:
        yield model.module.register_forward_pre_hook(self._start)
        for block in single_blocks(model.lists):
            yield block.register_forward_pre_hook(self._before_block)
        yield register_module_forward_pre_hook(only_in_this_thread(self._before_module))
        yield register_module_forward_hook(only_in_this_thread(self._after_module), always_call=True)

    def _start(self, *_: Any) -> None:
        """Forget earlier runs: a module of the user's own is first tried on inputs of other lengths."""
        self._block_calls, self._calls = 0, {}
        self.sites.clear()

    def _before_block(self, *_: Any) -> None:
        self._block_calls += 1

    def _before_module(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        given = args[0] if args and isinstance(args[0], Tensor) else None
        self._running.append(_Running(module, given))

    def _after_module(self, module: nn.Module, *_: Any) -> None:
        while self._running and self._running.pop().module is not module:
            pass

    def add_heads(self, module: nn.Module, output: Tensor, axes: tuple[int, ...]) -> Tensor:
        """Note the weighted values of heads; axes: of them, those that count heads (there is one text)."""
        running = next((each for each in reversed(self._running) if each.module is module), None)
        if running is None or running.mark is None:
            path = self._paths[id(module)]
            call = self._calls[path] = self._calls.get(path, -1) + 1
            heads = math.prod(output.shape[axis] for axis in axes)
            mark = _Mark(path, call, self._block_calls - 1, heads, [])
            if running is not None:
                running.mark = mark
        else:
            mark = running.mark
        mark.sizes.append(output.numel())
        self._marks[output] = mark
        return output

    def call(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        result = func(*args, **kwargs)
        product = parameter_product(func, args, kwargs, self._parameters) if self._running else None
        if product is not None:
            self._running[-1].products += 1
        if not self._marks:
            return result
        given = tensors_in((*args, *kwargs.values()))
        mark = next((self._marks[each] for each in given if each in self._marks), None)
        if mark is None or self._is_write(func, given):
            return result
        if product is None:
            for each in tensors_in([result]):
                if each.is_floating_point():
                    self._marks[each] = mark
        elif product.states in self._marks:
            self._add_site(mark, product)
        return result

    def _is_write(self, func: Callable[..., Any], given: Sequence[Tensor]) -> bool:
        """Whether heads are added to the stream as they are, which some modules of users do: they have no W_O."""
        is_sum = isinstance(self.model, OwnModule) and getattr(func, "__name__", "") in SUMS
        return is_sum and any(each not in self._marks and each not in self._parameters for each in given)

    def _add_site(self, mark: _Mark, product: ParameterProduct) -> None:
        known = any((site.path, site.call) == (mark.path, mark.call) for site in self.sites)
        if known or product.states.numel() not in (mark.sizes[0], sum(mark.sizes)):
            return
        # What an adapter adds takes the same input: both are in its wrapper.
        wrapper = next((each for each in reversed(self._running) if is_adapted(each.module)), None)
        owner = wrapper or self._running[-1]
        whole = owner.given is not None and _same_memory(owner.given, product.states)
        number = None if whole else owner.products - 1
        turn = sum(site.module is owner.module and site.block_call == mark.block_call for site in self.sites)
        shape = product.states.shape
        tokens_first = len(shape) > 2 and shape[0] != 1 and shape[1] == 1  # of one text
        place = mark.path, mark.call, mark.block_call, mark.heads
        self.sites.append(HeadSite(*place, owner.module, turn, number, product.operand, tokens_first))


def _same_memory(one: Tensor, other: Tensor) -> bool:
    return one.numel() == other.numel() and one.data_ptr() == other.data_ptr()
