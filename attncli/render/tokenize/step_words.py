"""The steps of normalisers and pre-tokenizers in words, from their kinds and settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attncli.results.explanation import Step

#: Kinds that need no settings to be told; any other one is told by its own name.
_PLAIN = {
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

#: What a BertNormalizer does, by the switch that asks for it.
_SWITCHES = {
    "clean_text": "clean white space and control characters",
    "handle_chinese_chars": "spaces around Chinese characters",
    "strip_accents": "strip accents",
    "lowercase": "lowercase",
}

#: What becomes of that at which a text is cut.
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
    return _PLAIN.get(step.kind) or ", ".join(_told(step)) or step.kind


def _told(step: Step) -> Iterator[str]:
    """What the settings of a step say."""
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
