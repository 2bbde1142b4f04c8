"""The view of `attn tokenize --vocab` in a terminal: a vocabulary in numbers, or the results of a search in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from attncli.render.common.cells import glyphs, shorten
from attncli.render.common.document import lines_to_text
from attncli.render.common.escape import direction_end, name_text, printable, visible
from attncli.render.common.lines import BOLD, DIM, Line, StyledSpan, flow, joined, padded, separate_blocks
from attncli.render.common.terminal import Terminal
from attncli.render.tokenize.findings import REASONS, unreachable_sentence
from attncli.results.vocabulary import DeadEntry, Search, SpecialEntry, Unreachable, Vocabulary, VocabularyEntry

#: Cells of the labels at the left, and of one token at most.
_LABEL_CELLS, _MAX_TOKEN_CELLS = 10, 40

#: Scripts and special tokens that are listed.
_MAX_SCRIPTS, _MAX_SPECIALS = 12, 24

_NUMBER = re.compile(r"[0-9]+")

_USE_WORDS = {"begins": "begins a text", "ends": "ends a text", "unknown": "unknown"}

#: Kinds of entries in words, singular and plural.
_KIND_WORDS = {
    "byte": ("byte", "bytes"),
    "partial": ("part of characters", "parts of characters"),
    "continuation": ("continuation", "continuations"),
    "word": ("word", "words"),
    "number": ("number", "numbers"),
    "symbol": ("symbol", "symbols"),
    "emoji": ("emoji", "emoji"),
    "space": ("white space", "white space"),
    "special": ("special", "special"),
    "empty": ("empty", "empty"),
}

_WORD_MARK_SENTENCES = {
    "space": "a word begins with a space",
    "prefix": "a continuation is marked, a word is not",
    "suffix": "the end of a word is marked",
}


def vocabulary_text(vocabulary: Vocabulary, terminal: Terminal) -> str:
    """The vocabulary in numbers, or the results of each search; then unreachable entries, if they were requested."""
    blocks = [list(_header(vocabulary, terminal))]
    blocks += [list(_search_lines(search, terminal)) for search in vocabulary.searches] or [
        list(_summary_rows(vocabulary, terminal))
    ]
    if vocabulary.unreachable is not None:
        blocks.append(list(_unreachable_lines(vocabulary.unreachable, terminal)))
    return lines_to_text(separate_blocks(blocks), terminal)


def _header(vocabulary: Vocabulary, terminal: Terminal) -> Iterator[Line]:
    parts = [
        Line.of(StyledSpan(f"{vocabulary.size:,} {'entry' if vocabulary.size == 1 else 'entries'}", BOLD)),
        Line.of(StyledSpan(printable(vocabulary.algorithm, unicode=terminal.unicode))),
        Line.of(StyledSpan(name_text(vocabulary.model, terminal), DIM)),
    ]
    yield from flow(parts, separator=glyphs(terminal).separator, width=terminal.width)
    ids = [Line.of(StyledSpan(part, DIM)) for part in _id_facts(vocabulary, terminal)]
    yield from flow(ids, separator=glyphs(terminal).separator, width=terminal.width)


def _id_facts(vocabulary: Vocabulary, terminal: Terminal) -> Iterator[str]:
    free = sum(end - start for start, end in vocabulary.holes)
    yield f"ids 0{glyphs(terminal).dash}{vocabulary.highest_id:,}" + (f", {free:,} of them free" if free else "")
    if vocabulary.added:
        yield f"{vocabulary.added:,} added to the model's own {vocabulary.size - vocabulary.added:,}"
    if vocabulary.duplicates:
        yield f"{vocabulary.duplicates:,} spell the same as another"


def _summary_rows(vocabulary: Vocabulary, terminal: Terminal) -> Iterator[Line]:
    yield from _labelled_row("kinds", _kind_counts(vocabulary), terminal)
    if vocabulary.word_mark is not None:
        yield from _labelled_row(
            "", [Line.of(StyledSpan(f"({_WORD_MARK_SENTENCES[vocabulary.word_mark]})", DIM))], terminal
        )
    yield from _labelled_row(
        "scripts", _first_and_more(_script_counts(vocabulary.scripts), len(vocabulary.scripts), _MAX_SCRIPTS), terminal
    )
    specials = [_special_token(special, terminal) for special in vocabulary.specials[:_MAX_SPECIALS]]
    yield from _labelled_row("special", _first_and_more(specials, len(vocabulary.specials), _MAX_SPECIALS), terminal)
    yield from _labelled_row("longest", [_long_token(entry, terminal) for entry in vocabulary.longest], terminal)
    yield from _labelled_row("spaces", [_long_token(entry, terminal) for entry in vocabulary.spaces], terminal)


def _kind_counts(vocabulary: Vocabulary) -> list[Line]:
    return [Line.of(f"{count:,} {_KIND_WORDS[kind][count != 1]}") for kind, count in vocabulary.kinds.items()]


def _script_counts(numbers: Mapping[str, int]) -> list[Line]:
    return [Line.of(f"{name.replace('_', ' ')} {count:,}") for name, count in numbers.items()]


def _first_and_more(parts: Sequence[Line], total: int, most: int) -> list[Line]:
    more = [Line.of(StyledSpan(f"{total - most:,} more", DIM))] if total > most else []
    return [*parts[:most], *more]


def _special_token(special: SpecialEntry, terminal: Terminal) -> Line:
    uses = ", ".join(_USE_WORDS[use] for use in special.uses)
    details = f" {special.id}" + (f" ({uses})" if uses else "")
    return Line.of(_token_text(special.token, terminal), StyledSpan(details, DIM))


def _long_token(entry: VocabularyEntry, terminal: Terminal) -> Line:
    """A long token with its characters, and its bytes if these are more."""
    characters = len(entry.text)
    size = f"{characters:,}" if characters == entry.bytes else f"{characters:,}, {entry.bytes:,} bytes"
    return Line.of(_token_text(entry.text, terminal), StyledSpan(f" ({size})", DIM))


def _search_lines(search: Search, terminal: Terminal) -> Iterator[Line]:
    yield Line.of(
        StyledSpan(_token_text(search.text, terminal), BOLD), *([] if _is_entry(search) else [" is no entry"])
    )
    if search.by_id is not None:
        yield from _labelled_row("  id", [_entry(search.by_id, terminal)], terminal)
    yield from _labelled_row("  entry", [_entry(entry, terminal) for entry in search.exact], terminal)
    yield from _labelled_row("  variants", [_entry(entry, terminal) for entry in search.variants], terminal)
    if not search.exact:
        yield from _labelled_row("  cut into", [_entry(entry, terminal) for entry in search.cut], terminal)
    containing = [_entry(entry, terminal) for entry in search.containing]
    yield from _labelled_row("  within", _first_and_more(containing, search.hits, max(len(containing), 1)), terminal)


def _is_entry(search: Search) -> bool:
    return bool(search.exact or search.by_id)


def _entry(entry: VocabularyEntry, terminal: Terminal) -> Line:
    """An entry in its raw form, which distinguishes `les` from `##les`, with its id."""
    whole = entry.kind not in ("byte", "partial")
    return Line.of(_token_text(entry.token if whole else entry.text, terminal), StyledSpan(f" {entry.id}", DIM))


def _unreachable_lines(found: Unreachable, terminal: Terminal) -> Iterator[Line]:
    words = [Line.of(StyledSpan(word, BOLD)) for word in unreachable_sentence(found).split(" ")]
    yield from flow(words, separator=" ", width=terminal.width)
    for reason in found.reasons:
        entries = [entry for entry in found.entries if entry.reason == reason]
        yield Line()
        yield Line.of(StyledSpan(f"{len(entries):,} {REASONS[reason]}", BOLD))
        yield from flow(
            _unreachable_entries(entries, terminal), separator=glyphs(terminal).separator, width=terminal.width
        )


def _unreachable_entries(entries: Sequence[DeadEntry], terminal: Terminal) -> Iterator[Line]:
    """Entries with their ids; consecutive ones that differ only in a number (`[unused7]`) as a range."""
    dash, ellipsis = glyphs(terminal).dash, glyphs(terminal).ellipsis
    # The id minus the index is constant while ids are consecutive.
    runs = groupby(enumerate(entries), lambda pair: (pair[1].id - pair[0], _NUMBER.sub("0", pair[1].token)))
    for _, run in runs:
        members = [entry for _, entry in run]
        first, last = members[0], members[-1]
        if len(members) > 2 and first.token != last.token:
            names = f"{_token_text(first.token, terminal)} {ellipsis} {_token_text(last.token, terminal)}"
            yield Line.of(names, StyledSpan(f" {first.id}{dash}{last.id}", DIM))
            continue
        yield from (Line.of(_token_text(each.token, terminal), StyledSpan(f" {each.id}", DIM)) for each in members)


def _token_text(text: str, terminal: Terminal) -> str:
    """A token shortened, safe for a terminal, that doesn't affect the text after it."""
    shown = shorten(
        visible(text, unicode=terminal.unicode), min(_MAX_TOKEN_CELLS, terminal.width), glyphs(terminal).cut
    )
    return shown + direction_end(shown)


def _labelled_row(name: str, parts: Sequence[Line], terminal: Terminal) -> Iterator[Line]:
    """A label, and parts beside it on as many lines as they need; no lines if there are no parts."""
    if not parts:
        return
    width = terminal.width - _LABEL_CELLS - 2
    if width < _LABEL_CELLS:
        yield Line.of(StyledSpan(name, DIM))
        yield from flow(parts, separator=glyphs(terminal).separator, width=terminal.width)
        return
    for index, line in enumerate(flow(parts, separator=glyphs(terminal).separator, width=width)):
        label = Line.of(StyledSpan("" if index else name, DIM))
        yield joined([padded(label, _LABEL_CELLS + 2), line])
