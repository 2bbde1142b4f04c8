"""How fields of results are written, where not under their names: annotations that `attncli.results.walk` reads.

Annotated[int, Key("best_state")]                        another key
Annotated[float, Key("residual.scale")]                  the key `scale` of an object `residual`
Annotated[Probe | None, OPTIONAL]                        left out where it is as by default
Annotated[Mapping[str, float], FLAT]                     its keys stand beside those of the other fields
Annotated[Mapping[int, int], ByKey("layer", "count")]    a list of {"layer": 0, "count": 3}
Annotated[tuple[int, str], Named(("step", "text"))]      an object with a key per member
Annotated[int | None, Beside("lines")]                   left out where `lines` is None
Annotated[Token, Only(("id", "text"))]                   without other keys of its object
Annotated[Vector, INFINITE]                              null stands for −∞ (elsewhere for NaN)
Annotated[Pixels, PACKED]                                bytes, compressed and in base64
"""

from __future__ import annotations

from typing import Any


class Mark:
    """A way to write a field. Plain classes, as the first JSON of a process waits for their definition."""


#: A field that is left out where it is as by default, whose keys stand beside those of the others, whose nulls are −∞,
#: and whose bytes are compressed.
OPTIONAL, FLAT, INFINITE, PACKED = Mark(), Mark(), Mark(), Mark()


class Key(Mark):
    """The key of a field, with those of the objects around it before dots."""

    def __init__(self, name: str) -> None:
        self.name = name


class Named(Mark):
    """The keys of the members of a tuple, which is then written as an object; null where it is empty."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys


class Beside(Mark):
    """The field that a field is left out with."""

    def __init__(self, name: str) -> None:
        self.name = name


class Only(Mark):
    """The keys of an object that are written."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys

    def select(self, found: dict[str, Any]) -> dict[str, Any]:
        """The object with these keys alone."""
        return {key: found[key] for key in self.keys}


class ByKey(Mark):
    """The key of a mapping's keys in a list of objects.

    value: that of its values; None where these are objects themselves, whose keys stand beside `key`.
    """

    def __init__(self, key: str, value: str | None = None) -> None:
        self.key, self.value = key, value

    def join(self, key: object, content: Any) -> dict[str, Any]:
        """The object of one entry."""
        return {self.key: key, **(content if self.value is None else {self.value: content})}

    def split(self, entry: dict[str, Any]) -> tuple[Any, Any]:
        """The key and the content of such an object."""
        if self.value is not None:
            return entry[self.key], entry[self.value]
        return entry[self.key], {key: each for key, each in entry.items() if key != self.key}
