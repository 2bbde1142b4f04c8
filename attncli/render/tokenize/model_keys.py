"""Short keys for models that stand beside one another: their names where these are short, else letters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

from attncli.render.cells import cell_width, crop
from attncli.render.escape import printable
from attncli.render.glyphs import glyphs
from attncli.render.terminal import Terminal
from attncli.render.token_text import SLASHES

#: Names up to this width are their own keys, on terminals of at least that one.
_SHORT_NAME, _WIDE = 10, 60


def model_keys(models: Sequence[str], terminal: Terminal) -> list[str]:
    """A key for each model; the names themselves, if they are short and all different."""
    names = [printable(model, unicode=terminal.unicode) for model in models]
    if len(set(names)) == len(names) and terminal.width >= _WIDE and max(map(cell_width, names)) <= _SHORT_NAME:
        return names
    return [_letter(index) for index in range(len(models))]


def shortened_name(name: str, width: int, terminal: Terminal) -> str:
    """A model's name in at most `width` cells. What is left out is at its beginning: folders and owners first."""
    name = printable(name, unicode=terminal.unicode)
    if cell_width(name) <= width:
        return name
    cut = glyphs(terminal).cut
    for slash in re.finditer(SLASHES, name):
        shorter = cut + name[slash.start() :]
        if cell_width(shorter) <= width:
            return shorter
    end = crop(re.split(SLASHES, name)[-1][::-1], width - 1)[::-1]
    return cut + end


def _letter(index: int) -> str:
    """A to Z, then A2 to Z2 and so on."""
    round_, place = divmod(index, len(ascii_uppercase))
    return ascii_uppercase[place] + (str(round_ + 1) if round_ else "")
