"""One text under every model asked for, as it is read: its picture or table, and what explains it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attncli.render.document import lower
from attncli.render.escape import printable
from attncli.render.lines import Line, Style, StyledSpan
from attncli.render.terminal import Terminal
from attncli.render.tokenize.forms import Form
from attncli.render.tokenize.picture import text_picture
from attncli.results.tokenize import Record, TokenizedText, TokenizeResult


class RecordText(Form):
    """Texts one after another, a blank line between them.

    table: tokens as a table.  lint: their findings, and in the end those of the vocabulary; of several texts those
    without any are only counted.
    count: how many texts there are; None where that is not known yet.
    """

    def __init__(
        self,
        terminal: Terminal,
        *,
        models: Sequence[str] = (),
        table: bool = False,
        lint: bool = False,
        count: int | None = None,
    ) -> None:
        self._terminal = terminal
        self._models = models
        self._table = table
        self._lint = lint
        self._count = count
        self._begun = False
        self._texts, self._clean = 0, dict.fromkeys(models, 0)

    def record(self, record: Record) -> str:
        self._texts += 1
        text = "\n".join(block for block in self._blocks(record) if block)
        if not text:
            return ""
        gap = "\n" if self._begun else ""
        self._begun = True
        return gap + text

    def end(self, summary: TokenizeResult) -> Iterator[str | bytes]:
        if not self._lint:
            return
        from attncli.render.tokenize.findings import clean_text, unreachable_text

        if self._count != 1:
            yield "\n" * self._begun + clean_text(self._models, list(self._clean.values()), self._texts, self._terminal)
            self._begun = True
        if summary.unreachable is not None:
            yield "\n" * self._begun + unreachable_text(self._models, summary.unreachable, self._terminal)

    def _blocks(self, record: Record) -> Iterator[str]:
        if record.comparison is not None and not (self._table or self._lint):
            from attncli.render.tokenize.aligned import aligned_text

            yield aligned_text(record.texts, record.comparison, self._terminal, count=self._count)
        for text in record.texts:
            if record.comparison is None or self._table or self._lint:
                yield self._picture(text)
            if text.why is not None:
                from attncli.render.tokenize.explanation import explain_text

                yield self._heading(record, text) + explain_text(text.why, self._terminal)

    def _heading(self, record: Record, text: TokenizedText) -> str:
        """Whose explanation it is, where the pictures of several models stand together."""
        if record.comparison is None:
            return ""
        return lower(
            [Line.of(StyledSpan(printable(text.model, unicode=self._terminal.unicode), Style(bold=True)))],
            self._terminal,
        )

    def _picture(self, text: TokenizedText) -> str:
        if self._lint:
            from attncli.render.tokenize.findings import lint_text

            if self._count != 1 and not text.findings:
                self._clean[text.model] += 1
                return ""
            return lint_text(text.findings or (), text, self._terminal, count=self._count)
        if self._table:
            from attncli.render.tokenize.table import token_table

            return token_table(text, self._terminal, count=self._count)
        if text.chat is not None:
            from attncli.render.tokenize.chat import chat_text

            return chat_text(text, text.chat, self._terminal, count=self._count)
        return text_picture(text, self._terminal, count=self._count)
