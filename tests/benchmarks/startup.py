"""What a user waits for before anything is computed."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

from attncli.models.files.model_files import open_files
from attncli.models.files.reference import DEFAULT_MODEL, parse_reference
from tests.benchmarks.processes import Ratio, compare

BARE_TOKENIZERS = """
from tokenizers import Tokenizer
print(*Tokenizer.from_file({path!r}).encode("Hello world").ids)
"""


def attn() -> str:
    """The command as installed beside this Python."""
    found = shutil.which("attn", path=sysconfig.get_path("scripts")) or shutil.which("attn")
    if found is None:
        raise SystemExit("the command attn isn't installed: pip install -e '.[offline,test]'")
    return found


def run(runs: int) -> list[Ratio]:
    path = open_files(parse_reference(DEFAULT_MODEL)).require("tokenizer.json")
    bare = BARE_TOKENIZERS.format(path=str(Path(path)))
    return [
        compare(
            "attn --help",
            [attn(), "--help"],
            'python -c "import click"',
            [sys.executable, "-c", "import click"],
            aim=2,
            runs=runs,
        ),
        compare(
            'attn tokenize "Hello world", piped',
            [attn(), "tokenize", "Hello world"],
            "a bare tokenizers script",
            [sys.executable, "-c", bare],
            aim=1.7,
            runs=runs,
        ),
    ]
