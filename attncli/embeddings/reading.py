"""How a sentence is given to a model, and where the vector of its word is read: as it is, twice, or in a template.

A causal model can't know what follows a word. Given twice, the second copy has read the whole sentence (`--echo`,
Springer et al. 2024, arXiv 2402.15449); a template asks for the word after the sentence, and its last token has read
both (`--template`, Jiang et al. 2023, arXiv 2307.16645).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from string import Formatter
from typing import NamedTuple

from attncli.embeddings.text_matching import Span
from attncli.errors import UsageError

_FIELDS = ("sentence", "word")
_EXAMPLE = """for instance --template 'In "{sentence}", the word "{word}" means'"""


class ReadText(NamedTuple):
    """A text for the model, and for each word the characters whose tokens are read; None is the text's last token."""

    text: str
    spans: tuple[Span | None, ...]


class Reading(NamedTuple):
    """How sentences are read: as they are, each twice (echo), or each word of theirs in a template."""

    echo: bool = False
    template: str | None = None

    @property
    def whole(self) -> bool:
        """Whether the whole sentence stands before the position that is read."""
        return self.echo or self.template is not None

    def texts(self, sentence: str, spans: Sequence[Span]) -> Iterator[ReadText]:
        """The texts in which words of a sentence are read, of which only a template needs several.

        >>> list(Reading(echo=True).texts("a mole", [(2, 6)]))
        [ReadText(text='a mole a mole', spans=((9, 13),))]
        """
        if self.template is not None:
            for start, end in spans:
                yield ReadText(self.template.format(sentence=sentence, word=sentence[start:end]), (None,))
        elif self.echo:
            shift = len(sentence) + 1
            yield ReadText(f"{sentence} {sentence}", tuple((start + shift, end + shift) for start, end in spans))
        else:
            yield ReadText(sentence, tuple(spans))


def parse_reading(*, echo: bool, template: object, pool: str) -> Reading:
    """Check `--echo` and `--template`. Raises UsageError for both, and for a template without its two fields."""
    if template is None:
        return Reading(echo)
    if echo:
        raise UsageError(
            "--echo and --template can't be combined",
            hint="leave one of them out: both read the word after the whole sentence",
        )
    if pool != "mean":
        raise UsageError(
            f"--pool {pool} has no effect with --template",
            hint="leave --pool out: a template is read at its last token",
        )
    if not isinstance(template, str):
        raise UsageError(f"the template has to be a text, and not {template!r:.40}", hint=_EXAMPLE)
    try:
        parts = [part for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise UsageError(f"--template: {error}", hint="write {{ and }} for braces that are text") from error
    for _, name, form, conversion in parts:
        if name not in _FIELDS or form or conversion:
            written = f"{name}{f'!{conversion}' if conversion else ''}{f':{form}' if form else ''}"
            raise UsageError(f"--template: {{{written}}} is not a field", hint="its fields are {sentence} and {word}")
    for field in _FIELDS:
        if all(name != field for _, name, _, _ in parts):
            raise UsageError(f"--template has no {{{field}}}", hint=_EXAMPLE)
    return Reading(template=template)
