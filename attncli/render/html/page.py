"""Texts and numbers on their way to a page.

Numbers small enough to be mailed: bytes with a scale, deflated, in the letters of base64.

One page from a result's data and the scripts and styles beside this module; and the same page within a notebook.

Nothing on a page comes from anywhere else: its content security policy names its one script and its one style by their
hashes, and allows nothing more. Data stand in a block of JSON that no browser runs, and reach the page as text alone.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attncli.render.common.cells import glyphs
from attncli.render.common.escape import printable
from attncli.render.common.lines import Line
from attncli.render.common.terminal import Terminal
from attncli.results.base import MadeBy

#: A page as the lines of a terminal see it: no line has to be broken, and every character can be shown.
PAGE = Terminal(width=1_000_000)
SEPARATOR = glyphs(PAGE).separator
_SIGNIFICANT_DIGITS = 4
#: Steps between nothing and a head's largest weight: 255 of one sign, 127 on either side of zero.
_STEPS, _SIGNED_STEPS = 255, 127
#: The same in two bytes.
_FINE_STEPS = 32_767
#: Each kind of page, and the assets that it is made of besides the shared ones; `.css` and `.js` of each where it is.
_PAGE_ASSETS = {
    "heads": ("bytes", "matrix", "weights", "heads_grid", "heads_links", "heads"),
    "patches": ("bytes", "matrix", "weights", "heads_grid", "heads_links", "heads_picture", "heads"),
    "frames": ("bytes", "matrix", "weights", "heads_grid", "heads_links", "heads_sound", "heads"),
    "params": ("params",),
    "tokens": ("tokens",),
    "compare": ("bytes", "matrix", "compare_plots", "compare"),
}
#: What could end the block of JSON, or begin a comment in it.
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}
#: Comments that stand on lines of their own, and the white space at the ends of lines.
_COMMENTS = re.compile(r"^\s*(?://[^\n]*|/\*.*?\*/\s*)$", re.MULTILINE | re.DOTALL)
_LINE_ENDS = re.compile(r"\s*\n\s*")
#: White space that says nothing to a style: around braces, and behind what ends a name or a value.
_STYLE_SPACE = re.compile(r"\s*([{}])\s*|(?<=[;:,])\s+")
_ASSETS = files("attncli.render.html") / "assets"
_NOTEBOOK_HEIGHT = 640


def page(kind: str, data: Mapping[str, object], *, title: str, made_by: MadeBy, more: Sequence[str] = ()) -> str:
    """A whole HTML document of this kind. title, and every text in the data, may hold anything.

    more: assets that not every page of the kind needs; they come first.
    """
    title = printable(title)
    style, script = _assets((*more, *_PAGE_ASSETS[kind]), ".css"), _assets((*more, *_PAGE_ASSETS[kind]), ".js")
    content = {"title": title, "made_by": _versions_text(made_by), **data}
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


def _versions_text(made_by: MadeBy) -> str:
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
    return _LINE_ENDS.sub("\n", _COMMENTS.sub("", code)).lstrip()


def _hash(content: str) -> str:
    """As a content security policy names a script or a style of the page itself."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _json_block(data: Mapping[str, object]) -> str:
    """JSON in ASCII without a character that means something to HTML: no text in it can end the block."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)


# --- Texts and numbers


def joined_text(lines: Sequence[Line]) -> str:
    """Lines for a terminal as one text, which a page breaks itself."""
    return " ".join(line.plain.strip() for line in lines)


def printed(text: str) -> str:
    """A message or a name as one line without a character that only looks like another."""
    return printable(text)


def rounded(value: float | None) -> float | None:
    """A number to four digits, enough for a reader and a third of the size; None for what is none."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
    return int(short) if short.is_integer() else short


def rounded_metric(value: float | None) -> float | None:
    """A metric to five decimals, where two are shown: there are eleven for each of a thousand heads."""
    if value is None or not math.isfinite(value):
        return None
    # More digits than are shown: rounded twice, 0.8948 would be 0.90.
    short = round(value, 5 if abs(value) < 100 else 2)
    return int(short) if short.is_integer() else short


def rounded_all(values: Iterable[float | None]) -> list[float | None]:
    return [rounded(value) for value in values]


Floats = npt.NDArray[np.floating]


class Packed(NamedTuple):
    """(count, rows, columns) as one byte a number.

    scales: the largest absolute value of each of the `count` to six digits, the value of a full byte.
    signed: zero is byte 128, so that there are 127 steps on either side.  content: deflated (zlib), then base64.
    """

    rows: int
    columns: int
    scales: list[float]
    signed: bool
    content: str

    def to_dict(self) -> dict[str, object]:
        return self._asdict()


def pack(values: Floats) -> Packed:
    """Round (count, rows, columns) to bytes: each is exact to half a step of its own scale.

    A step is 1/255 of the largest value, or 1/127 where some are negative; what is no number becomes 0.
    """
    known = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)
    scales = np.array([float(f"{largest:.6g}") for largest in np.abs(known).max(axis=(1, 2), initial=0.0)])
    signed = bool((known < 0).any())
    steps = _SIGNED_STEPS if signed else _STEPS
    shares = known * np.divide(steps, scales, out=np.zeros_like(scales), where=scales > 0)[:, None, None]
    # A scale may have been rounded down by a hair.
    whole = np.clip(np.rint(shares), -steps, steps)
    numbers = (whole + (_SIGNED_STEPS + 1 if signed else 0)).astype(np.uint8)
    _, rows, columns = values.shape
    return Packed(rows, columns, scales.tolist(), signed, _compress(numbers.tobytes()))


def pack_finely(values: Floats) -> dict[str, object]:
    """(rows, columns) as two bytes a number, little-endian, exact to 1/65,534 of the largest absolute value."""
    known = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    scale = float(np.abs(known).max(initial=0.0))
    numbers = np.rint(known * (_FINE_STEPS / scale if scale else 0.0)).astype("<i2")
    return {"rows": len(values), "scale": scale, "content": _compress(numbers.tobytes())}


def pack_pixels(pixels: npt.NDArray[np.uint8]) -> dict[str, object]:
    """(height, width, 3) as they are."""
    height, width, _ = pixels.shape
    return {"height": height, "width": width, "content": _compress(pixels.tobytes())}


def _compress(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 6)).decode("ascii")
