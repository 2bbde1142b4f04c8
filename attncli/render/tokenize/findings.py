"""The findings of `attn tokenize --lint` in a terminal, like a compiler's: place, message, the marked text, and a hint.

    1 warning · org/gpt

    1:5 warning (invisible): U+200B ZERO WIDTH SPACE shows nothing
        zero\\u{200b}width
            ^^^^^^^^
        hint: take it out, or if it is meant, look at the tokens that it takes

Lines and columns count from 1, as in editors, in the file that the text was read from (`notes.txt:1:5`); characters
in the JSON count from 0.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from attncli.render.common.cells import cell_width, clusters, glyphs, shorten
from attncli.render.common.document import lines_to_text
from attncli.render.common.escape import printable, visible
from attncli.render.common.lines import BOLD, DIM, PLAIN, Line, Style, StyledSpan, flow
from attncli.render.common.terminal import ColorDepth, Terminal
from attncli.render.tokenize.picture import text_position
from attncli.results.tokenize import TokenizedText
from attncli.results.vocabulary import Finding, Unreachable

_MARK = Style(bold=True, underline=True)

#: Findings of a kind that are shown in full, and how many more are listed by their places.
_MAX_SHOWN = {"warning": 3, "note": 1}
_MAX_PLACES = 12

_INDENT = 4

#: ASCII replacements of characters in our messages.
_PLAIN_QUOTES = str.maketrans({"“": '"', "”": '"', "…": "..."})

#: The reasons of `DeadEntry` in words.
REASONS = {
    "normalized": "whose text is changed first",
    "cut": "whose text is split into other tokens",
    "duplicate": "whose text becomes another entry",
    "unknown": "whose text becomes the unknown token",
}


def lint_text(
    findings: Sequence[Finding],
    text: TokenizedText,
    terminal: Terminal,
    *,
    unreachable: Unreachable | None = None,
    count: int | None = 1,
) -> str:
    """Every kind of finding, warnings first; of many findings of a kind a few in full, and the places of others.

    count: the number of texts; None if unknown. One of several texts is named by its number.
    """
    return lines_to_text(_lines(findings, text, terminal, unreachable, count), terminal)


def nothing_found_text(models: Sequence[str], clean: Sequence[int], texts: int, terminal: Terminal) -> str:
    """For each model, the number of texts without findings."""
    lines: list[Line] = []
    for model, number in zip(models, clean, strict=True):
        name = f"{printable(model, unicode=terminal.unicode)}: " if len(models) > 1 else ""
        sentence = f"{name}nothing found in {number:,} of {texts:,} text{'' if texts == 1 else 's'}"
        lines += _wrapped(sentence, terminal, style=BOLD)
    return lines_to_text(lines, terminal)


def unreachable_text(models: Sequence[str], found: Sequence[Unreachable], terminal: Terminal) -> str:
    """A sentence for each model about unreachable vocabulary entries, with the model's name if there are several."""
    lines: list[Line] = []
    for model, each in zip(models, found, strict=True):
        name = f"{printable(model, unicode=terminal.unicode)}: " if len(models) > 1 else ""
        lines += _wrapped(name + unreachable_sentence(each), terminal, style=DIM)
    return lines_to_text(lines, terminal)


def unreachable_sentence(found: Unreachable) -> str:
    """How many vocabulary entries their own texts never encode to, and why."""
    if not found.entries:
        return f"vocabulary: each of {found.tried:,} entries is produced by its own text"
    reasons = ", ".join(f"{count:,} {REASONS[reason]}" for reason, count in found.reasons.items())
    return (
        f"vocabulary: {len(found.entries):,} of {found.tried:,} entries are never produced by their own text: {reasons}"
    )


def _lines(
    findings: Sequence[Finding],
    text: TokenizedText,
    terminal: Terminal,
    unreachable: Unreachable | None,
    count: int | None,
) -> Iterator[Line]:
    separator = glyphs(terminal).separator
    which = text_position(text.record, count)
    yield Line.of(
        StyledSpan(_counts_text(findings), BOLD),
        separator + which if which else "",
        StyledSpan(separator + printable(text.model, unicode=terminal.unicode), DIM),
    )
    renderer = _FindingRenderer(text, terminal)
    for group in _by_kind(findings):
        most = _MAX_SHOWN[group[0].severity]
        for finding in group[:most]:
            yield Line()
            yield from renderer.finding(finding)
        yield from renderer.others(group[most:])
    if unreachable is not None:
        yield Line()
        yield from _wrapped(unreachable_sentence(unreachable), terminal, style=DIM)


def _counts_text(findings: Sequence[Finding]) -> str:
    if not findings:
        return "nothing found"
    severities = [finding.severity for finding in findings]
    numbers = [(name, severities.count(name)) for name in ("warning", "note")]
    return ", ".join(f"{count:,} {name}{'' if count == 1 else 's'}" for name, count in numbers if count)


def _by_kind(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings grouped by kind and severity, in the order of their first occurrence, warnings before notes."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.kind), []).append(finding)
    return sorted(groups.values(), key=lambda group: group[0].severity == "note")


class _TextLines(NamedTuple):
    """A text with the indices where its lines begin."""

    text: str
    starts: Sequence[int]

    @classmethod
    def from_text(cls, text: str) -> _TextLines:
        return cls(text, [0, *(place + 1 for place, character in enumerate(text) if character == "\n")])


class _FindingRenderer:
    """Renders the findings about one text and its pair."""

    def __init__(self, text: TokenizedText, terminal: Terminal) -> None:
        self._texts = [_TextLines.from_text(each) for each in (text.text, text.pair) if each is not None]
        self._file = text.source and text.source.file
        self._terminal = terminal

    def finding(self, finding: Finding) -> Iterator[Line]:
        style = _severity_style(finding, self._terminal)
        head = [Line.of(StyledSpan(self._where(finding), BOLD)), Line.of(StyledSpan(finding.severity, style))]
        words = f"({finding.kind}): {self._message(finding.message)}".split(" ")
        parts = [*head, *(Line.of(word) for word in words)]
        yield from flow(parts, separator=" ", width=self._terminal.width, indent=_INDENT)
        yield from self._place(finding)
        yield from _wrapped(f"hint: {finding.hint}", self._terminal, indent=_INDENT, style=DIM)

    def others(self, findings: Sequence[Finding]) -> Iterator[Line]:
        """The places of findings that are not shown in full."""
        if not findings:
            return
        places = [self._where(finding) for finding in findings[:_MAX_PLACES]]
        rest = len(findings) - len(places)
        more = [f"and {rest:,} more"] if rest else []
        sentence = f"{len(findings):,} more at {', '.join([*places, *more])}"
        yield from _wrapped(sentence, self._terminal, indent=_INDENT)

    def _message(self, message: str) -> str:
        plain = message if self._terminal.unicode else message.translate(_PLAIN_QUOTES)
        return printable(plain, unicode=self._terminal.unicode)

    def _where(self, finding: Finding) -> str:
        return printable(finding.place(self._file), unicode=self._terminal.unicode)

    def _place(self, finding: Finding) -> Iterator[Line]:
        """The line of the finding, with a mark beneath its place."""
        if finding.start is None or not self._texts:
            return
        room = max(self._terminal.width - _INDENT, 1)
        before, marked, after = self._parts(finding, room)
        width = max(cell_width(marked), 1)
        indent = " " * _INDENT
        yield Line.of(indent, StyledSpan(before, DIM), StyledSpan(marked, _MARK), StyledSpan(after, DIM))
        yield Line.of(
            indent, " " * cell_width(before), StyledSpan("^" * width, _severity_style(finding, self._terminal))
        )

    def _parts(self, finding: Finding, room: int) -> tuple[str, str, str]:
        """The text before the place, at it and after it, in at most `room` cells."""
        text, starts = self._texts[finding.segment]
        start, end = finding.start or 0, finding.end or 0
        line = bisect_right(starts, start)
        line_end = next(iter(starts[line : line + 1]), len(text) + 1) - 1
        unicode, cut = self._terminal.unicode, glyphs(self._terminal).cut
        marked = shorten(visible(text[start : min(end, start + room)], unicode=unicode), max(room // 2, 1), cut)
        rest = room - cell_width(marked)
        # More would not fit.
        first = max(starts[line - 1], start - rest)
        before = _shortened_start(
            printable(text[first:start], unicode=unicode), rest // 2, cut, more=first > starts[line - 1]
        )
        after = printable(text[end : min(max(line_end, end), end + rest)], unicode=unicode)
        return before, marked, shorten(after, max(rest - cell_width(before), 0), cut)


def _shortened_start(text: str, width: int, cut: str, *, more: bool) -> str:
    """The end of a text in at most `width` cells.  more: whether text was left out before it."""
    if cell_width(text) <= width and not more:
        return text
    end: list[str] = []
    room = width - cell_width(cut)
    for cluster in reversed(clusters(text)):
        room -= cell_width(cluster)
        if room < 0:
            break
        end.append(cluster)
    return cut + "".join(reversed(end)) if width > 0 else ""


def _severity_style(finding: Finding, terminal: Terminal) -> Style:
    """Orange or blue: legible on dark and on light, and distinguishable by colour-blind readers."""
    if terminal.color is ColorDepth.NONE:
        return PLAIN
    return Style((0xC0, 0x60, 0x00), bold=True) if finding.severity == "warning" else Style((0x30, 0x80, 0xD0))


def _wrapped(sentence: str, terminal: Terminal, *, indent: int = 0, style: Style = PLAIN) -> Iterator[Line]:
    """A sentence wrapped between words."""
    margin = " " * indent
    words = (Line.of(StyledSpan(word, style)) for word in sentence.split(" "))
    for line in flow(words, separator=" ", width=max(terminal.width - indent, 1)):
        yield Line.of(margin, *line.spans)
