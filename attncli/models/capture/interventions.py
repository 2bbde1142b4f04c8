"""Run a model with the output of single heads, or what MLPs write, replaced in single rows of a batch.

`record_writes` runs the model's own forward pass once and keeps what heads give to W_O, what else the blocks add to the
residual stream, and what every block returns. `intervening` does the replacing in another run.

What is added to the stream is found by what the model does: within a block, a sum of the stream (or of what comes from
it without a product with a parameter, or from the heads) with a tensor of its shape that is neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from attncli.models.capture.block_replay import BlockCall, recording, single_blocks, wrapped
from attncli.models.capture.head_sites import (
    HeadSite,
    ParameterStorage,
    parameter_product,
    tensors_in,
)
from attncli.models.capture.hooks import SUMS, TorchCalls, hooked
from attncli.models.loading.loaded_model import LoadedModel


class WriteSite(NamedTuple):
    """A sum of the stream with what a sublayer other than attention wrote.

    block_call: the call of a block that it is in.  number: of the sums of this shape in it.  operand: the writer's.
    mixes: it takes the place of attention in this block.  tokens_first: the axis of tokens comes before that of the
    texts.
    """

    block_call: int
    number: int
    operand: int
    mixes: bool
    tokens_first: bool = False


@dataclass(frozen=True)
class RecordedWrites:
    """One run on one text.

    heads: what W_O takes, (1, tokens, heads, d), a tensor for each site.  writes: by their sites, (1, tokens, width).
    calls: of all blocks.  output: what the model returned.
    """

    heads: Sequence[Tensor]
    writes: Mapping[WriteSite, Tensor]
    calls: Sequence[BlockCall]
    output: Any


class Replacement(NamedTuple):
    """What takes the place of a head's output, or of what a sublayer wrote, in one row of a batch.

    site: where.  head: None for a sublayer's write.  row: of the batch.  value: broadcast to (tokens, d).
    """

    site: HeadSite | WriteSite
    head: int | None
    row: int
    value: Tensor


def record_writes(
    model: LoadedModel,
    sites: Sequence[HeadSite],
    run: Callable[[], Any],
) -> RecordedWrites:
    """Run the model once, by calling `run`, on one text. The model has to be borrowed."""
    recorder = _WriteRecorder(model, sites)
    with recording(model.lists) as calls, recorder.watching():
        output = run()
    return RecordedWrites([recorder.heads[site.path, site.call] for site in sites], recorder.writes, calls, output)


@contextmanager
def intervening(model: LoadedModel, replacements: Sequence[Replacement], rows: int) -> Iterator[None]:
    """The body with these replacements in a batch of `rows`. The model has to be borrowed."""
    with _Intervention(model, replacements, rows).active():
        yield


# --- Calls of blocks and modules, as both kinds of runs count them


@dataclass
class _BlockWatch:
    """Counts the calls of blocks, and wraps what runs in them."""

    model: LoadedModel
    block_call: int = -1
    _stack: list[int] = field(default_factory=list)


class _SumCounter:
    """Numbers the sums of two tensors of the stream's size in one call of a block; some have the tokens of all texts in
    one axis."""

    def __init__(self, stream: Tensor) -> None:
        self._size, self.width, self.count = stream.numel(), stream.shape[-1], 0

    def number(self, func: Callable[..., Any], args: Sequence[Any]) -> int | None:
        """The number of this sum, or None for another call."""
        if getattr(func, "__name__", "") not in SUMS or len(args) < 2:
            return None
        if not all(isinstance(each, Tensor) and each.numel() == self._size for each in args[:2]):
            return None
        if args[0].shape != args[1].shape or args[0].shape[-1] != self.width:
            return None
        self.count += 1
        return self.count - 1


def _entering(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    # The states are the first argument in every family; masks and positions follow.
    return next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))


# --- Recording


class _WriteRecorder(_BlockWatch):
    def __init__(self, model: LoadedModel, sites: Sequence[HeadSite]) -> None:
        super().__init__(model)
        self._sites = sites
        self._parameters = ParameterStorage(model.module)
        #: What comes from the stream, and whether it comes from heads alone.
        self._path: Any = WeakTensorKeyDictionary()
        self.heads: dict[tuple[str, int], Tensor] = {}
        self.writes: dict[WriteSite, Tensor] = {}
        self._sums: _SumCounter | None = None
        self._products = 0
        self._site: HeadSite | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        modules = list({id(site.module): site.module for site in self._sites}.values())
        with ExitStack() as stack:
            stack.enter_context(wrapped(single_blocks(self.model.lists), self._around_block))
            stack.enter_context(wrapped(modules, self._around_site))
            yield

    def _around_block(self, block: nn.Module) -> Callable[..., Any]:
        original = block.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            self.block_call += 1
            entering = _entering(args, kwargs)
            # Of several streams side by side (AltUp) it is unknown which one a sublayer writes to.
            self._sums = _SumCounter(entering) if entering.ndim < 4 else None
            self._path = WeakTensorKeyDictionary()
            self._path[entering] = False
            before = len(self.writes)
            with TorchCalls(self._call):
                output = original(*args, **kwargs)
            self._sums = None
            self._name_writes(before)
            return output

        return forward

    def _name_writes(self, before: int) -> None:
        """In a block without heads that could be read, what is written first takes the place of attention."""
        found = list(self.writes.items())[before:]
        if found and not any(site.block_call == self.block_call for site in self._sites):
            site, value = found[0]
            self.writes.pop(site)
            self.writes[site._replace(mixes=True)] = value

    def _around_site(self, module: nn.Module) -> Callable[..., Any]:
        original = module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            site = self._site_of(module)
            if site is None:
                return original(*args, **kwargs)
            if site.product is None:
                self.heads[site.path, site.call] = site.by_row(args[0], 1).detach()
            self._site, self._products = site, 0
            output = original(*args, **kwargs)
            self._site = None
            if site.product is None:
                self._path[output] = True
            return output

        return forward

    def _site_of(self, module: nn.Module) -> HeadSite | None:
        here = [site for site in self._sites if site.module is module and site.block_call == self.block_call]
        return next((site for site in here if (site.path, site.call) not in self.heads), None)

    def _call(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        product = parameter_product(func, args, kwargs, self._parameters)
        if product is not None:
            return self._product(product, func(*args, **kwargs))
        number = None if self._sums is None else self._sums.number(func, args)
        if number is not None:
            self._note_write(number, args)
        found = [each for each in tensors_in((*args, *kwargs.values())) if each in self._path]
        result = func(*args, **kwargs)
        if found:
            for each in tensors_in([result]):
                if each.is_floating_point() and each.numel() == found[0].numel():
                    self._path[each] = all(self._path[one] for one in found)
        return result

    def _product(self, product: Any, result: Any) -> Any:
        """With a parameter the stream enters a sublayer; the heads go on to the stream."""
        site = self._site
        if site is not None and site.product is not None:
            if self._products == site.product:
                self.heads[site.path, site.call] = site.by_row(product.states, 1).detach()
                self._path[result] = True
            self._products += 1
        elif product.states in self._path and self._path[product.states] and isinstance(result, Tensor):
            self._path[result] = True
        return result

    def _note_write(self, number: int, args: Sequence[Any]) -> None:
        on_path = [each in self._path for each in args[:2]]
        if on_path.count(True) == 1:
            operand = on_path.index(False)
            written = args[operand].detach().clone()
            tokens_first = written.ndim > 2 and written.shape[0] != 1 and written.shape[1] == 1
            site = WriteSite(self.block_call, number, operand, mixes=False, tokens_first=tokens_first)
            self.writes[site] = written.reshape(1, -1, written.shape[-1])


# --- Replacing


class _Intervention(_BlockWatch):
    def __init__(self, model: LoadedModel, replacements: Sequence[Replacement], rows: int) -> None:
        super().__init__(model)
        self._rows = rows
        self._parameters = ParameterStorage(model.module)
        self._heads = [(each.site, each) for each in replacements if isinstance(each.site, HeadSite)]
        self._writes = [each for each in replacements if isinstance(each.site, WriteSite)]
        self._sums: _SumCounter | None = None

    @contextmanager
    def active(self) -> Iterator[None]:
        modules = {id(site.module): site.module for site, _ in self._heads}
        with ExitStack() as stack:
            stack.enter_context(hooked(self._hooks()))
            if self._writes:
                stack.enter_context(wrapped(single_blocks(self.model.lists), self._around_block))
            stack.enter_context(wrapped(list(modules.values()), self._around_site))
            yield

    def _hooks(self) -> Iterator[RemovableHandle]:
        for block in single_blocks(self.model.lists):
            yield block.register_forward_pre_hook(self._before_block)

    def _before_block(self, *_: Any) -> None:
        self.block_call += 1

    def _around_block(self, block: nn.Module) -> Callable[..., Any]:
        original = block.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            if not any(each.site.block_call == self.block_call for each in self._writes):
                return original(*args, **kwargs)
            self._sums = _SumCounter(_entering(args, kwargs))
            with TorchCalls(self._call):
                return original(*args, **kwargs)

        return forward

    def _call(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        number = None if self._sums is None else self._sums.number(func, args)
        here = [
            each
            for each in self._writes
            if isinstance(each.site, WriteSite)
            and each.site.block_call == self.block_call
            and each.site.number == number
        ]
        if here and isinstance(here[0].site, WriteSite):
            changed = list(args)
            site = here[0].site
            operand = site.operand
            written = changed[operand].clone(memory_format=torch.contiguous_format)
            by_row = written.transpose(0, 1) if site.tokens_first else written.view(self._rows, -1, written.shape[-1])
            for each in here:
                by_row[each.row] = each.value.to(written)
            changed[operand] = written
            return func(*changed, **kwargs)
        return func(*args, **kwargs)

    def _around_site(self, module: nn.Module) -> Callable[..., Any]:
        original = module.forward
        seen: dict[int, int] = {}

        def forward(*args: Any, **kwargs: Any) -> Any:
            turn = seen[self.block_call] = seen.get(self.block_call, -1) + 1
            place = self.block_call, turn
            here = [(site, each) for site, each in self._heads
                    if site.module is module and (site.block_call, site.turn) == place]  # fmt: skip
            if not here:
                return original(*args, **kwargs)
            site, replacements = here[0][0], [each for _, each in here]
            if site.product is None:
                return original(self._replaced(site, args[0], replacements), *args[1:], **kwargs)
            with TorchCalls(_ProductChange(self, site, replacements)):
                return original(*args, **kwargs)

        return forward

    def _replaced(self, site: HeadSite, states: Tensor, replacements: Sequence[Replacement]) -> Tensor:
        """What W_O takes, with the replacements."""
        changed = states.clone(memory_format=torch.contiguous_format)
        by_row = site.by_row(changed, self._rows)
        for each in replacements:
            by_row[each.row, :, each.head] = each.value.to(changed)
        return changed


class _ProductChange:
    """Replaces the operand of one product with a parameter in a module's call."""

    def __init__(self, intervention: _Intervention, site: HeadSite, replacements: Sequence[Replacement]) -> None:
        self._intervention, self._site, self._replacements, self._count = intervention, site, replacements, -1

    def __call__(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if parameter_product(func, args, kwargs, self._intervention._parameters) is None:
            return func(*args, **kwargs)
        self._count += 1
        if self._count != self._site.product:
            return func(*args, **kwargs)
        changed = [*args, *kwargs.values()]
        place = self._site.operand
        changed[place] = self._intervention._replaced(self._site, changed[place], self._replacements)
        return func(*changed[: len(args)], **dict(zip(kwargs, changed[len(args) :], strict=True)))
