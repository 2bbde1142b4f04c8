"""What all results share: how they are written, read, and shown, and the versions of the libraries.

Values are named tuples with `@struct()` where many are made or a command must start at once, else frozen dataclasses,
`Struct`. `attncli.results.walk` writes and reads both.

>>> result.stacks[0].patterns[0]
Pattern(layer=5, head=1, weights=<float32 (7, 7)>)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
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


def struct(json: str = "", *, short: bool = True) -> Callable[[_Class], _Class]:
    """Class decorator of named tuples: `to_dict`, `from_dict` and a `repr` of limited length.

    json: the fields and properties in the JSON, in its order; by default all fields.  short: leave out of the `repr`
    what is empty or as by default; arrays are shown by shape, long collections by length.
    """

    def decorate(cls: _Class) -> _Class:
        found: Any = cls
        if json:
            found._json = json.split()
        found.to_dict = to_dict
        found.from_dict = classmethod(from_dict)
        if short:
            found.__repr__ = short_repr
        return cls

    return decorate


def to_dict(value: object) -> dict[str, Any]:
    """A value as an object for JSON."""
    from attncli.results import walk

    return walk.to_dict(value)


def from_dict(cls: Any, data: Any) -> Any:
    """The value of a class whose `to_dict` gave `data`. Raises KeyError, TypeError and ValueError for other data."""
    from attncli.results import walk

    try:
        return walk.from_dict(cls, data)
    except (ArithmeticError, RecursionError) as error:
        raise ValueError(str(error)) from error


def show_result(cls: _Class) -> _Class:
    """Class decorator of the results of verbs: `print` shows what the command prints, and a notebook shows the page."""
    found: Any = cls
    found.__str__ = _as_text
    found._repr_html_ = _as_html
    return cls


def _as_text(result: object) -> str:
    """The output of the command, 80 columns wide and without colours."""
    return results.get_renderer()(result, "text")


def _as_html(result: object) -> str:
    """The HTML page, as notebooks show it."""
    return results.get_renderer()(result, "html")


def shortened(text: str) -> str:
    """The `repr` of a text, or of the start of a long one."""
    return repr(text) if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]!r}..."


def short_repr(value: object) -> str:
    """The class and the fields of a value, without those that are empty or as by default."""
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


@struct()
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
