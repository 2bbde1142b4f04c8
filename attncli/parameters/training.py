"""What training holds in memory: weights, gradients, states of the optimizer, and activations.

Activations follow Korthikanti et al. 2022 (Reducing Activation Recomputation in Large Transformer Models, section 4),
with the model's own widths in the place of the paper's: with a feed-forward network four times as wide as the model, as
many key heads as query heads and dropout they are its s·b·h·(34 + 5·a·s/h) bytes a layer in half precision.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import ceil, prod
from typing import TYPE_CHECKING, NamedTuple

from attncli.components import COMPONENTS
from attncli.parameters.cache import encoder_positions, is_prediction_layer, projection_widths
from attncli.parameters.classify import width_in, width_out
from attncli.parameters.inventory import Settings, source_fields
from attncli.results.costs import Training

if TYPE_CHECKING:
    from attncli.parameters.classify import LocatedShare, TensorShare

Shape = tuple[int, ...]

#: Bytes of a number.
_FLOAT32, _HALF = 4, 2
#: bitsandbytes: the numbers that share a scale, and the size below which a tensor keeps states of 32 bits
#: (bitsandbytes.optim: block size 256, min_8bit_size 4096).
_BLOCK, _MIN_8BIT = 256, 4096
#: Bits of a weight in NF4 with double quantization: 4 and 8/64 + 32/(64 · 256) (Dettmers 2023, QLoRA).
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
#: Parts whose input is no text, so that the number of their positions doesn't follow from the context.
_OTHER_INPUTS = ("vision", "audio", "projector")


class Trained(NamedTuple):
    """A tensor that is trained. is_matrix: a matrix of a block, as Muon takes them."""

    shape: Shape
    is_matrix: bool

    @property
    def parameters(self) -> int:
        return prod(self.shape)


def trained_tensors(shares: Iterable[TensorShare]) -> tuple[Trained, ...]:
    """The tensors of a model, each once."""
    found = {}
    for share in shares:
        is_matrix = len(share.tensor.shape) > 1 and not share.is_bias and COMPONENTS[share.component].packed
        found[share.tensor.name] = Trained(share.tensor.shape, is_matrix)
    return tuple(found.values())


# --- Optimizers


def optimizer_bytes(name: str, tensors: Iterable[Trained]) -> int:
    """Bytes of the states that an optimizer keeps for the tensors, as in choices.OPTIMIZERS."""
    return sum(_STATES[name](each) for each in tensors)


def _adamw(tensor: Trained) -> int:
    """A mean and a variance of each gradient (Kingma & Ba 2015)."""
    return 2 * _FLOAT32 * tensor.parameters


def _adamw_8bit(tensor: Trained) -> int:
    """The same in a byte each, and a scale for each block (Dettmers 2022); small tensors keep 32 bits."""
    if tensor.parameters < _MIN_8BIT:
        return _adamw(tensor)
    return 2 * (tensor.parameters + _FLOAT32 * ceil(tensor.parameters / _BLOCK))


def _adafactor(tensor: Trained) -> int:
    """Means over the rows and over the columns of each matrix, without momentum (Shazeer & Stern 2018)."""
    if len(tensor.shape) < 2:
        return _FLOAT32 * tensor.parameters
    *outer, rows, columns = tensor.shape
    return _FLOAT32 * prod(outer) * (rows + columns)


def _muon(tensor: Trained) -> int:
    """A momentum of each matrix of a block; AdamW for everything else (Jordan 2024)."""
    return _FLOAT32 * tensor.parameters if tensor.is_matrix else _adamw(tensor)


def _sgd(tensor: Trained) -> int:
    """Nothing without momentum."""
    return 0


_STATES = {"adamw": _adamw, "adamw8bit": _adamw_8bit, "adafactor": _adafactor, "muon": _muon, "sgd": _sgd}


# --- Activations


class LayerActivations(NamedTuple):
    """What one layer keeps for the backward pass, in numbers for each token of the text.

    inputs: the layer's own input.  numbers: all others, but for the attention's weights.  masks: of dropout, a byte
    each.  heads: query heads of all its attentions.  dropout: whether the attention's weights are dropped out.
    positions: of its input where that is not the text; None for as many as tokens.
    """

    inputs: int
    numbers: int
    masks: int
    heads: int
    dropout: bool
    positions: int | None = None

    def bytes(self, context: int, size: int, *, weights: bool) -> int:
        """Of one text of `context` tokens. size: of a number.  weights: whether those of the attention are kept."""
        tokens = self.positions or context
        # Softmax and its output, and with dropout its mask and what is left (the paper's 5·a·s²).
        kept = self.heads * tokens * ((2 * size + 1) if self.dropout else size) if weights else 0
        return tokens * (size * self.numbers + self.masks + kept)


class Activations(NamedTuple):
    """What a model keeps for the backward pass.

    width: of its states.  vocabulary: of its logits.  dropout: whether the embedding's output is dropped out.
    """

    layers: tuple[LayerActivations, ...]
    width: int
    vocabulary: int
    dropout: bool

    def bytes(self, context: int, batch: int, size: int, recompute: str) -> int:
        """Of `batch` texts of `context` tokens. size: bytes of a number.  recompute: as in choices.RECOMPUTE.

        With `full`, the input of each layer is kept, and one layer at a time is computed again.
        """
        each = [layer.bytes(context, size, weights=recompute == "none") for layer in self.layers]
        if recompute == "full":
            inputs = (size * layer.inputs * (layer.positions or context) for layer in self.layers)
            total = sum(inputs) + max(each, default=0)
        else:
            total = sum(each)
        # The last norm, the input of the unembedding, and logits in float32 (section 4.3).
        outside = context * (2 * size * self.width + _FLOAT32 * self.vocabulary + (self.width if self.dropout else 0))
        return batch * (total + outside)


def activations(located: Sequence[LocatedShare], settings: Settings) -> Activations | None:
    """What training keeps of the layers that read text; None where the model has no layers whose widths are known.

    located: tied tensors under each of their names.
    """
    blocks: dict[tuple[str, int], list[LocatedShare]] = defaultdict(list)
    positions = encoder_positions(located)
    for entry in located:
        place = entry.location
        if place.stack is None or place.layer is None or place.part in _OTHER_INPUTS:
            continue
        if not is_prediction_layer(entry, settings):
            blocks[place.stack, place.layer].append(entry)
    dropout = _has_dropout(settings)
    layers = []
    for (stack, _), entries in blocks.items():
        width = settings.look_up(stack, "hidden") or _reading_width(entries)
        if not width:
            return None
        fixed = positions if entries[0].location.part == "encoder" else None
        layers.append(_layer_activations([each.share for each in entries], stack, width, settings, dropout, fixed))
    if not layers:
        return None
    vocabulary = max((width_out(each.share.tensor) for each in located if _gives_logits(each.share)), default=0)
    return Activations(tuple(layers), layers[-1].inputs, vocabulary, dropout)


def _gives_logits(share: TensorShare) -> bool:
    return share.component == "unembedding" and not share.is_bias and len(share.tensor.shape) == 2


def _reading_width(entries: Iterable[LocatedShare]) -> int:
    matrices = (each.share.tensor for each in entries if each.share.component.endswith((".query", ".up")))
    return next((width_in(tensor) for tensor in matrices if len(tensor.shape) == 2), 0)


def _layer_activations(
    shares: Sequence[TensorShare], stack: str, width: int, settings: Settings, dropout: bool, positions: int | None
) -> LayerActivations:
    by_group: dict[str, list[TensorShare]] = defaultdict(list)
    for share in shares:
        by_group[COMPONENTS[share.component].group].append(share)
    numbers = masks = heads = 0
    for group in ("attention", "cross_attention"):
        found = projection_widths(by_group[group]) if group in by_group else {}
        if not found.get("query") and not found.get("output"):
            continue
        # Its input, queries and keys for the scores, values for their sum, and the sum.
        numbers += width + sum(found.get(kind, 0) for kind in ("query", "key", "value", "output"))
        masks += width
        heads += settings.look_up(stack, "heads") or 0
    if "mixer" in by_group:
        numbers += width + sum(projection_widths(by_group["mixer"]).values())
        masks += width
    inner = _inner_numbers([*by_group["mlp"], *by_group["moe"]], width, settings)
    if inner:
        numbers, masks = numbers + width + inner, masks + width
    norms = {share.tensor.module for share in by_group["norm"] if share.tensor.shape == (width,)}
    numbers += width * len(norms)
    return LayerActivations(width, numbers, masks if dropout else 0, heads, dropout, positions)


def _inner_numbers(shares: Iterable[TensorShare], width: int, settings: Settings) -> int:
    """What feed-forward networks keep a token: the input and the output of the activation, with a gate also the other
    factor and the product. Of experts, as many as a token is sent to.
    """
    # One side of each matrix is the model's width.
    inner: dict[str, Fraction] = defaultdict(Fraction)
    for share in shares:
        kind, tensor = share.component.rpartition(".")[2], share.tensor
        if not share.is_bias and len(tensor.shape) > 1:
            inner[kind] += Fraction(share.parameters, width) * _active_share(share, settings)
    # Shared experts have their three matrices under one name.
    return ceil(2 * inner["gate"] + inner["up"] + inner["down"] + Fraction(4, 3) * inner["shared"])


def _active_share(share: TensorShare, settings: Settings) -> Fraction:
    """The share of a component's matrices that a token passes through."""
    if not COMPONENTS[share.component].routed:
        return Fraction(1)
    experts, active = (settings.look_up(share.tensor.module, field) for field in ("experts", "active_experts"))
    return Fraction(active, experts) if experts and active and active < experts else Fraction(1)


def _has_dropout(settings: Settings) -> bool:
    """Whether a configuration drops anything out while training."""
    sources = (source_fields(source) for found in settings.sources.values() for source in found)
    return any(
        isinstance(value, float) and value > 0 and ("drop" in name and "path" not in name and "layer" not in name)
        for fields in sources
        for name, value in fields.items()
    )


# --- All of it


class TrainingRequest(NamedTuple):
    """How to train. optimizer: as in choices.OPTIMIZERS.  recompute: as in choices.RECOMPUTE."""

    optimizer: str = "adamw"
    recompute: str = "selective"


def training_memory(
    parameters: int,
    trained: Sequence[Trained],
    request: TrainingRequest,
    *,
    frozen: bool = False,
    packed: int = 0,
    kept: Activations | None = None,
    context: int = 1,
    batch: int = 1,
) -> dict[str, Training]:
    """Bytes of training, by the dtype of the weights.

    In bfloat16 (mixed precision) the optimizer updates a float32 copy of the trained weights (Micikevicius 2018).
    parameters: of the model.  trained: its tensors, or those of adapters where it is `frozen`.  packed: how many of a
    frozen model's parameters QLoRA packs in NF4; 0 for none.
    """
    trainable, base = sum(each.parameters for each in trained), parameters if frozen else 0
    states = optimizer_bytes(request.optimizer, trained)

    def needed(size: int, weights: int) -> Training:
        activated = None if kept is None else kept.bytes(context, batch, size, request.recompute)
        master = 0 if size == _FLOAT32 else _FLOAT32 * trainable
        return Training(weights + size * trainable, size * trainable, states, master, activated)

    found = {"float32": needed(_FLOAT32, _FLOAT32 * base), "bfloat16": needed(_HALF, _HALF * base)}
    if frozen and packed:
        found["nf4"] = needed(_HALF, ceil(packed * NF4_BITS / 8) + _HALF * (base - packed))
    return found
