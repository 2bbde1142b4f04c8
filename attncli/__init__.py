"""Look inside any transformer: how it cuts text into tokens, where its heads look, where its parameters sit.

    >>> import attncli
    >>> result = attncli.heads("The cat sat on the mat", model="gpt2")
    >>> result.to_dict()["stacks"][0]["metrics"]

Each verb of the command line is a function here, takes the same options as keywords and returns a result whose
`to_dict()` is exactly the JSON that the command prints. Importing this package is instant: a verb is imported when it
is first used.

All of them take `revision`, `refresh`, `trust_remote_code` and `allow_pickle`, which mean what `attn heads --help` says
of these options, as do `device` and `dtype` where a model runs; and `progress`, a function that is called with what is
being done, how much of it is, and of how much.

`print(result)` shows what the command prints, and a notebook shows a page. `attncli.read` gives a result back that was
saved as JSON.

Errors are `AttnError`s: a `UsageError` for wrong arguments, a `ModelError` for a model that is unavailable, a
`FailedError` for a file that can't be read or written, or too little memory. Its `message` says what happened, its
`hint` what mends it.
"""

from __future__ import annotations

from attncli._version import __version__
from attncli.results import set_renderer

#: Type checkers know this name, as they know the one in `typing`, whose import would be nine tenths of ours.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from attncli.api.compare import compare
    from attncli.api.heads import heads
    from attncli.api.params import params
    from attncli.api.tokenize import tokenize
    from attncli.errors import AttnError, FailedError, ModelError, UsageError
    from attncli.results.read import read
else:

    def __getattr__(name: str) -> object:
        from importlib import import_module

        from attncli.verbs import VERBS

        if name in VERBS:
            return VERBS[name].load("function")
        if name in ("AttnError", "FailedError", "ModelError", "UsageError"):
            return getattr(import_module("attncli.errors"), name)
        if name == "read":
            return import_module("attncli.results.read").read
        raise AttributeError(f"module 'attncli' has no attribute {name!r}")


__all__ = [
    "AttnError", "FailedError", "ModelError", "UsageError", "__version__", "compare", "heads", "params", "read",
    "tokenize",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)


def _render(result: object, form: str) -> str:
    """A result as the command prints it, or as the page that a notebook shows."""
    from attncli.render.formats import FORMATS, Look, render

    if form == "text":
        return str(render(result, FORMATS[form], Look())).removesuffix("\n")
    from attncli.render.html.page import notebook

    return notebook(str(render(result, FORMATS["html"], Look())))


set_renderer(_render)
