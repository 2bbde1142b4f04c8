"""The base of values with arrays: frozen dataclasses, as named tuples can't compare arrays or check their fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, dataclass_transform

from attncli.results.base import from_dict, short_repr, to_dict

__all__ = ["Struct", "field"]


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Struct:
    """A frozen dataclass with `to_dict`, `from_dict` and a `repr` of limited length.

    json: the fields and properties in the JSON, in its order; by default all fields.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    _json: ClassVar[list[str]]

    def __init_subclass__(cls, *, json: str = "", eq: bool = True) -> None:
        if json:
            cls._json = json.split()
        dataclass(frozen=True, eq=eq, repr=False)(cls)

    def to_dict(self) -> dict[str, Any]:
        """The value as an object for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The value whose `to_dict` gave `data`. Raises KeyError, TypeError and ValueError for other data."""
        return from_dict(cls, data)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return short_repr(self)
