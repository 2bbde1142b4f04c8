"""Results as data that other programs read: JSON, JSON Lines and CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    class HasDict(Protocol):
        """A result of a verb."""

        def to_dict(self) -> dict[str, object]: ...


#: What RFC 4180 wants in quotes; other control characters join them, as readers differ about those.
_UNSAFE_IN_CSV = frozenset(',"') | {chr(code) for code in (*range(0x20), 0x7F, 0x85, 0x2028, 0x2029)}


def json_text(result: HasDict, *, ascii_only: bool = False) -> str:
    """A result as one line of JSON: numbers at full precision, keys in their own order, null for what is no number."""
    return json_line(result.to_dict(), ascii_only=ascii_only)


def json_line(value: Mapping[str, object], *, ascii_only: bool = False) -> str:
    """One object as one line of JSON, ended by a newline. `ascii_only` escapes all other characters."""
    try:
        line = json.dumps(value, ensure_ascii=ascii_only, allow_nan=False, separators=(", ", ": "))
    except ValueError:
        # Looked for only where it is: a walk in Python would take longer than the encoder itself.
        line = json.dumps(_with_null(value), ensure_ascii=ascii_only, allow_nan=False, separators=(", ", ": "))
    return f"{line}\n"


def json_value(value: object, *, ascii_only: bool = False) -> str:
    """One value as JSON, to stand within a line."""
    return json.dumps(value, ensure_ascii=ascii_only, allow_nan=False, separators=(", ", ": "))


def jsonl_text(rows: Iterable[Mapping[str, object]], *, ascii_only: bool = False) -> str:
    """An object a line."""
    return "".join(json_line(row, ascii_only=ascii_only) for row in rows)


def csv_text(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table as RFC 4180 has it, but for the line ends, which are a newline alone on every platform.

    An empty field is None (or a number that is none), `""` the empty text.
    """
    return "".join(f"{','.join(map(_field, row))}\n" for row in (header, *rows))


def _field(value: object) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float.__repr__(value)
    text = str(value)
    return text if text and _UNSAFE_IN_CSV.isdisjoint(text) else f'"{text.replace(chr(34), chr(34) * 2)}"'


def _with_null(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _with_null(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_with_null(member) for member in value]
    return value
