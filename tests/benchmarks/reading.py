"""Readouts of long texts against what they are read from: a plain forward pass, and `output_attentions=True`.

    python -m tests.benchmarks.reading          every length
    python -m tests.benchmarks.reading 4096     those of them that are named

The model has 4 layers of 8 heads of 64 with random weights. Times are of the pass alone, in turn within one process;
the memory is the most that a process of its own held.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tests.benchmarks.processes import HEADER, Ratio, memory

if TYPE_CHECKING:
    import torch

LENGTHS = (4096, 16384, 32768)

#: What is asked of the same pass, and how many times a plain forward pass it may take.
ASKED = {
    "maps, distance, masses": (("distance", "special", "first", "previous", "current", "next"), 2.0),
    "and entropy": (("distance", "special", "first", "previous", "current", "next", "entropy"), 3.0),
    "every metric": (None, 4.0),
}

#: Up to so many tokens a pass is run once before it is timed; a longer one takes so long that it makes no difference.
_WARMED_UP = 4096

#: At most this many times the memory of the plain pass.
_MEMORY_AIM = 1.15

#: From one length to the next, at most this many times as much growth as the plain pass has, in time and in memory.
_GROWTH_AIM = 1.15

#: Against all weights at once, at 4,096 tokens: this share of the time and of the added memory.
_WEIGHTS_AIM = (1 / 4, 1 / 10)


def run(runs: int, lengths: tuple[int, ...] = LENGTHS) -> Iterator[Ratio]:
    """Every figure in turn."""
    before: list[Ratio] = []
    for length in lengths:
        figures = []
        for figure in _against_a_plain_pass(length, max(1, min(runs, 9 * 4096 // length))):
            yield figure
            figures.append(figure)
        # The last two: the time of every metric, and the memory.
        for shorter, longer in zip(before[-2:], figures[-2:], strict=False):
            yield _growth(shorter, longer)
        before = figures
    if 4096 in lengths:
        yield from _against_all_weights(4096, max(1, min(runs, 5)))


def _against_a_plain_pass(length: int, runs: int) -> Iterator[Ratio]:
    for name, (_, aim) in ASKED.items():
        ours, plain, ratio = _times(name, "plain", length, runs)
        yield Ratio(f"{name}, {length:,} tokens", "a plain forward pass", ours, plain, ratio, aim)
    ours_bytes, plain_bytes = (_memory(what, length) for what in ("every metric", "plain"))
    name = f"every metric, {length:,} tokens: memory"
    yield Ratio(name, "a plain forward pass", *_and_ratio(ours_bytes, plain_bytes), _MEMORY_AIM, "MB")


def _growth(shorter: Ratio, longer: Ratio) -> Ratio:
    """How many times as much the longer text takes, beside the same of the plain pass."""
    growths = longer.ours / shorter.ours, longer.theirs / shorter.theirs
    return Ratio(f"growth to {longer.name}", "a plain pass's growth", *_and_ratio(*growths), _GROWTH_AIM, "times")


def _against_all_weights(length: int, runs: int) -> Iterator[Ratio]:
    for what, peer in (("weights", "output_attentions=True"), ("weights, measured", "the same, measured with torch")):
        times = _times("every metric", what, length, runs)
        yield Ratio(f"every metric, {length:,} tokens", peer, *times, _WEIGHTS_AIM[0])
    ours, theirs, plain = (_memory(what, length) for what in ("every metric", "weights", "plain"))
    name = f"every metric, {length:,} tokens: added"
    added = _and_ratio(max(ours - plain, 0), theirs - plain)
    yield Ratio(name, "output_attentions=True", *added, _WEIGHTS_AIM[1], "MB")


def _and_ratio(ours: float, theirs: float) -> tuple[float, float, float]:
    return ours, theirs, ours / theirs


def _times(ours: str, peer: str, length: int, runs: int) -> tuple[float, float, float]:
    """Median seconds of both, and of their ratios, each pair in turn."""
    passes = [_pass(what, length) for what in (ours, peer)]
    for each in passes if length <= _WARMED_UP else ():
        each()
    pairs = [tuple(_seconds(each) for each in passes) for _ in range(runs)]
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    return medians[0], medians[1], statistics.median(a / b for a, b in pairs)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _pass(what: str, length: int) -> Callable[[], object]:
    """One forward pass, ready to be run: `plain`, `weights`, or what is asked of ours."""
    import torch
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=512,
        intermediate_size=2048,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=length,
        use_cache=False,
    )
    model = LlamaModel(config).eval()
    ids = torch.randint(3, 32000, (1, length))
    if what == "plain":
        model.set_attn_implementation("sdpa")
        return torch.no_grad()(lambda: model(input_ids=ids))
    if what == "weights":
        model.set_attn_implementation("eager")
        return torch.no_grad()(lambda: model(input_ids=ids, output_attentions=True))
    if what == "weights, measured":
        model.set_attn_implementation("eager")
        return torch.no_grad()(lambda: [_measured(each[0]) for each in model(ids, output_attentions=True).attentions])
    return _ours(model, ids[0].tolist(), what)


def _measured(weights: torch.Tensor) -> list[torch.Tensor]:
    """Maps and metrics of a layer's weights (heads, N, N), as a user of transformers would write them down.

    Its tokens are random, so that what needs repeated ones, a mask each, would add little; it is left out.
    """
    import torch

    places = torch.arange(weights.shape[-1])
    apart = (places[:, None] - places).abs()
    return [
        torch.nn.functional.adaptive_avg_pool2d(weights, 60),
        -torch.special.xlogy(weights, weights).sum(-1).mean(-1),
        (weights * apart).sum(-1).mean(-1),
        weights.amax(-1).mean(-1),
        weights[..., 0].mean(-1),
        weights.diagonal(dim1=-2, dim2=-1).mean(-1),
        weights.diagonal(-1, dim1=-2, dim2=-1).mean(-1),
    ]


def _ours(model: Any, ids: list[int], what: str) -> Callable[[], object]:
    from attncli.attention.inputs import build_inputs
    from attncli.attention.selection import HeadsRequest
    from attncli.attention.stacks import collect
    from attncli.metrics import METRICS
    from attncli.models.loading.loaded_model import wrap_model
    from attncli.results.tokens import Token

    loaded = wrap_model(model)
    inputs = build_inputs(loaded, [[Token(place, each, "", "") for place, each in enumerate(ids)]])
    wanted = HeadsRequest(patterns=True, bins=60, metrics=ASKED[what][0] or METRICS)
    return lambda: [stack.build() for stack in collect(loaded, inputs, wanted)]


def _memory(what: str, length: int) -> int:
    """The most bytes that a process of its own held, model and libraries included."""
    return memory([sys.executable, "-m", "tests.benchmarks.reading", what, str(length)])


if __name__ == "__main__":
    if len(sys.argv) == 3 and not sys.argv[1].isdigit():
        _pass(sys.argv[1], int(sys.argv[2]))()
    else:
        print(HEADER)
        for figure in run(3, tuple(map(int, sys.argv[1:])) or LENGTHS):
            print(figure.row(), flush=True)
