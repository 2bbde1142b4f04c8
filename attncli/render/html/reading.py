"""What one position reads, as a page shows it: its keys, the most read first, or one weight by each head."""

from __future__ import annotations

from dataclasses import replace

from attncli.render.heads.running import numbered, plain_text
from attncli.render.html.packing import pack
from attncli.render.html.words import shortened
from attncli.results.heads import HeadMetrics, Stack
from attncli.results.patterns import HeadWeight, KeyRead, Ranking, Reading
from attncli.results.tokenize import Token

#: What a page calls the one weight by which heads are ranked, beside their metrics.
WEIGHT = "weight"

#: Heads that are told one by one.
_MOST_HEADS = 10


def with_weights(stack: Stack) -> Stack:
    """A stack whose heads are ranked by one weight, with that weight among their metrics; any other as it is."""
    if stack.ranking is None:
        return stack
    weights = {(head.layer, head.head): head for head in stack.ranking.heads}
    heads = (_with(head, weights[head.layer, head.head]) for head in stack.metrics)
    even = {head.layer: head.uniform for head in stack.ranking.heads}
    baselines = {layer: {**values, WEIGHT: even.get(layer)} for layer, values in stack.baselines.items()}
    return replace(stack, metrics=tuple(heads), baselines=baselines)


def _with(head: HeadMetrics, weight: HeadWeight) -> HeadMetrics:
    return replace(head, values={**head.values, WEIGHT: weight.weight})


def reading_data(stack: Stack, weighting: str) -> dict[str, object]:
    """What a position reads, for the page's script; nothing where none was asked for."""
    if stack.ranking is not None:
        return _ranked(stack.ranking, weighting)
    return {} if stack.reading is None else {"reading": _read(stack, stack.reading, weighting)}


def _ranked(ranking: Ranking, weighting: str) -> dict[str, object]:
    norms = " × norm of what is read" if weighting == "norm" else ""
    said = f"how much {_query(ranking)} looks at {_place(ranking.key, count=ranking.key_tokens)}"
    rows = [
        {
            "head": head.name,
            "sentence": "not seen" if head.rank is None else f"place {head.rank:,} of {head.keys:,} in its row",
            "label": None,
            "metric": WEIGHT,
            "value": shortened(head.weight),
            "uniform": shortened(head.uniform),
        }
        for head in ranking.heads[:_MOST_HEADS]
    ]
    meanings = {WEIGHT: f"weight{norms}: {said}"}
    reading = {"said": f"{said[0].upper()}{said[1:]}, by each head"}
    return {"reading": reading, "standouts": rows, "said": "Heads by this weight", "meanings": meanings}


def _read(stack: Stack, reading: Reading, weighting: str) -> dict[str, object]:
    many = f"mean of {reading.heads:,} heads" if reading.heads > 1 else f"head {stack.metrics[0].name}"
    norms = ", weight × norm of what is read (Kobayashi et al. 2020)" if weighting == "norm" else ""
    packed = pack(reading.weights[None, None])
    return {
        "said": f"Where {_query(reading)} looks: {many}{norms}",
        "own": list(reading.own),
        "unseen": [place for place, seen in enumerate(reading.visible.tolist()) if not seen],
        "top": [_key(stack, key, reading) for key in reading.top],
        "block": {"heads": [0], **packed.to_dict()},
    }


def _key(stack: Stack, key: KeyRead, reading: Reading) -> list[object]:
    """Where it stands, its weight, what even attention would give, and the head that reads it most with its weight."""
    line = None if reading.lines is None else reading.lines[key.place]
    number = stack.keys[key.place].index if reading.lines is None else line
    return [number, key.place, key.weight, key.uniform, key.head, key.head_weight]


def _query(of: Reading | Ranking) -> str:
    return _place(of.query, of.query_line, of.query_tokens)


def _place(token: Token, line: int | None = None, count: int = 1) -> str:
    text = " ".join(plain_text(token).split())
    return f"{text} ({numbered(token.index, count, line)})"
