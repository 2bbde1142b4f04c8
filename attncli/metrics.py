"""The metrics of attention heads, one entry each: the only place to edit for a new metric or label.

An entry's formula is a value, from which follow the metric of explicit weights (`attention.metrics`), that of uniform
attention (`attention.uniform_baseline`) and that of long texts without the matrix (`attention.readouts`). Help,
completion, `--metric`, `--threshold`, `--check`, JSON, CSV, legends, maps, pages and figures read the entries.

A is a head's attention, rows i are queries, columns j keys; a row sums to 1, or less where the model has a sink. The
value of a metric is the mean over the queries for which it is defined. Between patches of a picture |i−j| is the
distance of their centres, and i−1 and i+1 are the patches to the left and to the right; a class token has no
coordinates, neither as a query nor as a key.

Imports nothing of the package, so that help and completion start at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Literal

Rgb = tuple[int, int, int]

#: A key to look at: so many keys after the query (−1 is the one before it), or the first key.
Place = int | Literal["first"]

# --- Formulas


@dataclass(frozen=True)
class Formula:
    """How a metric follows from A."""


class Entropy(Formula):
    """−Σ_j A_ij ln A_ij; a sink is a key."""


class Distance(Formula):
    """Σ_j A_ij |i−j|."""


class LargestWeight(Formula):
    """max_j A_ij."""


class Unattended(Formula):
    """1 − Σ_j A_ij, in models with a sink."""


class WeightOnSpecial(Formula):
    """Σ A_ij over special tokens j."""


@dataclass(frozen=True)
class WeightAt(Formula):
    """Σ A_ij over the keys j at some places."""

    places: tuple[Place, ...]


@dataclass(frozen=True)
class WeightOnCopies(Formula):
    """Σ A_ij over shift ≤ j < i with x_{j−shift} = x_i: earlier copies, or what follows so many tokens after them.

    Where x_{i−1} = x_i the token after the earlier copy is the query itself: that weight doesn't count.
    """

    shift: int = 0


class LargestOnNeedle(Formula):
    """1 where max_j A_ij is at the first occurrence of the token that follows i: see `attention.effects.retrieval`."""


class LargestColumn(Formula):
    """max_j of the mean over i ≠ j of A_ij, over ordinary keys that most queries see: see `ColumnSums`."""


# --- Entries


@dataclass(frozen=True)
class LabelRule:
    """The label that a head earns where a metric is high, and how it is shown.

    letter: on maps.  target: what such heads look at.  patch_target: where tokens are patches of a picture, if it isn't
    `target` with patches in the place of tokens.  sentence: what they do, with {} for the target.
    threshold: the value above which it is earned.  rank: of several labels of a head, the smallest is the most telling.
    place: its order in legends.  colors: of its tiles, and of those on terminals of sixteen colours.
    unless: a label beside which this one says nothing more.  rests: its keys are where heads rest that have nothing to
    read, so that it is set aside.
    """

    letter: str
    target: str
    patch_target: str | None = None
    sentence: str = "looks at {}"
    unless: str | None = None
    _: KW_ONLY
    rests: bool = False
    threshold: float
    rank: int
    place: int
    colors: tuple[Rgb, Rgb]


@dataclass(frozen=True)
class Metric:
    """A metric of heads.

    meaning: what it measures.  patch_meaning: where tokens are patches of a picture, if it isn't `meaning` with patches
    in the place of tokens.  unit: nats or tokens; none for weights.  source: who introduced it.
    smallest, largest: what a head without a label does that has the smallest or the largest value; empty if it says
    nothing.  in_captions: whether it stands below small patterns.  probed: whether `--probe` is made for it.
    """

    name: str
    formula: Formula
    meaning: str
    patch_meaning: str | None = None
    _: KW_ONLY
    source: str
    unit: str = ""
    smallest: str = ""
    largest: str = ""
    in_captions: bool = False
    probed: bool = False
    label: LabelRule | None = None

    @property
    def is_share(self) -> bool:
        """Whether it is a share of a row's weight, and about the same keys wherever it is measured: so that changes of
        such metrics can be compared."""
        return not isinstance(self.formula, Entropy | Distance | LargestColumn)

    @property
    def needs_one_sequence(self) -> bool:
        """Whether it compares positions or tokens, so that queries and keys have to be one sequence."""
        formula = self.formula
        return isinstance(formula, Distance | WeightOnCopies | WeightAt) and formula != WeightAt(("first",))

    @property
    def of_repeats(self) -> bool:
        """Whether it is defined where tokens repeat."""
        return isinstance(self.formula, WeightOnCopies)

    @property
    def of_sink(self) -> bool:
        """Whether it is defined in models with a sink."""
        return isinstance(self.formula, Unattended)

    @property
    def of_one_key(self) -> bool:
        """Whether it is about one key that all queries of a head read, so that it has no value for a single row."""
        return isinstance(self.formula, LargestColumn)


# Colours that colour-blind eyes can tell apart: Okabe & Ito 2008, "Color universal design".
_SKY_BLUE = (86, 180, 233), (0, 170, 170)
_ORANGE = (230, 159, 0), (255, 255, 85)
_VERMILION = (213, 94, 0), (255, 85, 85)
_PURPLE = (204, 121, 167), (255, 85, 255)
_GREEN = (0, 158, 115), (0, 170, 0)
_YELLOW = (240, 228, 66), (85, 255, 255)

# The order is that of tables, JSON and CSV. Thresholds: above one half a head attends more to the position than to all
# others together. Special tokens and the first token need more, since heads attend to them by default; any other single
# token that most queries read needs less.
_ENTRIES = (
    Metric(
        "entropy",
        Entropy(),
        "how widely a row spreads its weight",
        unit="nats",
        source="Clark et al. 2019; Vig & Belinkov 2019",
        smallest="looks at the fewest tokens",
        largest="spreads over the most tokens",
        in_captions=True,
    ),
    Metric(
        "distance",
        Distance(),
        "how far away it looks",
        unit="tokens",
        source="Vig & Belinkov 2019; Dosovitskiy et al. 2021",
        largest="looks the farthest",
        in_captions=True,
    ),
    Metric("confidence", LargestWeight(), "largest weight of a row", source="Voita et al. 2019", in_captions=True),
    Metric(
        "previous",
        WeightAt((-1,)),
        "weight on the previous token",
        "weight on the patch to the left",
        source="Clark et al. 2019",
        label=LabelRule(
            "P", "the previous token", "the patch to the left", threshold=0.5, rank=1, place=0, colors=_SKY_BLUE
        ),
    ),
    Metric("current", WeightAt((0,)), "weight on the token itself", source="Clark et al. 2019"),
    Metric(
        "next",
        WeightAt((1,)),
        "weight on the next token",
        "weight on the patch to the right",
        source="Clark et al. 2019",
        label=LabelRule(
            "N", "the next token", "the patch to the right", threshold=0.5, rank=2, place=1, colors=_ORANGE
        ),
    ),
    Metric(
        "first",
        WeightAt(("first",)),
        "weight on the first token",
        "weight on the first position",
        source="Xiao et al. 2023",
        label=LabelRule(
            "F",
            "the first token",
            "the first position",
            "attends mostly to {}",
            rests=True,
            threshold=0.6,
            rank=4,
            place=2,
            colors=_VERMILION,
        ),
    ),
    Metric(
        "special",
        WeightOnSpecial(),
        "weight on special tokens",
        "weight on what is no patch, as [CLS]",
        source="Clark et al. 2019",
        label=LabelRule(
            "S",
            "special tokens",
            "what is no patch",
            "attends mostly to {}",
            rests=True,
            threshold=0.6,
            rank=3,
            place=3,
            colors=_PURPLE,
        ),
    ),
    Metric(
        "token",
        LargestColumn(),
        "weight on the ordinary token most looked at",
        "weight on the patch most looked at",
        source="here",
        # Where most weight is on the first token, that is the token.
        label=LabelRule(
            "T",
            "one ordinary token",
            "one patch",
            "reads {}",
            "first",
            threshold=0.4,
            rank=5,
            place=5,
            colors=_YELLOW,
        ),
    ),
    Metric("virtual_sink", Unattended(), "weight that no token gets", source="the learned sinks of gpt-oss"),
    Metric("duplicate", WeightOnCopies(), "weight on earlier copies of the token", source="Wang et al. 2022"),
    Metric(
        "induction",
        WeightOnCopies(shift=1),
        "weight on what followed earlier copies",
        source="Olsson et al. 2022",
        probed=True,
        label=LabelRule("I", "what followed earlier copies", threshold=0.4, rank=0, place=4, colors=_GREEN),
    ),
)

#: Every metric by its name, in the order in which they are shown; what `--metric` takes and what the JSON holds.
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ENTRIES}

#: The metric of `--needle`, which only its text has.
RETRIEVAL = "retrieval"
NEEDLE_METRICS: Mapping[str, Metric] = {
    RETRIEVAL: Metric(
        RETRIEVAL,
        LargestOnNeedle(),
        "share of the needle's tokens that it finds",
        source="Wu et al. 2024",
    )
}

#: The labels by the names of their metrics, the most telling first.
_RANKED = sorted((each.label.rank, name, each.label) for name, each in METRICS.items() if each.label is not None)
LABELS: Mapping[str, LabelRule] = {name: label for _, name, label in _RANKED}

#: The metrics that are defined where tokens repeat, and that of them which `--probe` is made for.
REPEAT_METRICS = tuple(name for name, metric in METRICS.items() if metric.of_repeats)
PROBED = next(name for name, metric in METRICS.items() if metric.probed)
