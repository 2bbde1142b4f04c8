"""`--why`: the steps from a text to its tokens, computed from the tokenizer's data and checked against its output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attncli.errors import UsageError
from attncli.results.explanation import Entry, Explanation, Model, PreToken, Segment, Step, Word
from attncli.tokens.encode import check_text
from attncli.tokens.spans import cover_gaps
from attncli.tokens.tokenizer_models import BPEExplainer, UnigramExplainer, WordLevelExplainer, WordPieceExplainer

if TYPE_CHECKING:
    from attncli.models.tokenizers.pipeline import PipelineStep, PreTokenizedText, TemplateSlot, TokenizerPipeline
    from attncli.models.tokenizers.types import Encoding, Tokenizer


class _ModelExplainer(Protocol):
    """Explains how a tokenizer's model splits a word."""

    def explain(self, word: str) -> Word: ...


class _ModelType(Protocol):
    def __call__(self, state: Mapping[str, Any]) -> _ModelExplainer: ...


#: The models of the library `tokenizers`, by their `type` in a tokenizer.json.
_MODEL_TYPES: Mapping[str, _ModelType] = {
    "BPE": BPEExplainer,
    "WordPiece": WordPieceExplainer,
    "Unigram": UnigramExplainer,
    "WordLevel": WordLevelExplainer,
}

#: The fields of a model's state that aren't settings.
_DATA_FIELDS = frozenset({"type", "vocab", "merges"})


def explain(tokenizer: Tokenizer, text: str, *, special: bool = True) -> Explanation:
    """The steps for one text; for several texts use `Explainer`, which reads the vocabulary once."""
    return Explainer(tokenizer).explain(text, special=special)


class Explainer:
    """Explains a tokenizer's steps, from normalizing the text to adding special tokens.

    The steps are computed from the tokenizer's data; `agrees` in the result says whether they lead to the tokens that
    it gives itself. (They may not if `dropout` skips merges at random.)

    Raises UsageError for a tokenizer that is written in Python, whose steps are unknown.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._parts = _open_pipeline(tokenizer)
        state = self._parts.model()
        self._facts = _describe_model(state)
        self._model = _MODEL_TYPES[state["type"]](state)

    def explain(self, text: str, *, special: bool = True) -> Explanation:
        """The steps for one text.  special: add the special tokens that the model expects.

        Raises UsageError for a lone surrogate.
        """
        check_text(text)
        encoding = self._tokenizer.encode(text, special=special)
        cut = self._parts.pre_tokenize(text)
        spans = cover_gaps(text, [each[:2] for each in cut.pre_tokens], self._tokenizer.composer)
        covered = (
            each._replace(start=start, end=end) for each, (start, end) in zip(cut.pre_tokens, spans, strict=True)
        )
        cut = cut._replace(pre_tokens=tuple(covered))
        words, pre_tokens = _explain_words(text, cut, self._model)
        template = self._parts.template() if special else None
        own = [identifier for pre_token in pre_tokens for identifier in _pre_token_ids(pre_token, words)]
        return Explanation(
            normalizer=tuple(Step(*part) for part in self._parts.normalizer),
            segments=tuple(_segments(text, cut)),
            pre_tokenizer=tuple(_steps_with_counts(self._parts.pre_tokenizer, cut.counts)),
            pre_tokens=pre_tokens,
            model=self._facts,
            words=words,
            template=None if template is None else tuple(slot.name for slot in template),
            tokens=tuple(_entries(self._tokenizer, encoding.ids)),
            special=tuple(index for index, sequence in enumerate(encoding.sequences) if sequence is None),
            agrees=_agrees(encoding, own, template),
        )


def _open_pipeline(tokenizer: Tokenizer) -> TokenizerPipeline:
    if (parts := tokenizer.pipeline()) is None:
        raise UsageError(
            f"{tokenizer.class_name} is written in Python, and only its own code knows how it cuts",
            hint="leave --why out, or name a model with a tokenizer.json",
        )
    return parts


def _explain_words(
    text: str, cut: PreTokenizedText, model: _ModelExplainer
) -> tuple[tuple[Word, ...], tuple[PreToken, ...]]:
    """How the model splits each distinct pre-token, and all pre-tokens with the index of theirs."""
    numbers: dict[str, int] = {}
    for pre_token in cut.pre_tokens:
        if pre_token.added is None:
            numbers.setdefault(pre_token.form, len(numbers))
    pre_tokens = (
        PreToken(start, end, text[start:end], form, numbers[form] if added is None else None, added)
        for start, end, form, added in cut.pre_tokens
    )
    return tuple(model.explain(form) for form in numbers), tuple(pre_tokens)


def _pre_token_ids(pre_token: PreToken, words: Sequence[Word]) -> list[int]:
    if pre_token.word is not None:
        return [entry.id for entry in words[pre_token.word].tokens]
    return [] if pre_token.added is None else [pre_token.added]


def _segments(text: str, cut: PreTokenizedText) -> Iterator[Segment]:
    for start, end, texts in cut.segments:
        before = text[start:end]
        changes = [(step, after) for step, after in enumerate(texts) if after != ([before, *texts][step])]
        yield Segment(start, end, before, texts[-1] if texts else before, tuple(changes))


def _steps_with_counts(parts: Sequence[PipelineStep], counts: Sequence[int]) -> Iterator[Step]:
    return (Step(*part, count) for part, count in zip(parts, counts, strict=True))


def _describe_model(state: Mapping[str, Any]) -> Model:
    merges = len(state["merges"]) if "merges" in state else None
    settings = {name: value for name, value in state.items() if name not in _DATA_FIELDS}
    return Model(state["type"], len(state["vocab"]), merges, settings)


def _entries(tokenizer: Tokenizer, ids: Sequence[int]) -> Iterator[Entry]:
    for identifier, piece in zip(ids, tokenizer.describe(ids), strict=True):
        yield Entry(identifier, "" if piece is None else piece.token)


def _agrees(encoding: Encoding, own: Sequence[int], template: Sequence[TemplateSlot] | None) -> bool:
    """Whether the tokenizer gives the same ids as the steps."""
    if template is None:
        numbered = zip(encoding.ids, encoding.sequences, strict=True)
        return [identifier for identifier, sequence in numbered if sequence is not None] == list(own)
    expected = [identifier for slot in template for identifier in (own if slot.ids is None else slot.ids)]
    return list(encoding.ids) == expected
