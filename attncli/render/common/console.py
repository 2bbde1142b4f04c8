"""Writes rich's values as one string: the text views of verbs that run a model, for which rich's import takes no time.

A view of a terminal is made of blocks, each a list of rows, and `render_blocks` writes them:

- `text(content, style)` is escaped text (see `escape`) as rich's `Text`, and `row((name, "bold"), "  ", …)` a row of
  several. A row is never wrapped; if it is wider than the terminal it is cropped with an ellipsis.
- `Flow(parts, separator)` puts as many parts on a line as fit, and `sentence(content)` wraps between words.
- `Beside(left, right)` has two blocks side by side if they fit, `side_by_side` rows of pictures as columns.
- `Table.grid(padding=(0, 2, 0, 0))` aligns columns, as wide as their cells; like a row it is cropped and not wrapped.
  `add_column(justify="right")` or `"left"` fills cells with spaces in the style of the cell's `Text`.
- Rich's `Columns`, `Padding` and `Segment`s work too. Width and encoding are in `ConsoleOptions`.
- A style is a word of rich's (`"bold"`, `"dim"`), or `rgb_style(fg, bg)` for colours of `colormap`. Its colours are
  reduced to those that the terminal has.

Nothing else is interpreted: no markup, emoji codes or highlighting. What a view says, its sentences and numbers, is in
`render/views`, in Unicode; `ascii_safe` makes ASCII of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from io import StringIO
from itertools import groupby, pairwise, zip_longest
from operator import itemgetter

from rich.color import Color, ColorSystem
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Span, Text

from attncli.render.common.cells import cell_width, crop, is_spacing_mark
from attncli.render.common.terminal import ColorDepth, Rgb, Terminal

_COLOR_SYSTEMS = {
    ColorDepth.ANSI: ColorSystem.STANDARD,
    ColorDepth.EIGHT_BIT: ColorSystem.EIGHT_BIT,
    ColorDepth.TRUE: ColorSystem.TRUECOLOR,
}
#: Stands for the cell of a spacing mark (as in का), which rich counts as none. Escaped text has no private characters.
_SPACING_MARK_CELL = "\ue000"
#: What is replaced when a line is written. Escaped text has no control characters; this holds for any text.
_REPLACED = {ord(_SPACING_MARK_CELL): "", **{code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}}
#: In ASCII also the ellipsis of rich.
_REPLACED_ASCII = {**_REPLACED, ord("…"): "~"}
#: Cells between blocks side by side.
BESIDE_GAP = 4
#: Wider than any row or table, which rich would crop in its own way.
_UNLIMITED = 1_000_000
_PLAIN = Style.null()
Run = tuple[str, Style]
StyledText = tuple[str, str | Style]
#: A part of a row.
Part = str | StyledText | Text
#: Rows under one another.
Block = Sequence[RenderableType]
Rows = list[RenderableType]


def text(content: str, style: str | Style = "") -> Text:
    """Escaped text, with as many cells for rich as it takes in a terminal."""
    return Text(_with_cells(content), style)


def row(*parts: Part) -> Text:
    """Escaped texts after one another; the spans of a `Text`, too, since heatmaps have many."""
    contents: list[str] = []
    spans: list[Span] = []
    place = 0
    for part in parts:
        if isinstance(part, Text):
            content, style, inner = part.plain, part.style, part.spans
        else:
            content, style = (part, "") if isinstance(part, str) else part
            content, inner = _with_cells(content), []
        if style and content:
            spans.append(Span(place, place + len(content), style))
        spans += [Span(place + start, place + end, each) for start, end, each in inner]
        contents.append(content)
        place += len(content)
    return Text("".join(contents), spans=spans)


@lru_cache(maxsize=4096)
def _with_cells(content: str) -> str:
    return content if content.isascii() else "".join(c + _SPACING_MARK_CELL * is_spacing_mark(c) for c in content)


@lru_cache(maxsize=8192)
def rgb_style(fg: Rgb | None = None, bg: Rgb | None = None) -> Style:
    """24-bit colours as a style."""
    return Style(color=fg and Color.from_rgb(*fg), bgcolor=bg and Color.from_rgb(*bg))


class Flow:
    """Parts in lines, a part never split; lines after the first are indented. style: of parts and separators."""

    def __init__(self, parts: Iterable[Text], separator: str, *, indent: int = 0, style: str = "") -> None:
        self.parts, self.separator, self.indent, self.style = tuple(parts), separator, indent, style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.rows(options.max_width)

    def rows(self, width: int) -> Iterator[Text]:
        """The lines of at most `width` cells; none without parts."""
        line = Text(style=self.style)
        for index, part in enumerate(self.parts):
            if index and line.cell_len + len(self.separator) + part.cell_len <= width:
                line.append(self.separator)
            elif index:
                yield line
                line = Text(" " * self.indent, self.style)
            line.append_text(part)
        if self.parts:
            yield line


def sentence(content: str, *, indent: int = 0, style: str = "") -> Flow:
    """Escaped text wrapped between words."""
    return Flow(map(text, content.split()), " ", indent=indent, style=style)


def column_table(columns: Iterable[tuple[str, JustifyMethod, Sequence[Part]]]) -> Table:
    """Columns two cells apart, each a heading, a justification and its cells."""
    table = Table.grid(padding=(0, 2, 0, 0))
    headings, justified, cells = zip(*columns, strict=True)
    for justify in justified:
        table.add_column(justify=justify)
    for each in ([(heading, "dim") for heading in headings], *zip(*cells, strict=True)):
        table.add_row(*map(row, each))
    return table


class Beside:
    """Two blocks side by side where there is room for both, else under one another with other rows between."""

    def __init__(self, left: Block, right: Block, between: Block = ("",)) -> None:
        self.left, self.right, self.between = left, right, between

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        left, between, right = (_block_lines(it, console, options) for it in (self.left, self.between, self.right))
        column, width = (max(map(Segment.get_line_length, lines), default=0) for lines in (left, right))
        if column + BESIDE_GAP + width > options.max_width:
            left, right = [*left, *between, *right], []
        for line, other in zip_longest(left, right, fillvalue=list[Segment]()):
            fill = column + BESIDE_GAP - Segment.get_line_length(line) if other else 0
            yield from (*line, Segment(" " * fill), *other, Segment.line())


def side_by_side(blocks: Iterable[Sequence[Text]], *, width: int, gap: int) -> list[Text]:
    """Blocks of rows as columns of `width` cells each, `gap` cells apart."""
    lines: Iterable[tuple[Text, ...]] = zip_longest(*blocks, fillvalue=Text())
    parts: Iterable[list[Part]] = (
        [part for each in line for part in (each, " " * (width + gap - each.cell_len))] for line in lines
    )
    return [row(*line) for line in parts]


def separate_blocks(blocks: Iterable[Block]) -> list[RenderableType]:
    """Blocks under one another, a blank line between two; empty blocks are left out."""
    filled = [block for block in blocks if block]
    return [each for index, block in enumerate(filled) for each in ([Text(), *block] if index else block)]


def count_lines(rows: Block, terminal: Terminal) -> int:
    """How many lines rows take on a terminal."""
    return render_blocks([rows], terminal._replace(color=ColorDepth.NONE)).count("\n") if rows else 0


def first_to_fit(variants: Iterable[Rows], terminal: Terminal, room: int) -> Rows:
    """The first of these rows that take at most `room` lines, else the last; with `full` the first of all."""
    rows: Rows = []
    for rows in variants:
        if terminal.full or count_lines(rows, terminal) <= room:
            break
    return rows


def render_blocks(blocks: Iterable[Block], terminal: Terminal) -> str:
    """Blocks of rows under one another, a blank line between two; empty blocks are left out.

    No line is wider than the terminal or ends in spaces, and each resets its style. The terminal's width and colours
    alone decide, not the process's variables or streams.
    """
    return "".join(f"{_line_text(line, terminal)}\n" for line in block_segments(separate_blocks(blocks), terminal))


def block_segments(block: Block, terminal: Terminal) -> list[list[Segment]]:
    """The lines of rows as rich's segments, for a screen that is drawn cell by cell; a line may be too wide."""
    console = Console(
        width=terminal.width, height=25, file=StringIO(), color_system=None, force_terminal=False, force_jupyter=False,
        force_interactive=False, legacy_windows=False, markup=False, emoji=False, highlight=False, _environ={},
    )  # fmt: skip
    options = console.options.update(no_wrap=True, overflow="ignore")
    options.encoding = "utf-8" if terminal.unicode else "ascii"
    return _block_lines(block, console, options)


def safe_text(content: str, terminal: Terminal) -> str:
    """The text of a segment as a terminal may get it: no control characters."""
    return content.translate(_REPLACED if terminal.unicode else _REPLACED_ASCII)


def _block_lines(block: Block, console: Console, options: ConsoleOptions) -> list[list[Segment]]:
    """The lines of rows, of which texts and tables are as wide as they are."""
    wide = options.update(width=_UNLIMITED)
    lines: list[list[Segment]] = []
    for each in block:
        if isinstance(each, Text) and not each.style and all(a.end <= b.start for a, b in pairwise(each.spans)):
            lines.append(list(_row_segments(each, console)))
        else:
            segments = console.render(each, wide if isinstance(each, Table | Text) else options)
            lines += Segment.split_lines(segments)
    return lines


def _row_segments(each: Text, console: Console) -> Iterator[Segment]:
    """What rich makes of a row whose styles don't overlap, in a tenth of the time: heatmaps have many cells."""
    plain, place = each.plain, 0
    for start, end, style in each.spans:
        if start > place:
            yield Segment(plain[place:start])
        yield Segment(plain[start:end], style if isinstance(style, Style) else console.get_style(style))
        place = end
    yield Segment(plain[place:])


def _line_text(line: Iterable[Segment], terminal: Terminal) -> str:
    """A line in the terminal's width, with its escape sequences, all reset before it ends."""
    parts = ((part.text, part.style or _PLAIN) for part in line if part.text and not part.control)
    runs = [
        (safe_text("".join(content for content, _ in same), terminal), style)
        for style, same in groupby(parts, itemgetter(1))
    ]
    while runs and (terminal.color is ColorDepth.NONE or not (runs[-1][1].bgcolor or runs[-1][1].underline)):
        content, style = runs.pop()
        if content := content.rstrip(" "):
            runs.append((content, style))
            break
    runs = _cropped(runs, terminal)
    if terminal.color is ColorDepth.NONE:
        return "".join(content for content, _ in runs)
    system = _COLOR_SYSTEMS[terminal.color]
    return "".join(_in_colors(style, system).render(content, color_system=system) for content, style in runs)


def _cropped(runs: list[Run], terminal: Terminal) -> list[Run]:
    if cell_width("".join(content for content, _ in runs)) <= terminal.width:
        return runs
    return [*_first_cells(runs, terminal.width - 1), ("…" if terminal.unicode else "~", _PLAIN)]


def _first_cells(runs: Iterable[Run], room: int) -> Iterator[Run]:
    for content, style in runs:
        short = crop(content, room)
        yield short, style
        room -= cell_width(short)
        if short != content:
            return


@lru_cache(maxsize=8192)
def _in_colors(style: Style, system: ColorSystem) -> Style:
    """The style in a system's colours. Without this, a style keeps the codes of the first system it is written in."""
    color, background = (each and each.downgrade(system) for each in (style.color, style.bgcolor))
    return style.without_color + Style(color=color, bgcolor=background)
