"""The arrays of an .npz, read back by numpy without pickle."""

from __future__ import annotations

import io

import numpy as np

from attncli.render.formats import FORMATS, Look, render
from attncli.results.heads import HeadsResult
from attncli.results.patterns import Pattern
from tests.cli.samples import PATTERN, POOLED, QUARTERS, heads_result, stack


def npz(result: HeadsResult) -> bytes:
    content = render(result, FORMATS["npz"], Look())
    assert isinstance(content, bytes)
    return content


def arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_a_layer_is_an_array_of_its_heads() -> None:
    flat = np.full((3, 3), 1 / 3, dtype=np.float32)
    patterns = (PATTERN, Pattern(0, 0, flat), Pattern(0, 1, QUARTERS))
    found = arrays(npz(heads_result(stack(*patterns), stack(name="cross"))))
    assert found["decoder.0"].dtype == np.float32
    assert np.array_equal(found["decoder.0"], np.stack([flat, QUARTERS]))
    assert found["decoder.0.heads"].tolist() == [0, 1]
    assert np.array_equal(found["decoder.2"], QUARTERS[None])
    assert found["decoder.2.heads"].tolist() == [0]
    assert found["decoder.queries"].tolist() == found["cross.keys"].tolist() == [101, 7861, 8270]
    assert "cross.0" not in found
    assert "decoder.rows" not in found


def test_pooled_patterns_say_what_their_rows_and_columns_stand_for() -> None:
    found = arrays(npz(heads_result(stack(POOLED))))
    assert found["decoder.2"].shape == (1, 2, 2)
    assert found["decoder.rows"].tolist() == [[0, 1], [1, 3]]
    assert found["decoder.columns"].tolist() == [[0, 2], [2, 3]]


def test_the_same_numbers_are_the_same_bytes() -> None:
    strided = np.asfortranarray(QUARTERS)
    assert npz(heads_result(stack(PATTERN))) == npz(heads_result(stack(Pattern(2, 0, strided))))
    assert b"\x00\x00!\x00" in npz(heads_result(stack(PATTERN)))[:20]  # the oldest date that a zip file knows
