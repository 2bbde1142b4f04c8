"""`attn compare` against scripts that do the same with transformers: three sentences, and a file of many."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from attncli.embeddings.reference_sample import shipped_sentences
from attncli.models.files.model_files import open_files
from attncli.models.files.reference import DEFAULT_MODEL, parse_reference
from tests.benchmarks.processes import Ratio, compare, memory
from tests.benchmarks.startup import attn

SENTENCES = ("American shrew mole", "One mole of carbon dioxide", "Take a biopsy of the mole")

#: The states of a word, pooled over its pieces, and their cosines: what a notebook would do.
THREE = """
import torch
from transformers import AutoModel, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({folder!r})
model = AutoModel.from_pretrained({folder!r}).eval()
texts = {sentences!r}
batch = tokenizer(list(texts), padding=True, return_offsets_mapping=True, return_tensors="pt")
offsets = batch.pop("offset_mapping").tolist()
with torch.no_grad():
    states = model(**batch, output_hidden_states=True).hidden_states
vectors = []
for row, text in enumerate(texts):
    start = text.index("mole")
    inside = [i for i, (a, b) in enumerate(offsets[row]) if a < start + 4 and b > start]
    vectors.append(torch.stack([state[row, inside].mean(dim=0) for state in states]))
units = torch.nn.functional.normalize(torch.stack(vectors), dim=-1)
print((units.transpose(0, 1) @ units.permute(1, 2, 0))[-1])
"""

#: A plain batched forward pass over the same file, sorted by length as anybody would who is in a hurry. Nothing is made
#: of the states; prints the seconds of the passes with their tokenizing.
PASSES = """
import time, torch
from transformers import AutoModel, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({folder!r})
model = AutoModel.from_pretrained({folder!r}).eval()
with open({text!r}, encoding="utf-8") as file:
    lines = sorted(file.read().splitlines(), key=len, reverse=True)
start = time.perf_counter()
with torch.no_grad():
    for first in range(0, len(lines), 64):
        model(**tokenizer(lines[first : first + 64], padding=True, return_tensors="pt"))
print(time.perf_counter() - start)
"""

#: The same by the verb, from sentences to a result; the model is loaded and its reference sample known before.
OURS = """
import time, attncli
from transformers import AutoModel, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({folder!r})
model = AutoModel.from_pretrained({folder!r}).eval()
with open({text!r}, encoding="utf-8") as file:
    lines = file.read().splitlines()
start = time.perf_counter()
attncli.compare("mole", lines, model=model, tokenizer=tokenizer, reference=[])
print(time.perf_counter() - start)
"""

#: Sentences per second against the peer's, and seconds from the start of the program to its answer.
_RATE, _START = 0.9, 1.1
#: Memory beside that of the passes alone.
_HELD = 1.5


def run(runs: int, *, sentences: int = 4_000) -> Iterator[Ratio]:
    """Every figure in turn. sentences: lines of the file."""
    folder = str(Path(open_files(parse_reference(DEFAULT_MODEL)).require("config.json")).parent)
    ours = [attn(), "compare", "mole", *SENTENCES]
    peer = [sys.executable, "-c", THREE.format(folder=folder, sentences=SENTENCES)]
    few = max(runs // 4, 3)
    yield compare(
        "attn compare, three sentences", ours, "a transformers script", peer, aim=_START, runs=few, warm_ups=1
    )
    with tempfile.TemporaryDirectory() as place:
        text = Path(place) / "sentences.txt"
        _write(text, sentences)
        scripts = [[sys.executable, "-c", each.format(folder=folder, text=str(text))] for each in (OURS, PASSES)]
        yield compare(
            f"{sentences:,} sentences", *_named(*scripts), aim=1 / _RATE, runs=3, measure=_told_seconds, warm_ups=0
        )
        if os.name != "nt":
            # The model and torch are among both.
            asked = [attn(), "compare", "mole", "-f", str(text), "-q", "-o", str(Path(place) / "x.npz")]
            held, theirs = (memory(each) for each in (asked, scripts[1]))
            yield Ratio(
                f"{sentences:,} sentences: memory",
                "batched forward passes alone",
                held,
                theirs,
                held / theirs,
                _HELD,
                "MB",
            )


def _named(ours: Sequence[str], peer: Sequence[str]) -> tuple[Sequence[str], str, Sequence[str]]:
    return ours, "batched forward passes alone", peer


def _told_seconds(command: Sequence[str]) -> float:
    """What a script says that its work took, its start left out."""
    done = subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, encoding="utf-8")
    return float(done.stdout)


def _write(path: Path, count: int) -> None:
    """Sentences of 5 to 25 words with `mole` among them; always the same."""
    chance = random.Random(0)
    words = " ".join(shipped_sentences()).split()
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            some = chance.choices(words, k=chance.randint(4, 24))
            some.insert(chance.randint(0, len(some)), "mole")
            file.write(f"{' '.join(some)}\n")
