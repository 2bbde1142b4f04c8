"""README and manual: their commands print what they show, their Python runs, their links and options exist."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from pathlib import Path

import click
import pytest

from attncli.cli.command import VARIABLES
from attncli.cli.command import attn as command
from attncli.errors import ExitCode
from attncli.metrics import LABELS, METRICS
from attncli.verbs import VERBS
from tests import moving_picture, readme
from tests.readme import PAGES, ROOT, Block, Example, all_blocks, blocks, difference, offer_decoder, printed, updated

README = ROOT / "README.md"
DOCS = ROOT / "attncli" / "docs"
EXAMPLES = [(block, example) for block in all_blocks("console") for example in block.examples]


@pytest.fixture(autouse=True)
def decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    if folder := offer_decoder():
        monkeypatch.syspath_prepend(folder)


def skip_without(block: Block) -> None:
    if block.missing:
        pytest.skip(f"{block.place} needs {', '.join(block.missing)}")


@pytest.mark.parametrize(
    ("block", "example"), EXAMPLES, ids=[f"{each.page.name}: {each.command}" for _, each in EXAMPLES]
)
def test_a_command_prints_what_the_manual_shows(block: Block, example: Example) -> None:
    skip_without(block)
    assert difference(example, printed(example)) == ""


def test_the_moving_picture_shows_what_the_commands_print() -> None:
    # Without the shades, which the last digit of a number may change on another processor.
    shown, current = (
        re.sub(r'fill="#\w+"', "", svg) for svg in (moving_picture.PATH.read_text("utf-8"), moving_picture.picture())
    )
    assert shown == current, "python -m tests.moving_picture draws it anew"


def ran(code: list[Block]) -> dict[str, object]:
    """What blocks of Python define, from top to bottom, as in a notebook."""
    scope: dict[str, object] = {}
    for block in code:
        # The lines of a traceback are those of the page.
        exec(compile("\n" * (block.line - 1) + block.code, block.page, "exec"), scope)
    return scope


@pytest.mark.parametrize("block", all_blocks("python"), ids=lambda block: block.place)
def test_python_that_the_manual_shows_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block by itself, as somebody who copies one would."""
    skip_without(block)
    monkeypatch.chdir(tmp_path)
    ran([block])


def test_python_gives_what_the_page_on_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope = ran([block for block in blocks(DOCS / "python.md") if block.language == "python" and not block.needs])
    assert scope["weights"].shape == (8, 8)
    assert scope["total"] == 124_439_808
    assert scope["ids"] == [101, 2202, 1037, 16012, 18075, 1997, 1996, 16709, 102]
    # Of six tokens, three repeat: all eight heads have a number for what followed earlier copies.
    assert list(scope["induction"]) == [f"{layer}.{head}" for layer in range(2) for head in range(4)]
    assert None not in scope["induction"].values()
    assert len(scope["per_layer"]) == 2


def test_every_verb_has_an_example_in_the_readme_and_a_page() -> None:
    verbs = {example.words[1] for block, example in EXAMPLES if block.page == README}
    assert verbs == set(VERBS)
    assert {f"{verb}.md" for verb in VERBS} <= {page.name for page in PAGES}


def test_the_readme_is_a_front_page() -> None:
    lines = README.read_text("utf-8").splitlines()
    assert len(lines) <= 320
    linked = {name for line in lines for name in re.findall(r"\]\(attncli/docs/(\w+\.md)", line)}
    assert linked == {page.name for page in DOCS.glob("*.md")}


# What the registries know


def test_the_page_on_heads_has_every_metric_and_label() -> None:
    page = (DOCS / "heads.md").read_text("utf-8")
    assert [name for name in METRICS if f"`{name}`" not in page] == []
    rows = [f"`{name}` above {label.threshold} |" for name, label in LABELS.items()]
    assert [row for row in rows if row not in page] == []
    # The most telling first, as on the map.
    assert sorted(rows, key=page.index) == rows
    assert [
        name for name, each in LABELS.items() if not re.search(rf"^\| `{each.letter}` .*`{name}`", page, re.M)
    ] == []


def test_the_variables_and_exit_codes_are_in_their_pages() -> None:
    offline, programs = ((DOCS / name).read_text("utf-8") for name in ("offline.md", "programs.md"))
    names = [name for row in VARIABLES for name in row.split(", ")]
    assert [name for name in names if f"`{name}`" not in offline] == []
    rows = programs[programs.index("| exit code") :]
    assert [code for code in ExitCode if not re.search(rf"^\| .*\b{int(code)}\b.* \|", rows, re.M)] == []


# Links


def _targets(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings: lower case, no punctuation, a dash for a space."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_exists(page: Path) -> None:
    for link in _targets(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link
        # The manual comes with the wheel, and nothing of the checkout around the package does.
        assert page == README or target.is_relative_to(DOCS), link


# Commands that are only named


def _named_commands(page: Path) -> list[list[str]]:
    """The words of indented lines that call `attn`, from the verb up to a pipe, a redirection or another command."""
    lines = re.findall(r"^    (?:[A-Z_]+=\S+ )*(?:.* && )?attn (.*)$", page.read_text("utf-8"), re.MULTILINE)
    words = (shlex.split(line, comments=True) for line in lines)
    return [list(takewhile(lambda word: word not in {"|", ">", "&&"}, each)) for each in words]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_only_named_have_options_that_exist(page: Path) -> None:
    for verb, *words in _named_commands(page):
        found = command.get_command(click.Context(command), verb) if verb in VERBS else command
        assert found is not None
        # Raises click.UsageError for an option that there isn't, or one whose value is missing.
        found.make_parser(click.Context(found)).parse_args(words if verb in VERBS else [verb, *words])


def _options() -> set[str]:
    commands = [command, *(command.get_command(click.Context(command), verb) for verb in VERBS)]
    return {name for each in commands if each is not None for option in each.params for name in option.opts} | {
        "--version",
        "--help",
    }


#: Options of pip, pytest and torchrun.
OF_OTHERS = {"--no-deps", "--hypothesis-profile", "--nproc-per-node", "--update", "--index-url"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_a_page_names_exist(page: Path) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text("utf-8")))
    assert named - OF_OTHERS - _options() == set()


# The check itself


def _page(folder: Path, output: str) -> Path:
    page = folder / "page.md"
    page.write_text(f"# A page\n\n```console\n$ attn tokenize x --ids\n{output}```\n", "utf-8")
    return page


def test_a_difference_is_named_with_its_file_and_line(tmp_path: Path) -> None:
    page = _page(tmp_path, "1 2\n3 4.50\n")
    (block,) = blocks(page)
    (example,) = block.examples
    assert (block.line, example.line, example.words) == (4, 4, ["attn", "tokenize", "x", "--ids"])
    assert difference(example, "1 2\n3 4.51\n") == ""
    assert difference(example, "1 2\n3 4.60\n").startswith(f"{page}:6: attn tokenize x --ids\n")
    assert "nothing more" in difference(example, "1 2\n")
    assert difference(example, "1 2\n3 4.50\n5\n").startswith(f"{page}:7: ")


def test_update_writes_what_the_commands_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = _page(tmp_path, "old\nlines\n")
    two = page.read_text("utf-8").replace("```\n", "$ attn params y\nold\n```\n")
    page.write_text(f"{two}\n```console needs nobody-has-this\n$ attn heads z\nkept\n```\n", "utf-8")
    monkeypatch.setattr(readme, "PAGES", (page,))
    monkeypatch.setattr(readme, "printed", lambda example: f"new of {example.words[1]}\n")
    readme.main(["--update"])
    shown = [(example.command, example.output) for block in blocks(page) for example in block.examples]
    assert shown == [
        ("attn tokenize x --ids", "new of tokenize\n"),
        ("attn params y", "new of params\n"),
        ("attn heads z", "kept\n"),
    ]
    readme.main([])
    monkeypatch.setattr(readme, "printed", lambda example: "other\n")
    with pytest.raises(SystemExit, match=f"{page}:5: "):
        readme.main([])


def test_updated_is_what_the_page_would_hold(tmp_path: Path) -> None:
    (block,) = blocks(_page(tmp_path, "old\n"))
    assert updated(block, lambda example: "new\n") == "$ attn tokenize x --ids\nnew\n"
