"""`attn tokenize` against scripts that do the same with the libraries alone: one word, a big file, one long line."""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from attncli.models.files.model_files import open_files
from attncli.models.files.reference import DEFAULT_MODEL, parse_reference
from tests.benchmarks.processes import Ratio, compare, memory, seconds_on_terminal, seconds_to_file
from tests.benchmarks.startup import BARE_TOKENIZERS, attn

AUTO_TOKENIZER = """
from transformers import AutoTokenizer
print(*AutoTokenizer.from_pretrained({folder!r})("Hello world")["input_ids"])
"""

#: Reads the same lines, cuts them in batches of a thousand and fetches their ids; it writes nothing but their number.
BATCHES = """
from itertools import islice
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file({tokenizer!r})
tokenizer.no_truncation()
tokenizer.no_padding()
tokens = 0
with open({text!r}, encoding="utf-8") as file:
    lines = (line.removesuffix("\\n") for line in file)
    while batch := list(islice(lines, 1000)):
        for encoding in tokenizer.encode_batch(batch):
            tokens += len(encoding.ids)
print(tokens)
"""

#: Of the file of many lines: seconds at most 1 / 0.9 of the peer's; memory at most 1.1 of what a tenth of it takes.
_RATE, _HELD = 0.9, 1.1

#: Of the long line: four times the text in at most this many times the time.
_GROWTH = 4.4


def run(runs: int, *, megabytes: float = 100) -> Iterator[Ratio]:
    """Every figure in turn. megabytes: the size of the file of many lines; the long line has a fifth of it."""
    tokenizer = Path(open_files(parse_reference(DEFAULT_MODEL)).require("tokenizer.json"))
    yield from _one_word(tokenizer, runs)
    with tempfile.TemporaryDirectory() as folder:
        yield from _many_lines(tokenizer, Path(folder) / "lines.txt", megabytes)
        yield from _one_line(Path(folder), megabytes / 5)


def _one_word(tokenizer: Path, runs: int) -> Iterator[Ratio]:
    ours = [attn(), "tokenize", "Hello world"]
    bare = [sys.executable, "-c", BARE_TOKENIZERS.format(path=str(tokenizer))]
    auto = [sys.executable, "-c", AUTO_TOKENIZER.format(folder=str(tokenizer.parent))]
    name = 'attn tokenize "Hello world"'
    if sys.platform != "win32":
        terminal = seconds_on_terminal
        yield compare(f"{name}, terminal", ours, "a bare tokenizers script", bare, aim=2.5, runs=runs, measure=terminal)
    yield compare(name, ours, "an AutoTokenizer script", auto, aim=1 / 15, runs=max(runs // 4, 3), warm_ups=1)


def _many_lines(tokenizer: Path, path: Path, megabytes: float) -> Iterator[Ratio]:
    _write(path, megabytes, lines=True)
    ours = [attn(), "tokenize", "--lines", "--ids", "-f", str(path), "-q"]
    peer = [sys.executable, "-c", BATCHES.format(tokenizer=str(tokenizer), text=str(path))]
    name = f"{megabytes:g} MB of lines to ids"
    yield compare(
        name,
        ours,
        "encode_batch, ids not written",
        peer,
        aim=1 / _RATE,
        runs=3,
        measure=seconds_to_file,
        warm_ups=0,
    )
    if sys.platform != "win32":
        few = path.with_name("few.txt")
        _write(few, megabytes / 10, lines=True)
        held, fewer = (memory([*ours[:-2], str(each), "-q"]) for each in (path, few))
        yield Ratio(f"{name}: memory", f"{megabytes / 10:g} MB of them", held, fewer, held / fewer, _HELD, "MB")


def _one_line(folder: Path, megabytes: float) -> Iterator[Ratio]:
    """Not two programs but two sizes: the ratio of their times says whether time is linear."""
    commands = []
    for size in (megabytes, megabytes / 4):
        path = folder / f"line-{size:g}.txt"
        _write(path, size, lines=False)
        commands.append([attn(), "tokenize", "--ids", "-f", str(path), "-q"])
    long, short = commands
    name, other = f"one line of {megabytes:g} MB to ids", f"one line of {megabytes / 4:g} MB"
    yield compare(name, long, other, short, aim=_GROWTH, runs=5, measure=seconds_to_file, warm_ups=0)


def _write(path: Path, megabytes: float, *, lines: bool) -> None:
    """Text as it might be: words by Zipf's law with names, numbers and punctuation among them; always the same."""
    chance = random.Random(path.name)
    words = _words(random.Random(0))
    weights = [1 / (rank + 3) for rank in range(len(words))]
    left = round(megabytes * 1e6)
    with path.open("w", encoding="utf-8") as file:
        while left > 0:
            line = " ".join(chance.choices(words, weights, k=chance.randint(4, 60)))
            line = line[:1].upper() + line[1:] + ("\n" if lines else ". ")
            file.write(line)
            left -= len(line.encode())


def _words(chance: random.Random) -> list[str]:
    """A vocabulary of syllables: the commoner a word, the shorter; every tenth carries a mark, or is a number."""
    onsets, nuclei = ["", *"bcdfghlmnprstvw", "th", "st", "ch", "tr"], [*"aeiou", "ea", "ou", "é"]
    codas = ["", "", "n", "s", "r", "t", "ng", "nd"]
    words: list[str] = []
    for rank in range(30_000):
        count = 1 + min(rank.bit_length() // 5, 2) + (chance.random() < 0.2)
        word = "".join(chance.choice(part) for _ in range(count) for part in (onsets, nuclei, codas))
        marked = chance.choice([f"{word},", f"{word}.", f"({word})", word.title(), str(chance.randint(0, 99_999))])
        words.append(marked if rank % 10 == 7 else word)
    return words
