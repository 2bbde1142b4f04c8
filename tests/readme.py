"""The README's console blocks: `python -m tests.readme` runs their commands and writes what they print below them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"

_BLOCK = re.compile(r"(```console\n)(.*?)(```)", re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A command after a `$`, and the lines that the README shows below it."""

    command: str
    output: str

    @property
    def words(self) -> list[str]:
        """Of the command, up to a pipe."""
        return _piped(self.command)[0]

    @property
    def filter(self) -> list[str]:
        """The words behind the pipe; none where there is no pipe."""
        return _piped(self.command)[1]


def _piped(command: str) -> tuple[list[str], list[str]]:
    reader = shlex.shlex(command, posix=True, punctuation_chars="|")
    reader.whitespace_split = True
    reader.commenters = ""
    words = list(reader)
    place = words.index("|") if "|" in words else len(words)
    return words[:place], words[place + 1 :]


def examples(block: str) -> Iterator[Example]:
    """The commands of one console block."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield Example(command, output)


def all_examples() -> list[Example]:
    return [example for match in _BLOCK.finditer(README.read_text("utf-8")) for example in examples(match[2])]


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


def run(command: str) -> str:
    """What `attn … [| filter]` prints at 80 columns without colour. Raises CalledProcessError where it fails."""
    example = Example(command, "")
    name, *arguments = example.words
    assert name == "attn", f"the README's examples run attn, not {name}"
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    environment.pop("ATTN_MODEL", None)
    done = subprocess.run(
        [sys.executable, "-m", "attncli", *arguments],
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd=README.parent,
        env=environment,
        encoding="utf-8",
    )
    return filtered(done.stdout, example.filter)


def filtered(output: str, command: list[str]) -> str:
    """What the command makes of the output; without one, the output."""
    if not command:
        return output
    return subprocess.run(command, input=output, check=True, capture_output=True, encoding="utf-8").stdout


def main() -> None:
    def filled(match: re.Match[str]) -> str:
        shown = "".join(f"$ {example.command}\n{run(example.command)}" for example in examples(match[2]))
        return f"{match[1]}{shown}{match[3]}"

    README.write_text(_BLOCK.sub(filled, README.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
