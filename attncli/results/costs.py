"""What a model costs to keep and to run: bytes of weights, of the cache and of training, and arithmetic per token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from attncli.results.base import short_repr

#: Bits of a number, by the dtypes that weights are kept in.
WEIGHT_BITS: Mapping[str, int] = {"float32": 32, "bfloat16": 16, "float16": 16, "int8": 8, "int4": 4}
#: The same for caches and states.
CACHE_BITS: Mapping[str, int] = {"float32": 32, "bfloat16": 16, "float16": 16, "int8": 8}


def in_bytes(numbers: int, bits: int) -> int:
    """Bytes that so many numbers take, the last one whole."""
    return -(-numbers * bits // 8)


def by_dtype(numbers: int, bits: Mapping[str, int]) -> dict[str, int]:
    """Bytes that so many numbers take in each dtype."""
    return {dtype: in_bytes(numbers, width) for dtype, width in bits.items()}


class CachedLayer(NamedTuple):
    """The numbers that one layer keeps of the tokens that it has seen.

    per_token: for each token, keys and values (or the latent of both).  window: how many tokens are kept; None for
    all.  cross: for each position of the other sequence that it attends to.  state: however many tokens there were.
    cross_positions: how many the other sequence has where its model fixes that; None for as many as the text.
    """

    part: str
    layer: int
    per_token: int = 0
    window: int | None = None
    cross: int = 0
    state: int = 0
    cross_positions: int | None = None

    def numbers(self, context: int) -> int:
        """Numbers kept after `context` tokens, with as many in the other sequence where nothing fixes its length."""
        kept = context if self.window is None else min(context, self.window)
        other = context if self.cross_positions is None else self.cross_positions
        return self.per_token * kept + self.cross * other + self.state

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


@short_repr
class Cache(NamedTuple):
    """The cache of a model that goes on from token to token, for `context` tokens of `batch` texts."""

    context: int
    batch: int
    layers: tuple[CachedLayer, ...]

    @property
    def per_token(self) -> int:
        """Numbers that a token adds while every layer still grows."""
        return sum(layer.per_token for layer in self.layers)

    @property
    def beyond_windows(self) -> int:
        """Numbers that a token adds once the layers with a window are full."""
        return sum(layer.per_token for layer in self.layers if layer.window is None)

    @property
    def cross(self) -> int:
        return sum(layer.cross for layer in self.layers)

    @property
    def cross_positions(self) -> int | None:
        """How many positions the other sequence has, however long the text; None where nothing fixes that."""
        return next((layer.cross_positions for layer in self.layers if layer.cross), None)

    @property
    def state(self) -> int:
        return sum(layer.state for layer in self.layers)

    @property
    def windows(self) -> dict[int, int]:
        """How many layers keep so many tokens and no more."""
        return dict(Counter(layer.window for layer in self.layers if layer.window is not None and layer.per_token))

    @property
    def attending(self) -> int:
        """Layers that keep something of every token."""
        return sum(layer.per_token > 0 for layer in self.layers)

    @property
    def with_state(self) -> int:
        return sum(layer.state > 0 for layer in self.layers)

    def numbers(self, context: int | None = None) -> int:
        """Numbers kept for the whole batch after `context` tokens of each text."""
        return self.batch * sum(layer.numbers(self.context if context is None else context) for layer in self.layers)

    def to_dict(self) -> dict[str, object]:
        return {
            "context": self.context,
            "batch": self.batch,
            "bytes": by_dtype(self.numbers(), CACHE_BITS),
            "bytes_per_token_beyond_windows": by_dtype(self.beyond_windows, CACHE_BITS),
            "cross_bytes_per_token": by_dtype(self.cross, CACHE_BITS),
            "cross_positions": self.cross_positions,
            "state_bytes": by_dtype(self.state, CACHE_BITS),
            "layers": [layer.to_dict() for layer in self.layers],
        }


class Flops(NamedTuple):
    """Floating-point operations of the forward pass for one token that attends to `context` tokens.

    linear: 2 · N_active, without what is looked up.
    attention: 2 · Σ_layers heads · (d_qk + d_v) · min(context, window) (PaLM, appendix B; Kaplan 2020 counts half).
    """

    context: int
    linear: int
    attention: int

    @property
    def total(self) -> int:
        return self.linear + self.attention

    @property
    def attention_share(self) -> float:
        return self.attention / self.total if self.total else 0.0

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "total": self.total}


class Fit(NamedTuple):
    """The longest context whose cache fits beside the weights, for a batch.

    context: 0 where not even one token fits; None where memory sets no limit.
    """

    weights: str
    cache: str
    context: int | None

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


@short_repr
class Fits(NamedTuple):
    """What fits into `budget` bytes.

    made_for: the longest text that the model was made for, if it says so.  written: the budget as it was asked for,
    `2 × 80 GB`; None where that was a number of bytes.
    """

    budget: int
    batch: int
    choices: tuple[Fit, ...]
    made_for: int | None = None
    written: str | None = None

    def to_dict(self) -> dict[str, object]:
        return {**self._asdict(), "choices": [choice.to_dict() for choice in self.choices]}


class Training(NamedTuple):
    """Bytes that training holds beside the activations.

    optimizer: AdamW's two moments, in float32.  master: the float32 copy that mixed precision updates.
    """

    weights: int
    gradients: int
    optimizer: int
    master: int

    @property
    def total(self) -> int:
        return sum(self)

    def to_dict(self) -> dict[str, int]:
        return {**self._asdict(), "total": self.total}


class LoraComponent(NamedTuple):
    """What adapters of one kind of matrix add. component: several, with a plus, where a matrix holds several."""

    component: str
    matrices: int
    parameters: int


@short_repr
class Lora(NamedTuple):
    """Low-rank adapters: rank · (in + out) parameters a matrix (Hu 2021)."""

    rank: int
    components: tuple[LoraComponent, ...]

    @property
    def parameters(self) -> int:
        return sum(component.parameters for component in self.components)

    def to_dict(self) -> dict[str, object]:
        components = [component._asdict() for component in self.components]
        return {"rank": self.rank, "parameters": self.parameters, "components": components}


@short_repr
class Costs(NamedTuple):
    """Everything that one model costs.

    parameters: what weights are kept for.  cache: of keys and values; None where nothing is kept.
    fits, lora: None where they are not asked for.
    flops: at the context that was asked for; None where it has none.  growth: the same as the context grows.
    made_for: the longest text that the model was made for, if it says so.
    attends: whether any layer has attention.  training: by the dtype of the weights; empty where it isn't asked for.
    notes: what has to be known to read these numbers.
    """

    parameters: int
    cache: Cache | None
    flops: Flops
    growth: tuple[Flops, ...]
    attends: bool
    fits: Fits | None = None
    training: Mapping[str, Training] = {}
    lora: Lora | None = None
    made_for: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def memory(self) -> dict[str, int]:
        """Bytes of the weights by dtype."""
        return by_dtype(self.parameters, WEIGHT_BITS)

    @property
    def attention_entries_per_head(self) -> int | None:
        """The size of a head's attention pattern: every token by every token."""
        return self.flops.context**2 if self.attends else None

    def to_dict(self) -> dict[str, object]:
        """The second half of a model's entry in the JSON of `attn params`."""
        return {
            "made_for": self.made_for,
            "memory": self.memory,
            "kv_cache_bytes_per_token": by_dtype(self.cache.per_token if self.cache else 0, CACHE_BITS),
            "kv_cache": None if self.cache is None else self.cache.to_dict(),
            "flops_per_token": self.flops.to_dict(),
            "flops_by_context": [flops.to_dict() for flops in self.growth],
            "attention_entries_per_head": self.attention_entries_per_head,
            "fit": None if self.fits is None else self.fits.to_dict(),
            "training": {dtype: need.to_dict() for dtype, need in self.training.items()} or None,
            "lora": None if self.lora is None else self.lora.to_dict(),
        }
