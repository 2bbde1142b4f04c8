"""Short names for models that stand in columns: no two of them alike."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from attncli.render.cells import cell_width, shorten
from attncli.render.glyphs import glyphs
from attncli.render.terminal import Terminal
from attncli.render.token_text import SLASHES, name_text

#: A file that every model has says nothing of it: the folder does.
_SAME_FOR_ALL = "config.json"
#: What stands before the name of an architecture, and is a step of its own.
_PRESET = "preset:"


def short_names(names: Sequence[str], width: int, terminal: Terminal) -> list[str]:
    """The end of a name says most: `Llama-3.1-8B` of `meta-llama/Llama-3.1-8B`; as much of it as tells it apart.

    Where no more of them does, or there is no room for it, a number comes behind: the model's place in the list.
    """
    paths = [_steps(name) for name in names]
    labels = [name_text(_end(path, paths), terminal) for path in paths]
    cut = glyphs(terminal).cut
    shown = [shorten(label, width, cut) for label in labels]
    often = Counter(shown)
    return [
        text if often[text] == 1 else _numbered(label, place, width, cut)
        for place, (text, label) in enumerate(zip(shown, labels, strict=True), start=1)
    ]


def _steps(name: str) -> tuple[str, ...]:
    steps = [step for step in re.split(SLASHES, name.replace(_PRESET, f"{_PRESET}/", 1)) if step not in ("", ".")]
    if len(steps) > 1 and steps[-1] == _SAME_FOR_ALL:
        steps.pop()
    return tuple(steps) or (name,)


def _end(path: tuple[str, ...], others: Iterable[tuple[str, ...]]) -> str:
    """The shortest end of a path that no other one has, or else the whole of it."""
    rest = [other for other in others if other != path]
    ends = (path[-length:] for length in range(1, len(path) + 1))
    end = next((end for end in ends if all(other[-len(end) :] != end for other in rest)), path)
    return "/".join(end).replace(f"{_PRESET}/", _PRESET, 1)


def _numbered(label: str, place: int, width: int, cut: str) -> str:
    number = f" ({place})"
    return f"{shorten(label, width - cell_width(number), cut)}{number}"
