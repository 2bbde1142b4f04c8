"""`--lint`: findings about a text and its tokens, with their places; and the failures of `--check lint`."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import regex

from attncli.results.tokenize import TokenizedText
from attncli.results.tokens import Token
from attncli.results.vocabulary import Finding, Severity
from attncli.tokens.suspects import (
    Suspect,
    apply_fixes,
    character_suspects,
    letter_suspects,
    lookalike_suspects,
    trailing_suspects,
)

if TYPE_CHECKING:
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.chat import Chat

#: Kinds of findings that concern the whole conversation and not one message.
_WHOLE_TEXT_KINDS = frozenset({"double_special", "round_trip"})


def lint(tokenizer: Tokenizer, text: TokenizedText) -> tuple[Finding, ...]:
    """All findings about a text, or about ids without one, in the order of the text.

    In a conversation (`text.chat`), findings outside the content of messages are left out, as the special tokens and
    newlines there belong to the chat template.
    """
    if text.chat is not None:
        return tuple(_in_messages(_all_findings(tokenizer, text), text.chat))
    return _all_findings(tokenizer, text)


def failures(findings: Sequence[Finding], file: str | None = None) -> list[str]:
    """A sentence for each warning, with its place; notes are no failures.  file: where the text was read from."""
    warnings = (finding for finding in findings if finding.severity == "warning")
    return [f"{finding.place(file)} ({finding.kind}): {finding.message}" for finding in warnings]


def _in_messages(findings: Iterable[Finding], chat: Chat) -> Iterator[Finding]:
    """The findings within a message, with its number and role, and those about the whole conversation."""
    for finding in findings:
        if finding.kind in _WHOLE_TEXT_KINDS:
            yield finding
        elif finding.start is not None and finding.end is not None:
            start, end = finding.start, finding.end
            for number, message in enumerate(chat.messages, start=1):
                if any(first <= start and end <= last for first, last in message.contents or ()):
                    yield finding._replace(message=f"in message {number} ({message.role}), {finding.message}")
                    break


def _all_findings(tokenizer: Tokenizer, text: TokenizedText) -> tuple[Finding, ...]:
    texts = [each for each in (text.text, text.pair) if each is not None]
    segments = _segments(text)
    findings = [
        *_token_findings(tokenizer, text, texts, segments),
        *(found for segment, each in enumerate(texts) for found in _text_findings(tokenizer, each, segment)),
    ]
    if not texts:
        return tuple(findings)
    placed: list[list[Token]] = [[] for _ in texts]
    for token, segment in zip(text.tokens, segments, strict=True):
        if token.start is not None:
            placed[segment].append(token)
    found = []
    for finding in _add_places(findings, texts, text.source.line if text.source is not None else 1):
        # The tokens that overlap its characters.
        tokens = placed[finding.segment]
        first = bisect_left(tokens, (finding.start or 0) + 1, key=lambda token: token.end or 0)
        last = bisect_left(tokens, finding.end or 0, key=lambda token: token.start or 0)
        indices = finding.tokens or tuple(token.index for token in tokens[first:last])
        found.append(finding._replace(tokens=indices))
    return tuple(sorted(found, key=lambda finding: (finding.segment, finding.start or 0)))


def _token_findings(
    tokenizer: Tokenizer, text: TokenizedText, texts: Sequence[str], segments: Sequence[int]
) -> Iterator[Finding]:
    """Findings from the tokens alone, each with the segment of its token."""
    template = frozenset(tokenizer.encode("", special=True).ids)
    doubled_findings = list(doubled_special(text.tokens, template, bare=not texts))
    doubled_indices = {index for finding in doubled_findings for index in finding.tokens}
    found = [*doubled_findings, *unknown_tokens(text.tokens, texts, segments, tokenizer.unknown_id)]
    found += (finding for finding in special_in_text(text.tokens) if doubled_indices.isdisjoint(finding.tokens))
    if not texts:
        found += non_canonical(tokenizer, text.tokens)
    for finding in found:
        placed = next((index for index in finding.tokens if text.tokens[index].start is not None), None)
        yield finding if placed is None else finding._replace(segment=segments[placed])


def doubled_special(tokens: Sequence[Token], template: frozenset[int], *, bare: bool) -> Iterator[Finding]:
    """A special token twice in a row, as where a chat template contains one and the tokenizer adds another.

    template: the ids that the tokenizer adds around a text.  bare: ids were given without a text.
    """
    for first, second in pairwise(tokens):
        if first.id != second.id or first.id not in template or not (first.special and second.special):
            continue
        written: list[Token | None] = [token for token in (first, second) if token.start is not None] or [None]
        if not bare and (len(written) != 1 or None in written):
            continue
        message = (
            f"{first.token} occurs twice"
            if bare
            else f"the text contains {first.token}, and the tokenizer adds another one"
        )
        hint = "leave one of the ids out" if bare else "remove it from the text, or use --no-special"
        yield _warning("double_special", message, hint, written[0], (first.index, second.index))


def special_in_text(tokens: Sequence[Token]) -> Iterator[Finding]:
    """Special tokens that the text itself spells: untrusted text can end a turn of a conversation with them."""
    for token in tokens:
        if token.special and token.start is not None:
            message = f"{token.token} in the text becomes the special token {token.id}"
            hint = (
                "if the text comes from others, escape it or use --special-as-text (split_special_tokens in "
                "transformers)"
            )
            yield _warning("special_in_text", message, hint, token, (token.index,))


def unknown_tokens(
    tokens: Sequence[Token], texts: Sequence[str], segments: Sequence[int], unknown_id: int | None
) -> Iterator[Finding]:
    """Unknown tokens.  segments: for each token, the index of its text in `texts`."""
    for token in tokens:
        if token.id != unknown_id:
            continue
        lost = texts[segments[token.index]][token.start : token.end] if texts and token.start is not None else ""
        message = f"{lost} becomes" if lost else "this is"
        message = f"{message} {token.token}: it is not in the vocabulary"
        hint = "the model can't read this; write it in other characters, or use another model"
        yield _warning("unknown", message, hint, token, (token.index,))


def _warning(kind: str, message: str, hint: str, place: Token | None, tokens: tuple[int, ...]) -> Finding:
    found = Finding(kind, "warning", message, hint, tokens=tokens)
    return found if place is None else found._replace(start=place.start, end=place.end, byte_start=place.byte_start)


def _text_findings(tokenizer: Tokenizer, text: str, segment: int) -> Iterator[Finding]:
    """Findings from the characters of a text: notes where replacing all of a kind gives the same tokens."""
    groups: dict[str, list[Suspect]] = {}
    for suspect in (
        *character_suspects(text),
        *letter_suspects(text),
        *lookalike_suspects(text),
        *trailing_suspects(text),
    ):
        groups.setdefault(suspect.kind, []).append(suspect)
    fixed = [apply_fixes(text, groups[kind]) for kind in sorted(groups)]
    original, *changed = tokenizer.encode_batch([text, *fixed], special=False) if groups else [()]
    for kind, ids in zip(sorted(groups), changed, strict=True):
        same = list(ids) == list(original)
        if same and kind == "trailing_space":
            continue  # this tokenizer drops white space at the end
        severity: Severity = "note" if same else "warning"
        for suspect in groups[kind]:
            hint = "this tokenizer makes the same tokens without it" if same else suspect.hint
            found = Finding(kind, severity, suspect.message, hint, start=suspect.start, end=suspect.end)
            yield found._replace(segment=segment)
    if (lost := round_trip(tokenizer, text)) is not None:
        yield lost._replace(segment=segment)


def _segments(text: TokenizedText) -> list[int]:
    """For each token, the index of its text: 0, or 1 from where the pair begins.

    The pair begins where offsets jump back, or where tokens with offsets follow special ones without.
    """
    segments: list[int] = []
    segment, reach, gap = 0, -1, False
    for token in text.tokens:
        if token.byte_start is not None:
            begins = reach >= 0 and (gap or token.byte_start < reach)
            segment = 1 if text.pair is not None and begins else segment
            reach, gap = token.byte_start, False
        else:
            gap = gap or token.special
        segments.append(segment)
    return segments


def _add_places(findings: Iterable[Finding], texts: Sequence[str], first_line: int) -> Iterator[Finding]:
    """Add the byte, line and column where each finding begins, in one pass through each text.

    first_line: the number in its file of the text's first line; a pair is never from a file.
    """
    segment, place, size, line = 0, 0, 0, first_line
    for finding in sorted(findings, key=lambda each: (each.segment, each.start or 0)):
        if finding.segment != segment:
            segment, place, size, line = finding.segment, 0, 0, 1
        if finding.start is None:
            yield finding
            continue
        passed = texts[segment][place : finding.start]
        size, line, place = size + len(passed.encode("utf-8")), line + passed.count("\n"), finding.start
        column = place - texts[segment].rfind("\n", 0, place)
        yield finding._replace(byte_start=size, line=line, column=column)


# --- Encoding and decoding


Span = tuple[int, int]
_INVISIBLE = regex.compile(r"[\p{C}\p{Default_Ignorable_Code_Point}\ufffd--\s]+", regex.VERSION1)
_MARKS = regex.compile(r"\p{M}+")


#: The properties of texts that tokenizers may drop, and what removes each from a text, in this order.
_LOSSES: Mapping[str, Callable[[str], str]] = {
    "invisible characters": lambda text: _INVISIBLE.sub("", text),
    "characters that NFKC replaces": lambda text: unicodedata.normalize("NFKC", text),
    "how letters are composed": lambda text: unicodedata.normalize("NFC", text),
    "capital letters": str.lower,
    "accents": lambda text: _MARKS.sub("", unicodedata.normalize("NFD", text)),
    "white space": lambda text: "".join(text.split()),
}

#: The most drastic first: in this order, `explain_losses` drops those that are not needed to explain a difference.
_LARGEST_FIRST = (
    "accents",
    "characters that NFKC replaces",
    "how letters are composed",
    "capital letters",
    "invisible characters",
    "white space",
)

#: How many characters of both texts are shown from the first difference on.
_SHOWN_CHARACTERS = 16

#: How many ids a message names.
_SHOWN_IDS = 4

#: A character that is in no vocabulary: the last one for private use.
_UNKNOWN_CHARACTER = "\U0010fffd"


# --- From a text to ids and back


def round_trip(tokenizer: Tokenizer, text: str) -> Finding | None:
    """The first place where the decoded tokens differ from the text; None where they are equal.

    Unknown and special tokens have findings of their own and are left out on both sides. A loss that this tokenizer's
    normalizer explains (lower-casing, for instance) is a note, anything else a warning. The caller adds bytes and
    tokens to the finding.
    """
    encoding = tokenizer.encode(text, special=False)
    pieces = tokenizer.describe(encoding.ids)
    unspelled = [piece is None or piece.special or piece.id == tokenizer.unknown_id for piece in pieces]
    gaps = [span for span, left_out in zip(encoding.spans, unspelled, strict=True) if left_out and span is not None]
    if any(unspelled) and len(gaps) < sum(unspelled):
        return None  # it is unknown which part of the text to leave out
    spelled_ids = [identifier for identifier, left_out in zip(encoding.ids, unspelled, strict=True) if not left_out]
    before, places = _leave_out(text, gaps)
    after = tokenizer.decode(spelled_ids)
    if before == after:
        return None
    losses = explain_losses(before, after)
    # Ignore white space around the parts that were left out.
    return None if gaps and losses == ["white space"] else _finding(before, after, places, losses)


def _finding(before: str, after: str, places: Sequence[int], losses: Sequence[str] | None) -> Finding:
    first = _shared_start(before, after)
    severity: Severity = "warning" if losses is None else "note"
    lost = f" (it differs in {', '.join(losses)})" if losses else ""
    message = f"{_quote(before, first, places)} is decoded as {_quote(after, first)}{lost}"
    hint = (
        "this tokenizer changes every text in this way; this text is fine"
        if losses
        else "the model gets another text than was written: check the tokens there"
    )
    start = places[first]
    return Finding("round_trip", severity, message, hint, start=start, end=min(start + 1, places[-1]))


def explain_losses(before: str, after: str) -> list[str] | None:
    """The fewest known losses that make both texts equal; None where they don't explain the difference."""
    names = list(_LOSSES)
    if not _are_equal(before, after, names):
        return None
    for name in _LARGEST_FIRST:
        fewer = [other for other in names if other != name]
        if _are_equal(before, after, fewer):
            names = fewer
    return names


def _are_equal(before: str, after: str, names: Iterable[str]) -> bool:
    for name in names:
        before, after = _LOSSES[name](before), _LOSSES[name](after)
    return before == after


def _leave_out(text: str, gaps: Sequence[Span]) -> tuple[str, Sequence[int]]:
    """The text without some spans, and the original index of each character, with the text's length at the end."""
    if not gaps:
        return text, range(len(text) + 1)
    left_out = {place for gap in gaps for place in range(*gap)}
    places = [place for place in range(len(text)) if place not in left_out]
    return "".join(text[place] for place in places), [*places, len(text)]


def _shared_start(one: Sequence[object], other: Sequence[object]) -> int:
    """How many of the first items are the same, by halving: comparing slices is fast."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def _quote(text: str, first: int, places: Sequence[int] | None = None) -> str:
    """The text from the first difference on, with an ellipsis where something follows or was left out.

    places: as `_leave_out` gives them.
    """
    last = min(first + _SHOWN_CHARACTERS, len(text))
    places = range(len(text) + 1) if places is None else places
    gaps = (places[index + 1] != places[index] + 1 for index in range(first, last))
    part = "".join(text[index] + "…" * gap for index, gap in zip(range(first, last), gaps, strict=True))
    more = "…" if len(text) > last and not part.endswith("…") else ""
    return f"“{part}{more}”" if part else "nothing"


# --- From ids to a text and back


def non_canonical(tokenizer: Tokenizer, tokens: Sequence[Token]) -> Iterator[Finding]:
    """Ids between special tokens that differ from the ids of their own text.

    A model was mostly trained on the ids that its tokenizer gives for a text. Other ids for the same text arise where
    parts of it were encoded separately.
    """
    before: Token | None = None
    for apart, run in groupby(tokens, lambda token: token.special or token.id == tokenizer.unknown_id):
        members = list(run)
        if not apart:
            yield from _check_run(tokenizer, members, before)
        before = members[-1]


def _check_run(tokenizer: Tokenizer, run: Sequence[Token], before: Token | None) -> Iterator[Finding]:
    ids = [token.id for token in run]
    text = tokenizer.decode(ids)
    cuts = list(_possible_ids(tokenizer, text, before))
    if ids in cuts:
        return
    # The range in which both differ.
    own = cuts[0]
    first = _shared_start(ids, own)
    same = _shared_start(ids[first:][::-1], own[first:][::-1])
    given, own = run[first : len(ids) - same], own[first : len(own) - same]
    if "\ufffd" in text:
        message, hint = "the ids end in the middle of a character", "check whether an id is missing"
    else:
        message = (
            f"{_list_ids([token.id for token in given])} has the text that the tokenizer splits into {_list_ids(own)}"
        )
        hint = "tokenize the whole text at once"
    yield Finding("non_canonical", "warning", message, hint, tokens=tuple(token.index for token in given))


def _possible_ids(tokenizer: Tokenizer, text: str, before: Token | None) -> Iterator[list[int]]:
    """The ids that a text may have, alone and after the token before it."""
    yield list(tokenizer.encode(text, special=False).ids)
    # The decoder may remove a space before the first word.
    yield list(tokenizer.encode(f" {text}", special=False).ids)
    if before is not None:
        # Some tokenizers add a space before the first word of a text only.
        prefix = before.token if before.special else _UNKNOWN_CHARACTER
        ids = list(tokenizer.encode(f"{prefix}{text}", special=False).ids)
        if before.id in ids:
            yield ids[ids.index(before.id) + 1 :]


def _list_ids(ids: Sequence[int]) -> str:
    shown = " ".join(map(str, ids[:_SHOWN_IDS]))
    return f"{shown} …" if len(ids) > _SHOWN_IDS else shown or "nothing"
