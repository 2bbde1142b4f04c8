"""The parts of the screen: panes that draw lines of segments, and screens above them that list, ask or tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input, Static

from attncli.browse.panes import Content
from attncli.render.common.console import Rows, block_segments, safe_text
from attncli.render.common.terminal import ColorDepth, Terminal

#: What draws a pane of a size.
Build = Callable[[Terminal], Content]
#: Keys that move, as vi has them.
MOVES = {"up": "up,k", "down": "down,j", "left": "left,h", "right": "right,l"}


class Pane(Widget):
    """A title, and lines below it, scrolled so that the line with the cursor is seen."""

    class Clicked(Message):
        """A cell of a pane was clicked. place: what it shows."""

        def __init__(self, pane: Pane, place: tuple[int, int]) -> None:
            super().__init__()
            self.pane, self.place = pane, place

    def __init__(self, terminal: Terminal, **attributes: str) -> None:
        super().__init__(**attributes)
        self._terminal = terminal
        self._build: Build | None = None
        self._content: Content | None = None
        self._offset = 0

    def show(self, build: Build) -> None:
        """Draw something else."""
        self._build, self._content = build, None
        self.refresh()

    def scroll_lines(self, lines: int) -> None:
        """Move the lines where no cursor decides which are seen."""
        self._offset += lines
        self.refresh()

    @property
    def page(self) -> int:
        """The lines below the title."""
        height: int = self.size.height
        return max(height - 1, 1)

    @property
    def content(self) -> Content:
        """What is shown, laid out for the pane's size."""
        if self._content is None:
            size = self._terminal._replace(width=max(self.size.width, 8), height=max(self.size.height, 2))
            self._content = Content("", []) if self._build is None else self._build(size)
            self._keep_focus(self._content)
        return self._content

    def _keep_focus(self, content: Content) -> None:
        focus = content.focus
        if focus is not None and not self._offset <= focus < self._offset + self.page:
            self._offset = focus - self.page // 2 if abs(focus - self._offset) > self.page else (
                focus if focus < self._offset else focus - self.page + 1
            )  # fmt: skip

    def on_resize(self) -> None:
        """Lay out again."""
        self._content = None

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        content, width = self.content, self.size.width
        self._offset = max(min(self._offset, len(content.lines) - self.page), 0)
        if y == 0:
            segments = [_title(content.title, width, self._terminal)]
        else:
            number = y - 1 + self._offset
            segments = content.lines[number] if number < len(content.lines) else []
        safe = [
            Segment(safe_text(each.text, self._terminal), _allowed(each.style or Style.null(), self._terminal))
            for each in segments
            if not each.control
        ]
        return Strip(safe).adjust_cell_length(width).apply_style(self.rich_style)

    def on_click(self, event: events.Click) -> None:
        """Tell what was clicked."""
        place = self.content.at(event.x, event.y - 1 + self._offset) if event.y else None
        if place is not None:
            self.post_message(self.Clicked(self, place))

    def on_mouse_scroll_up(self) -> None:
        """Scroll."""
        self.scroll_lines(-3)

    def on_mouse_scroll_down(self) -> None:
        """Scroll."""
        self.scroll_lines(3)


def _allowed(style: Style, terminal: Terminal) -> Style:
    """The style without its colours, where the terminal shall have none."""
    return style if terminal.color is not ColorDepth.NONE else style.without_color


def _title(title: str, width: int, terminal: Terminal) -> Segment:
    line = "─" if terminal.unicode else "-"
    return Segment(f"{line}{line} {title} ".ljust(width, line) if title else line * width, Style(bold=bool(title)))


class Reading(ModalScreen[None]):
    """Rows to read, which any of q, Escape and Enter closes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,escape,enter,question_mark", "dismiss", show=False),
        Binding(MOVES["up"], "move(-1)", show=False),
        Binding(MOVES["down"], "move(1)", show=False),
        Binding("pageup", "move(-10)", show=False),
        Binding("pagedown,space", "move(10)", show=False),
    ]

    def __init__(self, title: str, rows: Callable[[Terminal], Rows], terminal: Terminal) -> None:
        super().__init__()
        self._title, self._rows, self._terminal = title, rows, terminal

    def compose(self) -> ComposeResult:
        """The rows, and how to close them."""
        pane = Pane(self._terminal, id="reading")
        pane.show(lambda terminal: Content(self._title, block_segments(self._rows(terminal), terminal)))
        yield pane
        yield Static("q closes it", markup=False, classes="hint")

    def action_move(self, lines: int) -> None:
        """Scroll."""
        self.query_one(Pane).scroll_lines(lines)


class Choosing(ModalScreen[str | None]):
    """A list of names with what they mean, one of which is chosen; None where none was.

    names: with their meanings.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,escape", "dismiss", show=False),
        Binding(MOVES["up"], "move(-1)", show=False),
        Binding(MOVES["down"], "move(1)", show=False),
        Binding("enter", "choose", show=False),
    ]

    def __init__(self, title: str, names: Sequence[tuple[str, str]], chosen: str, terminal: Terminal) -> None:
        super().__init__()
        self._title, self._names, self._terminal = title, names, terminal
        self._at = next((place for place, (name, _) in enumerate(names) if name == chosen), 0)

    def compose(self) -> ComposeResult:
        """The list."""
        yield Pane(self._terminal, id="choosing")
        yield Static("Enter chooses, q closes it", markup=False, classes="hint")

    def on_mount(self) -> None:
        """Draw it."""
        self.query_one(Pane).show(self._content)

    def _content(self, terminal: Terminal) -> Content:
        wide = max(len(name) for name, _ in self._names)
        lines = [
            [
                Segment(f" {name:<{wide}} ", Style(bold=True, reverse=place == self._at)),
                Segment(f" {meaning}", Style(dim=True)),
            ]
            for place, (name, meaning) in enumerate(self._names)
        ]
        return Content(self._title, lines, self._at, lambda _, y: (y, 0) if y < len(lines) else None)

    def on_pane_clicked(self, event: Pane.Clicked) -> None:
        """Choose what was clicked."""
        self._at = event.place[0]
        self.action_choose()

    def action_move(self, steps: int) -> None:
        """Another name."""
        self._at = min(max(self._at + steps, 0), len(self._names) - 1)
        self.query_one(Pane).show(self._content)

    def action_choose(self) -> None:
        """The name under the cursor."""
        self.dismiss(self._names[self._at][0])


class Asking(ModalScreen[str | None]):
    """A line to type; None where Escape was pressed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", show=False)]

    def __init__(self, question: str, value: str) -> None:
        super().__init__()
        self._question, self._value = question, value

    def compose(self) -> ComposeResult:
        """The question and the line."""
        yield Static(self._question, markup=False, classes="hint")
        yield Input(self._value, compact=True, select_on_focus=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The line is done."""
        self.dismiss(event.value)
