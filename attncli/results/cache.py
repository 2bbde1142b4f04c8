"""What a generating model caches: the numbers of each layer, by how they grow, and their bytes by dtype."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Annotated, NamedTuple

from attncli.results.base import struct

if TYPE_CHECKING:
    from attncli.results.marks import Key

#: Bits of a number in a cache, by dtype. llama.cpp stores 32 numbers in 32 · 8 + 16 bits (q8_0), or 32 · 4 + 16 (q4_0):
#: ggml-common.h, block_q8_0 and block_q4_0.
CACHE_BITS: Mapping[str, int | Fraction] = {
    "float32": 32, "bfloat16": 16, "float16": 16, "int8": 8, "fp8": 8, "q8_0": Fraction(17, 2), "q4_0": Fraction(9, 2),
}  # fmt: skip
#: How a cache grows: with every token, up to a window, not at all, by the keys that sparse attention chooses by, and by
#: blocks of several tokens.
CACHE_KINDS = ("growing", "window", "constant", "index", "compressed")
#: The dtypes of weights whose cache has the same; beside packed weights it stays in half precision.
UNPACKED_DTYPES = ("float32", "bfloat16", "float16")
#: The dtype of a cache where nothing else is known.
USUAL_CACHE_DTYPE = "bfloat16"


def in_bytes(numbers: int | Fraction, bits: int | Fraction) -> int:
    """Bytes of so many numbers, rounded up."""
    return ceil(Fraction(numbers) * bits / 8)


def by_dtype(numbers: int, bits: Mapping[str, int | Fraction]) -> dict[str, int]:
    """Bytes of so many numbers in each dtype."""
    return {dtype: in_bytes(numbers, width) for dtype, width in bits.items()}


@struct(short=False)
class CacheDtypes(NamedTuple):
    """The dtypes of what is cached, keys of CACHE_BITS.

    keys: latents, index keys and the entries of blocks too.  states: of layers without attention, which engines keep in
    a dtype of their own.
    """

    keys: str = USUAL_CACHE_DTYPE
    values: str = USUAL_CACHE_DTYPE
    states: str = USUAL_CACHE_DTYPE

    @classmethod
    def all(cls, dtype: str) -> CacheDtypes:
        return cls(dtype, dtype, dtype)

    @property
    def name(self) -> str:
        """Of keys and values: `bfloat16`, or `q8_0,q4_0`."""
        return self.keys if self.keys == self.values else f"{self.keys},{self.values}"

    def of_kind(self, kind: str, amount: Amount) -> str:
        """The dtype of a part of the cache; where it has several, they stand after one another."""
        found = [dtype for dtype, numbers in zip(self, amount, strict=True) if numbers]
        return ",".join(dict.fromkeys(found)) or (self.states if kind == "constant" else self.name)


class Amount(NamedTuple):
    """Numbers, by what they are: keys (and what is kept as one for keys and values), values, states."""

    keys: int | Fraction = 0
    values: int | Fraction = 0
    states: int | Fraction = 0

    @property
    def total(self) -> int | Fraction:
        return self.keys + self.values + self.states

    def plus(self, other: Amount) -> Amount:
        return Amount(*(mine + more for mine, more in zip(self, other, strict=True)))

    def times(self, factor: int) -> Amount:
        return Amount(*(factor * each for each in self))

    def bytes(self, dtypes: CacheDtypes) -> int:
        """Their bytes, rounded up."""
        bits = (numbers * Fraction(CACHE_BITS[dtype]) for numbers, dtype in zip(self, dtypes, strict=True))
        return ceil(sum(bits, Fraction(0)) / 8)


NOTHING = Amount()


@struct(short=False)
class Compressed(NamedTuple):
    """What one layer caches of blocks of `ratio` tokens.

    numbers: of each full block, its keys and values as one.  open: of each token of the block that isn't full yet.
    overlap: of the last full block, which the next one reads.
    """

    numbers: int
    ratio: int
    open: int = 0
    overlap: int = 0

    @property
    def beside(self) -> int:
        """The most numbers beside those of full blocks."""
        return self.open * (self.ratio - 1) + self.overlap


@struct(short=False)
class CachedLayer(NamedTuple):
    """How many numbers one layer caches.

    per_token: for each token, keys and values (or the latent of both).  window: how many tokens are cached; None for
    all.  cross: for each position of the other sequence of cross-attention.  state: in all, for any number of tokens.
    cross_positions: the length of the other sequence where the model fixes it; None for that of the text.
    index_keys: for each token, the keys by which sparse attention chooses.  compressed: for each block of tokens.
    values, cross_values: how many of `per_token` and of `cross` are values.
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
    values: int = 0
    cross_values: int = 0

    def by_kind(self, context: int) -> dict[str, Amount]:
        """What is cached after `context` tokens, by kind (CACHE_KINDS); as many in the other sequence unless fixed."""
        tokens = context if self.window is None else min(context, self.window)
        own = self._own.times(tokens)
        cross = Amount(self.cross - self.cross_values, self.cross_values)
        found = dict.fromkeys(CACHE_KINDS, NOTHING)
        found["growing" if self.window is None else "window"] = own
        kind = "growing" if self.cross_positions is None else "constant"
        positions = context if self.cross_positions is None else self.cross_positions
        found[kind] = found[kind].plus(cross.times(positions))
        found["constant"] = found["constant"].plus(Amount(self._beside, states=self.state))
        found["index"] = Amount(self.index_keys * context)
        found["compressed"] = Amount(sum(part.numbers * (context // part.ratio) for part in self.compressed))
        return found

    @property
    def _beside(self) -> int:
        return sum(part.beside for part in self.compressed)

    @property
    def _own(self) -> Amount:
        return Amount(self.per_token - self.values, self.values)

    def amount(self, context: int) -> Amount:
        """What is cached after `context` tokens."""
        found = NOTHING
        for each in self.by_kind(context).values():
            found = found.plus(each)
        return found

    def numbers(self, context: int) -> int:
        """Numbers cached after `context` tokens."""
        return int(self.amount(context).total)

    def growth(self) -> dict[str, Amount]:
        """What a token adds, by kind: while the window isn't full, and without the other sequence."""
        found = dict.fromkeys(CACHE_KINDS, NOTHING)
        found["growing" if self.window is None else "window"] = self._own
        found["index"] = Amount(self.index_keys)
        found["compressed"] = Amount(sum((Fraction(part.numbers, part.ratio) for part in self.compressed), Fraction(0)))
        return found


@struct(short=False)
class CachePart(NamedTuple):
    """What the layers cache in one way.

    kind: one of CACHE_KINDS.  layers: how many cache so.  per_token: what a token adds.  amount: of the whole batch.
    """

    kind: str
    layers: int
    per_token: Amount
    amount: Amount

    @property
    def numbers(self) -> int:
        return int(self.amount.total)


class CachePartBytes(NamedTuple):
    """The same in bytes. dtype: of its numbers; of keys and values where these differ."""

    kind: str
    layers: int
    dtype: str
    bytes_per_token: int
    bytes: int


def layer_counts(layers: Iterable[CachedLayer]) -> Mapping[CachedLayer, int]:
    """How many layers cache alike, by one of them."""
    return Counter(layer._replace(part="", layer=0) for layer in layers)


def cache_amount(layers: Mapping[CachedLayer, int], context: int) -> Amount:
    """What layers (`layer_counts`) cache of one text of `context` tokens."""
    found = NOTHING
    for layer, count in layers.items():
        found = found.plus(layer.amount(context).times(count))
    return found


def without_windows(layers: tuple[CachedLayer, ...]) -> tuple[CachedLayer, ...]:
    """The layers as engines allocate them that keep all tokens in windowed layers too."""
    return tuple(layer._replace(window=None) for layer in layers)


@struct(
    "context batch dtypes allocation dtype_bytes beyond_windows_bytes cross_bytes cross_positions state_bytes layers"
)
class Cache(NamedTuple):
    """The cache of a generating model, for `batch` texts of `context` tokens.

    allocation: `window`, or `full` where every layer has room for all tokens; then `layers` have no windows.
    """

    context: int
    batch: int
    layers: tuple[CachedLayer, ...]
    dtypes: CacheDtypes = CacheDtypes()
    allocation: str = "window"

    @property
    def parts(self) -> tuple[CachePart, ...]:
        """What is cached, by kind. Their numbers add up to those of the cache."""
        pairs = [(layer.by_kind(self.context), layer.growth()) for layer in self.layers]
        found = []
        for kind in CACHE_KINDS:
            caching = [(held[kind], more[kind]) for held, more in pairs if held[kind].total or more[kind].total]
            amount, growth = NOTHING, NOTHING
            for held, more in caching:
                amount, growth = amount.plus(held), growth.plus(more)
            if caching:
                found.append(CachePart(kind, len(caching), growth, amount.times(self.batch)))
        return tuple(found)

    @property
    def growth(self) -> Amount:
        """What a token adds while every layer still grows."""
        return self._growth(*CACHE_KINDS)

    def _growth(self, *kinds: str) -> Amount:
        found = NOTHING
        for layer in self.layers:
            for kind, more in layer.growth().items():
                found = found.plus(more) if kind in kinds else found
        return found

    @property
    def per_token(self) -> int:
        """Numbers that a token adds while every layer still grows, rounded up."""
        return ceil(self.growth.total)

    @property
    def growth_beyond(self) -> Amount:
        """What a token adds once the layers with a window are full."""
        return self._growth(*(kind for kind in CACHE_KINDS if kind != "window"))

    @property
    def beyond_windows(self) -> int:
        """Numbers that a token adds once the layers with a window are full, rounded up."""
        return ceil(self.growth_beyond.total)

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

    def amount(self, context: int | None = None) -> Amount:
        """What is cached for the whole batch after `context` tokens of each text."""
        return cache_amount(layer_counts(self.layers), self.context if context is None else context).times(self.batch)

    def numbers(self, context: int | None = None) -> int:
        """Numbers cached for the whole batch after `context` tokens of each text."""
        return int(self.amount(context).total)

    @property
    def bytes(self) -> int:
        """The bytes of the whole cache in its dtypes."""
        return self.amount().bytes(self.dtypes)

    @property
    def byte_parts(self) -> tuple[CachePartBytes, ...]:
        """The parts in bytes of the cache's dtypes."""
        return tuple(
            CachePartBytes(
                part.kind,
                part.layers,
                self.dtypes.of_kind(part.kind, part.amount),
                part.per_token.bytes(self.dtypes),
                part.amount.bytes(self.dtypes),
            )
            for part in self.parts
        )

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
