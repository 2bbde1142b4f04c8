"""The colours of weights (viridis) and of differences, brought down by hand where there are only 256 colours."""

from __future__ import annotations

from attncli.render.common.lines import Rgb
from attncli.render.common.terminal import ColorDepth

# viridis by Stéfan van der Walt and Nathaniel Smith (2015): lightness rises evenly from dark to bright, also for
# colour-blind eyes. 64 evenly spaced entries of the 256 in https://github.com/BIDS/colormap, released under CC0.
HEX = (
    "44015446075a470d6047136548186a481d6f482374482878472d7b46327e453781433d84"
    "4241864046883e4a893c4f8a3a538b38588c365c8d34608d32648e31688e2f6c8e2d708e"
    "2c738e2a778e297b8e277f8e26828e24868e238a8d218e8d20928c1f968b1f9a8a1f9e89"
    "1fa18721a58523a98326ad812ab07f2fb47c35b7793bbb7542be714ac16d52c5695ac864"
    "63cb5f6ccd5a75d0547fd34e89d54895d840a0da39aadc32b5de2bc0df25cae11fd5e21a"
    "dfe318eae51af4e61efde725"
)

# The nearest colours of xterm's cube to 64 of viridis are neither evenly spaced nor always brighter than the one
# before. These eight of the cube go from dark blue by way of green to yellow, too, and brighten at every step.
_VIRIDIS_256 = "00005f0000af005f8700878700af875fd75fd7d700ffff00"

# From no difference to the largest: blue for less, orange for more, which all kinds of colour vision tell apart. In
# OKLCH (Björn Ottosson 2020) lightness goes from 0.22 to 0.80 in even steps on both sides, at hues of 250° and 62°.
_LESS = "1b1b1b1e242a212d3a24374a26405b284a6c2a547e2b5f912b69a42c74b72b7eca2f89dc3c95e848a0f457acfe72b8fe89c3fe"
_MORE = "1b1b1b28221c36291d45301e54371d633f1c734619824d1593550da35d03b16605c16f01d07803dc831ee98e2ff59a3efea754"
_LESS_256 = "12121200005f005f87005faf0087d75fafff"
_MORE_256 = "1212125f0000875f00af5f00d78700ffaf5f"


def _parse(table: str) -> tuple[Rgb, ...]:
    numbers = bytes.fromhex(table)
    return tuple((numbers[i], numbers[i + 1], numbers[i + 2]) for i in range(0, len(numbers), 3))


_TABLES = {ColorDepth.TRUE: _parse(HEX), ColorDepth.EIGHT_BIT: _parse(_VIRIDIS_256)}

_SIDES = {
    ColorDepth.TRUE: (_parse(_LESS), _parse(_MORE)),
    ColorDepth.EIGHT_BIT: (_parse(_LESS_256), _parse(_MORE_256)),
}


def has_colormap(depth: ColorDepth) -> bool:
    """Whether weights can be colours. Sixteen colours are the user's own: no order of them is sure to brighten."""
    return depth in _TABLES


def heat(share: float, depth: ColorDepth) -> Rgb:
    """The colour of a weight that is `share` (0…1) of full scale."""
    table = _TABLES[depth]
    return table[round(min(max(share, 0.0), 1.0) * (len(table) - 1))]


def signed_heat(share: float, depth: ColorDepth) -> Rgb:
    """The colour of a difference that is `share` (−1…1) of full scale."""
    table = _SIDES[depth][int(share > 0)]
    return table[round(min(abs(share), 1.0) * (len(table) - 1))]


def ink_on(background: Rgb) -> Rgb:
    """Black or white, whichever is easier to read on `background` (relative luminance of sRGB, W3C's WCAG 2)."""
    linear = [(v / 255 / 12.92) if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in background]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # 0.179 is where black and white have the same contrast: (L + 0.05)² = 1.05 × 0.05.
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)
