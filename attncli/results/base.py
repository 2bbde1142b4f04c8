"""What all results share: a short `repr`, the library versions, and how a result shows itself.

>>> result.stacks[0].patterns[0]
Pattern(layer=5, head=1, weights=<float32 (7, 7)>)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from attncli import results

#: The most characters of a text, of a value within a value, and of a collection's values.
_MAX_TEXT = 50
_MAX_VALUE = 100
_MAX_LISTED = 240
#: The most values of a collection that are written out.
_MAX_VALUES = 4

#: Replaces the fields of a value that is too long.
_ELIDED = "(...)"

_Class = TypeVar("_Class", bound=type)


def showable(cls: _Class) -> _Class:
    """Class decorator: `print` shows what the command prints, and a notebook shows the HTML page."""
    cls.__str__ = _as_text  # type: ignore[method-assign, assignment]
    cls._repr_html_ = _as_html  # type: ignore[attr-defined]
    return cls


def _as_text(result: object) -> str:
    """The output of the command, 80 columns wide and without colours."""
    return results.get_renderer()(result, "text")


def _as_html(result: object) -> str:
    """The HTML page, as notebooks show it."""
    return results.get_renderer()(result, "html")


def short_repr(cls: _Class) -> _Class:
    """Class decorator of named tuples and dataclasses: a `repr` of limited length.

    Fields with their default value are left out; arrays are shown by shape, long collections by length.
    """
    cls.__repr__ = _format_fields  # type: ignore[method-assign, assignment]
    return cls


def shortened(text: str) -> str:
    """The `repr` of a text, or of the start of a long one."""
    return repr(text) if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]!r}..."


def _format_fields(value: object) -> str:
    fields = ", ".join(f"{name}={_format_value(each)}" for name, each in _nondefault_fields(value))
    return f"{type(value).__name__}({fields})"


def _nondefault_fields(value: Any) -> Iterator[tuple[str, object]]:
    """The names and values of the fields that are neither empty nor as by default."""
    fields = getattr(value, "__dataclass_fields__", None)
    names = value._fields if fields is None else fields
    for name in names:
        default = value._field_defaults.get(name, value) if fields is None else fields[name].default
        content = getattr(value, name)
        is_default = content is default or (type(content) is type(default) and content == default)
        if not (is_default or _is_empty(content)):
            yield name, content


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, Collection) and not isinstance(value, str) and len(value) == 0)


def _format_value(value: Any) -> str:
    if isinstance(value, str):
        return shortened(value)
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"<{value.dtype} {tuple(value.shape)}>"
    if hasattr(value, "_fields") or not isinstance(value, Collection):
        text = repr(value)
        return text if len(text) <= _MAX_VALUE else f"{type(value).__name__}{_ELIDED}"
    return _format_collection(value)


def _format_collection(values: Collection[Any]) -> str:
    """The values where they are few and short, else their number and type."""
    if isinstance(values, Mapping):
        return f"<{len(values):,} by {_item_type(values)}>"
    if len(values) <= _MAX_VALUES:
        shown = [_format_value(value) for value in values]
        texts = ", ".join(shown)
        if len(texts) <= _MAX_LISTED and not any(text.endswith(_ELIDED) for text in shown):
            return f"({texts},)" if len(values) == 1 else f"({texts})"
    return f"<{len(values):,} {_item_type(values)}>"


def _item_type(values: Collection[Any]) -> str:
    return type(next(iter(values))).__name__


@short_repr
class MadeBy(NamedTuple):
    """What a result was made by: versions of libraries, the class of the model, and its commit on the hub.

    attncli, tokenizers, transformers, torch: None where one was not used.  model_class, revision: None where there are
    several models.
    """

    attncli: str
    tokenizers: str | None = None
    transformers: str | None = None
    torch: str | None = None
    model_class: str | None = None
    revision: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        return self._asdict()
