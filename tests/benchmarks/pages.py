"""`python -m tests.benchmarks.pages [PYTHON]`: how large a page of heads is, and how soon it is open.

The weights are those of GPT-2's shape (12 layers of 12 heads) on 128 tokens: our page against BertViz's model view of
the very same weights, drawn by PYTHON, an interpreter that has bertviz (without one, ours alone is told). Then, in
Chromium: the time from asking for our page of 512 tokens until it answers, and until all 144 heads are drawn.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from attncli.render.html.heads import heads_html
from attncli.results.heads import HeadsResult
from tests.benchmarks.processes import Ratio

LAYERS, HEADS = 12, 12
#: Megabytes that the page of 128 tokens may take.
AIM = 5.0

#: BertViz's model view of weights (layers, heads, tokens, tokens); prints how many bytes of HTML it is.
PEER = """
import sys, numpy, torch
from bertviz import model_view
weights = torch.from_numpy(numpy.load(sys.argv[1]))
tokens = [f"token{index}" for index in range(weights.shape[-1])]
page = model_view(list(weights[:, None]), tokens, html_action="return")
print(len(page.data.encode()))
"""

#: When everything that is to be seen at first is drawn.
DRAWN = "return document.querySelector('[role=grid]')?.getAttribute('aria-busy') === 'false'"


def patterns(tokens: int) -> HeadsResult:
    """The heads of a GPT-2 without training on random ids.

    Its queries and keys are larger than at a start, so that its heads look here and there: even attention would be
    packed to next to nothing, and no trained head is even.
    """
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    import attncli

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_layer=LAYERS, n_head=HEADS)).eval()
    for block in model.transformer.h:
        block.attn.c_attn.weight.data *= 4
    ids = torch.randint(0, 50_000, (tokens,)).tolist()
    return attncli.heads(model=model, input_ids=ids, patterns=True)


def run(python: str = sys.executable) -> Iterator[Ratio]:
    """How large the page of 128 tokens is. python: an interpreter that has bertviz."""
    result = patterns(128)
    ours, theirs = len(heads_html(result).encode()), peer_bytes(python, stacked(result))
    name = "a page of 12 × 12 heads, 128 tokens"
    yield Ratio(name, "BertViz's model view", ours, theirs, ours / theirs, AIM * 1e6 / theirs, "MB")


def stacked(result: HeadsResult) -> np.ndarray:
    (stack,) = result.stacks
    weights = np.stack([pattern.weights for pattern in stack.patterns])
    return weights.reshape(LAYERS, HEADS, *weights.shape[1:])


def peer_bytes(python: str, weights: np.ndarray) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.npy"
        np.save(path, weights)
        done = subprocess.run([python, "-c", PEER, str(path)], check=True, capture_output=True, encoding="utf-8")
    return int(done.stdout.splitlines()[-1])


def opening(page: str, *, runs: int = 5) -> tuple[float, float]:
    """Seconds until the page answers (its scripts have run) and until all its heads are drawn; medians."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(page, "utf-8")
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            times = [_opened(driver, path) for _ in range(runs)]
        finally:
            driver.quit()
    return statistics.median(first for first, _ in times), statistics.median(last for _, last in times)


def _opened(driver: object, path: Path) -> tuple[float, float]:
    driver.get("about:blank")  # type: ignore[attr-defined]
    start = time.perf_counter()
    driver.get(path.as_uri())  # type: ignore[attr-defined]
    answers = time.perf_counter() - start
    while not driver.execute_script(DRAWN):  # type: ignore[attr-defined]
        time.sleep(0.01)
    return answers, time.perf_counter() - start


def main() -> None:
    result = patterns(128)
    ours = len(heads_html(result).encode())
    cells = LAYERS * HEADS * 128**2
    verdict = "met" if ours < AIM * 1e6 else "missed"
    print(f"12 x 12 heads, 128 tokens: {ours / 1e6:.2f} MB, {ours / cells:.2f} bytes a weight; aim {AIM} MB, {verdict}")
    if len(sys.argv) > 1:
        theirs = peer_bytes(sys.argv[1], stacked(result))
        print(f"  BertViz's model view of the same weights: {theirs / 1e6:.1f} MB, {theirs / ours:.0f} times as much")
    start = time.perf_counter()
    page = heads_html(patterns(512))
    print(f"12 x 12 heads, 512 tokens: {len(page) / 1e6:.1f} MB, made in {time.perf_counter() - start:.1f} s")
    answers, drawn = opening(page)
    print(f"  opened in Chromium in {answers:.2f} s, all heads drawn after {drawn:.2f} s")


if __name__ == "__main__":
    main()
