"""Short names for models that stand in columns: no two of them alike."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from attncli.render.cells import cell_width, shorten
from attncli.render.glyphs import glyphs
from attncli.render.terminal import Terminal
from attncli.render.token_text import SLASHES, name_text

#: A file that every model has says nothing of it: the folder does.
_SAME_FOR_ALL = "config.json"


def short_names(names: Sequence[str], width: int, terminal: Terminal) -> list[str]:
    """The end of a name says most: `Llama-3.1-8B` of `meta-llama/Llama-3.1-8B`; as much of it as tells it apart.

    Where no more of them does, or there is no room for it, a number comes behind: the model's place in the list.
    """
    labels = [name_text(label, terminal) for label in _ends([_steps(name) for name in names])]
    cut = glyphs(terminal).cut
    shown = [shorten(label, width, cut) for label in labels]
    often = Counter(shown)
    return [
        text if often[text] == 1 else _numbered(label, place, width, cut)
        for place, (text, label) in enumerate(zip(shown, labels, strict=True), start=1)
    ]


def _steps(name: str) -> list[str]:
    steps = [step for step in re.split(SLASHES, name.removeprefix("preset:")) if step]
    if len(steps) > 1 and steps[-1] == _SAME_FOR_ALL:
        steps.pop()
    return steps or [name]


def _ends(paths: Sequence[Sequence[str]]) -> list[str]:
    """The shortest end of each path that no other path has; the whole of one that is there twice."""
    lengths = [1] * len(paths)
    while True:
        ends = [tuple(path[-length:]) for path, length in zip(paths, lengths, strict=True)]
        often = Counter(ends)
        longer = [place for place, end in enumerate(ends) if often[end] > 1 and len(end) < len(paths[place])]
        # Of what is the same all the way, the last step says as much as the whole.
        if not longer or len({tuple(path) for path in paths}) == 1:
            return ["/".join(end) for end in ends]
        for place in longer:
            lengths[place] += 1


def _numbered(label: str, place: int, width: int, cut: str) -> str:
    number = f" ({place})"
    return f"{shorten(label, width - cell_width(number), cut)}{number}"
