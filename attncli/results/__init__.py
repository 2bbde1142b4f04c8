"""The results of the commands, as values.

A result shows itself (`print(result)`, a notebook) without importing a renderer, by the function that `attncli` sets
here. Nothing else is imported, as `import attncli` imports this module.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable

_renderers: list[Callable[[object, str], str]] = []


def set_renderer(render: Callable[[object, str], str]) -> None:
    """Set the function that renders a result in a form, `text` or `html`."""
    _renderers[:] = [render]


def get_renderer() -> Callable[[object, str], str]:
    return _renderers[0]
