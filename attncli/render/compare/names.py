"""What occurrences, states and labels are called in every view."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from attncli.render.cells import cell_width, shorten
from attncli.render.colormap import has_colormap, ink_on
from attncli.render.escape import printable
from attncli.render.glyphs import glyphs
from attncli.render.layout import flow
from attncli.render.lines import BOLD, Line, Rgb, Style, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.token_text import direction_end, name_text
from attncli.results.compare import CompareResult

# Okabe & Ito's colours for colour-blind eyes (2008), without black; as backgrounds they work on dark and on light.
LABEL_COLORS: tuple[Rgb, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_LONGEST_LABEL = 14


def occurrence_names(result: CompareResult) -> tuple[str, ...]:
    """The number of each occurrence's sentence; with a letter where a sentence has several (`3a`, `3b`)."""
    counts = Counter(each.sentence for each in result.occurrences)
    seen: Counter[int] = Counter()
    names = []
    for each in result.occurrences:
        seen[each.sentence] += 1
        names.append(f"{each.sentence}{_letter(seen[each.sentence]) if counts[each.sentence] > 1 else ''}")
    return tuple(names)


def _letter(number: int) -> str:
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters


class Tags(NamedTuple):
    """What stands beside an occurrence's number: its label, or its word where there are several.

    Labels are senses of the first word: where there are others, its own occurrences alone show them (`bank: money`).
    """

    texts: tuple[str, ...]
    groups: tuple[str, ...]
    colored: bool

    @classmethod
    def of(cls, result: CompareResult, terminal: Terminal) -> Tags:
        several = len(result.words) > 1
        labels = [each.label if each.word == result.word else None for each in result.occurrences]
        parts = zip((each.word if several else None for each in result.occurrences), labels, strict=True)
        texts = tuple(label_text(": ".join(filter(None, part)), terminal) for part in parts)
        by_word = sorted(range(len(texts)), key=lambda index: result.words.index(result.occurrences[index].word))
        return cls(texts, tuple(dict.fromkeys(texts[index] for index in by_word)), has_colormap(terminal.color))

    @property
    def width(self) -> int:
        return max(map(cell_width, self.texts), default=0)

    @property
    def told_apart(self) -> bool:
        return len(self.groups) > 1

    def style(self, index: int) -> Style:
        """The colour of an occurrence's group, where there are groups and colours."""
        if not (self.colored and self.told_apart):
            return BOLD
        color = LABEL_COLORS[self.groups.index(self.texts[index]) % len(LABEL_COLORS)]
        return Style(fg=ink_on(color), bg=color)


def label_text(label: str, terminal: Terminal) -> str:
    """A label or a word, safe for a terminal and short enough for a column."""
    text = shorten(printable(label, unicode=terminal.unicode), _LONGEST_LABEL, glyphs(terminal).cut)
    return text + direction_end(text)


def paragraph(text: str, terminal: Terminal, *, indent: int = 0, style: Style | None = None) -> list[Line]:
    """A sentence over as many lines as it needs."""
    words = [Line.of(StyledSpan(word, style) if style else word) for word in text.split()]
    return flow(words, separator=" ", width=terminal.width, indent=indent)


def ascii_safe(text: str, terminal: Terminal) -> str:
    """Our own words without what ASCII has no place for."""
    if terminal.unicode:
        return text
    for mark, plain in (("→", "->"), ("–", "-"), ("−", "-"), ("×", "x"), ("…", "...")):
        text = text.replace(mark, plain)
    return name_text(text, terminal)


def figure(value: float | None, terminal: Terminal) -> str:
    """A cosine to two digits; a dash where there is none."""
    if value is None:
        return glyphs(terminal).dash
    text = f"{value:.2f}"
    return text.removeprefix("-") if float(text) == 0 else text


def percent(share: float) -> str:
    """A share in per cent: whole, but to a tenth from 99 on, and never all or nothing where it isn't."""
    if share >= 0.99:
        return "100 %" if share == 1 else f"{min(100 * share, 99.9):.1f} %"
    whole = round(100 * share)
    return "under 1 %" if whole == 0 and share > 0 else f"{whole} %"


def state_title(state: int, result: CompareResult) -> str:
    """`state 3, after layer 2`."""
    where = "before layer 0" if state == 0 else f"after layer {state - 1}"
    last = " (the last)" if state and state == result.state_count - 1 else ""
    return f"state {state}, {where}{last}"
