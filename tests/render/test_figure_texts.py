"""No two texts of a figure touch, and none leaves it, however long the text and however many the heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import pytest

from attncli.results.heads import HeadsResult
from attncli.results.patterns import Bins, Pattern, equal_spans
from tests.render.difference_samples import compared, moved_weights
from tests.render.heads_samples import even, head, on_offset, pattern, result, stack, tokens
from tests.render.position_samples import with_row
from tests.render.test_heads_steps import WITH_SOURCES, many_parts

pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra figures)")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from attncli.render.figures import heads as figures
from attncli.render.figures.panels import DPI


def many(layers: int, across: int, size: int) -> HeadsResult:
    names = [f"{layer}.{index}" for layer in range(layers) for index in range(across)]
    words = tokens(*(f"w{place}" for place in range(size)))
    patterns = (pattern(name, on_offset(-1, size)) for name in names)
    made = stack(*patterns, heads=tuple(map(head, names)), queries=words, keys=words)
    return result(made, chosen=True)


def binned() -> HeadsResult:
    words, spans = tokens(*(f"w{place}" for place in range(5000))), equal_spans(5000, 64)
    return result(stack(Pattern(0, 1, even(64), Bins(spans, spans)), queries=words, keys=words), chosen=True)


def tiny_values() -> HeadsResult:
    names = [f"{layer}.{index}" for layer in range(6) for index in range(12)]
    values = ({"virtual_sink": 0.001 * place / 72, "entropy": 2.4 * place} for place in range(72))
    heads = tuple(replace(head(name), values=own) for name, own in zip(names, values, strict=True))
    return replace(result(stack(heads=heads, baselines={})), texts=3)


CASES = {
    "one short": lambda: many(1, 1, 12),
    "one of 80": lambda: many(1, 1, 80),
    "one of 600": lambda: many(1, 1, 600),
    "one in bins": binned,
    "side by side": lambda: many(2, 4, 12),
    "side by side, long": lambda: many(2, 4, 600),
    "all, short": lambda: many(6, 12, 5),
    "all": lambda: many(6, 12, 12),
    "very many": lambda: many(12, 32, 10),
    "metrics": tiny_values,
    "reading": with_row,
    "reading, long": lambda: with_row(640),
    "reading, numbers": lambda: with_row(40),
    "difference": lambda: replace(compared(pattern("0.1", moved_weights())), chosen=True),
    "changes": lambda: compared(metric="first"),
    "steps": lambda: replace(result(stack(), chosen=True), steps=(replace(WITH_SOURCES, sources=many_parts()),)),
}


@pytest.mark.parametrize("case", CASES)
def test_no_text_touches_another_or_leaves_the_figure(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Figure] = []

    def kept(*given: object) -> Figure:
        found.append(figures_composed(*given))  # type: ignore[arg-type]
        return found[-1]

    figures_composed = figures.compose_figure
    monkeypatch.setattr(figures, "compose_figure", kept)
    figures.heads_figure(CASES[case](), "png", title="A title")
    boxes = dict(_boxes(found[0]))
    whole = Bbox([[0, 0], found[0].get_size_inches() * DPI])
    for text, box in boxes.items():
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1, text.get_text()
    for (text, box), (other, its) in combinations(boxes.items(), 2):
        apart = box.x1 <= its.x0 or its.x1 <= box.x0 or box.y1 <= its.y0 or its.y1 <= box.y0
        assert apart, (text.get_text(), other.get_text())


def _boxes(figure: Figure) -> Iterator[tuple[Text, Bbox]]:
    """What each text covers, in dots; a dot less on each side, as letters are placed on whole ones."""
    figure.set_dpi(DPI)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for text in figure.findobj(Text):
        if text.get_text().strip() and text.get_visible():
            box = text.get_window_extent(renderer)
            yield text, Bbox.from_extents(box.x0 + 1, box.y0 + 1, box.x1 - 1, box.y1 - 1)
