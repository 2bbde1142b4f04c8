"""The app behind `attn heads --browse`: keys change what is shown, and what needs the model runs in another thread.

Until its result is there, the old picture stays. Errors are two lines at the bottom.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NamedTuple, TextIO

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Static

from attncli.browse.keys import CSS, KEYS, MapScreen
from attncli.browse.panes import (
    LABELS,
    Content,
    Shown,
    ablation_rows,
    absolute_spans,
    head_content,
    last_ordinary,
    map_content,
    opened_span,
    prediction_content,
    text_content,
    view_options,
    with_stack,
)
from attncli.browse.session import Overview, Session
from attncli.browse.thread_work import Outside, ReadingApp
from attncli.browse.widgets import Asking, Choosing, Pane, Reading
from attncli.effects import EFFECTS
from attncli.errors import UsageError
from attncli.metrics import METRICS
from attncli.progress import Progress
from attncli.render.common.cells import glyphs
from attncli.render.common.console import Rows, row
from attncli.render.common.escape import ascii_safe, name_text, printable
from attncli.render.common.terminal import Terminal
from attncli.render.heads.header import note_row
from attncli.render.heads.steps_walk import steps_rows
from attncli.render.views.effects import effect_number
from attncli.render.views.header import stack_facts
from attncli.render.views.metric_words import meaning
from attncli.results.effects import Prediction
from attncli.results.heads import HeadsResult, Stack


class Start(NamedTuple):
    """What is shown first, where the command says it. head: as typed."""

    stack: str | None = None
    head: str | None = None
    layer: int | None = None
    painted: str | None = None


class BrowseApp(ReadingApp):
    """Shows a session until the user leaves. Returns the signal that ended it, or None."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "interrupt", show=False, priority=True)]
    CSS = CSS

    def __init__(self, session: Session, terminal: Terminal, outside: Outside, start: Start, **options: Any):
        super().__init__(terminal, outside, **options)
        self.session, self.start = session, start
        self.theme = "ansi-dark"
        self.shown: Shown | None = None
        self._layers: dict[tuple[str, int], Stack] = {}
        self._effects: dict[str, HeadsResult] = {}
        self._asked_layer: tuple[str, int] | None = None

    # --- Starting and ending

    def get_default_screen(self) -> Screen[None]:
        """The panes."""
        return MapScreen(self.terminal)

    def on_mount(self) -> None:
        """End in order after a signal, and open the text once the panes are there."""
        loop = asyncio.get_running_loop()
        for number in self.outside.signals:
            loop.add_signal_handler(number, partial(self.exit, number))
        self.call_after_refresh(
            self._read, "opening the model", lambda progress: self.session.open(None, progress), self._open
        )

    def action_interrupt(self) -> None:
        """Ctrl-C."""
        self.exit(int(signal.SIGINT))

    @property
    def is_open(self) -> bool:
        """Whether the first text is there."""
        return self.shown is not None

    # --- What is shown

    def _open(self, overview: Overview) -> None:
        """Show the map of a text."""
        stacks = [stack for stack in overview.result.stacks if stack.metrics]
        if not stacks:
            self.failure = UsageError("the model has no attention heads to browse", hint="name another model (-m)")
            self.exit()
            return
        self._layers, self._effects, self._asked_layer = {}, {}, None
        before = self.shown
        name = self.start.stack if before is None else before.stack.stack
        stack = next((each for each in stacks if each.stack == name), stacks[0])
        first = (stack.metrics[0].layer, stack.metrics[0].head)
        cursor = self._first_cursor(stack) if before is None else before.cursor
        shown = Shown(overview, stack, first, last_ordinary(stack))
        if cursor in [(each.layer, each.head) for each in stack.metrics]:
            shown = replace(shown, cursor=cursor)
        painted = (self.start.painted or LABELS) if before is None else before.painted
        if painted not in EFFECTS:
            shown = replace(shown, painted=painted)
        if before is not None:
            shown = replace(shown, opened=before.opened)
        self._set(shown)
        if painted in EFFECTS:
            self._paint(painted)
        if overview.result.warnings:
            self.say(f"warning: {printable(overview.result.warnings[0])}")

    def _first_cursor(self, stack: Stack) -> tuple[int, int]:
        """The head that the command names, or the first of its layer, else the first that has a label."""
        start = self.start
        heads = [(each.layer, each.head) for each in stack.metrics]
        named = [(each.layer, each.head) for each in stack.metrics if each.name == start.head]
        layer = [] if start.layer is None else [place for place in heads if place[0] == start.layer % len(stack.layers)]
        labelled = [(each.layer, each.head) for each in stack.metrics if each.labels]
        return next(iter((*named, *layer, *labelled, *heads)))

    def _set(self, shown: Shown) -> None:
        """Show something else; the patterns of a new layer are read."""
        place = shown.stack.stack, shown.cursor[0]
        known = self._layers.get(place)
        if shown.layer is not known and known is not None:
            shown = replace(shown, layer=known)
        self.shown = shown
        self.draw()
        if known is None and ("layer" not in self._waited or self._asked_layer != place):
            self._asked_layer = place
            self._read(f"reading layer {place[1]}", partial(self._patterns, place), self._got_layer, "layer")

    def _patterns(self, place: tuple[str, int], progress: Progress) -> tuple[tuple[str, int], Stack]:
        return place, self.session.patterns(*place, progress)

    def _got_layer(self, found: tuple[tuple[str, int], Stack]) -> None:
        place, stack = found
        self._asked_layer = None
        self._layers[place] = stack
        if self.shown is not None and place == (self.shown.stack.stack, self.shown.cursor[0]):
            self._set(self.shown)

    def draw(self) -> None:
        """Draw all panes."""
        shown = self.shown
        if shown is None:
            return
        screen = self.screen_stack[0]
        names = [stack.stack for stack in shown.overview.result.stacks if stack.metrics]
        more = f" (Tab: {', '.join(name for name in names if name != shown.stack.stack)})" if len(names) > 1 else ""
        model = name_text(shown.overview.result.model, self.terminal)
        name, *facts = stack_facts(shown.stack)
        separator = glyphs(self.terminal).separator
        rest = separator + ascii_safe(separator.join((f"{name}{more}", *facts)), self.terminal)
        fits = len(model) + len(rest) <= self.size.width
        header = (model if fits else model.rpartition("/")[2]) + rest
        screen.query_one("#header", Static).update(Text(header, no_wrap=True, overflow="ellipsis"))
        screen.set_class(shown.opened, "opened")
        contents: dict[str, Callable[[Shown, Terminal], Content]] = {
            "#map": map_content, "#head": head_content, "#text": text_content, "#prediction": prediction_content
        }  # fmt: skip
        for name, content in contents.items():
            screen.query_one(name, Pane).show(partial(content, shown))

    # --- Moving

    def action_move(self, way: str) -> None:
        """The cursor, on the map or in the head that fills the screen."""
        shown = self.shown
        if shown is None:
            return
        step = -1 if way in ("up", "left") else 1
        if shown.opened:
            self._move_cell(shown, step, along_rows=way in ("up", "down"))
        else:
            self._move_head(shown, step, along_layers=way in ("up", "down"))

    def _move_head(self, shown: Shown, step: int, *, along_layers: bool) -> None:
        layer, head = shown.cursor
        layers = sorted({each.layer for each in shown.stack.metrics})
        if along_layers:
            layer = layers[min(max(layers.index(layer) + step, 0), len(layers) - 1)]
        heads = sorted(each.head for each in shown.stack.metrics if each.layer == layer)
        near = min(heads, key=lambda each: abs(each - (head if along_layers else head + step)))
        self._set(replace(shown, cursor=(layer, near), part=None))

    def _move_cell(self, shown: Shown, step: int, *, along_rows: bool) -> None:
        grid = self.screen_stack[0].query_one("#head", Pane).content.grid
        if grid is None:
            return
        axis = grid.rows if along_rows else grid.columns
        first = shown.offset[0 if along_rows else 1]
        place = (shown.query if along_rows else shown.key) - first
        at = next((number for number, (_, end) in enumerate(axis.spans) if place < end), len(axis.spans) - 1)
        moved = first + axis.spans[min(max(at + step, 0), len(axis.spans) - 1)][0]
        self._set(replace(shown, query=moved) if along_rows else replace(shown, key=moved))

    def on_pane_clicked(self, event: Pane.Clicked) -> None:
        """A head of the map, or a cell of a pattern."""
        shown = self.shown
        if shown is None:
            return
        if event.pane.id == "map":
            if event.place == shown.cursor:
                self.action_open()
            else:
                self._set(replace(shown, cursor=event.place, part=None))
        elif event.pane.id == "head":
            self._set(replace(shown, query=event.place[0], key=event.place[1]))

    def action_open(self) -> None:
        """The head on the whole screen; there, the positions around a cell of a pooled pattern."""
        shown = self.shown
        if shown is None:
            return
        if not shown.opened:
            self._set(replace(shown, opened=True))
            return
        grid = self.screen_stack[0].query_one("#head", Pane).content.grid
        if grid is None or grid.pattern.bins is None:
            return
        places = (shown.query, shown.key)
        rows, columns = (
            opened_span(*absolute_spans(axis.spans, first, place), length)
            for axis, first, place, length in zip(
                (grid.rows, grid.columns), shown.offset, places,
                (len(shown.stack.queries), len(shown.stack.keys)), strict=True,
            )
        )  # fmt: skip
        head = shown.head.name
        self._read(
            "opening the bin",
            lambda progress: self.session.part(shown.stack.stack, head, rows, columns, progress),
            self._got_part,
        )

    def _got_part(self, part: Stack) -> None:
        if self.shown is not None:
            self._set(replace(self.shown, part=part))

    def action_back(self) -> None:
        """From a bin to the head, to the map, and out."""
        shown = self.shown
        if shown is None:
            self.exit()
        elif shown.part is not None:
            self._set(replace(shown, part=None))
        elif shown.opened:
            self._set(replace(shown, opened=False))
        else:
            self.exit()

    def action_next_stack(self) -> None:
        """The next stack."""
        shown = self.shown
        if shown is None:
            return
        stacks = [stack for stack in shown.overview.result.stacks if stack.metrics]
        names = [stack.stack for stack in stacks]
        self._set(with_stack(shown, stacks[(names.index(shown.stack.stack) + 1) % len(stacks)]))

    # --- Other views

    def action_ask_text(self) -> None:
        """A new text."""
        if self.shown is None:
            return
        if not self.session.has_model:
            self._read("reading", lambda progress: self.session.open("", progress), self._open)
            return
        self.push_screen(Asking("a new text (Enter runs it, Escape leaves it)", self.session.text), self._new_text)

    def _new_text(self, text: str | None) -> None:
        if text is not None:
            self._read("running the model", lambda progress: self.session.open(text, progress), self._open)

    def action_choose_metric(self) -> None:
        """Labels or a metric on the map."""
        if (shown := self.shown) is None:
            return
        measured = [name for name in METRICS if any(head.values.get(name) is not None for head in shown.stack.metrics)]
        names = [(LABELS, "what each head does"), *((name, meaning(name)) for name in measured)]
        self.push_screen(Choosing("on the map", names, shown.painted, self.terminal), self._paint)

    def action_choose_effect(self) -> None:
        """An effect on the map."""
        if (shown := self.shown) is None:
            return
        names = [(kind.name, f"{kind.term}: {kind.meaning}") for kind in EFFECTS.values()]
        self.push_screen(Choosing("effects on the prediction", names, shown.painted, self.terminal), self._paint)

    def _paint(self, name: str | None) -> None:
        if name is None or self.shown is None:
            return
        if name in EFFECTS:
            known = self._effects.get(name)
            if known is None:
                work = partial(self.session.effects, name)
                self._read(f"measuring the {EFFECTS[name].title}", work, partial(self._got_effects, name))
                return
            self._set(replace(self.shown, painted=name, effects=known))
        else:
            self._set(replace(self.shown, painted=name))

    def _got_effects(self, name: str, result: HeadsResult) -> None:
        self._effects[name] = result
        self._paint(name)

    def action_steps(self) -> None:
        """The steps of the row under the cursor."""
        if (shown := self.shown) is None:
            return
        name, query = shown.head.name, shown.stack.queries[shown.query].index
        self._read("reading the steps", lambda progress: self.session.steps(name, query, progress), self._got_steps)

    def _got_steps(self, result: HeadsResult) -> None:
        steps = result.steps or ()

        def rows(terminal: Terminal) -> Rows:
            # All of them: the screen scrolls.
            return [each for one in steps for each in steps_rows(one, terminal, sys.maxsize)]

        self.push_screen(Reading(f"steps of head {steps[0].name}", rows, self.terminal))

    def action_ablate(self) -> None:
        """The prediction without the head under the cursor; of a model that predicts nothing, its vector's change."""
        if (shown := self.shown) is None:
            return
        name, before = shown.head.name, shown.overview.result.prediction
        if before is None:
            work = partial(self.session.effects, "zero")
            self._read("ablating heads", work, partial(self._got_vector_change, shown.cursor, shown.stack.stack))
            return
        answer = before.tokens[0].id
        self._read(
            f"running without head {name}",
            lambda progress: self.session.without(name, answer, progress),
            partial(self._got_ablation, name, before),
        )

    def _got_ablation(self, name: str, before: Prediction, after: Prediction) -> None:
        rows = partial(ablation_rows, name, before, after)
        self.push_screen(Reading(f"the prediction without head {name}", rows, self.terminal))

    def _got_vector_change(self, cursor: tuple[int, int], stack: str, result: HeadsResult) -> None:
        self._effects["zero"] = result
        effects: Iterable[Any] = next(each for each in result.stacks if each.stack == stack).effects
        found = next((each for each in effects if (each.layer, each.head) == cursor), None)
        value = None if found is None else found.values.get("zero")
        number = effect_number(value, value or 0.0) or "unknown"
        words = f"the model predicts no tokens; without this head its vector changes by {number} (1 - cosine)"
        self.push_screen(Reading("without this head", lambda terminal: [note_row(words, terminal, "")], self.terminal))

    def action_command(self) -> None:
        """The command that prints the same view."""
        if (shown := self.shown) is None:
            return
        command = self.session.command(*view_options(shown))

        def rows(terminal: Terminal) -> Rows:
            return [note_row(ascii_safe(printable(command), terminal), terminal, "")]

        self.push_screen(Reading("the same view", rows, self.terminal))

    def action_ask_page(self) -> None:
        """The file of the page."""
        if self.shown is not None:
            self.push_screen(Asking("write the page to (Enter writes it, Escape leaves it)", "heads.html"), self._page)

    def _page(self, name: str | None) -> None:
        if name:
            self._read(
                "writing the page",
                lambda progress: self.outside.write_page(name, self.session.page(progress)),
                self.say,
            )

    def action_keys(self) -> None:
        """All keys."""

        def rows(_: Terminal) -> Rows:
            return [row((f"{key.name:<14}", "bold"), key.words) for key in KEYS if key.name]

        self.push_screen(Reading("keys", rows, self.terminal))


def browse(
    session: Session, terminal: Terminal, outside: Outside, start: Start, *, stream: TextIO, keys: int | None
) -> int | None:
    """Browse until the user leaves; returns the signal that ended it, or None.

    stream: the terminal that it draws on.  keys: where keys come from; None: where Textual finds them.
    Raises AttnError where the first text can't be shown.
    """
    from attncli.browse.driver import terminal_driver

    options = {} if keys is None else {"driver_class": terminal_driver(stream, keys)}
    app = BrowseApp(session, terminal, outside, start, **options)
    ended: int | None = app.run(mouse=True)
    if app.failure is not None:
        raise app.failure
    return ended
