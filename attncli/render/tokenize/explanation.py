"""The explanation of `attn tokenize --why` in a terminal: a row for each stage, then a block for each word.

    normalised  take a biopsy of the mole  (lowercase)
    pre-tokens  Take│a│biopsy│of│the│mole
                (cut at white space and around punctuation)
    WordPiece   30,522 entries: the longest one that begins the word, then the longest one with ## that goes on, and
                so to its end
    special     [CLS] $A [SEP]  ($A is the text)

    biopsy      bio    not biopsy, biops, biop
                ##psy
    already in the vocabulary: take a of the mole

Steps of normalisers and pre-tokenizers are put in words from their kinds and settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attncli.render.common.cells import cell_width, glyphs, shorten
from attncli.render.common.document import lines_to_text
from attncli.render.common.escape import printable
from attncli.render.common.lines import BOLD, DIM, Line, StyledSpan, flow
from attncli.render.common.terminal import Terminal
from attncli.render.tokenize.explain_words import (
    MAX_PIECES,
    entry_texts,
    is_vocabulary_word,
    label_block,
    merge_columns,
    piece_lines,
    piece_text,
    sentence_lines,
    split_to_width,
    word_lines,
)
from attncli.results.explanation import Explanation, Model, Segment, Step

#: Cells of the column of labels, at least and at most (and no more than a quarter of the line).
_MIN_LABEL_CELLS, _MAX_LABEL_CELLS = 12, 16
#: Cells beside the labels, at least: in a narrower terminal, lines are cut.
_MIN_ROOM = 8
#: Words that are explained one by one.
_MAX_WORDS = 16
#: Segments that are shown normalised.
_MAX_SEGMENTS = 8
#: How each kind of model cuts a word.
_RULES = {
    "BPE": "of all neighbouring pairs, the one with the lowest rank is merged, until no pair has a rank."
    " Each row: rank, pair, and the word after the merge",
    "WordPiece": "the longest token at the beginning of the word, then the longest with {prefix} that continues it,"
    " and so on",
    "Unigram": "of all ways to split a word, the one with the highest sum of scores (log probabilities);"
    " below it the second best",
    "WordLevel": "each word is looked up",
}
_TAKES_WHOLE = "a word that is in the vocabulary is used directly, without merges"


def explain_text(explanation: Explanation, terminal: Terminal) -> str:
    """The stages of an explanation, then what the model did with each word.

    No line is wider than the terminal.
    """
    return lines_to_text(_lines(explanation, terminal), terminal)


def _lines(explanation: Explanation, terminal: Terminal) -> Iterator[Line]:
    explained = [index for index, word in enumerate(explanation.words) if not is_vocabulary_word(word)]
    labels = _labels(explanation, terminal)
    column = _label_cells([labels[index] for index in explained[:_MAX_WORDS]], terminal)
    room = max(terminal.width - column, _MIN_ROOM)
    for label, block in _stages(explanation, room, terminal):
        if block:
            yield from label_block(Line.of(StyledSpan(label, BOLD)), block, column)
    if explanation.words:
        yield Line()
    columns = merge_columns((explanation.words[index] for index in explained[:_MAX_WORDS]), terminal)
    for index in explained[:_MAX_WORDS]:
        block = word_lines(explanation.words[index], columns, room, terminal)
        yield from label_block(Line.of(shorten(labels[index], column - 1, glyphs(terminal).cut)), block, column)
    if (left := len(explained) - _MAX_WORDS) > 0:
        yield Line.of(StyledSpan(f"and {left:,} more word{'' if left == 1 else 's'} (--json has them all)", DIM))
    yield from _whole_word_lines(explanation, terminal)


def _stages(explanation: Explanation, room: int, terminal: Terminal) -> Iterator[tuple[str, list[Line]]]:
    """The stages that the whole text goes through, by name; a block may be empty."""
    yield "normalised", list(_normalized_lines(explanation, room, terminal))
    yield "pre-tokens", list(_pre_token_lines(explanation, room, terminal))
    yield "added", _added_token_lines(explanation, room, terminal)
    yield explanation.model.kind, _rule_lines(explanation.model, room, terminal)
    yield "special", _special_lines(explanation, room, terminal)
    yield "beware", _disagreement_lines(explanation, room)


def _label_cells(labels: Sequence[str], terminal: Terminal) -> int:
    widest = min(max(map(cell_width, labels), default=0) + 2, _MAX_LABEL_CELLS, terminal.width // 4)
    return max(widest, _MIN_LABEL_CELLS)


def _labels(explanation: Explanation, terminal: Terminal) -> list[str]:
    """Each word as it is first written in the input, with its count if that is more than one."""
    counts = explanation.counts()
    first: dict[int, str] = {}
    for pre_token in explanation.pre_tokens:
        if pre_token.word is not None:
            first.setdefault(pre_token.word, piece_text(pre_token.text or pre_token.form, terminal))
    times = glyphs(terminal).times
    return [first[word] + (f" {times}{counts[word]:,}" if counts[word] > 1 else "") for word in sorted(first)]


def _normalized_lines(explanation: Explanation, room: int, terminal: Terminal) -> Iterator[Line]:
    """Each segment after each step that changed it."""
    if not explanation.normalizer:
        yield from sentence_lines("(this tokenizer has no normaliser)", room)
        return
    changed = [segment for segment in explanation.segments if segment.changes]
    for segment in changed[:_MAX_SEGMENTS]:
        yield from _change_lines(segment, explanation.normalizer, room, terminal)
    if len(changed) > _MAX_SEGMENTS:
        yield Line.of(StyledSpan(f"and {len(changed) - _MAX_SEGMENTS:,} more between added tokens", DIM))
    if not changed:
        steps = ", ".join(_step_texts(explanation.normalizer, terminal))
        yield from sentence_lines(f"(nothing changed: {steps})", room)


def _change_lines(segment: Segment, steps: Sequence[Step], room: int, terminal: Terminal) -> Iterator[Line]:
    for step, text in segment.changes:
        parts = [Line.of(part) for word in _shown_words(text, terminal) for part in split_to_width(word, room)]
        (words,) = _step_texts([steps[step]], terminal)
        parts += sentence_lines(f"({words})", room)
        yield from flow(parts, separator=" ", width=room)


def _shown_words(text: str, terminal: Terminal) -> list[str]:
    """The words of a normalised text, at most `MAX_PIECES`."""
    words = [piece_text(word, terminal) for word in text.split(" ")]
    more = [f"{glyphs(terminal).ellipsis}"] if len(words) > MAX_PIECES else []
    return words[:MAX_PIECES] + more


def _pre_token_lines(explanation: Explanation, room: int, terminal: Terminal) -> Iterator[Line]:
    bar = "│" if terminal.unicode else "|"
    texts = [pre_token.text or pre_token.form for pre_token in explanation.pre_tokens if pre_token.added is None]
    bars = [bar] * (len(texts) - 1) + [""]
    yield from piece_lines(
        [piece_text(text, terminal) + after for text, after in zip(texts, bars, strict=False)], room, separator=""
    )
    steps = explanation.pre_tokenizer
    if not steps:
        yield from sentence_lines("(this tokenizer has no pre-tokenizer)", room)
    for words, step in zip(_step_texts(steps, terminal), steps, strict=True):
        counted = f": {step.pre_tokens:,} pre-tokens" if len(steps) > 1 else ""
        yield from sentence_lines(f"({words}{counted})", room)


def _step_texts(steps: Sequence[Step], terminal: Terminal) -> list[str]:
    return [printable(step_words(step), unicode=terminal.unicode) for step in steps]


def _added_token_lines(explanation: Explanation, room: int, terminal: Terminal) -> list[Line]:
    """The added tokens that are written in the text."""
    added = [pre_token.text for pre_token in explanation.pre_tokens if pre_token.added is not None]
    written = [piece_text(text, terminal) for text in dict.fromkeys(added)]
    return (
        [*piece_lines(written, room), *sentence_lines("(special tokens written in the text)", room)] if written else []
    )


def _rule_lines(model: Model, room: int, terminal: Terminal) -> list[Line]:
    prefix = piece_text(str(model.settings.get("continuing_subword_prefix") or ""), terminal)
    merges = "" if model.merges is None else f", {model.merges:,} merges"
    rule = _RULES[model.kind].format(prefix=prefix)
    whole = f"; {_TAKES_WHOLE}" if model.settings.get("ignore_merges") else ""
    return sentence_lines(f"{model.entries:,} entries{merges}: {rule}{whole}", room)


def _whole_word_lines(explanation: Explanation, terminal: Terminal) -> list[Line]:
    """The words that are vocabulary entries themselves."""
    words = [piece_text(word.form, terminal) for word in explanation.words if is_vocabulary_word(word)]
    if not words:
        return []
    parts = [
        *sentence_lines("already in the vocabulary:", terminal.width),
        *(Line.of(text) for text in words[:MAX_PIECES]),
    ]
    if len(words) > MAX_PIECES:
        parts.append(Line.of(StyledSpan(f"and {len(words) - MAX_PIECES:,} more", DIM)))
    return flow(parts, separator=" ", width=terminal.width)


def _special_lines(explanation: Explanation, room: int, terminal: Terminal) -> list[Line]:
    """The special tokens around the text."""
    if explanation.template is not None and len(explanation.template) > 1:
        names = [piece_text(name, terminal) for name in explanation.template]
        return flow([*map(Line.of, names), *sentence_lines("($A is the text)", room)], separator=" ", width=room)
    special = [explanation.tokens[index] for index in explanation.special]
    if not special:
        return []
    return [*piece_lines(entry_texts(special, terminal), room), *sentence_lines("(added by the post-processor)", room)]


def _disagreement_lines(explanation: Explanation, room: int) -> list[Line]:
    """A note if the steps did not lead to the tokens that the tokenizer gives."""
    if explanation.agrees:
        return []
    dropout = explanation.model.settings.get("dropout")
    reason = f": it leaves out merges at random (dropout {dropout})" if dropout else ""
    return sentence_lines(f"the tokenizer itself gives other tokens than these steps{reason}", room)


# --- Steps in words

#: Words for kinds of steps without settings; other kinds are shown by their own name.
_STEP_WORDS = {
    "Lowercase": "lowercase",
    "StripAccents": "strip accents",
    "Precompiled": "SentencePiece's table of characters",
    "Nmt": "clean white space and control characters",
    "BertPreTokenizer": "cut at white space and around punctuation",
    "Whitespace": "cut at white space, and between letters and signs",
    "WhitespaceSplit": "cut at white space",
    "Punctuation": "cut around punctuation",
    "UnicodeScripts": "cut where the script changes",
}
#: What a BertNormalizer does, by the setting that turns it on.
_SWITCHES = {
    "clean_text": "clean white space and control characters",
    "handle_chinese_chars": "spaces around Chinese characters",
    "strip_accents": "strip accents",
    "lowercase": "lowercase",
}
#: What happens to the matches at which a text is cut.
_BEHAVIORS = {
    "Isolated": "each a piece of its own",
    "Removed": "which is left out",
    "MergedWithPrevious": "which stays with what is before it",
    "MergedWithNext": "which stays with what follows",
    "Contiguous": "neighbours together",
}


def step_words(step: Step) -> str:
    r"""A step in a few words, not yet safe for a terminal.

    >>> step_words(Step("Digits", {"individual_digits": True}))
    'cut around each digit'
    """
    return _STEP_WORDS.get(step.kind) or ", ".join(_setting_words(step)) or step.kind


def _setting_words(step: Step) -> Iterator[str]:
    """Words for the settings of a step."""
    settings: Mapping[str, Any] = step.settings
    match step.kind:
        case "BertNormalizer":
            yield from (words for name, words in _SWITCHES.items() if settings.get(name))
        case "Replace":
            yield f"{_pattern(settings)} becomes {settings.get('content') or 'nothing'}"
        case "Prepend":
            yield f"{settings.get('prepend')} in front"
        case "Strip":
            yield "strip white space"
        case "Split":
            yield f"cut {'between' if settings.get('invert') else 'at'} {_pattern(settings)}"
            yield _BEHAVIORS.get(str(settings.get("behavior")), "")
        case "CharDelimiterSplit":
            yield f"cut at {settings.get('delimiter')}"
        case "Digits":
            yield "cut around each digit" if settings.get("individual_digits") else "cut around numbers"
        case "FixedLength":
            yield f"cut every {settings.get('length')} characters"
        case "Metaspace":
            yield from _metaspace(settings)
        case "ByteLevel":
            yield from _byte_level(settings)


def _pattern(settings: Mapping[str, Any]) -> str:
    match settings.get("pattern"):
        case {"Regex": str(pattern)}:
            return f"the regex {pattern}"
        case {"String": str(text)}:
            return f'"{text}"'
        case other:
            return str(other)


def _metaspace(settings: Mapping[str, Any]) -> Iterator[str]:
    mark = settings.get("replacement")
    yield f"{mark} for each space"
    match settings.get("prepend_scheme"):
        case "always":
            yield f"{mark} in front"
        case "first":
            yield f"{mark} in front of the text"
    if settings.get("split"):
        yield f"cut before each {mark}"


def _byte_level(settings: Mapping[str, Any]) -> Iterator[str]:
    if settings.get("add_prefix_space"):
        yield "a space in front"
    if settings.get("use_regex"):
        yield "cut by GPT-2's regex"
    yield "a letter for each byte and Ġ for a space"
