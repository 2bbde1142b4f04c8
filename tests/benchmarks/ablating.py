"""Zero ablation of every head, against a loop that runs the model once for each.

    python -m tests.benchmarks.ablating [RUNS]

A GPT-2 of 12 layers of 12 heads with random weights, on 64 tokens. Both compute the logits of one position alone; ours
ablates the 12 MLPs as well, and measures the heads' metrics.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from tests.benchmarks.processes import HEADER, Ratio

TOKENS, WIDTH, HEADS, LAYERS = 64, 768, 12, 12

#: At most so much of the time of the loop.
_AIM = 0.5


def run(runs: int = 3, clock: Callable[[], float] = time.perf_counter) -> Iterator[Ratio]:
    """The one figure. clock: `time.process_time` on a machine that others use."""
    import attncli

    model, ids = _model(), Random(0).choices(range(50257), k=TOKENS)
    ours, loop = [], []
    for _ in range(runs):
        start = clock()
        attncli.heads(input_ids=ids, model=model, effect="zero", answer=5)
        ours.append(clock() - start)
        start = clock()
        naive_loop(model, ids, answer=5)
        loop.append(clock() - start)
    mine, theirs = min(ours), min(loop)
    name = f"zero ablation of {LAYERS * HEADS} heads, {TOKENS} tokens"
    yield Ratio(name, "a pass for each head", mine, theirs, mine / theirs, _AIM)


def _model() -> Any:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, attn_implementation="sdpa")
    return GPT2LMHeadModel(config).eval()


def naive_loop(model: Any, ids: list[int], *, answer: int) -> list[float]:
    """The effect of every head, by a hook on the matrix behind it and a pass of its own."""
    import torch

    row = torch.tensor([ids])

    def outcome() -> float:
        with torch.no_grad():
            logits = model(row, logits_to_keep=1, use_cache=False).logits[0, -1]
        return float(logits[answer] - logits.mean())

    own, effects, size = outcome(), [], WIDTH // HEADS
    for block in model.transformer.h:
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)

            def zero(_: Any, inputs: tuple[Any, ...], part: slice = part) -> tuple[Any, ...]:
                changed = inputs[0].clone()
                changed[..., part] = 0
                return (changed,)

            handle = block.attn.c_proj.register_forward_pre_hook(zero)
            effects.append(own - outcome())
            handle.remove()
    return effects


def main() -> None:
    print(HEADER)
    for ratio in run(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        print(ratio.row(), flush=True)


if __name__ == "__main__":
    main()
