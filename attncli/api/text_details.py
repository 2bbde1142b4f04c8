"""Add to a tokenized text what options ask for: message boundaries of a chat, `--why`, `--lint`, comparisons, checks.

The modules that compute each are imported when they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attncli.results.tokenize import Record, TokenizedText

if TYPE_CHECKING:
    from attncli.api.cutting import TokenizeSettings
    from attncli.models.chat.chat_text import ChatText
    from attncli.models.tokenizers.types import Tokenizer
    from attncli.results.comparison import Comparison
    from attncli.tokens.explain import Explainer


class TextDetails:
    """Adds everything to a text that `settings` ask for, besides its tokens."""

    def __init__(self, settings: TokenizeSettings) -> None:
        self._settings = settings
        # By the tokenizer's id: building one reads the whole vocabulary.
        self._explainers: dict[int, Explainer] = {}

    def add(self, text: TokenizedText, tokenizer: Tokenizer, chat: ChatText | None) -> TokenizedText:
        """The text with details.  chat: the conversation that a chat template rendered as the text."""
        if chat is not None:
            from attncli.tokens.chat_roles import assign_messages, has_double_bos

            text = text._replace(chat=assign_messages(text, chat, double_bos=has_double_bos(text, tokenizer)))
        if self._settings.why and text.text is not None:
            special = self._settings.special and chat is None
            text = text._replace(why=self._explainer(tokenizer).explain(text.text, special=special))
        if self._settings.lint or "lint" in self._settings.check:
            from attncli.tokens.lint import lint

            text = text._replace(findings=lint(tokenizer, text))
        return text

    def _explainer(self, tokenizer: Tokenizer) -> Explainer:
        from attncli.tokens.explain import Explainer

        if id(tokenizer) not in self._explainers:
            self._explainers[id(tokenizer)] = Explainer(tokenizer)
        return self._explainers[id(tokenizer)]


def compare_models(texts: Sequence[TokenizedText]) -> Comparison | None:
    """Where several models tokenize one text differently; None for one model, for ids, and for texts that differ."""
    first = texts[0]
    if len(texts) == 1 or first.text is None or any(text.text != first.text for text in texts):
        return None
    from attncli.tokens.tokenizer_comparison import compare_tokenizations

    return compare_tokenizations(texts)


class TextChecks:
    """Runs the checks `same` (all models give the same tokens) and `lint` (no warnings) on every text."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)
        self._failures: list[str] = []

    def add(self, record: Record) -> None:
        if "same" in self._names:
            self._failures += (f"same: {_text_prefix(record)}{sentence}" for sentence in _same_failures(record))
        if "lint" in self._names:
            self._failures += (f"lint: {sentence}" for sentence in _lint_failures(record))

    @property
    def failures(self) -> tuple[str, ...]:
        return tuple(self._failures)


def _text_prefix(record: Record) -> str:
    return f"text {record.record + 1}: "


def _same_failures(record: Record) -> list[str]:
    if record.comparison is None:
        ids = {tuple(text.ids) for text in record.texts}
        return [] if len(ids) == 1 else ["the models are given different texts"]
    from attncli.tokens.tokenizer_comparison import failures

    return failures(record.comparison, record.texts[0].source)


def _lint_failures(record: Record) -> list[str]:
    from attncli.tokens.lint import failures

    several = len(record.texts) > 1
    return [
        f"{_text_prefix(record) if file is None else ''}{f'{text.model}: ' if several else ''}{sentence}"
        for text in record.texts
        for file in (text.source and text.source.file,)
        for sentence in failures(text.findings or (), file)
    ]
