"""What all results share: a short `repr`, the versions that made them, and how a result shows itself.

>>> result.stacks[0].patterns[0]
Pattern(layer=5, head=1, weights=<float32 (7, 7)>)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from attncli import results

#: Characters of a text, of a value within a value, and of the values of a collection that are shown.
_MAX_TEXT = 50
_MAX_VALUE = 100
_MAX_LISTED = 240
#: Values of a collection that are looked at.
_MAX_VALUES = 4

#: What stands for the fields of a value that has no room for them.
_ELIDED = "(...)"

_Class = TypeVar("_Class", bound=type)


def showable(cls: _Class) -> _Class:
    """A decorator of results: `print` shows what the command prints, and a notebook shows the page."""
    cls.__str__ = _as_text  # type: ignore[method-assign, assignment]
    cls._repr_html_ = _as_html  # type: ignore[attr-defined]
    return cls


def _as_text(result: object) -> str:
    """What the command prints, 80 columns wide and without colours."""
    return results.get_renderer()(result, "text")


def _as_html(result: object) -> str:
    """The page, as notebooks show it."""
    return results.get_renderer()(result, "html")


def short_repr(cls: _Class) -> _Class:
    """A decorator of named tuples and dataclasses: their `repr` is brief, whatever they hold.

    Fields that are as they are by default are left out; of arrays there is the shape, of long collections the length.
    """
    cls.__repr__ = _format_fields  # type: ignore[method-assign, assignment]
    return cls


def shortened(text: str) -> str:
    """A text as Python writes it, or the start of a long one."""
    return repr(text) if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]!r}..."


def _format_fields(value: object) -> str:
    fields = ", ".join(f"{name}={_format_value(each)}" for name, each in _nondefault_fields(value))
    return f"{type(value).__name__}({fields})"


def _nondefault_fields(value: Any) -> Iterator[tuple[str, object]]:
    """The fields that say something, by name."""
    fields = getattr(value, "__dataclass_fields__", None)
    names = value._fields if fields is None else fields
    for name in names:
        default = value._field_defaults.get(name, value) if fields is None else fields[name].default
        each = getattr(value, name)
        if not (each is default or _is_empty(each) or (type(each) is type(default) and each == default)):
            yield name, each


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
    """The values where they are few and short, else how many there are, and of what."""
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
    """Versions of the libraries that took part, the model's class and the hub's commit, if any.

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
