"""What a user waits for before a picture: of a decoder in a GGUF file, and where a process is kept warm.

    ATTN_TEST_DECODER=…/SmolLM2-135M-Instruct.Q4_1.gguf python -m tests.benchmarks.decoders

`tests/test_real_decoder.py` says where that file is from; without it, its figures are left out. (Not on Windows.)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from random import Random
from statistics import median

from attncli.models.files.gguf_header import read_gguf_header
from attncli.models.files.model_files import open_files
from attncli.models.files.reference import DEFAULT_MODEL, parse_reference
from tests.benchmarks.processes import HEADER, Ratio, compare, memory, seconds
from tests.benchmarks.startup import attn

TEXT = "the cat sat on the mat because it was tired"

#: Every head's weights by transformers alone, and one number of each.
PLAIN = """
import torch
from transformers import AutoModel, AutoTokenizer

inputs = AutoTokenizer.from_pretrained({folder!r})({text!r}, return_tensors="pt")
model = AutoModel.from_pretrained({folder!r}, attn_implementation="eager")
with torch.no_grad():
    for weights in model(**inputs, output_attentions=True).attentions:
        print(*(-torch.special.xlogy(weights, weights)).sum(-1).mean(-1)[0].tolist())
"""

#: Seconds until a process that is kept warm has loaded the last model.
_PATIENCE = 120.0


def run(runs: int) -> Iterator[Ratio]:
    """Every figure in turn."""
    heads, peer = [attn(), "heads", TEXT], _plain_script()
    yield compare("attn heads", heads, "a plain transformers script", peer, aim=0.7, runs=runs)
    yield compare("attn heads", heads, "import torch", [sys.executable, "-c", "import torch"], aim=2.4, runs=runs)
    yield from _warm(runs)
    if path := os.environ.get("ATTN_TEST_DECODER"):
        yield from _decoder(path, runs)


def _plain_script() -> list[str]:
    folder = open_files(parse_reference(DEFAULT_MODEL)).require("config.json").parent
    return [sys.executable, "-c", PLAIN.format(folder=str(folder), text=TEXT)]


def _decoder(path: str, runs: int) -> Iterator[Ratio]:
    tokenize, heads = [attn(), "tokenize", TEXT], [attn(), "heads", TEXT]
    ours = [*heads, "-m", path]
    yield compare("attn tokenize, a GGUF file", [*tokenize, "-m", path], "a tokenizer.json", tokenize, aim=3, runs=runs)
    yield compare("attn heads, SmolLM2 from GGUF", ours, "the default model", heads, aim=2, runs=runs)
    yield compare("attn heads -l 0, SmolLM2 from GGUF", [*ours, "-l", "0"], "all of its layers", ours, aim=1, runs=runs)
    yield run_direct(path, runs)
    weights = 4 * sum(prod(tensor.shape) for tensor in read_gguf_header(Path(path)).tensors)
    added = memory(ours) - memory([sys.executable, "-c", "import torch, transformers"])
    yield Ratio(
        "attn heads, SmolLM2: added memory", "its weights in float32", added, weights, added / weights, 1.6, "MB"
    )


def run_direct(path: str, runs: int) -> Ratio:
    """Direct effects of every head of a loaded model on 64 tokens, the heads' metrics included."""
    import torch
    from transformers import AutoModelForCausalLM

    import attncli

    file = Path(path)
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    ids = Random(0).choices(range(model.config.vocab_size), k=64)
    pairs = []
    for _ in range(runs):
        start = time.perf_counter()
        attncli.heads(input_ids=ids, model=model, effect="direct", answer=5)
        middle = time.perf_counter()
        with torch.no_grad():
            model(torch.tensor([ids]))
        pairs.append((middle - start, time.perf_counter() - middle))
    first, second = (median(column) for column in zip(*pairs, strict=True))
    ratio = median(a / b for a, b in pairs)
    return Ratio("direct effects of SmolLM2, 64 tokens", "a plain forward pass", first, second, ratio, 2)


def _warm(runs: int) -> Iterator[Ratio]:
    """Commands in a process that is kept warm, once it has loaded the model, against new processes."""
    heads, peer = [attn(), "heads", TEXT], _plain_script()
    yield _warm_ratio("attn heads, kept warm", heads, "a plain transformers script", peer, aim=0.15, runs=runs)
    if path := os.environ.get("ATTN_TEST_DECODER"):
        ours = [*heads, "-m", path]
        yield _warm_ratio("SmolLM2's second question, kept warm", ours, "its first", ours, aim=0.2, runs=runs)


def _warm_ratio(name: str, ours: Sequence[str], peer_name: str, peer: Sequence[str], *, aim: float, runs: int) -> Ratio:
    with tempfile.TemporaryDirectory() as folder:
        variables = {"XDG_RUNTIME_DIR": folder}
        seconds([attn(), "--keep-warm", "1h"], variables=variables)
        try:
            seconds(ours, variables=variables)
            _wait_until_kept(variables)
            seconds(ours, variables=variables)
            pairs = [(seconds(ours, variables=variables), seconds(peer)) for _ in range(runs)]
        finally:
            seconds([attn(), "--keep-warm", "off"], variables=variables)
    first, second = (median(column) for column in zip(*pairs, strict=True))
    return Ratio(name, peer_name, first, second, median(a / b for a, b in pairs), aim)


def _wait_until_kept(variables: dict[str, str]) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        status = [attn(), "--keep-warm", "status"]
        if (
            b"it holds"
            in subprocess.run(status, env={**os.environ, **variables}, capture_output=True, check=True).stdout
        ):
            return
        time.sleep(0.1)
    raise SystemExit("the process that is kept warm has not loaded the model")


if __name__ == "__main__":
    print(HEADER)
    for figure in run(*(map(int, sys.argv[1:]) if sys.argv[1:] else (9,))):
        print(figure.row(), flush=True)
