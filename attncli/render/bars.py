"""Shares as bars."""

from __future__ import annotations

from attncli.render.terminal import Terminal

#: A cell filled by eighths, from empty to full.
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar_scale(largest: str, width: int) -> str:
    """What stands above bars of `width` cells: where they begin, and the number of a full one; blank without room."""
    return f"0{largest:>{width - 1}}" if len(largest) + 2 <= width else " " * width


def bar(share: float, width: int, terminal: Terminal) -> str:
    """A bar of `width` cells filled by `share`; where there is anything at all, a bit of it is seen."""
    if not terminal.unicode:
        return ("#" * max(round(share * width), int(share > 0))).ljust(width)
    eighths = max(round(share * width * 8), int(share > 0))
    full, rest = divmod(eighths, 8)
    return (_EIGHTHS[8] * full + (_EIGHTHS[rest] if rest else "")).ljust(width)
