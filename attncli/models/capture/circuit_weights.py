"""The matrices of a model's circuits: what each head's queries, keys and values are of the residual stream, and what it
writes back.

Nothing is known by its name. The model runs once on as many sequences of one token as the stream has numbers, and every
block is given the unit vectors instead of its stream: then the queries, keys and values that its attention receives are
the rows of the matrices that make them, whatever stands between (fused and low-rank projections, adapters).
Each norm keeps its weights alone meanwhile: no scale and no bias, but LayerNorm's centring (Elhage et al. 2021,
"A Mathematical Framework for Transformer Circuits"). A single token is at distance 0 of itself, where rotary position
encoding turns query and key alike. A further row of zeros takes biases and positions away, and one of random numbers
shows whether the result is linear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from attncli.models.capture.attention_types import Attention
from attncli.models.capture.hooks import hooked, only_in_this_thread
from attncli.models.capture.qkv_inputs import LinearMap, linear_map, receives
from attncli.models.loading.loaded_model import LoadedModel

#: Largest deviation of what a linear map gives for a random vector, relative to its length.
_TOLERANCE, _HALF_TOLERANCE = 1e-3, 3e-2

#: Norms are read at vectors of this size, beside which their epsilon is nothing.
_PROBE_SIZE = 100.0

#: Rows before the unit vectors: zeros, and random numbers.
_EXTRA_ROWS = 2


class HeadMatrices(NamedTuple):
    """The matrices of the heads of one layer, float32; None where the model computes no such matrix.

    query: (heads, width, d).  key: (key heads, width, d).  value: (key heads, width, d_value), each of the stream that
    they are read from.  output: (heads, d_value, width), with the norm that follows attention, if there is one.
    """

    query: Tensor | None
    key: Tensor | None
    value: Tensor | None
    output: Tensor | None


class StreamEnds(NamedTuple):
    """What stands at the ends of the residual streams.

    embedding: of tokens, (vocabulary, d_embedding).  entries: from it to a stream, (d_embedding, width), by the path of
    the stack.  exit: from the last stream to what the unembedding takes, (width, d_in).  unembedding: (d_in,
    vocabulary). None where there is no such matrix: the head of a masked language model is not linear.
    centred: the norm before the unembedding subtracts the mean.
    """

    embedding: Tensor | None
    entries: Mapping[str, Tensor]
    exit: Tensor | None
    unembedding: Tensor | None


def rows_of_run(width: int) -> int:
    """How many sequences of one token `read_circuits` runs."""
    return width + _EXTRA_ROWS


def stream_width(model: LoadedModel) -> int | None:
    """The width of the residual stream; None where the configuration doesn't say."""
    width = getattr(model.config.get_text_config(), "hidden_size", None)
    return width if isinstance(width, int) else None


def read_circuits(
    model: LoadedModel, arguments: Mapping[str, Tensor | bool], width: int, observe: Callable[[str, Attention], object]
) -> tuple[list[tuple[object, HeadMatrices]], StreamEnds]:
    """The matrices of every attention computation, in the order in which they happen, each with what `observe` returned
    for it, and those of the streams' ends.

    arguments: of `rows_of_run(width)` sequences of one token each. Raises what `LoadedModel.run_attention` raises.
    """
    reader = _CircuitReader(model, width)

    def hooks() -> Iterator[RemovableHandle]:
        yield from reader.hooks()
        yield register_module_forward_pre_hook(only_in_this_thread(reader.before_module))

    def take(path: str, attention: Attention) -> None:
        reader.take(observe(path, attention), attention)

    with model.borrowed(), hooked(hooks()):
        model.run_attention(arguments, take)
    return [(label, found.matrices()) for label, found in reader.found], reader.ends()


# --- Norms


class _LinearNorm(NamedTuple):
    """A norm without its scale and bias. weight: (n,), or None.  centres: it subtracts the mean."""

    weight: Tensor
    centres: bool

    def apply(self, states: Tensor) -> Tensor:
        """Of states (…, n), in float32."""
        states = states.float()
        centred = states - states.mean(-1, keepdim=True) if self.centres else states
        return centred * self.weight


def _linear_norm(norm: nn.Module, width: int, like: Tensor) -> _LinearNorm | None:
    """What is left of a norm of this width; None for a module that doesn't scale its input to a length of its own."""
    signs = torch.ones(width)
    signs[1::2] = -1
    if width % 2:
        signs[-1] = 0.5  # so that no entry is 0; the mean is subtracted below
        signs = signs - signs.mean()
    probe = (signs / signs.square().mean().sqrt()).to(like)
    rows = torch.stack([probe, 2 * probe, torch.zeros_like(probe), torch.ones_like(probe)]) * _PROBE_SIZE
    with torch.no_grad():
        once, twice, bias, ones = norm.forward(rows[:, None])[:, 0].float()
    size = (once - bias).norm()
    if not bool((once - twice).norm() <= _HALF_TOLERANCE * size) or not bool(size > 0):
        return None
    weight = (once - bias) / probe.float()
    return _LinearNorm(weight, centres=bool((ones - bias).norm() < _HALF_TOLERANCE * weight.norm()))


# --- The run


@dataclass
class _Found:
    """What was seen of one attention computation; the rows are those of the run."""

    query: Tensor | None = None
    key: Tensor | None = None
    value: Tensor | None = None
    heads: int = 0
    output: LinearMap | None = None
    norm: _LinearNorm | None = None
    random: Tensor | None = None

    def matrices(self) -> HeadMatrices:
        query, key, value = (self._matrix(states) for states in (self.query, self.key, self.value))
        output = None if self.output is None else self.output.matrix.float()
        if output is not None and self.norm is not None:
            output = self.norm.apply(output)
        if output is not None:
            output = output.reshape(self.heads, -1, output.shape[-1])
        return HeadMatrices(query, key, value, output)

    def _matrix(self, states: Tensor | None) -> Tensor | None:
        """(rows, heads, 1, d) as (heads, width, d)."""
        if states is None or self.random is None:
            return None
        rows = _linear_rows(states[:, :, 0], self.random)
        return None if rows is None else rows.transpose(0, 1).contiguous()


def _linear_rows(rows: Tensor, random: Tensor) -> Tensor | None:
    """The rows of a linear map, (width, …), of its values for zero, a random vector and the unit vectors.

    None where the value for the random vector shows that it isn't linear.
    """
    tolerance = _TOLERANCE if rows.dtype in (torch.float32, torch.float64) else _HALF_TOLERANCE
    zero, of_random, *_ = rows.float()
    matrix = rows[_EXTRA_ROWS:].float() - zero
    expected = torch.einsum("n,n...->...", random, matrix)
    off = (of_random - zero - expected).norm()
    return matrix if bool(off <= tolerance * expected.norm().clamp(min=1e-6)) else None


@dataclass
class _CircuitReader:
    """Hooks that give blocks unit vectors, linearise norms, and watch where the output of the heads goes."""

    model: LoadedModel
    width: int
    found: list[tuple[object, _Found]] = field(default_factory=list)
    entries: dict[str, Tensor] = field(default_factory=dict)
    exit: Tensor | None = None
    _norms: dict[tuple[int, int], _LinearNorm | None] = field(default_factory=dict)
    #: The width of the heads' output, until the module that receives it runs.
    _expected: int | None = None
    #: What the output matrix of the last attention gave, until the module after it runs.
    _written: Tensor | None = None

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.random = torch.randn(self.width, generator=generator)
        self._embedding_rows: dict[int, Tensor] = {}

    # --- what goes in

    def rows(self, width: int, like: Tensor) -> Tensor:
        """Zeros, random numbers, and the unit vectors: (rows, 1, width); zeros again if the run has more rows."""
        rows = torch.zeros(len(like), width)
        random = self.random if width == self.width else torch.randn(width, generator=torch.Generator().manual_seed(0))
        rows[1] = random
        count = min(width, len(rows) - _EXTRA_ROWS)
        rows[_EXTRA_ROWS : _EXTRA_ROWS + count, :count] = torch.eye(count)
        return rows[:, None].to(device=like.device, dtype=like.dtype)

    def hooks(self) -> Iterator[RemovableHandle]:
        module: Any = self.model.module
        table = self._table()
        head = module.get_output_embeddings()
        for part in module.modules():
            if isinstance(part, nn.Embedding) and table is not None and part.weight.data_ptr() == table.data_ptr():
                yield part.register_forward_hook(self.after_embedding)
            elif "norm" in type(part).__name__.lower():
                yield part.register_forward_hook(self.after_norm)
        for block_list in self.model.lists:
            for place, block in enumerate(block_list.blocks):
                path = block_list.path if place == 0 else None
                yield block.register_forward_pre_hook(self._before_block(path), with_kwargs=True)
            yield block_list.blocks[-1].register_forward_hook(self.after_stack)
        if head is not None:
            yield head.register_forward_pre_hook(self.before_head)

    def after_embedding(self, _: nn.Module, __: Any, output: Tensor) -> Tensor:
        return self.rows(output.shape[-1], output).expand_as(output)

    def after_norm(self, norm: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if len(inputs) != 1 or not isinstance(output, Tensor) or output.shape != inputs[0].shape:
            return None
        states, key = inputs[0], (id(norm), output.shape[-1])
        if key not in self._norms:
            self._norms[key] = _linear_norm(norm, output.shape[-1], output)
        linear = self._norms[key]
        if linear is None:
            return None
        written, self._written = self._written, None
        if written is not None and written.shape == states.shape and torch.equal(written, states):
            self.found[-1][1].norm = linear
        return linear.apply(states).to(output.dtype)

    def _before_block(self, first_of: str | None) -> Callable[..., Any]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            # The states are the first argument in every family; masks and positions follow.
            given = [*args, *kwargs.values()]
            place = next((number for number, value in enumerate(given) if isinstance(value, Tensor)), None)
            if place is None or given[place].ndim != 3 or given[place].shape[-1] != self.width:
                return None
            if first_of is not None:
                self.entries.setdefault(first_of, given[place][:, 0].clone())
            given[place] = self.rows(self.width, given[place])
            return tuple(given[: len(args)]), dict(zip(kwargs, given[len(args) :], strict=True))

        return hook

    def after_stack(self, _: nn.Module, __: Any, output: Any) -> Any:
        """After the last block of a stack."""
        states = output if isinstance(output, Tensor) else output[0]
        if states.ndim != 3 or states.shape[-1] != self.width:
            return None
        rows = self.rows(self.width, states)
        return rows if isinstance(output, Tensor) else type(output)([rows, *output[1:]])

    # --- what comes out

    def take(self, label: object, attention: Attention) -> None:
        self.found.append((label, _Found()))
        states = attention.with_values
        self._written = self._expected = None
        if states is None or states.queries != 1 or states.keys != 1:
            return
        query, key, value = (each.detach().clone() for each in (states.query, states.key, states.value))
        self.found[-1] = (label, _Found(query, key, value, attention.heads, random=self.random.to(query.device)))
        self._expected = attention.heads * value.shape[-1]

    def before_module(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if self._expected is None or not receives(module, inputs, self._expected):
            return
        self._expected = None
        self.found[-1][1].output = linear_map(module)
        self._written = module.forward(*inputs)

    def before_head(self, _: nn.Module, inputs: tuple[Any, ...]) -> Any:
        """The first row alone goes on: the logits of all would take much memory."""
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].ndim == 3:
            self.exit = inputs[0][:, 0].clone()
            return (inputs[0][:1], *inputs[1:])
        return None

    def _table(self) -> Tensor | None:
        try:
            weight = getattr(self.model.module.get_input_embeddings(), "weight", None)
        except NotImplementedError:
            return None
        return weight if isinstance(weight, Tensor) and weight.ndim == 2 else None

    def ends(self) -> StreamEnds:
        table, head = self._table(), self.model.module.get_output_embeddings()
        entries = {}
        for path, rows in self.entries.items():
            width = 0 if table is None else table.shape[1]
            random = self.rows(width, rows)[1, 0].float()
            linear = _linear_rows(rows[: width + _EXTRA_ROWS], random)
            if linear is not None and width:
                entries[path] = linear
        way_out = None if self.exit is None else _linear_rows(self.exit, self.random.to(self.exit.device))
        unembedding = None if head is None or way_out is None else linear_map(head)
        return StreamEnds(
            None if table is None else table.detach(),
            entries,
            None if unembedding is None else way_out,
            None if unembedding is None else unembedding.matrix,
        )
