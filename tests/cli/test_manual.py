"""Manual pages and the command reference: every option is in them, and roff takes them as they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from attncli.cli.command import attn
from attncli.cli.manual import manual_page, pages, reference, write_pages
from attncli.errors import ExitCode
from attncli.verbs import VERBS

PAGES = {page.name: page for page in pages()}


def options(verb: str) -> set[str]:
    command = attn.get_command(click.Context(attn), verb)
    assert command is not None
    return {name for option in command.params if isinstance(option, click.Option) for name in option.opts}


def test_there_is_a_page_for_attn_and_each_verb() -> None:
    assert list(PAGES) == ["attn", *(f"attn {verb}" for verb in VERBS)]


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_in_the_page_and_in_the_reference(verb: str) -> None:
    page = PAGES[f"attn {verb}"]
    roff, markdown = manual_page(page).replace(r"\-", "-"), reference((page,))
    for name in options(verb):
        assert re.search(rf"{name}\b", roff) and re.search(rf"{name}\b", markdown)
    assert all(example in markdown for example in page.examples) and page.examples


def test_every_exit_code_is_in_the_page_the_reference_and_the_readme() -> None:
    page, readme = PAGES["attn"], (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    roff, markdown = manual_page(page).replace(r"\-", "-"), reference((page,))
    for code in ExitCode:
        assert code.meaning in roff and code.meaning in markdown
        assert re.search(rf"^\| {int(code)} \|", readme, re.MULTILINE)


def test_marks_of_roff_stay_text() -> None:
    page = PAGES["attn"]._replace(text=r".SH no heading \fB", examples=("'quoted -x",))
    assert "\n\\&.SH no heading \\efB\n" in manual_page(page) and "\n\\&'quoted \\-x\n" in manual_page(page)


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff here")
def test_groff_has_nothing_to_complain_of(tmp_path: Path) -> None:
    manuals = [path for path in write_pages(tmp_path) if path.suffix == ".1"]
    command = ["groff", "-man", "-Tutf8", "-ww", "-Kutf8", "-rLL=80n", *map(str, manuals)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == "" and "--norm-weighted" in re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)
