"""Figures as bytes: the same bytes for the same figure, whatever day it is and however matplotlib is set up."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import matplotlib

from attncli.render.figures.fonts import families_for
from attncli.render.figures.panels import DPI

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SETTINGS = {
    "font.size": 9.0,
    # A token may hold dollar signs, and is no formula.
    "text.parse_math": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,
    # Text in an SVG stays text: it can be searched, and the reader's own fonts draw what DejaVu lacks.
    "svg.fonttype": "none",
    "svg.hashsalt": "attncli",
}

#: What says when and by whom; without it, bytes depend on the figure and on matplotlib's version alone.
_METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}


def drawn(draw: Callable[[], Figure], form: str, *, texts: Iterable[str]) -> bytes:
    """The figure that `draw` makes, as svg, pdf or png. texts: what will stand in it, so that fonts can be found."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        matplotlib.rcParams["font.family"] = families_for(texts)
        # SVGs keep characters that no font here has, as the reader may have one; elsewhere we left none.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # Nor do they all join letters as their scripts do; each still stands for itself.
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        return _saved(draw(), form)


def _saved(figure: Figure, form: str) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format=form, dpi=DPI, metadata=_METADATA[form])
    return content.getvalue()
