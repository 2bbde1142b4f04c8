"""A whole result of `tokenize` at once, where the command line has it text by text."""

from __future__ import annotations

from itertools import groupby

from attncli.render.terminal import Terminal
from attncli.render.tokenize.forms import Form
from attncli.render.tokenize.record import RecordText
from attncli.render.tokenize.summary_forms import SummaryForm
from attncli.results.tokenize import Record, TokenizeResult


def tokenize_text(result: TokenizeResult, terminal: Terminal) -> str:
    """The result for a terminal of this width, colour depth and character set; no line is wider than the terminal."""
    return written(result, text_form(result, terminal))


def text_form(result: TokenizeResult, terminal: Terminal) -> Form:
    """The form for a terminal that shows what was asked for: tokens, findings, figures or a vocabulary."""
    count = len({text.record for text in result.texts})
    if result.statistics is not None or result.vocabularies is not None:
        return SummaryForm("text", terminal, lambda: (), texts=count)
    models = list(dict.fromkeys(text.model for text in result.texts))
    linted = any(text.findings is not None for text in result.texts)
    return RecordText(terminal, models=models, lint=linted, count=count)


def written(result: TokenizeResult, form: Form) -> str:
    """All that a form makes of a result."""
    parts = [form.start()]
    comparisons = iter(result.comparisons or ())
    for number, texts in groupby(result.texts, lambda text: text.record):
        parts.append(form.record(Record(number, tuple(texts), next(comparisons, None))))
    return "".join([*parts, *map(str, form.end(result))])
