"""What the panes show, as lines of rich's segments: the views of `attn heads` with a cursor in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from attncli.browse.session import Overview
from attncli.effects import EFFECTS
from attncli.metrics import METRICS
from attncli.render.common.cells import glyphs, shorten
from attncli.render.common.console import Rows, StyledText, block_segments, row
from attncli.render.common.escape import ascii_safe, token_text
from attncli.render.common.numbers import metric_number, weight_number
from attncli.render.common.terminal import Terminal
from attncli.render.heads.effects import prediction_rows
from attncli.render.heads.head_map import Cell, head_map, value_cell
from attncli.render.heads.header import content_text, note_row, pooling_row
from attncli.render.heads.heatmap import HeatScale, SignedHeatScale
from attncli.render.heads.one_head import metrics_in, title_row
from attncli.render.heads.overview import CELL_WIDTHS, legend_row, letter_cell
from attncli.render.heads.pattern_grid import PatternGrid, fitted_grid, grid_rows, headings
from attncli.render.heads.shaded_text import ShadedToken, shaded_text
from attncli.render.views.effects import effect_maps, effect_number, share_number, vocabulary_token
from attncli.render.views.metric_map import metric_map
from attncli.render.views.metric_words import meaning
from attncli.render.views.patterns import full_scale, hidden_cells, spans_of
from attncli.render.views.sentences import Position
from attncli.results.effects import Prediction
from attncli.results.heads import HeadMetrics, HeadsResult, Stack
from attncli.results.patterns import Pattern, Span

Lines = list[list[Segment]]
Head = tuple[int, int]
#: The letters of what heads do, which are shown where neither a metric nor an effect is chosen.
LABELS = "labels"
_CURSOR = Style(reverse=True, bold=True)
#: A bin of fewer positions is opened together with its neighbours.
_LEAST_OPENED = 16


@dataclass(frozen=True)
class Shown:
    """What is on the screen.

    cursor: layer and head.  query, key: the places of the row and the column under the cursor, among the stack's.
    painted: `labels`, a metric or an effect.  effects: the result that has it.
    layer: the stack with the patterns of a layer.  part: the same cut to some positions, where a bin is open.
    opened: whether the head fills the screen.
    """

    overview: Overview
    stack: Stack
    cursor: Head
    query: int
    key: int = 0
    painted: str = LABELS
    effects: HeadsResult | None = None
    layer: Stack | None = None
    part: Stack | None = None
    opened: bool = False

    @property
    def head(self) -> HeadMetrics:
        """The head under the cursor."""
        return next(each for each in self.stack.metrics if (each.layer, each.head) == self.cursor)

    @property
    def patterned(self) -> tuple[Stack, Pattern] | None:
        """The stack with the pattern of the head under the cursor; None until there is one."""
        stack = self.part or self.layer
        found = None if stack is None else next(
            (each for each in stack.patterns if (each.layer, each.head) == self.cursor), None
        )  # fmt: skip
        return None if stack is None or found is None else (stack, found)

    @property
    def offset(self) -> tuple[int, int]:
        """The places of the first query and key of what is open, among the stack's."""
        if self.part is None:
            return 0, 0
        first = self.part.queries[0].index, self.part.keys[0].index
        sides = (self.stack.queries, self.stack.keys)
        rows, columns = (
            next(place for place, token in enumerate(side) if token.index == number)
            for side, number in zip(sides, first, strict=True)
        )
        return rows, columns


class Content(NamedTuple):
    """What a pane shows below its title. focus: the line that has to be visible.

    at: what a cell shows, by its place in a line: a head, or a query and a key.  grid: of a pattern.
    """

    title: str
    lines: Lines
    focus: int | None = None
    at: Callable[[int, int], tuple[int, int] | None] = lambda _, __: None
    grid: PatternGrid | None = None


# --- The map


def map_content(shown: Shown, terminal: Terminal) -> Content:
    """The map of all heads of a stack, with the head under the cursor in brackets."""
    cell, widths, legend, title = _painting(shown, terminal)

    def marked(head: Head, width: int) -> StyledText:
        content, style = cell(head, width)
        known = style if isinstance(style, Style) else Style.parse(style)
        if head == shown.cursor:
            content, known = _bracketed(content), _CURSOR
        return content, known + Style(meta={"head": head})

    grid = head_map(shown.stack, marked, widths, terminal)
    lines = block_segments([*grid, Text(), *legend], terminal)

    def at(x: int, y: int) -> Head | None:
        return None if y >= len(grid) else _head_at(lines[y], x)

    focus = next(number for number, line in enumerate(lines) if _holds(line, shown.cursor))
    return Content(title, lines, focus, at)


def _painting(shown: Shown, terminal: Terminal) -> tuple[Cell, Sequence[int], Rows, str]:
    """What draws a head, in which widths, the legend, and the title."""
    stack, name = shown.stack, shown.painted
    if name in METRICS:
        view = metric_map(stack, name)
        if not view.known:
            return _dots, CELL_WIDTHS, [note_row(f"nothing shows {name} in this text", terminal)], name
        heat = HeatScale(max(view.known), terminal)
        cell, widths = value_cell(view.values, heat)
        words = note_row(meaning(name, stack.key_medium), terminal)
        return cell, widths, [heat.legend(), words, note_row(view.evidence, terminal)], name
    if name in EFFECTS and shown.effects is not None:
        title = EFFECTS[name].title + _answer_words(shown.effects, terminal)
        effected = next(each for each in shown.effects.stacks if each.stack == stack.stack)
        found = next(iter(effect_maps(effected, [name])), None)
        if found is None:
            return _dots, CELL_WIDTHS, [note_row("no head of this stack has such an effect", terminal)], title
        signed = SignedHeatScale(found.largest or 1.0, terminal)
        cell, widths = value_cell(found.values, signed, small=True)
        return cell, widths, [signed.legend(), note_row(found.meaning, terminal)], title
    return letter_cell(stack, terminal), CELL_WIDTHS, [legend_row(stack, terminal)], LABELS


def _answer_words(result: HeadsResult, terminal: Terminal) -> str:
    """On which token's logit an effect is."""
    answer = None if result.effects is None else result.effects.outcome.answer
    return "" if answer is None else f" on {token_text(vocabulary_token(answer), terminal)}"


def _dots(_: Head, width: int) -> StyledText:
    return ".".center(width), "dim"


def _bracketed(content: str) -> str:
    """`[P]`, where there is room for brackets."""
    if len(content) < 3:
        return content
    inner = content[1:-1] if content[:1] + content[-1:] == "  " else content[: len(content) - 2]
    return f"[{inner}]"


def _head_at(line: Sequence[Segment], x: int) -> Head | None:
    for segment in line:
        if x < segment.cell_length:
            found: Head | None = None if segment.style is None else segment.style.meta.get("head")
            return found
        x -= segment.cell_length
    return None


def _holds(line: Sequence[Segment], head: Head) -> bool:
    return any(segment.style is not None and segment.style.meta.get("head") == head for segment in line)


# --- The head


def head_content(shown: Shown, terminal: Terminal) -> Content:
    """The head under the cursor: what it does, its pattern, and its numbers where it fills the screen."""
    head, stack = shown.head, shown.stack
    above: Rows = [title_row(head, stack, terminal), *_painted_value(shown, terminal)]
    title = ": ".join([f"head {head.name}", *([", ".join(head.labels)] if head.labels else [])])
    if shown.patterned is None:
        return Content(title, block_segments(above, terminal))
    whole, pattern = shown.patterned
    grid = fitted_grid(whole, pattern, terminal)
    heat = HeatScale(full_scale((grid.pattern,)), terminal)
    above += [pooling_row(whole, grid.pattern, terminal)]
    first = len(block_segments(above, terminal)) + len(headings(whole, grid, terminal))
    at_row, at_column = (
        _span_with(axis.spans, place - start)
        for axis, place, start in zip((grid.rows, grid.columns), (shown.query, shown.key), shown.offset, strict=True)
    )
    rows = grid_rows(whole, grid, heat)
    _mark(rows, len(headings(whole, grid, terminal)), grid, at_row, at_column if shown.opened else None)
    below: Rows = [Text(), heat.legend()]
    if shown.opened:
        below += [Text(), *metrics_in(20, head, stack, terminal)]

    def at(x: int, y: int) -> tuple[int, int] | None:
        r, c = y - first, (x - grid.margin) // grid.cell
        if not 0 <= r < len(grid.rows.spans):
            return None
        start_row, start_column = shown.offset
        c = min(max(c, 0), len(grid.columns.spans) - 1)
        return start_row + grid.rows.spans[r][0], start_column + grid.columns.spans[c][0]

    return Content(title, block_segments([*above, *rows, *below], terminal), first + at_row, at, grid)


def _painted_value(shown: Shown, terminal: Terminal) -> Rows:
    """The number of this head on the map, if it shows numbers."""
    name, head = shown.painted, shown.head
    if name in METRICS:
        even = shown.stack.baselines.get(head.layer, {}).get(name)
        value = metric_number(head.values.get(name), terminal)
        return [row((f"{name} ", ""), (value, "bold"), (f"  uniform {metric_number(even, terminal)}", "dim"))]
    if name in EFFECTS and shown.effects is not None:
        stack = next(each for each in shown.effects.stacks if each.stack == shown.stack.stack)
        effect = next((each for each in stack.effects if (each.layer, each.head) == shown.cursor), None)
        effected = None if effect is None else effect.values.get(name)
        number = effect_number(effected, effected or 0.0) or glyphs(terminal).dot
        return [row((f"{EFFECTS[name].title} ", ""), (number, "bold"))]
    return []


def _span_with(spans: Sequence[Span], place: int) -> int:
    """The span that has the place, or the nearest one."""
    return next((number for number, (_, end) in enumerate(spans) if place < end), len(spans) - 1)


def _mark(rows: Rows, first: int, grid: PatternGrid, at_row: int, at_column: int | None) -> None:
    """Mark the row under the cursor at its label, and the cell."""
    line = rows[first + at_row]
    assert isinstance(line, Text)
    line.stylize(_CURSOR, 0, max(grid.margin - 1, 1))
    if at_column is not None:
        # Characters may take two cells: the row ends with one character for each cell.
        start = len(line.plain) - grid.cell * (len(grid.columns.spans) - at_column)
        line.stylize(Style(reverse=True, bold=True, underline=True), start, start + grid.cell)


def opened_span(spans: Sequence[Span], number: int, length: int) -> Span:
    """The positions that opening a bin shows: its own, and neighbours of a small one."""
    start, end = spans[number]
    spare = max(_LEAST_OPENED - (end - start), 0)
    start = max(min(start - spare // 2, length - _LEAST_OPENED), 0)
    return start, min(max(end, start + _LEAST_OPENED), length)


# --- The text


def text_content(shown: Shown, terminal: Terminal) -> Content:
    """The text shaded by the weights of the row under the cursor, or the bins that it reads most."""
    if shown.patterned is None:
        return Content("text", [])
    stack, pattern = shown.patterned
    number = _span_with(spans_of(pattern).rows, shown.query - shown.offset[0])
    start, end = spans_of(pattern).rows[number]
    weights = pattern.weights[number].tolist()
    seen = [not hidden for hidden in hidden_cells(stack, pattern)[number].tolist()]
    heat = HeatScale(max(weights, default=0.0), terminal)
    if pattern.bins is not None or stack.key_medium.kind != "tokens":
        title = f"what {_span_words(stack, (start, end), terminal)}"
        return Content(title, block_segments(_largest_bins(stack, pattern, weights, terminal), terminal))
    tokens = [
        ShadedToken(token, weight if visible else None, is_query=token.index == stack.queries[start].index)
        for token, weight, visible in zip(stack.keys, weights, seen, strict=True)
    ]
    blocks = list(shaded_text(tokens, heat, ""))
    plain = 1 if heat.colored else 2
    pointed = next((place for place, block in enumerate(blocks) if len(block) > plain), 0)
    rows: Rows = [each for block in blocks for each in block]
    title = f"what {content_text(Position(stack.queries[start]), terminal)} looks at"
    return Content(title, block_segments(rows, terminal), sum(map(len, blocks[:pointed])))


def _span_words(stack: Stack, span: Span, terminal: Terminal) -> str:
    first, last = stack.queries[span[0]], stack.queries[span[1] - 1]
    if span[1] - span[0] == 1:
        return f"{content_text(Position(first), terminal)} looks at"
    return ascii_safe(f"tokens {first.index}–{last.index} look at", terminal)


def _largest_bins(stack: Stack, pattern: Pattern, weights: Sequence[float], terminal: Terminal) -> Rows:
    """The columns of a row by their weights, with the beginning of their text."""
    ranked = sorted(range(len(weights)), key=lambda place: -weights[place])[:20]
    rows: Rows = []
    for place in ranked:
        start, end = spans_of(pattern).columns[place]
        numbers = dict.fromkeys((stack.keys[start].index, stack.keys[end - 1].index))
        where = "–".join(map(str, numbers))
        words = " ".join(token_text(token, terminal) for token in stack.keys[start : min(end, start + 12)])
        rows.append(
            row(
                (f"{ascii_safe(where, terminal):>11} ", "dim"),
                (weight_number(weights[place]), "bold"),
                f"  {shorten(words, max(terminal.width - 20, 4), glyphs(terminal).cut)}",
            )
        )
    return rows


# --- The prediction


def prediction_content(shown: Shown, terminal: Terminal) -> Content:
    """What the model expects, or why it predicts nothing."""
    title, overview = "prediction", shown.overview
    if overview.result.prediction is None:
        error = overview.no_prediction
        why = "the file has no prediction" if error is None else error.message.replace("--predict", "a prediction", 1)
        return Content(title, block_segments([note_row(ascii_safe(why, terminal), terminal)], terminal))
    states = max(terminal.height - 5, 0)
    rows = prediction_rows(overview.result, overview.result.prediction, terminal, states=states)
    return Content(title, block_segments(rows, terminal))


def ablation_rows(name: str, before: Prediction, after: Prediction, terminal: Terminal) -> Rows:
    """The likeliest tokens of both, with their probabilities before and after."""
    changed = {token.id: token for token in after.tokens}
    kept = {token.id: token for token in before.tokens}
    answer = after.lens[-1].answer if after.lens else None
    rows: Rows = [row(("with it".rjust(9), "dim"), (f"   without {name}", "dim"))]
    for number, token in {**kept, **changed}.items():
        old, new = kept.get(number), changed.get(number)
        probability = new.probability if new is not None else None
        if probability is None and answer is not None and answer.id == number:
            probability = answer.probability
        shares = [
            glyphs(terminal).dot if each is None else ascii_safe(share_number(each), terminal)
            for each in (None if old is None else old.probability, probability)
        ]
        arrow = "→" if terminal.unicode else "->"
        rows.append(row(f"{shares[0]:>8} {arrow} ", (f"{shares[1]:>7}", "bold"),
                        f"  {token_text(vocabulary_token(token), terminal)}"))  # fmt: skip
    note = f"{glyphs(terminal).dot}: not among the {len(before.tokens)} likeliest"
    return [*rows, Text(), note_row(note, terminal)]


def with_stack(shown: Shown, stack: Stack) -> Shown:
    """Another stack, with the cursor on a head that it has and the row at its last ordinary token."""
    heads = [(each.layer, each.head) for each in stack.metrics]
    cursor = shown.cursor if shown.cursor in heads else heads[0]
    return replace(shown, stack=stack, cursor=cursor, query=last_ordinary(stack), key=0, layer=None, part=None)


def last_ordinary(stack: Stack) -> int:
    """The place of the last query that is no special token."""
    ordinary = [place for place, token in enumerate(stack.queries) if not token.special]
    return ordinary[-1] if ordinary else max(len(stack.queries) - 1, 0)


def absolute_spans(spans: Sequence[Span], first: int, place: int) -> tuple[list[tuple[int, int]], int]:
    """Spans among all positions, and the number of the one that has the place."""
    whole = [(first + start, first + end) for start, end in spans]
    return whole, next((number for number, (_, end) in enumerate(whole) if place < end), len(whole) - 1)


def view_options(shown: Shown) -> list[str]:
    """The options that choose what is shown."""
    if shown.opened:
        options = ["-H", shown.head.name]
        if shown.part is not None:
            sides = (("--query", shown.part.queries), ("--key", shown.part.keys))
            options += [word for flag, side in sides for word in (flag, f"{side[0].index}:{side[-1].index + 1}")]
        return options
    if shown.painted in EFFECTS:
        return ["--effect", shown.painted]
    return [] if shown.painted == LABELS else ["--metric", shown.painted]
