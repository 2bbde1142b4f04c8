"""Colour maps for weights (viridis) and for differences (blue to orange), with fallbacks for 256-colour terminals.

The fallback tables are the constants that end in `_256`. Terminals of sixteen colours or none get no colour map.
"""

from __future__ import annotations

from attncli.render.common.terminal import ColorDepth, Rgb

# viridis by Stéfan van der Walt and Nathaniel Smith (2015): lightness rises evenly from dark to bright, also for
# colour-blind eyes. 64 evenly spaced entries of the 256 in https://github.com/BIDS/colormap, released under CC0.
VIRIDIS_HEX = (
    "44015446075a470d6047136548186a481d6f482374482878472d7b46327e453781433d84"
    "4241864046883e4a893c4f8a3a538b38588c365c8d34608d32648e31688e2f6c8e2d708e"
    "2c738e2a778e297b8e277f8e26828e24868e238a8d218e8d20928c1f968b1f9a8a1f9e89"
    "1fa18721a58523a98326ad812ab07f2fb47c35b7793bbb7542be714ac16d52c5695ac864"
    "63cb5f6ccd5a75d0547fd34e89d54895d840a0da39aadc32b5de2bc0df25cae11fd5e21a"
    "dfe318eae51af4e61efde725"
)

# The 256-colour fallback. The colours of xterm's cube that are nearest to viridis are neither evenly spaced nor
# monotonic in lightness. These eight of the cube go from dark blue by green to yellow, too, brighter at every step.
_VIRIDIS_256 = "00005f0000af005f8700878700af875fd75fd7d700ffff00"

# From no difference to the largest: blue for negative, orange for positive, distinct for all kinds of colour vision.
# In OKLCH (Björn Ottosson 2020) lightness rises from 0.22 to 0.80 in even steps on both sides, at hues 250° and 62°.
_NEGATIVE = "1b1b1b1e242a212d3a24374a26405b284a6c2a547e2b5f912b69a42c74b72b7eca2f89dc3c95e848a0f457acfe72b8fe89c3fe"
_POSITIVE = "1b1b1b28221c36291d45301e54371d633f1c734619824d1593550da35d03b16605c16f01d07803dc831ee98e2ff59a3efea754"
_NEGATIVE_256 = "12121200005f005f87005faf0087d75fafff"
_POSITIVE_256 = "1212125f0000875f00af5f00d78700ffaf5f"

# The colours of labels, by Okabe & Ito (2008): distinguishable by colour-blind readers, without black.
LABEL_COLORS: tuple[Rgb, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


def _parse_hex(table: str) -> tuple[Rgb, ...]:
    numbers = bytes.fromhex(table)
    return tuple((numbers[i], numbers[i + 1], numbers[i + 2]) for i in range(0, len(numbers), 3))


_WEIGHT_COLORS = {ColorDepth.TRUE: _parse_hex(VIRIDIS_HEX), ColorDepth.EIGHT_BIT: _parse_hex(_VIRIDIS_256)}

_DIFFERENCE_COLORS = {
    ColorDepth.TRUE: (_parse_hex(_NEGATIVE), _parse_hex(_POSITIVE)),
    ColorDepth.EIGHT_BIT: (_parse_hex(_NEGATIVE_256), _parse_hex(_POSITIVE_256)),
}


def has_colormap(depth: ColorDepth) -> bool:
    """Whether weights can be drawn as colours. Not with the sixteen ANSI colours: users choose how bright these are."""
    return depth in _WEIGHT_COLORS


def weight_color(share: float, depth: ColorDepth) -> Rgb:
    """The colour of a weight that is `share` (0…1) of full scale."""
    table = _WEIGHT_COLORS[depth]
    return table[round(min(max(share, 0.0), 1.0) * (len(table) - 1))]


def difference_color(share: float, depth: ColorDepth) -> Rgb:
    """The colour of a difference that is `share` (−1…1) of full scale."""
    table = _DIFFERENCE_COLORS[depth][int(share > 0)]
    return table[round(min(abs(share), 1.0) * (len(table) - 1))]


def text_color_on(background: Rgb) -> Rgb:
    """Black or white text, whichever is easier to read on `background` (relative luminance of sRGB, W3C's WCAG 2)."""
    linear = [(v / 255 / 12.92) if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in background]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # 0.179 is where black and white have the same contrast: (L + 0.05)² = 1.05 × 0.05.
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)
