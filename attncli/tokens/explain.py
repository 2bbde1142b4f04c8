"""How a tokenizer came to the tokens of a text: its steps told from its own data, and checked against what it gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attncli.errors import UsageError
from attncli.results.explanation import Entry, Explanation, Model, PreToken, Segment, Step, Word
from attncli.tokens.encode import check_text
from attncli.tokens.tokenizer_models import BestPath, LongestMatch, Merging, WholeWord

if TYPE_CHECKING:
    from attncli.models.tokenizers.pipeline import PipelineStep, PreTokenizedText, TemplateSlot, TokenizerPipeline
    from attncli.models.tokenizers.types import Encoding, Tokenizer


class _Explains(Protocol):
    """What each kind of model can do."""

    def explain(self, word: str) -> Word: ...


class _Kind(Protocol):
    def __call__(self, state: Mapping[str, Any]) -> _Explains: ...


#: The kinds of models that the library `tokenizers` has.
_KINDS: Mapping[str, _Kind] = {
    "BPE": Merging,
    "WordPiece": LongestMatch,
    "Unigram": BestPath,
    "WordLevel": WholeWord,
}

#: What of a model's state is no setting.
_DATA = frozenset({"type", "vocab", "merges"})


def explain(tokenizer: Tokenizer, text: str, *, special: bool = True) -> Explanation:
    """How the tokens of one text come about: see `Explainer`, which reads the vocabulary once for several texts."""
    return Explainer(tokenizer).explain(text, special=special)


class Explainer:
    """A tokenizer that tells how it comes to its tokens, from the text to the special tokens around it.

    The steps are worked out from the tokenizer's data; `agrees` says whether they lead to the tokens that it gives
    itself. (They may not where it drops merges at random, as its `dropout` asks for.)

    Raises UsageError for a tokenizer that is a class of Python code, whose steps only it knows.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._parts = _parts(tokenizer)
        state = self._parts.model()
        self._facts = _facts(state)
        self._model = _KINDS[state["type"]](state)

    def explain(self, text: str, *, special: bool = True) -> Explanation:
        """How one text is cut.  special: with the special tokens that the model expects.

        Raises UsageError for half a character.
        """
        check_text(text)
        encoding = self._tokenizer.encode(text, special=special)
        cut = self._parts.pre_tokenize(text)
        words, pre_tokens = _words(text, cut, self._model)
        template = self._parts.template() if special else None
        own = [identifier for pre_token in pre_tokens for identifier in _ids(pre_token, words)]
        return Explanation(
            normalizer=tuple(Step(*part) for part in self._parts.normalizer),
            segments=tuple(_segments(text, cut)),
            pre_tokenizer=tuple(_counted(self._parts.pre_tokenizer, cut.counts)),
            pre_tokens=pre_tokens,
            model=self._facts,
            words=words,
            template=None if template is None else tuple(slot.name for slot in template),
            tokens=tuple(_entries(self._tokenizer, encoding.ids)),
            special=tuple(index for index, sequence in enumerate(encoding.sequences) if sequence is None),
            agrees=_agrees(encoding, own, template),
        )


def _parts(tokenizer: Tokenizer) -> TokenizerPipeline:
    if (parts := tokenizer.pipeline()) is None:
        raise UsageError(
            f"{tokenizer.class_name} is written in Python, and only its own code knows how it cuts",
            hint="leave --why out, or name a model with a tokenizer.json",
        )
    return parts


def _words(text: str, cut: PreTokenizedText, model: _Explains) -> tuple[tuple[Word, ...], tuple[PreToken, ...]]:
    """What the model does with each pre-token, those of the same form once; and the pre-tokens that point to it."""
    numbers: dict[str, int] = {}
    for pre_token in cut.pre_tokens:
        if pre_token.added is None:
            numbers.setdefault(pre_token.form, len(numbers))
    pre_tokens = (
        PreToken(start, end, text[start:end], form, numbers[form] if added is None else None, added)
        for start, end, form, added in cut.pre_tokens
    )
    return tuple(model.explain(form) for form in numbers), tuple(pre_tokens)


def _ids(pre_token: PreToken, words: Sequence[Word]) -> list[int]:
    if pre_token.word is not None:
        return [entry.id for entry in words[pre_token.word].tokens]
    return [] if pre_token.added is None else [pre_token.added]


def _segments(text: str, cut: PreTokenizedText) -> Iterator[Segment]:
    for start, end, texts in cut.segments:
        before = text[start:end]
        changes = [(step, after) for step, after in enumerate(texts) if after != ([before, *texts][step])]
        yield Segment(start, end, before, texts[-1] if texts else before, tuple(changes))


def _counted(parts: Sequence[PipelineStep], counts: Sequence[int]) -> Iterator[Step]:
    return (Step(*part, count) for part, count in zip(parts, counts, strict=True))


def _facts(state: Mapping[str, Any]) -> Model:
    merges = len(state["merges"]) if "merges" in state else None
    settings = {name: value for name, value in state.items() if name not in _DATA}
    return Model(state["type"], len(state["vocab"]), merges, settings)


def _entries(tokenizer: Tokenizer, ids: Sequence[int]) -> Iterator[Entry]:
    for identifier, piece in zip(ids, tokenizer.describe(ids), strict=True):
        yield Entry(identifier, "" if piece is None else piece.token)


def _agrees(encoding: Encoding, own: Sequence[int], template: Sequence[TemplateSlot] | None) -> bool:
    """Whether the tokenizer gives the ids that the steps lead to."""
    if template is None:
        numbered = zip(encoding.ids, encoding.sequences, strict=True)
        return [identifier for identifier, sequence in numbered if sequence is not None] == list(own)
    expected = [identifier for slot in template for identifier in (own if slot.ids is None else slot.ids)]
    return list(encoding.ids) == expected
