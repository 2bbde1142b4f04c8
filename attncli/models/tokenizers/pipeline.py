"""The parts of a tokenizer (normaliser, pre-tokenizer, model, post-processor), and what each does to a text.

The parts of the library `tokenizers` are run one after another, so that the result is exactly theirs: normaliser and
pre-tokenizer on the library's own `NormalizedString` and `PreTokenizedString`, the search for added tokens in a copy of
the tokenizer that has only these tokens. Only the model is read as data: its vocabulary, merges and scores.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from tokenizers import AddedToken, NormalizedString, PreTokenizedString, models, normalizers
from tokenizers import Tokenizer as Backend

from attncli.models.tokenizers.config import flat_parts
from attncli.models.tokenizers.guard import GrowthLimit, translate_failures
from attncli.models.tokenizers.token_bytes import part_state

Span = tuple[int, int]

#: The steps of BertNormalizer, in its order.
_BERT_STEPS = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")

#: Settings that are tables of thousands of bytes, and not shown.
_TABLE_SETTINGS = frozenset({"precompiled_charsmap"})

#: Kinds that only have switches: only those switched on are shown.
_SWITCH_KINDS = frozenset({"BertNormalizer"})


class PipelineStep(NamedTuple):
    """One step of a normaliser or pre-tokenizer: its kind and settings, as in a tokenizer.json."""

    kind: str
    settings: Mapping[str, object]


class Segment(NamedTuple):
    """One input of the normaliser: text between added tokens.

    start, end: characters of the whole text.  texts: the text after each step of the normaliser.
    """

    start: int
    end: int
    texts: tuple[str, ...]


class PreToken(NamedTuple):
    """One input of the model, normalised; or an added token in the text, which does not go through the model.

    start, end: characters of the whole text.  form: the normalised text.  added: the id of an added token.
    """

    start: int
    end: int
    form: str
    added: int | None = None


class PreTokenizedText(NamedTuple):
    """A text before the model.  counts: the number of pre-tokens after each step of the pre-tokenizer."""

    segments: tuple[Segment, ...]
    pre_tokens: tuple[PreToken, ...]
    counts: tuple[int, ...]


class TemplateSlot(NamedTuple):
    """An entry of the post-processor's template: a special token with its ids, or the text itself (no ids)."""

    name: str
    ids: tuple[int, ...] | None = None


#: The template without special tokens.
_TEXT_ONLY = (TemplateSlot("$A"),)


class TokenizerPipeline:
    """The parts of a `tokenizers.Tokenizer`, which is not changed."""

    def __init__(self, backend: Backend) -> None:
        """Raises ModelError where the library fails with the parts."""
        self._backend = backend
        self._growth = GrowthLimit(backend)
        self._normalizers = list(_normalizers(backend.normalizer))
        self._pre_tokenizers = list(flat_parts(backend.pre_tokenizer))
        added = [token for _, token in sorted(backend.get_added_tokens_decoder().items())]
        with translate_failures():
            self._raw_search = _AddedTokenSearch([token for token in added if not token.normalized], backend)
            self._normalized_search = _AddedTokenSearch(
                [token for token in added if token.normalized], backend, normalized=True
            )

    @property
    def normalizer(self) -> tuple[PipelineStep, ...]:
        return tuple(_pipeline_step(step) for step in self._normalizers)

    @property
    def pre_tokenizer(self) -> tuple[PipelineStep, ...]:
        return tuple(_pipeline_step(step) for step in self._pre_tokenizers)

    def model(self) -> Mapping[str, Any]:
        """The model as in a tokenizer.json, with its vocabulary. Takes 0.25 seconds for 150,000 entries."""
        return json.loads(self._backend.model.__getstate__())  # type: ignore[no-any-return]

    def template(self) -> tuple[TemplateSlot, ...] | None:
        """The special tokens that the post-processor puts around one text.

        None where that is no single template: several in a row, or Python code.
        """
        if self._backend.post_processor is None:
            return _TEXT_ONLY
        state = part_state(self._backend.post_processor)
        return None if state is None else _template(state)

    def pre_tokenize(self, text: str) -> PreTokenizedText:
        """Run all steps before the model: cut the text at added tokens, normalise it, and cut it into pre-tokens.

        Raises ModelError where the library fails, or the text would become too large.
        """
        with translate_failures():
            self._growth.check([text])
            segments: list[Segment] = []
            stages: list[list[PreToken]] = [[] for _ in range(len(self._pre_tokenizers) + 1)]
            whole = NormalizedString(text)
            characters = _CharacterOffsets(text)
            for span, added in self._raw_search.split(text):
                if added is not None:
                    for stage in stages:
                        stage.append(PreToken(*span, text[slice(*span)], added))
                    continue
                piece = _slice(whole, span)
                segments.append(Segment(*span, tuple(self._steps(piece))))
                self._pre_tokenize(piece, characters, stages)
            counts = tuple(len(stage) for stage in stages[1:])
            return PreTokenizedText(tuple(segments), tuple(stages[-1]), counts)

    def _steps(self, piece: NormalizedString) -> Iterator[str]:
        """Normalise in place, and yield the text after each step."""
        for step in self._normalizers:
            step.normalize(piece)
            yield piece.normalized

    def _pre_tokenize(
        self, piece: NormalizedString, characters: _CharacterOffsets, stages: list[list[PreToken]]
    ) -> None:
        """Cut a normalised piece, and add its pre-tokens after each step to that step's stage."""
        for span, added in self._normalized_search.split(piece.normalized):
            splits = _start_splits(_slice(piece, span))
            if added is not None:
                (pre_token,) = characters.pre_tokens(splits)
                for stage in stages:
                    stage.append(pre_token._replace(added=added))
                continue
            stages[0] += characters.pre_tokens(splits)
            for stage, step in zip(stages[1:], self._pre_tokenizers, strict=True):
                step.pre_tokenize(splits)
                stage += characters.pre_tokens(splits)


class _AddedTokenSearch:
    """Finds added tokens in a text as the library does, with a copy of the tokenizer that has only them.

    normalized: search normalised text, for the normalised form of the tokens.
    """

    def __init__(self, tokens: Sequence[AddedToken], backend: Backend, *, normalized: bool = False) -> None:
        # All other text is the unknown token. Its name is longer than theirs, so that it is none of them.
        rest = "?" * (1 + max((len(token.content) for token in tokens), default=0))
        self._copy = Backend(models.WordLevel({rest: 0}, unk_token=rest))
        self._copy.encode_special_tokens = backend.encode_special_tokens
        self._ids: dict[int, int | None] = {0: None}
        for token in tokens:
            content = token.content
            if normalized and backend.normalizer is not None:
                content = backend.normalizer.normalize_str(content)
            flags = {"lstrip": token.lstrip, "rstrip": token.rstrip, "single_word": token.single_word}
            self._copy.add_tokens([AddedToken(content, special=token.special, normalized=False, **flags)])
            # Where two are the same after normalisation, the first one is found.
            if (copy_id := self._copy.token_to_id(content)) is not None:
                self._ids.setdefault(copy_id, backend.token_to_id(token.content))

    def split(self, text: str) -> Iterable[tuple[Span, int | None]]:
        """The text cut at added tokens: the characters of each part, and its id where it is such a token."""
        if len(self._ids) == 1:
            return [((0, len(text)), None)] if text else []
        found = self._copy.encode(text)
        return [(span, self._ids[copy_id]) for span, copy_id in zip(found.offsets, found.ids, strict=True)]


class _CharacterOffsets:
    """Converts byte offsets of a text to characters."""

    def __init__(self, text: str) -> None:
        sizes = (len(character.encode("utf-8")) for character in text)
        self._starts = list(accumulate(sizes, initial=0))

    def pre_tokens(self, splits: PreTokenizedString) -> list[PreToken]:
        found = splits.get_splits("original", "byte")
        # A cut inside a character, between its bytes, is widened to the whole character.
        return [
            PreToken(bisect_right(self._starts, start) - 1, bisect_left(self._starts, end), text)
            for text, (start, end), _ in found
        ]


def _slice(text: NormalizedString, span: Span) -> NormalizedString:
    piece = text.slice(span)
    assert piece is not None, "the span is within the text"
    return piece


def _start_splits(piece: NormalizedString) -> PreTokenizedString:
    """A piece as input for pre-tokenizers, with its offsets in the text that it was cut from."""
    splits = PreTokenizedString("?")
    splits.split(lambda _index, _text: [piece])
    return splits


def _normalizers(normalizer: Any) -> Iterator[Any]:
    """The steps of a normaliser, with those of a BertNormalizer one by one."""
    for step in flat_parts(normalizer):
        if type(step).__name__ != "BertNormalizer":
            yield step
            continue
        settings = {name: getattr(step, name) for name in _BERT_STEPS}
        if settings["strip_accents"] is None:
            settings["strip_accents"] = settings["lowercase"]
        for name in filter(settings.get, _BERT_STEPS):
            yield normalizers.BertNormalizer(**{other: other == name for other in _BERT_STEPS})


def _pipeline_step(step: Any) -> PipelineStep:
    state = dict(part_state(step) or {})
    kind = str(state.pop("type", type(step).__name__))
    left_out = {
        name for name, value in state.items() if name in _TABLE_SETTINGS or (kind in _SWITCH_KINDS and not value)
    }
    return PipelineStep(kind, {name: value for name, value in state.items() if name not in left_out})


def _template(state: Mapping[str, Any]) -> tuple[TemplateSlot, ...] | None:
    match state:
        case {"type": "TemplateProcessing", "single": list(single), "special_tokens": dict(special)}:
            names = [item["SpecialToken"]["id"] if "SpecialToken" in item else None for item in single]
            return tuple(
                TemplateSlot(f"${item['Sequence']['id']}")
                if name is None
                else TemplateSlot(name, tuple(special[name]["ids"]))
                for item, name in zip(single, names, strict=True)
            )
        case {"type": "BertProcessing" | "RobertaProcessing", "cls": [first, first_id], "sep": [last, last_id]}:
            return (TemplateSlot(first, (first_id,)), TemplateSlot("$A"), TemplateSlot(last, (last_id,)))
        case {"type": "Sequence", "processors": list(processors)}:
            found = [template for processor in processors if (template := _template(processor)) != _TEXT_ONLY]
            # With several, the later ones treat what the first one adds as more texts: that is no single template.
            return found[0] if len(found) == 1 else None if found else _TEXT_ONLY
    return _TEXT_ONLY
