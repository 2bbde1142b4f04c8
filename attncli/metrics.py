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
from dataclasses import dataclass
from typing import ClassVar, Literal

Rgb = tuple[int, int, int]

#: A key to look at: so many keys after the query (−1 is the one before it), or the first key.
Place = int | Literal["first"]

# --- Formulas


@dataclass(frozen=True)
class Formula:
    """How a metric follows from A.

    is_share: it is a share of a row's weight, so that its changes are comparable with those of other shares.
    one_sequence: it compares positions or tokens, so that queries and keys have to be one sequence.
    """

    is_share: ClassVar[bool] = True

    @property
    def one_sequence(self) -> bool:
        return False


@dataclass(frozen=True)
class Entropy(Formula):
    """−Σ_j A_ij ln A_ij; a sink is a key."""

    is_share = False


@dataclass(frozen=True)
class Distance(Formula):
    """Σ_j A_ij |i−j|."""

    is_share = False

    @property
    def one_sequence(self) -> bool:
        return True


@dataclass(frozen=True)
class LargestWeight(Formula):
    """max_j A_ij."""


@dataclass(frozen=True)
class WeightAt(Formula):
    """Σ A_ij over the keys j at some places."""

    places: tuple[Place, ...]

    @property
    def one_sequence(self) -> bool:
        return any(place != "first" for place in self.places)


@dataclass(frozen=True)
class WeightOnSpecial(Formula):
    """Σ A_ij over special tokens j."""


@dataclass(frozen=True)
class WeightOnCopies(Formula):
    """Σ A_ij over shift ≤ j < i with x_{j−shift} = x_i: earlier copies, or what follows so many tokens after them.

    Where x_{i−1} = x_i the token after the earlier copy is the query itself: that weight doesn't count.
    """

    shift: int = 0

    @property
    def one_sequence(self) -> bool:
        return True


@dataclass(frozen=True)
class Unattended(Formula):
    """1 − Σ_j A_ij, in models with a sink."""


@dataclass(frozen=True)
class LargestColumn(Formula):
    """max_j of the mean over i ≠ j of A_ij, over ordinary keys that most queries see; see `attention.ColumnSums`.

    No share that can be compared, as it may be about another token on each side.
    """

    is_share = False


# --- Entries


@dataclass(frozen=True, kw_only=True)
class LabelRule:
    """The label that a head earns where a metric is high, and how it is shown.

    threshold: the value above which it is earned.  rank: of several labels of a head, the smallest is the most telling.
    unless: a label beside which this one says nothing more.
    letter: on maps.  place: its order in legends.  color, basic_color: of its tiles, and of those on terminals of
    sixteen colours.  target: what such heads look at.  patch_target: where tokens are patches of a picture, if it isn't
    `target` with patches in the place of tokens.  sentence: what they do, with {} for the target.
    """

    threshold: float
    rank: int
    letter: str
    place: int
    color: Rgb
    basic_color: Rgb
    target: str
    patch_target: str | None = None
    sentence: str = "looks at {}"
    unless: str | None = None


@dataclass(frozen=True, kw_only=True)
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
    source: str
    patch_meaning: str | None = None
    unit: str = ""
    smallest: str = ""
    largest: str = ""
    in_captions: bool = False
    probed: bool = False
    label: LabelRule | None = None

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
        """Whether it is about one key that all queries of a head read."""
        return isinstance(self.formula, LargestColumn)


# The order is that of tables, JSON and CSV. Colours that colour-blind eyes can tell apart: Okabe & Ito 2008, "Color
# universal design". Thresholds: above one half a head attends more to the position than to all others together. Special
# tokens and the first token need more, since heads attend to them by default; any other single token that most queries
# read needs less.
_ENTRIES = (
    Metric(
        name="entropy",
        formula=Entropy(),
        meaning="how widely a row spreads its weight",
        unit="nats",
        source="Clark et al. 2019; Vig & Belinkov 2019",
        smallest="looks at the fewest tokens",
        largest="spreads over the most tokens",
        in_captions=True,
    ),
    Metric(
        name="distance",
        formula=Distance(),
        meaning="how far away it looks",
        unit="tokens",
        source="Vig & Belinkov 2019; Dosovitskiy et al. 2021",
        largest="looks the farthest",
        in_captions=True,
    ),
    Metric(
        name="confidence",
        formula=LargestWeight(),
        meaning="largest weight of a row",
        source="Voita et al. 2019",
        in_captions=True,
    ),
    Metric(
        name="previous",
        formula=WeightAt((-1,)),
        meaning="weight on the previous token",
        patch_meaning="weight on the patch to the left",
        source="Clark et al. 2019",
        label=LabelRule(
            threshold=0.5,
            rank=1,
            letter="P",
            place=0,
            color=(86, 180, 233),
            basic_color=(0, 170, 170),
            target="the previous token",
            patch_target="the patch to the left",
        ),
    ),
    Metric(name="current", formula=WeightAt((0,)), meaning="weight on the token itself", source="Clark et al. 2019"),
    Metric(
        name="next",
        formula=WeightAt((1,)),
        meaning="weight on the next token",
        patch_meaning="weight on the patch to the right",
        source="Clark et al. 2019",
        label=LabelRule(
            threshold=0.5,
            rank=2,
            letter="N",
            place=1,
            color=(230, 159, 0),
            basic_color=(255, 255, 85),
            target="the next token",
            patch_target="the patch to the right",
        ),
    ),
    Metric(
        name="first",
        formula=WeightAt(("first",)),
        meaning="weight on the first token",
        patch_meaning="weight on the first position",
        source="Xiao et al. 2023",
        label=LabelRule(
            threshold=0.6,
            rank=4,
            letter="F",
            place=2,
            color=(213, 94, 0),
            basic_color=(170, 0, 0),
            target="the first token",
            patch_target="the first position",
        ),
    ),
    Metric(
        name="special",
        formula=WeightOnSpecial(),
        meaning="weight on special tokens",
        patch_meaning="weight on what is no patch, as [CLS]",
        source="Clark et al. 2019",
        label=LabelRule(
            threshold=0.6,
            rank=3,
            letter="S",
            place=3,
            color=(204, 121, 167),
            basic_color=(170, 0, 170),
            target="special tokens",
            patch_target="what is no patch",
        ),
    ),
    Metric(
        name="token",
        formula=LargestColumn(),
        meaning="weight on the ordinary token most looked at",
        patch_meaning="weight on the patch most looked at",
        source="here",
        label=LabelRule(
            threshold=0.4,
            rank=5,
            letter="T",
            place=5,
            color=(240, 228, 66),
            basic_color=(85, 85, 255),
            target="one ordinary token",
            patch_target="one patch",
            sentence="most tokens look at {}",
            # Where most weight is on the first token, that is the token.
            unless="first",
        ),
    ),
    Metric(
        name="virtual_sink",
        formula=Unattended(),
        meaning="weight that no token gets",
        source="the learned sinks of gpt-oss",
    ),
    Metric(
        name="duplicate",
        formula=WeightOnCopies(),
        meaning="weight on earlier copies of the token",
        source="Wang et al. 2022",
    ),
    Metric(
        name="induction",
        formula=WeightOnCopies(shift=1),
        meaning="weight on what followed earlier copies",
        source="Olsson et al. 2022",
        probed=True,
        label=LabelRule(
            threshold=0.4,
            rank=0,
            letter="I",
            place=4,
            color=(0, 158, 115),
            basic_color=(0, 170, 0),
            target="what followed earlier copies",
        ),
    ),
)

#: Every metric by its name, in the order in which they are shown; what `--metric` takes and what the JSON holds.
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ENTRIES}

#: The labels by the names of their metrics, the most telling first.
LABELS: Mapping[str, LabelRule] = dict(
    sorted(
        ((name, metric.label) for name, metric in METRICS.items() if metric.label is not None),
        key=lambda entry: entry[1].rank,
    )
)

#: The metrics that are defined where tokens repeat, and that of them which `--probe` is made for.
REPEAT_METRICS = tuple(name for name, metric in METRICS.items() if metric.of_repeats)
PROBED = next(name for name, metric in METRICS.items() if metric.probed)
