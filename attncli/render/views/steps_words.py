"""The steps of one head at one query (`--steps`) as numbered sentences, and the numbers of its keys as rows."""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose, sqrt
from typing import NamedTuple

from attncli.results.steps import HeadOutput, Origin, Projection, Steps
from attncli.results.tokens import Token

#: Keys that are listed at most.
KEYS_LISTED = 16
# Up to so many ranges of hidden tokens are given as positions.
_MOST_STRETCHES = 3

#: The name of a step, and its sentence.
Step = tuple[str, str]


class KeyNumbers(NamedTuple):
    """One key of a walk. score: after scaling, cap and bias; None where the mask hides the key.

    value: the norm of v.  contribution: weight times that norm.
    """

    token: Token
    product: float
    score: float | None
    weight: float
    value: float

    @property
    def contribution(self) -> float:
        return self.weight * self.value


def key_numbers(steps: Steps) -> list[KeyNumbers]:
    """The listed keys, in the order of the text."""
    listed = steps.with_top_keys(KEYS_LISTED)
    columns = (listed.products, listed.scores, listed.visible, listed.weights, listed.value_norms)
    rows = zip(listed.keys, *(column.tolist() for column in columns), strict=True)
    return [
        KeyNumbers(key, product, score if seen else None, weight if seen else 0.0, norm)
        for key, product, score, seen, weight, norm in rows
    ]


def all_steps(steps: Steps, query: str) -> list[Step]:
    """Every step in order. query: the text of the query."""
    listed = steps.with_top_keys(KEYS_LISTED)
    output = [] if steps.written is None else [output_step(steps)]
    scores = list(score_steps(steps, listed, query))
    return [query_step(steps, query), *scores, values_step(steps), *output, *closing_steps(steps, query)]


def closing_steps(steps: Steps, query: str) -> list[Step]:
    """What the head adds to the residual stream; or where the walk ends before that."""
    if steps.written is None:
        return [("output", "z goes through no plain matrix in this model, and the walk ends here")]
    return [_residual_step(steps.written, query)]


def query_step(steps: Steps, query: str) -> Step:
    """How q is made. query: the text of the query."""
    reader = f", from the {steps.origin.reader}" if steps.origin.reader is not None else ""
    columns = f"this head's {len(steps.query_vector):,} columns of W_Q"
    source = _projection_words(steps.origin.query, _state_words(steps.origin), columns, "plus their bias")
    turned = ", then turned by its position (rotary)" if steps.rotated else ""
    return "query", f"q, what {query} looks for{reader}: {source}{turned}"


def _projection_words(projection: Projection | None, state: str, matrix: str, bias: str = "plus its bias") -> str:
    """How a vector is computed; with the matrix only where the projection is a plain linear layer."""
    if projection is None:
        return f"made of {state} by this layer's weights"
    factor = f", and times {projection.factor:.4g}" if projection.factor != 1 else ""
    return f"{state} times {matrix}{f', {bias}' if projection.bias else ''}{factor}"


def _state_words(origin: Origin) -> str:
    if origin.normalised is None:
        return "its state, as it enters the layer,"
    return "its state, normalised," if origin.normalised else "its state"


def _key_source(origin: Origin) -> tuple[str, str]:
    """Which tokens the keys and values are of, and which state they are computed from."""
    if origin.reader is None:
        return "each token", _state_words(origin)
    return "each token of the encoder", "the encoder's output"


def score_steps(steps: Steps, listed: Steps, query: str) -> Iterator[Step]:
    """The steps from keys to weights that this model has."""
    each, state = _key_source(steps.origin)
    turned = ", turned likewise" if steps.rotated else ""
    shared = f" ({steps.sharing} heads share them)" if steps.sharing > 1 else ""
    source = _projection_words(steps.origin.key, state, "W_K")
    yield "keys", f"k, what {each} offers: {source}{turned}{shared}; a large q·k is a match"
    yield "scale", f"score = q·k {_scale_words(steps)}"
    if steps.softcap is not None:
        cap = f"{steps.softcap:g}"
        yield "softcap", f"{cap} × tanh(score ÷ {cap}), so that no score passes {cap}"
    if steps.bias is not None:
        yield "bias", "what the model adds for the places of the two tokens"
    if steps.causal or steps.hidden:
        yield "mask", _mask_words(steps, listed, query)
    # Subtracting a negative number: `score + 2.89`.
    less = f"{'+' if steps.log_sum < 0 else '−'} {abs(steps.log_sum):.2f}"
    sink = ""
    if steps.sink_weight is not None:
        sink = f"with a sink outside of the text (score {steps.sink:.2f}, weight {steps.sink_weight:.2f}) "
    yield "softmax", f"weight = e^score ÷ Σ e^score = e^(score {less}); {sink}they sum to 1"


def _scale_words(steps: Steps) -> str:
    size = len(steps.query_vector)
    if isclose(steps.scale, 1 / sqrt(size), rel_tol=1e-6):
        return f"÷ √{size} ({sqrt(size):.2f}), or it would grow with the size of q and k"
    if steps.scale == 1 and steps.origin.query is not None and steps.origin.query.factor != 1:
        return "as it is: q was scaled when it was made"
    if steps.scale == 1:
        return "as it is: this model divides it by nothing"
    return f"× {steps.scale:.4g}, this model's own scale"


def _mask_words(steps: Steps, listed: Steps, query: str) -> str:
    """Which tokens are hidden; for causal models also when none is."""
    comes_to = "score −∞, weight 0"
    if not steps.hidden:
        return (
            f"in a causal model each token attends to itself and earlier ones; later ones would be hidden ({comes_to})"
        )
    tokens, are = ("1 token", "is") if steps.hidden == 1 else (f"{steps.hidden:,} tokens", "are")
    after = f" after {query}" if steps.causal else ""
    return f"{tokens}{after}{_hidden_positions(steps, listed)} {are} hidden: {comes_to}"


def _hidden_positions(steps: Steps, listed: Steps) -> str:
    """The position ranges of hidden tokens that the table doesn't list; empty if these are many."""
    if not listed.others.hidden or steps.others.hidden:
        return ""
    places = [key.index for key, seen in zip(steps.keys, steps.visible.tolist(), strict=True) if not seen]
    starts = [place for place in places if place - 1 not in set(places)]
    stops = [place for place in places if place + 1 not in set(places)]
    if len(starts) > _MOST_STRETCHES:
        return ""
    ends = zip(starts, stops, strict=True)
    return f" ({', '.join(f'{start}' if start == stop else f'{start} to {stop}' for start, stop in ends)})"


def values_step(steps: Steps) -> Step:
    """How v is made, and their weighted sum z."""
    each, state = _key_source(steps.origin)
    source = _projection_words(steps.origin.value, state, "W_V")
    return "values", f"v, what {each} hands on: {source}; z = Σ weight × v"


def output_step(steps: Steps) -> Step:
    """The head's output through its rows of the output matrix. The steps have one: `written` is not None."""
    written = steps.written
    assert written is not None
    between = "a gate or a norm changes z; then " if written.passed_on is not None else ""
    rows = f"this head's {len(steps.weighted_sum):,} rows of W_O"
    return "output", f"{between}z times {rows}: {len(written.output):,} numbers, as wide as the model"


def _residual_step(written: HeadOutput, query: str) -> Step:
    """The norm of what the head adds, and of the state that it is added to."""
    every = "all heads" if written.bias is None else "all heads and the bias"
    scaled = "" if written.scale in (None, 1) else f" (after the model's own factor {written.scale:.4g})"
    adds = f"this head adds {written.added:.2f}{scaled}, {every} together {written.all_added:.2f}"
    if written.residual is not None:
        adds = f"the state of {query} had norm {written.residual:.2f}; {adds}"
    if written.scale is None:
        adds += ", which a norm or a gate changes before it is added"
    return "residual stream", adds
