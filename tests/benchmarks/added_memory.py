"""What `attncli.heads` with all metrics, or with direct effects, adds to the memory of a process, against a plain
forward pass.

    python -m tests.benchmarks.added_memory

The model has 4 layers of 8 heads of 64 with random weights, which share 2 key heads or have one each. Each pass is run
in a process of its own, after one over 64 tokens, so that what Python and the libraries load doesn't count.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from tests.benchmarks.processes import HEADER, Ratio

TOKENS = 16384

#: At most so many times the memory that the plain pass adds, and its time.
_MEMORY_AIM, _TIME_AIM = 1.3, 2.5

#: The same of direct effects, whose backward pass keeps what every layer computed; of fewer tokens.
_DIRECT_AIM, _DIRECT_SHARE = 1.6, 8


def run(tokens: int = TOKENS) -> Iterator[Ratio]:
    """Every figure in turn. (Not on Windows.)"""
    for key_heads in (2, 8):
        (ours, seconds), (plain, plain_seconds) = (_measure(what, key_heads, tokens) for what in ("heads", "plain"))
        name, peer = f"every metric, {tokens:,} tokens, {key_heads} key heads", "a plain forward pass"
        yield Ratio(f"{name}: added", peer, ours, plain, ours / plain, _MEMORY_AIM, "MB")
        yield Ratio(name, peer, seconds, plain_seconds, seconds / plain_seconds, _TIME_AIM)
    yield run_direct(tokens // _DIRECT_SHARE)


def run_direct(tokens: int) -> Ratio:
    """The memory of direct effects."""
    (ours, _), (plain, _) = (_measure(what, 2, tokens) for what in ("direct", "plain"))
    name = f"direct effects, {tokens:,} tokens: added"
    return Ratio(name, "a plain forward pass", ours, plain, ours / plain, _DIRECT_AIM, "MB")


def _measure(what: str, key_heads: int, tokens: int) -> tuple[float, float]:
    """The bytes that a pass adds to the most that its process held before, and its seconds."""
    command = [sys.executable, "-m", "tests.benchmarks.added_memory", what, str(key_heads), str(tokens)]
    added, seconds = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(added), float(seconds)


def _pass(what: str, key_heads: int) -> Callable[[list[int]], object]:
    """A forward pass over some ids."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    import attncli

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=512,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=key_heads,
        max_position_embeddings=20000,
        attn_implementation="sdpa",
    )
    model = LlamaForCausalLM(config).eval()
    if what == "plain":
        return torch.no_grad()(lambda ids: model(input_ids=torch.tensor([ids]), use_cache=False))
    asked: dict[str, Any] = {"effect": "direct", "answer": 5} if what == "direct" else {}
    return lambda ids: attncli.heads(model=model, input_ids=ids, **asked)


def _most_bytes() -> int:
    """The most bytes that this process held at once. Linux counts in kibibytes, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _print_pass(what: str, key_heads: int, tokens: int) -> None:
    work, ids = _pass(what, key_heads), Random(0).choices(range(3, 1000), k=tokens)
    work(ids[:64])
    before, start = _most_bytes(), time.perf_counter()
    work(ids)
    print(_most_bytes() - before, time.perf_counter() - start)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        _print_pass(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    else:
        print(HEADER)
        for figure in run(*map(int, sys.argv[1:])):
            print(figure.row(), flush=True)
