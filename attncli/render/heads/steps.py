"""The walk from one query to what a head adds there: numbered steps, each in a few words with its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose, sqrt

from attncli.render.heads.steps_table import Symbols, read_table, score_table, shown_vector, symbols
from attncli.render.layout import flow
from attncli.render.lines import BOLD, Line, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import direction_end, token_text
from attncli.results.steps import Origin, Projection, Steps, Written

_INDENT = 2
#: Keys that are listed at most.
_LISTED = 16
# Stretches of hidden tokens that are told by their places.
_MOST_STRETCHES = 3

#: What a step is called, and what is said of it.
Step = tuple[str, str]


def steps_lines(steps: Steps, terminal: Terminal) -> list[Line]:
    """One walk from top to bottom."""
    listed, signs = steps.listing(_LISTED), symbols(terminal)
    numbered = _Numbered(terminal)
    lines = _title(steps, terminal)
    lines += [*numbered(_query(steps, terminal)), shown_vector("q", steps.query_vector, steps.query_norm, terminal)]
    lines += [line for step in _scoring(steps, listed, terminal) for line in numbered(step)]
    lines += score_table(listed, terminal)
    lines += [*numbered(_values(steps, signs)), *read_table(listed.seen(), terminal)]
    if steps.written is None:
        return [*lines, *numbered(("output", "z goes through no plain matrix in this model, and the walk ends here"))]
    lines += numbered(_output(steps, steps.written, signs))
    lines += [shown_vector("out", steps.written.output, steps.written.norm, terminal)]
    return [*lines, *numbered(_residual(steps, steps.written, terminal))]


class _Numbered:
    """Writes steps one after another."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._number = 0

    def __call__(self, step: Step) -> list[Line]:
        self._number += 1
        name, said = step
        words = [Line.of(StyledSpan(f"{self._number} {name}:", BOLD)), *map(Line.of, said.split(" "))]
        return [Line(), *flow(words, separator=" ", width=self._terminal.width, indent=_INDENT)]


def _title(steps: Steps, terminal: Terminal) -> list[Line]:
    words = f"from {_token(steps, terminal)} (token {steps.query.index}), step by step".split(" ")
    name = Line.of(StyledSpan(f"head {steps.name}", BOLD))
    return flow([name, *map(Line.of, words)], separator=" ", width=terminal.width)


def _token(steps: Steps, terminal: Terminal) -> str:
    text = token_text(steps.query, terminal)
    return text + direction_end(text)


def _query(steps: Steps, terminal: Terminal) -> Step:
    reader = f", from the {steps.origin.reader}" if steps.origin.reader is not None else ""
    columns = f"this head's {len(steps.query_vector):,} columns of W_Q"
    made = _made(steps.origin.query, _state(steps.origin), columns, "plus their bias")
    turned = ", then turned by its position (rotary)" if steps.rotated else ""
    return "query", f"q, what {_token(steps, terminal)} looks for{reader}: {made}{turned}"


def _made(projection: Projection | None, state: str, matrix: str, bias: str = "plus its bias") -> str:
    """What a vector is made of; the matrix alone is named only where nothing but it makes the vector."""
    if projection is None:
        return f"made of {state} by this layer's weights"
    factor = f", and times {projection.factor:.4g}" if projection.factor != 1 else ""
    return f"{state} times {matrix}{f', {bias}' if projection.bias else ''}{factor}"


def _state(origin: Origin) -> str:
    if origin.normalised is None:
        return "its state, as it enters the layer,"
    return "its state, normalised," if origin.normalised else "its state"


def _answering(origin: Origin) -> tuple[str, str]:
    """Whose keys and values these are, and what they are made of."""
    if origin.reader is None:
        return "each token", _state(origin)
    return "each token of the encoder", "the encoder's output"


def _scoring(steps: Steps, listed: Steps, terminal: Terminal) -> Iterator[Step]:
    """From keys to weights; steps that this model does not take are left out."""
    signs, origin = symbols(terminal), steps.origin
    each, state = _answering(origin)
    turned = ", turned likewise" if steps.rotated else ""
    shared = f" ({steps.sharing} heads share them)" if steps.sharing > 1 else ""
    yield (
        "keys",
        f"k, what {each} offers: {_made(origin.key, state, 'W_K')}{turned}{shared}; a large q{signs.dot}k is a match",
    )
    yield "scale", _scaling(steps, signs)
    if steps.softcap is not None:
        cap = f"{steps.softcap:g}"
        yield "softcap", f"{cap} {signs.times} tanh(score {signs.over} {cap}), so that no score passes {cap}"
    if steps.bias is not None:
        yield "bias", "what the model adds for the places of the two tokens"
    if steps.causal or steps.hidden:
        yield "mask", _mask(steps, listed, terminal)
    yield "softmax", _softmax(steps, signs)


def _scaling(steps: Steps, signs: Symbols) -> str:
    size = len(steps.query_vector)
    product = f"score = q{signs.dot}k"
    if isclose(steps.scale, 1 / sqrt(size), rel_tol=1e-6):
        root = f"{signs.root}{size} ({sqrt(size):.2f})"
        return f"{product} {signs.over} {root}, or it would grow with the size of q and k"
    if steps.scale == 1 and steps.origin.query is not None and steps.origin.query.factor != 1:
        return f"{product} as it is: q was scaled when it was made"
    if steps.scale == 1:
        return f"{product} as it is: this model divides it by nothing"
    return f"{product} {signs.times} {steps.scale:.4g}, this model's own scale"


def _mask(steps: Steps, listed: Steps, terminal: Terminal) -> str:
    """Who is hidden; of a causal model also where nobody is."""
    signs = symbols(terminal)
    comes_to = f"score {signs.minus}{signs.infinity}, weight 0"
    if not steps.hidden:
        return f"each token sees itself and earlier ones; later ones would be hidden ({comes_to})"
    tokens = "1 token" if steps.hidden == 1 else f"{steps.hidden:,} tokens"
    after = f" after {_token(steps, terminal)}" if steps.causal else ""
    are = "is" if steps.hidden == 1 else "are"
    return f"{tokens}{after}{_unlisted(steps, listed)} {are} hidden: {comes_to}"


def _unlisted(steps: Steps, listed: Steps) -> str:
    """The places of hidden tokens, first and last of each stretch, where the table has no room for them."""
    if not listed.others.hidden or steps.others.hidden:
        return ""
    places = [key.index for key, seen in zip(steps.keys, steps.visible.tolist(), strict=True) if not seen]
    starts = [place for place in places if place - 1 not in set(places)]
    stops = [place for place in places if place + 1 not in set(places)]
    if len(starts) > _MOST_STRETCHES:
        return ""
    stretches = (
        f"{start}" if start == stop else f"{start} to {stop}" for start, stop in zip(starts, stops, strict=True)
    )
    return f" ({', '.join(stretches)})"


def _softmax(steps: Steps, signs: Symbols) -> str:
    all_sum = f"{signs.sum} e^score"
    # Less a negative number is plus: `score + 2.89`.
    sign = "+" if steps.log_sum < 0 else signs.minus
    said = f"weight = e^score {signs.over} {all_sum} = e^(score {sign} {abs(steps.log_sum):.2f});"
    if steps.sink_weight is None:
        return f"{said} they sum to 1"
    sink = f"a sink outside of the text (score {steps.sink:.2f}, weight {steps.sink_weight:.2f})"
    return f"{said} with {sink} they sum to 1"


def _values(steps: Steps, signs: Symbols) -> Step:
    each, state = _answering(steps.origin)
    made = _made(steps.origin.value, state, "W_V")
    return "values", f"v, what {each} hands on: {made}; z = {signs.sum} weight {signs.times} v"


def _output(steps: Steps, written: Written, signs: Symbols) -> Step:
    between = "a gate or a norm changes z; then " if written.passed_on is not None else ""
    rows = f"this head's {len(steps.weighted_sum):,} rows of W_O"
    return "output", f"{between}z times {rows}: {len(written.output):,} numbers, as wide as the model"


def _residual(steps: Steps, written: Written, terminal: Terminal) -> Step:
    """The addition beside what it is added to."""
    every = "all heads" if written.bias is None else "all heads and the bias"
    scaled = "" if written.scale in (None, 1) else f" (after the model's own factor {written.scale:.4g})"
    adds = f"this head adds {written.added:.2f}{scaled}, {every} together {written.all_added:.2f}"
    if written.residual is not None:
        adds = f"the state of {_token(steps, terminal)} had norm {written.residual:.2f}; {adds}"
    if written.scale is None:
        adds += ", which a norm or a gate changes before it is added"
    return "residual stream", adds
