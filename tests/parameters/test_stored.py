"""Packed checkpoints: true counts beside stored bytes, for each way of packing, by names, types and shapes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncli.parameters.packing_layouts import LAYOUTS
from attncli.parameters.quantization import UnpackedCheckpoint, WeightTensor, unpack
from tests.parameters.test_packed import SIZES, Entry


def one(stem: str, *tensors: tuple[str, str, tuple[int, ...]], config: dict[str, object] | None = None) -> WeightTensor:
    """What the tensors of one matrix are unpacked to: one tensor, with the bytes of all of them."""
    entries = [Entry(f"{stem}{ending}", dtype, shape) for ending, dtype, shape in tensors]
    found = unpack(entries, config)
    (weights,) = found.weights
    assert weights.stored_bytes == sum(entry.stored_bytes for entry in entries)
    assert set(weights.companions) == {entry.path for entry in entries[1:]}
    assert found.flat == found.unknown == found.disputed == ()
    return weights


GROUP = {"weights": {"num_bits": 4, "group_size": 128}, "input_activations": {"num_bits": 8}}


Stored = tuple[tuple[str, str, tuple[int, ...]], ...]
NVFP4_SCALE = ("weight_scale", "F8_E4M3", (96, 16))

#: A matrix from 256 inputs to 96 outputs, in groups of 128 inputs where there are groups, and the configuration.
MATRICES: dict[str, tuple[Stored, dict[str, object] | None]] = {
    **{
        f"GPTQ, {bits} bits": (
            (
                ("qweight", "I32", (256 * bits // 32, 96)), ("qzeros", "I32", (2, 96 * bits // 32)),
                ("scales", "F16", (2, 96)), ("g_idx", "I32", (256,)),
            ),
            None,
        )
        for bits in (2, 3, 4, 8)
    },
    "AWQ": ((("qweight", "I32", (256, 12)), ("qzeros", "I32", (2, 12)), ("scales", "F16", (2, 96))), None),
    "compressed-tensors": (
        (("weight_packed", "I32", (96, 32)), ("weight_scale", "BF16", (96, 2)), ("weight_shape", "I64", (2,))),
        {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"group_0": GROUP}}},
    ),
    "NVFP4, packed": ((("weight_packed", "U8", (96, 128)), NVFP4_SCALE, ("weight_global_scale", "F32", (1,))), None),
    "NVFP4": (
        (("weight", "U8", (96, 128)), NVFP4_SCALE, ("weight_scale_2", "F32", ()), ("input_scale", "F32", ())), None
    ),
    "bitsandbytes, 8 bits": (
        (("weight", "I8", (96, 256)), ("SCB", "F32", (96,)), ("weight_format", "U8", ())), None
    ),
    "FP8, blocks": ((("weight", "F8_E4M3", (96, 256)), ("weight_scale_inv", "F32", (1, 2))), None),
    "FP8": ((("weight", "F8_E4M3", (96, 256)), ("weight_scale", "F32", ()), ("input_scale", "F32", ())), None),
    "MLX": (
        (("weight", "U32", (96, 48)), ("scales", "F16", (96, 4)), ("biases", "F16", (96, 4))),
        {"quantization": {"group_size": 64, "bits": 6}},
    ),
    "BitNet": (
        (("weight", "U8", (24, 256)), ("weight_scale", "BF16", (1,))),
        {"quantization_config": {"quant_method": "bitnet"}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("packing", MATRICES)
def test_a_packed_matrix(packing: str) -> None:
    tensors, config = MATRICES[packing]
    weights = one("h.0.q_proj.", *tensors, config=config)
    assert (weights.name, weights.shape) == ("h.0.q_proj.weight", (96, 256))
    if packing == "AWQ":
        assert weights.bits == pytest.approx(8 * (256 * 12 * 4 + 2 * 12 * 4 + 2 * 96 * 2) / (96 * 256))


def test_packed_experts() -> None:
    mxfp4 = one("mlp.experts.gate_up_proj", ("_blocks", "U8", (32, 5760, 90, 16)), ("_scales", "U8", (32, 5760, 90)))
    assert (mxfp4.name, mxfp4.shape, mxfp4.bits) == ("mlp.experts.gate_up_proj", (32, 5760, 2880), 4.25)
    fp8 = one("mlp.experts.gate_up_proj", ("", "F8_E4M3", (8, 96, 256)), ("_scale_inv", "F32", (8, 1, 2)))
    assert (fp8.name, fp8.shape) == ("mlp.experts.gate_up_proj", (8, 96, 256))


def test_compressed_tensors_of_unknown_bits_take_the_modules_shape() -> None:
    entries = [Entry("q_proj.weight_packed", "I32", (96, 32)), Entry("q_proj.weight_scale", "BF16", (96, 2))]
    eight = {"weights": {"num_bits": 8}}
    config = {"quantization_config": {"config_groups": {"group_0": GROUP, "group_1": eight}}}
    assert unpack(entries, config).unknown == ("q_proj.weight_packed",)
    found = unpack(entries, config, {"q_proj.weight": (96, 256)})
    assert (found.shapes, found.unknown) == ({"q_proj.weight": (96, 256)}, ())
    # A shape that no whole number of bits gives is none of this tensor.
    assert unpack(entries, config, {"q_proj.weight": (96, 250)}).unknown == ("q_proj.weight_packed",)


NF4 = [
    Entry("q_proj.weight", "U8", (96 * 128, 1)),
    Entry("q_proj.weight.absmax", "U8", (384,)),
    Entry("q_proj.weight.quant_map", "F32", (16,)),
    Entry("q_proj.weight.nested_absmax", "F32", (2,)),
    Entry("q_proj.weight.nested_quant_map", "F32", (256,)),
    Entry("q_proj.weight.quant_state.bitsandbytes__nf4", "U8", (100,)),
]


def test_bitsandbytes_in_four_bits_is_flat_until_a_shape_is_known() -> None:
    found = unpack(NF4)
    assert found.shapes == {"q_proj.weight": (96 * 256, 1)}
    assert (found.flat, found.unknown) == (("q_proj.weight",), ())
    assert set(found.weights[0].companions) == {entry.path for entry in NF4[1:]}
    shaped = unpack(NF4, known={"q_proj.weight": (96, 256)})
    assert (shaped.shapes, shaped.flat) == ({"q_proj.weight": (96, 256)}, ())
    # A shape with another number of weights is none of this tensor.
    assert unpack(NF4, known={"q_proj.weight": (96, 255)}).shapes == found.shapes


def test_what_is_not_packed_stays_as_it_is() -> None:
    entries = [Entry("norm.weight", "F32", (8,)), Entry("scales", "F32", (8,)), Entry("layer_scale", "F32", (8,))]
    assert unpack(entries) == UnpackedCheckpoint(tuple(WeightTensor(e.path, e.shape, "F32", 32) for e in entries), {})


def test_an_unknown_way_of_packing_is_told() -> None:
    config = {"quantization_config": {"quant_method": "hqq"}}
    assert unpack([Entry("q_proj.W_q", "U8", (96, 128))], config).unknown == ("q_proj.W_q",)
    assert unpack(NF4, config).unknown == ()


def test_the_ways_are_counted() -> None:
    plain = Entry("norm.weight", "F32", (8,))
    other = [entry._replace(path=f"k{entry.path}") for entry in NF4]
    assert unpack([plain, *NF4, *other]).schemes == {"bitsandbytes 4-bit": 2}


ENDINGS = sorted({ending.replace("*", "") for layout in LAYOUTS for ending in (layout.main, *layout.required)})
ENTRIES = st.builds(
    Entry,
    st.builds("{}{}".format, st.sampled_from(["a.", "b.c.", "b.c", ""]), st.sampled_from(ENDINGS)),
    st.sampled_from(sorted(SIZES)),
    st.lists(st.integers(0, 9), max_size=4).map(tuple),
)


@given(st.lists(ENTRIES, max_size=12, unique_by=lambda entry: entry.path))
def test_no_byte_is_lost_or_counted_twice(entries: list[Entry]) -> None:
    found = unpack(entries)
    assert found.stored_bytes == sum(entry.stored_bytes for entry in entries)
    assert all(size >= 0 for weights in found.weights for size in weights.shape)
