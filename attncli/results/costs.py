"""What a model costs to store, to run and to train: bytes of weights, cache and training, and operations per token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from attncli.results.base import from_dict, struct

if TYPE_CHECKING:
    from attncli.results.marks import Key

#: Bits of a number, by the dtypes of weights.
WEIGHT_BITS: Mapping[str, int] = {"float32": 32, "bfloat16": 16, "float16": 16, "int8": 8, "int4": 4}
#: The same for caches and states.
CACHE_BITS: Mapping[str, int] = {"float32": 32, "bfloat16": 16, "float16": 16, "int8": 8}
#: How a cache grows: with every token, up to a window, not at all, by the keys that sparse attention chooses by, and by
#: blocks of several tokens.
CACHE_KINDS = ("growing", "window", "constant", "index", "compressed")
#: The dtypes of weights whose cache has the same; beside packed weights it stays in half precision.
UNPACKED_DTYPES = ("float32", "bfloat16", "float16")
#: The dtype of a cache where nothing else is known.
USUAL_CACHE_DTYPE = "bfloat16"


def in_bytes(numbers: int, bits: int) -> int:
    """Bytes of so many numbers, rounded up."""
    return -(-numbers * bits // 8)


def by_dtype(numbers: int, bits: Mapping[str, int]) -> dict[str, int]:
    """Bytes of so many numbers in each dtype."""
    return {dtype: in_bytes(numbers, width) for dtype, width in bits.items()}


@struct(short=False)
class Compressed(NamedTuple):
    """Numbers that one layer caches for each full block of `ratio` tokens: their keys and values as one."""

    numbers: int
    ratio: int


@struct(short=False)
class CachedLayer(NamedTuple):
    """How many numbers one layer caches.

    per_token: for each token, keys and values (or the latent of both).  window: how many tokens are cached; None for
    all.  cross: for each position of the other sequence of cross-attention.  state: in all, for any number of tokens.
    cross_positions: the length of the other sequence where the model fixes it; None for that of the text.
    index_keys: for each token, the keys by which sparse attention chooses.  compressed: for each block of tokens.
    """

    part: str
    layer: int
    per_token: int = 0
    window: int | None = None
    cross: int = 0
    state: int = 0
    cross_positions: int | None = None
    index_keys: int = 0
    compressed: tuple[Compressed, ...] = ()

    def by_kind(self, context: int) -> dict[str, int]:
        """Numbers cached after `context` tokens, by kind (CACHE_KINDS); as many in the other sequence unless fixed."""
        tokens = context if self.window is None else min(context, self.window)
        found = dict.fromkeys(CACHE_KINDS, 0)
        found["growing" if self.window is None else "window"] += self.per_token * tokens
        found["growing" if self.cross_positions is None else "constant"] += self.cross * (
            context if self.cross_positions is None else self.cross_positions
        )
        found["constant"] += self.state
        found["index"] += self.index_keys * context
        found["compressed"] += sum(part.numbers * (context // part.ratio) for part in self.compressed)
        return found

    def numbers(self, context: int) -> int:
        """Numbers cached after `context` tokens."""
        return sum(self.by_kind(context).values())

    def growth(self) -> dict[str, Fraction]:
        """Numbers that a token adds, by kind: while the window isn't full, and without the other sequence."""
        found = dict.fromkeys(CACHE_KINDS, Fraction(0))
        found["growing" if self.window is None else "window"] += self.per_token
        found["index"] += self.index_keys
        found["compressed"] += sum((Fraction(part.numbers, part.ratio) for part in self.compressed), Fraction(0))
        return found


@struct(short=False)
class CachePart(NamedTuple):
    """What the layers cache in one way.

    kind: one of CACHE_KINDS.  layers: how many cache so.  per_token: numbers that a token adds, rounded up.
    numbers: those of the whole batch.
    """

    kind: str
    layers: int
    per_token: int
    numbers: int


class CachePartBytes(NamedTuple):
    """The same in bytes of a dtype."""

    kind: str
    layers: int
    dtype: str
    bytes_per_token: int
    bytes: int


@struct("context batch dtype_bytes beyond_windows_bytes cross_bytes cross_positions state_bytes layers")
class Cache(NamedTuple):
    """The cache of a generating model, for `batch` texts of `context` tokens.

    dtype: of its numbers in `parts`, a key of CACHE_BITS.
    """

    context: int
    batch: int
    layers: tuple[CachedLayer, ...]
    dtype: str = USUAL_CACHE_DTYPE

    @property
    def parts(self) -> tuple[CachePart, ...]:
        """What is cached, by kind. Their numbers add up to those of the cache."""
        numbers = [layer.by_kind(self.context) for layer in self.layers]
        growth = [layer.growth() for layer in self.layers]
        kinds = {kind: [bool(each[kind] or more[kind]) for each, more in zip(numbers, growth, strict=True)]
                 for kind in CACHE_KINDS}  # fmt: skip
        return tuple(
            CachePart(
                kind,
                sum(caching),
                ceil(sum((each[kind] for each in growth), Fraction(0))),
                self.batch * sum(each[kind] for each in numbers),
            )
            for kind, caching in kinds.items()
            if any(caching)
        )

    @property
    def per_token(self) -> int:
        """Numbers that a token adds while every layer still grows, rounded up."""
        return ceil(sum((sum(layer.growth().values()) for layer in self.layers), Fraction(0)))

    @property
    def beyond_windows(self) -> int:
        """Numbers that a token adds once the layers with a window are full, rounded up."""
        added = (more for layer in self.layers for kind, more in layer.growth().items() if kind != "window")
        return ceil(sum(added, Fraction(0)))

    @property
    def index_keys(self) -> int:
        """Numbers of index keys that a token adds."""
        return sum(layer.index_keys for layer in self.layers)

    @property
    def indexed(self) -> int:
        """The number of layers with index keys."""
        return sum(layer.index_keys > 0 for layer in self.layers)

    @property
    def ratios(self) -> dict[int, int]:
        """The number of layers that keep so many tokens as one, by that number."""
        return dict(Counter(ratio for layer in self.layers for ratio in {part.ratio for part in layer.compressed}))

    @property
    def cross(self) -> int:
        return sum(layer.cross for layer in self.layers)

    @property
    def cross_positions(self) -> int | None:
        """The fixed length of the other sequence; None where it isn't fixed."""
        return next((layer.cross_positions for layer in self.layers if layer.cross), None)

    @property
    def state(self) -> int:
        return sum(layer.state for layer in self.layers)

    @property
    def windows(self) -> dict[int, int]:
        """The number of layers with each window size."""
        return dict(Counter(layer.window for layer in self.layers if layer.window is not None and layer.per_token))

    @property
    def attending(self) -> int:
        """The number of layers that cache something for each token."""
        return sum(layer.per_token > 0 for layer in self.layers)

    @property
    def with_state(self) -> int:
        return sum(layer.state > 0 for layer in self.layers)

    def numbers(self, context: int | None = None) -> int:
        """Numbers cached for the whole batch after `context` tokens of each text."""
        return self.batch * sum(layer.numbers(self.context if context is None else context) for layer in self.layers)

    @property
    def byte_parts(self) -> tuple[CachePartBytes, ...]:
        """The parts in bytes of the cache's dtype."""
        bits, found = CACHE_BITS[self.dtype], []
        for part in self.parts:
            sizes = in_bytes(part.per_token, bits), in_bytes(part.numbers, bits)
            found.append(CachePartBytes(part.kind, part.layers, self.dtype, *sizes))
        return tuple(found)

    @property
    def dtype_bytes(self) -> Annotated[dict[str, int], Key("bytes")]:
        return by_dtype(self.numbers(), CACHE_BITS)

    @property
    def beyond_windows_bytes(self) -> Annotated[dict[str, int], Key("bytes_per_token_beyond_windows")]:
        return by_dtype(self.beyond_windows, CACHE_BITS)

    @property
    def cross_bytes(self) -> Annotated[dict[str, int], Key("cross_bytes_per_token")]:
        return by_dtype(self.cross, CACHE_BITS)

    @property
    def state_bytes(self) -> dict[str, int]:
        return by_dtype(self.state, CACHE_BITS)


@struct("context linear attention total", short=False)
class Flops(NamedTuple):
    """Floating-point operations of the forward pass for one token that attends to `context` tokens.

    linear: 2 · N_active, without embedding lookups.
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


@struct(short=False)
class Fit(NamedTuple):
    """The longest context whose cache fits beside the weights, for a batch.

    weights: their dtype, or the format that the model was published in.  context: 0 where not even one token fits; None
    where nothing sets a limit.  by_positions: whether memory allows more than the model was made for, which is then the
    context.
    """

    weights: str
    cache: str
    context: int | None
    by_positions: bool = False


@struct()
class Fits(NamedTuple):
    """What fits into `budget` bytes of memory.

    made_for: the longest text that the model was made for, if known.  written: the budget as the user gave it,
    `2 × 80 GB`; None for a number of bytes.
    """

    budget: int
    batch: int
    choices: tuple[Fit, ...]
    made_for: int | None = None
    written: str | None = None


@struct(short=False)
class Published(NamedTuple):
    """The weights in the format that they are published in, with the scales of packed ones.

    format: a dtype, or the scheme of the packed weights, which the others stand beside.
    """

    format: str
    bytes: int
    bits_per_weight: float

    @property
    def is_packed(self) -> bool:
        """Whether it is none of the dtypes that memory is given for anyway."""
        return self.format not in WEIGHT_BITS


@struct("weights gradients optimizer master total", short=False)
class Training(NamedTuple):
    """Bytes of memory for training, without the activations.

    optimizer: AdamW's two moments, in float32.  master: the float32 copy that mixed precision updates.
    """

    weights: int
    gradients: int
    optimizer: int
    master: int

    @property
    def total(self) -> int:
        return sum(self)


@struct(short=False)
class LoraComponent(NamedTuple):
    """Parameters of the adapters of one kind of matrix. component: joined by plus signs for a fused matrix."""

    component: str
    matrices: int
    parameters: int


@struct("rank parameters components")
class Lora(NamedTuple):
    """Low-rank adapters: rank · (in + out) parameters a matrix (Hu 2021)."""

    rank: int
    components: tuple[LoraComponent, ...]

    @property
    def parameters(self) -> int:
        return sum(component.parameters for component in self.components)


@struct(
    "made_for memory published cache_parts cache_bytes_per_token cache flops growth attention_entries_per_head fits "
    "written_training lora notes"
)
class Costs(NamedTuple):
    """Everything that one model costs.

    parameters: of the stored weights.  cache: None where nothing is cached.  fits, lora: None if not requested.
    flops: at the requested context.  growth: the same for growing contexts.
    made_for: the longest text that the model was made for, if known.
    attends: whether any layer has attention.  published: the weights as published; None where that is unknown.
    training: by the dtype of the weights; empty if not requested.
    notes: assumptions behind these numbers.
    """

    parameters: int
    cache: Annotated[Cache | None, Key("kv_cache")]
    flops: Annotated[Flops, Key("flops_per_token")]
    growth: Annotated[tuple[Flops, ...], Key("flops_by_context")]
    attends: bool
    fits: Annotated[Fits | None, Key("fit")] = None
    training: Mapping[str, Training] = {}
    lora: Lora | None = None
    made_for: int | None = None
    notes: Annotated[tuple[str, ...], Key("cost_notes")] = ()
    published: Published | None = None

    @property
    def memory(self) -> dict[str, int]:
        """Bytes of the weights by dtype."""
        return by_dtype(self.parameters, WEIGHT_BITS)

    @property
    def attention_entries_per_head(self) -> int | None:
        """The size of a head's attention pattern: every token by every token."""
        return self.flops.context**2 if self.attends else None

    @property
    def cache_parts(self) -> Annotated[tuple[CachePartBytes, ...], Key("cache")]:
        return () if self.cache is None else self.cache.byte_parts

    @property
    def cache_bytes_per_token(self) -> Annotated[dict[str, int], Key("kv_cache_bytes_per_token")]:
        return by_dtype(self.cache.per_token if self.cache else 0, CACHE_BITS)

    @property
    def written_training(self) -> Annotated[Mapping[str, Training] | None, Key("training")]:
        return self.training or None

    @staticmethod
    def _unwritten(data: dict[str, Any]) -> dict[str, Any]:
        cache = from_dict(Cache, data["kv_cache"]) if data["kv_cache"] else None
        return {
            "parameters": data["memory"]["int8"],
            "cache": cache._replace(dtype=data["cache"][0]["dtype"]) if cache and data["cache"] else cache,
            "attends": data["attention_entries_per_head"] is not None,
            "training": from_dict(dict[str, Training], data["training"] or {}),
        }
