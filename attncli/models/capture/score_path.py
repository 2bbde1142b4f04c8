"""Follow what is written to the residual stream, linearly, to the query and the key of one score.

q·k = Σ_ij (x_i W_Q R)·(x_j W_K R) over what the parts x_i, x_j of the model wrote to the streams of the two positions
(transformer-circuits.pub 2025, "Tracing attention computation through feature interactions"). Norms are frozen, those
of queries and keys too, and the rotation R by a position is a part of the linear map. The path is that of
`linear_path`, but for the module of the score: there products with parameters go on to q and k.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attncli.models.capture.attention_types import Attention
from attncli.models.capture.linear_path import LinearPath, PathKind, Source
from attncli.models.loading.loaded_model import LoadedModel

#: How many numbers the gradients of all sources together have at most, and those of one tensor on the way (128 MiB of
#: float32).
_MAX_GRADIENTS = 1 << 25

#: The name of what is added to q or k in the attention module itself.
PROJECTION_BIAS = "projection.bias"


class HeadPart(NamedTuple):
    """A head that writes. path, call: its attention module, and how many calls of that came before."""

    path: str
    call: int
    head: int


#: What a part of a model writes, and how much of q or k is made of it: (d,) in float64.
Vectors = Mapping[str | HeadPart, Tensor]


class ScorePlace(NamedTuple):
    """Which score is followed: of one head of a call of an attention module, at a query and a key.

    queries, keys: how many there are.  cross: whether the keys are of another stack.
    """

    path: str
    call: int
    head: int
    query: int
    key: int
    queries: int
    keys: int
    cross: bool

    @property
    def rows(self) -> dict[int, tuple[int, ...]]:
        """The positions that matter in streams of this length: learned keys before the text have no position."""
        rows: dict[int, set[int]] = defaultdict(set)
        rows[self.queries].add(self.query)
        own = self.key if self.cross else self.key - (self.keys - self.queries)
        if own >= 0:
            rows[self.keys if self.cross else self.queries].add(own)
        return {length: tuple(sorted(places)) for length, places in rows.items()}


class WrittenScore(NamedTuple):
    """The query and the key of a score as sums of what parts of the model wrote. Their product isn't scaled yet."""

    query: Vectors
    key: Vectors


def follow_score(model: LoadedModel, arguments: Mapping[str, Tensor | bool], place: ScorePlace) -> WrittenScore | None:
    """What wrote the query and the key of a score: one more forward pass up to there, and d backward passes each.

    None where no path leads from the residual stream to both: a function on the way isn't linear, or isn't known.
    """
    path = ScorePath(model.module, model.lists, 0, -1, -1, _token_table(model.module), place=place)

    def change(module: nn.Module, output: Tensor, axes: tuple[int, ...]) -> Tensor:
        if path.ended:
            return output
        return path.add_heads(module, output, axes, cross=model.site_of(path.path_of(module)).cross)

    with model.borrowed(), path.watching():
        model.run_changed(arguments, change, path.observe)
    if path.query is None or path.key is None:
        return None
    return WrittenScore(path.vectors(path.query), path.vectors(path.key))


def _token_table(model: Any) -> nn.Module | None:
    """The table of token embeddings; None where the model has several, or none."""
    try:
        table: nn.Module | None = model.get_input_embeddings()
    except NotImplementedError:
        return None
    return table


@dataclass(kw_only=True)
class ScorePath(LinearPath):
    """Watches a run until the score is computed, and keeps its query and key with all paths to them.

    query, key: (d,); None until then, and where no path leads to them.
    """

    place: ScorePlace
    query: Tensor | None = None
    key: Tensor | None = None
    ended: bool = False
    _calls: int = 0
    _inside: bool = False
    #: How many numbers the largest tensor has that holds a source.
    _largest: int = 0
    #: How often blocks of each stack were called, and the stack of the last one.
    _stack_calls: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    _stack: int = 0
    #: Whether the norm that runs stands behind the blocks of its stack.
    _is_behind_stack: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._rows = self.place.rows
        self._paths: dict[int, str] = {id(module): path for path, module in self.model.named_modules()}
        self._stacks = {
            id(block): number
            for number, block_list in enumerate(self.lists)
            for outer in block_list.blocks
            for block in (outer if isinstance(outer, nn.ModuleList) else (outer,))
        }

    def path_of(self, module: nn.Module) -> str:
        return self._paths[id(module)]

    def observe(self, path: str, attention: Attention) -> None:
        """Keep the query and the key, if this is the attention of the score."""
        if path != self.place.path or self.ended:
            return
        self._calls += 1
        if self._calls <= self.place.call:
            return
        states, place = attention.with_values, self.place
        if states is not None:
            key_head = place.head // (states.heads // states.key.shape[1])
            query, key = states.query[0, place.head, place.query], states.key[0, key_head, place.key]
            if self.is_on_path(query) and self.is_on_path(key):
                self.query, self.key = query, key
        self.ended = True

    def vectors(self, output: Tensor) -> dict[str | HeadPart, Tensor]:
        """How much of `output` each part wrote, without those that wrote nothing of it."""
        tensors = [*(source.tensor for source in self.sources), *(written.tensor for written in self.heads)]
        ones = torch.ones_like(output)
        reached = torch.autograd.grad(output, tensors, ones, allow_unused=True, retain_graph=True)
        kept = [place for place, gradient in enumerate(reached) if gradient is not None and gradient.numel()]
        leaves = [tensors[place] for place in kept]
        found: dict[str | HeadPart, Tensor] = {}
        size = max(1, _MAX_GRADIENTS // max(1, self._largest, sum(leaf.numel() for leaf in leaves)))
        # A gradient for each number of the output.
        for start in range(0, len(output), size):
            units = torch.eye(len(output), dtype=output.dtype, device=output.device)[start : start + size]
            gradients = torch.autograd.grad(output, leaves, units, retain_graph=True, is_grads_batched=True)
            for place, gradient in zip(kept, gradients, strict=True):
                for part, numbers in self._contributions(place, gradient):
                    whole = found.setdefault(part, torch.zeros(len(output), dtype=torch.float64))
                    whole[start : start + len(units)] += numbers.cpu()
        return {part: numbers for part, numbers in found.items() if bool(numbers.any())}

    def _contributions(self, place: int, gradient: Tensor) -> Iterator[tuple[str | HeadPart, Tensor]]:
        """The parts that wrote one source, and what they give to some numbers of the output. gradient: (numbers, …)."""
        if place < len(self.sources):
            source: Source = self.sources[place]
            yield source.name, gradient.double().flatten(1) @ source.tensor.detach().double().flatten()
            return
        written = self.heads[place - len(self.sources)]
        calls = dict.fromkeys(other.block_call for other in self.heads if other.module is written.module)
        call = list(calls).index(written.block_call)
        for head, numbers in enumerate(written.per_head(gradient).T):
            yield HeadPart(self.path_of(written.module), call, head), numbers

    # --- Where the run is

    @property
    def layer(self) -> int:
        return self._stack_calls[self._stack] - 1

    def _hooks(self) -> Iterator[RemovableHandle]:
        yield from super()._hooks()
        yield self.model.register_forward_pre_hook(self._before_run)
        module = self.model.get_submodule(self.place.path)
        yield module.register_forward_pre_hook(self._before_target)
        yield module.register_forward_hook(self._after_target)

    def _before_run(self, *_: Any) -> None:
        """Some models run twice, first over a text of another length: nothing of that counts."""
        if not self.ended:
            self._calls = self._count = 0
            self._stack_calls.clear()
            self.sources.clear()
            self.heads.clear()

    def _before_target(self, *_: Any) -> None:
        self._inside = self._calls == self.place.call

    def _after_target(self, *_: Any) -> None:
        self._inside = False

    def _before_block(self, block: nn.Module, args: Any) -> None:
        super()._before_block(block, args)
        self._stack = self._stacks[id(block)]
        self._stack_calls[self._stack] += 1

    def _before_norm(self, module: nn.Module, *_: Any) -> None:
        super()._before_norm()
        path = self.path_of(module)
        parents = {number: block_list.path.rpartition(".")[0] for number, block_list in enumerate(self.lists)}
        own = [number for number, parent in parents.items() if path.startswith(f"{parent}.")]
        self._is_behind_stack = any(self._stack_calls.get(number) for number in own)

    # --- What differs from the path to the logits

    def _call(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return func(*args, **kwargs) if self.ended else super()._call(func, args, kwargs)

    def _ends_at_parameters(self, kind: PathKind) -> bool:
        return super()._ends_at_parameters(kind) and not self._inside

    def _write_name(self, kind: PathKind) -> str:
        return PROJECTION_BIAS if self._inside else super()._write_name(kind)

    def _bias_name(self, kind: PathKind, width: int) -> str:
        if self._inside and not self._norms:
            return PROJECTION_BIAS
        if self._norms and self._is_behind_stack and not self._running:
            return "norm.final.bias"
        return super()._bias_name(kind, width)

    def _leaf(self, tensor: Tensor, axes: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """Only the positions of the score are followed: all others are constants."""
        self._largest = max(self._largest, tensor.numel())
        axis = self._token_axis(tensor, axes)
        if axis is None:
            return super()._leaf(tensor, axes)
        rows = self._rows_of(tensor, axis)
        leaf = tensor.detach().index_select(axis, rows).requires_grad_()
        with torch.enable_grad():
            return leaf, tensor.detach().index_copy(axis, rows, leaf)

    def _times(self, states: Tensor, matrix: Tensor) -> Tensor:
        axis = self._token_axis(states)
        if axis is None:
            return super()._times(states, matrix)
        rows = self._rows_of(states, axis)
        return (states.detach() @ matrix).index_copy(axis, rows, states.index_select(axis, rows) @ matrix)

    def _token_axis(self, tensor: Tensor, axes: tuple[int, ...] = ()) -> int | None:
        """The axis that counts positions of a stream of the score; None where it is unclear."""
        outer = [axis for axis in range(tensor.ndim - 1) if axis not in axes and tensor.shape[axis] > 1]
        return outer[0] if len(outer) == 1 and tensor.shape[outer[0]] in self._rows else None

    def _rows_of(self, tensor: Tensor, axis: int) -> Tensor:
        return torch.tensor(self._rows[tensor.shape[axis]], device=tensor.device)
