"""Numbers small enough to be mailed: bytes with a scale, deflated, in the letters of base64."""

from __future__ import annotations

import base64
import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

#: Steps between nothing and a head's largest weight: 255 of one sign, 127 on either side of zero.
_STEPS, _SIGNED_STEPS = 255, 127
#: The same in two bytes.
_FINE_STEPS = 32_767


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
    return Packed(rows, columns, scales.tolist(), signed, _letters(numbers.tobytes()))


def pack_finely(values: Floats) -> dict[str, object]:
    """(rows, columns) as two bytes a number, little-endian, exact to 1/65,534 of the largest absolute value."""
    known = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    scale = float(np.abs(known).max(initial=0.0))
    numbers = np.rint(known * (_FINE_STEPS / scale if scale else 0.0)).astype("<i2")
    return {"rows": len(values), "scale": scale, "content": _letters(numbers.tobytes())}


def _letters(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 6)).decode("ascii")
