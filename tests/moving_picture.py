"""The moving picture at the head of the README: commands that type themselves, and what they print.

    python -m tests.moving_picture    # run the commands and write attncli/docs/pictures/attn.svg

An SVG that needs no script and no network: each scene is a screen of 80 × 24, and style sheets show one after another.
`tests/test_readme.py` holds it to what the commands print.
"""

from __future__ import annotations

import html
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from tests.golden.attn import run_attn

PATH = Path(__file__).parents[1] / "attncli" / "docs" / "pictures" / "attn.svg"

#: The commands, and how many seconds what each prints stays.
SCENES = (
    ('attn heads "The cat sat on the mat because it was tired" -H 1.8', 5.0),
    ('attn heads "The cat sat on the mat because it was tired" --query it', 5.0),
    ('attn tokenize "Tokenizers cut unbelievably long words"', 4.0),
    ("attn params preset:gpt3", 5.5),
    ('attn compare mole "American shrew mole" "One mole of carbon dioxide" \\\n    "Take a biopsy of the mole"', 5.5),
)
COLUMNS, LINES = 80, 24
#: Pixels of a cell, around the screen, and of a letter.
_WIDTH, _HEIGHT, _MARGIN, _FONT = 8.4, 18, 14, 14
_TYPED = 1.4
_INK, _PAPER, _DIM = "#d8dee9", "#14161b", "#8b93a1"
_PROMPT = "$ "
#: Characters that fill a part of a cell: from the left, from the top, width and height, as shares.
_BLOCKS = {
    "▀": (0, 0, 1, 0.5),
    **{block: (0, 1 - eighths / 8, 1, eighths / 8) for eighths, block in enumerate("▁▂▃▄▅▆▇█", 1)},
    **{block: (0, 0, eighths / 8, 1) for eighths, block in enumerate("▏▎▍▌▋▊▉", 1)},
}
#: The basic colours of a terminal, which a theme decides.
_BASIC = ("#3b4252", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d8dee9")


class Cell(NamedTuple):
    """A piece of a line: its first column, its text, and its colours; None: those of the screen."""

    column: int
    text: str
    ink: str | None
    paper: str | None
    bold: bool


def picture() -> str:
    """The whole picture."""
    total = sum(_TYPED + seconds for _, seconds in SCENES)
    width, height = COLUMNS * _WIDTH + 2 * _MARGIN, LINES * _HEIGHT + 2 * _MARGIN
    scenes, rules, start = [], [], 0.0
    for number, (command, seconds) in enumerate(SCENES):
        scenes.append(_scene(number, command))
        rules.append(_rules(number, start / total, _TYPED / total, (start + _TYPED + seconds) / total))
        start += _TYPED + seconds
    style = "\n".join([_STYLE.format(total=f"{total:g}"), *rules])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img"'
        f' aria-label="attn in a terminal: {html.escape("; ".join(command for command, _ in SCENES))}">\n'
        f'<style>\n{style}\n</style>\n<rect width="100%" height="100%" rx="8" fill="{_PAPER}"/>\n'
        f'<g class="screen" font-size="{_FONT}" fill="{_INK}" transform="translate({_MARGIN} {_MARGIN})">\n'
        f"{''.join(scenes)}</g>\n</svg>\n"
    )


_STYLE = """.screen {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace }}
.screen text {{ white-space: pre }}
.scene, .out, .typed {{ animation-duration: {total}s; animation-iteration-count: infinite }}
.scene, .out {{ animation-timing-function: step-end }}
.typed {{ animation-timing-function: steps(24, end) }}
@media (prefers-reduced-motion: reduce) {{
  .scene, .out, .typed {{ animation: none !important }}
  .later {{ opacity: 0 }}
}}"""


def _rules(number: int, start: float, typed: float, end: float) -> str:
    """When a scene is there: typed letter by letter, then with what it prints."""
    at, told, gone = (f"{100 * share:.2f}%" for share in (start, start + typed, end))
    before = "" if number == 0 else "0% { opacity: 0 } "
    return (
        f"@keyframes s{number} {{ {before}{at} {{ opacity: 1 }} {gone} {{ opacity: 0 }} 100% {{ opacity: 0 }} }}\n"
        f"@keyframes o{number} {{ 0% {{ opacity: 0 }} {told} {{ opacity: 1 }} 100% {{ opacity: 1 }} }}\n"
        f"@keyframes t{number} {{ 0%, {at} {{ clip-path: inset(0 100% 0 0) }}"
        f" {told}, 100% {{ clip-path: inset(0 0 0 0) }} }}\n"
        f".s{number} {{ animation-name: s{number} }} .o{number} {{ animation-name: o{number} }}"
        f" .t{number} {{ animation-name: t{number} }}"
    )


def _scene(number: int, command: str) -> str:
    typed = [Text(line, "bold") for line in (_PROMPT + command).split("\n")]
    lines = [*typed, *_printed(command)][:LINES]
    drawn = [_line(at, line) for at, line in enumerate(lines)]
    later = "" if number == 0 else " later"
    return (
        f'<g class="scene s{number}{later}">\n<g class="typed t{number}">\n{"".join(drawn[: len(typed)])}</g>\n'
        f'<g class="out o{number}">\n{"".join(drawn[len(typed) :])}</g>\n</g>\n'
    )


def _printed(command: str) -> list[Text]:
    variables = {"COLUMNS": str(COLUMNS), "LINES": str(LINES - 1), "COLORTERM": "truecolor", "TERM": "xterm-256color"}
    kept = {name: os.environ[name] for name in ("ATTN_CACHE", "HOME", "PATH") if name in os.environ}
    outcome = run_attn(shlex.split(command.replace("\\\n", ""))[1:], variables={**kept, **variables}, terminal=True)
    assert outcome.code == 0, outcome.err
    return list(Text.from_ansi(outcome.out.decode()).split("\n"))


def _line(at: int, line: Text) -> str:
    top = at * _HEIGHT
    boxes, texts = [], []
    for cell in _cells(line):
        left, width = cell.column * _WIDTH, cell_len(cell.text) * _WIDTH
        if cell.paper is not None:
            boxes.append(_box(left, top, width, _HEIGHT, cell.paper))
        if cell.text[0] in _BLOCKS:  # drawn, as fonts leave gaps between them
            for place, block in enumerate(cell.text):
                x, y, wide, high = _BLOCKS[block]
                at_x, at_y = left + (place + x) * _WIDTH, top + y * _HEIGHT
                boxes.append(_box(at_x, at_y, wide * _WIDTH, high * _HEIGHT, cell.ink or _INK))
        elif cell.text.strip():
            ink = f' fill="{cell.ink}"' if cell.ink else ""
            bold = ' font-weight="bold"' if cell.bold else ""
            texts.append(
                f'<text x="{left:g}" y="{top + _HEIGHT * 0.75:g}" textLength="{width:g}"{ink}{bold}>'
                f"{html.escape(cell.text, quote=False)}</text>\n"
            )
    return "".join([*boxes, *texts])


def _box(left: float, top: float, width: float, height: float, color: str) -> str:
    return f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" fill="{color}"/>\n'


def _cells(line: Text) -> Iterator[Cell]:
    """The pieces of a line that have one style; blocks apart from letters."""
    styles = [_style(line, at) for at in range(len(line))]
    column, start = 0, 0
    for at in range(1, len(line) + 1):
        kinds = [(styles[each], line.plain[each] in _BLOCKS) for each in (start, at) if each < len(line)]
        if len(kinds) == 2 and kinds[0] == kinds[1]:
            continue
        text = line.plain[start:at]
        yield Cell(column, text, *_colors(styles[start]), bool(styles[start].bold))
        column, start = column + cell_len(text), at


def _style(line: Text, at: int) -> Style:
    named = (line.style, *(span.style for span in line.spans if span.start <= at < span.end))
    return sum((Style.parse(str(each)) for each in named), Style.null())


def _colors(style: Style) -> tuple[str | None, str | None]:
    ink, paper = _color(style.color), _color(style.bgcolor)
    if style.reverse:
        ink, paper = paper or _PAPER, ink or _INK
    return (_DIM if style.dim and ink is None else ink), paper


def _color(color: object) -> str | None:
    number, triplet = getattr(color, "number", None), getattr(color, "triplet", None)
    if triplet is not None:
        return str(triplet.hex)
    return None if number is None else _BASIC[number % len(_BASIC)]


if __name__ == "__main__":
    PATH.write_text(picture(), encoding="utf-8")
    print(f"wrote {PATH}, {PATH.stat().st_size:,} bytes")
