"""The result of `attn tokenize` as an HTML page: each text's tokens with ids, raw forms and places, then reports."""

from __future__ import annotations

from collections.abc import Iterator

from attncli.render.common.escape import printable, visible
from attncli.render.common.terminal import Terminal
from attncli.render.html.page import page, rounded
from attncli.render.tokenize.forms import Form
from attncli.results.tokenize import Record, TokenizedText, TokenizeResult
from attncli.results.tokens import Token

#: Tokens that a page shows; a browser can't hold more.
_MAX_TOKENS = 20_000
#: The terminal that reports on a page are written for.
SCREEN = Terminal(width=100)
_FIGURE_NAMES = {
    "words": "words",
    "fertility": "fertility",
    "continued_words": "continued words",
    "bytes_per_token": "bytes per token",
    "characters_per_token": "characters per token",
    "unknown": "unknown",
}


class PageForm(Form):
    """Collects the content of a page, and writes it at the end.

    report: renders as text what a page shows besides tokens: explanations, findings, comparisons; or summaries of all
    texts, if tokens are not shown.
    """

    def __init__(self, report: Form, *, tokens: bool = True, title: str | None = None) -> None:
        self.summary = not tokens and report.summary
        self._report = report
        self._tokens = tokens
        self._title = title
        self._texts: list[dict[str, object]] = []
        self._report_parts: list[str] = []
        self._room = _MAX_TOKENS
        self._left_out = 0

    def record(self, record: Record) -> str:
        if self._room > 0 and (not self._tokens or _has_more_than_tokens(record)):
            self._report_parts.append(self._report.record(record))
        if self._tokens:
            for text in record.texts:
                self._add_text(text)
        return ""

    def end(self, summary: TokenizeResult) -> Iterator[str | bytes]:
        self._report_parts += [str(part) for part in self._report.end(summary)]
        notes = [printable(text) for text in summary.warnings]
        if self._left_out:
            notes.append(f"{self._left_out:,} more tokens are left out; -o FILE.json holds them all")
        yield page(
            "tokens",
            {"facts": [], "notes": notes, "texts": self._texts, "said": "".join(self._report_parts)},
            title=self._title or _default_title(self._texts),
            made_by=summary.made_by,
        )

    def _add_text(self, text: TokenizedText) -> None:
        shown = text.tokens[: self._room]
        self._room -= len(shown)
        self._left_out += len(text.tokens) - len(shown)
        if shown or not text.tokens:
            self._texts.append(_text_data(text, shown))


def _has_more_than_tokens(record: Record) -> bool:
    """Whether there is a report about the text besides its tokens."""
    explained = any(text.why or text.chat or text.findings is not None for text in record.texts)
    return explained or record.comparison is not None


def _default_title(texts: list[dict[str, object]]) -> str:
    models = dict.fromkeys(str(text["model"]) for text in texts)
    return f"tokens of {' and '.join(models)}" if models else "tokens"


def _text_data(text: TokenizedText, tokens: tuple[Token, ...]) -> dict[str, object]:
    stats = text.stats
    figures = [[name, rounded(getattr(stats, key))] for key, name in _FIGURE_NAMES.items()]
    return {
        "model": printable(text.model),
        "count": len(text.tokens),
        "special": stats.special_tokens,
        "stats": [[name, value] for name, value in figures if value is not None],
        "tokens": [_token_data(token) for token in tokens],
    }


def _token_data(token: Token) -> list[object]:
    """The visible text, id, raw form, word (null for a special token), and places."""
    shown = visible(token.text or token.token or str(token.id))
    raw = visible(token.token)
    places = [] if token.start is None else [[token.start, token.end], [token.byte_start, token.byte_end]]
    return [shown, token.id, None if raw == shown else raw, None if token.special else token.word, *places]
