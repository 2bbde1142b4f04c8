"""White space at the end of a text, which a model that goes on writing takes badly."""

from __future__ import annotations

from collections.abc import Iterator

from attncli.tokens.lint.suspects import Suspect


def trailing_suspects(text: str) -> Iterator[Suspect]:
    """The white space at the end of a text that has anything else."""
    kept = text.rstrip()
    if not kept or len(kept) == len(text):
        return
    space = text[len(kept) :]
    what = "a newline" if space.endswith("\n") else "a space" if space.endswith(" ") else "white space"
    message = f"the text ends with {what}"
    hint = "take it out: a model begins its next word with the space, and rarely saw one stand alone"
    if space.endswith("\n"):
        hint = "take it out, unless what the model goes on with shall begin a line"
    yield Suspect("trailing_space", len(kept), len(text), message, hint, "")
