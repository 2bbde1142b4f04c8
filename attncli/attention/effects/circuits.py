"""`--qk-ov`: what heads do by their weights alone (Elhage et al. 2021, "A Mathematical Framework for Transformer
Circuits").

With row vectors, W_OV = W_V W_O stands between W_E and W_U, and W_QK = W_Q W_Kᵀ between W_E and W_Eᵀ; both have rank
d_head. Their eigenvalues are those of the cyclic product, d_head × d_head, so that no vocabulary × vocabulary matrix is
ever made. The mean over the vocabulary (of outputs, of keys) is subtracted, as a softmax ignores it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from attncli.attention.collector import Collector, StackKey
from attncli.attention.inputs import build_inputs
from attncli.attention.selection import HeadsRequest
from attncli.attention.stacks import CollectedStack, name_stacks
from attncli.errors import ModelError
from attncli.models.capture.attention_types import Attention
from attncli.models.capture.circuit_weights import (
    HeadMatrices,
    StreamEnds,
    read_circuits,
    rows_of_run,
    stream_width,
)
from attncli.models.loading.loaded_model import LoadedModel
from attncli.progress import Progress, silent
from attncli.results.circuits import Circuits, Composition, CompositionKind, HeadCircuit
from attncli.results.tokens import Token

#: So many compositions of each kind are kept.
MOST_COMPOSITIONS = 100

#: Rows of the vocabulary that are multiplied at a time.
_VOCABULARY_ROWS = 8192

#: Random matrices whose mean composition is that of chance.
_SAMPLES = 8

#: What a LayerNorm leaves of the vector of ones, relative to the size of the matrix behind it: rounding.
_CENTRED = 1e-3


class _Label(NamedTuple):
    """A layer of heads. source: the stack that its keys and values are read from."""

    key: StackKey
    number: int
    source: str


def measure_circuits(
    model: LoadedModel, request: HeadsRequest, progress: Progress = silent
) -> tuple[Circuits, tuple[CollectedStack, ...]]:
    """The circuits of the chosen heads, and the stacks that they are in, which hold nothing else.

    Raises UsageError for a stack, layer or head that isn't there, ModelError where the model can't be read so.
    """
    width = stream_width(model)
    if width is None:
        raise ModelError(
            f"the width of {model.class_name}'s residual stream is unknown",
            hint="--qk-ov needs hidden_size in the configuration; name another model (-m)",
        )
    inputs = build_inputs(model, [[Token(0, 0, "", "")]] * rows_of_run(width))
    collector = Collector(model, inputs, request)

    def observe(path: str, attention: Attention) -> _Label:
        collector(path, attention)
        key, number = collector.latest
        return _Label(key, number, next(iter(collector.layers)).path if key.cross else key.path)

    progress("reading weights", 0, None)
    found, ends = read_circuits(model, inputs.arguments, width, observe)
    stacks = name_stacks(collector)
    layers = [_layer(label, matrices) for label, matrices in found if isinstance(label, _Label)]
    last = layers[-1].label.key.path
    names = {stack.key: stack for stack in stacks}
    heads = tuple(_head_circuits(layers, names, _VocabularyForms(ends, last)))
    chosen = {head.name for head in heads}
    compositions = tuple(_strongest(layers, names, chosen, progress))
    return Circuits(heads, compositions), stacks


class _Layer(NamedTuple):
    """A layer's matrices, each for every head: (heads, width, d), `output` (heads, d_value, width)."""

    label: _Label
    query: Tensor | None
    key: Tensor | None
    value: Tensor | None
    output: Tensor | None

    @property
    def heads(self) -> int:
        return next((len(each) for each in self[1:] if each is not None), 0)


def _layer(label: _Label, found: HeadMatrices) -> _Layer:
    """With keys and values repeated for the heads that share them, and the output without its mean where a LayerNorm
    reads it: whatever reads the stream subtracts it."""
    query, key, value, output = found
    heads = next((len(each) for each in (query, output) if each is not None), 0)
    key, value = (None if each is None else each.repeat_interleave(heads // len(each), 0) for each in (key, value))
    if output is not None and value is not None:
        ones = value.sum(1).norm() / value.shape[1] ** 0.5
        if bool(ones < _CENTRED * value.norm()):
            output = output - output.mean(-1, keepdim=True)
    return _Layer(label, query, key, value, output)


# --- One head


@dataclass
class _VocabularyForms:
    """W_U W_E and W_Eᵀ W_E between streams, (width, width): all that eigenvalues need of the vocabulary.

    last: the stack whose states the unembedding takes.
    """

    ends: StreamEnds
    last: str

    @cache  # noqa: B019  # of a short-lived object
    def _products(self) -> tuple[Tensor | None, Tensor | None]:
        """W_U W_E, (d_in, d_embedding), and W_Eᵀ W_E, both without the mean over the vocabulary."""
        table, unembedding = self.ends.embedding, self.ends.unembedding
        if table is None:
            return None, None
        gram = _centred_product(table.T, table)
        fits = unembedding is not None and unembedding.shape[1] == table.shape[0]
        return (_centred_product(unembedding, table) if fits and unembedding is not None else None), gram

    def copying(self, source: str, written: str) -> Tensor | None:
        """From a stream to the logits and from the vocabulary to what is read: (width, width)."""
        product, entry, way_out = self._products()[0], self.ends.entries.get(source), self.ends.exit
        if product is None or entry is None or way_out is None or written != self.last:
            return None
        return way_out @ product.to(entry) @ entry

    def matching(self, queries: str, source: str) -> Tensor | None:
        """Of keys and queries: (width of keys, width of queries)."""
        product, entries = self._products()[1], self.ends.entries
        if product is None or queries not in entries or source not in entries:
            return None
        return entries[source].T @ product.to(entries[source]) @ entries[queries]

    def __hash__(self) -> int:
        return id(self)


def _centred_product(left: Tensor, table: Tensor) -> Tensor:
    """left (n, vocabulary) times the table (vocabulary, m), `left` without its mean over the vocabulary: float32."""
    total = torch.zeros(left.shape[0], table.shape[1], device=table.device)
    for start in range(0, table.shape[0], _VOCABULARY_ROWS):
        rows = slice(start, start + _VOCABULARY_ROWS)
        total += left[:, rows].float() @ table[rows].float()
    return total - torch.outer(left.float().mean(1), table.float().sum(0))


def _head_circuits(
    layers: Sequence[_Layer], names: dict[StackKey, CollectedStack], forms: _VocabularyForms
) -> Iterator[HeadCircuit]:
    for layer in layers:
        stack = names.get(layer.label.key)
        chosen = () if stack is None else stack.heads_of(layer.label.number)
        if stack is None or not chosen:
            continue
        key, number, source = layer.label
        copying = _eigenvalue_shares(layer.output, forms.copying(source, key.path), layer.value)
        keys = None if layer.key is None else layer.key.transpose(1, 2)
        matching = _eigenvalue_shares(keys, forms.matching(key.path, source), layer.query)
        for head in chosen:
            name = f"{stack.prefix}{number}.{head}"
            yield HeadCircuit(stack.name, name, number, head, copying.get(head), matching.get(head))


def _eigenvalue_shares(left: Tensor | None, form: Tensor | None, right: Tensor | None) -> dict[int, float]:
    """Σ Re λ / Σ |λ| of left (heads, d, n) · form (n, m) · right (heads, m, d), by head; empty without one of them."""
    if left is None or form is None or right is None or left.shape[1] != right.shape[2]:
        return {}
    products = (left @ form @ right).double().cpu()
    values = torch.linalg.eigvals(products)
    sizes = values.abs().sum(-1)
    shares = torch.where(sizes > 0, values.real.sum(-1) / sizes.clamp(min=1e-300), torch.nan)
    return {head: share for head, share in enumerate(shares.tolist()) if share == share}


# --- Two heads


def _strongest(
    layers: Sequence[_Layer], names: dict[StackKey, CollectedStack], chosen: set[str], progress: Progress
) -> list[Composition]:
    """The strongest compositions of each kind that a chosen head takes part in."""
    found: dict[CompositionKind, list[Composition]] = {"query": [], "key": [], "value": []}
    written = [_written(layer) for layer in layers]
    for place, later in enumerate(layers):
        progress("composing heads", place, len(layers))
        for kind, read in _readers(later).items():
            stream = later.label.key.path if kind == "query" else later.label.source
            for earlier, output in zip(layers[:place], written, strict=False):
                if output is None or earlier.label.key.path != stream or output.shape[2] != read.shape[1]:
                    continue
                scores = _composition(output, read)
                chance = _chance(read.shape[1], output.shape[1], read.shape[2])
                found[kind] += _named(kind, scores, chance, earlier.label, later.label, names, chosen)
        for kind, each in found.items():
            each.sort(key=lambda one: one.chance - one.score)
            found[kind] = each[:MOST_COMPOSITIONS]
    return [one for each in found.values() for one in each]


def _written(layer: _Layer) -> Tensor | None:
    """(heads, d, width): as W_OV over its norm, for the norm of any product that it begins."""
    return None if layer.value is None or layer.output is None else _unit(_root(layer.value) @ layer.output)


def _readers(layer: _Layer) -> dict[CompositionKind, Tensor]:
    """For each kind (heads, width, d): as W_QK, W_QKᵀ and W_OV over their norms, for that of any product they end."""
    readers: dict[CompositionKind, Tensor] = {}
    if layer.query is not None and layer.key is not None:
        readers["query"] = _unit(layer.query @ _root(layer.key).transpose(1, 2))
        readers["key"] = _unit(layer.key @ _root(layer.query).transpose(1, 2))
    if layer.value is not None and layer.output is not None:
        readers["value"] = _unit(layer.value @ _root(layer.output.transpose(1, 2)).transpose(1, 2))
    return readers


def _root(matrices: Tensor) -> Tensor:
    """An R with RᵀR = AᵀA, so that ‖A X‖ = ‖R X‖ for every X. (heads, width, d) to (heads, d, d)."""
    values, vectors = torch.linalg.eigh((matrices.transpose(1, 2) @ matrices).double().cpu())
    root: Tensor = values.clamp(min=0).sqrt()[:, :, None] * vectors.transpose(1, 2)
    return root.to(matrices)


def _unit(matrices: Tensor) -> Tensor:
    """Each head's matrix over its Frobenius norm."""
    norms: Tensor = matrices.flatten(1).norm(dim=1).clamp(min=1e-30)[:, None, None]
    return matrices / norms


def _composition(written: Tensor, read: Tensor) -> Tensor:
    """‖W W'‖ for every earlier head, (heads, d, width), and later head, (heads, width, d), of norm 1 each."""
    (earlier, inner, width), (later, _, outer) = written.shape, read.shape
    product = written.reshape(-1, width) @ read.transpose(0, 1).reshape(width, -1)
    squares = product.square_().reshape(earlier, inner, -1).sum(1)
    return squares.reshape(earlier, later, outer).sum(2).sqrt()


def _named(
    kind: CompositionKind,
    scores: Tensor,
    chance: float,
    earlier: _Label,
    later: _Label,
    names: dict[StackKey, CollectedStack],
    chosen: set[str],
) -> list[Composition]:
    """The largest of a layer's scores, (earlier heads, later heads), with the names of the heads."""
    writes, reads = ([_head_name(label, head, names) for head in range(count)]
                     for label, count in zip((earlier, later), scores.shape, strict=True))  # fmt: skip
    pairs = [
        (score, one, other)
        for one, row in zip(writes, scores.tolist(), strict=True)
        for other, score in zip(reads, row, strict=True)
        if one in chosen or other in chosen
    ]
    pairs.sort(reverse=True)
    return [Composition(kind, one, other, score, chance) for score, one, other in pairs[:MOST_COMPOSITIONS]]


def _head_name(label: _Label, head: int, names: dict[StackKey, CollectedStack]) -> str:
    stack = names.get(label.key)
    return "" if stack is None else f"{stack.prefix}{label.number}.{head}"


@cache
def _chance(width: int, inner: int, outer: int) -> float:
    """The mean composition of random matrices, (width, inner)·(inner, width) and (width, outer)·(outer, width)."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(_SAMPLES, *shape, generator=generator)

    written = _unit(_root(draw(width, inner)) @ draw(inner, width))
    read = _unit(draw(width, outer) @ _root(draw(width, outer)).transpose(1, 2))
    return float(_composition(written, read).mean())
