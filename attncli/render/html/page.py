"""An HTML page from a result's data and the scripts and styles in `assets`; also as a frame in a notebook.

A page loads nothing from elsewhere: its content security policy allows only its own script and style, by their hashes.
The data are a block of JSON, which browsers don't run, and are shown as text only. Arrays are packed: rounded to bytes
with a scale, deflated, and written in base64.
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

import numpy as np
import numpy.typing as npt

from attncli.render.common.escape import printable
from attncli.results.base import MadeBy

_SIGNIFICANT_DIGITS = 4
#: Steps of twelve bits from 0 to the largest value: for one sign, and on either side of 0.
_STEPS, _SIGNED_STEPS = 4095, 2047
#: Digits after the point of the weights that pages write: in cells, and beside them.
_WRITTEN_DIGITS = (2, 3)
#: The same with two bytes a number.
_FINE_STEPS = 32_767
#: The assets of each kind of page besides the shared ones; each may have a `.css` and a `.js` file.
_PAGE_ASSETS = {
    "heads": ("bytes", "matrix", "weights", "heads_grid", "heads_links", "heads"),
    "patches": ("bytes", "matrix", "weights", "heads_grid", "heads_links", "heads_picture", "heads"),
    "pictures": (
        *("bytes", "matrix", "weights", "heads_grid", "heads_links", "heads_picture"),
        *("heads_picture_reading", "heads"),
    ),
    "frames": ("bytes", "matrix", "weights", "heads_grid", "heads_links", "heads_sound", "heads"),
    "params": ("params",),
    "tokens": ("tokens",),
    "steps": ("steps",),
    "compare": ("bytes", "matrix", "compare_plots", "compare"),
}
#: Characters that could end the block of JSON, or begin a comment in it.
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}
#: Comments on lines of their own, and white space at the ends of lines.
_COMMENTS = re.compile(r"^\s*(?://[^\n]*|/\*.*?\*/\s*)$", re.MULTILINE | re.DOTALL)
_LINE_ENDS = re.compile(r"\s*\n\s*")
#: What has no meaning in CSS: white space around braces and after names and values, and a last semicolon.
_STYLE_SPACE = re.compile(r"\s*([{])\s*|;?\s*(})\s*|(?<=[;:,])\s+")
_ASSETS = files("attncli.render.html") / "assets"
_NOTEBOOK_HEIGHT = 640


def page(
    kind: str, data: Mapping[str, object], *, title: str, made_by: MadeBy, extra_assets: Sequence[str] = ()
) -> str:
    """A whole HTML document of a kind. The title and the texts in the data are escaped.

    extra_assets: assets that not every page of the kind needs; they come first.
    """
    title = printable(title)
    style, script = (_assets(("page", *extra_assets, *_PAGE_ASSETS[kind]), ending) for ending in (".css", ".js"))
    content = {"title": title, "made_by": _versions_text(made_by), **data}
    return Template((_ASSETS / "page.html").read_text("utf-8")).substitute(
        title=html.escape(title),
        generator=f"attncli {made_by.attncli}",
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        # JSON in ASCII with HTML's special characters escaped, so that no text can end the block.
        data=json.dumps(content, allow_nan=False, separators=(",", ":")).translate(_ESCAPES),
    )


def notebook(document: str, *, height: int = _NOTEBOOK_HEIGHT) -> str:
    """A page in a sandboxed frame for a notebook, isolated from its scripts and styles."""
    inner = html.escape(document, quote=True)
    size = f"width: 100%; height: {height}px; border: 0"
    return f'<iframe title="attncli" sandbox="allow-scripts" style="{size}" srcdoc="{inner}"></iframe>'


def _versions_text(made_by: MadeBy) -> str:
    versions = ((name, getattr(made_by, name)) for name in ("attncli", "tokenizers", "transformers", "torch"))
    parts = [f"{name} {version}" for name, version in versions if version]
    return " · ".join(parts + [printable(text) for text in (made_by.model_class, made_by.revision) if text])


def _assets(parts: Sequence[str], ending: str) -> str:
    """The assets with this ending, joined, without comments and indentation, which small pages mostly consist of."""
    paths = (_ASSETS / f"{name}{ending}" for name in parts)
    codes = (_COMMENTS.sub("", path.read_text("utf-8")) for path in paths if path.is_file())
    joined = "".join(_LINE_ENDS.sub("\n", code).lstrip() for code in codes)
    if ending == ".css":
        return _STYLE_SPACE.sub(lambda found: found[1] or found[2] or "", joined)
    return joined.replace(" => ", "=>")


def _hash(content: str) -> str:
    """The hash of an inline script or style as in a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


# --- Numbers


def rounded(value: float | None) -> float | None:
    """A number to four significant digits, which takes a third of the size; None if it isn't finite."""
    return None if value is None or not math.isfinite(value) else _short(float(f"{value:.{_SIGNIFICANT_DIGITS}g}"))


def rounded_metric(value: float | None) -> float | None:
    """A metric to five decimals; None if it isn't finite. Pages show two decimals, and have many metrics.

    With more digits than are shown, as rounding twice would make 0.8948 0.90.
    """
    return None if value is None or not math.isfinite(value) else _short(round(value, 5 if abs(value) < 100 else 2))


def _short(value: float) -> float:
    return int(value) if value.is_integer() else value


def rounded_all(values: Iterable[float | None]) -> list[float | None]:
    return [rounded(value) for value in values]


Floats = npt.NDArray[np.floating]


def pack(values: Floats) -> dict[str, object]:
    """An array of shape (count, rows, columns) as twelve bits a number, exact to one and a half steps of its scale.

    scales: the largest absolute value of each of the `count` to six digits, the value of the highest number.
    signed: zero is 2,048, so that there are 2,047 steps on either side.
    content: the upper eight bits of all numbers, then the lower four, two to a byte; deflated (zlib), then base64.

    A step is 1/4095 of the largest value, or 1/2047 if some are negative; values that aren't finite become 0. A value
    is rounded to the nearest step that is written with the value's own digits: there is one up to a scale of 2, or 1
    if some are negative.
    """
    known = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)
    scales = np.array([float(f"{largest:.6g}") for largest in np.abs(known).max(axis=(1, 2), initial=0.0)])
    signed = bool((known < 0).any())
    steps = _SIGNED_STEPS if signed else _STEPS
    shares = known * np.divide(steps, scales, out=np.zeros_like(scales), where=scales > 0)[:, None, None]
    whole = _round_like_written(known.astype(np.float64), shares, scales[:, None, None] / steps)
    # Rounding may have made the scale slightly too small.
    numbers = (np.clip(whole, -steps, steps) + (_SIGNED_STEPS + 1 if signed else 0)).astype(np.uint16).ravel()
    _, rows, columns = values.shape
    low = np.append((numbers & 15).astype(np.uint8), np.zeros(len(numbers) % 2, dtype=np.uint8))
    # The upper bits, which compress well, first.
    content = _compress((numbers >> 4).astype(np.uint8).tobytes() + (low[::2] | low[1::2] << 4).tobytes())
    return {"rows": rows, "columns": columns, "scales": scales.tolist(), "signed": signed, "content": content}


def _round_like_written(values: Floats, shares: Floats, step: Floats) -> Floats:
    """The nearest whole number to each share that is written like its value, or the nearest if none of three is."""
    nearest = np.rint(shares)
    towards = np.where(shares >= nearest, 1.0, -1.0)
    found, is_found = nearest, np.zeros(values.shape, dtype=bool)
    for number in (nearest, nearest + towards, nearest - towards):
        same = np.ones(values.shape, dtype=bool)
        for digits in _WRITTEN_DIGITS:
            same &= np.rint(number * step * 10**digits) == np.rint(values * 10**digits)
        found = np.where(same & ~is_found, number, found)
        is_found |= same
    return found


def pack_finely(values: Floats) -> dict[str, object]:
    """An array of shape (rows, columns) as two bytes a number, little-endian, to 1/65,534 of the largest value."""
    known = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    scale = float(np.abs(known).max(initial=0.0))
    numbers = np.rint(known * (_FINE_STEPS / scale if scale else 0.0)).astype("<i2")
    return {"rows": len(values), "scale": scale, "content": _compress(numbers.tobytes())}


def pack_pixels(pixels: npt.NDArray[np.uint8]) -> dict[str, object]:
    """Pixels of shape (height, width, 3), unchanged."""
    height, width, _ = pixels.shape
    return {"height": height, "width": width, "content": _compress(pixels.tobytes())}


def _compress(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 6)).decode("ascii")
