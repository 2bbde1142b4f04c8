"""One page from a result's data and the scripts and styles beside this module; and the same page within a notebook.

Nothing on a page comes from anywhere else: its content security policy names its one script and its one style by their
hashes, and allows nothing more. Data stand in a block of JSON that no browser runs, and reach the page as text alone.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template

from attncli.render.escape import printable
from attncli.results.base import MadeBy

#: Each kind of page, and the assets that it is made of besides the shared ones; `.css` and `.js` of each where it is.
_PARTS = {
    "heads": ("bytes", "matrix", "weights", "heads_grid", "heads_links", "heads"),
    "patches": ("bytes", "matrix", "weights", "heads_grid", "heads_links", "heads_picture", "heads"),
    "frames": ("bytes", "matrix", "weights", "heads_grid", "heads_links", "heads_sound", "heads"),
    "params": ("params",),
    "tokens": ("tokens",),
    "compare": ("bytes", "matrix", "compare_plots", "compare"),
}

#: What could end the block of JSON, or begin a comment in it.
_MARKUP = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}

#: Comments that stand on lines of their own, and the white space at the ends of lines.
_COMMENTS = re.compile(r"^\s*(?://[^\n]*|/\*.*?\*/\s*)$", re.MULTILINE | re.DOTALL)
_ENDS = re.compile(r"\s*\n\s*")
#: White space that says nothing to a style: around braces, and behind what ends a name or a value.
_STYLE_SPACE = re.compile(r"\s*([{}])\s*|(?<=[;:,])\s+")

_ASSETS = files("attncli.render.html") / "assets"

_NOTEBOOK_HEIGHT = 640


def page(kind: str, data: Mapping[str, object], *, title: str, made_by: MadeBy, more: Sequence[str] = ()) -> str:
    """A whole HTML document of this kind. title, and every text in the data, may hold anything.

    more: assets that not every page of the kind needs; they come first.
    """
    title = printable(title)
    style, script = _assets((*more, *_PARTS[kind]), ".css"), _assets((*more, *_PARTS[kind]), ".js")
    content = {"title": title, "made_by": _made_by(made_by), **data}
    return Template(_asset("page.html")).substitute(
        title=html.escape(title),
        generator=f"attncli {made_by.attncli}",
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        data=_json_block(content),
    )


def notebook(document: str, *, height: int = _NOTEBOOK_HEIGHT) -> str:
    """A page within a notebook: in a frame of its own, where neither knows of the other's scripts and styles."""
    inner = html.escape(document, quote=True)
    size = f"width: 100%; height: {height}px; border: 0"
    return f'<iframe title="attncli" sandbox="allow-scripts" style="{size}" srcdoc="{inner}"></iframe>'


def _made_by(made_by: MadeBy) -> str:
    versions = ((name, getattr(made_by, name)) for name in ("attncli", "tokenizers", "transformers", "torch"))
    parts = [f"{name} {version}" for name, version in versions if version]
    return " · ".join(parts + [printable(text) for text in (made_by.model_class, made_by.revision) if text])


def _assets(parts: Sequence[str], ending: str) -> str:
    """The shared asset of an ending and those of the parts of a page, one behind the other."""
    names = [f"{name}{ending}" for name in ("page", *parts)]
    code = "".join(_compact(_asset(name)) for name in names if (_ASSETS / name).is_file())
    return _STYLE_SPACE.sub(lambda found: found[1] or "", code) if ending == ".css" else code


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text("utf-8")


def _compact(code: str) -> str:
    """Scripts and styles without what only their authors read: a page of few weights is little else."""
    return _ENDS.sub("\n", _COMMENTS.sub("", code)).lstrip()


def _hash(content: str) -> str:
    """As a content security policy names a script or a style of the page itself."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _json_block(data: Mapping[str, object]) -> str:
    """JSON in ASCII without a character that means something to HTML: no text in it can end the block."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).translate(_MARKUP)
