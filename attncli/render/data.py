"""Writers of JSON, and of tables as CSV, shared by all verbs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Protocol

    class HasDict(Protocol):
        """A result of a verb, as a dict of JSON values."""

        def to_dict(self) -> dict[str, object]: ...


#: Characters that need quotes by RFC 4180, and other control characters, which CSV readers treat differently.
_UNSAFE_IN_CSV = frozenset(',"') | {chr(code) for code in (*range(0x20), 0x7F, 0x85, 0x2028, 0x2029)}


#: A spreadsheet takes a cell that begins like this for a formula; the wide forms too.
_FORMULA_STARTS = (*"=+-@\t\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)*([eE][+-]?[0-9]+)?")
#: Control characters but for tab and line ends, which CSV quotes; and Unicode's marks for the direction of writing.
_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def json_text(result: HasDict, *, ascii_only: bool = False) -> str:
    """A result as one line of JSON: floats at full precision, keys in their own order, null for NaN and infinity."""
    return json_line(result.to_dict(), ascii_only=ascii_only)


def json_line(value: Mapping[str, object], *, ascii_only: bool = False) -> str:
    """One object as one line of JSON, ended by a newline. ascii_only: escape all characters beyond ASCII."""
    try:
        line = json.dumps(value, ensure_ascii=ascii_only, allow_nan=False, separators=(", ", ": "))
    except ValueError:
        # NaN is replaced only where the encoder found one: always walking the value would take longer than encoding it.
        line = json.dumps(_nan_to_null(value), ensure_ascii=ascii_only, allow_nan=False, separators=(", ", ": "))
    return f"{line}\n"


def json_value(value: object, *, ascii_only: bool = False) -> str:
    """One value as JSON, without a newline."""
    return json.dumps(value, ensure_ascii=ascii_only, allow_nan=False, separators=(", ", ": "))


Row = Sequence[object]
#: A result as a table: the names of its columns, and its rows.
Table = tuple[Sequence[str], Iterable[Row]]


class TableStyle(NamedTuple):
    """How a table is written: a function for a field, and what stands before, between and after the fields of a row.

    rule: what stands for each field in a line beneath the header; None: no such line.
    """

    field: Callable[[object], str]
    start: str
    separator: str
    end: str
    rule: str | None = None

    def row(self, values: Row) -> str:
        return f"{self.start}{self.separator.join(map(self.field, values))}{self.end}"

    def header(self, columns: Sequence[str]) -> str:
        rule = "" if self.rule is None else f"{self.start}{self.separator.join([self.rule] * len(columns))}{self.end}"
        return f"{self.row(columns)}{rule}"

    def text(self, columns: Sequence[str], rows: Iterable[Row]) -> str:
        """A whole table."""
        return "".join((self.header(columns), *map(self.row, rows)))


def _csv_field(value: object) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float.__repr__(value)
    text = str(value) if isinstance(value, int) else _guarded(str(value))
    return text if text and _UNSAFE_IN_CSV.isdisjoint(text) else f'"{text.replace(chr(34), chr(34) * 2)}"'


def _guarded(text: str) -> str:
    """A text for a cell (https://owasp.org/www-community/attacks/CSV_Injection). A plain number (`-5`) stays."""
    if text.isascii() and text.isalnum():
        return text
    text = _INVISIBLE.sub(_escape, text)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) and _NUMBER.fullmatch(text) is None else text


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{{{code:x}}}"


#: By RFC 4180, but with lines ended by a newline alone on every platform. None, NaN and infinity are empty fields, the
#: empty text is `""`. A text that a spreadsheet would take for a formula gets a `'` in front; control characters and
#: those that change the direction of writing are escapes (`\x1b`).
CSV = TableStyle(_csv_field, "", ",", "\n")


def _nan_to_null(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _nan_to_null(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_null(member) for member in value]
    return value
