"""Numbers as a reader takes them in: bytes, operations, contexts and shares."""

from __future__ import annotations

from attncli.render.glyphs import glyphs
from attncli.render.terminal import Terminal

_BYTES = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_COUNTS = ("", "k", "M", "G", "T", "P", "E")


def bytes_text(count: int) -> str:
    """`327,680 bytes`, `15.0 GiB`: exact where it is short, else to three digits."""
    if count < 1 << 20:
        return f"{count:,} byte{'' if count == 1 else 's'}"
    return _scaled(count, 1024, _BYTES)


def flops_text(count: int) -> str:
    """`15.0 GFLOPs`."""
    return f"{_scaled(count, 1000, _COUNTS)}FLOPs"


def context_text(context: int) -> str:
    """`128k`, where k is 1,024 and M a million of that kind; any other length with its digits."""
    for size, unit in ((1 << 20, "M"), (1 << 10, "k")):
        if context >= size and context % size == 0:
            return f"{context // size}{unit}"
    return f"{context:,}"


def longest_text(context: int | None, *, caches: bool) -> str:
    """The longest context that fits, where None is any; caches: whether length costs anything at all."""
    if context is None:
        return "any length" if caches else "fits"
    return f"{context:,} tokens" if context else "does not fit"


def share_text(share: float) -> str:
    """`33.1%`; what is there but rounds to nothing is `<0.1%`."""
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def run_text(first: object, last: object | None, terminal: Terminal) -> str:
    """`0–79`, or one number alone."""
    return str(first) if last is None or last == first else f"{first}{glyphs(terminal).dash}{last}"


def _scaled(count: int, base: int, units: tuple[str, ...]) -> str:
    value, index = float(count), 0
    while value >= base and index < len(units) - 1:
        value, index = value / base, index + 1
    # 999.95 would be four digits and a unit that is too small.
    if f"{value:.3g}" == f"{base:.3g}" and base == 1000 and index < len(units) - 1:
        value, index = value / base, index + 1
    digits = f"{value:,.0f}" if value >= 100 or index == 0 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return f"{digits} {units[index]}"
