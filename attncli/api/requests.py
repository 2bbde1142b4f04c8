"""What the verbs are asked: immutable values that go whole from a command, or a Python function, to the analysis.

Options of the command line become these values as they are typed; the verbs check and parse them. They are named tuples
because every start of `attn` creates their classes: a frozen dataclass takes five times as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class LoadingRequest(NamedTuple):
    """Where a model comes from, and which risky files may be used."""

    revision: str | None = None
    refresh: bool = False
    trust_remote_code: bool = False
    allow_pickle: bool = False

    @property
    def given(self) -> tuple[str, ...]:
        """The names of the options that were given."""
        return tuple(name for name, value in self._asdict().items() if value)


class RunningRequest(NamedTuple):
    """The device that a model runs on, and its precision."""

    device: str = "auto"
    dtype: str = "auto"


class EncodingRequest(NamedTuple):
    """How a text becomes tokens: with a second text, without special tokens, cut to what the model takes."""

    pair: str | None = None
    no_special: bool = False
    truncate: bool = False


class EffectsRequest(NamedTuple):
    """What the model predicts at a position, and what its heads do to it, as `attncli.heads` explains.

    effect: kinds of effects, as `--effect` takes them.  answer, contrast: tokens as typed, or ids.
    without: the head without which the model predicts, such as `5.1`; of browsing alone.
    """

    predict: bool = False
    effect: str | Sequence[str] = ()
    answer: str | int | None = None
    contrast: str | int | None = None
    patch_from: str | None = None
    without: str | None = None


class HeadsOptions(NamedTuple):
    """Which heads to show and what of them, as `attncli.heads` explains; against: another text to compare with."""

    against: str | None = None
    layer: Any = None
    head: Any = None
    stack: str | None = None
    query: str | int | None = None
    key: str | int | None = None
    metric: str | None = None
    threshold: str | Sequence[str] = ()
    check: str | Sequence[str] = ()
    patterns: bool = False
    bins: int | None = None
    by: Any = "token"
    hide_special: bool = False
    rollout: bool = False
    norm_weighted: bool = False
    top: int = 10
    steps: bool = False
    effects: EffectsRequest = EffectsRequest()
    receptive_field: bool = False

    @property
    def chooses_patterns(self) -> bool:
        """Whether a layer, a head or a position is named, whose patterns are then shown."""
        return any(chosen is not None for chosen in (self.layer, self.head, self.query, self.key))


class CompareRequest(NamedTuple):
    """The words and sentences that `attncli.compare` compares, which states of a model, and how."""

    versus: str | Sequence[str] = ()
    occurrence: int | str | None = None
    any_form: bool = False
    skip: bool = False
    state: Any = None
    stack: str | None = None
    pool: str = "mean"
    echo: bool = False
    template: str | None = None
    adjust: str = "none"
    reference: Any = None
    dimensions: int | None = None
    seed: int = 0
    word: Any = ""
    sentences: Any = ()


class ParamsRequest(NamedTuple):
    """Whose parameters `attncli.params` counts, how they are listed, and which costs are estimated."""

    source: str | None = None
    by: str = "component"
    depth: int | None = None
    set: str | Sequence[str] | Mapping[str, object] = ()
    untie: bool = False
    check: int | str | None = None
    list_presets: bool = False
    context: int | str | None = None
    batch: int | str | None = None
    fit: int | str | None = None
    lora: int | str | None = None
    training: bool = False
    model: Any = None
    loading: LoadingRequest = LoadingRequest()
    kv_dtype: str | Sequence[str] | None = None
    kv_allocation: str | None = None
    optimizer: str | None = None
    recompute: str | None = None


class TokenizeRequest(NamedTuple):
    """Whose tokenizers `attncli.tokenize` uses, how, and what it computes besides the tokens.

    needs_tokenizer: whether a model without a tokenizer is an error; without one, ids are shown as numbers.
    """

    model: Any = None
    tokenizer: Any = None
    needs_tokenizer: bool = True
    encoding: EncodingRequest = EncodingRequest()
    chat: bool = False
    template: str | None = None
    generation_prompt: bool = False
    special_as_text: bool = False
    why: bool = False
    lint: bool = False
    stats: bool = False
    check: Sequence[str] = ()
    loading: LoadingRequest = LoadingRequest()

    @property
    def special(self) -> bool:
        """Whether special tokens are added."""
        return not self.encoding.no_special

    @property
    def needs_tokens(self) -> bool:
        """Whether ids alone are not enough."""
        return self.why or self.lint or self.stats or bool(self.check)
