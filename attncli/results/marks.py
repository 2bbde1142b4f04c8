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

from enum import Enum
from typing import Any, NamedTuple


class Mark(Enum):
    """A way to write a field."""

    OPTIONAL = "optional"
    FLAT = "flat"
    INFINITE = "infinite"
    PACKED = "packed"


OPTIONAL, FLAT, INFINITE, PACKED = Mark


class Key(NamedTuple):
    """The key of a field, with those of the objects around it before dots."""

    name: str


class Named(NamedTuple):
    """The keys of the members of a tuple, which is then written as an object; null where it is empty."""

    keys: tuple[str, ...]


class Beside(NamedTuple):
    """The field that a field is left out with."""

    name: str


class Only(NamedTuple):
    """The keys of an object that are written."""

    keys: tuple[str, ...]

    def select(self, found: dict[str, Any]) -> dict[str, Any]:
        return {key: found[key] for key in self.keys}


class ByKey(NamedTuple):
    """The key of a mapping's keys in a list of objects.

    value: that of its values; None where these are objects themselves, whose keys stand beside `key`.
    """

    key: str
    value: str | None = None

    def join(self, key: object, content: Any) -> dict[str, Any]:
        """The object of one entry."""
        return {self.key: key, **(content if self.value is None else {self.value: content})}

    def split(self, entry: dict[str, Any]) -> tuple[Any, Any]:
        """The key and the content of such an object."""
        if self.value is not None:
            return entry[self.key], entry[self.value]
        return entry[self.key], {key: each for key, each in entry.items() if key != self.key}
