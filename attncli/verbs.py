"""The verbs, each once: a command of `attn`, a function of `attncli`, a result, and what draws it.

Imports nothing but `typing`; what a verb consists of is imported when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

#: Where the parts of a verb are, by its name.
_PLACES = {
    "command": "attncli.cli.{0}:{0}",
    "function": "attncli.api.{0}:{0}",
    "text": "attncli.render.{0}.text:{0}_text",
    "page": "attncli.render.html.{0}:{0}_html",
    "figure": "attncli.render.figures.{0}:{0}_figure",
    "table": "attncli.render.{0}.tables:{0}_table",
    "records": "attncli.render.{0}.tables:{0}_records",
    "arrays": "attncli.render.{0}.tables:{0}_arrays",
    "stream": "attncli.render.stream:render_stream",
}
_DATA = ("text", "page", "json", "table", "records")


class Verb(NamedTuple):
    """A verb, with what the help says of it.

    result: the module and the class of its result.  parts: the ways to draw it, as `Format.part` names them.
    streams: it is written text by text, in forms that are chosen for all of these parts in one place (`stream`).
    """

    name: str
    summary: str
    result: str
    parts: tuple[str, ...]
    streams: bool = False

    @property
    def schema(self) -> str:
        """The value of `schema` in its JSON."""
        return f"attncli.{self.name}/1"

    def load(self, part: str) -> Any:
        """A part of the verb (a key of `_PLACES`, or `result`), imported now."""
        module, name = (self.result if part == "result" else _PLACES[part].format(self.name)).split(":")
        return getattr(import_module(module), name)


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "compare",
            "Show whether context changes a word.",
            "attncli.results.compare:CompareResult",
            (*_DATA, "arrays", "figure"),
        ),
        Verb(
            "heads",
            "Show what a model's attention heads attend to.",
            "attncli.results.heads:HeadsResult",
            (*_DATA, "arrays", "figure"),
        ),
        Verb(
            "params",
            "Count a model's parameters and estimate their cost.",
            "attncli.results.params:ParamsResult",
            _DATA,
        ),
        Verb(
            "tokenize",
            "Show how a model splits text into tokens.",
            "attncli.results.tokenize:TokenizeResult",
            (*_DATA, "arrays"),
            streams=True,
        ),
    )
}


def verb_of(result: object) -> Verb:
    """The verb that a result is of."""
    return next(verb for verb in VERBS.values() if verb.result.endswith(f":{type(result).__name__}"))
