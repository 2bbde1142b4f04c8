"""A stand-in for the work of `attn tokenize`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from attncli.api.requests import TokenizeRequest
from attncli.api.tokenizing import TextInput
from attncli.results.tokenize import IdsPart, Record, TokenizeResult


class FakeTokenizing:
    """Stands for `TextTokenizer`: takes every text, and records its inputs."""

    can_stream = False
    notes = ()
    failures = ()
    request = TokenizeRequest()

    def __init__(self, result: TokenizeResult) -> None:
        self._result = result
        self.inputs: list[tuple[str, str | None, Any]] = []
        self.models = tuple(dict.fromkeys(text.model for text in result.texts))
        self.warnings = result.warnings
        self._records = [Record(index, (text,)) for index, text in enumerate(result.texts)]

    def records(self, inputs: Iterable[TextInput]) -> Iterator[Record]:
        self.inputs = [(given.text, given.pair, given.ids) for given in inputs]
        yield from self._records

    def ids(self, texts: Iterable[str]) -> Iterator[IdsPart]:
        self.inputs = [(text, None, None) for text in texts]
        yield from (IdsPart(text.record, text.model, text.ids) for record in self._records for text in record.texts)

    def vocabulary_entries(self) -> Iterator[Any]:
        yield from ()

    def summary(self) -> Any:
        return self._result._replace(texts=())
