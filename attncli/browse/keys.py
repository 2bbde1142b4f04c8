"""The keys of `--browse`, and the screen that they belong to."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Static

from attncli.browse.widgets import MOVES, Pane
from attncli.render.common.terminal import Terminal


class Key(NamedTuple):
    """A key: what it does (an action), its name in the list of keys, and what that says. shown: at the bottom, too."""

    keys: str
    action: str
    name: str
    words: str
    shown: str = ""


KEYS = (
    *(Key(MOVES[way], f"move('{way}')", "", "") for way in ("up", "down", "left", "right")),
    Key("", "", "arrows, hjkl", "move over the heads of the map, or the cells of an open head"),
    Key("enter", "open", "Enter", "open the head, and in it the positions around a cell"),
    Key("q,escape", "back", "q, Escape", "go back, and out", "q out"),
    Key("tab", "next_stack", "Tab", "the next stack of a model that has several"),
    Key("slash", "ask_text", "/", "a new text", "/ text"),
    Key("m", "choose_metric", "m", "the labels, or a metric, on the map", "m metric"),
    Key("e", "choose_effect", "e", "an effect of the heads on the prediction, on the map", "e effect"),
    Key("s", "steps", "s", "the steps of the row under the cursor", "s steps"),
    Key("x", "ablate", "x", "the prediction without the head under the cursor", "x ablate"),
    Key("y", "command", "y", "the command that prints the same view", "y command"),
    Key("w", "ask_page", "w", "write the page to a file", "w page"),
    Key("question_mark", "keys", "?", "all keys", "? keys"),
    Key("", "", "mouse", "click a head, again to open it; click a cell"),
)


class MapScreen(Screen[None]):
    """The panes and their keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(key.keys, f"app.{key.action}", show=False, priority=key.keys == "tab") for key in KEYS if key.keys
    ]

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def compose(self) -> ComposeResult:
        """Head map and head above, text and prediction below."""
        yield Static("", id="header", markup=False)
        with Horizontal(id="above"):
            yield Pane(self._terminal, id="map")
            yield Pane(self._terminal, id="head")
        with Horizontal(id="below"):
            yield Pane(self._terminal, id="text")
            yield Pane(self._terminal, id="prediction")
        yield Static("", id="status", markup=False)


#: How the screens are laid out, in the terminal's own colours.
CSS = """
Screen, ModalScreen { layout: vertical; background: ansi_default; color: ansi_default; overflow: hidden; }
#header, .hint { height: 1; text-style: none; }
#header { text-style: bold; }
#above { height: 2fr; }
#below { height: 1fr; min-height: 7; }
#map { width: 1fr; margin-right: 1; }
#head { width: 1fr; }
#text { width: 1fr; margin-right: 1; }
#prediction { width: 1fr; }
#status { height: auto; max-height: 2; }
.opened #map { display: none; }
.opened #above { height: 5fr; }
.opened #below { min-height: 5; }
Reading, Choosing { layout: vertical; }
#reading, #choosing { height: 1fr; }
Asking { align: left bottom; background: transparent; }
Input, Input:focus {
    height: 1; border: none; padding: 0; background: ansi_default; color: ansi_default;
    & > .input--cursor { text-style: reverse; background: ansi_default; color: ansi_default; }
    & > .input--selection { text-style: reverse; background: ansi_default; color: ansi_default; }
}
"""
