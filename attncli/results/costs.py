"""What a model costs to store, to run and to train: bytes of weights, cache and training, and operations per token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from attncli.results.base import from_dict, struct
from attncli.results.cache import CACHE_BITS, Cache, CacheDtypes, CachePartBytes, by_dtype

if TYPE_CHECKING:
    from attncli.results.marks import Key

#: Bits of a number, by the dtypes of weights.
WEIGHT_BITS: Mapping[str, int] = {"float32": 32, "bfloat16": 16, "float16": 16, "int8": 8, "int4": 4}


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

    weights: their dtype, or the format that the model was published in.  cache: its dtype (`CacheDtypes.name`).
    context: 0 where not even one token fits; None where nothing sets a limit.  by_positions: whether memory allows more
    than the model was made for, which is then the context.
    needed: bytes of weights and cache, at the requested context, or with one token where none was requested.
    missing: how many of these are more than the memory has.
    """

    weights: str
    cache: str
    context: int | None
    by_positions: bool = False
    needed: int = 0
    missing: int = 0


@struct(short=False)
class TrainingFit(NamedTuple):
    """The largest batch that can be trained, in texts. weights: their dtype.

    batch: 0 where not even one text fits, None where activations are unknown and so the batch is not limited.
    needed, missing: as of a `Fit`, for the requested batch, or for one text.
    """

    weights: str
    batch: int | None
    needed: int
    missing: int


@struct()
class Fits(NamedTuple):
    """What fits into `budget` bytes of memory.

    made_for: the longest text that the model was made for, if known.  written: the budget as the user gave it,
    `2 × 80 GB`; None for a number of bytes.  context: the requested one, if any.  training: what can be trained, where
    that was asked.
    """

    budget: int
    batch: int
    choices: tuple[Fit, ...]
    made_for: int | None = None
    written: str | None = None
    context: int | None = None
    training: tuple[TrainingFit, ...] = ()


@struct(short=False)
class PublishedComponent(NamedTuple):
    """The stored bytes of one component, with the scales of its matrices."""

    component: str
    parameters: int
    bytes: int
    bits_per_weight: float


@struct(short=False)
class Published(NamedTuple):
    """The weights in the format that they are published in, with the scales of packed ones.

    format: a dtype, or the scheme of the packed weights, which the others stand beside.
    components: the same by component, where that is known.
    """

    format: str
    bytes: int
    bits_per_weight: float
    components: tuple[PublishedComponent, ...] = ()

    @property
    def is_packed(self) -> bool:
        """Whether it is none of the dtypes that memory is given for anyway."""
        return self.format not in WEIGHT_BITS


@struct(short=False)
class TrainingSetup(NamedTuple):
    """What is trained how. optimizer, recompute: as `--optimizer` and `--recompute` take them.

    context, batch: tokens of a text, and texts.  leaves_out: what the totals don't count, for a sentence.
    """

    optimizer: str
    recompute: str
    context: int
    batch: int
    leaves_out: str


@struct("weights gradients optimizer master activations total", short=False)
class Training(NamedTuple):
    """Bytes of memory for training.

    optimizer: its states.  master: the float32 copy that mixed precision updates.  activations: what the backward pass
    reads; None where that is unknown.
    """

    weights: int
    gradients: int
    optimizer: int
    master: int
    activations: int | None = None

    @property
    def total(self) -> int:
        """All of them, without activations where these are unknown."""
        return sum(each for each in self if each is not None)


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
    "made_for memory mixes published cache_parts cache_bytes_per_token cache flops growth attention_entries_per_head "
    "fits written_training training_setup lora notes"
)
class Costs(NamedTuple):
    """Everything that one model costs.

    parameters: of the stored weights.  cache: None where nothing is cached.  fits, lora: None if not requested.
    flops: at the requested context; None for several models in one pipeline.  growth: the same for growing contexts.
    made_for: the longest text that the model was made for, if known.
    attends: whether any layer has attention.  published: the weights as published; None where that is unknown.
    training: by the dtype of the weights; empty if not requested.  training_setup: of what is trained how.
    mixes: bytes of the weights in llama.cpp's mixes of types; empty where these aren't known.
    notes: assumptions behind these numbers.
    """

    parameters: int
    cache: Annotated[Cache | None, Key("kv_cache")]
    flops: Annotated[Flops | None, Key("flops_per_token")]
    growth: Annotated[tuple[Flops, ...], Key("flops_by_context")]
    attends: bool
    fits: Annotated[Fits | None, Key("fit")] = None
    training: Mapping[str, Training] = {}
    lora: Lora | None = None
    made_for: int | None = None
    notes: Annotated[tuple[str, ...], Key("cost_notes")] = ()
    published: Published | None = None
    training_setup: TrainingSetup | None = None
    mixes: Annotated[Mapping[str, int], Key("gguf_mixes")] = {}

    @property
    def memory(self) -> dict[str, int]:
        """Bytes of the weights by dtype."""
        return by_dtype(self.parameters, WEIGHT_BITS)

    @property
    def attention_entries_per_head(self) -> int | None:
        """The size of a head's attention pattern: every token by every token."""
        return self.flops.context**2 if self.flops is not None and self.attends else None

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
        if cache and data["cache"] and "dtypes" not in data["kv_cache"]:
            # As older versions wrote it: one dtype for everything.
            cache = cache._replace(dtypes=CacheDtypes.all(data["cache"][0]["dtype"]))
        return {
            "parameters": data["memory"]["int8"],
            "cache": cache,
            "attends": data["attention_entries_per_head"] is not None,
            "training": from_dict(dict[str, Training], data["training"] or {}),
        }
